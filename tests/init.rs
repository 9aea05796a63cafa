//! What `keystead init` promises.

#[path = "common/keyservers.rs"]
mod keyservers;
#[path = "common/terminal.rs"]
mod terminal;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use keyservers::KeyServers;
use keystead::config::{self, Target};
use terminal::on_a_terminal;

/// A command with these arguments and without a terminal.
fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystead"));
    command.env_remove("KEYSTEAD_CONFIG").args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    tool(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a new application has: its certificate, and a folder of its own.
struct Site {
    servers: KeyServers,
    home: PathBuf,
    config: PathBuf,
}

impl Site {
    fn new(number: usize) -> Site {
        let servers = KeyServers::start(number);
        let home = servers.dir.join("home");
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, PermissionsExt::from_mode(0o700)).unwrap();
        let config = home.join("keystead.conf");
        Site { servers, home, config }
    }

    fn server(&self, position: usize) -> String {
        let server = &self.servers.servers[position];
        format!("{}:{}", server.host, server.port)
    }

    fn path(path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }

    /// Runs the command with every flag but those for servers; of a flag that `said` repeats, with its value instead.
    fn init(&self, said: &[(&str, &str)], switches: &[&str]) -> Output {
        let servers = &self.servers;
        let usual = [
            ("--name", "orders \"api\"".to_owned()),
            ("--ca", Site::path(&servers.ca)),
            ("--certificate", Site::path(&servers.client_certificate)),
            ("--key", Site::path(&servers.client_key)),
            ("--data", Site::path(&self.home.join("data"))),
        ];
        let mut command = tool(&["init"]);
        for (flag, value) in usual.iter().filter(|(flag, _)| said.iter().all(|(other, _)| other != flag)) {
            command.args([flag, value.as_str()]);
        }
        for (flag, value) in said {
            command.args([flag, value]);
        }
        command.args(switches).arg(&self.config).output().unwrap()
    }

    /// Nothing is left in the folder but what was there before.
    fn assert_untouched(&self) {
        assert_eq!(std::fs::read_dir(&self.home).unwrap().count(), 0);
    }
}

#[test]
fn a_configuration_is_written_checked_and_used() {
    let site = Site::new(2);
    let output = site.init(&[("--server", &site.server(0)), ("--server", &site.server(1))], &["--relaxed"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.starts_with(&format!("wrote {}\n", site.config.display())), "{said}");
    assert!(said.contains("answers at 127.0.0.1") && !said.contains("FAULT"), "{said}");
    assert!(said.ends_with("keystead key create NAME\n"), "{said}");
    for file in [&site.config, &site.home.join("data/keystead.log"), &site.home.join("data/audit.csv")] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(std::fs::read_dir(&site.home).unwrap().count(), 2);

    let (config, _) = config::load(&site.config).unwrap();
    assert_eq!((config.client_name.as_str(), config.servers.len()), ("orders \"api\"", 2));
    assert_eq!(config.servers[1].port, site.servers.servers[1].port);
    assert!(matches!(config.log.target, Some(Target::File(file)) if file == site.home.join("data/keystead.log")));
    let created = run(&["--config", &Site::path(&site.config), "key", "create", "orders"]);
    assert_eq!(text(&created.stdout), "created orders/1\n");
}

#[test]
fn a_file_that_is_there_is_never_overwritten() {
    let site = Site::new(1);
    std::fs::write(&site.config, "mine").unwrap();
    let output = site.init(&[("--server", &site.server(0))], &["--relaxed", "--offline"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("is there already"), "{output:?}");
    assert_eq!(std::fs::read(&site.config).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(&site.home).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason_and_nothing_is_written() {
    let site = Site::new(1);
    let server = site.server(0);
    let other = Site::path(&site.servers.dir.join("no-such.pem"));
    std::fs::set_permissions(&site.servers.client_key, PermissionsExt::from_mode(0o644)).unwrap();
    let exposed = site.init(&[("--server", &server)], &["--relaxed"]);
    std::fs::set_permissions(&site.servers.client_key, PermissionsExt::from_mode(0o600)).unwrap();
    let relaxed = |said: &[(&str, &str)]| site.init(said, &["--relaxed"]);
    for (output, reason) in [
        (exposed, "client_key"),
        (relaxed(&[("--server", "two words")]), "\"two words\" is neither a DNS name nor an IP address"),
        (relaxed(&[("--server", "kms1.example.com:0")]), "port"),
        (relaxed(&[("--server", &server), ("--ca", &other)]), "no-such.pem"),
        (relaxed(&[("--server", &server), ("--name", "")]), "name"),
        (site.init(&[("--server", &server)], &[]), "on the machine that holds the data"),
    ] {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason) && said.contains("nothing was written"), "{reason:?} is not in {said}");
        assert!(!said.contains(".partial"), "{said}");
        site.assert_untouched();
    }
    let file = Site::path(&site.home.join("data"));
    std::fs::write(&file, "mine").unwrap();
    let said = text(&relaxed(&[("--server", &server), ("--data", &file)]).stderr);
    assert!(said.contains("not a directory") && said.contains("nothing was written"), "{said}");
    assert!(!site.config.exists() && std::fs::read(&file).unwrap() == b"mine");
}

#[test]
fn what_is_to_be_done_next_can_be_given_to_a_shell_as_it_stands() {
    let mut site = Site::new(1);
    site.config = site.home.join("it's $HOME's.conf");
    let output = site.init(&[("--server", &site.server(0))], &["--relaxed", "--offline"]);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    let export = said.lines().find(|line| line.contains("export ")).unwrap();
    let script = format!("{export}\nprintf %s \"$KEYSTEAD_CONFIG\"");
    let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(text(&shell.stdout), Site::path(&site.config), "{shell:?}");
}

#[test]
fn a_key_server_that_does_not_answer_is_told_and_the_configuration_stays() {
    let mut site = Site::new(1);
    let server = site.server(0);
    site.servers.kill("primary");
    let quick = site.init(&[("--server", &server)], &["--relaxed", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&quick.stdout).unwrap();
    assert_eq!((quick.status.code(), &said["written"]), (Some(1), &Site::path(&site.config).into()), "{said}");
    let faults: Vec<_> =
        said["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == "fault").collect();
    assert_eq!((faults.len(), &faults[0]["about"]), (1, &server.into()), "{said}");
    config::load(&site.config).unwrap();
}

#[test]
fn what_no_flag_says_is_asked_for_on_a_terminal_and_elsewhere_named() {
    let site = Site::new(1);
    let output = run(&["init", "--name", "orders", &Site::path(&site.config)]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("say --server, --ca, --certificate, --key, --data"), "{output:?}");
    assert_eq!(run(&["init"]).status.code(), Some(2), "no file is named");
    site.assert_untouched();

    let servers = &site.servers;
    let (ca, certificate, key) = (&servers.ca, &servers.client_certificate, &servers.client_key);
    // An empty answer is asked for again, but for a second key server.
    let answers = format!(
        "orders\n\n{}\n\n{}\n{}\n{}\n{}\n",
        site.server(0),
        ca.display(),
        certificate.display(),
        key.display(),
        site.home.join("data").display()
    );
    let (is_done, said) = on_a_terminal(None, &["init", "--relaxed", &Site::path(&site.config)], &answers);
    assert!(is_done && said.contains("Another one for when it does not answer"), "{said}");
    let (config, _) = config::load(&site.config).unwrap();
    assert_eq!((config.client_name.as_str(), config.servers.len()), ("orders", 1));
}
