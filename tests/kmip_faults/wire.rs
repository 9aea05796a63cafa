//! Faults in the transport of a reply that would be the right one.

use std::io::{Read, Write};
use std::net::Shutdown;

use keystead::Code;

use super::fake_server::Stream;
use super::fault_server::{Act, reset};
use super::{Cause, DEADLINE, Fault};

const fn wire(name: &'static str, act: fn(&mut Stream, &[u8]), code: Code, words: &'static str) -> Fault {
    Fault { name, cause: Cause::Request(Act::Wire(act)), code, words }
}

pub const FAULTS: &[Fault] = &[
    wire("no reply comes", |s, _| wait(s), Code::Deadline, "did not complete its reply before the deadline"),
    wire("the reply stops after its first bytes", |s, r| stop_after(s, r, 8), Code::Deadline, "complete its reply"),
    wire("the reply stops before its last byte", |s, r| stop_after(s, r, r.len() - 1), Code::Deadline, "its reply"),
    wire("the reply comes a byte a second", drip, Code::Deadline, "complete its reply"),
    wire("the reply comes after the deadline", late, Code::Deadline, "complete its reply"),
    wire("the connection is closed in place of a reply", |s, r| close_after(s, r, 0), Code::ConnectionLost, "ended"),
    wire(
        "the connection is closed within the reply",
        |s, r| close_after(s, r, r.len() / 2),
        Code::ConnectionLost,
        "ended",
    ),
    wire(
        "TLS is closed in place of a reply",
        |s, r| farewell_after(s, r, 0),
        Code::ConnectionLost,
        "closed by the server",
    ),
    wire(
        "TLS is closed within the reply",
        |s, r| farewell_after(s, r, 9),
        Code::ConnectionLost,
        "closed by the server",
    ),
    wire("the connection is reset in place of a reply", |s, r| reset_after(s, r, 0), Code::ConnectionLost, "reset"),
    wire("the connection is reset within the reply", |s, r| reset_after(s, r, 40), Code::ConnectionLost, "reset"),
    wire("the server half-closes in place of a reply", half_close, Code::ConnectionLost, "closed by the server"),
    wire("a record is cut and the connection closed", cut_record, Code::ConnectionLost, "closed by the server"),
    wire("a bit of a record is flipped", flip, Code::TlsFailed, "broke the rules of TLS"),
    wire("two records are exchanged", exchange, Code::TlsFailed, "broke the rules of TLS"),
    wire(
        "a record comes that nobody encrypted",
        |s, _| raw(s, &[23, 3, 3, 0, 4, 1, 2, 3, 4]),
        Code::TlsFailed,
        "broke the rules",
    ),
    wire("an alert comes that nobody encrypted", |s, _| raw(s, &[21, 3, 3, 0, 2, 2, 80]), Code::TlsFailed, "TLS"),
    wire(
        "a new handshake is asked for in clear",
        |s, _| raw(s, &[22, 3, 3, 0, 4, 0, 0, 0, 0]),
        Code::TlsFailed,
        "broke the rules",
    ),
    wire("a record claims 64 KiB", |s, _| raw(s, &[23, 3, 3, 0xFF, 0xFF]), Code::TlsFailed, "broke the rules of TLS"),
    wire(
        "a record is of no type",
        |s, _| raw(s, &[99, 3, 3, 0, 4, 1, 2, 3, 4]),
        Code::TlsFailed,
        "broke the rules of TLS",
    ),
    wire(
        "plain HTTP comes within TLS's connection",
        |s, _| raw(s, b"HTTP/1.1 500 Sorry\r\n\r\n"),
        Code::TlsFailed,
        "TLS",
    ),
    wire("more comes than the largest reply", flood, Code::ReplyMalformed, "a malformed reply"),
];

/// Keeps the connection until the other side gives it up.
fn wait(stream: &mut Stream) {
    let _ = stream.sock.read_to_end(&mut Vec::new());
}

fn raw(stream: &mut Stream, bytes: &[u8]) {
    let _ = stream.sock.write_all(bytes);
    wait(stream);
}

fn stop_after(stream: &mut Stream, reply: &[u8], count: usize) {
    let _ = stream.write_all(&reply[..count]);
    wait(stream);
}

fn drip(stream: &mut Stream, reply: &[u8]) {
    for byte in reply {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(DEADLINE / 5);
    }
}

fn late(stream: &mut Stream, reply: &[u8]) {
    std::thread::sleep(DEADLINE + DEADLINE / 5);
    let _ = stream.write_all(reply);
}

fn close_after(stream: &mut Stream, reply: &[u8], count: usize) {
    let _ = stream.write_all(&reply[..count]);
    let _ = stream.sock.shutdown(Shutdown::Both);
}

fn farewell_after(stream: &mut Stream, reply: &[u8], count: usize) {
    let _ = stream.write_all(&reply[..count]);
    stream.conn.send_close_notify();
    let _ = stream.flush();
    wait(stream);
}

fn reset_after(stream: &mut Stream, reply: &[u8], count: usize) {
    let _ = stream.write_all(&reply[..count]);
    reset(&stream.sock);
}

fn half_close(stream: &mut Stream, _: &[u8]) {
    let _ = stream.sock.shutdown(Shutdown::Write);
    wait(stream);
}

/// The records that carry these bytes.
fn records(stream: &mut Stream, bytes: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    stream.conn.writer().write_all(bytes).unwrap();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut records).unwrap();
    }
    records
}

fn cut_record(stream: &mut Stream, reply: &[u8]) {
    let records = records(stream, reply);
    let _ = stream.sock.write_all(&records[..records.len() - 1]);
    let _ = stream.sock.shutdown(Shutdown::Both);
}

fn flip(stream: &mut Stream, reply: &[u8]) {
    let mut records = records(stream, reply);
    let middle = records.len() / 2;
    records[middle] ^= 1;
    raw(stream, &records);
}

fn exchange(stream: &mut Stream, reply: &[u8]) {
    let (first, second) = reply.split_at(reply.len() / 2);
    let (first, second) = (records(stream, first), records(stream, second));
    raw(stream, &[second, first].concat());
}

fn flood(stream: &mut Stream, _: &[u8]) {
    let _ = stream.write_all(&super::replies::claiming((1 << 20) - 8));
    for _ in 0..80 {
        if stream.write_all(&[0; 16 << 10]).is_err() {
            return;
        }
    }
    wait(stream);
}
