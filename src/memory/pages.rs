//! Chunks of locked memory from the kernel.
//!
//! A chunk lies between two pages that fault, is never swapped, is left out of core files, and is absent from
//! forked children. It stays mapped for the life of the process.

use std::io;
use std::ptr::{NonNull, null_mut};

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};
use serde::Serialize;

pub use crate::platform::page_size;

/// Which protection the slots have on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Tier {
    /// `memfd_secret`: unmapped even from the kernel's own address space; no debugger reads it.
    #[serde(rename = "memfd_secret")]
    Secret,
    /// `mlock`: never swapped and left out of core files, but a debugger of the same user reads it.
    #[serde(rename = "mlock")]
    Locked,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tier::Secret => "memfd_secret",
            Tier::Locked => "mlock",
        })
    }
}

/// How many bytes this process may lock; `None` where there is no limit. A process with CAP_IPC_LOCK is not held to it.
pub fn lock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The best tier that the kernel offers to this process.
///
/// `memfd_secret` is missing before Linux 5.14, where it was switched off (`secretmem.enable=0`), and under system
/// call filters that do not know it. Any other failure, such as too many open files, will pass: it is no reason
/// to do with less for the rest of the process's life.
pub fn best_tier() -> io::Result<Tier> {
    match secret_file() {
        Ok(_) => Ok(Tier::Secret),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES)) => {
            Ok(Tier::Locked)
        }
        Err(error) => Err(error),
    }
}

/// Maps `size` bytes, a multiple of the page size. They are zero.
pub fn map(tier: Tier, size: usize) -> io::Result<NonNull<u8>> {
    let page = page_size();
    let whole = size + 2 * page;
    let reserved = map_at(null_mut(), whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, None)?;
    let mapped = match tier {
        Tier::Secret => place_secret(reserved, size),
        Tier::Locked => place_locked(reserved, size),
    };
    if mapped.is_err() {
        // SAFETY: the range was mapped above and nobody has been given a pointer into it.
        unsafe { libc::munmap(reserved.as_ptr().cast(), whole) };
    }
    // SAFETY: the reservation is longer than a page.
    mapped.map(|()| unsafe { reserved.add(page) })
}

/// Puts secret memory one page into the reservation.
///
/// Secret memory can only be shared, so a child made between `mmap` and `madvise` would see the keys of later. Thus
/// only a page that never holds a key is mapped and marked first; the mapping then grows, and what it grows by is born
/// with the mark. That first page becomes the guard in front.
fn place_secret(reserved: NonNull<u8>, size: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let page = page_size();
    let file = secret_file()?;
    // SAFETY: the descriptor is open.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), (page + size) as libc::off_t) })?;
    let seed = map_at(null_mut(), page, PROT_READ | PROT_WRITE, MAP_SHARED, Some(&file))?;
    let grown = dont_fork(seed, page).and_then(|()| grow_to(seed, page, page + size, reserved));
    if grown.is_err() {
        // SAFETY: the page was mapped above and is still where it was.
        unsafe { libc::munmap(seed.as_ptr().cast(), page) };
    }
    grown?;
    map_at(reserved.as_ptr(), page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, None)?;
    // SAFETY: the reservation is longer than a page, and `size` bytes after its first page are writable now.
    unsafe { touch(reserved.add(page), size) };
    Ok(())
}

/// Makes the middle of the reservation ordinary locked memory. Private memory shows a child nothing that is
/// written after the fork, so here the order does not matter.
fn place_locked(reserved: NonNull<u8>, size: usize) -> io::Result<()> {
    // SAFETY: the reservation is `size` bytes and two pages long, and all ours.
    let start = unsafe { reserved.add(page_size()) };
    let address = start.as_ptr().cast();
    // SAFETY: the range is ours, and nobody has been given a pointer into it.
    unsafe {
        check(libc::mprotect(address, size, PROT_READ | PROT_WRITE))?;
        check(libc::mlock(address, size))?;
        check(libc::madvise(address, size, libc::MADV_DONTDUMP))?;
    }
    dont_fork(start, size)
}

fn secret_file() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: takes flags alone.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    check(descriptor as libc::c_int)?;
    // SAFETY: the descriptor was just opened, and nobody else owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor as libc::c_int) })
}

fn map_at(
    address: *mut u8,
    size: usize,
    protection: libc::c_int,
    flags: libc::c_int,
    file: Option<&std::os::fd::OwnedFd>,
) -> io::Result<NonNull<u8>> {
    use std::os::fd::AsRawFd;
    let descriptor = file.map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: without MAP_FIXED only unused addresses are taken; with it, callers name a range of their own.
    let start = unsafe { libc::mmap(address.cast(), size, protection, flags, descriptor, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(nonnull(start)) }
}

fn grow_to(start: NonNull<u8>, size: usize, new_size: usize, target: NonNull<u8>) -> io::Result<()> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: `start` is a mapping of ours to which nobody holds a pointer, and `target` a reservation of ours.
    let moved = unsafe { libc::mremap(start.as_ptr().cast(), size, new_size, flags, target.as_ptr()) };
    if moved == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn dont_fork(start: NonNull<u8>, size: usize) -> io::Result<()> {
    // SAFETY: changes nothing but what a child inherits of a range of ours.
    check(unsafe { libc::madvise(start.as_ptr().cast(), size, libc::MADV_DONTFORK) })
}

/// Has the kernel allot every page now, when it can be noticed, and not when a key is written.
///
/// # Safety
/// `start` is valid for writes of `size` bytes that hold nothing yet.
unsafe fn touch(start: NonNull<u8>, size: usize) {
    for at in (0..size).step_by(page_size()) {
        // SAFETY: the caller's.
        unsafe { start.add(at).write_volatile(0) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn nonnull(address: *mut libc::c_void) -> NonNull<u8> {
    NonNull::new(address.cast()).expect("the kernel maps nothing at address zero unasked")
}
