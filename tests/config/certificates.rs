//! Certificates and keys that cannot be used, or not together.

use std::fs;
use std::time::{Duration, Instant};

use keystead::config::{Config, ExpiryWatch, Trust};
use keystead::{Client, Code};

use crate::site::{POLICIES, Site, ids, minimal};

const DAY: i64 = 24 * 60 * 60;

#[test]
fn the_key_of_another_certificate_is_refused_and_both_files_are_named() {
    let site = Site::new();
    for policy in POLICIES {
        site.refused(&minimal(policy).replace("client.key", "other.key"))
            .is(Code::CertificateInvalid, &site.path("other.key"))
            .says(&["is not the key of the certificate", site.path("client.pem").to_str().unwrap(), "line 8"]);
    }
}

#[test]
fn an_unusable_certificate_or_key_is_refused_with_its_remedy() {
    let site = Site::new();
    let pem = fs::read_to_string(site.path("client.pem")).unwrap();
    let key = fs::read_to_string(site.path("client.key")).unwrap();
    let cases: &[(&str, &str, &[&str])] = &[
        ("ca.pem", "", &["holds no certificate in PEM form"]),
        ("ca.pem", &key, &["holds no certificate in PEM form"]),
        ("ca.pem", &pem[..pem.len() / 2], &["cut short", "copy the whole file"]),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", &["damaged certificate"]),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &["as number 1", "replace it"]),
        ("client.pem", "no PEM at all", &["holds no certificate in PEM form"]),
        ("client.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &["no X.509 certificate"]),
        ("client.key", &pem, &["holds no private key in PEM form"]),
        (
            "client.key",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,Y\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            &["password-protected", "older form", "openssl pkcs8 -topk8"],
        ),
        ("client.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &["of a kind or size"]),
    ];
    for (name, text, words) in cases {
        let site = Site::new();
        let mode = if *name == "client.key" { 0o600 } else { 0o644 };
        site.write(name, text, mode);
        for policy in POLICIES {
            let refusal = site.refused(&minimal(policy));
            println!("{}", refusal.message);
            refusal.is(Code::CertificateInvalid, &site.path(name)).says(words);
        }
    }
}

#[test]
fn an_expired_client_certificate_is_told_and_does_not_keep_the_application_from_starting() {
    let site = Site::new();
    let (_, findings) = site.load(&minimal("strict").replace("client.", "expired.")).unwrap();
    assert!(ids(&findings).contains(&"client-certificate-expired"), "{findings:?}");
    let (config, _) = site.load(&minimal("strict")).unwrap();
    let tls = &config.servers[0].tls;
    let said = |left: i64| tls.expiry(tls.not_after - left).map(|finding| finding.id);
    assert_eq!(said(31 * DAY), None);
    assert_eq!(said(29 * DAY), Some("client-certificate-expires-in-30-days"));
    assert_eq!(said(6 * DAY), Some("client-certificate-expires-in-7-days"));
    assert_eq!(said(3600), Some("client-certificate-expires-in-1-day"));
    assert_eq!(said(-1), Some("client-certificate-expired"));
}

#[test]
fn each_step_towards_the_end_of_a_certificate_is_told_once() {
    let site = Site::new();
    let other = "[[server]]\nhost = \"kms2\"\n[[server]]\nhost = \"kms3\"\nclient_certificate = \"other.pem\"\n\
                 client_key = \"other.key\"\n";
    let (config, _) = site.load(&(minimal("strict") + other)).unwrap();
    let end = config.servers[0].tls.not_after;
    let mut watch = ExpiryWatch::new(&config, end - 29 * DAY);
    let mut told = |left: i64| watch.news(end - left).iter().map(|finding| finding.id).collect::<Vec<_>>();
    assert_eq!(told(29 * DAY), [""; 0], "loading told it");
    assert_eq!(told(8 * DAY), [""; 0]);
    let both = |id| [id, id];
    assert_eq!(told(6 * DAY), both("client-certificate-expires-in-7-days"), "two certificates, three servers");
    assert_eq!(told(5 * DAY), [""; 0]);
    assert_eq!(told(3600), both("client-certificate-expires-in-1-day"));
    assert_eq!(told(0), [""; 0]);
    assert_eq!(told(-1), both("client-certificate-expired"));
    assert_eq!(told(-9 * DAY), [""; 0]);
}

#[test]
fn a_certificate_that_expires_while_the_client_runs_is_recorded_once() {
    let site = Site::new();
    let text =
        minimal("strict").replace("client.", "ending.") + "[cache]\nttl = \"80ms\"\n[log]\ntarget = \"file:log\"\n";
    let client = Client::open(&site.write("keystead.conf", &text, 0o600)).unwrap();
    let recorded = |id: &str| fs::read_to_string(site.path("log")).unwrap().matches(id).count();
    assert_eq!(recorded("client-certificate-expires-in-1-day"), 1);
    let start = Instant::now();
    while recorded("client-certificate-expired") == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", fs::read_to_string(site.path("log")).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    client.close().unwrap();
    assert_eq!((recorded("client-certificate-expires-in-1-day"), recorded("client-certificate-expired")), (1, 1));
}

#[test]
fn a_revocation_list_is_taken_and_one_that_has_ended_is_told() {
    let site = Site::new();
    let with = |crl: &str| minimal("strict").replace("\n\n[[server]]", &format!("\ncrl = \"{crl}\"\n\n[[server]]"));
    let (config, findings) = site.load(&with("crl.pem")).unwrap();
    let lists = |config: &Config, server: usize| match &config.servers[server].tls.trust {
        Trust::Authorities(authorities) => authorities.revoked.len(),
        Trust::Pins(_) => 0,
    };
    assert_eq!(lists(&config, 0), 1);
    assert!(!ids(&findings).iter().any(|id| id.starts_with("crl")), "{findings:?}");
    assert!(ids(&site.load(&with("ended-crl.pem")).unwrap().1).contains(&"crl-ended"));
    site.refused(&with("ca.pem"))
        .is(Code::CertificateInvalid, &site.path("ca.pem"))
        .says(&["`crl`", "holds no certificate revocation list"]);

    let pin = format!("sha256:{}", "ab".repeat(32));
    let second = format!("[[server]]\nhost = \"kms2.example.com\"\nca_certificate = \"{pin}\"\n");
    let (config, _) = site.load(&(with("crl.pem") + &second)).unwrap();
    assert_eq!((lists(&config, 0), lists(&config, 1)), (1, 0), "a pinned certificate is asked of nobody");
    site.refused(&(minimal("strict") + &second + "crl = \"crl.pem\"\n"))
        .is(Code::ConfigInvalid, &site.path("keystead.conf"))
        .says(&["fingerprints instead of authorities"]);
}
