//! Real key servers for integration tests; the harness is `tests/servers/keyservers.py`.
//!
//! ```ignore
//! #[path = "common/keyservers.rs"]
//! mod keyservers;
//!
//! let mut servers = keyservers::KeyServers::start(2);
//! let client = keystead::Client::open(&servers.config).unwrap();
//! servers.kill("primary");
//! ```

#![allow(dead_code)] // Each test uses a part of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

/// Key servers that share what they hold. Dropping it ends them; so does the end of the test, however it comes.
pub struct KeyServers {
    /// A ready `keystead.conf` that names all of them.
    pub config: PathBuf,
    /// Everything of theirs lies here; tests may put files of their own beside it.
    pub dir: PathBuf,
    /// Where the configuration puts the log and the audit trail.
    pub log: PathBuf,
    pub audit: PathBuf,
    pub ca: PathBuf,
    pub client_certificate: PathBuf,
    pub client_key: PathBuf,
    /// `primary`, `secondary`, `server-3` …
    pub servers: Vec<Server>,
    harness: BufReader<UnixStream>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// A certificate with its key and the CA that issued it.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

/// The kinds of key server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PyKMIP; its servers share a database.
    PyKmip,
    /// `tests/servers/go`; its servers replicate a store, with a lag where one is set.
    Go,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::PyKmip => "pykmip",
            Kind::Go => "go",
        }
    }

    /// Whether such servers can be started: what needs the Go ones is skipped where there is no Go.
    pub fn is_there(self) -> bool {
        self == Kind::PyKmip || go_server().is_file()
    }
}

fn go_server() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("build/kmip-server");
    std::env::var_os("KEYSTEAD_GO_SERVER").map_or_else(built, PathBuf::from)
}

/// The Python that has the packages of `tests/requirements.txt`.
pub fn python() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("build/venv/bin/python");
    std::env::var_os("KEYSTEAD_PYTHON").map_or_else(built, PathBuf::from)
}

/// The protocol version that `KEYSTEAD_KMIP_VERSION` has the configuration pin.
pub fn pinned_version() -> Option<String> {
    std::env::var("KEYSTEAD_KMIP_VERSION").ok().filter(|version| !version.is_empty())
}

/// Whether it has no data spaces, as KMIP below 1.2.
pub fn is_pinned_below_data_spaces() -> bool {
    pinned_version().is_some_and(|version| ["1.0", "1.1"].contains(&version.as_str()))
}

impl KeyServers {
    /// The kind that [`KeyServers::start`] starts.
    pub fn kind() -> Kind {
        match std::env::var("KEYSTEAD_KEY_SERVERS").as_deref() {
            Ok("go") => Kind::Go,
            _ => Kind::PyKmip,
        }
    }

    /// Starts `number` servers of the kind in `KEYSTEAD_KEY_SERVERS`, else PyKMIP, and waits until they answer.
    pub fn start(number: usize) -> KeyServers {
        KeyServers::launch(&[], number)
    }

    /// Starts `number` servers of that kind.
    pub fn start_kind(kind: Kind, number: usize) -> KeyServers {
        KeyServers::launch(&["--kind", kind.name()], number)
    }

    fn launch(options: &[&str], number: usize) -> KeyServers {
        let number = number.to_string();
        let options: Vec<&str> = options.iter().copied().chain(["--servers", &number]).collect();
        let mut harness = UnixStream::connect(prepared()).expect("the prepared harness listens");
        writeln!(harness, "{}", serde_json::json!(options)).expect("the harness listens");
        let mut harness = BufReader::new(harness);
        let ready = read_line(&mut harness);
        KeyServers {
            config: path(&ready, "config"),
            dir: path(&ready, "dir"),
            log: path(&ready, "log"),
            audit: path(&ready, "audit"),
            ca: path(&ready, "ca"),
            client_certificate: path(&ready, "client_certificate"),
            client_key: path(&ready, "client_key"),
            servers: ready["servers"].as_array().expect("a list").iter().map(server).collect(),
            harness,
        }
    }

    /// Kills a server: connections are refused from now on.
    pub fn kill(&mut self, name: &str) {
        self.ask(&format!("kill {name}"));
    }

