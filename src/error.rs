//! One error type and one table of status codes for the whole library.
//!
//! Every error says what was tried, against what, why it failed and what to do next. No error holds a
//! key, a password or a plaintext.

#![forbid(unsafe_code)]

use std::fmt;

use serde::Serialize;

/// What every fallible function of the library returns.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $value:literal $name:literal,)+) => {
        /// A status code, as it crosses the C ABI. Codes are only ever appended, never reused.
        ///
        /// Blocks: 1xx arguments and handles, 2xx configuration, 3xx network and TLS, 4xx the key
        /// server's answer, 5xx cryptography and key state, 9xx internal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Code { $($(#[$doc])* $variant = $value,)+ }

        impl Code {
            /// Every code, in ascending order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The name after `KEYSTEAD_E_`, for example `BUFFER_TOO_SMALL`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }
        }
    };
}

codes! {
    /// An argument is missing, malformed or out of range.
    InvalidArgument = 101 "INVALID_ARGUMENT",
    /// The handle is NULL, freed, or of another kind.
    InvalidHandle = 102 "INVALID_HANDLE",
    /// The output buffer is too small; the size needed was written to `*out_len`.
    BufferTooSmall = 103 "BUFFER_TOO_SMALL",
    /// The handle was made before a fork; open a client of its own in the child.
    Forked = 104 "FORKED",
    /// The client was closed.
    Closed = 105 "CLOSED",

    /// The configuration is not valid TOML, or holds a key or value that is not in the schema.
    ConfigInvalid = 201 "CONFIG_INVALID",
    /// A file of the configuration cannot be read.
    ConfigUnreadable = 202 "CONFIG_UNREADABLE",
    /// A file's owner, mode, type or folder lets others read or change it.
    FileExposed = 203 "FILE_EXPOSED",
    /// A certificate or private key cannot be used, or they do not belong together.
    CertificateInvalid = 204 "CERTIFICATE_INVALID",
    /// The policy `strict` forbids this.
    PolicyRefused = 205 "POLICY_REFUSED",
    /// The configuration, or a file it names, lies on a removable medium or a network mount.
    MountRefused = 206 "MOUNT_REFUSED",
    /// The owner of the configuration is a user who can sign on.
    OwnerSignsOn = 207 "OWNER_SIGNS_ON",
    /// Another client of this process, of another name, uses the same client certificate.
    CertificateShared = 208 "CERTIFICATE_SHARED",

    /// No configured key server answered; the detail lists every attempt.
    NoServer = 301 "NO_SERVER",
    /// The key server could not be reached: name not found, refused, unreachable.
    Unreachable = 302 "UNREACHABLE",
    /// The deadline passed.
    Deadline = 303 "DEADLINE",
    /// The server's certificate was not issued by the configured CA.
    ServerUntrusted = 304 "SERVER_UNTRUSTED",
    /// The server's certificate is expired or not yet valid.
    ServerCertificateExpired = 305 "SERVER_CERTIFICATE_EXPIRED",
    /// The server's certificate is for another name.
    ServerNameMismatch = 306 "SERVER_NAME_MISMATCH",
    /// The server refused our client certificate.
    ClientCertificateRefused = 307 "CLIENT_CERTIFICATE_REFUSED",
    /// The server does not speak TLS on this port.
    NotTls = 308 "NOT_TLS",
    /// The TLS handshake or connection failed for another reason.
    TlsFailed = 309 "TLS_FAILED",
    /// The connection ended before the whole reply had come.
    ConnectionLost = 310 "CONNECTION_LOST",
    /// The reply is not valid KMIP.
    ReplyMalformed = 311 "REPLY_MALFORMED",
    /// The server's certificate was revoked by the authority that issued it.
    ServerCertificateRevoked = 312 "SERVER_CERTIFICATE_REVOKED",
    /// The configured revocation lists do not tell whether the server's certificate was revoked.
    RevocationUnknown = 313 "REVOCATION_UNKNOWN",

    /// The key server has no such key.
    KeyNotFound = 401 "KEY_NOT_FOUND",
    /// The key server refused the operation.
    ServerRefused = 402 "SERVER_REFUSED",
    /// The key server, or the KMIP version it speaks, lacks the operation.
    Unsupported = 403 "UNSUPPORTED",
    /// The key server's answer contradicts the request: another name, algorithm or length.
    AnswerUnexpected = 404 "ANSWER_UNEXPECTED",
    /// The key server denied permission to this client.
    PermissionDenied = 405 "PERMISSION_DENIED",
    /// Two active keys carry the same name and version.
    KeyAmbiguous = 406 "KEY_AMBIGUOUS",
    /// The key servers show only older versions of the key than were seen before.
    KeyVersionLost = 407 "KEY_VERSION_LOST",

    /// The data was altered, belongs to another key or context, or is not a message at all.
    NotAuthentic = 501 "NOT_AUTHENTIC",
    /// The message names another key than the one expected or given.
    WrongKey = 502 "WRONG_KEY",
    /// The key's state forbids this use.
    KeyState = 503 "KEY_STATE",
    /// The key's state could not be verified for longer than `max_stale`.
    KeyStale = 504 "KEY_STALE",
    /// The key material is printable, constant or otherwise not random.
    KeyWeak = 505 "KEY_WEAK",
    /// The algorithm or key length is not allowed.
    AlgorithmRefused = 506 "ALGORITHM_REFUSED",
    /// Something is known to need the key, so it is not destroyed.
    KeyReferenced = 507 "KEY_REFERENCED",
    /// The configuration has no mask of this name for this role.
    RoleRefused = 508 "ROLE_REFUSED",
    /// The object is a part of a split key.
    KeySplit = 509 "KEY_SPLIT",
    /// Another client of this process, of another name, uses the same key.
    KeyShared = 510 "KEY_SHARED",

    /// A fault of the library itself; the handle is not usable any more.
    Internal = 901 "INTERNAL",
    /// No locked memory is left for keys.
    MemoryExhausted = 902 "MEMORY_EXHAUSTED",
    /// A system call failed.
    System = 903 "SYSTEM",
    /// The log or the audit trail could not be written, and the configuration refuses unlogged work.
    LogFailed = 904 "LOG_FAILED",
}

