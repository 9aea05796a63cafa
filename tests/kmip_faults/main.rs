//! What breaks between us and a key server is one clear error each, in time, without much memory, and leaves nothing
//! broken behind. The tables name the faults.

mod alerts;
#[path = "../common/fake_server.rs"]
mod fake_server;
#[path = "../common/fault_server.rs"]
mod fault_server;
mod handshake;
mod keys;
mod replies;
mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use keystead::kmip::{Connector, Deadline, Failure, Get, SymmetricKey};
use keystead::{Client, Code};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use fake_server::{Authority, Certificate, client};
use fault_server::{Act, FaultServer};
use handshake::Parties;

/// How long a call may take, and how much longer its error may.
const DEADLINE: Duration = Duration::from_millis(1500);
const GRACE: Duration = Duration::from_millis(100);
/// What this process may have resident, its servers included.
const MEMORY: u64 = 64 << 20;
/// Most faults spend their time waiting.
const THREADS: usize = 8;
const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

/// One thing that goes wrong.
struct Fault {
    name: &'static str,
    cause: Cause,
    code: Code,
    /// What the error says, besides the name of the server.
    words: &'static str,
}

enum Cause {
    /// Somebody's certificate.
    Parties(fn(&mut Parties)),
    /// The server, before any request.
    Handshake(Act),
    /// The server, in answering any request.
    Request(Act),
    /// The server, in answering the request for a key.
    Get(Act),
}

/// A fault at one place.
struct Case<'a> {
    fault: &'a Fault,
    versions: &'static [&'static SupportedProtocolVersion],
    /// How many requests are answered before; the first one is the question for the version.
    after: usize,
}

fn catalogue() -> impl Iterator<Item = &'static Fault> {
    [handshake::FAULTS, wire::FAULTS, replies::FAULTS, keys::FAULTS].into_iter().flatten()
}

/// Every place where a fault can be.
fn cases() -> Vec<Case<'static>> {
    let places = |fault: &'static Fault| match fault.cause {
        Cause::Parties(_) | Cause::Handshake(_) => 0..1,
        Cause::Request(_) => 0..3,
        Cause::Get(_) => 1..3,
    };
    let mut cases = Vec::new();
    for fault in catalogue() {
        for versions in BOTH {
            cases.extend(places(fault).map(|after| Case { fault, versions, after }));
        }
    }
    cases
}

#[test]
fn every_fault_is_a_clear_error_in_time_and_costs_little_memory() {
    let names: BTreeSet<_> = catalogue().map(|fault| fault.name).collect();
    let cases = cases();
    println!("{} named faults at {} places", names.len(), cases.len());
    assert_eq!(names.len(), catalogue().count(), "a name is there twice");
    assert!(names.len() >= 40);
    // Whoever panics here, as a server whose client left, tells so without the symbols of a backtrace: they take 80 MB.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let failed = in_threads(&cases, |case| {
        let place = format!("{:?}, TLS {:?}, after {} requests", case.fault.name, case.versions[0].version, case.after);
        match case.run_unhurried() {
            Ok(()) => None,
            Err(Wrong::Late(taken)) => Some(format!("{place}: its error took {taken:?}")),
            Err(Wrong::Otherwise(why)) => Some(format!("{place}: {why}")),
        }
    });
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
    let most = peak_memory();
    println!("at most {} KiB were resident", most >> 10);
    assert!(most < MEMORY, "{most} bytes were resident");
}

/// What a fault did that it must not.
enum Wrong {
    Late(Duration),
    Otherwise(String),
}

macro_rules! ensure {
    ($condition:expr, $($why:tt)*) => {
        if !$condition {
            return Err(Wrong::Otherwise(format!($($why)*)));
        }
    };
}

impl Case<'_> {
    /// Other work holds up whoever measures time: what was late is tried again while this process does nothing else.
    fn run_unhurried(&self) -> Result<(), Wrong> {
        static OTHERS: RwLock<()> = RwLock::new(());
        let mut outcome = {
            let _others = OTHERS.read().unwrap();
            self.run()
        };
        for _ in 0..2 {
            if matches!(outcome, Err(Wrong::Late(_))) {
                let _alone = OTHERS.write().unwrap();
                outcome = self.run();
            }
        }
        outcome
    }

    fn run(&self) -> Result<(), Wrong> {
        let mut parties = Parties::new();
        let mut after = self.after;
        let act = match self.fault.cause {
            Cause::Parties(change) => {
                change(&mut parties);
                None
            }
            Cause::Handshake(act) | Cause::Request(act) | Cause::Get(act) => Some(act),
        };
        let server = FaultServer::start(parties.rules(self.versions));
        let connector = Connector::new(&parties.client(server.port())).unwrap();
        if let Some(act) = act {
            server.tell(after, act);
        }
        let start = Instant::now();
        let deadline = Deadline::after(DEADLINE);
        let mut connection = match connector.connect(deadline) {
            Ok(connection) => connection,
            Err(failure) => {
                ensure!(after == 0, "no connection: {}", failure.error);
                ensure!(!failure.request_sent, "nothing of the caller's was sent");
                self.judge(&failure, &connector, start)?;
                return self.recovers(act.is_some(), &connector);
            }
        };
        let failure = loop {
            match connection.call(&Get { id: "key-1" }, deadline) {
                Ok(_) if after > 1 => after -= 1,
                Ok(_) => return Err(Wrong::Otherwise("the fault had no effect".into())),
                Err(failure) => break failure,
            }
        };
        self.judge(&failure, &connector, start)?;
        let is_usable = connection.is_usable();
        let again = connection.call(&Get { id: "key-1" }, Deadline::after(DEADLINE));
        match failure.code() {
            // Whether the reply could be told from the next one decides.
            Code::ReplyMalformed if is_usable => ensure!(again.is_ok(), "the next call was disturbed"),
            code if !code.is_transport() => ensure!(is_usable && again.is_ok(), "an answer ended the connection"),
            _ => ensure!(!is_usable && again.is_err_and(|again| !again.request_sent), "the connection was used again"),
        }
        self.recovers(act.is_some(), &connector)
    }

    fn judge(&self, failure: &Failure, connector: &Connector, start: Instant) -> Result<(), Wrong> {
        let (taken, message) = (start.elapsed(), failure.error.message());
        let code = failure.code();
        ensure!(code == self.fault.code, "{code:?} instead of {:?}: {message}", self.fault.code);
        ensure!(message.contains(self.fault.words), "it does not say {:?}: {message}", self.fault.words);
        ensure!(message.contains(connector.server()), "it does not name {}: {message}", connector.server());
        ensure!(message.len() < 1200 && !message.contains(char::is_control), "that is no sentence: {message:?}");
        if taken > DEADLINE + GRACE { Err(Wrong::Late(taken)) } else { Ok(()) }
    }

    /// What a server did once leaves no trace in the next call.
    fn recovers(&self, was_once: bool, connector: &Connector) -> Result<(), Wrong> {
        let key = was_once.then(|| fetch(connector)).transpose();
        let key = key.map_err(|failure| Wrong::Otherwise(format!("the next call failed, too: {}", failure.error)))?;
        ensure!(key.is_none_or(|key| *key.material == [0xA7; 32]), "the next call brought another key");
        Ok(())
    }
}

