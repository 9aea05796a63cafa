//! Attributes that are listed, changed and checked, and random bytes.

use keystead::Code;
use keystead::kmip::attributes::{self, Value};
use keystead::kmip::{
    AddAttribute, Attributes, Check, Connection, Create, DeleteAttribute, GetAttributeList, GetAttributes,
    ModifyAttribute, RngRetrieve, Usage, Version,
};

use crate::keyservers::{KeyServers, Kind};
use crate::wrapping::assert_unsupported;
use crate::{assert_not_asked, connect, done, refused};

fn described(connection: &mut Connection, id: &str) -> Attributes {
    done(connection, &GetAttributes { id, names: &attributes::UNDERSTOOD })
}

#[test]
fn the_attributes_of_a_key_are_listed_by_name() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let id = done(&mut connection, &Create::new("orders/1", Some("keystead:orders")));
    let names = done(&mut connection, &GetAttributeList { id: &id });
    for name in [attributes::NAME, attributes::STATE, attributes::ALGORITHM, attributes::OBJECT_GROUP] {
        assert!(names.iter().any(|listed| listed == name), "{name}: {names:?}");
    }
    let missing = refused(&mut connection, &GetAttributeList { id: "no-such-key" });
    assert!(missing.may_mean_not_found(), "{}", missing.error);
}

#[test]
fn an_attribute_is_added_modified_and_deleted() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let id = done(&mut connection, &Create::new("orders/1", Some("keystead:orders")));

    let renamed = ModifyAttribute { id: &id, name: attributes::NAME, index: 0, value: Value::Name("orders/2") };
    done(&mut connection, &renamed);
    assert_eq!(described(&mut connection, &id).names, ["orders/2"]);
    let locked = ModifyAttribute { id: &id, name: attributes::LENGTH, index: 0, value: Value::Integer(128) };
    assert_eq!(refused(&mut connection, &locked).code(), Code::PermissionDenied);

    let add = AddAttribute { id: &id, name: attributes::OBJECT_GROUP, value: Value::Text("team-a") };
    let second = DeleteAttribute { id: &id, name: attributes::OBJECT_GROUP, index: 1 };
    if KeyServers::kind() == Kind::PyKmip {
        assert_unsupported(&mut connection, &add);
        done(&mut connection, &DeleteAttribute { index: 0, ..second });
        assert!(described(&mut connection, &id).object_groups.is_empty());
        return;
    }
    done(&mut connection, &add);
    assert_eq!(described(&mut connection, &id).object_groups, ["keystead:orders", "team-a"]);
    done(&mut connection, &second);
    assert_eq!(described(&mut connection, &id).object_groups, ["keystead:orders"]);
    assert!(refused(&mut connection, &second).may_mean_not_found());

    let soon = 4_000_000_000;
    let dated = AddAttribute { id: &id, name: attributes::ACTIVATION_DATE, value: Value::Date(soon) };
    done(&mut connection, &dated);
    assert_eq!(described(&mut connection, &id).activation_date, Some(soon));
    let hidden = ModifyAttribute { id: &id, name: attributes::SENSITIVE, index: 0, value: Value::Boolean(true) };
    match connection.version() {
        version if version < Version::new(1, 4) => assert_not_asked(&mut connection, &hidden),
        _ => {
            done(&mut connection, &hidden);
            assert_eq!(described(&mut connection, &id).sensitive, Some(true));
        }
    }
}

#[test]
fn a_server_is_asked_whether_a_key_may_be_used() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let id = done(&mut connection, &Create::new("orders/1", None));
    let check = |usage| Check { id: &id, usage };
    if KeyServers::kind() == Kind::PyKmip {
        return assert_unsupported(&mut connection, &check(Usage::ENCRYPT));
    }
    assert!(done(&mut connection, &check(Usage::ENCRYPT | Usage::DECRYPT)));
    assert!(!done(&mut connection, &check(Usage::ENCRYPT | Usage::WRAP_KEY)));
    assert!(refused(&mut connection, &Check { id: "no-such-key", usage: Usage::ENCRYPT }).may_mean_not_found());
}

#[test]
fn random_bytes_come_from_a_server_into_a_slot() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    if connection.version() < Version::new(1, 2) {
        return assert_not_asked(&mut connection, &RngRetrieve);
    }
    if KeyServers::kind() == Kind::PyKmip {
        return assert_unsupported(&mut connection, &RngRetrieve);
    }
    let (one, other) = (done(&mut connection, &RngRetrieve), done(&mut connection, &RngRetrieve));
    assert_ne!(*one, *other);
    assert_ne!(*one, [0; 32]);
}
