//! What is promised of columns: messages of several keys and versions in one call.

#[path = "common/keyservers.rs"]
mod keyservers;

use keyservers::KeyServers;
use keystead::client::Key;
use keystead::envelope::message;
use keystead::{Client, Code, Result};

type Column = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(column: &Column) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    column.iter().map(|(value, aad)| (value.as_slice(), aad.as_slice()))
}

fn encrypt(key: &Key, plaintext: &[u8], aad: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    let size = key.encrypt(plaintext, aad, &mut out).unwrap();
    out.truncate(size);
    (out, aad.to_vec())
}

type Call<'a> = &'a dyn Fn(&Column, &mut [u8], &mut [usize]) -> Result<usize>;

/// What a call makes of a column. A failed one leaves nothing behind.
fn run(column: &Column, call: Call<'_>) -> Result<Vec<Vec<u8>>> {
    let (mut out, mut offsets) = (vec![0xaa; 1 << 20], vec![9; column.len() + 1]);
    let outcome = call(column, &mut out, &mut offsets);
    if outcome.is_err() {
        assert!(out.iter().all(|&b| b == 0) && offsets.iter().all(|&o| o == 0), "a failed call left something");
    }
    outcome.map(|_| offsets.windows(2).map(|pair| out[pair[0]..pair[1]].to_vec()).collect())
}

fn decrypt(client: &Client, column: &Column, expect: &str) -> Result<Vec<Vec<u8>>> {
    run(column, &|column, out, offsets| client.decrypt_many(pairs(column), expect, out, offsets))
}

fn reencrypt(client: &Client, column: &Column, expect: &str) -> Result<Vec<Vec<u8>>> {
    run(column, &|column, out, offsets| client.reencrypt_many(pairs(column), expect, out, offsets))
}

/// Rows of two customers, the first of whom has three versions of a key.
fn column(client: &Client) -> Column {
    let ada = client.create_key("customer-1").unwrap().0;
    let zoe = client.create_key("customer-2").unwrap().0;
    let mut rows = Vec::new();
    for version in 1..=3 {
        for n in 0..5_u8 {
            let key = if n == 2 { &zoe } else { &ada };
            rows.push(encrypt(key, &vec![version; usize::from(n) * 100], format!("row {version} {n}").as_bytes()));
        }
        if version < 3 {
            client.rotate_key("customer-1").unwrap();
        }
    }
    rows
}

fn expected() -> Vec<Vec<u8>> {
    (1..=3).flat_map(|version| (0..5).map(move |n| vec![version; n * 100])).collect()
}

#[test]
fn a_column_of_several_keys_and_versions_is_decrypted_in_one_call() {
    let mut servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let mut rows = column(&client);
    drop(client);

    let client = Client::open(&servers.config).unwrap();
    let before = servers.count("primary", "Get");
    assert_eq!(decrypt(&client, &rows, "customer-*").unwrap(), expected());
    assert_eq!(servers.count("primary", "Get") - before, 4, "each key is got once");
    assert_eq!(decrypt(&client, &Vec::new(), "*").unwrap(), Vec::<Vec<u8>>::new());

    rows[7].0[30] ^= 1;
    let error = decrypt(&client, &rows, "*").unwrap_err();
    assert!(error.code() == Code::NotAuthentic && error.message().contains("value 7"), "{error}");
    rows[4].0.pop();
    let error = decrypt(&client, &rows, "*").unwrap_err();
    assert!(error.code() == Code::NotAuthentic && error.message().contains("value 4"), "{error}");
    assert_eq!(
        client.decrypt_many(pairs(&rows), "*", &mut [0; 9], &mut [0; 3]).unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[test]
fn a_column_with_a_message_of_another_key_is_refused_before_any_key_server_is_asked() {
    let mut servers = KeyServers::start(1);
    let rows = column(&Client::open(&servers.config).unwrap());
    let client = Client::open(&servers.config).unwrap();
    let before = servers.count("primary", "Locate");
    for call in [decrypt, reencrypt] {
        let error = call(&client, &rows, "customer-1").unwrap_err();
        assert!(error.code() == Code::WrongKey && error.message().contains("customer-2/1"), "{error}");
    }
    assert_eq!(servers.count("primary", "Locate"), before);
}

#[test]
fn what_is_moved_to_the_newest_version_reads_as_before_and_what_has_it_is_not_touched() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let mut rows = column(&client);
    let moved = reencrypt(&client, &rows, "customer-*").unwrap();
    for (message, (before, _)) in moved.iter().zip(&rows) {
        let newest = if before.windows(10).any(|part| part == b"customer-2") { "customer-2/1" } else { "customer-1/3" };
        assert_eq!(message::key_id(message).unwrap().to_string(), newest);
        assert_eq!(message == before, message::key_id(before).unwrap().to_string() == newest);
    }
    for (row, message) in rows.iter_mut().zip(moved) {
        row.0 = message;
    }
    assert_eq!(decrypt(&client, &rows, "*").unwrap(), expected());
    let error = client.reencrypt_many(pairs(&rows), "*", &mut [0; 100], &mut vec![0; rows.len() + 1]).unwrap_err();
    assert_eq!(error.needed(), Some(rows.iter().map(|row| row.0.len()).sum()));

    rows[1].1.push(1);
    assert_eq!(reencrypt(&client, &rows, "*").unwrap().len(), rows.len(), "what is not moved is not opened");
    client.rotate_key("customer-1").unwrap();
    let error = reencrypt(&client, &rows, "*").unwrap_err();
    assert!(error.code() == Code::NotAuthentic && error.message().contains("value 1"), "{error}");
}
