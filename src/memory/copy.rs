//! A copy whose speed does not depend on alignment.
//!
//! The C library's `memcpy` is 15 to 30 times slower on some processors when the distance of the two buffers is 1 to
//! 31 bytes above a multiple of 4096. A message's header before page-aligned data gives just such a distance.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m128i as Vector, __m256i as WideVector};

/// What every processor of the kind moves in one go or two.
#[cfg(not(target_arch = "x86_64"))]
type Vector = u128;

const CACHE_LINE: usize = 64;

/// Copies `from` to `to`.
///
/// # Panics
/// If their lengths differ.
#[inline]
pub fn copy(from: &[u8], to: &mut [u8]) {
    assert_eq!(from.len(), to.len(), "both buffers of a copy have the same length");
    // SAFETY: both are valid for that many bytes and cannot overlap, as `to` is borrowed alone.
    unsafe { copy_bytes(from.as_ptr(), to.as_mut_ptr(), from.len()) }
}

/// # Safety
/// `source` is valid for reads and `target` for writes of `size` bytes; they do not overlap.
#[inline(always)]
unsafe fn copy_bytes(source: *const u8, target: *mut u8, size: usize) {
    // SAFETY: the caller's; the arm's range is what the function it calls asks for.
    unsafe {
        match size {
            0 => {}
            1 => target.write(source.read()),
            2..=3 => both_ends::<u16, 1>(source, target, size),
            4..=7 => both_ends::<u32, 1>(source, target, size),
            8..=15 => both_ends::<u64, 1>(source, target, size),
            16..=31 => both_ends::<Vector, 1>(source, target, size),
            32..=64 => both_ends::<Vector, 2>(source, target, size),
            65..=127 => both_ends::<Vector, 4>(source, target, size),
            _ => many(source, target, size),
        }
    }
}

/// Has the processor fetch what will soon be written, also where another one has it.
#[inline]
pub fn fetch(bytes: &[u8]) {
    for line in bytes.chunks(CACHE_LINE) {
        fetch_line(line.as_ptr());
    }
}

/// As [`fetch`], of the cache line at an address, which need not be a valid one.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn fetch_line(at: *const u8) {
    // By its name: what the compiler makes of the hint to write, where no processor is named, only reads, and the line stays
    // with the other processor until it is written.
    // SAFETY: every x86-64 processor takes the hint or passes over it, and to fetch ahead never faults.
    unsafe { std::arch::asm!("prefetchw [{}]", in(reg) at, options(readonly, nostack, preserves_flags)) };
}

#[cfg(not(target_arch = "x86_64"))]
pub fn fetch_line(_: *const u8) {}

/// Copies `from` to the end of `to`.
pub fn append(from: &[u8], to: &mut Vec<u8>) {
    to.reserve(from.len());
    let end = to.len();
    // SAFETY: there is room for that many bytes behind the end, which nobody else can have borrowed; all of them are
    // written before they count as the vector's.
    unsafe {
        copy_bytes(from.as_ptr(), to.as_mut_ptr().add(end), from.len());
        to.set_len(end + from.len());
    }
}

/// Copies `N` vectors from the start and `N` from the end, which may overlap.
///
/// # Safety
/// Both are valid for `size` bytes, which is from `N` to `2 * N` vectors; they do not overlap.
#[inline(always)]
unsafe fn both_ends<V: Copy, const N: usize>(source: *const u8, target: *mut u8, size: usize) {
    let last = size - N * size_of::<V>();
    // SAFETY: both groups lie inside the buffers.
    unsafe {
        let (head, tail) = (read::<V, N>(source), read::<V, N>(source.add(last)));
        write(target, head);
        write(target.add(last), tail);
    }
}

/// # Safety
/// Both are valid for `size` bytes, at least 128; they do not overlap.
unsafe fn many(source: *const u8, target: *mut u8, size: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was detected; the rest is the caller's.
        return unsafe { many_avx2(source, target, size) };
    }
    // SAFETY: the caller's; eight vectors are 128 bytes.
    unsafe { groups::<Vector, 8>(source, target, size) }
}

