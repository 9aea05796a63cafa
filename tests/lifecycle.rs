//! The life of a key after its creation, against real key servers.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind};
use keystead::client::{Key, Revocation};
use keystead::envelope::{KeyId, message};
use keystead::kmip::ttlv::{Reader, Writer};
use keystead::kmip::{Connector, Deadline, Locate, Operation, Version, tags};
use keystead::{Client, Code, config};

/// A client that verifies its keys several times a second.
fn watchful(servers: &KeyServers) -> Client {
    configured(servers, "watchful.conf", "[cache]\nttl = \"400ms\"")
}

/// A client of the harness's configuration with these sections.
fn configured(servers: &KeyServers, file: &str, sections: &str) -> Client {
    Client::open(&written(servers, file, sections)).unwrap()
}

fn written(servers: &KeyServers, file: &str, sections: &str) -> PathBuf {
    let text = std::fs::read_to_string(&servers.config).unwrap();
    assert!(!text.contains("[cache]") && !text.contains("[keys]"), "the harness leaves these to its tests");
    let path = servers.dir.join(file);
    std::fs::write(&path, format!("{text}\n{sections}\n")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn encrypt(key: &Key, plaintext: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    let size = key.encrypt(plaintext, b"", &mut out)?;
    out.truncate(size);
    Ok(out)
}

/// Two values at once.
fn encrypt_many(key: &Key) -> keystead::Result<usize> {
    let values = [&b"a"[..], b"b"].map(|value| (value, &b""[..]));
    key.encrypt_many(values.iter().copied(), &mut [0; 1024], &mut [0; 3])
}

fn decrypt(client: &Client, message: &[u8]) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; message.len()];
    let size = client.decrypt(message, b"", "*", &mut out)?;
    out.truncate(size);
    Ok(out)
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
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
fn new_data_uses_the_new_version_everywhere_and_old_data_stays_readable() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let (key, _) = here.create_key("orders").unwrap();
    let follower = elsewhere.key("orders").unwrap();
    let old = encrypt(&key, b"old").unwrap();

    let rotated = here.rotate_key("orders").unwrap();
    for key in [&key, &rotated] {
        assert_eq!(key.id().unwrap(), id("orders/2"));
    }
    eventually("the other process' new version", || follower.id().unwrap() == id("orders/2"));
    let new = encrypt(&follower, b"new").unwrap();
    assert_eq!(message::key_id(&new).unwrap(), id("orders/2"));
    for client in [&here, &elsewhere] {
        assert_eq!(decrypt(client, &old).unwrap(), b"old");
        assert_eq!(decrypt(client, &new).unwrap(), b"new");
    }
    assert_eq!(here.rotate_key("nobody").err().unwrap().code(), Code::KeyNotFound);
}

#[test]
fn readers_and_writers_notice_nothing_of_rotations() {
    let servers = KeyServers::start(2);
    let client = watchful(&servers);
    let (key, _) = client.create_key("busy").unwrap();
    let (over, messages) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let message = encrypt(&key, b"value").expect("a rotation fails no writer");
                    assert_eq!(decrypt(&client, &message).expect("a rotation fails no reader"), b"value");
                    messages.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for version in 2..=5 {
            let id = client.rotate_key("busy").unwrap().id().unwrap();
            assert_eq!(id.version, version);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(messages.into_inner() > 4);
}

#[test]
fn rotations_at_the_same_time_leave_one_active_key_of_each_version() {
    let servers = KeyServers::start(2);
    let clients = [watchful(&servers), watchful(&servers)];
    clients[0].create_key("shared").unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (client, start) = (&clients[n % 2], &start);
            scope.spawn(move || {
                start.wait();
                client.rotate_key("shared").unwrap();
            });
        }
    });
    let versions = clients[0].show_key("shared").unwrap();
    let active: Vec<u32> = versions.iter().filter(|found| found.state == "active").map(|found| found.version).collect();
    let mut once = active.clone();
    once.dedup();
    assert!(active.len() > 1 && active == once, "{versions:?}");
}

