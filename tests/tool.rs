//! The command-line tool as its users and their scripts meet it.

#[path = "common/keyservers.rs"]
mod keyservers;
#[path = "common/tool.rs"]
mod tool;

use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use keyservers::{KeyServers, Kind};
use tool::{fail, json, succeed, tool};

#[test]
fn keys_are_made_once_listed_and_shown() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    assert_eq!(succeed(config, &["key", "create", "orders"], b""), b"created orders/1\n");
    assert_eq!(succeed(config, &["key", "create", "orders"], b""), b"existed already: orders/1\n");
    let made = json(&succeed(config, &["--json", "key", "create", "invoices"], b""));
    assert_eq!(made, serde_json::json!({"key": "invoices/1", "created": true}));

    let list = json(&succeed(config, &["key", "list", "--json"], b""));
    let names: Vec<_> = list.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["invoices", "orders"]);
    let shown = json(&succeed(config, &["key", "show", "orders", "--json"], b""));
    assert_eq!((&shown[0]["state"], &shown[0]["length_bits"]), (&"active".into(), &256.into()));
    let text = String::from_utf8(succeed(config, &["key", "list"], b"")).unwrap();
    assert!(text.starts_with("KEY") && text.contains("orders/1"), "{text}");

    assert!(fail(Some(config), &["key", "create", "two words"], b"").contains("\"two words\" is no key name"));
    assert!(fail(Some(config), &["key", "show", "nobody"], b"").contains("nobody"));
}

/// A key server's own policy may show an object and say nothing of it.
#[test]
fn an_object_that_a_key_server_does_not_describe_hides_no_other_and_is_named_also_in_the_report() {
    let servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let config = servers.config.as_path();
    for name in ["first", "orders", "last"] {
        succeed(config, &["key", "create", name], b"");
    }
    let listed = || {
        let output = tool(Some(config), &["--json", "key", "list"], b"");
        let names = json(&output.stdout).as_array().unwrap().iter().map(|key| key["name"].to_string()).collect();
        (output.status.success(), names, String::from_utf8(output.stderr).unwrap())
    };
    let (_, names, _): (_, Vec<String>, _) = listed();
    assert_eq!(names, ["\"first\"", "\"last\"", "\"orders\""]);
    let [identifier, first, last] = ["orders", "first", "last"].map(|name| {
        let shown = json(&succeed(config, &["--json", "key", "show", name], b""));
        shown[0]["identifier"].as_str().unwrap().to_owned()
    });
    withhold(&servers, &identifier);
    let deadline = Instant::now() + Duration::from_secs(30);
    let (is_done, names, errors) = loop {
        let shown = listed();
        if !shown.2.is_empty() || Instant::now() > deadline {
            break shown;
        }
    };
    assert!(is_done && names == ["\"first\"", "\"last\""], "{names:?} {errors}");
    assert!(errors.contains(&format!("127.0.0.1:{}", servers.servers[0].port)), "{errors}");
    assert!(errors.contains(&format!("does not describe its object \"{identifier}\"")), "{errors}");
    let report = ["audit", "report", "--ask", servers.audit.to_str().unwrap()];
    let asked = &json(&succeed(config, &[&["--json"], &report[..]].concat(), b""))["key_servers"];
    let (kind, withheld) = (&asked["kinds"][0], &asked["withheld"]);
    assert_eq!(
        (&kind["algorithm"], &kind["state"], &kind["versions"]),
        (&"AES-256".into(), &"active".into(), &2.into())
    );
    assert_eq!((withheld.as_array().unwrap().len(), &withheld[0]["identifier"]), (1, &identifier.as_str().into()));
    let page = String::from_utf8(succeed(config, &report, b"")).unwrap();
    assert!(page.contains("no figure counts: 1.") && page.contains(&format!("<bdi>{identifier}</bdi>")));
    [first, last].iter().for_each(|identifier| withhold(&servers, identifier));
    assert!(fail(Some(config), &["key", "list"], b"").contains("permit this client Get Attributes"));
    let page = String::from_utf8(succeed(config, &report, b"")).unwrap();
    assert!(page.contains("no figure counts: 3."));
}

