//! Every status a call may return.

use std::ffi::{CStr, c_char};

/// What every call that can fail returns: KEYSTEAD_OK, or the reason as one of KEYSTEAD_E_*.
///
/// Codes come in blocks: 1xx arguments and handles, 2xx configuration, 3xx network and TLS, 4xx the key
/// server's answer, 5xx cryptography and key state, 9xx internal. Codes are appended, never reused.
pub type keystead_status = i32;

/// The call did what it says.
pub const KEYSTEAD_OK: i32 = 0;

/// An argument is missing, malformed or out of range.
pub const KEYSTEAD_E_INVALID_ARGUMENT: i32 = 101;

/// The client, key or stream is NULL, freed, or a pointer to something else.
pub const KEYSTEAD_E_INVALID_HANDLE: i32 = 102;

/// The output buffer is too small; the size needed was written to *out_len.
pub const KEYSTEAD_E_BUFFER_TOO_SMALL: i32 = 103;

/// The client, key or stream was made before a fork; open a client in the child.
pub const KEYSTEAD_E_FORKED: i32 = 104;

/// The client was closed.
pub const KEYSTEAD_E_CLOSED: i32 = 105;

/// The configuration is not valid TOML, or holds a key or value that is not in the schema.
pub const KEYSTEAD_E_CONFIG_INVALID: i32 = 201;

/// A file of the configuration cannot be read.
pub const KEYSTEAD_E_CONFIG_UNREADABLE: i32 = 202;

/// A file's owner, mode, type or folder lets others read or change it.
pub const KEYSTEAD_E_FILE_EXPOSED: i32 = 203;

/// A certificate or private key cannot be used, or they do not belong together.
pub const KEYSTEAD_E_CERTIFICATE_INVALID: i32 = 204;

/// The policy "strict" forbids this.
pub const KEYSTEAD_E_POLICY_REFUSED: i32 = 205;

/// The configuration, or a file it names, lies on a removable medium or a network mount.
pub const KEYSTEAD_E_MOUNT_REFUSED: i32 = 206;

/// The owner of the configuration is a user who can sign on.
pub const KEYSTEAD_E_OWNER_SIGNS_ON: i32 = 207;

/// Another client of this process, of another name, uses the same client certificate.
pub const KEYSTEAD_E_CERTIFICATE_SHARED: i32 = 208;

/// No configured key server answered; the detail lists every attempt.
pub const KEYSTEAD_E_NO_SERVER: i32 = 301;

/// The key server could not be reached: name not found, refused, unreachable.
pub const KEYSTEAD_E_UNREACHABLE: i32 = 302;

/// The deadline passed.
pub const KEYSTEAD_E_DEADLINE: i32 = 303;

/// The server's certificate was not issued by the configured CA.
pub const KEYSTEAD_E_SERVER_UNTRUSTED: i32 = 304;

/// The server's certificate is expired or not yet valid.
pub const KEYSTEAD_E_SERVER_CERTIFICATE_EXPIRED: i32 = 305;

/// The server's certificate is for another name.
pub const KEYSTEAD_E_SERVER_NAME_MISMATCH: i32 = 306;

/// The server refused our client certificate.
pub const KEYSTEAD_E_CLIENT_CERTIFICATE_REFUSED: i32 = 307;

/// The server does not speak TLS on this port.
pub const KEYSTEAD_E_NOT_TLS: i32 = 308;

/// The TLS handshake or connection failed for another reason.
pub const KEYSTEAD_E_TLS_FAILED: i32 = 309;

/// The connection ended before the whole reply had come.
pub const KEYSTEAD_E_CONNECTION_LOST: i32 = 310;

/// The reply is not valid KMIP.
pub const KEYSTEAD_E_REPLY_MALFORMED: i32 = 311;

/// The server's certificate was revoked by the authority that issued it.
pub const KEYSTEAD_E_SERVER_CERTIFICATE_REVOKED: i32 = 312;

