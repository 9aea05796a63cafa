//! Our side of the comparison with other KMIP clients. `benches/clients/compare.py` drives it; `benches/README.md` tells how.
//!
//! `clients connection|cluster CONFIG IDENTIFIER` answers a line `get N` or `connect N` of its standard input with a line
//! of JSON: the median time of so many calls.

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead::audit::AuditTrail;
use keystead::cluster::{Cluster, Journal, Subject};
use keystead::config::{self, Config};
use keystead::kmip::{Connection, Connector, Deadline, Get, SymmetricKey};
use keystead::log::Log;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [path, config, identifier] = &arguments[..] else {
        println!("It compares clients when it is run by: build/venv/bin/python benches/clients/compare.py");
        return ExitCode::SUCCESS;
    };
    let (config, _) = config::load(Path::new(config)).unwrap_or_else(|error| panic!("{error}"));
    let mut client: Box<dyn Client> = match path.as_str() {
        "connection" => Box::new(Direct::new(&config)),
        "cluster" => Box::new(ThroughCluster(cluster(&config))),
        other => panic!("there is no path {other:?} to a key"),
    };
    for line in std::io::stdin().lock().lines().map(|line| line.expect("a line of text")) {
        let (what, number) = line.split_once(' ').expect("what to do and how often");
        let number = number.parse().expect("a number");
        let mut times: Vec<Duration> = (0..number).map(|_| time(&mut *client, what == "connect", identifier)).collect();
        times.sort_unstable();
        println!("{{\"p50_us\": {:.2}}}", times[times.len() / 2].as_secs_f64() * 1e6);
    }
    ExitCode::SUCCESS
}

/// A way to a key.
trait Client {
    fn get(&mut self, identifier: &str) -> SymmetricKey;
    fn close(&mut self);
}

/// One Get; or connect, Get and close.
fn time(client: &mut dyn Client, is_whole: bool, identifier: &str) -> Duration {
    if is_whole {
        client.close();
    }
    let start = Instant::now();
    let key = client.get(identifier);
    if is_whole {
        client.close();
    }
    let taken = start.elapsed();
    assert_eq!((key.id.as_str(), key.length_bits), (identifier, 256));
    taken
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// A connection of ours: nothing but the request and its answer.
struct Direct {
    connector: Connector,
    connection: Option<Connection>,
}

impl Direct {
    fn new(config: &Config) -> Direct {
        Direct { connector: Connector::new(&config.servers[0]).unwrap(), connection: None }
    }
}

impl Client for Direct {
    fn get(&mut self, identifier: &str) -> SymmetricKey {
        let Direct { connector, connection } = self;
        let connect = || connector.connect(soon()).unwrap_or_else(|failure| panic!("{}", failure.error));
        let connection = connection.get_or_insert_with(connect);
        connection.call(&Get { id: identifier }, soon()).unwrap_or_else(|failure| panic!("{}", failure.error))
    }

    fn close(&mut self) {
        self.connection = None;
    }
}

/// What an application's call goes through: the pool, the check of an idle connection, a record of the log and a row of
/// the audit trail.
struct ThroughCluster(Cluster);

fn cluster(config: &Config) -> Cluster {
    let log = Arc::new(Log::open(&config.log, &config.client_name).unwrap());
    let audit = config.audit.as_ref().map(|audit| Arc::new(AuditTrail::open_as(audit).unwrap()));
    Cluster::new(config, Journal { log, audit }).unwrap()
}

impl Client for ThroughCluster {
    fn get(&mut self, identifier: &str) -> SymmetricKey {
        let subject = Subject { name: "benchmark", version: Some(1) };
        let answered = self.0.call(&Get { id: identifier }, subject, None, soon());
        answered.unwrap_or_else(|unserved| panic!("{}", unserved.error)).answer
    }

    fn close(&mut self) {
        self.0.close();
    }
}
