//! Load from many threads while servers die, hang and return.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use keystead::{Client, Code};

use super::keyservers::{KeyServers, Kind};
use super::{active, configured, decrypt, encrypt, open, ports};

/// PyKMIP looks at every object to locate one, so in the usual run it is asked by fewer threads.
fn threads(kind: Kind) -> usize {
    if kind == Kind::Go || told_length().is_some() { 16 } else { 8 }
}

/// It takes long to serve them all on a busy machine.
fn deadline(kind: Kind) -> &'static str {
    if kind == Kind::Go { "30s" } else { "2m" }
}

/// How long the servers are troubled; `KEYSTEAD_WEATHER_SECONDS` says otherwise.
fn length(usual: Duration) -> Duration {
    told_length().unwrap_or(usual)
}

fn told_length() -> Option<Duration> {
    let told = std::env::var("KEYSTEAD_WEATHER_SECONDS").ok()?;
    Some(Duration::from_secs(told.parse().expect("a number of seconds")))
}

#[test]
fn no_call_fails_and_no_key_is_made_twice_while_one_server_lives() {
    if Kind::Go.is_there() {
        weather(Kind::Go, length(Duration::from_secs(12)));
    }
}

/// PyKMIP's servers share a database. One that was stopped within a transaction would hold it and leave no server that lives,
/// so the harness stops them between two.
#[test]
fn no_call_to_processes_that_are_killed_and_stopped_fails_while_one_lives() {
    weather(Kind::PyKmip, length(Duration::from_secs(8)));
}

fn weather(kind: Kind, length: Duration) {
    let mut servers = KeyServers::start_kind(kind, 3);
    let [a, b, c] = ports(&servers)[..] else { unreachable!() };
    let orders = [[a, b, c], [b, c, a]];
    let clients = orders.map(|order| {
        Client::open(&configured(&servers, &format!("first-{}", order[0]), &order, deadline(kind))).unwrap()
    });
    let load = Load { clients, over: AtomicBool::new(false), slowest: AtomicUsize::new(0), calls: AtomicUsize::new(0) };
    let (messages, absences) = std::thread::scope(|scope| {
        let load = &load;
        let workers: Vec<_> = (0..threads(kind)).map(|worker| scope.spawn(move || load.work(worker))).collect();
        let absences = trouble(&mut servers, length, || workers.iter().any(|worker| worker.is_finished()));
        load.over.store(true, Ordering::Relaxed);
        let messages: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        (messages, absences)
    });
    let (calls, slowest) = (load.calls.load(Ordering::Relaxed), load.slowest.load(Ordering::Relaxed));
    println!("{kind:?}, {length:?}: {calls} calls, the slowest took {slowest} ms; {} keys", messages.len() / 2);
    load.clients.iter().for_each(|client| client.close().unwrap());

    let fresh = open(&servers, "fresh", &[c, b, a]);
    let active = active(&fresh.list_keys().unwrap());
    let names: BTreeSet<_> = active.keys().map(|(name, _)| name).collect();
    assert_eq!(active.len(), names.len(), "a name was asked for once and has several versions: {active:?}");
    for (name, message) in &messages {
        assert_eq!(decrypt(&fresh, message).unwrap(), name.as_bytes());
    }
    check_trails(&mut servers, &orders.map(|order| format!("first-{}.csv", order[0])), &absences);
}

struct Load {
    clients: [Client; 2],
    over: AtomicBool,
    /// Milliseconds.
    slowest: AtomicUsize,
    calls: AtomicUsize,
}

