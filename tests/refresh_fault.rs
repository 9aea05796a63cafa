//! A fault within the library's own thread costs no key its verification.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyservers::KeyServers;
use keystead::Client;

/// The application's own logger, which is called from all threads of the library, and has a bug.
struct Faulty;

static FAULTS: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Faulty {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let is_refresh = std::thread::current().name() == Some("keystead-refresh");
        if is_refresh && record.args().to_string().contains("brought no answer") {
            FAULTS.fetch_add(1, Ordering::SeqCst);
            panic!("as intended");
        }
    }

    fn flush(&self) {}
}

fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn keys_go_on_being_verified_after_a_panic_in_the_refresh() {
    log::set_logger(&Faulty).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let mut servers = KeyServers::start(1);
    let text = std::fs::read_to_string(&servers.config).unwrap();
    let kept = text.split("\n[").filter(|section| !section.starts_with("failover]"));
    let failover = "[failover]\ndelay = \"10ms\"\nrounds = 2\ndeadline = \"2s\"\n[cache]\nttl = \"400ms\"\n";
    let path = servers.dir.join("faulty.conf");
    std::fs::write(&path, format!("{}\n\n{failover}", kept.collect::<Vec<_>>().join("\n["))).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let client = Client::open(&path).unwrap();
    client.create_key("customer-1").unwrap();
    servers.kill("primary");
    eventually("a fault in the refresh", || FAULTS.load(Ordering::SeqCst) > 0);
    servers.restart("primary");
    let before = client.status().unwrap().cache.refreshes;
    eventually("a verification after it", || client.status().unwrap().cache.refreshes > before);
}
