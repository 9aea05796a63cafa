//! A reply that does not arrive, or not whole.

use std::time::{Duration, Instant};

use keystead::client::{Creation, Revocation};
use keystead::{Client, Code};

use super::keyservers::Kind;
use super::proxy::{Ending, Proxy, Then, Weather};
use super::{active, agreed, configured, decrypt, encrypt, id, open, ports, start, warm};

/// Where to cut: the first bytes of each reply, which are the header of a TLS record, its middle and its last byte.
fn places(sizes: &[usize]) -> Vec<usize> {
    let starts = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size)));
    let within = |size: usize| match Kind::Go.is_there() {
        true => vec![0, 1, 4, 5, size / 2, size - 1],
        false => vec![size / 2], // PyKMIP takes its time.
    };
    starts.zip(sizes).flat_map(|(start, size)| within(*size).into_iter().map(move |at| start + at)).collect()
}

/// Where to cut: everywhere within the replies of these positions, and at the places of the others.
fn every_byte(sizes: &[usize], positions: &[usize]) -> Vec<usize> {
    let mut cuts = places(sizes);
    if Kind::Go.is_there() {
        let start = |position: usize| sizes[..position].iter().sum::<usize>();
        cuts.extend(positions.iter().flat_map(|&position| start(position)..start(position + 1)));
    }
    cuts
}

#[test]
fn a_create_whose_replies_are_cut_at_any_byte_makes_one_key() {
    let servers = start(1);
    let proxy = Proxy::start(servers.servers[0].port);
    let (client, other) = (open(&servers, "cut", &[proxy.port]), open(&servers, "straight", &ports(&servers)));
    warm(&client);
    let sizes = proxy.reply_sizes(|| drop(client.create_key("name-0000").unwrap()));
    // Locate, Create, Locate, Get Attributes, Activate, Locate, Get Attributes, Get.
    assert_eq!(sizes.len(), 8, "{sizes:?}");
    for (n, after) in every_byte(&sizes, &[1, 4]).into_iter().enumerate() {
        let name = format!("name-{:04}", n + 1);
        warm(&client);
        proxy.set(Weather::Cut { after, then: Then::Fair });
        let (key, creation) = client.create_key(&name).unwrap_or_else(|error| panic!("cut after {after}: {error}"));
        assert!(proxy.has_cut(), "no reply came to byte {after} of {sizes:?}");
        assert!(creation == Creation::Created || after < sizes[0], "{creation:?} after {after}");
        assert_eq!(agreed(std::slice::from_ref(&other), &name), [1], "cut after {after} of {sizes:?}");
        assert_eq!(decrypt(&other, &encrypt(&key, name.as_bytes())).unwrap(), name.as_bytes());
    }
    active(&other.list_keys().unwrap());
}

#[test]
fn a_destruction_whose_replies_are_cut_at_any_byte_is_done() {
    let servers = start(1);
    let proxy = Proxy::start(servers.servers[0].port);
    let (client, other) = (open(&servers, "cut", &[proxy.port]), open(&servers, "straight", &ports(&servers)));
    let mut number = 0;
    let mut try_at = |cut: Option<usize>| {
        number += 1;
        let name = format!("name-{number:04}");
        let message = encrypt(&other.create_key(&name).unwrap().0, b"value");
        other.revoke_key(&id(&name, 1), Revocation::CessationOfOperation).unwrap();
        warm(&client);
        let sizes = proxy.reply_sizes(|| {
            if let Some(after) = cut {
                proxy.set(Weather::Cut { after, then: Then::Fair });
            }
            client.destroy_key(&id(&name, 1)).unwrap_or_else(|error| panic!("cut after {cut:?}: {error}"));
        });
        assert!(proxy.has_cut(), "no reply came to byte {cut:?}");
        assert!(decrypt(&client, &message).is_err(), "cut after {cut:?}");
        assert!(other.show_key(&name).unwrap().iter().all(|found| found.state == "destroyed"));
        sizes
    };
    let sizes = try_at(None);
    let last = sizes.len() - 1;
    for after in every_byte(&sizes, &[last]) {
        try_at(Some(after));
    }
}

