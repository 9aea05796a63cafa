//! What the configuration says of trust, against a real key server.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keyservers::KeyServers;
use keystead::config::Fingerprint;
use keystead::{Client, Code};
use pkcs8::pkcs5::pbes2::Parameters;
use pkcs8::{LineEnding, PrivateKeyInfo, SecretDocument};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The harness's configuration with each `old` value replaced, in a file of its own.
fn configured(servers: &KeyServers, replaced: &[(&Path, &str)]) -> PathBuf {
    let mut text = fs::read_to_string(&servers.config).unwrap();
    for (old, new) in replaced {
        let old = format!("\"{}\"", old.display());
        assert!(text.contains(&old), "{old} is not in: {text}");
        text = text.replace(&old, new);
    }
    private(&servers.dir, "trust.conf", &text)
}

fn private(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_server_that_only_its_fingerprint_vouches_for_serves_and_another_is_refused() {
    let mut servers = KeyServers::start(1);
    let stranger = servers.certificate("server-wrong-ca").certificate;
    let stranger = Fingerprint::of(&CertificateDer::from_pem_file(stranger).unwrap());
    servers.kill("primary");
    servers.restart_with("primary", "server-wrong-ca");

    let refused = Client::open(&servers.config).unwrap().create_key("orders").err().unwrap();
    assert!(refused.message().contains("not by a configured CA"), "{refused:?}");

    let pinned = configured(&servers, &[(&servers.ca, &format!("\"{stranger}\""))]);
    Client::open(&pinned).unwrap().create_key("orders").unwrap();

    servers.kill("primary");
    servers.restart("primary");
    let refused = Client::open(&pinned).unwrap().create_key("orders").err().unwrap();
    println!("{refused:?}");
    assert_eq!(refused.code(), Code::ServerUntrusted);
    assert!(refused.message().contains(&format!("not {stranger}; check that")), "{refused:?}");
}

#[test]
fn a_client_with_a_protected_key_is_served() {
    let servers = KeyServers::start(1);
    let key = fs::read_to_string(&servers.client_key).unwrap();
    let (_, document) = SecretDocument::from_pem(&key).unwrap();
    let how = Parameters::pbkdf2_sha256_aes256cbc(1000, &[7; 16], &[9; 16]).unwrap();
    let key = PrivateKeyInfo::try_from(document.as_bytes()).unwrap().encrypt_with_params(how, "correct horse").unwrap();
    private(&servers.dir, "protected.key", &key.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap());
    private(&servers.dir, "key-password", "correct horse\n");
    let named = "\"protected.key\"\nclient_key_password = \"file:key-password\"";
    let config = configured(&servers, &[(&servers.client_key, named)]);
    Client::open(&config).unwrap().create_key("orders").unwrap();
}
