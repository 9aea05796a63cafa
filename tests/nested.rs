//! What is encrypted twice: a message or stream within another, each layer with a key of its own.

#[path = "common/keyservers.rs"]
mod keyservers;
#[path = "common/tool.rs"]
mod tool;

use keyservers::KeyServers;
use keystead::client::{Client, Key};
use keystead::envelope::{message, stream};
use tool::{fail, json, succeed, tool};

const SECRET: &[u8] = b"Ada Lovelace";

fn encrypt(key: &Key, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut out = vec![0; key.encrypted_size(plaintext.len()).unwrap()];
    key.encrypt(plaintext, aad, &mut out).unwrap();
    out
}

fn encrypt_stream(key: &Key, plaintext: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 2 * plaintext.len() + 2 * stream::ROOM];
    let mut encryptor = key.encrypt_stream(b"").unwrap();
    let size = encryptor.update(plaintext, &mut out).unwrap();
    let last = encryptor.finish(&mut out[size..]).unwrap();
    out.truncate(size + last);
    out
}

fn decrypt(client: &Client, message: &[u8], aad: &[u8], expect: &str) -> keystead::Result<Vec<u8>> {
    let mut out = vec![0; message.len()];
    let size = client.decrypt(message, aad, expect, &mut out)?;
    out.truncate(size);
    Ok(out)
}

fn decrypt_stream(client: &Client, stream: &[u8]) -> Vec<u8> {
    let mut decryptor = client.decrypt_stream(stream, b"", "*").unwrap();
    let mut out = vec![0; stream.len() + stream::ROOM];
    let size = decryptor.update(&stream[decryptor.header_size()..], &mut out).unwrap();
    decryptor.finish().unwrap();
    out.truncate(size);
    out
}

fn contains(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|window| window == what.as_bytes())
}

#[test]
fn a_message_in_a_message_shows_one_layer_at_a_time_and_opens_from_the_outside_in() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let [field, row] = ["field", "row"].map(|name| client.create_key(name).unwrap().0);
    let inner = encrypt(&field, SECRET, b"name");
    let outer = encrypt(&row, &inner, b"customers/42");

    let said = message::inspect(&outer).unwrap();
    assert_eq!((said.key.as_str(), said.plaintext_size), ("row/1", inner.len()));
    assert!(!contains(&outer, "field/1"), "of what is within, nothing is seen but the length");
    assert!(contains(&inner, "field/1"), "or the line above shows nothing");

    let opened = decrypt(&client, &outer, b"customers/42", "row").unwrap();
    assert_eq!(opened, inner);
    assert_eq!(message::inspect(&opened).unwrap().key, "field/1");
    assert_eq!(decrypt(&client, &opened, b"name", "field").unwrap(), SECRET);
    // One decryption opens one layer, and one layer's key and associated data are not the other's.
    assert!(decrypt(&client, &outer, b"name", "*").is_err());
    assert!(decrypt(&client, &outer, b"customers/42", "field").is_err());
    assert!(decrypt(&client, &opened, b"customers/42", "*").is_err());
    assert!(message::inspect(SECRET).is_err(), "the innermost is no message");
}

#[test]
fn messages_and_streams_nest_in_each_other() {
    let servers = KeyServers::start(1);
    let client = Client::open(&servers.config).unwrap();
    let [inner, outer] = ["inner", "outer"].map(|name| client.create_key(name).unwrap().0);
    let long: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();

    let message_in_stream = encrypt_stream(&outer, &encrypt(&inner, &long, b""));
    assert_eq!(stream::inspect(&message_in_stream, message_in_stream.len() as u64).unwrap().key, "outer/1");
    let opened = decrypt_stream(&client, &message_in_stream);
    assert!(!stream::is_stream(&opened) && message::is_message(&opened));
    assert!(decrypt(&client, &opened, b"", "inner").unwrap() == long);

    let stream_in_message = encrypt(&outer, &encrypt_stream(&inner, &long), b"");
    let opened = decrypt(&client, &stream_in_message, b"", "outer").unwrap();
    assert_eq!(stream::inspect(&opened, opened.len() as u64).unwrap().plaintext_size, long.len() as u64);
    assert!(decrypt_stream(&client, &opened) == long);

    let stream_in_stream = encrypt_stream(&outer, &encrypt_stream(&inner, &long));
    assert!(decrypt_stream(&client, &decrypt_stream(&client, &stream_in_stream)) == long);
    for nested in [message_in_stream, stream_in_message, stream_in_stream] {
        assert!(!contains(&nested, "inner/1"));
    }
}

