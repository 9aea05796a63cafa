//! Safe wrappers of the few system calls and instructions that the standard library lacks.
//!
//! Nothing here knows what a key is. Memory mappings live in [`crate::memory`].

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The effective user of this process.
pub fn effective_user() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Opens `name` inside an open folder, with `flags` of open(2). Never inherited by a child program. A file that is made
/// is its owner's alone.
///
/// A single component at a time, so that a caller can check what it opened before it goes deeper.
pub fn open_at(folder: &File, name: &OsStr, flags: i32) -> std::io::Result<File> {
    let name = CString::new(name.as_bytes())?;
    let mode: libc::c_uint = 0o600;
    // SAFETY: `folder` is open for the borrow's life, `name` ends with a zero byte, and the mode that O_CREAT asks for is
    // given.
    let descriptor = unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC, mode) };
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Gives an open file that has no name, as O_TMPFILE makes it, the name `path` (open(2), "O_TMPFILE"). Needs /proc.
pub fn link_unnamed(file: &File, path: &Path) -> std::io::Result<()> {
    let source = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let here = libc::AT_FDCWD;
    // SAFETY: both names end with a zero byte and live for the call.
    match unsafe { libc::linkat(here, source.as_ptr(), here, path.as_ptr(), libc::AT_SYMLINK_FOLLOW) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether standard error takes a line now: not where it is a pipe that is full, for which a writer would wait, nor one
/// that nobody reads, which would end a process that does not ignore SIGPIPE.
pub fn is_stderr_writable() -> bool {
    let mut asked = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: `asked` is valid for reads and writes, and is one; a closed descriptor is told in it.
    let ready = unsafe { libc::poll(&mut asked, 1, 0) };
    ready == 1 && asked.revents == libc::POLLOUT
}

/// The kind of file system that a file is on: the number that `statfs` tells (linux/magic.h).
pub fn file_system(file: &File) -> std::io::Result<u64> {
    // SAFETY: `statfs` is plain data, of which all zeroes are valid.
    let mut told: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open for the borrow's life, and `told` is valid for writes.
    match unsafe { libc::fstatfs(file.as_raw_fd(), &mut told) } {
        // Kernels tell 32 bits; the type has the width of a word and may be signed.
        0 => Ok(told.f_type as u64 & 0xFFFF_FFFF),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The program that a user gets who signs on, as the system's users are listed; `None` where nobody knows the user.
pub fn login_shell(user: u32) -> Option<OsString> {
    let mut text = vec![0; 16 << 10];
    // SAFETY: `passwd` is plain data, of which all zeroes are valid.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are valid for the call; `text` is valid for writes of its length.
    let failed = unsafe { libc::getpwuid_r(user, &mut entry, text.as_mut_ptr(), text.len(), &mut found) };
    if failed != 0 || found.is_null() || entry.pw_shell.is_null() {
        return None;
    }
    // SAFETY: the shell is a string in `text` that ends with a zero byte.
    let shell = unsafe { std::ffi::CStr::from_ptr(entry.pw_shell) };
    Some(OsStr::from_bytes(shell.to_bytes()).to_owned())
}

/// Where a symbolic link leads that was itself opened with `O_PATH | O_NOFOLLOW`.
pub fn read_link(link: &File) -> std::io::Result<OsString> {
    let mut target = vec![0; libc::PATH_MAX as usize];
    // SAFETY: `link` is open for the borrow's life, the empty name ends with a zero byte, and `target` is valid for
    // writes of its length.
    let n = unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), target.as_mut_ptr().cast(), target.len()) };
    if n < 0 {
        return Err(std::io::Error::last_os_error());
    }
    target.truncate(n as usize);
    Ok(OsString::from_vec(target))
}

/// How far local time is ahead of UTC at a moment (seconds since 1970), in seconds. Zero where nobody knows.
pub fn local_offset(seconds: i64) -> i32 {
    // SAFETY: `tm` is plain data, of which all zeroes are valid.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call, which keeps neither.
    let known = unsafe { !libc::localtime_r(&(seconds as libc::time_t), &mut local).is_null() };
    if known { local.tm_gmtoff as i32 } else { 0 }
}

/// The name of this machine, as the kernel holds it. Empty where it has none.
pub fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: `name` is valid for writes of its length; its last byte stays zero whatever is written.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&name[..length]).into_owned()
}

/// Fills `out` with bytes from the operating system's generator. Blocks only before the system is seeded.
pub fn fill_random(out: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < out.len() {
        let rest = &mut out[filled..];
        // SAFETY: `rest` is valid for writes of its length.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            0.. => filled += n as usize,
            _ => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Nanoseconds of the monotonic clock at tick resolution (1 to 10 ms). No system call: 5 ns.
pub fn coarse_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes; the clock exists since Linux 2.6.32 and the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Microseconds since 1970, UTC. No system call; the standard library takes twice as long.
pub fn microseconds_since_1970() -> i64 {
    microseconds_of(libc::CLOCK_REALTIME)
}

/// As [`microseconds_since_1970`], at tick resolution (1 to 10 ms).
#[inline]
pub fn microseconds_since_1970_at_the_last_tick() -> i64 {
    microseconds_of(libc::CLOCK_REALTIME_COARSE)
}

#[inline]
fn microseconds_of(clock: libc::clockid_t) -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes; every Linux since 2.6.32 has the clocks and the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// The processor's time stamp counter: cheap, and different after a virtual machine was cloned.
#[inline]
pub fn timestamp_counter() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has RDTSC, and it reads nothing of ours.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: reads the virtual counter, which user space may read on Linux.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is valid for writes.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }
}

