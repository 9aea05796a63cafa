//! Memory for secrets: locked slots, a wiping allocator, scrubbing, and the copy loop.

pub mod copy;
pub mod scrub;
pub mod slot;