/// Has PyKMIP locate an object and deny its attributes.
fn withhold(servers: &KeyServers, identifier: &str) {
    let policy =
        r#"{"withheld": {"preset": {"SYMMETRIC_KEY": {"LOCATE": "ALLOW_ALL", "GET_ATTRIBUTES": "DISALLOW_ALL"}}}}"#;
    std::fs::write(servers.dir.join("policies/withheld.json"), policy).unwrap();
    const UPDATE: &str = "import sqlite3, sys; store = sqlite3.connect(sys.argv[1]); store.execute(\"UPDATE managed_objects \
                          SET operation_policy_name = 'withheld' WHERE uid = ?\", sys.argv[2:]); store.commit()";
    let store = servers.dir.join("keys.sqlite");
    let status = Command::new(keyservers::python()).args(["-c", UPDATE]).arg(store).arg(identifier).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_doctor_tells_what_works_and_what_to_do() {
    let mut servers = KeyServers::start(2);
    let config = servers.config.clone();
    let checks = |output: &Output| json(&output.stdout).as_array().unwrap().clone();
    let about = |checks: &[serde_json::Value], verdict: &str, word: &str| {
        let says = |check: &&serde_json::Value| check["message"].as_str().unwrap().contains(word);
        checks.iter().filter(|check| check["verdict"] == verdict).filter(says).count()
    };
    let output = tool(Some(&config), &["doctor", "--json"], b"");
    let found = checks(&output);
    assert!(output.status.success(), "{found:?}");
    assert_eq!((about(&found, "good", "answers at"), about(&found, "fault", "")), (2, 0));
    assert_eq!(about(&found, "warning", "is this machine"), 2);
    assert!(about(&found, "good", "locked memory") == 1 && about(&found, "good", "certificate for it ends") == 2);
    assert_eq!(about(&found, "warning", "is not set, so what needs a key"), 1);
    let (stateful, state) = (servers.dir.join("stateful.conf"), servers.dir.join("keys.state"));
    let text = std::fs::read_to_string(&config).unwrap() + "\n[keys]\nstate = \"keys.state\"\n";
    std::fs::write(&stateful, text).unwrap();
    std::fs::set_permissions(&stateful, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let of_state = || {
        let found = checks(&tool(Some(&stateful), &["doctor", "--json"], b""));
        let check = found.iter().find(|check| check["about"] == "keys.state").expect("it is looked at").clone();
        check["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(of_state(), "good");
    std::fs::write(&state, "what is this\n").unwrap();
    assert_eq!(of_state(), "warning", "the line is none of ours");
    if keyservers::pinned_version().is_none() {
        assert_eq!(about(&found, "good", "AES-GCM"), 2);
        let text = std::fs::read_to_string(&config).unwrap();
        let old = servers.dir.join("old.conf");
        // One of the two.
        std::fs::write(&old, text.replacen("[[server]]\n", "[[server]]\nkmip_version = \"1.1\"\n", 1)).unwrap();
        std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let found = checks(&tool(Some(&old), &["doctor", "--json"], b""));
        assert_eq!((about(&found, "warning", "cannot unlock data spaces"), about(&found, "good", "AES-GCM")), (1, 1));
    }

    servers.kill("secondary");
    let output = tool(Some(&config), &["doctor"], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    let fault = text.lines().find(|line| line.starts_with("FAULT")).expect("a fault");
    assert!(fault.contains(&servers.servers[1].port.to_string()) && fault.contains("check that it runs"), "{text}");
    assert_eq!(output.status.code(), Some(1));

    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(fail(Some(&config), &["doctor"], b"").contains("chmod"), "the mode of the configuration");
}

#[test]
fn a_data_space_is_created_used_and_rewrapped() {
    if keyservers::is_pinned_below_data_spaces() {
        return; // They have no data spaces.
    }
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    let path = |name: &str| servers.dir.join(name).to_str().unwrap().to_owned();
    let (file, moved) = (path("orders.dek"), path("moved.dek"));

    let kek = json(&succeed(config, &["key", "create", "--kek", "master", "--json"], b""));
    let rung = kek["rung"].as_str().unwrap();
    assert_eq!((&kek["kek"], &kek["created"]), (&"master/1".into(), &true.into()));
    let text = format!("existed already: master/1 ({rung})\n");
    assert_eq!(succeed(config, &["key", "create", "--kek", "master"], b""), text.as_bytes());

    let create = ["space", "create", "--kek", "master", &file];
    assert_eq!(succeed(config, &create, b""), format!("created space:orders/1 in {file}\n").as_bytes());
    assert_eq!(succeed(config, &create, b""), format!("existed already: space:orders/1 in {file}\n").as_bytes());
    for size in [5, 100_000] {
        let plaintext = vec![b'x'; size];
        let encrypted = succeed(config, &["encrypt", "--space", &file], &plaintext);
        assert_eq!(json(&succeed(config, &["inspect", "--json"], &encrypted))["key"], "space:orders/1");
        assert!(succeed(config, &["decrypt", "--space", &file], &encrypted) == plaintext);
        assert!(fail(Some(config), &["decrypt"], &encrypted).contains("unlock the space"));

        // In another place the file does not tell its space, and what is encrypted has to be told.
        std::fs::copy(&file, &moved).unwrap();
        assert!(fail(Some(config), &["encrypt", "--space", &moved], b"x").contains("\"orders\""));
        succeed(config, &["encrypt", "--space", &moved, "--name", "orders"], b"x");
        assert!(succeed(config, &["decrypt", "--space", &moved], &encrypted) == plaintext);
    }

    let rewrap = ["space", "rewrap", "--kek", "master", &file];
    assert_eq!(succeed(config, &rewrap, b""), b"space:orders/1 is under master/1 already\n");
    succeed(config, &["key", "rotate", "--kek", "master"], b"");
    assert_eq!(succeed(config, &rewrap, b""), b"space:orders/1 is under master/2 now, and was under master/1\n");
    let inspection = json(&succeed(config, &["inspect", "--json", &file], b""));
    assert_eq!((&inspection["kind"], &inspection["kek"]), (&"protected DEK".into(), &"master/2".into()));
    let shown = String::from_utf8(succeed(config, &["inspect", &moved], b"")).unwrap();
    assert!(shown.contains("master/1") && shown.contains(rung), "{shown}");
    succeed(config, &["key", "revoke", "--kek", "master/1", "--reason", "superseded"], b"");
    let states = String::from_utf8(succeed(config, &["key", "show", "--kek", "master"], b"")).unwrap();
    assert!(states.contains("deactivated") && states.contains("active"), "{states}");
    assert!(
        fail(Some(config), &["space", "create", "--kek", "nobody", &path("new.dek")], b"").contains("--kek nobody")
    );
    let usage = tool(Some(config), &["encrypt", "--space", &file, "--key", "orders"], b"");
    assert_eq!(usage.status.code(), Some(2), "one key or the other");
}

#[test]
fn a_key_that_waits_is_shown_as_such_and_encrypts_once_it_is_activated() {
    let mut servers = KeyServers::start(1);
    servers.make_pre_active("orders/1");
    let config = servers.config.as_path();
    let state = || json(&succeed(config, &["key", "show", "orders", "--json"], b""))[0]["state"].clone();
    assert_eq!(state(), "pre-active");
    assert!(fail(Some(config), &["encrypt", "--key", "orders"], b"text").contains("orders/1 is pre-active; activate"));
    assert_eq!(succeed(config, &["key", "activate", "orders/1"], b""), b"orders/1 is active\n");
    assert_eq!(state(), "active");
    let message = succeed(config, &["encrypt", "--key", "orders"], b"text");
    assert_eq!(succeed(config, &["decrypt"], &message), b"text");
    let done = json(&succeed(config, &["--json", "key", "activate", "orders/1"], b""));
    assert_eq!(done, serde_json::json!({ "key": "orders/1", "done": "active" }), "it is so already");
    succeed(config, &["key", "revoke", "orders/1", "--reason", "ended"], b"");
    assert!(fail(Some(config), &["key", "activate", "orders/1"], b"").contains("cannot become active"));
}

#[test]
fn a_key_lives_its_life() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    let message = succeed(config, &["encrypt", "--key", "orders"], b"old");
    assert_eq!(succeed(config, &["key", "rotate", "orders"], b""), b"orders/2 encrypts from now on\n");
    assert!(fail(Some(config), &["encrypt", "--key", "orders/1"], b"new").contains("is not the newest version"));
    let new = succeed(config, &["encrypt", "--key", "orders/2"], b"new");
    assert_eq!(succeed(config, &["decrypt", "--key", "orders"], &new), b"new");
    let destroy = ["key", "destroy", "orders/1", "--unreadable-for-ever"];
    assert!(fail(Some(config), &destroy, b"").contains("revoke it first"));
    succeed(config, &["key", "revoke", "orders/1", "--reason", "superseded"], b"");
    assert_eq!(succeed(config, &["decrypt"], &message), b"old");
    assert_eq!(tool(Some(config), &destroy[..3], b"").status.code(), Some(2), "it takes the second step's word");
    succeed(config, &destroy, b"");
    assert!(fail(Some(config), &["decrypt"], &message).contains("orders/1"));
    let shown = json(&succeed(config, &["key", "show", "orders", "--json"], b""));
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["version"]), (1, &2.into()));
    assert!(fail(Some(config), &["key", "revoke", "orders", "--reason", "ended"], b"").contains("orders"));
}

#[test]
fn what_was_encrypted_is_decrypted_through_pipes_and_files() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    let plaintext = "Zoë\n\0 and more".as_bytes();
    let message = succeed(config, &["encrypt", "--key", "orders", "--aad", "row 1"], plaintext);
    assert_eq!(succeed(config, &["decrypt", "--aad", "row 1"], &message), plaintext);
    assert_eq!(succeed(config, &["decrypt", "--key", "ord*", "--aad", "row 1"], &message), plaintext);

    let (encrypted, decrypted) = (servers.dir.join("value.cose"), servers.dir.join("value"));
    let (encrypted, decrypted) = (encrypted.to_str().unwrap(), decrypted.to_str().unwrap());
    succeed(config, &["encrypt", "--key", "orders", "-o", encrypted], plaintext);
    succeed(config, &["decrypt", "-i", encrypted, "-o", decrypted], b"");
    assert_eq!(std::fs::read(decrypted).unwrap(), plaintext);

    let said = json(&succeed(config, &["inspect", "--json", encrypted], b""));
    assert_eq!((&said["key"], &said["plaintext_size"]), (&"orders/1".into(), &plaintext.len().into()));
}

#[test]
fn large_input_becomes_a_stream_and_a_broken_one_leaves_no_file() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    let plaintext: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    let stream = succeed(config, &["encrypt", "--key", "orders", "--aad", "backup"], &plaintext);
    assert!(succeed(config, &["decrypt", "--key", "ord*", "--aad", "backup"], &stream) == plaintext);
    for (n, kind) in [(65_536, "message"), (65_537, "stream")] {
        let encrypted = succeed(config, &["encrypt", "--key", "orders"], &plaintext[..n]);
        let said = json(&succeed(config, &["inspect", "--json"], &encrypted));
        assert_eq!((&said["kind"], &said["plaintext_size"]), (&kind.into(), &n.into()));
        assert!(succeed(config, &["decrypt"], &encrypted) == plaintext[..n]);
    }

    let (encrypted, decrypted) = (servers.dir.join("backup.cose"), servers.dir.join("backup"));
    let (encrypted, decrypted) = (encrypted.to_str().unwrap(), decrypted.to_str().unwrap());
    std::fs::write(encrypted, &stream).unwrap();
    let text = String::from_utf8(succeed(config, &["inspect", encrypted], b"")).unwrap();
    for part in ["stream", "orders/1", "46", "3000000 bytes"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let decrypt = ["decrypt", "--aad", "backup", "-i", encrypted, "-o", decrypted];
    succeed(config, &decrypt, b"");
    assert!(std::fs::read(decrypted).unwrap() == plaintext);
    std::fs::remove_file(decrypted).unwrap();

    std::fs::write(encrypted, &stream[..stream.len() - 1]).unwrap();
    assert!(fail(Some(config), &decrypt, b"").contains("incomplete"));
    // To a pipe the genuine beginning has gone before the end is found to be missing.
    let output = tool(Some(config), &["decrypt", "--aad", "backup"], &stream[..stream.len() - 1]);
    assert_eq!(output.status.code(), Some(1));
    assert!(plaintext.starts_with(&output.stdout) && output.stdout.len() < plaintext.len());
    assert!(!std::path::Path::new(decrypted).exists());
}

#[test]
fn an_output_that_is_no_file_is_written_to_and_a_link_is_followed() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    let message = succeed(config, &["encrypt", "--key", "orders"], b"hello");
    let [pipe, to_pipe, file, to_file] = ["pipe", "to-pipe", "file", "to-file"].map(|name| servers.dir.join(name));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::write(&file, "what was there before").unwrap();
    std::os::unix::fs::symlink(&pipe, &to_pipe).unwrap();
    std::os::unix::fs::symlink(&file, &to_file).unwrap();
    for place in [&pipe, &to_pipe] {
        // Open for both, so that nobody waits for another end.
        let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        succeed(config, &["decrypt", "-o", place.to_str().unwrap()], &message);
        assert!(std::fs::metadata(place).unwrap().file_type().is_fifo(), "{place:?} was replaced");
        let mut told = [0; 5];
        reader.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"hello");
    }
    succeed(config, &["decrypt", "-o", to_file.to_str().unwrap()], &message);
    assert_eq!((std::fs::read_link(&to_file).unwrap(), std::fs::read(&file).unwrap()), (file.clone(), b"hello".into()));
    assert_eq!(succeed(config, &["decrypt", "-o", "/dev/stdout"], &message), b"hello");
    std::fs::remove_file(&file).unwrap();
    assert!(fail(Some(config), &["decrypt", "-o", to_file.to_str().unwrap()], &message).contains("link to nothing"));
}