#[test]
fn a_handle_of_one_version_stays_with_it_and_encrypts_while_that_is_the_newest() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    here.create_key("orders").unwrap();
    let pinned = [&here, &elsewhere].map(|client| client.key("orders/1").unwrap());
    let old = encrypt(&pinned[0], b"old").unwrap();
    assert_eq!(message::key_id(&old).unwrap(), id("orders/1"));

    here.rotate_key("orders").unwrap();
    let refusal = encrypt(&pinned[0], b"at once where it was rotated").unwrap_err();
    assert_eq!(refusal.code(), Code::KeyState);
    assert!(refusal.message().contains("orders/1 is not the newest version"), "{refusal}");
    eventually("the refusal in the other process", || encrypt(&pinned[1], b"new").is_err());
    assert!(pinned[0].encrypt_stream(b"").is_err());
    assert!(encrypt_many(&pinned[0]).is_err());

    let new = encrypt(&here.key("orders/2").unwrap(), b"new").unwrap();
    for key in pinned.iter().chain([&here.key("orders/1").unwrap()]) {
        assert_eq!(key.id().unwrap(), id("orders/1"));
        let mut text = [0; 64];
        assert_eq!(key.decrypt(&old, b"", &mut text).map(|size| text[..size].to_vec()).unwrap(), b"old");
        assert_eq!(key.decrypt(&new, b"", &mut text).unwrap_err().code(), Code::WrongKey);
    }

    here.revoke_key(&id("orders/2"), Revocation::CessationOfOperation).unwrap();
    for key in &pinned {
        eventually("its being the newest again", || encrypt(key, b"value").is_ok());
    }
}

#[test]
fn a_handle_of_one_version_does_what_the_state_of_that_version_allows() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let message = encrypt(&here.create_key("orders").unwrap().0, b"value").unwrap();
    here.rotate_key("orders").unwrap();
    let pinned = elsewhere.key("orders/1").unwrap();
    let decrypts = |key: &Key| key.decrypt(&message, b"", &mut [0; 64]).is_ok();

    here.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    eventually("its deactivation", || {
        encrypt(&pinned, b"").is_err_and(|error| error.message().contains("deactivated"))
    });
    assert!(decrypts(&pinned) && decrypts(&here.key("orders/1").unwrap()));
    here.revoke_key(&id("orders/1"), Revocation::KeyCompromise).unwrap();
    assert!(!decrypts(&here.key("orders/1").unwrap()));
    eventually("its being compromised", || !decrypts(&pinned));

    here.destroy_key(&id("orders/1")).unwrap();
    let refusal = || pinned.encrypt(b"value", b"", &mut [0; 256]).unwrap_err();
    eventually("its end", || refusal().message().contains("destroyed"));
    encrypt(&here.key("orders").unwrap(), b"value").expect("the other version goes on");
}

#[test]
fn a_version_that_is_not_there_is_not_found_and_what_is_no_version_is_refused() {
    let servers = KeyServers::start(1);
    let client = watchful(&servers);
    client.create_key("orders").unwrap();
    for name in ["orders/2", "nobody/1"] {
        let refusal = client.key(name).err().unwrap();
        assert!(refusal.code() == Code::KeyNotFound && refusal.message().contains(name), "{refusal}");
    }
    for name in ["orders/", "orders/0", "orders/01", "orders/1/1", "orders/x", "/1", "space:orders/1"] {
        assert_eq!(client.key(name).err().unwrap().code(), Code::InvalidArgument, "{name}");
    }
    for refusal in [client.create_key("orders/2").err(), client.rotate_key("orders/1").err()] {
        assert_eq!(refusal.unwrap().code(), Code::InvalidArgument, "versions are given by the key server");
    }
}

