//! Several threads and processes at work on the file of one data space: all get the same key, nobody sees half a file, and the
//! KEK that the file needs is known at the end.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use keyservers::{KeyServers, Kind};
use keystead::Client;
use keystead::client::{Creation, Key, Original, Revocation};
use keystead::envelope::{KeyId, protected};

/// Clients of their own, as two processes have them: they share the file, the key server and the file of keys.state.
fn start() -> Option<(KeyServers, [Client; 2])> {
    if keyservers::is_pinned_below_data_spaces() {
        return None;
    }
    let kind = if Kind::Go.is_there() { Kind::Go } else { KeyServers::kind() };
    let servers = KeyServers::start_kind(kind, 1);
    let text = std::fs::read_to_string(&servers.config).unwrap();
    std::fs::write(&servers.config, format!("{text}\n[keys]\nstate = \"keys.state\"\n")).unwrap();
    let clients = [(); 2].map(|()| Client::open(&servers.config).unwrap());
    Some((servers, clients))
}

/// PyKMIP takes its time.
fn rounds(of_go: usize) -> usize {
    if Kind::Go.is_there() { of_go } else { of_go / 4 }
}

fn encrypt(key: &Key) -> Vec<u8> {
    let mut message = vec![0; key.encrypted_size(5).unwrap()];
    key.encrypt(b"value", b"", &mut message).unwrap();
    message
}

fn decrypt(key: &Key, message: &[u8]) {
    let mut out = [0; 5];
    key.decrypt(message, b"", &mut out).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(&out, b"value");
}

fn unlock(client: &Client, file: &Path, space: &str) -> Key {
    client.unlock_space(&std::fs::read(file).unwrap(), space).unwrap_or_else(|error| panic!("{error}"))
}

/// The drafts that lie beside a file.
fn drafts(file: &Path) -> Vec<PathBuf> {
    let entries = file.parent().unwrap().read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "partial")).collect()
}

#[test]
fn all_who_create_a_space_at_the_same_time_get_the_key_that_is_stored() {
    let Some((servers, clients)) = start() else { return };
    clients[0].create_kek("master").unwrap();
    for round in 0..rounds(16) {
        let (space, file) = (format!("space-{round}"), servers.dir.join(format!("space-{round}.dek")));
        let barrier = Barrier::new(6);
        let create = |client: &Client| {
            barrier.wait();
            client.create_space(&space, "master", &file, Original::Destroy).unwrap_or_else(|error| panic!("{error}"))
        };
        let made: Vec<(Key, Creation)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|thread| {
                    scope.spawn({
                        let create = &create;
                        let clients = &clients;
                        move || create(&clients[thread % 2])
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let stored = unlock(&clients[0], &file, &space);
        made.iter().for_each(|(key, _)| decrypt(&stored, &encrypt(key)));
        assert!(made.iter().any(|(_, creation)| *creation == Creation::Created));
        let name = format!("space:{space}");
        let left =
            clients[0].list_keys().unwrap().into_iter().filter(|key| key.name == name && key.state == "pre-active");
        assert_eq!((left.count(), drafts(&file).len()), (0, 0), "nothing is left on the key server, and no draft");
    }
}

#[test]
fn a_file_that_is_rewrapped_from_all_sides_is_always_whole_and_its_kek_is_known_to_be_needed() {
    let Some((servers, clients)) = start() else { return };
    let keks = ["one", "two"];
    keks.iter().for_each(|kek| drop(clients[0].create_kek(kek).unwrap()));
    let file = servers.dir.join("orders.dek");
    let (key, _) = clients[0].create_space("orders", "one", &file, Original::Destroy).unwrap();
    let message = encrypt(&key);
    for _ in 0..rounds(8) {
        let is_over = AtomicBool::new(false);
        let rewrap = |thread: usize| {
            for _ in 0..5 {
                let client = &clients[thread % 2];
                client.rewrap_space(keks[thread / 2], &file).unwrap_or_else(|error| panic!("{error}"));
            }
        };
        std::thread::scope(|scope| {
            let (rewrap, is_over, file) = (&rewrap, &is_over, &file);
            let reader = scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    protected::inspect(&std::fs::read(file).unwrap()).expect("it is whole");
                }
            });
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || rewrap(thread))).collect();
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
        let held = protected::inspect(&std::fs::read(&file).unwrap()).unwrap().kek;
        for kek in keks {
            let id = KeyId::new(kek, 1).unwrap();
            let needed = clients[0].show_kek(kek).unwrap().swap_remove(0).needed_by;
            assert_eq!(needed.len(), usize::from(id.to_string() == held), "{held} is needed, and {id} by {needed:?}");
        }
        let refused = clients[1].revoke_kek(&KeyId::parse(&held).unwrap(), Revocation::Superseded).unwrap_err();
        assert_eq!(refused.code(), keystead::Code::KeyReferenced, "{refused}");
        decrypt(&unlock(&clients[1], &file, "orders"), &message);
    }
    assert!(drafts(&file).is_empty());
}
