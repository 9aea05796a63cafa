//! What the policy decides, and what is told of the rest.

use keystead::Code;
use keystead::config::{Policy, Target};

use crate::site::{Site, ids, minimal};

#[test]
fn a_key_server_on_this_machine_is_refused_by_strict_and_told_by_relaxed() {
    let site = Site::new();
    for host in
        ["localhost", "LocalHost.", "kms.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0"]
    {
        let text = |policy| minimal(policy).replace("kms1.example.com", host);
        site.refused(&text("strict"))
            .is(Code::PolicyRefused, &site.path("keystead.conf"))
            .at(11, 8)
            .says(&["on the machine that holds the data", "another machine"]);
        let (_, findings) = site.load(&text("relaxed")).unwrap();
        assert!(ids(&findings).contains(&"loopback-server"), "{host}: {findings:?}");
    }
    let [here, there, mapped] = ["10.0.0.1", "10.0.0.2", "::ffff:127.0.0.1"].map(|ip| ip.parse().unwrap());
    assert!(Policy::Strict.permits_peer(there, here));
    assert!(!Policy::Strict.permits_peer(here, here), "our own address");
    assert!(!Policy::Strict.permits_peer(mapped, here));
    assert!(Policy::Relaxed.permits_peer(here, here) && Policy::Relaxed.permits_peer(mapped, here));
}

#[test]
fn findings_tell_what_is_permitted_but_unwise() {
    let site = Site::new();
    let text =
        minimal("strict") + "user = \"u\"\npassword = \"open\"\n[log]\nlevel = \"debug\"\ntarget = \"file:log\"\n";
    let (config, findings) = site.load(&text).unwrap();
    assert_eq!(ids(&findings), ["plain-password", "single-server", "talkative-log", "no-audit"]);
    assert!(findings.iter().all(|finding| !finding.message.contains("open")), "{findings:?}");
    assert_eq!(config.log.target, Some(Target::File(site.path("log"))));
}

#[test]
fn a_password_comes_from_the_environment() {
    let site = Site::new();
    let text = |name: &str| minimal("strict") + "user = \"u\"\npassword = \"env:" + name + "\"\n";
    let path = std::env::var("PATH").unwrap();
    let (config, _) = site.load(&text("PATH")).unwrap();
    assert_eq!(config.servers[0].password.as_ref().unwrap().expose(), path);
    site.refused(&text("KEYSTEAD_SURELY_UNSET")).at(13, 12).says(&["KEYSTEAD_SURELY_UNSET", "set it"]);
    site.write("empty", "\n", 0o600);
    site.refused(&text("PATH").replace("env:PATH", "file:empty")).at(13, 12).says(&["the password is empty"]);
    site.refused(&text("PATH").replace("env:PATH", "env:")).at(13, 12).says(&["`password` is not usable"]);
}

#[test]
fn an_algorithm_that_is_advised_against_is_refused_by_its_name_under_every_policy() {
    let site = Site::new();
    let text = |policy, name: &str| minimal(policy) + "[keys]\nalgorithm = \"" + name + "\"\n";
    for policy in crate::site::POLICIES {
        for (name, says) in [
            ("3DES", "3DES is advised against"),
            ("des-ede3", "3DES is advised against"),
            ("GOST", "GOST is advised against"),
            ("Twofish", "Twofish is advised against"),
            ("BLOWFISH", "Blowfish is advised against"),
            ("homomorphic", "homomorphic encryption is advised against"),
            ("AES-128", "shorter keys of AES are not made or used, and no setting allows them"),
            ("rot13", "\"rot13\" is not an algorithm"),
        ] {
            site.refused(&text(policy, name))
                .is(Code::AlgorithmRefused, &site.path("keystead.conf"))
                .at(13, 13)
                .says(&[says, "AES-256"]);
        }
        site.load(&text(policy, "AES-256")).unwrap();
    }
}