/// # Safety
/// As [`many`]; the processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn many_avx2(source: *const u8, target: *mut u8, size: usize) {
    // SAFETY: the caller's; four wide vectors are 128 bytes.
    unsafe { groups::<WideVector, 4>(source, target, size) }
}

/// Copies `N` vectors at a time, all of them read before the first is written: a processor that takes a load for
/// dependent on an earlier store, because their addresses agree in the low 12 bits, then waits once and not `N` times.
///
/// All writes but the first and the last group begin where a cache line does: half of them would else touch two, and a
/// copy would take twice as long.
///
/// # Safety
/// Both are valid for `size` bytes, at least `N` vectors; they do not overlap.
#[inline(always)]
unsafe fn groups<V: Copy, const N: usize>(source: *const u8, target: *mut u8, size: usize) {
    let group = N * size_of::<V>();
    let last = size - group;
    let mut at = group - target as usize % CACHE_LINE;
    // SAFETY: `at` and `last` are at most `size - group`, so each group lies inside the buffers.
    unsafe {
        write(target, read::<V, N>(source));
        while at < last {
            write(target.add(at), read::<V, N>(source.add(at)));
            // Keeps the compiler from recognising the loop and calling `memcpy` after all.
            std::arch::asm!("", options(nostack, preserves_flags));
            at += group;
        }
        write(target.add(last), read::<V, N>(source.add(last)));
    }
}

/// # Safety
/// `from` is valid for reads of `N` vectors.
#[inline(always)]
unsafe fn read<V: Copy, const N: usize>(from: *const u8) -> [V; N] {
    // SAFETY: the caller's; unaligned access is asked for.
    std::array::from_fn(|i| unsafe { from.cast::<V>().add(i).read_unaligned() })
}

/// # Safety
/// `to` is valid for writes of `N` vectors.
#[inline(always)]
unsafe fn write<V: Copy, const N: usize>(to: *mut u8, vectors: [V; N]) {
    for (i, vector) in vectors.into_iter().enumerate() {
        // SAFETY: the caller's; unaligned access is asked for.
        unsafe { to.cast::<V>().add(i).write_unaligned(vector) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGIN: usize = 40;

    fn check(copy: impl Fn(&[u8], &mut [u8]), size: usize, from_offset: usize, to_offset: usize) {
        let from: Vec<u8> = (0..from_offset + size).map(|i| (i * 7 + i / 256 + 1) as u8).collect();
        let mut to = vec![0xee; MARGIN + to_offset + size + MARGIN];
        let range = MARGIN + to_offset..MARGIN + to_offset + size;
        copy(&from[from_offset..], &mut to[range.clone()]);
        assert_eq!(to[range.clone()], from[from_offset..], "{size} bytes from +{from_offset} to +{to_offset}");
        assert!(to[..range.start].iter().chain(&to[range.end..]).all(|&b| b == 0xee), "{size}: wrote outside");
    }

    #[test]
    fn every_length_is_copied_exactly() {
        for size in (0..600).chain([4095, 4096, 4097, 65_535, 65_536, 1_000_003]) {
            check(copy, size, 0, 0);
            check(copy, size, size % 31, size % 67);
        }
    }

    #[test]
    fn what_is_appended_follows_what_was_there() {
        let mut to = Vec::new();
        let pieces = [0, 1, 15, 200, 70_000].map(|size| (0..size).map(|i| (i * 3 + size) as u8).collect::<Vec<u8>>());
        pieces.iter().for_each(|piece| append(piece, &mut to));
        assert_eq!(to, pieces.concat());
    }

    #[test]
    fn the_loop_without_avx2_copies_exactly() {
        let portable = |from: &[u8], to: &mut [u8]| {
            // SAFETY: two slices of one length, at least 128, the second borrowed alone.
            unsafe { groups::<Vector, 8>(from.as_ptr(), to.as_mut_ptr(), from.len()) }
        };
        (128..600).for_each(|size| check(portable, size, size % 31, size % 67));
    }

    #[test]
    #[should_panic(expected = "same length")]
    fn buffers_of_different_length_are_refused() {
        copy(&[1, 2, 3], &mut [0; 4]);
    }
}
