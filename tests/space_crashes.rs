//! Creating and rewrapping a data space, killed at every step: the file holds the old protected DEK or the new one, and
//! what it holds is unlocked by the key server.
//!
//! The tool runs traced, and is killed (SIGKILL) just before its n-th system call of those that change something: what
//! a key server is asked, what becomes of a file. Then with the next n, until it comes to its end.

#![cfg(target_os = "linux")]

#[path = "common/keyservers.rs"]
mod keyservers;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use keyservers::{KeyServers, Kind};
use keystead::Client;
use keystead::client::{Creation, Key, Original};
use keystead::envelope::protected;

/// A test that looks at nothing must not pass.
const UNTRACEABLE: &str = "this machine does not let a parent trace its child (ptrace, PTRACE_TRACEME); allow it, in a container with \
                           the capability SYS_PTRACE, and do not run this under a debugger";

/// How a run of the tool ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Killed,
    Exited(i32),
    /// This machine does not let a parent trace its child.
    Untraceable,
}

/// `struct ptrace_syscall_info` of <linux/ptrace.h> as it is where a call begins.
#[repr(C)]
#[derive(Default)]
struct Call {
    op: u8,
    padding: [u8; 3],
    architecture: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    number: u64,
    arguments: [u64; 6],
    unused: [u64; 4],
}

impl Call {
    /// Whether it changes something outside the process.
    fn is_step(&self) -> bool {
        const ENTRY: u8 = 1;
        #[cfg(target_arch = "x86_64")]
        const OLD: [i64; 3] = [libc::SYS_link, libc::SYS_rename, libc::SYS_unlink];
        #[cfg(not(target_arch = "x86_64"))]
        const OLD: [i64; 0] = [];
        let number = self.number as i64;
        let opens = number == libc::SYS_openat && self.arguments[2] & libc::O_CREAT as u64 != 0;
        let changes = [
            libc::SYS_sendto,
            libc::SYS_write,
            libc::SYS_fchmod,
            libc::SYS_fsync,
            libc::SYS_linkat,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_unlinkat,
        ];
        self.op == ENTRY && (opens || changes.contains(&number) || OLD.contains(&number))
    }
}

/// Runs the tool up to its step of that number, from 0.
fn run_to(servers: &KeyServers, words: &[&str], step: usize) -> End {
    let mut command = tool(servers, words);
    // SAFETY: a system call without arguments; it allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let Ok(mut child) = command.spawn() else { return End::Untraceable };
    let pid = child.id() as libc::pid_t;
    let (mut steps, mut signal, mut is_started) = (0, 0, false);
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for writes; the child is ours and traced by this thread.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        if libc::WIFEXITED(status) {
            return End::Exited(libc::WEXITSTATUS(status));
        }
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        let stopped = libc::WSTOPSIG(status);
        if !is_started {
            is_started = true;
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
            // SAFETY: the child is stopped.
            assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) }, 0);
        } else if stopped == libc::SIGTRAP | 0x80 {
            let mut call = Call::default();
            // SAFETY: the child is stopped at a call, and `call` is valid for writes of its size.
            let size = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size_of::<Call>(), &raw mut call) };
            assert!(size > 0, "{}", std::io::Error::last_os_error());
            if call.is_step() {
                if steps == step {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    return End::Killed;
                }
                steps += 1;
            }
        } else {
            signal = stopped;
        }
        // SAFETY: the child is stopped.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, std::mem::take(&mut signal)) }, 0);
    }
}

fn tool(servers: &KeyServers, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    command.arg("--config").arg(&servers.config).args(words).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn start() -> (KeyServers, Client) {
    // Each run of the tool shakes hands anew, and there are many.
    let kind = if Kind::Go.is_there() { Kind::Go } else { KeyServers::kind() };
    let servers = KeyServers::start_kind(kind, 1);
    let client = Client::open(&servers.config).unwrap();
    (servers, client)
}

/// The objects of that name on the key server that wait to be used.
fn originals(client: &Client, space: &str) -> usize {
    let name = format!("space:{space}");
    client.list_keys().unwrap().iter().filter(|key| key.name == name && key.state == "pre-active").count()
}

fn unlock(client: &Client, file: &Path, space: &str) -> Key {
    client.unlock_space(&std::fs::read(file).unwrap(), space).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_creation_killed_at_any_step_leaves_no_file_or_one_that_unlocks_and_is_finished_by_repeating_it() {
    if keyservers::is_pinned_below_data_spaces() {
        return;
    }
    let (servers, client) = start();
    client.create_kek("master").unwrap();
    let (mut without, mut with) = (0, 0);
    for step in 0.. {
        let space = format!("space-{step}");
        let file = servers.dir.join(format!("{space}.dek"));
        let words = ["space", "create", "--kek", "master", file.to_str().unwrap()];
        match run_to(&servers, &words, step) {
            End::Killed => {}
            End::Exited(0) => break,
            End::Untraceable => panic!("{UNTRACEABLE}"),
            end => panic!("step {step}: {end:?}"),
        }
        let was_there = file.exists();
        if was_there {
            unlock(&client, &file, &space);
            with += 1;
        } else {
            without += 1;
        }
        let before = std::fs::read(&file).ok();
        let (key, creation) = client.create_space(&space, "master", &file, Original::Destroy).unwrap();
        assert_eq!(creation == Creation::Existed, was_there);
        assert!(before.is_none_or(|before| before == std::fs::read(&file).unwrap()));
        let mut message = vec![0; key.encrypted_size(5).unwrap()];
        key.encrypt(b"value", b"", &mut message).unwrap();
        unlock(&client, &file, &space).decrypt(&message, b"", &mut [0; 5]).unwrap();
        let entries = servers.dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = entries.filter(|name| name.ends_with(".partial")).collect();
        assert!(left.is_empty(), "step {step}: what the killed one left is gone: {left:?}");
        if was_there {
            assert_eq!(originals(&client, &space), 0, "step {step}: the key server still has the key");
        }
    }
    println!("killed at {without} steps before the file was there, and at {with} behind that");
    assert!(without >= 10 && with >= 2);
}

#[test]
fn a_rewrapping_killed_at_any_step_leaves_the_old_protected_dek_or_the_new_one() {
    if keyservers::is_pinned_below_data_spaces() {
        return;
    }
    let (servers, client) = start();
    client.create_kek("old").unwrap();
    client.create_kek("new").unwrap();
    let file = servers.dir.join("orders.dek");
    let (key, _) = client.create_space("orders", "old", &file, Original::Destroy).unwrap();
    let mut message = vec![0; key.encrypted_size(5).unwrap()];
    key.encrypt(b"value", b"", &mut message).unwrap();
    let first = std::fs::read(&file).unwrap();
    let (mut unchanged, mut changed) = (0, 0);
    for step in 0.. {
        std::fs::write(&file, &first).unwrap();
        match run_to(&servers, &["space", "rewrap", "--kek", "new", file.to_str().unwrap()], step) {
            End::Killed => {}
            End::Exited(0) => break,
            End::Untraceable => panic!("{UNTRACEABLE}"),
            end => panic!("step {step}: {end:?}"),
        }
        let now = std::fs::read(&file).unwrap();
        if now == first {
            unchanged += 1;
        } else {
            assert_eq!(protected::inspect(&now).unwrap().kek, "new/1");
            changed += 1;
        }
        let mut out = [0; 5];
        unlock(&client, &file, "orders").decrypt(&message, b"", &mut out).unwrap();
        assert_eq!(&out, b"value");
    }
    println!("killed at {unchanged} steps before the file was replaced, and at {changed} behind that");
    assert!(unchanged >= 10 && changed >= 1);
}
