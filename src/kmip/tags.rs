//! The tags of KMIP 1.x that this client writes or reads (KMIP 1.4 §9.1.3.1).

#![forbid(unsafe_code)]

/// A tag: three bytes, the first of which is 0x42 for the standard's own.
pub type Tag = u32;

pub const ATTRIBUTE: Tag = 0x420008;
pub const ATTRIBUTE_NAME: Tag = 0x42000A;
pub const ATTRIBUTE_VALUE: Tag = 0x42000B;
pub const AUTHENTICATION: Tag = 0x42000C;
pub const BATCH_COUNT: Tag = 0x42000D;
pub const BATCH_ERROR_CONTINUATION_OPTION: Tag = 0x42000E;
pub const BATCH_ITEM: Tag = 0x42000F;
pub const BLOCK_CIPHER_MODE: Tag = 0x420011;
pub const COMPROMISE_OCCURRENCE_DATE: Tag = 0x420021;
pub const CREDENTIAL: Tag = 0x420023;
pub const CREDENTIAL_TYPE: Tag = 0x420024;
pub const CREDENTIAL_VALUE: Tag = 0x420025;
pub const CRYPTOGRAPHIC_ALGORITHM: Tag = 0x420028;
pub const CRYPTOGRAPHIC_LENGTH: Tag = 0x42002A;
pub const CRYPTOGRAPHIC_PARAMETERS: Tag = 0x42002B;
pub const IV_COUNTER_NONCE: Tag = 0x42003D;
pub const KEY_BLOCK: Tag = 0x420040;
pub const KEY_COMPRESSION_TYPE: Tag = 0x420041;
pub const KEY_FORMAT_TYPE: Tag = 0x420042;
pub const KEY_MATERIAL: Tag = 0x420043;
pub const KEY_VALUE: Tag = 0x420045;
pub const KEY_WRAPPING_DATA: Tag = 0x420046;
pub const MAXIMUM_ITEMS: Tag = 0x42004F;
pub const MAXIMUM_RESPONSE_SIZE: Tag = 0x420050;
pub const NAME_TYPE: Tag = 0x420054;
pub const NAME_VALUE: Tag = 0x420055;
pub const OBJECT_TYPE: Tag = 0x420057;
pub const OPERATION: Tag = 0x42005C;
pub const PADDING_METHOD: Tag = 0x42005F;
pub const PROTOCOL_VERSION: Tag = 0x420069;
pub const PROTOCOL_VERSION_MAJOR: Tag = 0x42006A;
pub const PROTOCOL_VERSION_MINOR: Tag = 0x42006B;
pub const QUERY_FUNCTION: Tag = 0x420074;
pub const REQUEST_HEADER: Tag = 0x420077;
pub const REQUEST_MESSAGE: Tag = 0x420078;
pub const REQUEST_PAYLOAD: Tag = 0x420079;
pub const RESPONSE_HEADER: Tag = 0x42007A;
pub const RESPONSE_MESSAGE: Tag = 0x42007B;
pub const RESPONSE_PAYLOAD: Tag = 0x42007C;
pub const RESULT_MESSAGE: Tag = 0x42007D;
pub const RESULT_REASON: Tag = 0x42007E;
pub const RESULT_STATUS: Tag = 0x42007F;
pub const REVOCATION_REASON: Tag = 0x420081;
pub const REVOCATION_REASON_CODE: Tag = 0x420082;
pub const SERVER_INFORMATION: Tag = 0x420088;
pub const SYMMETRIC_KEY: Tag = 0x42008F;
pub const TEMPLATE_ATTRIBUTE: Tag = 0x420091;
pub const UNIQUE_BATCH_ITEM_ID: Tag = 0x420093;
pub const UNIQUE_IDENTIFIER: Tag = 0x420094;
pub const USERNAME: Tag = 0x420099;
pub const VENDOR_IDENTIFICATION: Tag = 0x42009D;
pub const PASSWORD: Tag = 0x4200A1;
pub const DATA: Tag = 0x4200C2;
pub const MAC_DATA: Tag = 0x4200C6;
pub const TAG_LENGTH: Tag = 0x4200CE;
pub const VALIDATION_INFORMATION: Tag = 0x4200DF;
pub const VALIDATION_AUTHORITY_TYPE: Tag = 0x4200E0;
pub const VALIDATION_LEVEL: Tag = 0x4200E6;
pub const VALIDATION_CERTIFICATE_IDENTIFIER: Tag = 0x4200E7;
pub const AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA: Tag = 0x4200FE;
pub const AUTHENTICATED_ENCRYPTION_TAG: Tag = 0x4200FF;