/// The configured revocation lists do not tell whether the server's certificate was revoked.
pub const KEYSTEAD_E_REVOCATION_UNKNOWN: i32 = 313;

/// The key server has no such key.
pub const KEYSTEAD_E_KEY_NOT_FOUND: i32 = 401;

/// The key server refused the operation.
pub const KEYSTEAD_E_SERVER_REFUSED: i32 = 402;

/// The key server, or the KMIP version it speaks, lacks the operation.
pub const KEYSTEAD_E_UNSUPPORTED: i32 = 403;

/// The key server's answer contradicts the request: another name, algorithm or length.
pub const KEYSTEAD_E_ANSWER_UNEXPECTED: i32 = 404;

/// The key server denied permission to this client.
pub const KEYSTEAD_E_PERMISSION_DENIED: i32 = 405;

/// Two active keys carry the same name and version.
pub const KEYSTEAD_E_KEY_AMBIGUOUS: i32 = 406;

/// The key servers show only older versions of the key than were seen before.
pub const KEYSTEAD_E_KEY_VERSION_LOST: i32 = 407;

/// The data was altered, belongs to another key or context, or is not a message at all.
pub const KEYSTEAD_E_NOT_AUTHENTIC: i32 = 501;

/// The message names another key than the one expected or given.
pub const KEYSTEAD_E_WRONG_KEY: i32 = 502;

/// The key's state forbids this use.
pub const KEYSTEAD_E_KEY_STATE: i32 = 503;

/// The key's state could not be verified for longer than max_stale.
pub const KEYSTEAD_E_KEY_STALE: i32 = 504;

/// The key material is printable, constant or otherwise not random.
pub const KEYSTEAD_E_KEY_WEAK: i32 = 505;

/// The algorithm or key length is not allowed.
pub const KEYSTEAD_E_ALGORITHM_REFUSED: i32 = 506;

/// Something is known to need the key, so it is not destroyed.
pub const KEYSTEAD_E_KEY_REFERENCED: i32 = 507;

/// The configuration has no mask of this name for this role.
pub const KEYSTEAD_E_ROLE_REFUSED: i32 = 508;

/// The object is a part of a split key.
pub const KEYSTEAD_E_KEY_SPLIT: i32 = 509;

/// Another client of this process, of another name, uses the same key.
pub const KEYSTEAD_E_KEY_SHARED: i32 = 510;

/// A fault of the library itself; the client or key is not usable any more.
pub const KEYSTEAD_E_INTERNAL: i32 = 901;

/// No locked memory is left for keys.
pub const KEYSTEAD_E_MEMORY_EXHAUSTED: i32 = 902;

/// A system call failed.
pub const KEYSTEAD_E_SYSTEM: i32 = 903;

/// The log or the audit trail could not be written, and the configuration refuses unlogged work.
pub const KEYSTEAD_E_LOG_FAILED: i32 = 904;

