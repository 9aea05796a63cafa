//! What the tool does about the mistakes of whoever uses it: it says what is wrong, and destroys nothing.

#[path = "common/keyservers.rs"]
mod keyservers;
#[path = "common/terminal.rs"]
mod terminal;
#[path = "common/tool.rs"]
mod tool;

use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keyservers::KeyServers;
use terminal::on_a_terminal;
use tool::{fail, json, succeed, tool};

/// Key servers that have the key `orders`, and a file beside them.
struct Site {
    servers: KeyServers,
    plaintext: String,
}

impl Site {
    fn new() -> Site {
        let servers = KeyServers::start(1);
        succeed(&servers.config, &["key", "create", "orders"], b"");
        let file = servers.dir.join("plaintext");
        fs::write(&file, "hello").unwrap();
        Site { servers, plaintext: text(&file) }
    }

    fn config(&self) -> &Path {
        &self.servers.config
    }

    fn path(&self, name: &str) -> String {
        text(&self.servers.dir.join(name))
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn no_output_takes_the_place_of_a_file_that_the_command_relies_on() {
    let site = Site::new();
    let (config, audit, key, anchor) =
        (site.path("own.conf"), site.path("audit.csv"), site.path("key"), site.path("anchor"));
    fs::copy(site.config(), &config).unwrap();
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    succeed(site.config(), &["log", "keygen", &key, &site.path("public")], b"");
    fs::write(&anchor, succeed(site.config(), &["log", "anchor", &audit], b"")).unwrap();
    // Another name of the same file is the same file.
    let link = site.path("link");
    fs::hard_link(&audit, &link).unwrap();
    let report = ["audit", "report", "--auditor-key", &key, "--anchor", &anchor, &audit, "-o"];
    let encrypt = ["encrypt", "--key", "orders", "-i", &site.plaintext, "-o"];
    let mut commands =
        vec![(&encrypt[..], &config), (&report, &audit), (&report, &link), (&report, &key), (&report, &anchor)];

    let space = site.path("orders.dek");
    let on_space = ["--space", &space, "-i", &site.plaintext, "-o"];
    let (encrypt, decrypt) = ([&["encrypt"], &on_space[..]].concat(), [&["decrypt"], &on_space[..]].concat());
    if !keyservers::is_pinned_below_data_spaces() {
        succeed(site.config(), &["key", "create", "--kek", "master"], b"");
        succeed(site.config(), &["space", "create", "--kek", "master", &space], b"");
        commands.extend([(&encrypt[..], &space), (&decrypt, &space)]);
    }
    for (command, place) in commands {
        let before = fs::read(place).unwrap();
        let refusal = fail(Some(Path::new(&config)), &[command, &[place.as_str()]].concat(), b"");
        assert!(refusal.contains(place.as_str()) && refusal.contains("name another file"), "{command:?}: {refusal}");
        assert!(fs::read(place).unwrap().starts_with(&before), "{place} was written to");
    }
}

#[test]
fn a_file_may_be_encrypted_and_decrypted_in_its_own_place() {
    let site = Site::new();
    let file = site.path("big");
    let plaintext = vec![b'x'; 9 << 20];
    for plaintext in [&b"hello"[..], &plaintext] {
        fs::write(&file, plaintext).unwrap();
        succeed(site.config(), &["encrypt", "--key", "orders", "-i", &file, "-o", &file], b"");
        assert!(fs::read(&file).unwrap().starts_with(&[0xd8, 0x60]), "it is no COSE_Encrypt object");
        succeed(site.config(), &["decrypt", "-i", &file, "-o", &file], b"");
        assert!(fs::read(&file).unwrap() == plaintext);
    }
}

#[test]
fn what_is_no_message_is_told_by_its_name_and_not_as_a_failed_decryption() {
    let site = Site::new();
    let (stream, space) = (site.path("stream"), site.path("space"));
    fs::write(&stream, &succeed(site.config(), &["encrypt", "--key", "orders"], &[7; 70_000])[..100]).unwrap();
    // As a protected DEK begins (RFC 9052 §5.2), and then it is cut.
    fs::write(&space, [0xd0, 0x83]).unwrap();
    for file in ["/etc/passwd", "/dev/null", &site.plaintext, &stream, &space] {
        let said = fail(None, &["inspect", file], b"");
        assert!(said.starts_with(&format!("keystead: {file} ")), "{said}");
        assert!(said.contains("neither a message, nor a stream, nor a protected DEK"), "{said}");
        assert!(!said.contains("decrypted") && !said.contains("unlocked"), "{said}");
    }
    assert!(fail(None, &["inspect"], b"x").contains("standard input is neither"));
    // What never ends is not read to its end.
    let mut endless = Command::new("sh");
    endless.args(["-c", "ulimit -v 300000; exec \"$0\" inspect /dev/zero", env!("CARGO_BIN_EXE_keystead")]);
    let said = endless.output().unwrap();
    assert!(said.status.code() == Some(1) && errors(&said).contains("/dev/zero is neither"), "{said:?}");
    assert!(fail(None, &["inspect", "/dev/null"], b"").contains("it is empty"));
    assert!(fail(Some(site.config()), &["decrypt", "-i", &site.plaintext], b"").contains(&site.plaintext));
    assert!(fail(Some(site.config()), &["decrypt"], b"x").contains("standard input"));
    let said = fail(Some(site.config()), &["encrypt", "--space", &site.plaintext], b"x");
    assert!(said.contains(&site.plaintext) && said.contains("data space"), "{said}");
}

#[test]
fn a_command_says_everything_that_it_may_be_given() {
    let without_key = tool(None, &["encrypt"], b"");
    assert_eq!(without_key.status.code(), Some(2));
    assert!(["--key", "--space"].iter().all(|flag| errors(&without_key).contains(flag)), "{without_key:?}");
    for command in ["show", "rotate"] {
        let help = String::from_utf8(tool(None, &["key", command, "--help"], b"").stdout).unwrap();
        assert!(help.contains("<NAME>  The key's name"), "{help}");
    }
    let help = String::from_utf8(tool(None, &["--help"], b"").stdout).unwrap();
    assert!(help.contains("Exit status: 0 done, 1 failed or not as it should be, 2 wrong usage"), "{help}");
}

#[test]
fn a_configuration_is_named_before_the_command_or_behind_it_and_an_empty_variable_names_none() {
    let site = Site::new();
    let config = text(site.config());
    for arguments in [["--config", &config, "key", "list"], ["key", "list", "--config", &config]] {
        let output = tool(None, &arguments, b"");
        assert!(output.status.success(), "{output:?}");
    }
    let empty = Some(Path::new(""));
    let log = text(&site.servers.log);
    assert!(tool(empty, &["log", "verify", &log], b"").status.success(), "it needs no configuration");
    assert!(fail(empty, &["status"], b"").contains("KEYSTEAD_CONFIG"));
    // What a shell has set is no argument: without a command there is help.
    for config in [None, Some(site.config())] {
        let output = tool(config, &[], b"");
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains("  reencrypt  "), "{output:?}");
    }
}

#[test]
fn a_full_or_closed_standard_error_changes_no_exit_status() {
    let site = Site::new();
    let statuses = |arguments: &[&str]| {
        let run = |stderr: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
            command.env_remove("KEYSTEAD_CONFIG").args(arguments).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(stderr).status().unwrap().code()
        };
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        [run(full.into()), run(closed.into())]
    };
    assert_eq!(statuses(&["inspect", &site.plaintext]), [Some(1); 2]);
    assert_eq!(statuses(&["init"]), [Some(2); 2]);
    assert_eq!(statuses(&["frobnicate"]), [Some(2); 2]);
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let site = Site::new();
    let log = text(&site.servers.log);
    let message = site.path("message");
    succeed(site.config(), &["encrypt", "--key", "orders", "-i", &site.plaintext, "-o", &message], b"");
    let commands: [&[&str]; 5] = [
        &["key", "list"],
        &["log", "verify", &log],
        &["inspect", &message],
        &["decrypt", "-i", &message],
        &["status", "--json"],
    ];
    for arguments in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
        command.env("KEYSTEAD_CONFIG", site.config()).args(arguments).stdin(Stdio::null());
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(errors(&output).contains("could not write standard output"), "{output:?}");
    }
    let lost = fail(Some(site.config()), &["decrypt", "-i", &message, "-o", &site.path("no/folder")], b"");
    assert!(lost.contains("no/folder") && lost.contains("make its folder first"), "{lost}");
}

