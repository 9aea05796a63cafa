//! A message costs no allocation, from the C interface down.
//!
//! Counted below the global allocator, at the C library's own functions, because the library may bring an
//! allocator of its own.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

#[path = "common/c_key.rs"]
mod c_key;
#[path = "common/keyservers.rs"]
mod keyservers;

use c_key::CKey;
use keyservers::KeyServers;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(number: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count();
    // SAFETY: glibc's own malloc, with what its caller gave.
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(number: usize, size: usize) -> *mut c_void {
    count();
    // SAFETY: as above.
    unsafe { __libc_calloc(number, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    count();
    // SAFETY: as above; every block came from glibc.
    unsafe { __libc_realloc(block, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    count();
    // SAFETY: as above; the caller gives a place for the pointer.
    unsafe { *out = __libc_memalign(alignment, size) };
    0
}

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn a_message_costs_no_allocation() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1, "allocations are not counted");

    let servers = KeyServers::start(1);
    let key = CKey::create(&servers.config, "customer-42");
    for n in [0, 64, 1000, 70_000] {
        for aad in [0, 64, 65, 1024] {
            let (plaintext, aad) = (vec![1; n], vec![2; aad]);
            let mut message = vec![0; key.encrypted_size(n)];
            let mut out = vec![0; n];
            // Once a second a round meets a new session, which does allocate: then another one is counted.
            let counted = (0..10).map(|_| {
                key.encrypt(&plaintext, &aad, &mut message);
                key.decrypt(&message, &aad, &mut out);
                allocations(|| {
                    for _ in 0..10 {
                        key.encrypt(&plaintext, &aad, &mut message);
                        key.decrypt(&message, &aad, &mut out);
                    }
                })
            });
            assert_eq!(counted.min(), Some(0), "{n} bytes, {} of associated data", aad.len());
        }
    }
}
