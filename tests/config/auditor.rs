//! The auditor's public key, `log.auditor_key`.

use std::os::unix::fs::symlink;

use keystead::Code;
use keystead::config::AuditorKey;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use crate::site::{POLICIES, Refusal, Site, minimal, set_mode};

/// What stands in line 13, from column 15 on.
fn with_key(policy: &str, key: &str) -> String {
    minimal(policy) + &format!("[log]\nauditor_key = \"{key}\"\n")
}

fn refused(site: &Site, policy: &str, key: &str) -> Refusal {
    site.refused(&with_key(policy, key))
}

#[test]
fn a_public_key_seals_the_log_and_the_audit_trail() {
    let site = Site::new();
    let pem = KeyPair::generate().unwrap().public_key_pem();
    site.write("auditor.pem", &pem, 0o644);
    let text = with_key("strict", "auditor.pem") + "[audit]\nfile = \"audit.csv\"\n";
    let (config, _) = site.load(&text).unwrap();
    let key = AuditorKey::from_pem(pem.as_bytes());
    assert!(key.is_some() && config.log.auditor_key == key && config.audit.unwrap().auditor_key == key);
}

#[test]
fn what_is_no_public_key_of_p256_is_refused_with_its_place() {
    let site = Site::new();
    let p256 = KeyPair::generate().unwrap();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().public_key_pem();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap().public_key_pem();
    // The last letters of the text are the end of y: another y is not on the curve.
    let whole = p256.public_key_pem();
    let end = whole.find("\n-----END").unwrap();
    let off_curve = format!(
        "{}{}{}",
        &whole[..end - 4],
        if whole[..end].ends_with("AAAA") { "BBBB" } else { "AAAA" },
        &whole[end..]
    );
    let nothing = "holds no public key of P-256";
    for policy in POLICIES {
        for (name, text, why) in [
            ("p384.pem", p384.as_str(), nothing),
            ("ed25519.pem", &ed25519, nothing),
            ("off-curve.pem", &off_curve, nothing),
            ("text.pem", "the auditor's key", nothing),
            ("empty.pem", "", nothing),
            ("private.pem", &p256.serialize_pem(), "holds a private key, which must not be on this machine"),
        ] {
            let path = site.write(name, text, 0o600);
            let refused = refused(&site, policy, name);
            refused.says(&[path.to_str().unwrap(), why, "keystead log keygen"]);
            assert_eq!(refused.code, Code::CertificateInvalid, "{}", refused.message);
        }
    }
}

#[test]
fn a_key_that_is_not_there_or_that_others_may_exchange_is_refused() {
    let site = Site::new();
    let pem = KeyPair::generate().unwrap().public_key_pem();
    for policy in POLICIES {
        refused(&site, policy, "nowhere.pem").is(Code::ConfigUnreadable, &site.path("nowhere.pem"));
        let path = site.write("auditor.pem", &pem, 0o644);
        for mode in [0o666, 0o664, 0o646] {
            set_mode(&path, mode);
            refused(&site, policy, "auditor.pem").is(Code::FileExposed, &path);
        }
        set_mode(&path, 0o644);
        let link = site.path("link.pem");
        let _ = std::fs::remove_file(&link);
        symlink(&path, &link).unwrap();
        refused(&site, policy, "link.pem").is(Code::FileExposed, &link);
        site.load(&with_key(policy, "auditor.pem")).unwrap();
    }
}