/// A reader who has seen enough, as `head` does, is told nothing.
#[test]
fn a_reader_who_leaves_is_no_error_to_be_told() {
    let site = Site::new();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    command.env("KEYSTEAD_CONFIG", site.config()).args(["key", "list"]).stdin(Stdio::null());
    let output = command.stdout(closed).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(1), ""));
}

#[test]
fn names_with_blanks_and_other_letters_are_names() {
    let site = Site::new();
    let folder = site.servers.dir.join("fo lder/ünï");
    fs::create_dir_all(&folder).unwrap();
    let (encrypted, decrypted) = (text(&folder.join("ä b.cose")), text(&folder.join("--o")));
    succeed(site.config(), &["encrypt", "--key", "orders", "-i", &site.plaintext, "-o", &encrypted], b"");
    succeed(site.config(), &["decrypt", "-i", &encrypted, "-o", &decrypted], b"");
    assert_eq!(fs::read(decrypted).unwrap(), b"hello");
    assert_eq!(json(&succeed(site.config(), &["inspect", "--json", &encrypted], b""))["key"], "orders/1");
}

#[test]
fn a_pair_of_keys_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let [private, public] = ["private", "public"].map(|name| text(&folder.path().join(name)));
    let is_empty = || fs::read_dir(folder.path()).unwrap().next().is_none();
    let said = fail(None, &["log", "keygen", &private, &private], b"");
    assert!(said.contains("two files"), "{said}");
    assert!(is_empty());
    // A disk that takes names and no bytes.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" log keygen \"$1\" \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_keystead"), &private, &public]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(is_empty(), "{:?}", fs::read_dir(folder.path()).unwrap().collect::<Vec<_>>());
}

