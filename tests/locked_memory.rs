//! When locked memory is full the least recently used key goes, and the log says so.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::path::{Path, PathBuf};
use std::process::Command;

use keyservers::{KeyServers, Kind};
use keystead::{Client, Code};

const ROLE: &str = "KEYSTEAD_TEST_LITTLE_LOCKED_MEMORY";
/// Several times more than fit.
const KEYS: usize = 120;
const LIMIT: u64 = 64 * 1024;

#[test]
fn a_full_arena_gives_up_the_least_recently_used_key_and_says_so() {
    if let Some(config) = std::env::var_os(ROLE) {
        return work_with_little(Path::new(&config));
    }
    let servers = KeyServers::start_kind(if Kind::Go.is_there() { Kind::Go } else { Kind::PyKmip }, 1);
    let client = Client::open(&servers.config).unwrap();
    (0..KEYS).for_each(|n| drop(client.create_key(&format!("key-{n}")).unwrap()));
    assert_eq!(client.status().unwrap().cache.evicted, 0, "there is room enough here");
    drop(client);
    // The limit is one of the whole process, so it is lowered in another one.
    let name = "a_full_arena_gives_up_the_least_recently_used_key_and_says_so";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, to_stderr(&servers))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && printed.contains("gave up"), "{printed}");
    assert_eq!(printed.matches("event=cache.evicted").count(), 1, "once a minute is enough");
}

/// The configuration, with a log that a process without privileges can write.
fn to_stderr(servers: &KeyServers) -> PathBuf {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let (before, target) = text.split_once("target = \"").unwrap();
    let (_, after) = target.split_once('"').unwrap();
    let path = servers.dir.join("little.conf");
    std::fs::write(&path, format!("{before}target = \"stderr\"{after}")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn work_with_little(config: &Path) {
    let client = Client::open(config).unwrap();
    let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
    // SAFETY: lowers a limit and, where there are any, gives up privileges that lift it, in a process of the test's own.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        }
    }
    let mut out = [0; 256];
    let held = client.key("key-0").unwrap();
    let mut messages = Vec::new();
    for n in 0..KEYS {
        let key = client.key(&format!("key-{n}")).unwrap();
        let size = key.encrypt(b"value", b"", &mut out).unwrap();
        messages.push(out[..size].to_vec());
        held.encrypt(b"value", b"", &mut out).expect("what is held is never given up");
    }
    for message in &messages {
        assert_eq!(client.decrypt(message, b"", "*", &mut out).unwrap(), 5);
    }
    let evicted = client.status().unwrap().cache.evicted;
    assert!(evicted as usize > KEYS / 2, "{evicted}");
    // When everything is held there is an error, and never memory that is not locked.
    let mut all = Vec::new();
    let refusal = (0..KEYS).find_map(|n| match client.key(&format!("key-{n}")) {
        Ok(key) => {
            all.push(key);
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(refusal.expect("not all of them fit").code(), Code::MemoryExhausted);
    drop(all);
    client.key("key-1").unwrap().encrypt(b"value", b"", &mut out).unwrap();
    println!("gave up {evicted} keys");
}
