//! Locked slots. (signature only)
use crate::error::Result;

/// A value in locked memory, absent from core files and forked children, wiped in place on drop.
pub struct Slot<T: Send + Sync>(Box<T>);

impl<T: Send + Sync> Slot<T> {
    /// Runs `make`, places its value in a slot, then scrubs the stack and registers it passed through.
    pub fn with(make: impl FnOnce() -> Result<T>) -> Result<Slot<T>> {
        Ok(Slot(Box::new(make()?)))
    }
}
impl Slot<[u8; 32]> {
    /// Copies key bytes into a slot. The caller wipes its own copy.
    pub fn copy_of(bytes: &[u8; 32]) -> Result<Slot<[u8; 32]>> {
        Ok(Slot(Box::new(*bytes)))
    }
}
impl<T: Send + Sync> std::ops::Deref for Slot<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Which protection the slots have on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// `memfd_secret`: not even the kernel maps it.
    Secret,
    /// `mlock`, left out of core files, emptied in children.
    Locked,
}

/// The tier in force, once a slot was made.
pub fn tier() -> Option<Tier> {
    None
}