/// The most memory that a running process had so far, in KiB (proc(5), VmHWM).
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it runs");
    line.trim_end_matches("kB").trim().parse().unwrap()
}

/// `KEYSTEAD_PIPE_MIB=4096` for 4 GiB.
#[test]
fn a_pipe_of_any_length_is_encrypted_and_decrypted_in_constant_memory() {
    const LIMIT_KIB: u64 = 64 << 10;
    let pieces: u64 = std::env::var("KEYSTEAD_PIPE_MIB").map_or(160, |text| text.parse().expect("a number"));
    let servers = KeyServers::start(1);
    succeed(&servers.config, &["key", "create", "orders"], b"");
    let start = |arguments: &[&str], input: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
        command.env("KEYSTEAD_CONFIG", &servers.config).args(arguments).stdin(input);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut encrypts = start(&["encrypt", "--key", "orders"], Stdio::piped());
    let mut decrypts = start(&["decrypt"], encrypts.stdout.take().unwrap().into());
    let (mut to, mut from) = (encrypts.stdin.take().unwrap(), decrypts.stdout.take().unwrap());
    let of = |piece: u64| vec![piece as u8; 1 << 20];
    // It holds its beginning back until the next piece is there.
    let through = pieces - 16;
    let peaks = std::thread::scope(|scope| {
        let (over, wait) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            (0..pieces).for_each(|piece| to.write_all(&of(piece)).unwrap());
            // Both still run when their memory is looked at.
            let _over = wait.recv();
        });
        let mut piece = of(0);
        let mut check = |number| {
            from.read_exact(&mut piece).unwrap();
            assert!(piece == of(number), "MiB {number}");
        };
        (0..through).for_each(&mut check);
        let peaks = [peak(&encrypts), peak(&decrypts)];
        drop(over);
        (through..pieces).for_each(&mut check);
        peaks
    });
    assert_eq!(from.read(&mut [0]).unwrap(), 0, "nothing follows");
    assert!(encrypts.wait().unwrap().success() && decrypts.wait().unwrap().success());
    assert!(peaks.iter().all(|&peak| peak < LIMIT_KIB), "{peaks:?} KiB for {pieces} MiB");
    println!("{pieces} MiB through a pipe in {peaks:?} KiB");
}

