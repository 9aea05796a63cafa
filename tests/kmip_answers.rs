//! Key servers differ in what they answer, and all of it is taken; what is no answer is refused.

#[path = "common/fake_server.rs"]
mod fake_server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keystead::kmip::ttlv::Writer;
use keystead::kmip::{
    Activate, Connection, Connector, Deadline, DiscoverVersions, Failure, Get, GetAttributes, Locate, Operation,
    ResultReason, State, Version, attributes, tags,
};
use keystead::{Code, Error};

use fake_server::{FakeKey, FakeServer, failed_item, failure, item, reply, success, version};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn connect(connector: &Connector) -> Connection {
    connector.connect(soon()).map_err(Error::from).unwrap()
}

/// Calls one operation on a server that answers it with these bytes.
fn call<O: Operation>(
    operation: &O,
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Result<O::Answer, Failure> {
    let (_server, connector) = FakeServer::answering(move |request| request.versions_or(|| answer(request.id())));
    connect(&connector).call(operation, soon())
}

#[test]
fn every_spelling_of_not_found_is_understood() {
    let certain = [0x01, 0x37, 0x36];
    let possible = [0x0C, 0x100];
    for reason in certain.into_iter().chain(possible) {
        let answer = move |id: &[u8]| failure(Get::CODE, id, reason, "Could not locate object: key-1");
        let failure = call(&Get { id: "key-1" }, answer).err().unwrap();
        assert!(failure.may_mean_not_found(), "{:?}", failure.error);
        assert_eq!(failure.code() == Code::KeyNotFound, certain.contains(&reason), "{:?}", failure.error);
        assert_eq!(failure.reason, Some(ResultReason(reason)));
        assert_eq!(failure.server_message.as_deref(), Some("Could not locate object: key-1"));
        assert!(failure.request_sent);
    }
    let failure = call(&Get { id: "key-1" }, |id| failure(Get::CODE, id, 0x16, "no")).err().unwrap();
    assert!(!failure.may_mean_not_found());
    let nothing = call(&Locate { name: Some("orders/1"), ..Locate::default() }, |id| success(Locate::CODE, id, |_| {}));
    assert_eq!(nothing.map_err(Error::from).unwrap(), Vec::<String>::new());
}

#[test]
fn an_unknown_reason_keeps_its_number_and_its_words_stay_on_one_line() {
    let words = format!("line one\nline two\u{1b}[31m {}", "x".repeat(5000));
    let failure =
        call(&Activate { id: "key-1" }, move |id| failure(Activate::CODE, id, 0x8000_00AA, &words)).unwrap_err();
    assert_eq!(failure.code(), Code::ServerRefused);
    assert!(failure.error.message().contains("reason 0x800000aa"), "{}", failure.error);
    assert!(!failure.error.message().contains(['\n', '\u{1b}']));
    assert!(failure.error.message().len() < 1000);
}

#[test]
fn a_server_that_could_not_parse_the_request_answers_without_operation_and_item() {
    let (_server, connector) = FakeServer::answering(|request| {
        request.versions_or(|| {
            let mut writer = Writer::with_capacity(1024);
            writer.structure(tags::RESPONSE_MESSAGE, |message| {
                message.structure(tags::RESPONSE_HEADER, |header| version(header, 0));
                message.structure(tags::BATCH_ITEM, |item| {
                    item.enumeration(tags::RESULT_STATUS, 1);
                    item.enumeration(tags::RESULT_REASON, 4);
                    item.text(tags::RESULT_MESSAGE, "Error parsing request message.");
                });
            });
            writer.written().unwrap().to_vec()
        })
    });
    let mut connection = connect(&connector);
    let failure = connection.call(&Activate { id: "key-1" }, soon()).unwrap_err();
    assert_eq!((failure.code(), failure.reason), (Code::ServerRefused, Some(ResultReason::INVALID_MESSAGE)));
    assert!(connection.is_usable(), "it was a complete answer");
    let outcomes = connection.call_all(&[Activate { id: "a" }, Activate { id: "b" }], soon()).unwrap();
    assert!(outcomes.iter().all(Result::is_err) && outcomes.len() == 2);
}

#[test]
fn the_highest_common_version_is_agreed_on_once_per_server() {
    let asked = Arc::new(AtomicUsize::new(0));
    let used = Arc::new(Mutex::new(Vec::new()));
    let (count, seen) = (asked.clone(), used.clone());
    let (_server, connector) = FakeServer::answering(move |request| {
        if request.asks_for_versions() {
            count.fetch_add(1, Ordering::SeqCst);
            assert_eq!(request.minor_version, 1, "the question exists since 1.1");
            return success(DiscoverVersions::CODE, request.id(), |payload| {
                version(payload, 0);
                version(payload, 2);
                version(payload, 9);
            });
        }
        seen.lock().unwrap().push(request.minor_version);
        success(Activate::CODE, request.id(), |payload| payload.text(tags::UNIQUE_IDENTIFIER, "key-1"))
    });
    for _ in 0..3 {
        let mut connection = connect(&connector);
        assert_eq!(connection.version(), Version::new(1, 2));
        connection.call(&Activate { id: "key-1" }, soon()).map_err(Error::from).unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(*used.lock().unwrap(), [2, 2, 2]);
}

#[test]
fn a_server_that_does_not_know_the_question_speaks_1_0() {
    for reason in [ResultReason::OPERATION_NOT_SUPPORTED, ResultReason::INVALID_MESSAGE] {
        let (_server, connector) =
            FakeServer::answering(move |request| failure(request.items[0].0, request.id(), reason.0, "what?"));
        assert_eq!(connect(&connector).version(), Version::new(1, 0));
    }
}

#[test]
fn a_server_that_knows_later_versions_only_is_asked_in_one_of_them() {
    let (_server, connector) = FakeServer::answering(move |request| match request.minor_version {
        3.. => success(DiscoverVersions::CODE, request.id(), |payload| version(payload, 3)),
        _ => failure(
            DiscoverVersions::CODE,
            request.id(),
            ResultReason::INVALID_MESSAGE.0,
            "Unsupported protocol version",
        ),
    });
    assert_eq!(connect(&connector).version(), Version::new(1, 3));
}

#[test]
fn a_pinned_version_is_not_asked_for_and_is_named_when_it_is_refused() {
    let (_server, connector) = FakeServer::answering_pinned(Some(2), |request| {
        assert!(!request.asks_for_versions());
        assert_eq!(request.minor_version, 2);
        failure(Activate::CODE, request.id(), ResultReason::INVALID_MESSAGE.0, "Unsupported protocol version")
    });
    for _ in 0..2 {
        let mut connection = connect(&connector);
        assert_eq!(connection.version(), Version::new(1, 2));
        let error = connection.call(&Activate { id: "key-1" }, soon()).unwrap_err().error;
        let words = ["Unsupported protocol version", "KMIP 1.2", "`kmip_version`", "remove it"];
        assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
    }
}

#[test]
fn a_server_that_speaks_no_version_of_ours_says_so() {
    let (_server, connector) = FakeServer::answering(|request| success(DiscoverVersions::CODE, request.id(), |_| {}));
    let failure = connector.connect(soon()).err().unwrap();
    assert_eq!(failure.code(), Code::Unsupported);
    assert!(!failure.request_sent);
}

#[test]
fn a_server_replaced_by_an_older_one_is_asked_again() {
    let minor = Arc::new(AtomicUsize::new(4));
    let current = minor.clone();
    let (_server, connector) = FakeServer::answering(move |request| {
        let newest = current.load(Ordering::SeqCst) as i32;
        if request.asks_for_versions() {
            return success(DiscoverVersions::CODE, request.id(), |payload| version(payload, newest));
        }
        match request.minor_version == newest {
            true => success(Activate::CODE, request.id(), |payload| payload.text(tags::UNIQUE_IDENTIFIER, "key-1")),
            false => failure(Activate::CODE, request.id(), 4, "protocol version not supported"),
        }
    });
    connect(&connector).call(&Activate { id: "key-1" }, soon()).map_err(Error::from).unwrap();
    minor.store(2, Ordering::SeqCst);
    assert!(connect(&connector).call(&Activate { id: "key-1" }, soon()).is_err());
    connect(&connector).call(&Activate { id: "key-1" }, soon()).map_err(Error::from).unwrap();
}

#[test]
fn the_items_of_a_batch_are_matched_by_their_ids_and_not_by_their_order() {
    let (_server, connector) = FakeServer::answering(|request| {
        request.versions_or(|| {
            reply(|message| {
                for ((operation, id), key) in request.items.iter().zip(["a", "b", "c"]).rev() {
                    match key {
                        "b" => failed_item(message, *operation, id, 1, "no b"),
                        key => {
                            item(message, *operation, id, |payload| FakeKey { id: key, ..FakeKey::GOOD }.write(payload))
                        }
                    }
                }
            })
        })
    });
    let outcomes = connect(&connector).call_all(&[Get { id: "a" }, Get { id: "b" }, Get { id: "c" }], soon()).unwrap();
    let ids: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map(|key| key.id).map_err(|f| f.code())).collect();
    assert_eq!(ids, [Ok("a".into()), Err(Code::KeyNotFound), Ok("c".into())]);
}

#[test]
fn what_a_server_did_not_come_to_after_a_failure_is_a_failure() {
    let (_server, connector) = FakeServer::answering(|request| {
        request.versions_or(|| reply(|message| failed_item(message, Activate::CODE, request.id(), 0x0B, "illegal")))
    });
    let mut connection = connect(&connector);
    let outcomes = connection.call_all(&[Activate { id: "a" }, Activate { id: "b" }], soon()).unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap_err().reason, Some(ResultReason::ILLEGAL_OPERATION));
    assert!(outcomes[1].as_ref().unwrap_err().error.message().contains("stopped before"));
    assert!(connection.is_usable());
}

