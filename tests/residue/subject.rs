//! The process that is looked into: it is given a key, uses it, perhaps gives it up, and waits.

use std::fs::File;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

use keystead::envelope::{Key, KeyId};
use keystead::memory::{scrub, slot, slot::Slot};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// What the subject does, as words in an environment variable.
pub const VARIABLE: &str = "KEYSTEAD_RESIDUE_SUBJECT";
/// Uses the cipher as anyone would, without this library.
pub const PLAIN: &str = "plain";
/// Gives the key up before it reports.
pub const DROP: &str = "drop";
/// Reports as a forked child of the process that holds the key.
pub const FORK: &str = "fork";
/// Runs on a kernel without memfd_secret.
pub const NO_SECRET_MEMORY: &str = "no-secret-memory";

/// The key's name in the message that is reported.
pub const NAME: &str = "residue";

/// Does what `words` say. Reports `READY pid tier message\n`, then waits for the end of standard input.
pub fn run(words: &str) {
    let told = |word: &str| words.split(' ').any(|w| w == word);
    allow_core_files();
    if told(NO_SECRET_MEMORY) {
        hide_secret_memory();
    }
    let holds: Box<dyn std::any::Any>;
    let message;
    if told(PLAIN) {
        let key = plain_key();
        message = use_plain_key(&key);
        holds = Box::new(key);
    } else {
        let key = Key::new(KeyId::new(NAME, 1).unwrap(), fetch());
        message = use_key(&key);
        holds = Box::new(key);
    }
    let is_child = told(FORK) && fork();
    let report = report(&message);
    let holds = if told(DROP) {
        drop(holds);
        None
    } else {
        Some(holds)
    };
    // From here to the scan nothing is called that would tidy up by accident.
    say(&report);
    wait_for_end_of_input();
    if is_child {
        // SAFETY: a child leaves without the exit handlers of its parent.
        unsafe { libc::_exit(0) }
    }
    drop(holds);
}

/// The way of a key in the library: into a wiped buffer, from there into a slot, and the stack is scrubbed.
#[inline(never)]
fn fetch() -> Slot<[u8; 32]> {
    let slot = receive();
    scrub::stack();
    scrub::registers();
    slot
}

#[inline(never)]
fn receive() -> Slot<[u8; 32]> {
    let mut buffer = Zeroizing::new([0; 32]);
    read_key(&mut *buffer);
    Slot::copy_of(&buffer).unwrap()
}

/// Encrypts and decrypts, also in a session that was not made here, and returns one message.
#[inline(never)]
fn use_key(key: &Key) -> Vec<u8> {
    let mut messages = [64, 5000].map(|size| {
        let plaintext = vec![b'x'; size];
        let mut message = vec![0; key.encrypted_size(size).unwrap()];
        key.encrypt(&plaintext, b"context", &mut message).unwrap();
        let mut back = vec![0; size];
        key.decrypt(&message, b"context", &mut back).unwrap();
        assert_eq!(back, plaintext);
        key.quiesce();
        key.decrypt(&message, b"context", &mut back).unwrap();
        message
    });
    std::mem::take(&mut messages[1])
}

#[inline(never)]
fn plain_key() -> LessSafeKey {
    let mut bytes = vec![0; 32];
    read_key(&mut bytes);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).unwrap())
}

#[inline(never)]
fn use_plain_key(key: &LessSafeKey) -> Vec<u8> {
    let mut message = vec![b'x'; 5000];
    let nonce = Nonce::assume_unique_for_key([1; 12]);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut message).unwrap();
    message
}

/// Straight from the pipe: standard input would keep the bytes in its buffer.
fn read_key(out: &mut [u8]) {
    // SAFETY: descriptor 0 is open for the life of the process, and is not closed here.
    let mut pipe = ManuallyDrop::new(unsafe { File::from_raw_fd(0) });
    pipe.read_exact(out).expect("32 bytes of key");
}

fn report(message: &[u8]) -> String {
    let tier = slot::tier().map_or("none".to_owned(), |tier| tier.to_string());
    let message: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("READY {} {tier} {message}\n", std::process::id())
}

fn say(report: &str) {
    // SAFETY: the text is valid for its length.
    let written = unsafe { libc::write(1, report.as_ptr().cast(), report.len()) };
    assert_eq!(written, report.len() as isize, "a pipe takes a report at once");
}

fn wait_for_end_of_input() {
    let mut byte = 0_u8;
    // SAFETY: one byte may be written.
    while unsafe { libc::read(0, (&raw mut byte).cast(), 1) } > 0 {}
}

/// True in the child; the parent waits for it to end.
fn fork() -> bool {
    // SAFETY: the child goes on as this thread alone; what it calls takes no lock that another thread may hold.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child > 0 {
        let mut status = 0;
        // SAFETY: `status` is valid for writes; the parent ends with the child's end, holding the key until then.
        unsafe {
            libc::waitpid(child, &mut status, 0);
            libc::_exit(i32::from(status != 0))
        }
    }
    true
}

fn allow_core_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for reads and writes.
    unsafe {
        libc::getrlimit(libc::RLIMIT_CORE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_CORE, &limit);
    }
}

/// Lets memfd_secret fail as on a kernel that lacks it.
fn hide_secret_memory() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        // The number of the system call is the first word.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_memfd_secret as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the filter is valid for the call, and binds this thread alone.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter), 0);
    }
}