#[test]
fn a_create_and_a_rotation_go_on_elsewhere_when_the_server_dies_within_a_reply() {
    let servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let proxy = Proxy::start(primary);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let mut n = 0;
    let mut try_at = |cut: Option<usize>, rotates: bool| {
        n += 1;
        let name = format!("name-{n:04}");
        // A client of its own: one that knows of the death would pass the server over.
        let client = open(&servers, "dies", &[proxy.port, secondary]);
        if rotates {
            client.create_key(&name).unwrap();
        }
        warm(&client);
        let mut key = None;
        let sizes = proxy.reply_sizes(|| {
            if let Some(after) = cut {
                proxy.set(Weather::Cut { after, then: Then::Down });
            }
            let made = if rotates { client.rotate_key(&name) } else { client.create_key(&name).map(|made| made.0) };
            key = Some(made.unwrap_or_else(|error| panic!("cut after {cut:?}: {error}")));
        });
        assert!(cut.is_none() || proxy.has_cut(), "no reply came to byte {cut:?}");
        let message = encrypt(&key.unwrap(), b"value");
        proxy.set(Weather::Fair);
        let versions = agreed(&alone, &name);
        assert!(versions.len() > usize::from(rotates), "{versions:?}");
        for client in &alone {
            assert_eq!(decrypt(client, &message).unwrap(), b"value");
            assert_eq!(client.create_key(&name).unwrap().1, Creation::Existed);
        }
        agreed(&alone, &name);
        sizes
    };
    for rotates in [false, true] {
        for after in places(&try_at(None, rotates)) {
            try_at(Some(after), rotates);
        }
    }
}

#[test]
fn a_destruction_whose_reply_is_lost_is_done_or_said_to_be_uncertain() {
    let servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let proxy = Proxy::start(primary);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let mut n = 0;
    let mut try_at = |cut: Option<(usize, Then)>| {
        n += 1;
        let name = format!("name-{n:04}");
        let client = open(&servers, "destroys", &[proxy.port, secondary]);
        let message = encrypt(&client.create_key(&name).unwrap().0, b"value");
        client.revoke_key(&id(&name, 1), Revocation::CessationOfOperation).unwrap();
        let mut outcome = Ok(());
        let sizes = proxy.reply_sizes(|| {
            if let Some((after, then)) = cut {
                proxy.set(Weather::Cut { after, then });
            }
            outcome = client.destroy_key(&id(&name, 1));
        });
        proxy.set(Weather::Fair);
        match (cut, outcome) {
            (Some((_, Then::Down)), Err(error)) => assert_eq!(error.code(), Code::NoServer, "{error}"),
            (_, outcome) => outcome.unwrap_or_else(|error| panic!("cut {cut:?}: {error}")),
        }
        // Whoever was told that it is uncertain asks again.
        if let Err(error) = client.destroy_key(&id(&name, 1)) {
            assert_eq!(error.code(), Code::KeyNotFound, "{error}");
        }
        for client in &alone {
            assert!(decrypt(client, &message).is_err(), "cut {cut:?}");
        }
        sizes
    };
    for after in places(&try_at(None)) {
        for then in [Then::Fair, Then::Down] {
            try_at(Some((after, then)));
        }
    }
}

#[test]
fn a_create_that_a_server_never_answers_is_made_elsewhere_within_the_deadline() {
    let servers = start(2);
    let [primary, secondary] = ports(&servers)[..] else { unreachable!() };
    let proxy = Proxy::start(primary);
    let alone = [primary, secondary].map(|port| open(&servers, &format!("alone-{port}"), &[port]));
    let client = open(&servers, "measures", &[proxy.port, secondary]);
    warm(&client);
    let sizes = proxy.reply_sizes(|| drop(client.create_key("measure").unwrap()));
    let starts: Vec<usize> = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size))).collect();
    for (n, after) in starts.into_iter().enumerate() {
        let client = Client::open(&configured(&servers, "hangs", &[proxy.port, secondary], "4s")).unwrap();
        warm(&client);
        let name = format!("name-{n}");
        proxy.set(Weather::Cut { after, then: Then::Silence });
        let start = Instant::now();
        let (key, _) = client.create_key(&name).unwrap_or_else(|error| panic!("silent after {after}: {error}"));
        assert!(proxy.has_cut() && start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        proxy.end(Ending::Reset);
        proxy.set(Weather::Fair);
        agreed(&alone, &name);
        let message = encrypt(&key, b"value");
        alone.iter().for_each(|client| assert_eq!(decrypt(client, &message).unwrap(), b"value"));
    }
}
