//! What `keystead reencrypt` promises for a folder of files.
//!
//! `KEYSTEAD_KILLS` says how often a running command is killed; 4 times if it does not. `KEYSTEAD_SEED` says when.

#[path = "common/dice.rs"]
mod dice;
#[path = "common/keyservers.rs"]
mod keyservers;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dice::Dice;
use keyservers::{KeyServers, Kind};
use keystead::client::{Key, Original};
use keystead::envelope::{key_id, stream};
use keystead::{Client, Code};

fn tool(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    command.env("KEYSTEAD_CONFIG", config).args(arguments).stdin(Stdio::null());
    command
}

fn run(config: &Path, arguments: &[&str]) -> Output {
    tool(config, arguments).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Files below a folder, with what they hold when they are decrypted.
struct Files {
    root: PathBuf,
    plaintexts: BTreeMap<PathBuf, Vec<u8>>,
}

impl Files {
    /// Messages and streams of several sizes in several folders. The associated data of each is its path.
    fn new(client: &Client, root: PathBuf, number: usize) -> Files {
        let key = client.create_key("documents").unwrap().0;
        let mut plaintexts = BTreeMap::new();
        for n in 0..number {
            let path = PathBuf::from(format!("folder {}/document {n}", n % 3));
            let plaintext = vec![n as u8; [0, 100, 70_000, 200_000][n % 4]];
            let aad = path.to_str().unwrap().as_bytes();
            let mut out = vec![0; plaintext.len() + stream::ROOM];
            let size = if n % 4 < 2 {
                key.encrypt(&plaintext, aad, &mut out).unwrap()
            } else {
                let mut encryptor = key.encrypt_stream(aad).unwrap();
                let size = encryptor.update(&plaintext, &mut out).unwrap();
                size + encryptor.finish(&mut out[size..]).unwrap()
            };
            let place = root.join(&path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(&place, &out[..size]).unwrap();
            plaintexts.insert(path, plaintext);
        }
        Files { root, plaintexts }
    }

    /// Every file is there once, whole, and reads as it did; nothing else is there. Returns the versions.
    fn check(&self, client: &Client) -> Vec<String> {
        let mut versions = Vec::new();
        let mut found = 0;
        for folder in std::fs::read_dir(&self.root).unwrap() {
            for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                let place = file.unwrap().path();
                if place.to_string_lossy().ends_with(".keystead-reencrypting") {
                    continue;
                }
                let path = place.strip_prefix(&self.root).unwrap();
                let bytes = std::fs::read(&place).unwrap();
                versions.push(key_id(&bytes).unwrap().to_string());
                assert!(
                    decrypt(client, &bytes, path.to_str().unwrap().as_bytes()) == self.plaintexts[path],
                    "{path:?}"
                );
                found += 1;
            }
        }
        assert_eq!(found, self.plaintexts.len());
        versions.sort();
        versions.dedup();
        versions
    }

    fn leftovers(&self) -> usize {
        let folders = std::fs::read_dir(&self.root).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        files.filter(|file| file.as_ref().unwrap().path().to_string_lossy().ends_with(".keystead-reencrypting")).count()
    }
}

fn decrypt(client: &Client, bytes: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut out = vec![0; bytes.len() + stream::ROOM];
    let size = if stream::is_stream(bytes) {
        let mut decryptor = client.decrypt_stream(bytes, aad, "documents").unwrap();
        let size = decryptor.update(&bytes[decryptor.header_size()..], &mut out).unwrap();
        decryptor.finish().unwrap();
        size
    } else {
        client.decrypt(bytes, aad, "documents", &mut out).unwrap()
    };
    out.truncate(size);
    out
}

#[test]
fn a_folder_is_moved_proved_and_its_old_version_deactivated() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let files = Files::new(&client, servers.dir.join("data"), 12);
    let root = files.root.to_str().unwrap();
    let shared = files.root.join("folder 1/document 1");
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o640)).unwrap();
    let plain = files.root.join("notes.txt");
    std::fs::write(&plain, "no data of ours").unwrap();
    std::os::unix::fs::symlink(&shared, files.root.join("link")).unwrap();
    client.rotate_key("documents").unwrap();

    let command = ["--json", "reencrypt", "--key", "documents", "--aad", "{path}", root];
    let output = run(&servers.config, &command);
    let outcome = json(&output);
    assert!(output.status.success(), "{outcome}");
    assert_eq!((&outcome["moved"], &outcome["others"]), (&12.into(), &2.into()), "{outcome}");
    assert_eq!(outcome["versions"], serde_json::json!({"documents/2": 12}));
    assert_eq!(outcome["superseded"], serde_json::json!(["documents/1"]));
    assert_eq!(std::fs::metadata(&shared).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read(&plain).unwrap(), b"no data of ours");
    for extra in [plain, files.root.join("link")] {
        std::fs::remove_file(extra).unwrap();
    }
    assert_eq!(files.check(&client), ["documents/2"]);

    let text = String::from_utf8(run(&servers.config, &command[1..]).stdout).unwrap();
    assert!(text.starts_with("0 files moved\ndocuments/2: 12 files\n"), "{text}");
    assert!(
        text.ends_with("to deactivate documents/1: keystead key revoke documents/1 --reason superseded\n"),
        "{text}"
    );
    let outcome = json(&run(&servers.config, &[&command[..], &["--deactivate"]].concat()));
    assert_eq!(outcome["deactivated"], serde_json::json!(["documents/1"]));
    assert_eq!(client.show_key("documents").unwrap()[0].state, "deactivated");
    let outcome = json(&run(&servers.config, &command));
    assert_eq!(outcome["superseded"], serde_json::json!([]), "nothing is left to deactivate");
}