impl Code {
    /// The number that crosses the C ABI.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// Whether the same call may succeed later without a change of configuration or data.
    pub fn is_retryable(self) -> bool {
        use Code::*;
        matches!(self, NoServer | Unreachable | Deadline | ConnectionLost | KeyStale | MemoryExhausted)
    }

    /// Whether the failure lies between us and the server (3xx), so that another server may do better.
    /// Everything else is an answer.
    pub fn is_transport(self) -> bool {
        (300..400).contains(&self.number())
    }
}

/// One server that was tried and did not serve the call.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// The server as the configuration names it, `host:port`.
    pub server: String,
    /// The peer's address, where one was reached or at least resolved: `127.0.0.1:5696`.
    pub address: Option<String>,
    /// The number of the code.
    pub code: i32,
    /// Why it failed.
    pub reason: String,
}

/// Why a call failed: a code for programs, a sentence for people, and the facts for both.
///
/// One pointer, so that the result of encrypting a message is returned in registers.
#[derive(Clone, Debug)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: Code,
    message: String,
    facts: Facts,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempt>,
}

impl Error {
    /// An error with its code and its sentence: what was tried, against what, why it failed, what to do.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Parts { code, message: message.into(), facts: Facts::default() }))
    }

    /// The output buffer holds fewer than `needed` bytes.
    pub fn buffer_too_small(needed: usize) -> Error {
        let mut error =
            Error::new(Code::BufferTooSmall, format!("the output buffer is too small: {needed} bytes are needed"));
        error.0.facts.needed = Some(needed);
        error
    }

    /// Adds the file the error is about.
    pub fn in_file(mut self, file: impl AsRef<std::path::Path>) -> Error {
        self.0.facts.file = Some(file.as_ref().display().to_string());
        self
    }

    /// Adds the line and column (from 1) the error is about.
    pub fn at(mut self, line: usize, column: usize) -> Error {
        self.0.facts.line = Some(line);
        self.0.facts.column = Some(column);
        self
    }

    /// Adds the servers that were tried.
    pub fn after(mut self, attempts: Vec<Attempt>) -> Error {
        self.0.facts.attempts = attempts;
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sentence for people. It already names file, line and servers where they matter.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The servers that were tried, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.facts.attempts
    }

    /// The size that the output buffer should have had, in bytes.
    pub fn needed(&self) -> Option<usize> {
        self.0.facts.needed
    }

    /// Everything known about the failure, as one line of JSON.
    pub fn detail(&self) -> String {
        #[derive(Serialize)]
        struct Detail<'a> {
            code: i32,
            name: &'static str,
            message: &'a str,
            retryable: bool,
            #[serde(flatten)]
            facts: &'a Facts,
        }
        let detail = Detail {
            code: self.0.code.number(),
            name: self.0.code.name(),
            message: &self.0.message,
            retryable: self.0.code.is_retryable(),
            facts: &self.0.facts,
        };
        serde_json::to_string(&detail).expect("strings and numbers always serialise")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}
