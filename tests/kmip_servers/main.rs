//! Every operation on a real key server.

mod attributes;
mod cluster;
mod cryptography;
mod key_wrap;
#[path = "../common/keyservers.rs"]
mod keyservers;
mod query;
mod wrapping;

use std::time::Duration;

use keystead::kmip::{
    Activate, Algorithm, Connection, Connector, Create, Deadline, Destroy, Failure, Get, GetAttributes, Locate,
    ObjectType, Operation, ResultReason, State, Usage, Version, attributes::UNDERSTOOD,
};
use keystead::{Code, Error, config};

use keyservers::{KeyServers, Kind};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn connect(servers: &KeyServers) -> Connection {
    let (config, _) = config::load(&servers.config).unwrap();
    Connector::new(&config.servers[0]).unwrap().connect(soon()).map_err(Error::from).unwrap()
}

/// What succeeds.
fn done<O: Operation>(connection: &mut Connection, operation: &O) -> O::Answer {
    connection.call(operation, soon()).map_err(Error::from).unwrap()
}

/// What fails.
fn refused<O: Operation>(connection: &mut Connection, operation: &O) -> Failure {
    connection.call(operation, soon()).err().unwrap_or_else(|| panic!("{} succeeded", O::NAME))
}

/// What the protocol version does not have is refused before anything is sent, and said so.
fn assert_not_asked<O: Operation>(connection: &mut Connection, operation: &O) {
    let failure = refused(connection, operation);
    assert_eq!((failure.code(), failure.request_sent), (Code::Unsupported, false), "{}", failure.error);
    let words =
        [O::NAME.to_owned(), connection.version().to_string(), operation.since().to_string(), "127.0.0.1".into()];
    assert!(words.iter().all(|word| failure.error.message().contains(word)), "{}", failure.error);
    assert!(connection.is_usable());
}

#[test]
fn a_key_is_made_found_activated_fetched_and_destroyed() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let pinned = keyservers::pinned_version().unwrap_or_else(|| "1.4".into());
    assert_eq!(connection.version().to_string(), pinned);
    assert_eq!(connection.peer().port(), servers.servers[0].port);

    let create = Create::new("orders/1", Some("keystead:orders"));
    let id = connection.call(&create, soon()).map_err(Error::from).unwrap();
    let by_name = Locate { name: Some("orders/1"), ..Locate::default() };
    let by_group = Locate { group: Some("keystead:orders"), maximum: Some(16), ..Locate::default() };
    for locate in [by_name, by_group, Locate::default()] {
        assert_eq!(connection.call(&locate, soon()).map_err(Error::from).unwrap(), [id.as_str()]);
    }
    let elsewhere = Locate { name: Some("orders/2"), ..Locate::default() };
    assert!(connection.call(&elsewhere, soon()).map_err(Error::from).unwrap().is_empty());

    let ask = GetAttributes { id: &id, names: &UNDERSTOOD };
    let found = connection.call(&ask, soon()).map_err(Error::from).unwrap();
    assert_eq!(found.names, ["orders/1"]);
    assert_eq!(found.object_groups, ["keystead:orders"]);
    assert_eq!(found.state, Some(State::PreActive));
    assert_eq!((found.algorithm, found.length_bits), (Some(Algorithm::AES), Some(256)));
    assert_eq!((found.object_type, found.usage), (Some(ObjectType::SYMMETRIC_KEY), Some(Usage(0xC))));
    assert!(found.initial_date.is_some_and(|date| date > 1_700_000_000));
    let all = GetAttributes { id: &id, names: &[] };
    assert_eq!(connection.call(&all, soon()).map_err(Error::from).unwrap().names, ["orders/1"]);

    connection.call(&Activate { id: &id }, soon()).map_err(Error::from).unwrap();
    assert_eq!(connection.call(&ask, soon()).map_err(Error::from).unwrap().state, Some(State::Active));

    let key = connection.call(&Get { id: &id }, soon()).map_err(Error::from).unwrap();
    let again = connection.call(&Get { id: &id }, soon()).map_err(Error::from).unwrap();
    assert_eq!(*key.material, *again.material);
    assert_ne!(*key.material, [0; 32]);

    let active = connection.call(&Destroy { id: &id }, soon()).unwrap_err();
    assert_eq!(active.code(), Code::PermissionDenied, "{}", active.error);
    let spare = connection.call(&Create::new("orders/2", None), soon()).map_err(Error::from).unwrap();
    connection.call(&Destroy { id: &spare }, soon()).map_err(Error::from).unwrap();
    let gone = connection.call(&Get { id: &spare }, soon()).err().unwrap();
    assert_eq!((gone.code(), gone.reason), (Code::KeyNotFound, Some(ResultReason::ITEM_NOT_FOUND)));
    assert!(connection.is_usable());
}

#[test]
fn a_real_server_knows_us_again_and_one_that_was_restarted_serves_all_the_same() {
    if !Kind::Go.is_there() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 1);
    let (config, _) = config::load(&servers.config).unwrap();
    let connector = Connector::new(&config.servers[0]).unwrap();
    let resumes = |expected| {
        let mut connection = connector.connect(soon()).map_err(Error::from).unwrap();
        assert_eq!(connection.is_resumed(), expected);
        connection.call(&Locate::default(), soon()).map_err(Error::from).unwrap();
    };
    resumes(false);
    resumes(true);
    servers.kill("primary");
    servers.restart("primary");
    resumes(false);
    resumes(true);
}

#[test]
fn several_operations_travel_in_one_request() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let create = |name| Create::new(name, Some("keystead:batch"));
    let made = connection.call_all(&[create("batch/1"), create("batch/2")], soon()).map_err(Error::from).unwrap();
    let ids: Vec<String> = made.into_iter().map(|id| id.map_err(Error::from).unwrap()).collect();
    let gets = [Get { id: &ids[0] }, Get { id: "no-such-key" }, Get { id: &ids[1] }];
    let keys = connection.call_all(&gets, soon()).map_err(Error::from).unwrap();
    assert_eq!(keys[0].as_ref().map(|key| key.id.as_str()).ok(), Some(ids[0].as_str()));
    assert_eq!(keys[1].as_ref().err().map(|failure| failure.code()), Some(Code::KeyNotFound));
    assert_eq!(keys[2].as_ref().map(|key| key.id.as_str()).ok(), Some(ids[1].as_str()));
}

#[test]
fn the_highest_version_that_a_real_server_offers_is_agreed_on() {
    if !Kind::Go.is_there() || keyservers::pinned_version().is_some() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 1);
    for (offered, minor) in [("1.0", 0), ("1.0,1.1,1.2", 2), ("1.3", 3), ("1.0,1.4", 4)] {
        servers.kill("primary");
        servers.set_versions("primary", offered);
        servers.restart("primary");
        let mut connection = connect(&servers);
        assert_eq!(connection.version(), Version::new(1, minor), "of {offered}");
        assert!(connection.call(&Locate::default(), soon()).map_err(Error::from).unwrap().is_empty());
    }
}
