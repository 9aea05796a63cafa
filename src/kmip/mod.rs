//! KMIP: TTLV, messages, operations, TLS, one connection.

#![forbid(unsafe_code)]
