//! The enumerations of KMIP that this client understands. A number it does not know is kept as a number.

#![forbid(unsafe_code)]

use std::fmt;

/// A protocol version, for example 1.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

impl Version {
    /// Every version this client speaks, the preferred one first.
    pub const SPOKEN: [Version; 5] =
        [Version::new(1, 4), Version::new(1, 3), Version::new(1, 2), Version::new(1, 1), Version::new(1, 0)];

    pub const fn new(major: u16, minor: u16) -> Version {
        Version { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The state of a key (KMIP 1.4 §3.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    PreActive,
    Active,
    Deactivated,
    Compromised,
    Destroyed,
    DestroyedCompromised,
    /// A number the standard does not define.
    Other(u32),
}

impl State {
    pub fn of(number: u32) -> State {
        match number {
            1 => State::PreActive,
            2 => State::Active,
            3 => State::Deactivated,
            4 => State::Compromised,
            5 => State::Destroyed,
            6 => State::DestroyedCompromised,
            other => State::Other(other),
        }
    }

    pub fn number(self) -> u32 {
        match self {
            State::PreActive => 1,
            State::Active => 2,
            State::Deactivated => 3,
            State::Compromised => 4,
            State::Destroyed => 5,
            State::DestroyedCompromised => 6,
            State::Other(number) => number,
        }
    }

    pub fn is_destroyed(self) -> bool {
        matches!(self, State::Destroyed | State::DestroyedCompromised)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::PreActive => f.write_str("pre-active"),
            State::Active => f.write_str("active"),
            State::Deactivated => f.write_str("deactivated"),
            State::Compromised => f.write_str("compromised"),
            State::Destroyed => f.write_str("destroyed"),
            State::DestroyedCompromised => f.write_str("destroyed-compromised"),
            State::Other(number) => write!(f, "state {number:#x}"),
        }
    }
}

/// A cryptographic algorithm by its number (KMIP 1.4 §9.1.3.2.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Algorithm(pub u32);

impl Algorithm {
    pub const AES: Algorithm = Algorithm(3);
    pub const HMAC_SHA256: Algorithm = Algorithm(9);
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("DES"),
            2 => f.write_str("3DES"),
            3 => f.write_str("AES"),
            4 => f.write_str("RSA"),
            5 => f.write_str("DSA"),
            6 => f.write_str("ECDSA"),
            7 => f.write_str("HMAC-SHA1"),
            9 => f.write_str("HMAC-SHA256"),
            0x10 => f.write_str("Blowfish"),
            0x11 => f.write_str("Camellia"),
            0x12 => f.write_str("CAST5"),
            0x13 => f.write_str("IDEA"),
            0x15 => f.write_str("RC2"),
            0x16 => f.write_str("RC4"),
            0x17 => f.write_str("RC5"),
            0x19 => f.write_str("Twofish"),
            other => write!(f, "algorithm {other:#x}"),
        }
    }
}

/// What a key may be used for: the bits of Cryptographic Usage Mask (KMIP 1.4 §9.1.3.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Usage(pub u32);

impl Usage {
    pub const ENCRYPT: Usage = Usage(0x4);
    pub const DECRYPT: Usage = Usage(0x8);
    pub const WRAP_KEY: Usage = Usage(0x10);
    pub const UNWRAP_KEY: Usage = Usage(0x20);
    pub const MAC_GENERATE: Usage = Usage(0x80);
    pub const MAC_VERIFY: Usage = Usage(0x100);

    /// Whether all of `uses` are allowed.
    pub fn allows(self, uses: Usage) -> bool {
        self.0 & uses.0 == uses.0
    }
}

impl std::ops::BitOr for Usage {
    type Output = Usage;

    fn bitor(self, other: Usage) -> Usage {
        Usage(self.0 | other.0)
    }
}

/// The type of a managed object by its number (KMIP 1.4 §9.1.3.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectType(pub u32);