#[test]
fn a_pre_active_version_encrypts_nothing_until_it_is_activated() {
    let mut servers = KeyServers::start(2);
    servers.make_pre_active("orders/1");
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let state = || here.show_key("orders").unwrap()[0].state.clone();
    assert_eq!(state(), "pre-active");
    for client in [&here, &elsewhere] {
        let refusal = client.key("orders").err().unwrap();
        assert_eq!(refusal.code(), Code::KeyState, "{refusal}");
        assert!(refusal.message().contains("orders/1 is pre-active; activate"), "{refusal}");
    }
    let pinned = elsewhere.key("orders/1").unwrap();
    let refusal = encrypt(&pinned, b"value").unwrap_err();
    assert_eq!(refusal.code(), Code::KeyState, "{refusal}");
    assert!(
        refusal.message().contains("orders/1 is pre-active") && refusal.message().contains("activate it"),
        "{refusal}"
    );
    assert_eq!(encrypt_many(&pinned).unwrap_err().code(), Code::KeyState);
    assert_eq!(pinned.encrypt_stream(b"").err().unwrap().code(), Code::KeyState);
    assert_eq!(state(), "pre-active", "nobody asked for its activation");

    here.activate_key(&id("orders/1")).unwrap();
    assert_eq!(state(), "active");
    let message = encrypt(&here.key("orders").unwrap(), b"value").unwrap();
    assert_eq!(message::key_id(&message).unwrap(), id("orders/1"));
    eventually("the handle that was there before encrypts", || encrypt(&pinned, b"value").is_ok());
    assert_eq!(decrypt(&elsewhere, &message).unwrap(), b"value");

    here.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    let refusal = here.activate_key(&id("orders/1")).unwrap_err();
    assert_eq!(refusal.code(), Code::KeyState, "what has ended begins no second time");
    assert!(refusal.message().contains("orders/1 is deactivated and cannot become active"), "{refusal}");
    assert_eq!(here.activate_key(&id("nobody/1")).unwrap_err().code(), Code::KeyNotFound);
}

#[test]
fn handles_follow_at_once_where_a_version_is_activated() {
    let mut servers = KeyServers::start(1);
    // Nobody asks the server again within ten minutes.
    let client = configured(&servers, "sleepy.conf", "");
    let (key, _) = client.create_key("orders").unwrap();
    let old = client.key("orders/1").unwrap();
    servers.make_pre_active("orders/2");
    let waiting = client.key("orders/2").unwrap();
    assert_eq!(encrypt(&waiting, b"value").unwrap_err().code(), Code::KeyState);
    let used = |key: &Key| message::key_id(&encrypt(key, b"value").unwrap()).unwrap();
    assert_eq!([&key, &old].map(used), [id("orders/1"), id("orders/1")]);
    client.activate_key(&id("orders/2")).unwrap();
    assert_eq!([&key, &waiting].map(used), [id("orders/2"), id("orders/2")]);
    assert_eq!(encrypt(&old, b"value").unwrap_err().code(), Code::KeyState);
}

#[test]
fn a_deactivated_version_decrypts_and_encrypts_no_more() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let (key, _) = here.create_key("orders").unwrap();
    let follower = elsewhere.key("orders").unwrap();
    let message = encrypt(&key, b"value").unwrap();

    here.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    let error = encrypt(&key, b"value").unwrap_err();
    assert_eq!(error.code(), Code::KeyState);
    assert!(error.message().contains("deactivated"), "{error}");
    eventually("the refusal in the other process", || encrypt(&follower, b"value").is_err());
    for client in [&here, &elsewhere] {
        assert_eq!(decrypt(client, &message).unwrap(), b"value");
    }
    here.revoke_key(&id("orders/1"), Revocation::Superseded).expect("it is deactivated already");
    here.rotate_key("orders").unwrap();
    assert_eq!(encrypt(&key, b"value").map(|new| message::key_id(&new).unwrap()).unwrap(), id("orders/2"));
}

#[test]
fn a_compromised_version_decrypts_nothing() {
    let servers = KeyServers::start(1);
    let (here, elsewhere) = (watchful(&servers), watchful(&servers));
    let message = encrypt(&here.create_key("orders").unwrap().0, b"value").unwrap();
    assert_eq!(decrypt(&elsewhere, &message).unwrap(), b"value");
    here.revoke_key(&id("orders/1"), Revocation::KeyCompromise).unwrap();
    assert_eq!(decrypt(&here, &message).unwrap_err().code(), Code::KeyState);
    eventually("the refusal in the other process", || decrypt(&elsewhere, &message).is_err());
}

