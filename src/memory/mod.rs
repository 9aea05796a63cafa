//! Memory for secrets: locked slots, a wiping allocator, scrubbing, and the copy loop.
//!
//! A key at rest lives in a [`slot::Slot`] and nowhere else. What a computation with it leaves on the way is
//! cleared by [`scrub`]: the stack after a key was loaded, the vector registers after each cryptographic call.
//! Heap blocks that a dependency held are cleared by the allocator when they are freed.

pub mod copy;
mod pages;
pub mod scrub;
pub mod slot;
pub mod ticket;

// Only the C library may choose how its process allocates; the tests choose it to be tested.
#[cfg(any(test, feature = "c-library"))]
mod alloc;