#[test]
fn the_tool_tells_the_layers_of_a_file_apart_and_shows_none_of_what_is_in_them() {
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    let file = |name: &str| servers.dir.join(name).to_str().unwrap().to_owned();
    for name in ["field", "file"] {
        succeed(config, &["key", "create", name], b"");
    }
    let nested = file("nested");
    let inner = succeed(config, &["encrypt", "--key", "field", "--aad", "name"], SECRET);
    succeed(config, &["encrypt", "--key", "file", "-o", &nested], &inner);
    let kinds = |layers: &serde_json::Value| -> Vec<String> {
        let text = |layer: &serde_json::Value| format!("{} {}", layer["kind"], layer["key"]).replace('"', "");
        layers.as_array().unwrap().iter().map(text).collect()
    };

    let outside = succeed(config, &["--json", "inspect", &nested], b"");
    assert_eq!(json(&outside)["key"], "file/1");
    assert!(!contains(&outside, "field"));
    let shown = succeed(config, &["--json", "inspect", "--layers", "--aad", "", "--aad", "name", &nested], b"");
    let layers = json(&shown);
    assert_eq!(kinds(&layers), ["message file/1", "message field/1", "plaintext null"]);
    assert_eq!(layers[2]["size"], SECRET.len());
    let shown = succeed(config, &["inspect", "--layers", "--aad", "", "--aad", "name", &nested], b"");
    let lines = ["layer 1\n", "layer 2\n", "layer 3\n", "file/1\n", "field/1\n", "12 bytes\n"];
    assert!(lines.iter().all(|line| contains(&shown, line)), "{}", String::from_utf8_lossy(&shown));
    assert!(!contains(&shown, "Ada"));

    let refusal = fail(Some(config), &["inspect", "--layers", &nested], b"");
    assert!(refusal.contains("layer 2, encrypted with field/1, cannot be opened"), "{refusal}");
    let pipe = ["inspect", "--layers", "/dev/stdin"];
    assert!(fail(Some(config), &pipe, &inner).contains("save it to a file"));
    assert!(fail(None, &["inspect", "--layers", &nested], b"").contains("no configuration was named"));
    assert_eq!(tool(Some(config), &["inspect", "--layers"], &inner).status.code(), Some(2));

    // What is larger than a message of the tool becomes a stream, and so does the message that just fits.
    for (size, expected) in [
        (200_000, ["stream file/1", "stream field/1", "plaintext null"]),
        (65_536, ["stream file/1", "message field/1", "plaintext null"]),
    ] {
        let inner = succeed(config, &["encrypt", "--key", "field"], &vec![7; size]);
        succeed(config, &["encrypt", "--key", "file", "-o", &nested], &inner);
        let layers = json(&succeed(config, &["--json", "inspect", "--layers", &nested], b""));
        assert_eq!((kinds(&layers), &layers[2]["size"]), (expected.map(String::from).to_vec(), &size.into()));
        // All of it is authenticated, to the end.
        let mut bytes = std::fs::read(&nested).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&nested, bytes).unwrap();
        let refusal = fail(Some(config), &["inspect", "--layers", &nested], b"");
        assert!(refusal.contains("the stream is not intact"), "{refusal}");
    }
}

#[test]
fn a_layer_of_a_data_space_opens_with_the_file_of_its_key() {
    if keyservers::is_pinned_below_data_spaces() {
        return; // These have no data spaces.
    }
    let servers = KeyServers::start(1);
    let config = servers.config.as_path();
    let path = |name: &str| servers.dir.join(name).to_str().unwrap().to_owned();
    let (dek, nested) = (path("archive.dek"), path("nested"));
    succeed(config, &["key", "create", "field"], b"");
    succeed(config, &["key", "create", "--kek", "master"], b"");
    succeed(config, &["space", "create", "--kek", "master", &dek], b"");
    let inner = succeed(config, &["encrypt", "--key", "field"], SECRET);
    succeed(config, &["encrypt", "--space", &dek, "-o", &nested], &inner);
    assert!(
        fail(Some(config), &["inspect", "--layers", &nested], b"").contains("layer 1, encrypted with space:archive/1")
    );
    let layers = json(&succeed(config, &["--json", "inspect", "--layers", "--space", &dek, &nested], b""));
    assert_eq!((&layers[0]["key"], &layers[1]["key"]), (&"space:archive/1".into(), &"field/1".into()));

    // The key in a protected DEK is no layer to be opened.
    let layers = json(&succeed(config, &["--json", "inspect", "--layers", &dek], b""));
    assert_eq!((layers.as_array().unwrap().len(), &layers[0]["kind"]), (1, &"protected DEK".into()));
    succeed(config, &["encrypt", "--key", "field", "-o", &nested], &std::fs::read(&dek).unwrap());
    let layers = json(&succeed(config, &["--json", "inspect", "--layers", &nested], b""));
    assert_eq!((layers.as_array().unwrap().len(), &layers[1]["key"]), (2, &"space:archive/1".into()));
}