#[test]
fn a_version_is_destroyed_in_two_steps_and_then_gone() {
    let servers = KeyServers::start(1);
    let client = watchful(&servers);
    let (key, _) = client.create_key("orders").unwrap();
    let message = encrypt(&key, b"value").unwrap();
    let error = client.destroy_key(&id("orders/1")).unwrap_err();
    assert_eq!(error.code(), Code::KeyState);
    assert!(error.message().contains("revoke it first"), "{error}");
    assert_eq!(decrypt(&client, &message).unwrap(), b"value");

    client.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    client.destroy_key(&id("orders/1")).unwrap();
    let error = key.encrypt(b"value", b"", &mut [0; 256]).unwrap_err();
    assert!(error.code() == Code::KeyState && error.message().contains("destroyed"), "{error}");
    assert_eq!(decrypt(&client, &message).unwrap_err().code(), Code::KeyNotFound);
}

/// PyKMIP forgets what is destroyed; the Go server goes on showing it.
#[test]
fn what_is_destroyed_is_destroyed_again_without_an_error_also_if_it_was_compromised() {
    if !Kind::Go.is_there() {
        return;
    }
    let servers = KeyServers::start_kind(Kind::Go, 1);
    let client = watchful(&servers);
    for (name, why) in [("ended", Revocation::CessationOfOperation), ("stolen", Revocation::KeyCompromise)] {
        client.create_key(name).unwrap();
        let id = id(&format!("{name}/1"));
        client.revoke_key(&id, why).unwrap();
        client.destroy_key(&id).unwrap();
        client.destroy_key(&id).expect("it is as it shall be");
    }
}

#[test]
fn a_version_that_somebody_else_destroyed_leaves_memory() {
    let servers = KeyServers::start(1);
    let [client, other] = [watchful(&servers), watchful(&servers)];
    let (key, _) = client.create_key("orders").unwrap();
    let older = encrypt(&key, b"older").unwrap();
    let key = client.rotate_key("orders").unwrap();
    assert_eq!(decrypt(&client, &older).unwrap(), b"older");
    assert_eq!(client.status().unwrap().cache.keys, 2);
    for (version, left) in [("orders/1", 1), ("orders/2", 0)] {
        other.revoke_key(&id(version), Revocation::CessationOfOperation).unwrap();
        other.destroy_key(&id(version)).unwrap();
        // The older one is looked at while it is in use.
        let is_wiped = || (decrypt(&client, &older).is_err(), client.status().unwrap().cache.keys) == (true, left);
        eventually(&format!("{version} is wiped"), is_wiped);
    }
    let error = key.encrypt(b"value", b"", &mut [0; 256]).unwrap_err();
    assert!(error.code() == Code::KeyState && error.message().contains("destroyed"), "{error}");
}

#[test]
fn a_key_that_servers_contradict_encrypts_no_more_until_they_agree_and_decrypts_what_is_its_own() {
    let [servers, strangers] = [KeyServers::start(1), KeyServers::start(1)];
    let [path, other] = [&servers, &strangers].map(|of| written(of, "contradicted.conf", "[cache]\nttl = \"400ms\""));
    let [text, foreign] = [&path, &other].map(|path| std::fs::read_to_string(path).unwrap());
    let client = Client::open(&path).unwrap();
    let make = |client: &Client| {
        let [(key, _), (letters, _)] = ["orders", "letters"].map(|name| client.create_key(name).unwrap());
        let messages = [encrypt(&key, b"value").unwrap(), encrypt(&letters, b"value").unwrap()];
        client.rotate_key("letters").unwrap();
        (key, messages)
    };
    // So that its identifiers, which some servers count from one, are not those of the others.
    let stranger = watchful(&strangers);
    stranger.create_key("more").unwrap();
    make(&stranger);
    let (key, [message, letter]) = make(&client);
    assert_eq!(decrypt(&client, &letter).unwrap(), b"value");
    let reader = Client::open(&path).unwrap();
    assert_eq!(decrypt(&reader, &message).unwrap(), b"value");

    std::fs::write(&path, &foreign).unwrap();
    client.reload().unwrap();
    eventually("encryption stops", || encrypt(&key, b"value").is_err());
    let error = encrypt(&key, b"value").unwrap_err();
    assert!(error.code() == Code::AnswerUnexpected && error.message().contains("compare the servers"), "{error}");
    reader.reload().unwrap();
    for (client, name) in [(&client, "letters/1"), (&reader, "orders"), (&reader, "orders/1")] {
        assert_eq!(client.key(name).err().map(|error| error.code()), Some(Code::AnswerUnexpected), "{name}");
    }
    assert_eq!(decrypt(&reader, &message).unwrap(), b"value");
    eventually("nobody gets it", || client.key("orders").is_err_and(|error| error.code() == Code::AnswerUnexpected));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        assert_eq!(decrypt(&client, &message).unwrap(), b"value");
        assert_eq!(decrypt(&client, &letter).unwrap(), b"value", "the stranger's object takes no key's place");
        std::thread::sleep(Duration::from_millis(50));
    }

    std::fs::write(&path, &text).unwrap();
    client.reload().unwrap();
    eventually("it encrypts again", || encrypt(&key, b"value").is_ok());
    client.close().unwrap();
    let log = std::fs::read_to_string(&servers.log).unwrap();
    for (name, clients) in [("orders/1", 2), ("letters/1", 1)] {
        let alarm = format!("key {name} was object");
        let alarms = log.lines().filter(|line| line.contains("key.contradiction") && line.contains(&alarm)).count();
        assert_eq!(alarms, clients, "{name}: {log}");
    }
}

