//! A key server that does everything right, but for the one thing that it is told to do wrong, in the request that it
//! is told to do it in.

#![allow(dead_code)] // Each test uses a part of it.

#[path = "reset.rs"]
mod reset;

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use keystead::kmip::ttlv::Writer;
use keystead::kmip::{Get, GetAttributes, Locate, Operation, attributes, tags};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use reset::reset;

use super::fake_server::{FakeKey, FakeServer, Request, Stream, success};

/// The one thing that is wrong.
#[derive(Clone, Copy)]
pub enum Act {
    /// Does this with a connection, in place of TLS.
    Socket(fn(TcpStream)),
    /// Does this with the right reply, in place of sending it.
    Wire(fn(&mut Stream, &[u8])),
    /// Replies with these bytes.
    Reply(fn(&Request) -> Vec<u8>),
    /// Replies with this key.
    Key(FakeKey<'static>),
}

/// The server. It holds one key, `orders/1`.
pub struct FaultServer {
    pub server: FakeServer,
    plan: Arc<Mutex<Option<Planned>>>,
}

struct Planned {
    after: usize,
    act: Act,
}

impl FaultServer {
    pub fn start(rules: Arc<ServerConfig>) -> FaultServer {
        let plan = Arc::new(Mutex::new(None));
        let planned = plan.clone();
        let server = FakeServer::plain(move |socket| serve(socket, &rules, &planned));
        FaultServer { server, plan }
    }

    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// Once `after` more requests were answered, those of all connections together, the next one is answered so. Once.
    pub fn tell(&self, after: usize, act: Act) {
        *self.plan.lock().unwrap() = Some(Planned { after, act });
    }

    /// Whether it has done what it was told.
    pub fn has_acted(&self) -> bool {
        self.plan.lock().unwrap().is_none()
    }
}

fn serve(socket: TcpStream, rules: &Arc<ServerConfig>, plan: &Mutex<Option<Planned>>) {
    let instead = plan.lock().unwrap().take_if(|planned| matches!(planned.act, Act::Socket(_)));
    if let Some(Planned { act: Act::Socket(act), .. }) = instead {
        return act(socket);
    }
    socket.set_nodelay(true).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(rules.clone()).unwrap(), socket);
    while let Some(request) = Request::receive(&mut stream) {
        let act = due(&mut plan.lock().unwrap());
        let reply = match act {
            Some(Act::Wire(act)) => {
                act(&mut stream, &right_reply(&request));
                continue;
            }
            Some(Act::Reply(reply)) => reply(&request),
            Some(Act::Key(key)) => success(Get::CODE, request.id(), |payload| key.write(payload)),
            _ => right_reply(&request),
        };
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}

fn due(plan: &mut Option<Planned>) -> Option<Act> {
    match plan {
        Some(planned) if planned.after == 0 => plan.take().map(|planned| planned.act),
        Some(planned) => {
            planned.after -= 1;
            None
        }
        None => None,
    }
}

/// What a server without faults says.
pub fn right_reply(request: &Request) -> Vec<u8> {
    let (operation, id) = (request.items[0].0, request.id());
    request.versions_or(|| {
        success(operation, id, |payload| match operation {
            Get::CODE => FakeKey::GOOD.write(payload),
            Locate::CODE => payload.text(tags::UNIQUE_IDENTIFIER, FakeKey::GOOD.id),
            GetAttributes::CODE => {
                payload.text(tags::UNIQUE_IDENTIFIER, FakeKey::GOOD.id);
                write_attributes(payload);
            }
            other => panic!("nobody was to ask for operation {other:#x}"),
        })
    })
}

fn write_attributes(payload: &mut Writer) {
    const ACTIVE: u32 = 2;
    const AES: u32 = 3;
    const UNINTERPRETED_TEXT: u32 = 1;
    write_attribute(payload, attributes::NAME, |attribute| {
        attribute.structure(tags::ATTRIBUTE_VALUE, |value| {
            value.text(tags::NAME_VALUE, "orders/1");
            value.enumeration(tags::NAME_TYPE, UNINTERPRETED_TEXT);
        });
    });
    write_attribute(payload, attributes::STATE, |attribute| attribute.enumeration(tags::ATTRIBUTE_VALUE, ACTIVE));
    write_attribute(payload, attributes::ALGORITHM, |attribute| attribute.enumeration(tags::ATTRIBUTE_VALUE, AES));
    write_attribute(payload, attributes::LENGTH, |attribute| attribute.integer(tags::ATTRIBUTE_VALUE, 256));
    for date in [attributes::INITIAL_DATE, attributes::ACTIVATION_DATE] {
        write_attribute(payload, date, |attribute| attribute.date_time(tags::ATTRIBUTE_VALUE, 1_700_000_000));
    }
}

fn write_attribute(payload: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
    payload.structure(tags::ATTRIBUTE, |attribute| {
        attribute.text(tags::ATTRIBUTE_NAME, name);
        value(attribute);
    });
}
