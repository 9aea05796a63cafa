//! The end of a key encryption key, which is the end of every data space under it: in steps, and not by mistake.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind, pinned_version};
use keystead::client::{Original, Revocation};
use keystead::envelope::KeyId;
use keystead::kmip::{Activate, Connector, Create, Deadline};
use keystead::{Client, Code, config};

/// A configuration in one version of KMIP, with a file that remembers what needs a key.
fn configuration(servers: &KeyServers, version: &str) -> PathBuf {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let unpinned = text.lines().filter(|line| !line.starts_with("kmip_version"));
    let text: String = unpinned.map(|line| format!("{line}\n")).collect();
    let pinned = text.replace("[[server]]\n", &format!("[[server]]\nkmip_version = \"{version}\"\n"));
    let path = servers.dir.join(format!("kmip-{version}.conf"));
    std::fs::write(&path, format!("{pinned}\n[keys]\nstate = \"keys-{version}.state\"\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// One for each way to protect a DEK.
fn versions() -> Vec<String> {
    match pinned_version() {
        Some(version) => [version].into_iter().filter(|version| !["1.0", "1.1"].contains(&version.as_str())).collect(),
        None => ["1.4", "1.2"].map(String::from).to_vec(),
    }
}

fn run(config: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keystead")).arg("--config").arg(config).args(words).output().unwrap()
}

fn succeed(config: &Path, words: &[&str]) -> String {
    let output = run(config, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn fail(config: &Path, words: &[&str]) -> String {
    let output = run(config, words);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn destroy(id: &str) -> [&str; 5] {
    ["key", "destroy", "--kek", "--unreadable-for-ever", id]
}

fn revoke(id: &str) -> [&str; 6] {
    ["key", "revoke", "--kek", "--reason", "superseded", id]
}

/// The states of the objects of a version of a KEK; a server may have forgotten those that are destroyed.
fn states(config: &Path, name: &str, version: u32) -> Vec<String> {
    let client = Client::open(config).unwrap();
    let shown = client.show_kek(name).unwrap_or_default();
    shown.into_iter().filter(|object| object.version == version).map(|object| object.state).collect()
}

#[test]
fn a_kek_ends_in_two_steps_and_never_while_a_protected_dek_is_known_to_be_under_it() {
    // PyKMIP unlocks nothing with a deactivated KEK.
    let servers = KeyServers::start(1);
    for version in versions() {
        let config = configuration(&servers, &version);
        let kek = format!("master-{}", version.replace('.', "-"));
        let (first, file) = (format!("{kek}/1"), servers.dir.join(format!("orders-{version}.dek")));
        let place = file.to_str().unwrap();
        succeed(&config, &["key", "create", "--kek", &kek]);
        succeed(&config, &["space", "create", "--kek", &kek, "--name", "orders", place]);
        // Each command is a process, and knows what others did.
        for words in [&revoke(&first)[..], &destroy(&first)] {
            let refusal = fail(&config, words);
            assert!(refusal.contains("needed by: protected DEK of space:orders/"), "{refusal}");
            assert!(refusal.contains(&format!(" in {place};")), "{refusal}");
        }
        let shown = succeed(&config, &["key", "show", "--kek", &kek]);
        assert!(shown.contains("is needed by protected DEK of space:orders/") && shown.contains(place), "{shown}");

        succeed(&config, &["key", "rotate", "--kek", &kek]);
        assert!(fail(&config, &revoke(&first)).contains("rewrap"));
        succeed(&config, &["space", "rewrap", "--kek", &kek, place]);
        assert!(fail(&config, &destroy(&first)).contains("active"), "it takes two steps");
        assert!(states(&config, &kek, 1).iter().all(|state| state == "active"), "nothing was touched");
        succeed(&config, &revoke(&first));
        succeed(&config, &destroy(&first));
        assert!(states(&config, &kek, 1).iter().all(|state| state == "destroyed"), "{:?}", states(&config, &kek, 1));

        // What is under the other version lives on.
        let client = Client::open(&config).unwrap();
        client.unlock_space(&std::fs::read(&file).unwrap(), "orders").unwrap();
        let again = fail(&config, &destroy(&format!("{kek}/2")));
        assert!(again.contains("needed by"), "{again}");
    }
}

#[test]
fn a_space_that_takes_the_place_of_a_moved_one_leaves_that_its_kek() {
    let Some(version) = versions().into_iter().next() else { return };
    // PyKMIP forgets the key of the first space, so that its number might be given again.
    let servers = KeyServers::start(1);
    let config = configuration(&servers, &version);
    let (file, moved) = (servers.dir.join("orders.dek"), servers.dir.join("moved.dek"));
    let place = file.to_str().unwrap();
    succeed(&config, &["key", "create", "--kek", "master"]);
    succeed(&config, &["space", "create", "--kek", "master", place]);
    std::fs::rename(&file, &moved).unwrap();
    // Under the same KEK, and rewrapped under the next one.
    succeed(&config, &["space", "create", "--kek", "master", place]);
    succeed(&config, &["key", "rotate", "--kek", "master"]);
    succeed(&config, &["space", "rewrap", "--kek", "master", place]);
    let refusal = fail(&config, &revoke("master/1"));
    assert!(refusal.contains(&format!("needed by: protected DEK of space:orders/1 in {place};")), "{refusal}");
    let client = Client::open(&config).unwrap();
    client.unlock_space(&std::fs::read(&moved).unwrap(), "orders").unwrap();
}

#[test]
fn a_protected_dek_is_proven_and_stored_only_once_its_kek_is_known_to_be_needed() {
    if !versions().contains(&"1.4".to_owned()) {
        return;
    }
    let mut servers = KeyServers::start(1);
    let config = configuration(&servers, "1.4");
    let client = Client::open(&config).unwrap();
    client.create_kek("master").unwrap();
    let (state, aside) = (servers.dir.join("keys-1.4.state"), servers.dir.join("aside"));
    let (file, other) = (servers.dir.join("orders.dek"), servers.dir.join("customers.dek"));
    client.create_space("customers", "master", &other, Original::Destroy).unwrap();
    client.rotate_kek("master").unwrap();
    let old = std::fs::read(&other).unwrap();

    std::fs::rename(&state, &aside).unwrap();
    let decryptions = servers.count("primary", "Decrypt");
    let error = client.create_space("orders", "master", &file, Original::Destroy).err().unwrap();
    assert!(error.code() == Code::System && !file.exists(), "{error}");
    let is_left = |key: &keystead::client::KeyInfo| key.name == "space:orders" && key.state == "pre-active";
    assert!(!client.list_keys().unwrap().iter().any(is_left), "what protects nothing is destroyed");
    assert_eq!(servers.count("primary", "Decrypt"), decryptions, "nothing was proven");
    assert_eq!(client.rewrap_space("master", &other).unwrap_err().code(), Code::System);
    assert_eq!(
        servers.count("primary", "Decrypt"),
        decryptions + 1,
        "the old one was unlocked, the new one not proven"
    );
    assert_eq!(std::fs::read(&other).unwrap(), old);

    std::fs::rename(&aside, &state).unwrap();
    client.create_space("orders", "master", &file, Original::Destroy).unwrap();
    assert!(client.rewrap_space("master", &other).unwrap().is_changed);
}

/// As a configuration, with one of two servers and another deadline.
fn only(servers: &KeyServers, config: &Path, index: usize, deadline: &str) -> PathBuf {
    let other = servers.servers[1 - index].port;
    let text = std::fs::read_to_string(config).unwrap();
    let (before, block) = text.split_at(text.find(&format!("port = {other}\n")).unwrap());
    let text = format!("{}{}", &before[..before.rfind("[[server]]").unwrap()], block.split_once('\n').unwrap().1);
    let path = servers.dir.join(format!("only-{index}.conf"));
    std::fs::write(&path, text.replace("deadline = \"30s\"", &format!("deadline = \"{deadline}\""))).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// Waits, ten seconds at most, until `reached` says so.
fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn no_space_is_created_under_a_kek_that_another_process_has_found_unneeded_and_revokes() {
    let Some(version) = versions().into_iter().next() else { return };
    let mut servers = KeyServers::start(2);
    let config = configuration(&servers, &version);
    let (creator, revoker) = (only(&servers, &config, 0, "4s"), only(&servers, &config, 1, "30s"));
    let file = servers.dir.join("orders.dek");
    succeed(&config, &["key", "create", "--kek", "master"]);
    succeed(&config, &["key", "rotate", "--kek", "master"]);

    servers.stop("secondary");
    let mut tool = Command::new(env!("CARGO_BIN_EXE_keystead"));
    let mut revoking =
        tool.arg("--config").arg(revoker).args(revoke("master/2")).stdout(Stdio::null()).spawn().unwrap();
    let is_held = || matches!(File::open(&servers.dir).unwrap().try_lock(), Err(TryLockError::WouldBlock));
    eventually("its look", is_held);
    let creator = Client::open(&creator).unwrap();
    let error = creator.create_space("orders", "master", &file, Original::Destroy).err().unwrap();
    assert!(error.code() == Code::Deadline && error.message().contains("ending the time of a key"), "{error}");
    assert!(!file.exists());

    servers.resume("secondary");
    assert!(revoking.wait().unwrap().success(), "nothing needs it");
    let space = creator.create_space("orders", "master", &file, Original::Destroy).unwrap().0;
    assert_eq!(space.id().unwrap().space(), Some("orders"), "under the version that is left");
    assert!(fail(&config, &revoke("master/1")).contains("needed by"));
}

#[test]
fn what_a_creation_noted_and_then_did_not_store_keeps_no_kek() {
    let Some(version) = versions().into_iter().next() else { return };
    let servers = KeyServers::start(1);
    let config = configuration(&servers, &version);
    let file = servers.dir.join("spaces/orders.dek");
    let folder = file.parent().unwrap();
    std::fs::create_dir(folder).unwrap();
    succeed(&config, &["key", "create", "--kek", "master"]);
    let client = Client::open(&config).unwrap();

    // The creation waits with what it has not published, and somebody else takes its place.
    let hold = File::open(&servers.dir).unwrap();
    hold.lock().unwrap();
    let refusal = std::thread::scope(|scope| {
        let creating = scope.spawn(|| client.create_space("orders", "master", &file, Original::Destroy).err());
        eventually("the draft", || folder.read_dir().unwrap().count() == 1);
        std::fs::write(&file, "of somebody else").unwrap();
        hold.unlock().unwrap();
        creating.join().unwrap().unwrap()
    });
    assert_eq!(refusal.code(), Code::NotAuthentic, "what is there is looked at: {refusal}");
    assert_eq!(std::fs::read(&file).unwrap(), b"of somebody else");
    assert!(std::fs::read_to_string(servers.dir.join(format!("keys-{version}.state"))).unwrap().contains("reference"));
    assert!(client.show_kek("master").unwrap().iter().all(|object| object.needed_by.is_empty()));
    succeed(&config, &revoke("master/1"));
}

#[test]
fn a_file_that_is_gone_keeps_its_kek_until_somebody_says_so() {
    let Some(version) = versions().into_iter().next() else { return };
    let servers = KeyServers::start_kind(if Kind::Go.is_there() { Kind::Go } else { Kind::PyKmip }, 1);
    let config = configuration(&servers, &version);
    let file = servers.dir.join("orders.dek");
    let place = file.to_str().unwrap();
    succeed(&config, &["key", "create", "--kek", "master"]);
    succeed(&config, &["space", "create", "--kek", "master", place]);
    // By another name of the file it is the same one.
    let link = servers.dir.join("link.dek");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    succeed(&config, &["space", "rewrap", "--kek", "master", link.to_str().unwrap()]);
    let client = Client::open(&config).unwrap();
    let needed = client.show_kek("master").unwrap().swap_remove(0).needed_by;
    assert_eq!(needed, [format!("protected DEK of space:orders/1 in {place}")]);

    std::fs::remove_file(&file).unwrap();
    assert!(fail(&config, &revoke("master/1")).contains("--no-more"));
    succeed(&config, &["key", "need", "--kek", "master/1", "--by", "the backup of May"]);
    succeed(&config, &["key", "need", "--kek", "master/1", "--by", &needed[0], "--no-more"]);
    let refusal = fail(&config, &revoke("master/1"));
    assert!(refusal.contains("the backup of May") && !refusal.contains(place), "{refusal}");
    // One that others may know ends at once; its data is to be saved first all the same.
    succeed(&config, &["key", "revoke", "--kek", "--reason", "compromised", "master/1"]);
    assert!(fail(&config, &destroy("master/1")).contains("the backup of May"));
    succeed(&config, &["key", "need", "--kek", "master/1", "--by", "the backup of May", "--no-more"]);
    succeed(&config, &destroy("master/1"));
    let gone = client.revoke_kek(&id("nobody/1"), Revocation::Superseded);
    assert_eq!(gone.unwrap_err().code(), Code::KeyNotFound);
}

/// Clients of one server before and after it came to KMIP 1.4, with or without a file that remembers keys.
fn before_and_after(servers: &KeyServers, remembers: bool) -> Option<[Client; 2]> {
    // The tests may be run for one version alone.
    (pinned_version().is_none()).then(|| {
        ["1.2", "1.4"].map(|version| {
            let path = configuration(servers, version);
            let text = std::fs::read_to_string(&path).unwrap();
            let own = format!("[keys]\nstate = \"keys-{version}.state\"\n");
            let shared = if remembers { "[keys]\nstate = \"keys.state\"\n" } else { "" };
            std::fs::write(&path, text.replace(&own, shared)).unwrap();
            Client::open(&path).unwrap()
        })
    })
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

/// What there is of a KEK: `kek-gcm:master/2 active`.
fn shown(client: &Client, name: &str) -> Vec<String> {
    let all = client.show_kek(name).unwrap().into_iter();
    let mut all: Vec<_> = all.map(|key| format!("{}/{} {}", key.name, key.version, key.state)).collect();
    all.retain(|object| !object.ends_with(" destroyed"));
    all
}

#[test]
fn the_old_kek_ends_after_a_move_to_a_better_rung_and_the_new_one_does_not() {
    for remembers in [false, true] {
        let servers = KeyServers::start(1);
        let Some([old, new]) = before_and_after(&servers, remembers) else { return };
        let file = servers.dir.join("orders.dek");
        old.create_kek("master").unwrap();
        old.create_space("orders", "master", &file, Original::Destroy).unwrap();

        let better = new.rotate_kek("master").unwrap();
        assert_eq!((better.version, better.rung), (2, "gcm"), "NAME/V names one KEK, whatever its rung");
        let done = new.rewrap_space("master", &file).unwrap();
        assert_eq!((done.from, done.to), (id("master/1"), id("master/2")));
        new.revoke_kek(&id("master/1"), Revocation::Superseded).unwrap();
        new.destroy_kek(&id("master/1")).unwrap();
        assert_eq!(shown(&new, "master"), ["kek-gcm:master/2 active"], "with keys.state: {remembers}");
        new.unlock_space(&std::fs::read(&file).unwrap(), "orders").expect("its KEK is the new one");

        let next = new.rotate_kek("master").unwrap();
        assert_eq!((next.version, next.rung), (3, "gcm"));
    }
}

#[test]
fn a_kek_that_had_a_better_rung_is_never_taken_back_to_the_lower_one() {
    let servers = KeyServers::start(1);
    let Some([old, new]) = before_and_after(&servers, true) else { return };
    let (file, other) = (servers.dir.join("orders.dek"), servers.dir.join("customers.dek"));
    old.create_kek("master").unwrap();
    old.create_kek("low").unwrap();
    new.rotate_kek("master").unwrap();
    new.create_space("orders", "master", &file, Original::Destroy).unwrap();
    for lowered in [old.rotate_kek("master").map(drop), new.rewrap_space("low", &file).map(drop)] {
        let error = lowered.unwrap_err();
        assert!(error.code() == Code::Unsupported && error.message().contains("less"), "{error}");
    }

    // The better one ends, and the lower one is active still.
    new.rotate_kek("low").unwrap();
    new.rewrap_space("low", &file).unwrap();
    new.revoke_kek(&id("master/2"), Revocation::Superseded).unwrap();
    for is_forgotten in [false, true] {
        if is_forgotten {
            new.destroy_kek(&id("master/2")).unwrap();
        }
        for client in [&old, &new] {
            let refused = client.create_space("customers", "master", &other, Original::Destroy).err().unwrap();
            assert_eq!(refused.code(), Code::KeyState, "{refused}");
            assert!(refused.message().contains("key rotate --kek master") && !other.exists(), "{refused}");
            assert_eq!(client.create_kek("master").unwrap_err().code(), Code::KeyState);
        }
        assert_eq!(old.rotate_kek("master").unwrap_err().code(), Code::Unsupported);
    }
    assert_eq!((new.rotate_kek("master").unwrap().version, shown(&new, "master").len()), (3, 3));
    new.create_space("customers", "master", &other, Original::Destroy).unwrap();
}

#[test]
fn a_kek_whose_only_version_was_revoked_is_rotated() {
    let servers = KeyServers::start(1);
    for version in versions() {
        let config = configuration(&servers, &version);
        let kek = format!("master-{}", version.replace('.', "-"));
        let file = servers.dir.join(format!("orders-{version}.dek"));
        succeed(&config, &["key", "create", "--kek", &kek]);
        succeed(&config, &revoke(&format!("{kek}/1")));
        let advice = format!("keystead key rotate --kek {kek}");
        assert!(fail(&config, &["key", "create", "--kek", &kek]).contains(&advice));
        let create = ["space", "create", "--kek", &kek, "--name", "orders", file.to_str().unwrap()];
        assert!(fail(&config, &create).contains(&advice));
        assert!(succeed(&config, &["key", "rotate", "--kek", &kek]).starts_with(&format!("{kek}/2 ")));
        succeed(&config, &create);
    }
}

#[test]
fn two_keks_of_one_version_are_told_and_neither_is_touched() {
    let servers = KeyServers::start(1);
    let Some([old, new]) = before_and_after(&servers, false) else { return };
    let file = servers.dir.join("orders.dek");
    old.create_kek("master").unwrap();
    old.create_space("orders", "master", &file, Original::Destroy).unwrap();
    // As by two who did not see each other.
    let (config, _) = config::load(&servers.dir.join("kmip-1.4.conf")).unwrap();
    let soon = Deadline::after(Duration::from_secs(10));
    let mut connection =
        Connector::new(&config.servers[0]).unwrap().connect(soon).map_err(keystead::Error::from).unwrap();
    let twin = Create::new("kek-gcm:master/1", Some("keystead:kek-gcm:master"));
    let twin = connection.call(&twin, soon).map_err(keystead::Error::from).unwrap();
    connection.call(&Activate { id: &twin }, soon).map_err(keystead::Error::from).unwrap();

    let before = shown(&new, "master");
    for refused in [
        new.revoke_kek(&id("master/1"), Revocation::KeyCompromise),
        new.destroy_kek(&id("master/1")),
        new.add_kek_reference(&id("master/1"), "the backup of May"),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Code::KeyAmbiguous, "{error}");
        assert!(["kek-gcm:master/1", "kek-cbc:master/1", &twin].iter().all(|word| error.message().contains(word)));
    }
    assert_eq!(shown(&new, "master"), before);
    // A protected DEK tells which one is meant.
    new.unlock_space(&std::fs::read(&file).unwrap(), "orders").unwrap();
    assert_eq!(new.rotate_kek("master").unwrap().version, 2);
    assert!(new.rewrap_space("master", &file).unwrap().is_changed);
}