#[test]
fn a_compromised_version_decrypts_where_that_is_allowed_and_never_encrypts() {
    let servers = KeyServers::start(1);
    let client = configured(&servers, "allowed.conf", "[keys]\nallow_compromised = true");
    let (key, _) = client.create_key("orders").unwrap();
    let message = encrypt(&key, b"value").unwrap();
    client.revoke_key(&id("orders/1"), Revocation::KeyCompromise).unwrap();
    assert_eq!(decrypt(&client, &message).unwrap(), b"value");
    assert_eq!(encrypt(&key, b"value").unwrap_err().code(), Code::KeyState);
    let error = decrypt(&watchful(&servers), &message).unwrap_err();
    assert!(error.message().contains("allow_compromised"), "{error}");
}

#[test]
fn a_version_that_something_needs_is_not_destroyed_by_any_process() {
    let servers = KeyServers::start(1);
    let sections = "[keys]\nstate = \"keys.state\"";
    let (here, elsewhere) = (configured(&servers, "a.conf", sections), configured(&servers, "b.conf", sections));
    let message = encrypt(&here.create_key("orders").unwrap().0, b"value").unwrap();
    here.add_reference(&id("orders/1"), "table cards").unwrap();
    here.add_reference(&id("orders/1"), "backup of May").unwrap();
    here.close().unwrap();
    let after = configured(&servers, "c.conf", sections);
    after.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    for client in [&elsewhere, &after] {
        let error = client.destroy_key(&id("orders/1")).unwrap_err();
        assert_eq!(error.code(), Code::KeyReferenced);
        assert!(error.message().contains("table cards") && error.message().contains("backup of May"), "{error}");
    }
    assert_eq!(after.show_key("orders").unwrap()[0].needed_by, ["backup of May", "table cards"]);
    assert_eq!(decrypt(&after, &message).unwrap(), b"value");
    ["table cards", "backup of May"].iter().for_each(|what| elsewhere.remove_reference(&id("orders/1"), what).unwrap());
    after.destroy_key(&id("orders/1")).unwrap();
    assert_eq!(decrypt(&after, &message).unwrap_err().code(), Code::KeyNotFound);
}

#[test]
fn a_need_that_comes_while_another_process_destroys_the_version_is_not_taken_for_noted() {
    let mut servers = KeyServers::start(1);
    let sections = "[keys]\nstate = \"keys.state\"";
    let client = configured(&servers, "a.conf", sections);
    client.create_key("orders").unwrap();
    client.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    let hasty = written(&servers, "hasty.conf", sections);
    let text = std::fs::read_to_string(&hasty).unwrap();
    assert!(text.contains("deadline = \"30s\""));
    std::fs::write(&hasty, text.replace("deadline = \"30s\"", "deadline = \"1s\"")).unwrap();
    let hasty = Client::open(&hasty).unwrap();

    // It has found that nothing needs the version, and asks a server that takes its time.
    servers.stop("primary");
    let mut tool = Command::new(env!("CARGO_BIN_EXE_keystead"));
    tool.arg("--config").arg(servers.dir.join("a.conf")).args(["key", "destroy", "--unreadable-for-ever", "orders/1"]);
    let mut destroying = tool.stdout(Stdio::null()).spawn().unwrap();
    let is_held = || matches!(File::open(&servers.dir).unwrap().try_lock(), Err(TryLockError::WouldBlock));
    eventually("its look", is_held);
    let refusal = hasty.add_reference(&id("orders/1"), "table cards").unwrap_err();
    assert!(refusal.code() == Code::Deadline && refusal.message().contains("try again"), "{refusal}");

    servers.resume("primary");
    assert!(destroying.wait().unwrap().success());
    assert!(client.references(&id("orders/1")).unwrap().is_empty());
}