#[test]
fn a_command_that_is_killed_leaves_no_plaintext_behind() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    let stream = succeed(config, &["encrypt", "--key", "orders"], &vec![7; 9 << 20]);
    let folder = servers.dir.join("restored");
    std::fs::create_dir(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    command.env("KEYSTEAD_CONFIG", config).arg("decrypt").arg("-o").arg(folder.join("backup"));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // All but the end, so that it goes on waiting.
    child.stdin.as_mut().unwrap().write_all(&stream[..stream.len() - 1]).unwrap();
    let files = PathBuf::from(format!("/proc/{}/fd", child.id()));
    let has_written = || {
        let files = std::fs::read_dir(&files).unwrap().filter_map(|file| Some(file.ok()?.path()));
        let mut written = files.filter(|file| std::fs::read_link(file).is_ok_and(|file| file.starts_with(&folder)));
        written.any(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 1 << 20))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !has_written() {
        assert!(Instant::now() < deadline, "nothing was decrypted");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_message_says_what_it_is_without_a_configuration() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    let message = succeed(config, &["encrypt", "--key", "orders"], b"hello");
    let output = tool(None, &["inspect"], &message);
    assert!(String::from_utf8(output.stdout).unwrap().contains("orders/1"));
    let refusal = fail(None, &["inspect"], b"not a message");
    assert!(refusal.starts_with("keystead: "), "{refusal}");
}

#[test]
fn a_failed_command_leaves_no_file_and_says_why_in_its_first_line() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    let message = succeed(config, &["encrypt", "--key", "orders", "--aad", "row 1"], b"hello");
    let out = servers.dir.join("out");
    let place = out.to_str().unwrap();

    assert!(fail(Some(config), &["decrypt", "--aad", "row 2", "-o", place], &message).contains("associated data"));
    let other = fail(Some(config), &["decrypt", "--key", "invoices", "--aad", "row 1", "-o", place], &message);
    assert!(other.contains("orders/1") && other.contains("invoices"), "{other}");
    assert!(fail(Some(config), &["encrypt", "--key", "nobody", "-o", place], b"x").contains("key create"));
    assert!(fail(Some(config), &["decrypt", "-i", "/does/not/exist", "-o", place], b"").contains("/does/not/exist"));
    assert!(fail(None, &["key", "list"], b"").contains("KEYSTEAD_CONFIG"));
    assert!(!out.exists());
    let left: Vec<_> = std::fs::read_dir(&servers.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("partial")), "{left:?}");
}

