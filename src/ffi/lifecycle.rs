//! The life of keys, and the keys of users, over the C ABI.

use std::ffi::c_char;

use super::arguments::text;
use super::bytes::{Terminated, keystead_bytes};
use super::client::keystead_client;
use super::entry::{finish, finish_handle, on_handle};
use super::error::keystead_error;
use super::key::keystead_key;
use super::status::keystead_status;
use crate::client::Revocation;
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};

/// Why a version of a key is revoked: one of KEYSTEAD_REVOCATION_*.
pub type keystead_revocation = i32;

/// The version may be in other hands. It becomes compromised, and neither encrypts nor decrypts.
pub const KEYSTEAD_REVOCATION_KEY_COMPROMISE: i32 = 2;

/// Another version took its place. It becomes deactivated, and goes on decrypting.
pub const KEYSTEAD_REVOCATION_SUPERSEDED: i32 = 5;

/// Its purpose ended. It becomes deactivated, and goes on decrypting.
pub const KEYSTEAD_REVOCATION_CESSATION_OF_OPERATION: i32 = 6;

/// The name of the key of the user, customer or document that id tells apart: what keys.template of the
/// configuration makes of it, or of its pseudonym where keys.pseudonym_key is set. It is also what
/// keystead_client_decrypt() is to expect for that user's data. Blocks on the network until the deadline of the
/// configuration where names are pseudonyms and their key is not cached.
///
/// On success *out_name is to be freed with keystead_bytes_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT for an id that makes no key name, or without a template; and what
/// keystead_client_key() returns for the key of pseudonyms.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_key_name(
    client: *const keystead_client,
    id: *const c_char,
    out_name: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_name", out_name), err, || {
            on_handle(client, |client| {
                client.key_name(text("id", id)?).map(|name| Terminated::copy_of(name.as_bytes()))
            })
        })
    }
}

/// The key of the user, customer or document that id tells apart, as keystead_client_key() gives the key of
/// keystead_client_key_name(). Blocks on the network until the deadline of the configuration, unless it is cached.
///
/// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
///
/// Returns what keystead_client_key_name() and keystead_client_key() return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_key_for(
    client: *const keystead_client,
    id: *const c_char,
    out_key: *mut *mut keystead_key,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish_handle(("out_key", out_key), err, || on_handle(client, |client| client.key_for(text("id", id)?))) }
}

/// Makes the key of the user, customer or document that id tells apart. Where there is one, it gives that, so any
/// number of processes may register one user. Blocks on the network until the deadline of the configuration.
///
/// On success *out_key is a key to be freed with keystead_key_free(), else NULL.
///
/// Returns what keystead_client_key_name() and keystead_client_create_key() return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_register(
    client: *const keystead_client,
    id: *const c_char,
    out_key: *mut *mut keystead_key,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_key", out_key), err, || {
            on_handle(client, |client| client.register(text("id", id)?).map(|(key, _)| key))
        })
    }
}

/// Makes a pre-active version usable. key_id is its name and version: "customer-42/3". If it is the newest, it is used
/// as after keystead_client_rotate_key(). Blocks on the network until the deadline of the configuration.
///
/// Returns what keystead_client_key() returns; KEY_STATE if the version is neither pre-active nor active.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_activate_key(
    client: *const keystead_client,
    key_id: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish(err, || on_handle(client, |client| client.activate_key(&version("key_id", key_id)?))) }
}

/// Ends a version's time on the key server: it encrypts no more, and goes on decrypting unless it is compromised.
/// key_id is its name and version, why one of KEYSTEAD_REVOCATION_*. Other processes follow within the time to live
/// of their caches. Blocks on the network until the deadline of the configuration.
///
/// Returns what keystead_client_key() returns; KEY_STATE if the version's state does not allow it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_revoke_key(
    client: *const keystead_client,
    key_id: *const c_char,
    why: keystead_revocation,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || on_handle(client, |client| client.revoke_key(&version("key_id", key_id)?, revocation(why)?)))
    }
}

/// Destroys a version on the key server. What it encrypted can never be read again. It takes two steps: a version
/// that is active is refused until it was revoked. key_id is its name and version. Blocks on the network until the
/// deadline of the configuration.
///
/// Returns what keystead_client_key() returns; KEY_STATE while it is active; KEY_REFERENCED while anything is known
/// to need it, see keystead_client_add_reference().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_destroy_key(
    client: *const keystead_client,
    key_id: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish(err, || on_handle(client, |client| client.destroy_key(&version("key_id", key_id)?))) }
}

/// Remembers that what (one line that people understand: a table, an archive) needs a version, which is then not
/// destroyed. key_id is its name and version. It is kept in the file of keys.state, without which it ends with this
/// client. Remembering twice is once. Blocks on files, and while any process ends a version (destroys it, or revokes
/// a key encryption key), until that is over or the deadline of the configuration: so what was remembered is what no
/// end overlooked.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT unless what is one line of 1 to 256 bytes; INVALID_HANDLE; FORKED; CLOSED;
/// DEADLINE where that took too long, with nothing remembered; LOG_FAILED; SYSTEM; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_add_reference(
    client: *const keystead_client,
    key_id: *const c_char,
    what: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || {
            on_handle(client, |client| client.add_reference(&version("key_id", key_id)?, text("what", what)?))
        })
    }
}

/// Forgets that what needs a version. Blocks on files only.
///
/// Returns what keystead_client_add_reference() returns, except DEADLINE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_remove_reference(
    client: *const keystead_client,
    key_id: *const c_char,
    what: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || {
            on_handle(client, |client| client.remove_reference(&version("key_id", key_id)?, text("what", what)?))
        })
    }
}

/// Wipes the versions of the key called name from memory, or those of every key if name is NULL. What is held of them
/// says KEY_STALE from now on; keystead_client_key() fetches anew. Blocks on files only.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; LOG_FAILED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_purge(
    client: *const keystead_client,
    name: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || {
            on_handle(client, |client| match name.is_null() {
                true => client.purge(),
                false => client.purge_key(text("name", name)?),
            })
        })
    }
}

/// # Safety
/// As for [`text`].
pub(super) unsafe fn version(parameter: &'static str, id: *const c_char) -> Result<KeyId> {
    // SAFETY: the caller's promise is the same.
    KeyId::parse(unsafe { text(parameter, id) }?)
}

pub(super) fn revocation(why: keystead_revocation) -> Result<Revocation> {
    match why {
        KEYSTEAD_REVOCATION_KEY_COMPROMISE => Ok(Revocation::KeyCompromise),
        KEYSTEAD_REVOCATION_SUPERSEDED => Ok(Revocation::Superseded),
        KEYSTEAD_REVOCATION_CESSATION_OF_OPERATION => Ok(Revocation::CessationOfOperation),
        other => {
            let message = format!("{other} is none of KEYSTEAD_REVOCATION_*, which say why a key is revoked");
            Err(Error::new(Code::InvalidArgument, message))
        }
    }
}
