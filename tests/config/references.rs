//! Certificates, keys, passwords and fingerprints that the configuration refers to.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use keystead::Code;
use keystead::config::{Config, Fingerprint, Trust};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::site::{Site, minimal, set_mode};

const FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// The folder of credentials that this process has; where it has none, runs `test` in a process that has one, with the
/// same PEM texts in its environment. A process cannot change its own while other threads read it.
fn service(test: &str) -> Option<PathBuf> {
    if let Some(folder) = env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let site = Site::new();
    let folder = site.path("credentials");
    fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o500);
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, &folder).env("KEYSTEAD_TEST_PASSWORD", "correct horse");
    for (name, file, variable) in [
        ("ca", "ca.pem", "KEYSTEAD_TEST_CA"),
        ("certificate", "client.pem", "KEYSTEAD_TEST_CERTIFICATE"),
        ("key", "client.key", "KEYSTEAD_TEST_KEY"),
    ] {
        let text = fs::read_to_string(site.path(file)).unwrap();
        credential(&folder, name, &text);
        command.env(variable, text);
    }
    credential(&folder, "password", "correct horse\n");
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("1 passed"), "there is no test {test}: {printed}");
    None
}

fn credential(folder: &Path, name: &str, text: &str) {
    set_mode(folder, 0o700);
    fs::write(folder.join(name), text).unwrap();
    set_mode(&folder.join(name), 0o400);
    set_mode(folder, 0o500);
}

fn text(ca: &str, certificate: &str, key: &str, password: &str) -> String {
    minimal("strict").replace("ca.pem", ca).replace("client.pem", certificate).replace("client.key", key)
        + &format!("user = \"u\"\npassword = \"{password}\"\n")
}

fn check(config: &Config) {
    let server = &config.servers[0];
    assert_eq!(server.tls.common_name, "client of orders");
    assert_eq!(server.password.as_ref().unwrap().expose(), "correct horse");
    assert!(matches!(&server.tls.trust, Trust::Authorities(authorities) if authorities.roots.len() == 1));
}

#[test]
fn everything_may_come_from_the_environment_or_from_credentials() {
    let Some(folder) = service("references::everything_may_come_from_the_environment_or_from_credentials") else {
        return;
    };
    let site = Site::new();
    let credentials = text("cred:ca", "cred:certificate", "cred:key", "cred:password");
    let variables = text(
        "env:KEYSTEAD_TEST_CA",
        "env:KEYSTEAD_TEST_CERTIFICATE",
        "env:KEYSTEAD_TEST_KEY",
        "env:KEYSTEAD_TEST_PASSWORD",
    );
    check(&site.load(&credentials).unwrap().0);
    check(&site.load(&variables).unwrap().0);
    check(
        &site
            .load(&text("cred:ca", "env:KEYSTEAD_TEST_CERTIFICATE", "cred:key", "env:KEYSTEAD_TEST_PASSWORD"))
            .unwrap()
            .0,
    );

    let conf = site.path("keystead.conf");
    site.refused(&variables.replace("TEST_KEY", "TEST_NO_KEY"))
        .is(Code::ConfigInvalid, &conf)
        .at(8, 14)
        .says(&["KEYSTEAD_TEST_NO_KEY holds no text", "set it"]);
    site.refused(&variables.replace("env:KEYSTEAD_TEST_KEY", "env:KEYSTEAD_TEST_CA"))
        .is(Code::CertificateInvalid, &conf)
        .says(&["the environment variable of `client_key`", "line 8), KEYSTEAD_TEST_CA holds no private key"]);
    site.refused(&credentials.replace("cred:key", "cred:no-key"))
        .is(Code::ConfigUnreadable, &folder.join("no-key"))
        .says(&["the systemd credential of `client_key`", "line 8", "LoadCredential=no-key:/path"]);
    site.refused(&credentials.replace("cred:key", "cred:ca"))
        .is(Code::CertificateInvalid, &folder.join("ca"))
        .says(&["holds no private key"]);
}

#[test]
fn a_credential_is_held_to_its_owner_and_mode() {
    let Some(folder) = service("references::a_credential_is_held_to_its_owner_and_mode") else { return };
    let site = Site::new();
    let text = text("cred:ca", "cred:certificate", "cred:key", "cred:password");
    let key = folder.join("key");
    for mode in [0o404, 0o444, 0o420, 0o450] {
        set_mode(&key, mode);
        site.refused(&text).is(Code::FileExposed, &key).says(&["`client_key`", &format!("mode {mode:04o}")]);
    }
    // An access control list for the service's user looks like this.
    set_mode(&key, 0o440);
    if fs::metadata(&key).unwrap().uid() == 0 {
        chown(&key, None, Some(0)).unwrap();
        check(&site.load(&text).unwrap().0);
        chown(&key, None, Some(1)).unwrap();
        site.refused(&text).is(Code::FileExposed, &key);
        chown(&key, Some(12345), None).unwrap();
        site.refused(&text).is(Code::FileExposed, &key).says(&["belongs to user 12345"]);
    } else {
        site.refused(&text).is(Code::FileExposed, &key);
    }
}

#[test]
fn a_credential_outside_of_a_service_is_refused_with_its_remedy() {
    if env::var_os(FOLDER).is_some() {
        return;
    }
    let site = Site::new();
    site.refused(&minimal("strict").replace("client.key", "cred:key"))
        .is(Code::ConfigInvalid, &site.path("keystead.conf"))
        .at(8, 14)
        .says(&["$CREDENTIALS_DIRECTORY is not set", "LoadCredential=key:/path", "`file:`"]);
}

#[test]
fn a_file_may_be_named_as_a_reference() {
    let site = Site::new();
    site.write("password", "correct horse\r\n", 0o600);
    let key = format!("file:{}", site.path("client.key").display());
    check(&site.load(&text("file:ca.pem", "file:client.pem", &key, "file:password")).unwrap().0);
}

#[test]
fn a_fingerprint_is_taken_as_openssl_prints_it() {
    let site = Site::new();
    let pem = fs::read(site.path("other.pem")).unwrap();
    let fingerprint = Fingerprint::of(&CertificateDer::from_pem_slice(&pem).unwrap());
    let shown = fingerprint.to_string();
    let hex = shown.strip_prefix("sha256:").unwrap();
    let pairs: Vec<&str> = (0..32).map(|i| &hex[2 * i..2 * i + 2]).collect();
    let colons = pairs.join(":").to_uppercase();
    let pins = |value: &str| {
        let (config, _) = site.load(&minimal("strict").replace("\"ca.pem\"", value)).unwrap();
        match &config.servers[0].tls.trust {
            Trust::Pins(pins) => pins.to_vec(),
            Trust::Authorities(_) => panic!("{value} is no fingerprint"),
        }
    };
    assert_eq!(pins(&format!("\"{shown}\"")), [fingerprint]);
    assert_eq!(pins(&format!("\"sha256:{colons}\"")), [fingerprint]);
    let other = Fingerprint::of(b"another");
    assert_eq!(pins(&format!("[\"{shown}\", \"{other}\"]")), [fingerprint, other]);
    for wrong in
        [&hex[1..], &format!("{hex}0"), &colons[1..], &format!("{colons}:"), &hex.replacen(&hex[..1], "g", 1), ""]
    {
        site.refused(&minimal("strict").replace("ca.pem", &format!("sha256:{wrong}"))).at(6, 18);
    }
}
