//! Private keys under a password.

use std::fs;

use keystead::Code;
use pkcs8::pkcs5::pbes2::Parameters;
use pkcs8::{LineEnding, PrivateKeyInfo, SecretDocument};

use crate::site::{Site, ids, minimal};

const PASSWORD: &str = "correct horse";

/// The same key under a password. Few rounds: how many there are is no matter here.
fn protected(key: &str, password: &str) -> String {
    let (_, document) = SecretDocument::from_pem(key).unwrap();
    let how = Parameters::pbkdf2_sha256_aes256cbc(1000, &[7; 16], &[9; 16]).unwrap();
    let key = PrivateKeyInfo::try_from(document.as_bytes()).unwrap().encrypt_with_params(how, password).unwrap();
    key.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap().to_string()
}

/// A site whose client key is protected, and the text that gives its password.
fn site() -> (Site, String) {
    let site = Site::new();
    let key = fs::read_to_string(site.path("client.key")).unwrap();
    site.write("client.key", &protected(&key, PASSWORD), 0o600);
    site.write("key-password", &format!("{PASSWORD}\n"), 0o600);
    let text =
        minimal("strict").replace("\n\n[[server]]", "\nclient_key_password = \"file:key-password\"\n\n[[server]]");
    (site, text)
}

#[test]
fn a_protected_key_is_opened_with_its_password() {
    let (site, text) = site();
    let (config, findings) = site.load(&text).unwrap();
    assert_eq!(config.servers[0].tls.common_name, "client of orders");
    assert!(!ids(&findings).contains(&"plain-password"), "{findings:?}");
}

#[test]
fn a_password_in_the_configuration_is_told_once() {
    let (site, text) = site();
    let text = text.replace("file:key-password", PASSWORD) + "[[server]]\nhost = \"kms2.example.com\"\n";
    let (config, findings) = site.load(&text).unwrap();
    assert_eq!(ids(&findings).iter().filter(|id| **id == "plain-password").count(), 1, "{findings:?}");
    assert!(!format!("{config:?} {findings:?}").contains(PASSWORD));
    assert!(findings[0].message.contains("client_key_password = \"file:/path\""), "{findings:?}");
}

#[test]
fn a_server_may_have_a_protected_key_of_its_own() {
    let (site, text) = site();
    let key = fs::read_to_string(site.path("other.key")).unwrap();
    site.write("other.key", &protected(&key, "battery staple"), 0o600);
    site.write("other-password", "battery staple", 0o600);
    let own = "client_certificate = \"other.pem\"\nclient_key = \"other.key\"\n";
    let (config, _) = site.load(&(text.clone() + own + "client_key_password = \"file:other-password\"\n")).unwrap();
    assert_eq!(config.servers[0].tls.common_name, "other of orders");
    site.refused(&(text + own)).is(Code::CertificateInvalid, &site.path("other.key")).says(&["does not open"]);
}

#[test]
fn a_second_servers_wrong_password_for_the_same_key_is_noticed() {
    let (site, text) = site();
    site.write("other-password", "battery staple", 0o600);
    let second = "[[server]]\nhost = \"kms2.example.com\"\nclient_key_password = \"file:other-password\"\n";
    site.refused(&(text.clone() + second))
        .is(Code::CertificateInvalid, &site.path("client.key"))
        .says(&["does not open"]);
    site.write("other-password", PASSWORD, 0o600);
    site.load(&(text + second)).unwrap();
}