#[test]
fn a_file_that_cannot_be_read_stays_as_it_is_and_keeps_its_version_from_being_deactivated() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let files = Files::new(&client, servers.dir.join("data"), 8);
    let altered = files.root.join("folder 0/document 3");
    let mut bytes = std::fs::read(&altered).unwrap();
    bytes[150_000] ^= 1;
    std::fs::write(&altered, &bytes).unwrap();
    client.rotate_key("documents").unwrap();
    let root = files.root.to_str().unwrap();
    let command = ["--json", "reencrypt", "--key", "documents", "--aad", "{path}", "--deactivate", root];
    let output = run(&servers.config, &command);
    let outcome = json(&output);
    assert_eq!(output.status.code(), Some(1), "{outcome}");
    assert_eq!((&outcome["moved"], outcome["failed"].as_array().unwrap().len()), (&7.into(), 1), "{outcome}");
    assert!(outcome["failed"][0]["file"].as_str().unwrap().ends_with("folder 0/document 3"), "{outcome}");
    assert_eq!((&outcome["superseded"], &outcome["deactivated"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert!(std::fs::read(&altered).unwrap() == bytes && files.leftovers() == 0);
    assert_eq!(client.show_key("documents").unwrap()[0].state, "active");
    let error = client.decrypt_stream(&bytes, b"folder 0/document 3", "x").err().unwrap();
    assert_eq!(error.code(), Code::WrongKey);
}

/// A folder so deep that its path is longer than the system takes, for root, too.
fn bury(root: &Path) {
    const DIG: &str =
        "import os, sys; os.chdir(sys.argv[1])\nfor _ in range(20): os.mkdir('x' * 250); os.chdir('x' * 250)";
    assert!(Command::new(keyservers::python()).args(["-c", DIG]).arg(root).status().unwrap().success());
}

#[test]
fn what_cannot_be_moved_is_named_and_holds_up_no_other_file() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let files = Files::new(&client, servers.dir.join("data"), 4);
    client.rotate_key("documents").unwrap();
    let encrypted = |key: &Key| {
        let mut message = vec![0; key.encrypted_size(4).unwrap()];
        key.encrypt(b"text", b"", &mut message).unwrap();
        message
    };
    // Of a key that no key server has, as its message names it.
    let mut lost = encrypted(&client.create_key("away").unwrap().0);
    let at = lost.windows(6).position(|bytes| bytes == b"away/1").unwrap();
    lost[at..at + 4].copy_from_slice(b"lost");
    std::fs::write(files.root.join("folder 0/a lost key's"), lost).unwrap();
    client.create_kek("master").unwrap();
    let dek = servers.dir.join("orders.dek");
    let (space, _) = client.create_space("orders", "master", &dek, Original::Destroy).unwrap();
    std::fs::write(files.root.join("folder 0/a space's"), encrypted(&space)).unwrap();
    bury(&files.root.join("folder 0"));

    let root = files.root.to_str().unwrap();
    let command = ["--json", "reencrypt", "--key", "*", "--aad", "{path}", "--deactivate", root];
    let output = run(&servers.config, &command);
    let outcome = json(&output);
    assert_eq!((output.status.code(), &outcome["moved"]), (Some(1), &4.into()), "{outcome}");
    // A data space's key has no newer version.
    assert_eq!(outcome["others"], 1, "{outcome}");
    let failed = outcome["failed"].as_array().unwrap();
    let reason = |file: &str| {
        let named = failed.iter().find(|failure| failure["file"].as_str().unwrap().contains(file));
        named.unwrap_or_else(|| panic!("{file}: {outcome}"))["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(failed.len(), 2, "{outcome}");
    let lost = reason("a lost key's");
    assert!(lost.contains("lost/1") && !lost.contains("create it"), "{lost}");
    assert!(reason("xxx").contains("could not work on"));
    assert_eq!(outcome["deactivated"], serde_json::json!([]), "nobody knows what lies in that folder");
}

#[test]
fn a_folder_survives_its_command_being_killed_at_any_moment() {
    let servers = KeyServers::start_kind(if Kind::Go.is_there() { Kind::Go } else { Kind::PyKmip }, 1);
    let client = Client::open(&servers.config).unwrap();
    let files = Files::new(&client, servers.dir.join("data"), 60);
    client.rotate_key("documents").unwrap();
    let root = files.root.to_str().unwrap();
    let command = ["--json", "reencrypt", "--key", "documents", "--aad", "{path}", root];
    let wanted: u32 = std::env::var("KEYSTEAD_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let (mut kills, mut completed, mut leftovers) = (0, 0, 0);
    let mut dice = Dice::new();
    while kills < wanted || completed == 0 {
        let mut child = tool(&servers.config, &command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if kills < wanted {
            std::thread::sleep(Duration::from_millis(50) + Duration::from_secs_f64(dice.throw() * 0.7));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let versions = files.check(&client);
        // A command that had ended was not killed.
        if output.status.signal() == Some(libc::SIGKILL) {
            kills += 1;
            leftovers += files.leftovers();
            continue;
        }
        assert!(output.status.success(), "{output:?}");
        completed += 1;
        assert!(completed <= 20 * wanted + 20, "only {kills} of {wanted} kills came before the end of a command");
        assert_eq!(versions, [client.key("documents").unwrap().id().unwrap().to_string()]);
        assert_eq!(files.leftovers(), 0);
        client.rotate_key("documents").unwrap();
    }
    assert_eq!(kills, wanted);
    println!("{kills} kills, {leftovers} of them in the middle of a file, {completed} commands completed");
}

/// Each run takes what it finds half-written for what a killed one left.
#[test]
fn a_run_leaves_a_folder_alone_that_another_works_on_also_below_its_own() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let root = servers.dir.join("documents");
    let files = Files::new(&client, root.clone(), 6);
    client.rotate_key("documents").unwrap();
    let busy = root.join("folder 1");
    let half = busy.join("document 1.keystead-reencrypting");
    std::fs::write(&half, "of the other run").unwrap();
    let other = File::open(&busy).unwrap();
    other.lock().unwrap();
    let reencrypt = ["--json", "reencrypt", "--key", "documents", "--aad", "{path}", root.to_str().unwrap()];
    let output = run(&servers.config, &reencrypt);
    let (outcome, failed) = (json(&output), json(&output)["failed"].clone());
    assert_eq!((output.status.code(), &outcome["moved"]), (Some(1), &4.into()), "{outcome}");
    assert_eq!((failed.as_array().unwrap().len(), &failed[0]["file"]), (1, &busy.to_str().unwrap().into()));
    assert!(failed[0]["reason"].as_str().unwrap().contains("another run works on"), "{outcome}");
    assert_eq!(std::fs::read(&half).unwrap(), b"of the other run");

    drop(other);
    let output = run(&servers.config, &reencrypt);
    assert_eq!((output.status.code(), &json(&output)["moved"]), (Some(0), &2.into()), "{output:?}");
    assert!(!half.exists());
    files.check(&client);
}

#[test]
fn what_a_run_is_given_by_mistake_is_told() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let root = servers.dir.join("documents");
    Files::new(&client, root.clone(), 1);
    let folder = root.to_str().unwrap();
    let said = |key: &str, aad: &str, folder: &str| {
        let output = run(&servers.config, &["reencrypt", "--key", key, "--aad", aad, folder]);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (status, text) = said("documnets", "", folder);
    assert!(status == Some(0) && text.contains("nothing here is encrypted with documnets"), "{text}");
    let (status, text) = said("documents", "", &format!("{folder}/folder 0/document 0"));
    assert!(status == Some(1) && text.starts_with("keystead: ") && text.contains("it is no folder"), "{text}");
    let (status, text) = said("documents", "", "/does/not/exist");
    assert!(status == Some(1) && text.contains("/does/not/exist") && text.contains("correct the path"), "{text}");
    client.rotate_key("documents").unwrap();
    let (status, text) = said("documents", "other", folder);
    assert!(status == Some(1) && text.contains("document 0: nothing was decrypted"), "{text}");
}
