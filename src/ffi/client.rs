//! The client over the C ABI.

use std::ffi::{c_char, c_void};

use super::arguments::{Input, Output, path, text};
use super::bytes::{Terminated, keystead_bytes};
use super::entry::{finish, finish_handle, on_handle, on_nothing, transform};
use super::error::keystead_error;
use super::handle::{Handle, Opaque};
use super::key::keystead_key;
use super::record::{Listener, keystead_on_record, keystead_on_release};
use super::status::keystead_status;
use crate::client::{Client, View};

/// One opened configuration: its key servers, key cache, log and audit trail. An application has one, opens it
/// once, and shares it among its threads.
pub struct keystead_client {
    _opaque: (),
}

impl Opaque for keystead_client {
    const NAME: &'static str = "keystead_client";
    const KIND: [u8; 8] = *b"ksclient";
    type Value = Client;
}

/// Reads and checks the configuration file at config_path, and opens the log and the audit trail. It never waits
/// for a key server: it succeeds while all of them are down. Blocks on files only; where it fails, a second at most on a
/// collector or an on_record, which are told why.
///
/// On success *out_client is a client to be freed with keystead_client_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT for a NULL; CONFIG_UNREADABLE, CONFIG_INVALID, FILE_EXPOSED,
/// CERTIFICATE_INVALID or POLICY_REFUSED, with file and line in the error; LOG_FAILED; SYSTEM;
/// MEMORY_EXHAUSTED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_open(
    config_path: *const c_char,
    out_client: *mut *mut keystead_client,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_client", out_client), err, || {
            on_nothing(|| Client::open(path("config_path", config_path)?))
        })
    }
}

/// As keystead_client_open(), and hands every record of the log to on_record, at the level and in the format of the
/// configuration. This is beside the configuration's target: the records for on_record are a chain of their own, as
/// docs/LOG.md describes it. A warning of the levels verbose and debug goes there and not to standard error, and so
/// does what the library has to say of itself (the event library.diagnostic). At level none nothing does.
///
/// on_release, unless it is NULL, is called once with user_data: when on_record was called for the last time and
/// user_data may be freed, also if this call fails. keystead_client_close() waits a second at most for on_record to
/// take what is left; then no further call begins. But after a close from within on_record, which waits for nothing,
/// and a free without a close, calls may begin for another second. Only on_release ends them all: until then, user_data
/// and what on_record uses must stay.
///
/// Returns what keystead_client_open() returns; INVALID_ARGUMENT also if on_record is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_open_with(
    config_path: *const c_char,
    on_record: keystead_on_record,
    on_release: keystead_on_release,
    user_data: *mut c_void,
    out_client: *mut *mut keystead_client,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let listener = Listener { on_record, on_release, user_data };
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_client", out_client), err, move || {
            on_nothing(move || Client::open_with(path("config_path", config_path)?, Some(listener.into_function()?)))
        })
    }
}

/// Closes a client: wipes its keys, ends its connections, writes its last record. Every later call on it, and
/// every use of a key that came from it, says KEYSTEAD_E_CLOSED. Closing again does nothing. The client is still
/// to be freed. Blocks on files only, and a second at most on an on_record that is slow.
///
/// Returns KEYSTEAD_OK; INVALID_HANDLE; FORKED; LOG_FAILED if records could not be written and the configuration
/// refuses unlogged work (the client is closed all the same); INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_close(
    client: *const keystead_client,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish(err, || on_handle(client, |client| client.close())) }
}

/// Frees a client; NULL is ignored. One that was not closed is closed without a word should the last record fail,
/// so call keystead_client_close() before. From now on its keys say KEYSTEAD_E_CLOSED; they are freed on their
/// own. Never waits for the network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_free(client: *mut keystead_client) {
    // SAFETY: the rules of the header.
    unsafe { Handle::free(client) }
}

