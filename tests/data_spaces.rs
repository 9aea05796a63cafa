//! Data spaces against real key servers: created, unlocked, rewrapped, and refused wherever they should be.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind, pinned_version};
use keystead::client::{Creation, Key, Original, Revocation};
use keystead::envelope::protected::{self, Body, Header, Protected, Rung};
use keystead::envelope::{KeyId, message};
use keystead::{Client, Code};

/// A client of servers that are spoken to in one version of KMIP, and that verifies several times a second.
fn speaking(servers: &KeyServers, version: &str) -> Client {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let unpinned: String =
        text.lines().filter(|line| !line.starts_with("kmip_version")).map(|l| format!("{l}\n")).collect();
    let pinned = unpinned.replace("[[server]]\n", &format!("[[server]]\nkmip_version = \"{version}\"\n"));
    let path = servers.dir.join(format!("kmip-{version}.conf"));
    std::fs::write(&path, format!("{pinned}\n[cache]\nttl = \"400ms\"\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    Client::open(&path).unwrap()
}

/// What each rung is tried with, unless the tests are run for one version.
fn rungs() -> Vec<(&'static str, Rung)> {
    let all = [("1.4", Rung::Gcm), ("1.3", Rung::CbcHmac), ("1.2", Rung::CbcHmac)];
    match pinned_version() {
        Some(version) => all.into_iter().filter(|(offered, _)| *offered == version).collect(),
        // The two differ in nothing that spaces use.
        None => all.into_iter().filter(|(offered, _)| *offered != "1.3").collect(),
    }
}

fn place(servers: &KeyServers, name: &str) -> PathBuf {
    servers.dir.join(name)
}

fn encrypt(key: &Key, plaintext: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    let size = key.encrypt(plaintext, b"row 1", &mut out)?;
    out.truncate(size);
    Ok(out)
}

fn decrypt(key: &Key, message: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; message.len()];
    let size = key.decrypt(message, b"row 1", &mut out)?;
    out.truncate(size);
    Ok(out)
}

fn create(client: &Client, space: &str, file: &Path) -> Key {
    let (key, creation) = client.create_space(space, "master", file, Original::Destroy).unwrap();
    assert_eq!(creation, Creation::Created);
    key
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

/// The objects of that role and name that the key servers show, with their states.
fn objects(client: &Client, name: &str) -> Vec<String> {
    let all = client.list_keys().unwrap_or_default();
    all.iter().filter(|key| key.name == name).map(|key| format!("{} {}", key.version, key.state)).collect()
}

fn log(servers: &KeyServers) -> String {
    std::fs::read_to_string(&servers.log).unwrap()
}

/// The events of spaces in their order.
fn events(log: &str) -> Vec<&str> {
    let event = |line: &'_ str| line.split(" event=").nth(1).map(|rest| rest.split(' ').next().unwrap().len());
    log.lines()
        .filter_map(|line| event(line).map(|length| &line.split(" event=").nth(1).unwrap()[..length]))
        .filter(|event| event.starts_with("space."))
        .collect()
}

/// Waits, ten seconds at most, until `reached` says so.
fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_space_is_created_in_order_unlocked_elsewhere_and_rewrapped_with_its_data_untouched() {
    let mut servers = KeyServers::start(1);
    for (version, rung) in rungs() {
        let client = speaking(&servers, version);
        let space = format!("orders-{}", version.replace('.', "-"));
        let kek = format!("kek-{space}");
        let (made, creation) = client.create_kek(&kek).unwrap();
        assert_eq!((made.rung, made.version, creation), (rung.name(), 1, Creation::Created));
        assert_eq!(client.create_kek(&kek).unwrap().1, Creation::Existed);

        let before = log(&servers).len();
        let [gets, decryptions] = ["Get", "Decrypt"].map(|operation| servers.count("primary", operation));
        let file = place(&servers, &format!("{space}.dek"));
        let (key, creation) = client.create_space(&space, &kek, &file, Original::Destroy).unwrap();
        assert_eq!((creation, key.id().unwrap()), (Creation::Created, KeyId::of_space(&space, 1).unwrap()));
        assert_eq!(servers.count("primary", "Get") - gets, 1, "the DEK is fetched once, and the KEK never");
        let expected = ["dek_requested", "kek_requested", "dek_retrieved", "dek_protected", "stored", "dek_erased"];
        // What the caller gets is not left over from the creation: it is unlocked once all of that is erased.
        let unlocking = ["dek_destroyed", "kek_requested", "unlocked"];
        let expected: Vec<_> = expected.iter().chain(&unlocking).map(|step| format!("space.{step}")).collect();
        assert_eq!(events(&log(&servers)[before..]), expected, "row 91");
        assert_eq!(servers.count("primary", "Decrypt") - decryptions, 2, "one is the proof");
        assert!(objects(&client, &format!("space:{space}")).iter().all(|object| object.ends_with("destroyed")));
        let message = encrypt(&key, b"value").unwrap();
        assert_eq!(message::key_id(&message).unwrap().to_string(), format!("space:{space}/1"));

        // Elsewhere, with nothing but the file.
        let protected = std::fs::read(&file).unwrap();
        let other = speaking(&servers, version);
        let before = log(&servers).len();
        let unlocked = other.unlock_space(&protected, &space).unwrap();
        assert_eq!(decrypt(&unlocked, &message).unwrap(), b"value");
        let error = other.decrypt(&message, b"row 1", "*", &mut [0; 64]).unwrap_err();
        assert!(error.code() == Code::WrongKey && error.message().contains("unlock the space"), "{error}");
        other.close().unwrap();
        let told = log(&servers);
        assert_eq!(events(&told[before..]), ["space.kek_requested", "space.unlocked", "space.locked"], "row 92");
        assert_eq!(decrypt(&unlocked, &message).unwrap_err().code(), Code::Closed);

        // Under another version of the KEK, and under another KEK.
        assert!(!client.rewrap_space(&kek, &file).unwrap().is_changed);
        assert_eq!(client.rotate_kek(&kek).unwrap().version, 2);
        let done = client.rewrap_space(&kek, &file).unwrap();
        assert_eq!((done.from, done.to), (KeyId::new(&kek, 1).unwrap(), KeyId::new(&kek, 2).unwrap()));
        client.create_kek(&format!("{kek}-b")).unwrap();
        assert!(client.rewrap_space(&format!("{kek}-b"), &file).unwrap().is_changed);
        let inspection = protected::inspect(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!((inspection.kek, inspection.rung), (format!("{kek}-b/1"), rung));
        for protected in [protected, std::fs::read(&file).unwrap()] {
            let unlocked = client.unlock_space(&protected, "orders-*").unwrap();
            assert_eq!(decrypt(&unlocked, &message).unwrap(), b"value");
        }
        assert_eq!(decrypt(&key, &message).unwrap(), b"value", "a key that was unlocked before goes on");
        assert_eq!(servers.count("primary", "Get") - gets, 1, "no key was fetched since");
        for operation in ["get ", "encrypt ", "decrypt ", "mac ", "destroy "] {
            let failures = format!("event=kmip.{operation}severity=warning");
            assert!(!log(&servers).contains(&failures), "{}", log(&servers));
        }
    }
}

#[test]
fn below_1_2_spaces_are_refused_before_anything_is_made() {
    let mut servers = KeyServers::start(1);
    for version in ["1.1", "1.0"] {
        let client = speaking(&servers, version);
        let creates = servers.count("primary", "Create");
        let error = client.create_kek("master").unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        for word in [version, "needs 1.2", "named keys", "127.0.0.1"] {
            assert!(error.message().contains(word), "{error}");
        }
        assert_eq!(servers.count("primary", "Create"), creates);
        client.create_key(&format!("named-{}", &version[2..])).expect("named keys work");
    }
    if rungs().is_empty() {
        return; // The tests are run for such a version.
    }
    // With a KEK that others made.
    let capable = speaking(&servers, rungs()[0].0);
    capable.create_kek("master").unwrap();
    let file = place(&servers, "orders.dek");
    let creates = servers.count("primary", "Create");
    let old = speaking(&servers, "1.1");
    let error = old.create_space("orders", "master", &file, Original::Destroy).err().unwrap();
    assert!(error.code() == Code::Unsupported && error.message().contains("needs 1."), "{error}");
    assert!(servers.count("primary", "Create") == creates && !file.exists());
    create(&capable, "orders", &file);
    let error = old.unlock_space(&std::fs::read(&file).unwrap(), "orders").err().unwrap();
    assert_eq!(error.code(), Code::Unsupported);
    for word in ["cannot unlock", "master/1", rungs()[0].1.name(), "needs 1."] {
        assert!(error.message().contains(word), "{error}");
    }
    assert!(!error.message().contains("nothing was made"), "{error}");
}

#[test]
fn a_flipped_bit_anywhere_is_refused_and_with_an_hmac_before_any_decryption() {
    let mut servers = KeyServers::start(1);
    for (version, rung) in rungs() {
        let client = speaking(&servers, version);
        let (kek, file) = (format!("kek-{}", rung), place(&servers, &format!("{rung}.dek")));
        client.create_kek(&kek).unwrap();
        client.create_space("orders", &kek, &file, Original::Destroy).unwrap();
        let protected = std::fs::read(&file).unwrap();
        let decrypts = servers.count("primary", "Decrypt");
        let mut texts = Vec::new();
        // PyKMIP takes its time for each: a bit of every fourth byte or so.
        let step = if KeyServers::kind() == Kind::Go { 1 } else { 33 };
        for bit in (0..protected.len() * 8).step_by(step) {
            let mut altered = protected.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = client.unlock_space(&altered, "*").err().unwrap_or_else(|| panic!("bit {bit}"));
            match error.code() {
                Code::NotAuthentic => texts.push(error.message().to_owned()),
                // The name of another KEK, which is not there.
                Code::KeyNotFound => assert!(error.message().contains("kek-"), "bit {bit}: {error}"),
                _ => panic!("bit {bit}: {error}"),
            }
        }
        assert!(texts.len() > protected.len() / 8 && texts.windows(2).all(|pair| pair[0] == pair[1]));
        if rung == Rung::CbcHmac {
            assert_eq!(servers.count("primary", "Decrypt"), decrypts);
        }
        client.unlock_space(&protected, "orders").unwrap();
        for length in [0, 1, 40, protected.len() - 1] {
            let error = client.unlock_space(&protected[..length], "*").err().unwrap();
            assert_eq!(error.code(), Code::NotAuthentic);
        }
    }
}

/// The protected DEK as that of another space.
fn renamed(protected: &Protected, space: &str) -> Vec<u8> {
    let space = KeyId::of_space(space, 1).unwrap();
    Protected { header: Header { space, ..protected.header.clone() }, body: protected.body.clone() }.encode()
}

#[test]
fn what_was_protected_as_one_space_is_not_unlocked_as_another_also_by_who_knows_a_key() {
    let mut servers = KeyServers::start(1);
    for (version, rung) in rungs() {
        let client = speaking(&servers, version);
        let kek = format!("kek-{rung}");
        client.create_kek(&kek).unwrap();
        let files = ["ours", "theirs"].map(|space| place(&servers, &format!("{space}-{rung}.dek")));
        for (space, file) in ["ours", "theirs"].iter().zip(&files) {
            client.create_space(space, &kek, file, Original::Destroy).unwrap();
        }
        let [ours, theirs] = files.map(|file| Protected::parse(&std::fs::read(file).unwrap()).unwrap());
        let decrypts = servers.count("primary", "Decrypt");

        // Theirs in the place of ours is genuine, so it is the name that is looked at, before anything is asked.
        let asked = servers.count("primary", "Locate");
        assert_eq!(client.unlock_space(&theirs.encode(), "ours").err().unwrap().code(), Code::WrongKey);
        assert_eq!(servers.count("primary", "Locate"), asked);

        let mut forged = vec![renamed(&theirs, "ours"), renamed(&ours, "theirs")];
        // Who knows their DEK knows what AES-CTR, inside GCM, and CBC made of it, and can have it decrypt to another one of
        // his choice: by the ciphertext, or by the IV. The rest is taken from ours.
        let other = match (theirs.body.clone(), ours.body.clone()) {
            (Body::Gcm { iv, mut ciphertext, tag }, _) => {
                ciphertext[0] ^= 0xff;
                Body::Gcm { iv, ciphertext, tag }
            }
            (Body::CbcHmac { mut cbc, .. }, Body::CbcHmac { mac, .. }) => {
                cbc.iv[0] ^= 0xff;
                Body::CbcHmac { cbc, mac }
            }
            _ => unreachable!("both are of one rung"),
        };
        for body in [other, theirs.body.clone()] {
            forged.push(Protected { header: ours.header.clone(), body }.encode());
        }
        for forged in forged {
            let error = client.unlock_space(&forged, "*").err().unwrap();
            assert_eq!(error.code(), Code::NotAuthentic, "{error}");
        }
        if rung == Rung::CbcHmac {
            assert_eq!(servers.count("primary", "Decrypt"), decrypts);
        }
    }
}

#[test]
fn a_file_that_is_there_is_finished_or_left_alone() {
    let mut servers = KeyServers::start(1);
    let Some((version, _)) = rungs().first().copied() else { return };
    let client = speaking(&servers, version);
    client.create_kek("master").unwrap();
    client.create_kek("other").unwrap();
    let file = place(&servers, "orders.dek");

    // As after a crash that left the key server's copy.
    let (key, _) = client.create_space("orders", "master", &file, Original::Keep).unwrap();
    let protected = std::fs::read(&file).unwrap();
    assert_eq!(objects(&client, "space:orders"), ["1 pre-active"]);
    let message = encrypt(&key, b"value").unwrap();
    let (again, creation) = client.create_space("orders", "master", &file, Original::Destroy).unwrap();
    assert_eq!((creation, decrypt(&again, &message).unwrap()), (Creation::Existed, b"value".to_vec()));
    assert!(objects(&client, "space:orders").iter().all(|object| object.ends_with("destroyed")));

    // Another space or KEK, or something else.
    for (space, kek, code) in [("others", "master", Code::WrongKey), ("orders", "other", Code::InvalidArgument)] {
        let error = client.create_space(space, kek, &file, Original::Destroy).err().unwrap();
        assert_eq!(error.code(), code, "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), protected);
    let text = place(&servers, "notes.txt");
    std::fs::write(&text, "something else").unwrap();
    let error = client.create_space("notes", "master", &text, Original::Destroy).err().unwrap();
    assert_eq!(error.code(), Code::NotAuthentic);
    assert_eq!(std::fs::read_to_string(&text).unwrap(), "something else");

    // No KEK, no folder, no name.
    let error = client.create_space("orders", "nobody", &place(&servers, "new.dek"), Original::Destroy).err().unwrap();
    assert!(error.code() == Code::KeyNotFound && error.message().contains("--kek nobody"), "{error}");
    let nowhere = place(&servers, "no/such/folder/orders.dek");
    let creates = servers.count("primary", "Create");
    let error = client.create_space("orders", "master", &nowhere, Original::Destroy).err().unwrap();
    assert_eq!((error.code(), servers.count("primary", "Create")), (Code::System, creates), "nothing was made");
    let error = client.create_space("a b", "master", &place(&servers, "new.dek"), Original::Destroy).err().unwrap();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[test]
fn a_kek_is_no_named_key_and_is_never_fetched() {
    let mut servers = KeyServers::start(1);
    let Some((version, _)) = rungs().first().copied() else { return };
    let client = speaking(&servers, version);
    client.create_kek("master").unwrap();
    let gets = servers.count("primary", "Get");
    assert_eq!(client.key("master").err().unwrap().code(), Code::KeyNotFound);
    assert_eq!(client.show_key("master").unwrap_err().code(), Code::KeyNotFound);
    for name in ["kek-gcm:master", "kek-cbc:master", "space:master"] {
        assert_eq!(client.key(name).err().unwrap().code(), Code::InvalidArgument);
    }
    let (named, creation) = client.create_key("master").unwrap();
    assert_eq!((named.id().unwrap(), creation), (id("master/1"), Creation::Created), "both names are free");
    assert_eq!(servers.count("primary", "Get") - gets, 1, "of the named key alone");
    assert!(client.show_kek("master").unwrap().iter().all(|object| object.name.starts_with("kek-")));
}

#[test]
fn a_deactivated_kek_protects_no_more_and_its_spaces_go_on() {
    let servers = KeyServers::start(1);
    let Some((version, _)) = rungs().first().copied() else { return };
    let client = speaking(&servers, version);
    client.create_kek("master").unwrap();
    let file = place(&servers, "orders.dek");
    let key = create(&client, "orders", &file);
    let message = encrypt(&key, b"value").unwrap();
    let refusal = client.revoke_kek(&id("master/1"), Revocation::Superseded).unwrap_err();
    assert!(refusal.code() == Code::KeyReferenced && refusal.message().contains("orders.dek"), "{refusal}");
    let needed = client.show_kek("master").unwrap().swap_remove(0).needed_by;
    client.remove_kek_reference(&id("master/1"), &needed[0]).unwrap();
    client.revoke_kek(&id("master/1"), Revocation::Superseded).unwrap();
    let error = client.create_space("new", "master", &place(&servers, "new.dek"), Original::Destroy).err().unwrap();
    assert_eq!(error.code(), Code::KeyState, "{error}");
    // It was verified since.
    let seen = log(&servers).matches("state=deactivated").count();
    eventually("a verification", || log(&servers).matches("state=deactivated").count() > seen);
    encrypt(&key, b"more").expect("the space's key is as good as before");
    assert_eq!(decrypt(&key, &message).unwrap(), b"value");
}

#[test]
fn a_compromised_kek_stops_its_spaces() {
    let servers = KeyServers::start(1);
    let Some((version, _)) = rungs().first().copied() else { return };
    let client = speaking(&servers, version);
    client.create_kek("master").unwrap();
    let file = place(&servers, "orders.dek");
    let key = create(&client, "orders", &file);
    let message = encrypt(&key, b"value").unwrap();
    client.revoke_kek(&id("master/1"), Revocation::KeyCompromise).unwrap();
    eventually("the refusal", || encrypt(&key, b"value").is_err());
    assert_eq!(decrypt(&key, &message).unwrap_err().code(), Code::KeyState);
    let error = client.unlock_space(&std::fs::read(&file).unwrap(), "orders").err().unwrap();
    assert!(error.code() == Code::KeyState && error.message().contains("compromised"), "{error}");
}

#[test]
fn a_space_is_created_and_unlocked_while_servers_come_and_go() {
    let mut servers = KeyServers::start(2);
    let Some((version, _)) = rungs().first().copied() else { return };
    let client = speaking(&servers, version);
    servers.kill("secondary");
    let error = client.create_kek("master").unwrap_err();
    assert!(error.code().is_transport() && error.message().contains("every configured key server"), "{error}");
    servers.restart("secondary");
    eventually("the KEK", || client.create_kek("master").is_ok());
    servers.kill("primary");
    let file = place(&servers, "orders.dek");
    let mut key = None;
    eventually("the space, once the secondary has heard of the KEK", || {
        let created = client.create_space("orders", "master", &file, Original::Destroy);
        key = created.inspect_err(|error| println!("{error}")).ok();
        key.is_some()
    });
    let (key, _) = key.unwrap();
    servers.restart("primary");
    servers.kill("secondary");
    let unlocked = client.unlock_space(&std::fs::read(&file).unwrap(), "orders").unwrap();
    assert_eq!(decrypt(&unlocked, &encrypt(&key, b"value").unwrap()).unwrap(), b"value");
}

#[test]
fn the_copy_that_a_creation_left_on_the_key_server_is_destroyed_when_somebody_says_so() {
    let servers = KeyServers::start(1);
    let Some((version, _)) = rungs().first().copied() else { return };
    let client = speaking(&servers, version);
    client.create_kek("master").unwrap();
    let file = place(&servers, "orders.dek");
    let (key, _) = client.create_space("orders", "master", &file, Original::Keep).unwrap();
    let message = encrypt(&key, b"value").unwrap();
    assert_eq!(objects(&client, "space:orders"), ["1 pre-active"]);
    let tool = |words: &[&str]| {
        let config = servers.dir.join(format!("kmip-{version}.conf"));
        Command::new(env!("CARGO_BIN_EXE_keystead")).arg("--config").arg(config).args(words).output().unwrap()
    };
    assert_eq!(tool(&["space", "discard", "orders/1"]).status.code(), Some(2), "it has to be said twice");
    assert!(tool(&["space", "discard", "--unreadable-for-ever", "orders/1"]).status.success());
    assert!(objects(&client, "space:orders").iter().all(|object| object.ends_with("destroyed")));
    let unlocked = client.unlock_space(&std::fs::read(&file).unwrap(), "orders").unwrap();
    assert_eq!(decrypt(&unlocked, &message).unwrap(), b"value");
    assert_eq!(client.discard_original("others", 1).unwrap_err().code(), Code::KeyNotFound);
}
