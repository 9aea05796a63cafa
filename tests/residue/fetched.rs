//! A key that came from a key server: through TLS, KMIP and the shared library, as applications use it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use keystead::kmip::{Connector, Deadline, Get};

use super::keyservers::{KeyServers, Kind};
use super::scan::{self, Counts, Needles};
use super::{core_file, kernel_writes_core_files_here};

const NAME: &str = "residue";

fn python(words: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("KEYSTEAD_PYTHON").map_or_else(|| root.join("build/venv/bin/python"), PathBuf::from);
    let mut command = Command::new(python);
    command
        .args(["-W", "ignore"])
        .arg(root.join("tests/residue/fetch.py"))
        .args(words)
        .env("PYTHONPATH", root.join("bindings/python/src"));
    command
}

/// The shared library that is to be tested, if it was built.
fn library() -> Option<PathBuf> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("build/lib/libkeystead.so");
    let library = std::env::var_os("KEYSTEAD_LIBRARY").map_or_else(built, PathBuf::from);
    library.exists().then_some(library)
}

/// The bytes of the key of that name, as the key server stores them.
fn material(servers: &KeyServers, name: &str) -> [u8; 32] {
    let database = servers.dir.join("keys.sqlite");
    let output = python(&["material", database.to_str().unwrap(), name]).output().unwrap();
    let hex = String::from_utf8(output.stdout).unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    std::array::from_fn(|index| byte(2 * index))
}

/// A process that fetched the key, used it and gave it up.
struct Fetcher {
    process: Child,
    input: Option<ChildStdin>,
    folder: tempfile::TempDir,
}

impl Fetcher {
    fn start(mode: &str, server: &str, library: &Path) -> Fetcher {
        let folder = tempfile::tempdir().unwrap();
        let mut process = python(&[mode, server, NAME])
            .env("KEYSTEAD_LIBRARY", library)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n", "{mode} failed, see its error above");
        Fetcher { process, input, folder }
    }

    /// What the process shows of the key, and what its core file shows.
    fn scan(&self, key: &[u8; 32]) -> (Counts, Option<Counts>) {
        let needles = Needles::of(key);
        let process = scan::process(self.process.id(), &needles).unwrap();
        let core = core_file(self.process.id(), self.folder.path());
        (process, core.map(|core| scan::file(&core, &needles).unwrap()))
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

#[test]
fn a_fetched_key_is_nowhere_once_its_client_is_closed() {
    let Some(library) = library() else {
        println!("skipped: the shared library was not built; cmake --workflow --preset test builds it");
        return;
    };
    let servers = KeyServers::start(1);
    let client = keystead::Client::open(&servers.config).unwrap();
    client.create_key(NAME).unwrap();
    let key = material(&servers, NAME);

    let (process, core) = Fetcher::start("keystead", servers.config.to_str().unwrap(), &library).scan(&key);
    println!("libkeystead: process {process:?}, core file {core:?}");
    assert_eq!(process.total(), 0, "{process:?}");
    assert!(core.is_none_or(|core| core.total() == 0), "{core:?}");
    assert!(process.scanned_bytes > 1_000_000 && (core.is_some() || !kernel_writes_core_files_here()));

    let server = &servers.servers[0];
    let peer =
        serde_json::json!([server.host, server.port, servers.client_certificate, servers.client_key, servers.ca]);
    let (process, core) = Fetcher::start("pykmip", &peer.to_string(), &library).scan(&key);
    println!("the control, PyKMIP's client: process {process:?}, core file {core:?}");
    assert!(process.total() > 0, "what is looked for cannot be found at all: {process:?}");
    assert!(core.is_none_or(|core| core.total() > 0), "{core:?}");
}

/// With TLS 1.3, several times: all connections but the first are resumed with tickets of the server.
#[test]
fn a_key_that_came_over_resumed_connections_is_nowhere() {
    let Some(library) = library().filter(|_| Kind::Go.is_there()) else { return };
    let servers = KeyServers::start_kind(Kind::Go, 1);
    let text = std::fs::read_to_string(&servers.config).unwrap();
    std::fs::write(&servers.config, text.replace("\nport = ", "\nmax_idle = \"10ms\"\nport = ")).unwrap();
    let client = keystead::Client::open(&servers.config).unwrap();
    client.create_key(NAME).unwrap();
    let [version] = &client.show_key(NAME).unwrap()[..] else { panic!("one version") };

    let (config, _) = keystead::config::load(&servers.config).unwrap();
    let connector = Connector::new(&config.servers[0]).unwrap();
    let soon = || Deadline::after(Duration::from_secs(10));
    let fetch = || {
        let mut connection = connector.connect(soon()).map_err(|failure| failure.error).unwrap();
        let key = connection.call(&Get { id: &version.identifier }, soon()).map_err(|failure| failure.error).unwrap();
        (*key.material, connection.is_resumed())
    };
    let (key, _) = fetch();
    assert_eq!(fetch(), (key, true), "this server gives tickets");

    let (process, core) = Fetcher::start("resumed", servers.config.to_str().unwrap(), &library).scan(&key);
    println!("libkeystead, resumed: process {process:?}, core file {core:?}");
    assert_eq!(process.total(), 0, "{process:?}");
    assert!(core.is_none_or(|core| core.total() == 0), "{core:?}");
    assert!(process.scanned_bytes > 1_000_000);
}

#[test]
fn the_key_of_a_data_space_is_nowhere_once_its_client_is_closed() {
    let Some(library) = library() else {
        println!("skipped: the shared library was not built; cmake --workflow --preset test builds it");
        return;
    };
    let servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let fetcher = Fetcher::start("space", servers.config.to_str().unwrap(), &library);
    let (process, core) = fetcher.scan(&material(&servers, &format!("space:{NAME}")));
    println!("libkeystead: process {process:?}, core file {core:?}");
    assert_eq!(process.total(), 0, "{process:?}");
    assert!(core.is_none_or(|core| core.total() == 0), "{core:?}");
    assert!(process.scanned_bytes > 1_000_000);
}
