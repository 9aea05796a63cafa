//! What a key server says of itself, and what is made of it.

use std::sync::Arc;

use keystead::Error;
use keystead::cluster::{Cluster, Journal};
use keystead::config;
use keystead::kmip::{Capabilities, Create, DiscoverVersions, Encrypt, Get, Operation, Query, Rung};
use keystead::log::Log;

use crate::keyservers::{KeyServers, Kind};
use crate::{connect, done, soon};

#[test]
fn a_server_describes_itself_and_its_version_decides_how_keys_are_protected() {
    let servers = KeyServers::start(1);
    let mut connection = connect(&servers);
    let version = connection.version();
    let description = done(&mut connection, &Query);
    let vendor = match KeyServers::kind() {
        Kind::PyKmip => "PyKMIP",
        Kind::Go => "Keystead test server",
    };
    assert!(description.vendor.as_ref().is_some_and(|said| said.contains(vendor)), "{description:?}");
    let has = |operation| description.operations.contains(&operation);
    assert!(has(Create::CODE) && has(Get::CODE) && has(Query::CODE));
    assert_eq!(has(DiscoverVersions::CODE), version.minor >= 1);
    assert_eq!(has(Encrypt::CODE), version.minor >= 2);

    let capabilities = Capabilities { version, description: Some(description) };
    let best = [None, None, Some(Rung::CbcMac), Some(Rung::CbcMac), Some(Rung::Gcm)][usize::from(version.minor)];
    assert_eq!(capabilities.best_rung(), best);
}

#[test]
fn a_server_is_asked_what_it_can_do_once_and_again_when_it_comes_back() {
    let mut servers = KeyServers::start(1);
    let (config, _) = config::load(&servers.config).unwrap();
    let log = Arc::new(Log::open(&config.log, "capabilities").unwrap());
    let cluster = Cluster::new(&config, Journal { log, audit: None }).unwrap();
    let first = cluster.capabilities(0, soon()).map_err(Error::from).unwrap();
    let again = cluster.capabilities(0, soon()).map_err(Error::from).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "it was remembered");
    assert_eq!(servers.count("primary", "Query"), 1);
    assert_eq!(cluster.server(0).health().capabilities.as_ref(), Some(&first));

    servers.kill("primary");
    cluster.probe(soon()); // It is noticed that the server is gone.
    assert_eq!(cluster.server(0).health().capabilities, None);
    servers.restart("primary");
    let anew = cluster.capabilities(0, soon()).map_err(Error::from).unwrap();
    assert_eq!(anew, first, "it is the same server");
}