impl Load {
    /// Makes and uses keys until it is over. Two workers, of one client each, make the same names.
    fn work(&self, worker: usize) -> Vec<(String, Vec<u8>)> {
        let (here, elsewhere) = (&self.clients[worker % 2], &self.clients[(worker + 1) % 2]);
        let mut messages = Vec::new();
        for n in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("name-{}-{n}", worker / 2);
            let mut message = Vec::new();
            self.timed("create_key", || {
                message = encrypt(&here.create_key(&name)?.0, name.as_bytes());
                Ok(())
            });
            self.timed("key", || elsewhere.key(&name).map(drop));
            self.timed("decrypt", || decrypt(elsewhere, &message).map(|plain| assert_eq!(plain, name.as_bytes())));
            self.timed("a key that nobody made", || match elsewhere.key(&format!("{name}-missing")) {
                Err(error) if error.code() == Code::KeyNotFound => Ok(()),
                other => other.map(|_| panic!("there is no such key")),
            });
            messages.push((name, message));
        }
        messages
    }

    fn timed(&self, what: &str, call: impl FnOnce() -> keystead::Result<()>) {
        let start = Instant::now();
        call().unwrap_or_else(|error| panic!("{what} failed after {:?}: {error}", start.elapsed()));
        self.slowest.fetch_max(start.elapsed().as_millis() as usize, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Up,
    Killed,
    Stopped,
}

/// When a server could answer nothing, in seconds since 1970.
#[derive(Debug)]
struct Absence {
    port: u16,
    from: i64,
    until: i64,
}

/// Every second one server is killed, stopped, continued or started again, and one of them always lives. In the end all do.
fn trouble(servers: &mut KeyServers, length: Duration, mut is_lost: impl FnMut() -> bool) -> Vec<Absence> {
    let (start, mut dice) = (Instant::now(), Dice(0x9E37_79B9_7F4A_7C15));
    let mut conditions = vec![(Condition::Up, 0); servers.servers.len()];
    let mut absences = Vec::new();
    let mut last = usize::MAX;
    while start.elapsed() < length && !is_lost() {
        let living = conditions.iter().filter(|(condition, _)| *condition == Condition::Up).count();
        let open = |&server: &usize| server != last && (conditions[server].0 != Condition::Up || living > 1);
        let choices: Vec<usize> = (0..conditions.len()).filter(open).collect();
        last = choices[dice.throw(choices.len())];
        let server = servers.servers[last].clone();
        conditions[last] = match conditions[last] {
            (Condition::Up, _) if dice.throw(2) == 0 => {
                servers.kill(&server.name);
                (Condition::Killed, now())
            }
            (Condition::Up, _) => {
                servers.stop(&server.name);
                (Condition::Stopped, now())
            }
            (condition, from) => {
                absences.push(Absence { port: server.port, from, until: now() });
                bring_back(servers, &server.name, condition);
                (Condition::Up, 0)
            }
        };
        std::thread::sleep(Duration::from_secs(1));
    }
    for (server, (condition, _)) in servers.servers.clone().iter().zip(conditions) {
        bring_back(servers, &server.name, condition);
    }
    absences
}

fn bring_back(servers: &mut KeyServers, name: &str, condition: Condition) {
    match condition {
        Condition::Up => {}
        Condition::Killed => servers.restart(name),
        Condition::Stopped => servers.resume(name),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// The trails name the server that answered each time: no more successes of any server than it has had requests, and none
/// while it could not answer.
fn check_trails(servers: &mut KeyServers, trails: &[String], absences: &[Absence]) {
    let trails: Vec<_> = trails.iter().map(|trail| servers.dir.join(trail)).collect();
    let texts: Vec<String> = trails.iter().map(|trail| std::fs::read_to_string(trail).unwrap()).collect();
    let rows = texts.iter().flat_map(|text| text.lines()).map(|row| row.split(',').collect::<Vec<_>>());
    let successes: Vec<_> = rows.filter(|row| row[8] == "success").collect();
    for operation in ["Create", "Get", "Locate"] {
        let mut told_of_all = 0;
        for server in servers.servers.clone() {
            let (name, port) = (&server.name, server.port.to_string());
            let told = successes.iter().filter(|row| row[0] == operation && row[3] == port).count() as u64;
            // It may have done what nobody heard of any more.
            let done = servers.count(name, operation);
            assert!(told <= done, "{operation} on {name}: the trails have {told}, the server {done}");
            told_of_all += told;
        }
        assert!(told_of_all > 0, "no server did any {operation}");
    }
    for row in &successes {
        let at = second_of_day(row[6]);
        let covers = |absence: &&Absence| {
            let since = (at - absence.from).rem_euclid(86_400);
            // A reply that came just before is written just after.
            absence.port.to_string() == row[3] && 1 < since && since < absence.until - absence.from
        };
        let absent = absences.iter().find(covers);
        assert!(absent.is_none(), "{row:?} names a server that could not answer: {absent:?}");
    }
    assert!(trails.iter().all(|trail| keystead::log::verify(&[trail]).unwrap().is_intact()));
}

/// Of a time like `20:15:00`.
fn second_of_day(time: &str) -> i64 {
    time.split(':').fold(0, |seconds, part| seconds * 60 + part.parse::<i64>().unwrap())
}

/// A small generator with a fixed seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}