#[test]
fn status_says_of_every_server_whether_it_answers_and_why_not() {
    let mut servers = KeyServers::start(2);
    let names: Vec<String> = servers.servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
    servers.kill("secondary");
    let status = json(&succeed(&servers.config, &["status", "--json"], b""));
    let of = |index: usize| &status["servers"][index];
    assert_eq!((&of(0)["server"], &of(0)["state"]), (&names[0].as_str().into(), &"healthy".into()));
    assert_eq!((&of(1)["server"], &of(1)["state"]), (&names[1].as_str().into(), &"resting".into()));
    assert!(of(1)["last_error"].as_str().unwrap().contains("refused"), "{status}");
    assert!(of(0)["client_certificate_ends"].as_i64() > Some(0) && of(0)["latency_microseconds"].as_i64() > Some(0));
    let vendor = of(0)["vendor"].as_str().unwrap();
    assert!(vendor.contains("PyKMIP") || vendor.contains("Keystead test server"), "{vendor}");
    assert!(
        of(0)["server_certificate_ends"].as_i64() > Some(1_700_000_000) && of(1)["server_certificate_ends"].is_null()
    );
    assert_eq!(status["config"]["file"], servers.config.to_str().unwrap());
    let text = String::from_utf8(succeed(&servers.config, &["status"], b"")).unwrap();
    assert!(text.starts_with("SERVER") && text.contains("refused") && text.contains(vendor), "{text}");
    servers.kill("primary");
    assert_eq!(tool(Some(&servers.config), &["status"], b"").status.code(), Some(1));
}

