//! An allocator that wipes what is freed.
//!
//! Dependencies keep secrets in ordinary vectors and boxes: a TLS library its record buffers, a decoder its strings.
//! Inside the shared library all of them are wiped when they are freed, whoever made them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;

use super::scrub::wipe;

/// The system's allocator, with every block zeroed before it is given back. Some 4 ns more for 64 bytes.
pub struct WipingAllocator<A = System>(A);

/// Blocks from this size on are mapped and unmapped one by one: an unmapped page needs no wiping, and one that the
/// kernel moves leaves no copy.
const LARGE: usize = 256 * 1024;

/// The alignment that every mapping has.
const PAGE: usize = 4096;

/// Only the C library chooses for its process, and only for its own code: its symbols are not exported. Rust programs
/// keep the allocator that they chose.
#[cfg(feature = "c-library")]
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator(System);

fn is_mapped(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

// SAFETY: blocks come from the allocator beneath or from fresh mappings of their own; which of the two is a
// function of the layout alone, so that each goes back to where it came from.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        if is_mapped(layout) { map(layout.size()) } else { unsafe { self.0.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's. Fresh mappings are zero.
        if is_mapped(layout) { map(layout.size()) } else { unsafe { self.0.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a block of this allocator and this layout.
        unsafe {
            if is_mapped(layout) {
                libc::munmap(block.cast(), layout.size());
            } else {
                wipe(block, layout.size());
                self.0.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the size, rounded up to the alignment, does not overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if is_mapped(layout) && is_mapped(new_layout) {
            // SAFETY: the block is a mapping of ours and of this size.
            return unsafe { remap(block, layout.size(), new_size) };
        }
        // The system's own `realloc` may move a block and free the old one as it is.
        // SAFETY: the caller's; the copy stays inside both blocks.
        unsafe {
            let moved = self.alloc(new_layout);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

fn map(size: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for unused addresses.
    let start = unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED { null_mut() } else { start.cast() }
}

/// # Safety
/// `start` is a mapping of `size` bytes that nobody uses during the call.
unsafe fn remap(start: *mut u8, size: usize, new_size: usize) -> *mut u8 {
    // SAFETY: the caller's.
    let moved = unsafe { libc::mremap(start.cast(), size, new_size, libc::MREMAP_MAYMOVE) };
    if moved == libc::MAP_FAILED { null_mut() } else { moved.cast() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// An allocator beneath that looks at what it is given back.
    #[derive(Default)]
    struct Inspector {
        freed: AtomicUsize,
        dirty: AtomicUsize,
    }

    // SAFETY: hands everything on to the system's allocator.
    unsafe impl GlobalAlloc for Inspector {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the block is still allocated, and was written from end to end by the tests.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            self.freed.fetch_add(1, SeqCst);
            self.dirty.fetch_add(bytes.iter().filter(|&&b| b != 0).count(), SeqCst);
            // SAFETY: the caller's.
            unsafe { System.dealloc(block, layout) }
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// A block of `size` bytes, all of them 0x5a.
    fn filled(allocator: &WipingAllocator<Inspector>, size: usize) -> *mut u8 {
        // SAFETY: the size is not zero, and the block is written inside its bounds.
        unsafe {
            let block = allocator.alloc(layout(size));
            assert!(!block.is_null());
            block.write_bytes(0x5a, size);
            block
        }
    }

    fn bytes<'a>(block: *mut u8, size: usize) -> &'a [u8] {
        // SAFETY: callers name a block of this size, which they free only after they have looked.
        unsafe { std::slice::from_raw_parts(block, size) }
    }

    #[test]
    fn a_freed_block_is_wiped_first() {
        let allocator = WipingAllocator(Inspector::default());
        let sizes = [1, 31, 64, 4096, LARGE - 1];
        for size in sizes {
            // SAFETY: the block has this layout.
            unsafe { allocator.dealloc(filled(&allocator, size), layout(size)) };
        }
        assert_eq!(allocator.0.freed.load(SeqCst), sizes.len());
        assert_eq!(allocator.0.dirty.load(SeqCst), 0);
    }

    #[test]
    fn a_block_that_moves_leaves_nothing_behind_and_keeps_what_it_held() {
        let allocator = WipingAllocator(Inspector::default());
        let sizes = [100, 1000, 50, LARGE - 8, LARGE + 4097, 4 * LARGE, LARGE, 64, 2 * LARGE, 16];
        let mut held = 100;
        let mut block = filled(&allocator, held);
        for pair in sizes.windows(2) {
            // SAFETY: the block has the first layout of the pair; the new size is not zero.
            unsafe {
                block = allocator.realloc(block, layout(pair[0]), pair[1]);
                assert!(!block.is_null());
                held = held.min(pair[1]);
                assert!(bytes(block, held).iter().all(|&b| b == 0x5a), "{pair:?}");
                // All of a new block is written, as the inspector reads all of it.
                block.add(held).write_bytes(0xa5, pair[1] - held);
            }
        }
        // SAFETY: the block has the last layout.
        unsafe { allocator.dealloc(block, layout(16)) };
        assert_eq!(allocator.0.dirty.load(SeqCst), 0);
        assert_eq!(allocator.0.freed.load(SeqCst), 6, "large blocks do not come from beneath");
    }

    #[test]
    fn zeroed_blocks_are_zero_and_large_ones_come_and_go_by_themselves() {
        let allocator = WipingAllocator(Inspector::default());
        for size in [1, 4096, LARGE, 3 * LARGE + 5] {
            // SAFETY: the size is not zero; the block is freed with its own layout.
            unsafe {
                let block = allocator.alloc_zeroed(layout(size));
                assert!(bytes(block, size).iter().all(|&b| b == 0), "{size}");
                block.write_bytes(0x5a, size);
                allocator.dealloc(block, layout(size));
            }
        }
        assert_eq!(allocator.0.freed.load(SeqCst), 2);
    }

    #[test]
    fn an_alignment_beyond_a_page_is_kept() {
        let allocator = WipingAllocator(Inspector::default());
        let layout = Layout::from_size_align(2 * LARGE, 64 * 1024).unwrap();
        // SAFETY: the size is not zero; the block is written and freed within its layout.
        unsafe {
            let block = allocator.alloc(layout);
            assert_eq!(block as usize % layout.align(), 0);
            block.write_bytes(0x5a, layout.size());
            allocator.dealloc(block, layout);
        }
        assert_eq!((allocator.0.freed.load(SeqCst), allocator.0.dirty.load(SeqCst)), (1, 0));
    }
}