fn fetch(connector: &Connector) -> Result<SymmetricKey, Failure> {
    let deadline = Deadline::after(DEADLINE);
    connector.connect(deadline)?.call(&Get { id: "key-1" }, deadline)
}

/// Tries every case in one of several threads, for one test at a time; returns what they complain of.
fn in_threads<T: Sync>(cases: &[T], check: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (left, complaints) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let complaint = check(case);
                    complaints.lock().unwrap().extend(complaint);
                }
            });
        }
    });
    complaints.into_inner().unwrap()
}

/// The most memory that this process ever had resident, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// The configuration of a client of these servers.
fn configured(dir: &Path, authority: &Authority, ports: &[u16]) -> PathBuf {
    let [certificate, key] = authority.issue_pem(&Certificate::CLIENT);
    let mut text = String::from("[client]\nname = \"orders-api\"\npolicy = \"relaxed\"\n[tls]\n");
    let files = [("ca_certificate", &authority.pem), ("client_certificate", &certificate), ("client_key", &key)];
    for (name, content) in files {
        text += &format!("{name} = {:?}\n", write_private(&dir.join(name), content));
    }
    for port in ports {
        text += &format!("[[server]]\nhost = \"127.0.0.1\"\nport = {port}\n");
    }
    text += "[failover]\ndelay = \"1ms\"\nrounds = 1\ndeadline = \"5s\"\n[log]\nlevel = \"none\"\n";
    write_private(&dir.join("keystead.conf"), &text)
}

fn write_private(path: &Path, content: &str) -> PathBuf {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.to_owned()
}

#[test]
fn no_fault_of_one_server_is_one_of_the_application_while_another_works() {
    let authority = Authority::new("Keystead test CA");
    // Locate, Get Attributes and Get come after the question for the version.
    let places = |fault: &'static Fault| match fault.cause {
        _ if !fault.code.is_transport() => 0..0,
        Cause::Parties(_) => 0..0,
        Cause::Handshake(_) => 0..1,
        Cause::Request(_) => 0..4,
        Cause::Get(_) => 3..4,
    };
    let cases: Vec<_> = catalogue().flat_map(|fault| places(fault).map(move |after| (fault, after))).collect();
    let failed = in_threads(&cases, |(fault, after)| {
        let dir = tempfile::tempdir().unwrap();
        let rules = || authority.server_rules(authority.issue(&Certificate::SERVER), &[&TLS13]);
        let [faulty, other] = [FaultServer::start(rules()), FaultServer::start(rules())];
        let (Cause::Handshake(act) | Cause::Request(act) | Cause::Get(act)) = fault.cause else { unreachable!() };
        let config = configured(dir.path(), &authority, &[faulty.port(), other.port()]);
        let client = Client::open(&config).unwrap();
        faulty.tell(*after, act);
        let outcome = client.key("orders");
        let place = format!("{:?} after {after} requests", fault.name);
        match outcome {
            Err(error) => Some(format!("{place}: {error}")),
            Ok(_) => (!faulty.has_acted()).then(|| format!("{place}: the fault was not met")),
        }
    });
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
    println!("{} faults of one server were survived", cases.len());
}

#[test]
fn a_port_where_nobody_listens_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = fetch(&Connector::new(&Parties::new().client(port)).unwrap()).err().unwrap();
    assert_eq!(failure.code(), Code::Unreachable, "{:?}", failure.error);
    assert!(failure.error.message().contains("refused") && !failure.request_sent, "{:?}", failure.error);
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let authority = Authority::new("Keystead test CA");
    let server = client(&authority, authority.issue(&Certificate::CLIENT), "no-such-host.invalid", 5696);
    let failure = fetch(&Connector::new(&server).unwrap()).err().unwrap();
    // Some resolvers take longer than the deadline to say so.
    assert!(matches!(failure.code(), Code::Unreachable | Code::Deadline), "{:?}", failure.error);
    assert!(failure.error.message().contains("no-such-host.invalid:5696"));
    assert_eq!(failure.address, None);
}