#[test]
fn a_version_that_was_destroyed_is_never_made_again() {
    let servers = KeyServers::start(1);
    let sections = "[keys]\nstate = \"keys.state\"";
    let client = configured(&servers, "a.conf", sections);
    client.create_key("orders").unwrap();
    client.revoke_key(&id("orders/1"), Revocation::CessationOfOperation).unwrap();
    client.destroy_key(&id("orders/1")).unwrap();
    drop(client);
    let again = configured(&servers, "a.conf", sections);
    let made = again.create_key("orders");
    // A server that goes on showing what was destroyed has no key of that name to give; one that forgets it, a new one.
    match made {
        Ok((key, _)) => assert_eq!(key.id().unwrap(), id("orders/2")),
        Err(error) => assert_eq!(error.code(), Code::KeyState, "{error}"),
    }
}

/// Adds a date to an object: what an administrator does at the key server.
struct AddDate<'a> {
    id: &'a str,
    name: &'a str,
    date: i64,
}

impl Operation for AddDate<'_> {
    const CODE: u32 = 0x0D;
    const NAME: &'static str = "Add Attribute";
    type Answer = ();

    fn write(&self, payload: &mut Writer, _: Version) {
        payload.text(tags::UNIQUE_IDENTIFIER, self.id);
        payload.structure(tags::ATTRIBUTE, |attribute| {
            attribute.text(tags::ATTRIBUTE_NAME, self.name);
            attribute.date_time(tags::ATTRIBUTE_VALUE, self.date);
        });
    }

    fn read(&self, _: Reader<'_>) -> keystead::Result<()> {
        Ok(())
    }
}

/// The server makes it active when its time comes; no client does it.
#[test]
fn a_version_encrypts_from_its_activation_date_on() {
    if !Kind::Go.is_there() {
        return; // PyKMIP takes no dates.
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 1);
    let object = servers.make_pre_active("orders/1");
    let (settings, _) = config::load(&servers.config).unwrap();
    let soon = Deadline::after(Duration::from_secs(10));
    let mut connection = Connector::new(&settings.servers[0]).unwrap().connect(soon).unwrap();
    let date = config::now() + 3;
    connection.call(&AddDate { id: &object, name: "Activation Date", date }, soon).unwrap();

    let client = watchful(&servers);
    assert_eq!(client.key("orders").err().unwrap().code(), Code::KeyState);
    eventually("the beginning of the version", || client.key("orders").is_ok());
    assert!(config::now() >= date);
    let message = encrypt(&client.key("orders").unwrap(), b"value").unwrap();
    assert_eq!(decrypt(&client, &message).unwrap(), b"value");
    client.activate_key(&id("orders/1")).expect("it is active already");
}

#[test]
fn a_version_encrypts_up_to_its_deactivation_date_whoever_else_is_asleep() {
    if !Kind::Go.is_there() {
        return; // PyKMIP takes no dates.
    }
    let servers = KeyServers::start_kind(Kind::Go, 1);
    let (settings, _) = config::load(&servers.config).unwrap();
    configured(&servers, "maker.conf", "").create_key("orders").unwrap();
    let soon = Deadline::after(Duration::from_secs(10));
    let mut connection = Connector::new(&settings.servers[0]).unwrap().connect(soon).unwrap();
    let locate = Locate { name: Some("orders/1"), ..Locate::default() };
    let object = connection.call(&locate, soon).unwrap().remove(0);
    let date = config::now() + 4;
    connection.call(&AddDate { id: &object, name: "Deactivation Date", date }, soon).unwrap();

    // Nobody asks the server again within ten minutes.
    let client = configured(&servers, "sleepy.conf", "");
    let key = client.key("orders").unwrap();
    let message = encrypt(&key, b"value").unwrap();
    assert_eq!(client.show_key("orders").unwrap()[0].deactivates, Some(date));
    let mut refusal = None;
    eventually("the end of the version", || {
        refusal = encrypt(&key, b"value").err();
        refusal.is_some()
    });
    assert!(config::now() >= date);
    let refusal = refusal.unwrap();
    assert_eq!(refusal.code(), Code::KeyState);
    assert!(refusal.message().contains("deactivation date") && refusal.message().contains("rotate"), "{refusal}");
    assert_eq!(decrypt(&client, &message).unwrap(), b"value");
    client.rotate_key("orders").unwrap();
    assert_eq!(message::key_id(&encrypt(&key, b"value").unwrap()).unwrap(), id("orders/2"));
}