/// A number from the processor's own generator, where there is one and it answers.
pub fn processor_random() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "rdrand")]
        fn draw() -> Option<u64> {
            let mut number = 0;
            (0..10).any(|_| core::arch::x86_64::_rdrand64_step(&mut number) == 1).then_some(number)
        }
        if std::arch::is_x86_feature_detected!("rdrand") {
            // SAFETY: the feature was just detected.
            return unsafe { draw() };
        }
    }
    None
}

/// Takes what a socket has received, without waiting for more: an error of kind `WouldBlock` where there is nothing.
pub fn receive_now(socket: &std::net::TcpStream, out: &mut [u8]) -> std::io::Result<usize> {
    // SAFETY: the descriptor is open for the borrow's life and `out` is valid for writes of its length.
    let n = unsafe { libc::recv(socket.as_raw_fd(), out.as_mut_ptr().cast(), out.len(), libc::MSG_DONTWAIT) };
    if n < 0 { Err(std::io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Sends pending acknowledgements at once. Best effort: the kernel may forget it after a while.
///
/// Without it the first reply of a server that leaves Nagle's algorithm on comes 40 ms late.
pub fn acknowledge_quickly(socket: &std::net::TcpStream) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the borrow's life and `on` is valid for its size.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
}

/// Tells one process from its forked children without a system call.
///
/// The stamp lives on a page that the kernel empties in a child, so comparing costs one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStamp(u64);

impl ProcessStamp {
    /// The stamp of the process that calls: never zero, and another one in every child.
    #[inline]
    pub fn current() -> ProcessStamp {
        // Not a lock: a child that was forked while another thread held it would wait for ever.
        static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
        // SAFETY: what is stored there is never unmapped and is a valid AtomicU64.
        let page = unsafe { PAGE.load(Ordering::Acquire).as_ref() }.unwrap_or_else(|| share_stamp_page(&PAGE));
        match page.load(Ordering::Acquire) {
            0 => ProcessStamp::draw(page),
            stamp => ProcessStamp(stamp),
        }
    }

    /// Whether the stamp was taken in this process.
    #[inline]
    pub fn is_current(self) -> bool {
        self == ProcessStamp::current()
    }

    #[cold]
    fn draw(page: &AtomicU64) -> ProcessStamp {
        let mut bytes = [0; 8];
        // Process identifiers repeat, so a random number names the process.
        fill_random(&mut bytes).expect("the kernel's random generator answers");
        let fresh = u64::from_ne_bytes(bytes) | 1;
        match page.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => ProcessStamp(fresh),
            Err(stamp) => ProcessStamp(stamp),
        }
    }
}

/// Maps the page, unless another thread was first.
#[cold]
fn share_stamp_page(shared: &AtomicPtr<AtomicU64>) -> &'static AtomicU64 {
    let fresh = stamp_page();
    let page = match shared.compare_exchange(std::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(first) => {
            // SAFETY: the mapping was just made, and nobody else knows of it.
            unsafe { libc::munmap(fresh.cast(), page_size()) };
            first
        }
    };
    // SAFETY: what is shared is never unmapped, and a page of zeros is a valid AtomicU64.
    unsafe { &*page }
}

fn stamp_page() -> *mut AtomicU64 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for a fresh private page.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), page_size(), protection, flags, -1, 0) };
    assert!(page != libc::MAP_FAILED, "a page of memory for the fork stamp");
    // SAFETY: the page is ours.
    let emptied = unsafe { libc::madvise(page, page_size(), libc::MADV_WIPEONFORK) };
    assert!(emptied == 0, "Linux 4.14 or newer, whose MADV_WIPEONFORK tells a child from its parent");
    page.cast()
}

/// The size of a page, in bytes.
pub fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ_and_the_clock_runs_forward() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        fill_random(&mut a).unwrap();
        fill_random(&mut b).unwrap();
        assert_ne!(a, b);
        let before = coarse_now();
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert!(coarse_now() > before);
        assert!(timestamp_counter() != timestamp_counter());
    }

    #[test]
    fn a_forked_child_has_another_stamp() {
        let parent = ProcessStamp::current();
        assert!(parent.is_current());
        // SAFETY: the child only compares and leaves with _exit, which is safe after a fork.
        let status = unsafe {
            match libc::fork() {
                0 => libc::_exit(if parent.is_current() { 1 } else { 0 }),
                child => {
                    let mut status = 0;
                    libc::waitpid(child, &mut status, 0);
                    status
                }
            }
        };
        assert_eq!(status, 0, "the child still believed to be its parent");
        assert!(parent.is_current());
    }
}
