//! Key encryption keys over the C ABI.

use std::ffi::c_char;

use super::arguments::text;
use super::bytes::{Terminated, keystead_bytes};
use super::client::keystead_client;
use super::entry::{finish, finish_handle, on_handle};
use super::error::keystead_error;
use super::lifecycle::{keystead_revocation, revocation, version};
use super::status::keystead_status;
use crate::client::KekInfo;
use crate::envelope::KeyId;
use crate::error::Result;

/// Makes the first version of the key encryption key (KEK) called name on the key servers; where there is one, it does
/// nothing. A KEK encrypts the keys of data spaces and never leaves the key servers. How it does so is fixed now: the
/// best way that all configured servers offer, so all of them have to answer. Blocks on the network until the deadline of
/// the configuration.
///
/// On success *out_kek_id is the name and the newest version, "master/1", to be freed with keystead_bytes_free(), else NULL.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; UNSUPPORTED where a server speaks less than
/// KMIP 1.2; NO_SERVER or another 3xx; another 4xx; LOG_FAILED; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_create_kek(
    client: *const keystead_client,
    name: *const c_char,
    out_kek_id: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_kek_id", out_kek_id), err, || {
            on_handle(client, |client| id_of(&client.create_kek(text("name", name)?)?.0))
        })
    }
}

/// Makes a new version of the KEK called name, for what is protected from now on; keystead_client_rewrap_space() moves what
/// is there. How it protects may be better than that of the version before, where all configured servers have come to offer
/// that, and is never less. All of them have to answer. Blocks on the network until the deadline of the configuration.
///
/// On success *out_kek_id is the name and version, "master/2", to be freed with keystead_bytes_free(), else NULL.
///
/// Returns what keystead_client_create_kek() returns; KEY_NOT_FOUND if there is no such KEK; UNSUPPORTED also where the
/// servers offer less than before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_rotate_kek(
    client: *const keystead_client,
    name: *const c_char,
    out_kek_id: *mut *mut keystead_bytes,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish_handle(("out_kek_id", out_kek_id), err, || {
            on_handle(client, |client| id_of(&client.rotate_kek(text("name", name)?)?))
        })
    }
}

fn id_of(kek: &KekInfo) -> Result<Terminated> {
    Ok(Terminated::copy_of(KeyId::new(&kek.name, kek.version)?.to_string().as_bytes()))
}

/// Ends the time of a KEK's version: nothing is protected under it any more. kek_id is its name and version, why one of
/// KEYSTEAD_REVOCATION_*. Some key servers unlock nothing with a deactivated KEK, so that one is not deactivated while the
/// protected DEK in any file is known to be under it; rewrap those first. One that is compromised ends at once, and its spaces
/// stop within the time to live of the caches. Blocks on the network until the deadline of the configuration, and on
/// files.
///
/// Returns KEYSTEAD_OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED; CLOSED; KEY_NOT_FOUND if there is no such version; KEY_STATE
/// if its state does not allow it; KEY_REFERENCED while anything is known to need it; KEY_AMBIGUOUS if the servers hold two;
/// NO_SERVER or another 3xx; another 4xx; LOG_FAILED; SYSTEM; INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_revoke_kek(
    client: *const keystead_client,
    kek_id: *const c_char,
    why: keystead_revocation,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || on_handle(client, |client| client.revoke_kek(&version("kek_id", kek_id)?, revocation(why)?)))
    }
}

/// Destroys a KEK's version on the key servers: what is under it can never be unlocked again, and so its data never be read.
/// It takes two steps: a version that is active is refused until it was revoked. kek_id is its name and version. Blocks on
/// the network until the deadline of the configuration, and on files.
///
/// Returns what keystead_client_revoke_kek() returns; KEY_STATE while it is active.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_destroy_kek(
    client: *const keystead_client,
    kek_id: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe { finish(err, || on_handle(client, |client| client.destroy_kek(&version("kek_id", kek_id)?))) }
}

/// As keystead_client_add_reference(), for a version of a KEK, which is then neither deactivated nor destroyed. Creating and
/// rewrapping a space does so with its file. Blocks on the network until the deadline of the configuration, and on files.
///
/// Returns what keystead_client_add_reference() returns; KEY_NOT_FOUND if there is no such version; KEY_AMBIGUOUS if the
/// servers hold two; NO_SERVER or another 3xx; another 4xx.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_add_kek_reference(
    client: *const keystead_client,
    kek_id: *const c_char,
    what: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || {
            on_handle(client, |client| client.add_kek_reference(&version("kek_id", kek_id)?, text("what", what)?))
        })
    }
}

/// Forgets that what needs a version of a KEK. Blocks as keystead_client_add_kek_reference() does.
///
/// Returns what keystead_client_add_kek_reference() returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keystead_client_remove_kek_reference(
    client: *const keystead_client,
    kek_id: *const c_char,
    what: *const c_char,
    err: *mut *mut keystead_error,
) -> keystead_status {
    // SAFETY: the rules of the header.
    unsafe {
        finish(err, || {
            on_handle(client, |client| client.remove_kek_reference(&version("kek_id", kek_id)?, text("what", what)?))
        })
    }
}
