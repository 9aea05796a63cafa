//! What the journal and the failover loop need to know of each operation.

#![forbid(unsafe_code)]

use crate::envelope::KeyId;
use crate::kmip::{
    Activate, AddAttribute, Check, Create, Decrypt, DeleteAttribute, Destroy, DiscoverVersions, Encrypt, Get,
    GetAttributeList, GetAttributes, GetWrapped, Locate, Mac, ModifyAttribute, Operation, Query, ReKey, Register,
    Revoke, RngRetrieve,
};
use crate::log::catalogue;

/// The key that an operation is about, as far as the caller knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The name without its version; empty where an operation is about no single key.
    pub name: &'a str,
    pub version: Option<u32>,
}

/// What the journal and the failover loop need to know of an operation.
pub trait Audited: Operation {
    /// Its event in the log's catalogue.
    const EVENT: &'static str;
    /// Whether doing it twice is as good as once, so that a lost reply is no reason to stop.
    const REPEATABLE: bool;
    /// Whether it changes nothing, so that any server may be asked, and another one where the first only seems not to know
    /// the object.
    const IS_READ: bool = false;

    /// The server's unique identifier of the object, asked for or answered.
    fn identifier<'a>(&'a self, answer: Option<&'a Self::Answer>) -> &'a str;

    /// The object's state, where the answer tells it.
    fn state(_answer: &Self::Answer) -> String {
        String::new()
    }

    /// Which key the object is, where the answer tells it.
    fn key(_answer: &Self::Answer) -> Option<KeyId> {
        None
    }

    /// Whether it names one object that somebody has seen, so that a server that does not know it lags.
    fn is_of_known_object(&self) -> bool {
        false
    }

    /// Whether a successful answer means that there is no such object.
    fn is_absent(_answer: &Self::Answer) -> bool {
        false
    }
}

/// Operations of which no more need be known than their [`Kind`] and their object. The object is given by a function of the operation and its answer.
macro_rules! audited {
    ($($operation:ty, $event:ident, $kind:ident, $object:expr;)+) => {
        $(impl Audited for $operation {
            const EVENT: &'static str = catalogue::$event;
            const REPEATABLE: bool = !matches!(Kind::$kind, Kind::Once);
            const IS_READ: bool = matches!(Kind::$kind, Kind::Read);
            fn identifier<'a>(&'a self, answer: Option<&'a Self::Answer>) -> &'a str {
                let object: fn(&'a Self, Option<&'a Self::Answer>) -> &'a str = $object;
                object(self, answer)
            }
            fn is_of_known_object(&self) -> bool {
                Self::IS_READ
            }
        })+
    };
}

/// What doing it again would do.
enum Kind {
    /// Another object, or another attribute.
    Once,
    /// What doing it once does.
    Again,
    /// Nothing: it reads one object.
    Read,
}

audited! {
    DiscoverVersions, KMIP_DISCOVER_VERSIONS, Again, |_, _| "";
    Query, KMIP_QUERY, Again, |_, _| "";
    Create<'_>, KMIP_CREATE, Once, |_, made| made.map_or("", |id| id);
    Register<'_>, KMIP_REGISTER, Once, |_, made| made.map_or("", |id| id);
    ReKey<'_>, KMIP_REKEY, Once, |asked, _| asked.id;
    Get<'_>, KMIP_GET, Read, |asked, _| asked.id;
    GetWrapped<'_>, KMIP_GET, Read, |asked, _| asked.id;
    GetAttributeList<'_>, KMIP_GET_ATTRIBUTE_LIST, Read, |asked, _| asked.id;
    AddAttribute<'_>, KMIP_ADD_ATTRIBUTE, Once, |asked, _| asked.id;
    ModifyAttribute<'_>, KMIP_MODIFY_ATTRIBUTE, Again, |asked, _| asked.id;
    DeleteAttribute<'_>, KMIP_DELETE_ATTRIBUTE, Once, |asked, _| asked.id;
    Check<'_>, KMIP_CHECK, Again, |asked, _| asked.id;
    Activate<'_>, KMIP_ACTIVATE, Again, |asked, _| asked.id;
    Revoke<'_>, KMIP_REVOKE, Again, |asked, _| asked.id;
    Destroy<'_>, KMIP_DESTROY, Again, |asked, _| asked.id;
    Encrypt<'_>, KMIP_ENCRYPT, Again, |asked, _| asked.id;
    Decrypt<'_>, KMIP_DECRYPT, Again, |asked, _| asked.id;
    Mac<'_>, KMIP_MAC, Again, |asked, _| asked.id;
    RngRetrieve, KMIP_RNG_RETRIEVE, Again, |_, _| "";
}

impl Audited for Locate<'_> {
    const EVENT: &'static str = catalogue::KMIP_LOCATE;
    const REPEATABLE: bool = true;
    const IS_READ: bool = true;
    fn is_of_known_object(&self) -> bool {
        self.name.is_some()
    }
    fn identifier<'a>(&'a self, answer: Option<&'a Self::Answer>) -> &'a str {
        answer.and_then(|ids| ids.first()).map_or("", |id| id)
    }
    fn is_absent(answer: &Self::Answer) -> bool {
        answer.is_empty()
    }
}

impl Audited for GetAttributes<'_> {
    const EVENT: &'static str = catalogue::KMIP_GET_ATTRIBUTES;
    const REPEATABLE: bool = true;
    const IS_READ: bool = true;
    fn is_of_known_object(&self) -> bool {
        true
    }
    fn identifier<'a>(&'a self, _: Option<&'a Self::Answer>) -> &'a str {
        self.id
    }
    fn state(answer: &Self::Answer) -> String {
        answer.state.map(|state| state.to_string()).unwrap_or_default()
    }
    fn key(answer: &Self::Answer) -> Option<KeyId> {
        answer.names.iter().find_map(|name| KeyId::parse(name).ok())
    }
}