/// The newest active version of the key called name (1 to 128 of A-Z a-z 0-9 . _ -), from the cache or from
/// the key servers. Threads that ask for one missing key cause one request. Blocks on the network until the
/// deadline of the configuration, unless the key is cached.
///
/// For "customer-42/3" the key is that version and does not follow its name. It decrypts as the version's state
/// allows. It encrypts only while it is the newest active version, and says KEYSTEAD_E_KEY_STATE from when a newer one
/// is known: at once where this client rotates the key, elsewhere within version_ttl.
///
/// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; NO_SERVER with every server that was
/// tried in the error's detail, DEADLINE or another 3xx; KEY_NOT_FOUND or another 4xx; KEY_STATE, KEY_STALE,
/// KEY_WEAK or ALGORITHM_REFUSED for a key that must not be used; LOG_FAILED; SYSTEM; MEMORY_EXHAUSTED;
/// INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_key(
    client: *const keystead_client,
    name: *const c_char,
    out_key: *mut *mut keystead_key,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish_handle(("out_key", out_key), err, || on_handle(client, |client| client.key(text("name", name)?))) }
}

/// Makes version 1 of the key called name (1 to 128 of A-Z a-z 0-9 . _ -) on the key server. Where the name has
/// a key, it gives that one as keystead_client_key() does, so any number of processes may call it for one name.
/// Blocks on the network until the deadline of the configuration.
///
/// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
///
/// Returns what keystead_client_key() returns, except KEY_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_create_key(
    client: *const keystead_client,
    name: *const c_char,
    out_key: *mut *mut keystead_key,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_key", out_key), err, || {
            on_handle(client, |client| client.create_key(text("name", name)?).map(|(key, _)| key))
        })
    }
}

/// Makes a new version of the key called name on the key server. What is encrypted from now on uses it: by every
/// keystead_key of that name of this client at once, elsewhere within the time to live of the cache. What older
/// versions encrypted stays readable by keystead_client_decrypt(). Blocks on the network until the deadline of the
/// configuration.
///
/// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
///
/// Returns what keystead_client_key() returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_rotate_key(
    client: *const keystead_client,
    name: *const c_char,
    out_key: *mut *mut keystead_key,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_key", out_key), err, || on_handle(client, |client| client.rotate_key(text("name", name)?)))
    }
}

/// Decrypts message[0..message_len] with the key that it names, if that name matches expect: a key name, a
/// prefix followed by * ("customer-*"), or "*" for any (UTF-8). The name is compared before any cache or network
/// access, so that a value of one customer cannot be slipped into another's row. aad[0..aad_len] must be what
/// the message was encrypted with. Blocks on the network until the deadline of the configuration, unless the key
/// is cached; where that matters, use keystead_key_decrypt().
///
/// The plaintext goes to out[0..out_capacity], which may not overlap message or aad, and its size to *out_len.
/// keystead_message_decrypted_size() tells the size before. If the buffer is too small, *out_len is the size
/// needed. On any failure out is zeroed, and *out_len is 0 unless the buffer was too small.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; BUFFER_TOO_SMALL; FORKED; CLOSED; WRONG_KEY if the
/// name does not match expect; NOT_AUTHENTIC for whatever is altered, of another context or not a message; and
/// what keystead_client_key() returns for a key that cannot be had or used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_decrypt(
    client: *const keystead_client,
    message: *const u8,
    message_len: usize,
    aad: *const u8,
    aad_len: usize,
    expect: *const c_char,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let message = Input { name: "message", start: message, len: message_len };
    let aad = Input { name: "aad", start: aad, len: aad_len };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe {
        transform(client, message, aad, out, err, |client, message, aad, out| {
            client.decrypt(message, aad, text("expect", expect)?, out)
        })
    }
}

