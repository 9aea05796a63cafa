//! A child that a fork made has none of its parent's keys, and no call on them hangs or crashes.

use keystead::Code;
use keystead::envelope::stream::SEGMENT;
use keystead::envelope::{Key, KeyId};
use keystead::memory::slot::Slot;
use keystead::platform::ProcessStamp;

fn key() -> Key {
    Key::new(KeyId::new("customer-42", 1).unwrap(), Slot::copy_of(&[7; 32]).unwrap())
}

fn encrypt(key: &Key) -> Vec<u8> {
    let mut out = vec![0; key.encrypted_size(4).unwrap()];
    key.encrypt(b"text", b"", &mut out).unwrap();
    out
}

/// Runs `work` in a child and waits for it. The child's panic shows as another exit status than zero.
fn in_a_child(work: impl FnOnce()) -> i32 {
    // SAFETY: the child runs `work` and leaves without unwinding into the parent's test harness.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: leaves at once, without the parent's exit handlers.
        unsafe { libc::_exit(i32::from(outcome.is_err())) }
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` is valid for writes.
    unsafe { libc::waitpid(child, &mut status, 0) };
    status
}

#[test]
fn a_child_cannot_use_its_parents_key_but_one_of_its_own() {
    let inherited = key();
    let message = encrypt(&inherited);
    inherited.decrypt(&message, b"", &mut [0; 4]).unwrap();
    let status = in_a_child(|| {
        let mut out = [0xaa; 256];
        assert_eq!(inherited.encrypt(b"text", b"", &mut out).unwrap_err().code(), Code::Forked);
        assert_eq!(out, [0; 256]);
        assert_eq!(inherited.decrypt(&message, b"", &mut out).unwrap_err().code(), Code::Forked);
        inherited.quiesce();

        let own = key();
        own.decrypt(&message, b"", &mut out).unwrap();
        assert_eq!(out[..4], *b"text");
        let other = encrypt(&own);
        let salt = |message: &[u8]| message[message.len() - 17..].to_vec();
        assert_ne!(salt(&other), salt(&message));
        drop(own);
    });
    assert_eq!(status, 0);
    inherited.decrypt(&message, b"", &mut [0; 4]).unwrap();

    // Freed in the child, as a destructor would do at its exit.
    let inherited = std::cell::Cell::new(Some(inherited));
    assert_eq!(in_a_child(|| drop(inherited.take())), 0);
    drop(inherited.take());
}

#[test]
fn a_child_cannot_go_on_with_its_parents_streams_and_the_parent_can() {
    let key = key();
    let (mut header, mut end, mut out) = (vec![0; 256], vec![0; 256], vec![0; 2 * SEGMENT]);
    let mut encryptor = key.encrypt_stream(b"").unwrap();
    let size = encryptor.update(b"text", &mut header).unwrap();
    let mut decryptor = key.decrypt_stream(&header[..size], b"").unwrap();
    let status = in_a_child(|| {
        let mut out = vec![0xaa; 2 * SEGMENT];
        assert_eq!(encryptor.update(&[0; SEGMENT + 1], &mut out).unwrap_err().code(), Code::Forked);
        assert_eq!(encryptor.finish(&mut out).unwrap_err().code(), Code::Forked);
        assert_eq!(decryptor.update(b"", &mut out).unwrap_err().code(), Code::Forked);
        assert_eq!(decryptor.finish().unwrap_err().code(), Code::Forked);
        assert!(key.encrypt_stream(b"").is_err_and(|error| error.code() == Code::Forked));
    });
    assert_eq!(status, 0);
    let size = encryptor.finish(&mut end).unwrap();
    assert_eq!(decryptor.update(&end[..size], &mut out).unwrap(), 4);
    decryptor.finish().unwrap();
    assert_eq!(out[..4], *b"text");
}

/// The page of the stamp is made by whoever asks first. A lock around that would be held for ever in a child that is
/// forked meanwhile.
#[test]
fn a_child_that_is_forked_while_the_first_stamp_is_taken_does_not_hang() {
    const ROLE: &str = "KEYSTEAD_TEST_FIRST_STAMP";
    if std::env::var_os(ROLE).is_some() {
        let start = std::sync::Barrier::new(5);
        return std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    assert!(ProcessStamp::current().is_current());
                });
            }
            start.wait();
            let status = in_a_child(|| {
                // SAFETY: a child that hangs is killed, which the parent notices.
                unsafe { libc::alarm(20) };
                assert!(ProcessStamp::current().is_current());
            });
            assert_eq!(status, 0, "wait status of the child");
        });
    }
    // Each process takes its first stamp once.
    for _ in 0..30 {
        let name = "a_child_that_is_forked_while_the_first_stamp_is_taken_does_not_hang";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", name]).env(ROLE, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
