//! The ordered key servers of a client, and what happens when one fails.

#![forbid(unsafe_code)]