#[test]
fn a_rotation_that_is_due_is_recorded_once_and_shown() {
    let servers = KeyServers::start(1);
    let client = configured(&servers, "due.conf", "[cache]\nttl = \"400ms\"\n[keys]\nrotate_after = \"2s\"");
    client.create_key("orders").unwrap();
    client.create_key("fresh").unwrap();
    let recorded = |id: &str| {
        let log = std::fs::read_to_string(&servers.log).unwrap();
        let is_it = |line: &&str| line.contains("event=key.rotation_due") && line.contains(&format!("key_name={id} "));
        log.lines().filter(is_it).count()
    };
    eventually("the record", || recorded("fresh/1") == 1);
    let listed = client.list_keys().unwrap();
    assert!(listed.iter().all(|key| key.rotate_by.is_some_and(|by| by >= key.created.unwrap() + 2)), "{listed:?}");
    client.rotate_key("orders").unwrap();
    assert!(!client.status().unwrap().rotation_due.contains(&"orders".to_owned()));
    let shown = client.show_key("orders").unwrap();
    assert!(shown[0].rotate_by.is_none() && shown[1].rotate_by.is_some(), "{shown:?}");
    eventually("both are due", || client.status().unwrap().rotation_due == ["fresh", "orders"]);
    eventually("the record of the new version", || recorded("orders/2") == 1);
    let before = client.status().unwrap().cache.refreshes;
    eventually("more refreshes", || client.status().unwrap().cache.refreshes > before + 4);
    assert_eq!((recorded("fresh/1"), recorded("orders/2")), (1, 1), "each is told once");
}

/// A primary dies before it has told anybody of the version that data was just encrypted with.
#[test]
fn a_version_that_was_seen_is_never_undercut_also_by_a_process_that_starts_anew() {
    if !Kind::Go.is_there() {
        return;
    }
    let mut servers = KeyServers::start_kind(Kind::Go, 2);
    let sections = "[keys]\nstate = \"keys.state\"";
    let client = configured(&servers, "a.conf", sections);
    client.create_key("orders").unwrap();
    servers.set_lag(Duration::from_secs(60));
    assert_eq!(client.rotate_key("orders").unwrap().id().unwrap(), id("orders/2"));
    drop(client);
    servers.kill("primary");

    let forgetful = configured(&servers, "b.conf", "");
    assert_eq!(forgetful.key("orders").unwrap().id().unwrap(), id("orders/1"), "or there is nothing to undercut");
    let error = configured(&servers, "a.conf", sections).key("orders").err().unwrap();
    assert_eq!(error.code(), Code::KeyNotFound, "{error}");
    assert!(error.message().contains("version 2") && !error.attempts().is_empty(), "{error}");

    // The same, said by a primary.
    let path = written(&servers, "swapped.conf", sections);
    let [first, second] = [0, 1].map(|n| servers.servers[n].port.to_string());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&first, "PORT").replace(&second, &first).replace("PORT", &second)).unwrap();
    let client = Client::open(&path).unwrap();
    assert_eq!(client.key("orders").err().unwrap().code(), Code::KeyVersionLost);
    assert!(std::fs::read_to_string(&servers.log).unwrap().contains("event=key.version_lost"));
    // The way out leads upwards.
    let version = client.rotate_key("orders").unwrap().id().unwrap().version;
    assert!(version > 2, "{version}");
    servers.restart("primary");
    client.key("orders").unwrap();
}