#[test]
fn usage_is_status_2() {
    for arguments in [&["frobnicate"][..], &["encrypt"], &["key"], &["log", "verify"], &[]] {
        assert_eq!(tool(None, arguments, b"").status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_altered_log_or_trail_fails_its_verification_and_names_the_line() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    succeed(config, &["key", "create", "orders"], b"");
    for path in [&servers.log, &servers.audit] {
        let name = path.to_str().unwrap();
        let whole = std::fs::read_to_string(path).unwrap();
        assert!(String::from_utf8(succeed(config, &["log", "verify", name], b"")).unwrap().starts_with("intact"));
        let copy = servers.dir.join("altered");
        std::fs::write(&copy, whole.replacen("orders", "0rders", 1)).unwrap();
        let line = 1 + whole.lines().position(|line| line.contains("orders")).unwrap();
        let output = tool(None, &["--json", "log", "verify", copy.to_str().unwrap()], b"");
        assert_eq!(output.status.code(), Some(1));
        let finding = &json(&output.stdout)["findings"][0];
        assert_eq!((&finding["kind"], &finding["line"]), (&"altered".into(), &line.into()), "{finding}");
    }
}

#[test]
fn a_version_that_is_needed_is_told_and_not_destroyed_and_users_have_keys() {
    let servers = KeyServers::start(1);
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let config = servers.dir.join("keys.conf");
    let keys = "[keys]\nstate = \"keys.state\"\ntemplate = \"customer-{id}\"\nrotate_after = \"90d\"\n";
    std::fs::write(&config, format!("{text}\n{keys}")).unwrap();
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = config.as_path();
    assert_eq!(succeed(config, &["key", "name", "42"], b""), b"customer-42\n");
    assert_eq!(succeed(config, &["key", "register", "42"], b""), b"created customer-42/1\n");
    let need = ["key", "need", "customer-42/1", "--by", "backup of May"];
    assert_eq!(succeed(config, &need, b""), b"customer-42/1 is needed by backup of May\n");
    let unknown = fail(Some(config), &["key", "need", "customer-42/99", "--by", "backup of May"], b"");
    assert!(unknown.contains("customer-42/99"), "{unknown}");
    // Where nothing is kept it would be forgotten when the command ends.
    for more in [&[][..], &["--no-more"]] {
        let refusal = fail(Some(&servers.config), &[&need[..], more].concat(), b"");
        assert!(refusal.contains("keys.state"), "{refusal}");
    }
    let shown = String::from_utf8(succeed(config, &["key", "show", "customer-42"], b"")).unwrap();
    assert!(shown.contains("ROTATE BY") && shown.contains("customer-42/1 is needed by backup of May"), "{shown}");
    succeed(config, &["key", "revoke", "customer-42/1", "--reason", "ended"], b"");
    let destroy = ["key", "destroy", "customer-42/1", "--unreadable-for-ever"];
    assert!(fail(Some(config), &destroy, b"").contains("backup of May"));
    succeed(config, &[&need[..], &["--no-more"]].concat(), b"");
    succeed(config, &destroy, b"");
}
