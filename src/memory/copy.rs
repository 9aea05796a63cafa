//! A copy whose speed does not depend on alignment. (signature only)

/// Copies `from` to `to`, which have the same length.
pub fn copy(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
}