    /// Stops a server's processes: connections are accepted by the kernel, but nothing answers.
    pub fn stop(&mut self, name: &str) {
        self.ask(&format!("stop {name}"));
    }

    /// Lets a stopped server go on.
    pub fn resume(&mut self, name: &str) {
        self.ask(&format!("continue {name}"));
    }

    /// Starts a killed server again, on its old port and with its old certificate.
    pub fn restart(&mut self, name: &str) {
        self.ask(&format!("start {name}"));
    }

    /// Starts a killed server again with another certificate, for example `server-expired`, `server-wrong-ca` or
    /// `server-wrong-name`.
    pub fn restart_with(&mut self, name: &str, certificate: &str) {
        self.ask(&format!("start {name} {certificate}"));
    }

    /// How long a change made on one server takes to reach the others, from now on. For the kind [`Kind::Go`] only.
    pub fn set_lag(&mut self, lag: Duration) {
        self.ask(&format!("lag {}", lag.as_secs_f64()));
    }

    /// From now on a Name that another object has is refused. For the kind [`Kind::Go`] only.
    pub fn refuse_used_names(&mut self) {
        self.ask("unique-names yes");
    }

    /// The protocol versions that the server speaks once it is restarted, for example `1.0,1.2`. For the kind
    /// [`Kind::Go`] only.
    pub fn set_versions(&mut self, name: &str, versions: &str) {
        self.ask(&format!("versions {name} {versions}"));
    }

    /// Has the primary make a version of a key, for example `orders/1`, that nobody has activated. Answers its identifier.
    pub fn make_pre_active(&mut self, id: &str) -> String {
        self.ask(&format!("pre-active {id}"))["identifier"].as_str().expect("a text").to_owned()
    }

    /// How many such operations the server has processed, for example `Get`, `Create`, `GetAttributes`.
    pub fn count(&mut self, name: &str, operation: &str) -> u64 {
        self.ask(&format!("count {name} {operation}"))["count"].as_u64().expect("a number")
    }

    /// A certificate of a kind listed in `tests/servers/certificates.py`, for example `client-expired`, `client-other`.
    pub fn certificate(&mut self, kind: &str) -> Certificate {
        let reply = self.ask(&format!("certificate {kind}"));
        Certificate { certificate: path(&reply, "certificate"), key: path(&reply, "key"), ca: path(&reply, "ca") }
    }

    fn ask(&mut self, command: &str) -> Value {
        writeln!(self.harness.get_mut(), "{command}").expect("the harness listens");
        let reply = read_line(&mut self.harness);
        assert_eq!(reply["ok"], true, "{command}: {}", reply["error"]);
        reply
    }
}

impl Drop for KeyServers {
    fn drop(&mut self) {
        // The end of its input is its order to end everything; it closes its side when that is done.
        let _ = self.harness.get_mut().shutdown(Shutdown::Write);
        let _ = self.harness.read_to_end(&mut Vec::new());
    }
}

/// Where harnesses are started that have loaded what they need: one process for all tests of a program, which ends with it.
fn prepared() -> &'static Path {
    static PREPARED: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (socket, _) = PREPARED.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = python();
        let mut process = Command::new(&python)
            .arg(root.join("tests/servers/keyservers.py"))
            .arg("prepare")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start the key servers with {} ({error}). Make it with: cmake --preset default && cmake --build \
                     build --target venv (or name another Python in KEYSTEAD_PYTHON)",
                    python.display()
                )
            });
        let mut output = BufReader::new(process.stdout.take().expect("it was piped"));
        (path(&read_line(&mut output), "socket"), process)
    });
    socket
}

fn read_line(output: &mut impl BufRead) -> Value {
    let mut line = String::new();
    output.read_line(&mut line).expect("the harness answers in UTF-8");
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("the key server harness ended; see its error above"))
}

fn path(reply: &Value, name: &str) -> PathBuf {
    reply[name].as_str().expect("a path").into()
}

fn server(value: &Value) -> Server {
    Server {
        name: value["name"].as_str().expect("a name").into(),
        host: value["host"].as_str().expect("a host").into(),
        port: value["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port"),
    }
}