macro_rules! names {
    ($($status:ident),+ $(,)?) => {
        /// Every status with its name.
        const NAMES: &[(keystead_status, &CStr)] = &[$((
            $status,
            match CStr::from_bytes_with_nul(concat!(stringify!($status), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("an identifier holds no NUL"),
            },
        )),+];
    };
}

names! {
    KEYSTEAD_OK,
    KEYSTEAD_E_INVALID_ARGUMENT,
    KEYSTEAD_E_INVALID_HANDLE,
    KEYSTEAD_E_BUFFER_TOO_SMALL,
    KEYSTEAD_E_FORKED,
    KEYSTEAD_E_CLOSED,
    KEYSTEAD_E_CONFIG_INVALID,
    KEYSTEAD_E_CONFIG_UNREADABLE,
    KEYSTEAD_E_FILE_EXPOSED,
    KEYSTEAD_E_CERTIFICATE_INVALID,
    KEYSTEAD_E_POLICY_REFUSED,
    KEYSTEAD_E_MOUNT_REFUSED,
    KEYSTEAD_E_OWNER_SIGNS_ON,
    KEYSTEAD_E_CERTIFICATE_SHARED,
    KEYSTEAD_E_NO_SERVER,
    KEYSTEAD_E_UNREACHABLE,
    KEYSTEAD_E_DEADLINE,
    KEYSTEAD_E_SERVER_UNTRUSTED,
    KEYSTEAD_E_SERVER_CERTIFICATE_EXPIRED,
    KEYSTEAD_E_SERVER_NAME_MISMATCH,
    KEYSTEAD_E_CLIENT_CERTIFICATE_REFUSED,
    KEYSTEAD_E_NOT_TLS,
    KEYSTEAD_E_TLS_FAILED,
    KEYSTEAD_E_CONNECTION_LOST,
    KEYSTEAD_E_REPLY_MALFORMED,
    KEYSTEAD_E_SERVER_CERTIFICATE_REVOKED,
    KEYSTEAD_E_REVOCATION_UNKNOWN,
    KEYSTEAD_E_KEY_NOT_FOUND,
    KEYSTEAD_E_SERVER_REFUSED,
    KEYSTEAD_E_UNSUPPORTED,
    KEYSTEAD_E_ANSWER_UNEXPECTED,
    KEYSTEAD_E_PERMISSION_DENIED,
    KEYSTEAD_E_KEY_AMBIGUOUS,
    KEYSTEAD_E_KEY_VERSION_LOST,
    KEYSTEAD_E_NOT_AUTHENTIC,
    KEYSTEAD_E_WRONG_KEY,
    KEYSTEAD_E_KEY_STATE,
    KEYSTEAD_E_KEY_STALE,
    KEYSTEAD_E_KEY_WEAK,
    KEYSTEAD_E_ALGORITHM_REFUSED,
    KEYSTEAD_E_KEY_REFERENCED,
    KEYSTEAD_E_ROLE_REFUSED,
    KEYSTEAD_E_KEY_SPLIT,
    KEYSTEAD_E_KEY_SHARED,
    KEYSTEAD_E_INTERNAL,
    KEYSTEAD_E_MEMORY_EXHAUSTED,
    KEYSTEAD_E_SYSTEM,
    KEYSTEAD_E_LOG_FAILED,
}

/// The version of the library, for example "1.2.3". CPU only; never NULL; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn keystead_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The name of a status as this header spells it, for example "KEYSTEAD_E_FORKED", or "unknown status" for a
/// number that is none. CPU only; never NULL; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn keystead_status_name(status: keystead_status) -> *const c_char {
    let known = NAMES.iter().find(|(number, _)| *number == status);
    known.map_or(c"unknown status", |(_, name)| *name).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn name_of(status: keystead_status) -> String {
        // SAFETY: the function returns a string that ends in NUL and lives for ever.
        unsafe { CStr::from_ptr(keystead_status_name(status)) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn every_code_has_a_constant_of_its_name_and_number() {
        for code in Code::ALL {
            assert_eq!(name_of(code.number()), format!("KEYSTEAD_E_{}", code.name()));
        }
        assert_eq!(name_of(KEYSTEAD_OK), "KEYSTEAD_OK");
        assert_eq!(NAMES.len(), Code::ALL.len() + 1, "a constant without a code");
        assert_eq!(name_of(-1), "unknown status");
    }

    #[test]
    fn every_constant_has_a_name() {
        let constants = include_str!("status.rs").lines().filter(|line| line.starts_with("pub const KEYSTEAD_"));
        assert_eq!(constants.count(), NAMES.len());
    }

    #[test]
    fn the_version_is_the_package_version() {
        // SAFETY: the function returns a string that ends in NUL and lives for ever.
        let version = unsafe { CStr::from_ptr(keystead_version()) };
        assert_eq!(version.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
    }
}
