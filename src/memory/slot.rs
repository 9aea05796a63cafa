//! Locked slots: where keys live.

use std::io;
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard};

use once_cell::sync::OnceCell;

pub use super::pages::Tier;
use super::{pages, scrub};
use crate::error::{Code, Error, Result};
use crate::platform::ProcessStamp;

/// The largest value a slot holds: an AES-256-GCM key schedule (544 bytes) and what a session keeps with it.
pub const SLOT_SIZE: usize = 1024;

/// A slot begins a cache line, so that no two keys share one.
const SLOT_ALIGNMENT: usize = 64;

/// How much memory is asked of the kernel at a time; less near the limit on locked memory.
const CHUNK_SIZES: [usize; 3] = [64 * 1024, 16 * 1024, 4 * 1024];

/// A value in locked memory, absent from core files and forked children, wiped in place on drop.
///
/// Its pages are missing in a forked child, where a dereference would fault: whoever hands a slot on to code that
/// may run in a child compares a [`ProcessStamp`] first. Dropping it there is safe and does nothing.
pub struct Slot<T: Send + Sync> {
    cell: NonNull<T>,
    arena: &'static Arena,
    owns: PhantomData<T>,
}

// SAFETY: a slot owns its value like a box, and T may be sent and shared.
unsafe impl<T: Send + Sync> Send for Slot<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T: Send + Sync> Slot<T> {
    /// Runs `make`, places its value in a slot, then scrubs the stack and registers it passed through.
    ///
    /// What `make` borrows is its caller's to wipe. Nothing is run when no locked memory is left.
    pub fn with(make: impl FnOnce() -> Result<T>) -> Result<Slot<T>> {
        Slot::within(Arena::of_this_process(), make)
    }

    /// Kept out of line: [`fill`] and the scrubbing have to start from one and the same stack pointer.
    #[inline(never)]
    fn within(arena: &'static Arena, make: impl FnOnce() -> Result<T>) -> Result<Slot<T>> {
        const {
            assert!(!needs_drop::<T>(), "a slot is wiped, not dropped");
            assert!(size_of::<T>() <= SLOT_SIZE && align_of::<T>() <= SLOT_ALIGNMENT);
        }
        // Owned from here on, so that the slot is returned when `make` fails or panics.
        let slot = Slot { cell: arena.take()?.cast(), arena, owns: PhantomData };
        // SAFETY: the slot was just taken and is large enough for T.
        let filled = unsafe { fill(slot.cell, make) };
        scrub::derivation_stack();
        scrub::registers();
        filled.map(|()| slot)
    }
}

impl Slot<[u8; 32]> {
    /// Copies key bytes into a slot. The caller wipes its own copy.
    pub fn copy_of(bytes: &[u8; 32]) -> Result<Slot<[u8; 32]>> {
        Slot::with(|| Ok(*bytes))
    }
}

/// Values are moved by copying, and each move leaves a copy behind. All of them lie in this function's frame or
/// below, where its caller overwrites them.
///
/// # Safety
/// `cell` is valid for writing a T.
#[inline(never)]
unsafe fn fill<T>(cell: NonNull<T>, make: impl FnOnce() -> Result<T>) -> Result<()> {
    // SAFETY: the caller's.
    make().map(|value| unsafe { cell.write(value) })
}

impl<T: Send + Sync> Deref for Slot<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        debug_assert!(self.arena.stamp.is_current(), "a slot was used in a forked child");
        // SAFETY: `with` filled the cell before it gave the slot away, and it is not freed before the drop.
        unsafe { self.cell.as_ref() }
    }
}

impl<T: Send + Sync> Drop for Slot<T> {
    fn drop(&mut self) {
        if self.arena.stamp.is_current() {
            // SAFETY: the cell is ours until it is given back in the next line; T needs no drop.
            unsafe { scrub::wipe(self.cell.as_ptr().cast(), size_of::<T>()) };
            self.arena.give_back(self.cell.cast());
        }
    }
}

/// The tier in force, once a slot was asked for.
pub fn tier() -> Option<Tier> {
    Arena::of_this_process().tier.get().copied()
}