#[test]
fn a_wrong_password_and_a_missing_one_are_told_apart() {
    let (site, text) = site();
    for wrong in ["incorrect horse", "correct horse ", "Correct horse"] {
        site.write("key-password", wrong, 0o600);
        let refusal = site.refused(&text);
        println!("{}", refusal.message);
        refusal.is(Code::CertificateInvalid, &site.path("client.key")).says(&[
            "`client_key_password` does not open",
            "correct that password",
            "line 8",
        ]);
        assert!(!refusal.message.contains(wrong));
    }
    site.refused(&minimal("strict"))
        .is(Code::CertificateInvalid, &site.path("client.key"))
        .says(&["password-protected", "add `client_key_password`"]);
    site.write("key-password", "\n", 0o600);
    site.refused(&text).is(Code::ConfigInvalid, &site.path("keystead.conf")).says(&["the password is empty"]);
    fs::remove_file(site.path("key-password")).unwrap();
    site.refused(&text)
        .is(Code::ConfigUnreadable, &site.path("key-password"))
        .says(&["`client_key_password`", "put the file there"]);
}

#[test]
fn a_damaged_protected_key_is_refused() {
    let (site, text) = site();
    let whole = fs::read_to_string(site.path("client.key")).unwrap();
    for (damaged, words) in [
        (whole[..whole.len() / 2].to_owned(), "cut short"),
        (whole.replacen('M', "!", 1), "damaged private key"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".into(), "private key"),
    ] {
        site.write("client.key", &damaged, 0o600);
        let refusal = site.refused(&text);
        println!("{}", refusal.message);
        refusal.is(Code::CertificateInvalid, &site.path("client.key")).says(&[words]);
    }
}

#[test]
fn keys_that_openssl_protected_are_opened_unless_with_a_cipher_of_old() {
    let (site, text) = site();
    // All hold the same key, which is not that of the certificate: it takes the opened key to find out.
    for (key, words) in [
        (AES, "is not the key of the certificate"),
        (SCRYPT, "is not the key of the certificate"),
        (TRIPLE_DES, "protected in a way which is not supported"),
    ] {
        site.write("client.key", key, 0o600);
        site.refused(&text).is(Code::CertificateInvalid, &site.path("client.key")).says(&[words]);
    }
}

/// `openssl pkcs8 -topk8 -v2 aes-256-cbc`, OpenSSL 3.0: PBKDF2 with SHA-256.
const AES: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhcGSlRHiiXAwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEOp1EQYCA0X11EzmFzfVBrsEgZAr
10VH4oZJWPS+tqlMC1ejvh3DA923LHuIUws4z/oY/QJLam0X8qh3Ve8H8Asagiyj
gG4D4GLfW7a3Bae6oq9xpf50xVSwd0AoZjVpUjJF7XbvXvcaokXUO8w9mt9spG/1
pWHVxWWPpi0Zo++Q4e9uJHo84z9M0kZss/fLbPjaYkD3vGQtRsVznTn8LAspo6k=
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -scrypt`
const SCRYPT: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAj6f2rYvqtpAwICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBApSBUDuZSky9qHzeIe5QTrBIGQa3ips91GrjBw
uYPhxnS+9+3YCbSYpHH4zSMJRTaU4leTx151Xd5bGLHsXK6u472rQrshtQtUib3U
k/QPEgvmI9TYop9I9ySaj/WtuVlopYoX5qWm5hpVdqT5BAo5wvPXw34IbT0zaMLC
dJh79Jx3eSzsZv7vbk9XPDnacevR9em5D4PqjIekQCO4zWyAywdx
-----END ENCRYPTED PRIVATE KEY-----
";

/// `openssl pkcs8 -topk8 -v2 des3`
const TRIPLE_DES: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAjll0yLoq7snQICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQI3mpYf1u22xQEgZDuooQWZ8jKqIUy
SLa64y0VIt4nV/d6MgMsN+rw5oNuAzHyGLihQ1hiLN3w1mRRqLmRvn6VTmbK+dxx
Ng5CZFG3iNGmvub5OlJu3lkTgMc5VhI6IzgPZk89iSVEy2EXTF7BaJ9GWF6p6eNd
OCgQ1rTE2R1U6IJpRx8sgfeWnbElEcCra89N3qIU2wY1463gnKA=
-----END ENCRYPTED PRIVATE KEY-----
";