impl ObjectType {
    pub const SYMMETRIC_KEY: ObjectType = ObjectType(2);
    pub const SPLIT_KEY: ObjectType = ObjectType(5);
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("certificate"),
            2 => f.write_str("symmetric key"),
            3 => f.write_str("public key"),
            4 => f.write_str("private key"),
            5 => f.write_str("split key"),
            6 => f.write_str("template"),
            7 => f.write_str("secret data"),
            8 => f.write_str("opaque object"),
            9 => f.write_str("PGP key"),
            other => write!(f, "object type {other:#x}"),
        }
    }
}

/// Why a server refused, by its number (KMIP 1.4 §9.1.3.2.29; from 0x19 on KMIP 2.1 §11.47, which some
/// servers send in 1.x replies).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResultReason(pub u32);

macro_rules! reasons {
    ($($constant:ident = $number:literal $name:literal,)+) => {
        impl ResultReason {
            $(pub const $constant: ResultReason = ResultReason($number);)+

            /// The standard's name, if it has one for the number.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)+
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    ITEM_NOT_FOUND = 0x01 "Item Not Found",
    RESPONSE_TOO_LARGE = 0x02 "Response Too Large",
    AUTHENTICATION_NOT_SUCCESSFUL = 0x03 "Authentication Not Successful",
    INVALID_MESSAGE = 0x04 "Invalid Message",
    OPERATION_NOT_SUPPORTED = 0x05 "Operation Not Supported",
    MISSING_DATA = 0x06 "Missing Data",
    INVALID_FIELD = 0x07 "Invalid Field",
    FEATURE_NOT_SUPPORTED = 0x08 "Feature Not Supported",
    OPERATION_CANCELED = 0x09 "Operation Canceled By Requester",
    CRYPTOGRAPHIC_FAILURE = 0x0A "Cryptographic Failure",
    ILLEGAL_OPERATION = 0x0B "Illegal Operation",
    PERMISSION_DENIED = 0x0C "Permission Denied",
    OBJECT_ARCHIVED = 0x0D "Object Archived",
    INDEX_OUT_OF_BOUNDS = 0x0E "Index Out Of Bounds",
    APPLICATION_NAMESPACE_NOT_SUPPORTED = 0x0F "Application Namespace Not Supported",
    KEY_FORMAT_TYPE_NOT_SUPPORTED = 0x10 "Key Format Type Not Supported",
    KEY_COMPRESSION_TYPE_NOT_SUPPORTED = 0x11 "Key Compression Type Not Supported",
    ENCODING_OPTION_ERROR = 0x12 "Encoding Option Error",
    KEY_VALUE_NOT_PRESENT = 0x13 "Key Value Not Present",
    ATTESTATION_REQUIRED = 0x14 "Attestation Required",
    ATTESTATION_FAILED = 0x15 "Attestation Failed",
    SENSITIVE = 0x16 "Sensitive",
    NOT_EXTRACTABLE = 0x17 "Not Extractable",
    OBJECT_ALREADY_EXISTS = 0x18 "Object Already Exists",
    INVALID_TICKET = 0x19 "Invalid Ticket",
    USAGE_LIMIT_EXCEEDED = 0x1A "Usage Limit Exceeded",
    NUMERIC_RANGE = 0x1B "Numeric Range",
    INVALID_DATA_TYPE = 0x1C "Invalid Data Type",
    READ_ONLY_ATTRIBUTE = 0x1D "Read Only Attribute",
    MULTI_VALUED_ATTRIBUTE = 0x1E "Multi Valued Attribute",
    UNSUPPORTED_ATTRIBUTE = 0x1F "Unsupported Attribute",
    ATTRIBUTE_INSTANCE_NOT_FOUND = 0x20 "Attribute Instance Not Found",
    ATTRIBUTE_NOT_FOUND = 0x21 "Attribute Not Found",
    ATTRIBUTE_READ_ONLY = 0x22 "Attribute Read Only",
    ATTRIBUTE_SINGLE_VALUED = 0x23 "Attribute Single Valued",
    BAD_CRYPTOGRAPHIC_PARAMETERS = 0x24 "Bad Cryptographic Parameters",
    BAD_PASSWORD = 0x25 "Bad Password",
    CODEC_ERROR = 0x26 "Codec Error",
    ILLEGAL_OBJECT_TYPE = 0x28 "Illegal Object Type",
    INCOMPATIBLE_USAGE_MASK = 0x29 "Incompatible Cryptographic Usage Mask",
    INTERNAL_SERVER_ERROR = 0x2A "Internal Server Error",
    INVALID_ASYNCHRONOUS_CORRELATION_VALUE = 0x2B "Invalid Asynchronous Correlation Value",
    INVALID_ATTRIBUTE = 0x2C "Invalid Attribute",
    INVALID_ATTRIBUTE_VALUE = 0x2D "Invalid Attribute Value",
    INVALID_CORRELATION_VALUE = 0x2E "Invalid Correlation Value",
    INVALID_CSR = 0x2F "Invalid CSR",
    INVALID_OBJECT_TYPE = 0x30 "Invalid Object Type",
    KEY_WRAP_TYPE_NOT_SUPPORTED = 0x32 "Key Wrap Type Not Supported",
    MISSING_INITIALIZATION_VECTOR = 0x34 "Missing Initialization Vector",
    NON_UNIQUE_NAME_ATTRIBUTE = 0x35 "Non Unique Name Attribute",
    OBJECT_DESTROYED = 0x36 "Object Destroyed",
    OBJECT_NOT_FOUND = 0x37 "Object Not Found",
    NOT_AUTHORISED = 0x39 "Not Authorised",
    SERVER_LIMIT_EXCEEDED = 0x3A "Server Limit Exceeded",
    UNKNOWN_ENUMERATION = 0x3B "Unknown Enumeration",
    UNKNOWN_MESSAGE_EXTENSION = 0x3C "Unknown Message Extension",
    UNKNOWN_TAG = 0x3D "Unknown Tag",
    UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS = 0x3E "Unsupported Cryptographic Parameters",
    UNSUPPORTED_PROTOCOL_VERSION = 0x3F "Unsupported Protocol Version",
    WRAPPING_OBJECT_ARCHIVED = 0x40 "Wrapping Object Archived",
    WRAPPING_OBJECT_DESTROYED = 0x41 "Wrapping Object Destroyed",
    WRAPPING_OBJECT_NOT_FOUND = 0x42 "Wrapping Object Not Found",
    WRONG_KEY_LIFECYCLE_STATE = 0x43 "Wrong Key Lifecycle State",
    PROTECTION_STORAGE_UNAVAILABLE = 0x44 "Protection Storage Unavailable",
    PKCS11_CODEC_ERROR = 0x45 "PKCS#11 Codec Error",
    PKCS11_INVALID_FUNCTION = 0x46 "PKCS#11 Invalid Function",
    PKCS11_INVALID_INTERFACE = 0x47 "PKCS#11 Invalid Interface",
    PRIVATE_PROTECTION_STORAGE_UNAVAILABLE = 0x48 "Private Protection Storage Unavailable",
    PUBLIC_PROTECTION_STORAGE_UNAVAILABLE = 0x49 "Public Protection Storage Unavailable",
    UNKNOWN_OBJECT_GROUP = 0x4A "Unknown Object Group",
    CONSTRAINT_VIOLATION = 0x4B "Constraint Violation",
    DUPLICATE_PROCESS_REQUEST = 0x4C "Duplicate Process Request",
    GENERAL_FAILURE = 0x100 "General Failure",
}

impl fmt::Display for ResultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}, {:#x}", self.0),
            None => write!(f, "reason {:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_kmip_1_has_a_name_and_is_shown_with_its_number() {
        let numbers = (0x01..=0x18).chain([0x100]);
        assert!(numbers.clone().all(|number| ResultReason(number).name().is_some()));
        let mut names: Vec<_> = numbers.filter_map(|number| ResultReason(number).name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 0x19, "no name is there twice");
        assert_eq!(ResultReason::ITEM_NOT_FOUND.to_string(), "Item Not Found, 0x1");
        assert_eq!(ResultReason(0x8000_00AA).to_string(), "reason 0x800000aa");
    }
}