#[test]
fn one_is_one_and_not_several() {
    let site = Site::new();
    let encrypted = succeed(site.config(), &["encrypt", "--key", "orders"], b"x");
    let shown = String::from_utf8(succeed(site.config(), &["inspect"], &encrypted)).unwrap();
    assert!(shown.contains(" 1 byte\n"), "{shown}");
    let empty = site.path("empty");
    fs::write(&empty, "").unwrap();
    let said = String::from_utf8(tool(None, &["log", "verify", &empty], b"").stdout).unwrap();
    assert!(said.contains("NOT intact: 1 finding, 0 records"), "{said}");
    let first = site.path("first.log");
    let log = fs::read_to_string(&site.servers.log).unwrap();
    fs::write(&first, log.split_inclusive('\n').next().unwrap()).unwrap();
    let said = String::from_utf8(succeed(site.config(), &["log", "verify", &first], b"")).unwrap();
    assert!(said.contains("intact: 1 record\n") && !said.contains("1 records"), "{said}");
}

#[test]
fn long_work_shows_on_a_terminal_how_far_it_has_come_and_elsewhere_nothing() {
    let site = Site::new();
    let config = Some(site.config());
    let (big, folder) = (site.path("big"), site.servers.dir.join("folder"));
    File::create(&big).unwrap().set_len(24 << 20).unwrap();
    fs::create_dir(&folder).unwrap();
    let (encrypted, folder) = (text(&folder.join("big.cose")), text(&folder));
    let (is_done, said) = on_a_terminal(config, &["encrypt", "--key", "orders", "-i", &big, "-o", &encrypted], "");
    assert!(is_done && said.contains("encrypting") && said.contains("/24.00 MiB"), "{said:?}");
    assert!(said.contains(ERASE_LINE), "the bar is gone when the work is: {said:?}");
    let (is_done, said) = on_a_terminal(config, &["decrypt", "-i", &encrypted, "-o", &big], "");
    assert!(is_done && said.contains("decrypting") && said.contains("/24."), "{said:?}");
    succeed(site.config(), &["key", "rotate", "orders"], b"");
    let (is_done, said) = on_a_terminal(config, &["reencrypt", "--key", "orders", &folder], "");
    assert!(is_done && said.contains("moving") && said.contains("/24.") && said.contains("1 file moved"), "{said:?}");
    let log = text(&site.servers.log);
    let (is_done, said) = on_a_terminal(config, &["log", "verify", &log], "");
    assert!(is_done && said.contains("verifying") && said.contains("intact: "), "{said:?}");

    let quiet = tool(config, &["encrypt", "--key", "orders", "-i", &big, "-o", &encrypted], b"");
    assert_eq!((quiet.status.code(), quiet.stdout, quiet.stderr), (Some(0), vec![], vec![]));
    let quiet = tool(config, &["log", "verify", &log], b"");
    assert_eq!((quiet.status.code(), quiet.stderr), (Some(0), vec![]));
}

/// What a terminal understands as such (ECMA-48, EL).
const ERASE_LINE: &str = "\u{1b}[2K";
