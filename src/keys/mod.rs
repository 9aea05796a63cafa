//! Named keys: made on and fetched from the cluster, cached, verified.

#![forbid(unsafe_code)]
