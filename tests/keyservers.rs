//! The key servers that the other tests rely on, driven from Rust. Their own tests are in `tests/servers`.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::net::TcpStream;

use keyservers::KeyServers;

#[test]
fn a_server_can_be_killed_and_started_again_and_drop_ends_all() {
    let mut servers = KeyServers::start(1);
    let primary = servers.servers[0].clone();
    let connect = || TcpStream::connect((primary.host.as_str(), primary.port));
    connect().expect("it answers");
    assert!(servers.config.is_file());
    assert!(servers.certificate("client-expired").key.is_file());

    servers.kill("primary");
    connect().expect_err("it is dead");
    servers.restart("primary");
    connect().expect("it answers again");
    assert_eq!(servers.count("primary", "Get"), 0);

    let dir = servers.dir.clone();
    drop(servers);
    connect().expect_err("it ended");
    assert!(!dir.exists());
}