#[test]
fn a_single_success_without_its_item_id_is_taken_and_one_for_another_operation_is_not() {
    let without_id = |operation: u32| {
        move |_: &[u8]| {
            reply(|message| {
                message.structure(tags::BATCH_ITEM, |item| {
                    item.enumeration(tags::OPERATION, operation);
                    item.enumeration(tags::RESULT_STATUS, 0);
                    item.structure(tags::RESPONSE_PAYLOAD, |payload| payload.text(tags::UNIQUE_IDENTIFIER, "key-1"));
                });
            })
        }
    };
    call(&Activate { id: "key-1" }, without_id(Activate::CODE)).map_err(Error::from).unwrap();
    let failure = call(&Activate { id: "key-1" }, without_id(0x14)).unwrap_err();
    assert_eq!(failure.code(), Code::ReplyMalformed);
}

#[test]
fn attributes_are_read_whatever_their_order_and_unknown_ones_skipped() {
    fn attribute(payload: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
        payload.structure(tags::ATTRIBUTE, |attribute| {
            attribute.text(tags::ATTRIBUTE_NAME, name);
            attribute.integer(0x420009, 0);
            value(attribute);
        });
    }
    let answer = |id: &[u8]| {
        success(GetAttributes::CODE, id, |payload| {
            attribute(payload, attributes::STATE, |w| w.enumeration(tags::ATTRIBUTE_VALUE, 0x8000_0007));
            for name in ["orders/1", "alias"] {
                attribute(payload, attributes::NAME, |w| {
                    w.structure(tags::ATTRIBUTE_VALUE, |value| {
                        value.text(tags::NAME_VALUE, name);
                        value.enumeration(tags::NAME_TYPE, 1);
                    });
                });
            }
            attribute(payload, "x-vendor", |w| w.structure(tags::ATTRIBUTE_VALUE, |_| {}));
            attribute(payload, attributes::OBJECT_GROUP, |w| w.text(tags::ATTRIBUTE_VALUE, "keystead:orders"));
            attribute(payload, attributes::LENGTH, |w| w.integer(tags::ATTRIBUTE_VALUE, 256));
            attribute(payload, attributes::INITIAL_DATE, |w| w.date_time(tags::ATTRIBUTE_VALUE, 1_700_000_000));
            payload.text(tags::UNIQUE_IDENTIFIER, "key-1");
        })
    };
    let found = call(&GetAttributes { id: "key-1", names: &[] }, answer).map_err(Error::from).unwrap();
    assert_eq!(found.names, ["orders/1", "alias"]);
    assert_eq!(found.state, Some(State::Other(0x8000_0007)));
    assert_eq!(found.object_groups, ["keystead:orders"]);
    assert_eq!((found.length_bits, found.initial_date), (Some(256), Some(1_700_000_000)));
    assert_eq!(found.algorithm, None);
}