/// Reads the configuration file, and every file that it refers to, again, and takes up what changed: the key servers
/// with their certificates, users and passwords, and the rules of failover. Renewed certificates are taken up within
/// seconds without this call, too. What else may have changed is in force once a client is opened; the log says so.
/// Blocks on files only.
///
/// Returns what keystead_client_open() returns, INVALID_HANDLE, FORKED or CLOSED. On any failure the client goes on as
/// it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_reload(
    client: *const keystead_client,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish(err, || on_handle(client, |client| client.reload().map(drop))) }
}

/// Decrypts as keystead_client_decrypt() does, and gives only what a role sees of the plaintext under a mask, as the
/// [[mask]] sections of the configuration say. mask and role are UTF-8. The role is checked before anything is looked
/// up; what is not shown never leaves the call. The application vouches that its user has the role.
///
/// The mask, which is UTF-8, goes to out[0..out_capacity], and its size to *out_len. A buffer as large as the message is
/// large enough; if it is too small, *out_len is the size needed. What is behind the mask in it is zeroed.
///
/// Returns ROLE_REFUSED if the configuration has no such mask for this role, and what keystead_client_decrypt() returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_decrypt_masked(
    client: *const keystead_client,
    message: *const u8,
    message_len: usize,
    aad: *const u8,
    aad_len: usize,
    expect: *const c_char,
    mask: *const c_char,
    role: *const c_char,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let message = Input { name: "message", start: message, len: message_len };
    let aad = Input { name: "aad", start: aad, len: aad_len };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe {
        transform(client, message, aad, out, err, |client, message, aad, out| {
            let view = View { mask: text("mask", mask)?, role: text("role", role)? };
            client.decrypt_masked(message, aad, text("expect", expect)?, view, out)
        })
    }
}

/// As keystead_client_decrypt_masked(), with a key at hand: that of a data space, whose messages only the unlocked key
/// decrypts. The masks are those of the client's configuration. CPU only, and files.
///
/// Returns ROLE_REFUSED if the configuration has no such mask for this role; LOG_FAILED; and what keystead_key_decrypt()
/// returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_decrypt_masked_with(
    client: *const keystead_client,
    key: *const keystead_key,
    message: *const u8,
    message_len: usize,
    aad: *const u8,
    aad_len: usize,
    mask: *const c_char,
    role: *const c_char,
    out: *mut u8,
    out_capacity: usize,
    out_len: *mut usize,
    err: *mut *mut keystead_error,
) -> keystead_status {
    let message = Input { name: "message", start: message, len: message_len };
    let aad = Input { name: "aad", start: aad, len: aad_len };
    let out = Output { start: out, capacity: out_capacity, filled: out_len };
    // SAFETY: the rules of the header.
    unsafe {
        transform(client, message, aad, out, err, |client, message, aad, out| {
            let view = View { mask: text("mask", mask)?, role: text("role", role)? };
            on_handle(key, |key| client.decrypt_masked_with(key, message, aad, view, out))
        })
    }
}

/// What the client knows of itself, as one JSON object: "client" (its name), "version" (the library's),
/// "memory_tier" (how the memory that keys are in is protected), "config" (its "file", when it was "loaded", and the
/// "reload_error" that keeps a changed one from being taken up), "cache", "log", "on_record" and "audit" (how many records
/// were "lost", "failing_since" when none can be written, in seconds since 1970, and for which "reason"; null where
/// there is no such target), and "servers" (for each its "state", KMIP
/// version, vendor, last error, latency, and when our certificate and its own end). Does not block.
///
/// On success *out_json is to be freed with keystead_bytes_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_status(
    client: *const keystead_client,
    out_json: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_json", out_json), err, || on_handle(client, |client| Terminated::json(&client.status()?)))
    }
}

/// Drops the sessions of every key, so that nothing encrypted after a snapshot of the machine can repeat what was
/// encrypted before it. Call it right before a planned snapshot. Keys stay usable. Does not block.
///
/// Returns KEYSTEAD_OK; INVALID_HANDLE; FORKED; CLOSED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_quiesce(
    client: *const keystead_client,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish(err, || on_handle(client, |client| client.quiesce())) }
}