/// All slots of one process. Never freed: slots refer to it, and those of a parent outlive the fork in its children.
struct Arena {
    stamp: ProcessStamp,
    tier: OnceCell<Tier>,
    free: Mutex<FreeList>,
}

/// Free slots are zero.
#[derive(Default)]
struct FreeList {
    slots: Vec<Vacant>,
    total: usize,
}

struct Vacant(NonNull<u8>);

// SAFETY: a vacant slot is memory that nobody else refers to.
unsafe impl Send for Vacant {}

impl Arena {
    fn new() -> Arena {
        Arena { stamp: ProcessStamp::current(), tier: OnceCell::new(), free: Mutex::default() }
    }

    /// A forked child makes an arena of its own: the parent's memory is absent from it, and the parent's lock
    /// may have been held by a thread that the child lacks.
    fn of_this_process() -> &'static Arena {
        static ARENA: AtomicPtr<Arena> = AtomicPtr::new(std::ptr::null_mut());
        let seen = ARENA.load(Ordering::Acquire);
        // SAFETY: what is stored here came from a box that is never freed.
        if let Some(arena) = unsafe { seen.as_ref() }
            && arena.stamp.is_current()
        {
            return arena;
        }
        let fresh = Box::into_raw(Box::new(Arena::new()));
        match ARENA.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as above.
            Ok(_) => unsafe { &*fresh },
            Err(other) => {
                // SAFETY: nobody has seen `fresh`; `other` is of this process, as only its threads run here.
                unsafe {
                    drop(Box::from_raw(fresh));
                    &*other
                }
            }
        }
    }

    fn take(&self) -> Result<NonNull<u8>> {
        let mut free = self.lock();
        if free.slots.is_empty() {
            self.grow(&mut free).map_err(|cause| exhausted(&cause, free.total))?;
        }
        Ok(free.slots.pop().expect("the arena has just grown").0)
    }

    /// Has no memory to ask for: the list has had room for all slots since they were mapped.
    fn give_back(&self, slot: NonNull<u8>) {
        self.lock().slots.push(Vacant(slot));
    }

    fn lock(&self) -> MutexGuard<'_, FreeList> {
        // A panic cannot leave the list half changed.
        self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds the largest chunk that the kernel grants. The tier is chosen once, for all of them.
    fn grow(&self, free: &mut FreeList) -> io::Result<()> {
        let tier = *self.tier.get_or_try_init(pages::best_tier)?;
        let mut refusal = io::Error::from(io::ErrorKind::OutOfMemory);
        for size in CHUNK_SIZES {
            let size = size.next_multiple_of(pages::page_size());
            match pages::map(tier, size) {
                Ok(start) => {
                    free.add(start, size);
                    return Ok(());
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

impl FreeList {
    fn add(&mut self, start: NonNull<u8>, size: usize) {
        let count = size / SLOT_SIZE;
        self.total += count;
        self.slots.reserve_exact(self.total);
        // Backwards, so that slots are given out in the order of their addresses.
        // SAFETY: all these offsets lie inside the chunk.
        self.slots.extend((0..count).rev().map(|i| Vacant(unsafe { start.add(i * SLOT_SIZE) })));
    }
}

fn exhausted(cause: &io::Error, slots: usize) -> Error {
    let limit = match pages::lock_limit() {
        Some(bytes) => format!("the limit on locked memory (RLIMIT_MEMLOCK) is {bytes} bytes"),
        None => "locked memory is not limited (RLIMIT_MEMLOCK)".to_owned(),
    };
    Error::new(
        Code::MemoryExhausted,
        format!(
            "no locked memory is left for another key: the kernel refused it ({cause}); {limit}, and {slots} slots of \
             {SLOT_SIZE} bytes are in use; raise the limit (systemd: LimitMEMLOCK=, shell: ulimit -l, container: \
             --ulimit memlock=) or keep fewer keys at a time. Keys are never put into memory that is not locked"
        ),
    )
}

#[cfg(test)]
mod tests;
