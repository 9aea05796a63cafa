//! A thread whose stack is the test's own memory, so that it can be read when the thread is gone.

use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use super::scan::{self, Counts, Needles};

const STACK_SIZE: usize = 512 * 1024;
const PAINT: u8 = 0xc5;

/// The stack as `work` left it.
fn stack_after(work: fn()) -> Vec<u8> {
    extern "C" fn start(work: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: what was given to pthread_create below.
        let work: fn() = unsafe { std::mem::transmute(work) };
        work();
        std::ptr::null_mut()
    }
    let layout = std::alloc::Layout::from_size_align(STACK_SIZE, 4096).unwrap();
    // SAFETY: the stack is valid for its size and outlives the thread; the attributes are set up before they are used;
    // nobody else writes to it when it is read.
    unsafe {
        let stack = std::alloc::alloc(layout);
        stack.write_bytes(PAINT, STACK_SIZE);
        let mut attributes = std::mem::zeroed();
        let mut thread = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
        assert_eq!(libc::pthread_attr_setstack(&mut attributes, stack.cast(), STACK_SIZE), 0);
        assert_eq!(libc::pthread_create(&mut thread, &attributes, start, work as *mut libc::c_void), 0);
        assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
        libc::pthread_attr_destroy(&mut attributes);
        let left = std::slice::from_raw_parts(stack, STACK_SIZE).to_vec();
        std::alloc::dealloc(stack, layout);
        left
    }
}

static MATERIAL: [u8; 32] = *b"not a secret, but easy to find!!";

fn derived() -> [u8; 32] {
    let mut derived = [0; 32];
    let prk = Salt::new(HKDF_SHA256, b"salt").extract(&MATERIAL);
    prk.expand(&[b"info"], HKDF_SHA256).unwrap().fill(&mut derived).unwrap();
    derived
}

fn derive() -> LessSafeKey {
    let prk = Salt::new(HKDF_SHA256, b"salt").extract(&MATERIAL);
    LessSafeKey::new(UnboundKey::from(prk.expand(&[b"info"], &AES_256_GCM).unwrap()))
}

fn counts(stack: &[u8]) -> [Counts; 2] {
    [MATERIAL, derived()].map(|key| scan::bytes(stack, &Needles::of(&key)))
}

/// How far down the stack was used, in bytes.
fn depth(stack: &[u8]) -> usize {
    STACK_SIZE - stack.iter().position(|&byte| byte != PAINT).unwrap()
}

#[test]
fn deriving_a_key_into_a_slot_leaves_nothing_on_the_stack() {
    let idle = depth(&stack_after(|| ()));
    let plain = stack_after(|| _ = std::hint::black_box(derive()));
    println!("deriving took {} bytes of stack and left {:?}", depth(&plain) - idle, counts(&plain));
    assert!(counts(&plain)[1].total() > 0, "the control leaves copies");
    let scrubbed = stack_after(|| drop(Slot::with(|| Ok(derive())).unwrap()));
    println!("with a slot {} bytes", depth(&scrubbed) - idle);
    assert_eq!(counts(&scrubbed).map(|counts| counts.total()), [0, 0]);
}

#[test]
fn using_a_key_leaves_nothing_on_the_stack() {
    let used = stack_after(|| {
        let key = Key::new(KeyId::new("stack", 1).unwrap(), Slot::copy_of(&MATERIAL).unwrap());
        let mut message = [0; 256];
        let size = key.encrypt(b"text", b"", &mut message).unwrap();
        key.quiesce();
        key.decrypt(&message[..size], b"", &mut [0; 4]).unwrap();
    });
    assert_eq!(counts(&used)[0].total(), 0, "{:?}", counts(&used));
}
