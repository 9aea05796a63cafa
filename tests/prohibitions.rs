//! What is refused of keys and of where they come from, each with a code of its own, a record and, where it concerns a key on a
//! server, a row of the audit trail:
//!
//! | what | code | record | tests |
//! |---|---|---|---|
//! | other algorithms and lengths, in the configuration | `ALGORITHM_REFUSED` | `client.refused` | `config/policy.rs`, `config/refusals.rs` |
//! | the same on a key server | `ALGORITHM_REFUSED` | `key.refused` | here |
//! | a part of a split key | `KEY_SPLIT` | `key.refused` | here |
//! | bytes that people typed or programs filled in | `KEY_WEAK` | `key.refused` | `strict.rs` |
//! | a key, KEK or data space's key of another tenant | `KEY_SHARED` | `key.refused` | `strict.rs`; under `relaxed` here |
//! | another tenant's client certificate | `CERTIFICATE_SHARED` | `client.refused`, `config.reload_failed` | here |
//! | a key server beside the data | `POLICY_REFUSED` | `client.refused` | `config/policy.rs`, `config/refusals.rs` |
//! | files on removable or network mounts | `MOUNT_REFUSED` | `client.refused` | `config/refusals.rs` |
//! | an owner of files who can sign on | `OWNER_SIGNS_ON` | `client.refused` | `config/refusals.rs` |
//! | key bytes in or out, keys from passwords | there is no such call | | `no_key_bytes.rs` |

#[path = "common/keyservers.rs"]
mod keyservers;

use std::time::Duration;

use keyservers::{KeyServers, Kind};
use keystead::kmip::ttlv::{Reader, Writer};
use keystead::kmip::{Activate, Connector, Deadline, ObjectType, Operation, Version, attributes, tags};
use keystead::{Client, Code, Error, config};

/// The attributes of a key that is asked for, of an algorithm and a length in bits.
fn write_template(payload: &mut Writer, id: &str, group: &str, (algorithm, bits): (u32, i32)) {
    const ENCRYPT_AND_DECRYPT: i32 = 0xC;
    fn attribute(template: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
        template.structure(tags::ATTRIBUTE, |attribute| {
            attribute.text(tags::ATTRIBUTE_NAME, name);
            value(attribute);
        });
    }
    let value = tags::ATTRIBUTE_VALUE;
    payload.structure(tags::TEMPLATE_ATTRIBUTE, |template| {
        attribute(template, attributes::ALGORITHM, |writer| writer.enumeration(value, algorithm));
        attribute(template, attributes::LENGTH, |writer| writer.integer(value, bits));
        attribute(template, attributes::USAGE_MASK, |writer| writer.integer(value, ENCRYPT_AND_DECRYPT));
        attribute(template, attributes::NAME, |writer| {
            writer.structure(value, |name| {
                name.text(tags::NAME_VALUE, id);
                name.enumeration(tags::NAME_TYPE, 1);
            });
        });
        attribute(template, attributes::OBJECT_GROUP, |writer| writer.text(value, group));
    });
}

/// Makes a key as other programs do, of whatever algorithm.
struct CreateOther<'a> {
    id: &'a str,
    group: &'a str,
    algorithm: u32,
    bits: i32,
}

impl Operation for CreateOther<'_> {
    const CODE: u32 = 0x01;
    const NAME: &'static str = "Create";
    type Answer = String;

    fn write(&self, payload: &mut Writer, _: Version) {
        const SYMMETRIC_KEY: u32 = 2;
        payload.enumeration(tags::OBJECT_TYPE, SYMMETRIC_KEY);
        write_template(payload, self.id, self.group, (self.algorithm, self.bits));
    }

    fn read(&self, payload: Reader<'_>) -> keystead::Result<String> {
        Ok(payload.require(tags::UNIQUE_IDENTIFIER)?.text()?.to_owned())
    }
}

/// Gives the server one of the parts of an AES-256 key (KMIP 1.4 §2.2.5).
struct RegisterPart<'a> {
    id: &'a str,
    group: &'a str,
}

impl Operation for RegisterPart<'_> {
    const CODE: u32 = 0x03;
    const NAME: &'static str = "Register";
    type Answer = String;

    fn write(&self, payload: &mut Writer, _: Version) {
        const SPLIT_KEY: u32 = 0x42_0089;
        const SPLIT_KEY_PARTS: u32 = 0x42_008B;
        const KEY_PART_IDENTIFIER: u32 = 0x42_0044;
        const SPLIT_KEY_THRESHOLD: u32 = 0x42_008C;
        const SPLIT_KEY_METHOD: u32 = 0x42_008A;
        payload.enumeration(tags::OBJECT_TYPE, ObjectType::SPLIT_KEY.0);
        write_template(payload, self.id, self.group, (3, 256));
        payload.structure(SPLIT_KEY, |key| {
            key.integer(SPLIT_KEY_PARTS, 3);
            key.integer(KEY_PART_IDENTIFIER, 1);
            key.integer(SPLIT_KEY_THRESHOLD, 2);
            key.enumeration(SPLIT_KEY_METHOD, 1);
            key.structure(tags::KEY_BLOCK, |block| {
                block.enumeration(tags::KEY_FORMAT_TYPE, 1);
                let part: [u8; 32] = std::array::from_fn(|n| (n * 37) as u8);
                block.structure(tags::KEY_VALUE, |value| value.bytes(tags::KEY_MATERIAL, &part));
                block.enumeration(tags::CRYPTOGRAPHIC_ALGORITHM, 3);
                block.integer(tags::CRYPTOGRAPHIC_LENGTH, 256);
            });
        });
    }

    fn read(&self, payload: Reader<'_>) -> keystead::Result<String> {
        Ok(payload.require(tags::UNIQUE_IDENTIFIER)?.text()?.to_owned())
    }
}

#[test]
fn a_part_of_a_split_key_is_refused_recorded_and_audited() {
    // The Go server takes no parts.
    let servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let (settings, _) = config::load(&servers.config).unwrap();
    let soon = || Deadline::after(Duration::from_secs(10));
    let mut connection = Connector::new(&settings.servers[0]).unwrap().connect(soon()).map_err(Error::from).unwrap();
    let register = RegisterPart { id: "split/1", group: "keystead:split" };
    let object = connection.call(&register, soon()).map_err(Error::from).unwrap();
    connection.call(&Activate { id: &object }, soon()).map_err(Error::from).unwrap();
    let client = Client::open(&servers.config).unwrap();
    assert_eq!(client.key("split").err().unwrap().code(), Code::KeySplit);
    let log = std::fs::read_to_string(&servers.log).unwrap();
    let record = log.lines().find(|line| line.contains("event=key.refused")).expect("a record");
    assert!(record.contains("split") && record.contains("reason=\"key split\""), "{record}");
    let trail = std::fs::read_to_string(&servers.audit).unwrap();
    let row = trail.lines().find(|row| row.starts_with("Refuse Key,")).expect("a row");
    assert!(row.contains(",failure,1,") && row.contains("key split") && row.contains(&object), "{row}");
    assert!(!trail.contains("Get,"), "no part was fetched");
}

#[test]
fn keys_of_weak_algorithms_and_lengths_are_refused_recorded_and_audited() {
    // The Go server makes none.
    let servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let (settings, _) = config::load(&servers.config).unwrap();
    let soon = || Deadline::after(Duration::from_secs(10));
    let mut connection = Connector::new(&settings.servers[0]).unwrap().connect(soon()).map_err(Error::from).unwrap();
    let client = Client::open(&servers.config).unwrap();
    for (name, algorithm, bits, says) in
        [("des3", 2, 192, "3DES"), ("blow", 0x10, 256, "Blowfish"), ("short", 3, 128, "AES with 128 bits")]
    {
        let (id, group) = (format!("{name}/1"), format!("keystead:{name}"));
        let create = CreateOther { id: &id, group: &group, algorithm, bits };
        let object = connection.call(&create, soon()).map_err(Error::from).unwrap();
        connection.call(&Activate { id: &object }, soon()).map_err(Error::from).unwrap();
        let error = client.key(name).err().unwrap();
        assert_eq!(error.code(), Code::AlgorithmRefused, "{error}");
        assert!(error.message().contains(says), "{error}");
        // Nobody makes a version 1 beside it either.
        assert_eq!(client.create_key(name).err().unwrap().code(), Code::AlgorithmRefused);
        let log = std::fs::read_to_string(&servers.log).unwrap();
        let record = log.lines().find(|line| line.contains("event=key.refused") && line.contains(name)).unwrap();
        assert!(record.contains("reason=\"algorithm refused\"") && record.contains(says), "{record}");
        let trail = std::fs::read_to_string(&servers.audit).unwrap();
        let row = trail.lines().find(|row| row.starts_with("Refuse Key,") && row.contains(name)).unwrap();
        assert!(row.contains(",failure,1,") && row.contains("algorithm refused") && row.contains(&object), "{row}");
    }
    assert!(!std::fs::read_to_string(&servers.audit).unwrap().contains("Get,"), "no key was fetched");
    assert!(keystead::log::verify(&[&servers.audit]).unwrap().is_intact());
}

/// The harness's configuration under another name and with another certificate of a client.
fn tenant(servers: &mut KeyServers, name: &str, certificate: Option<&str>) -> std::path::PathBuf {
    let mut text = std::fs::read_to_string(&servers.config).unwrap();
    let own = config::load(&servers.config).unwrap().0.client_name;
    text = text.replace(&format!("name = \"{own}\""), &format!("name = \"{name}\""));
    text = text.replace("keystead.log", &format!("{name}.log")).replace("audit.csv", &format!("{name}.csv"));
    if let Some(kind) = certificate {
        let theirs = servers.certificate(kind);
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        text = text.replace(&path(&servers.client_certificate), &path(&theirs.certificate));
        text = text.replace(&path(&servers.client_key), &path(&theirs.key));
    }
    let path = servers.dir.join(format!("{name}.conf"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[test]
fn tenants_of_one_process_neither_share_a_certificate_nor_open_each_other_s_data() {
    let mut servers = KeyServers::start(1);
    let one = Client::open(&tenant(&mut servers, "tenant-one", None)).unwrap();
    let (key, _) = one.create_key("orders").unwrap();
    let mut message = vec![0; key.encrypted_size(4).unwrap()];
    key.encrypt(b"hers", b"", &mut message).unwrap();

    // With the same certificate they would be one to the key server. Tests run under `relaxed`, which warns.
    let shares = tenant(&mut servers, "tenant-two", None);
    let strict = std::fs::read_to_string(&shares).unwrap().replace("\"relaxed\"", "\"strict\"");
    let two = Client::open(&shares).unwrap();
    let log = servers.dir.join("tenant-two.log");
    assert!(std::fs::read_to_string(&log).unwrap().contains("finding=shared-certificate"));
    two.key("orders").unwrap();
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("event=key.refused") && told.contains("reason=\"key shared\""), "{told}");
    two.close().unwrap();
    let path = servers.dir.join("strict.conf");
    std::fs::write(&path, strict.replace("127.0.0.1", "kms.example.com")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(Client::open(&path).err().unwrap().code(), Code::CertificateShared);
    let told = std::fs::read_to_string(&log).unwrap();
    let record = told.lines().find(|line| line.contains("event=client.refused")).expect(&told);
    assert!(record.contains("code=CERTIFICATE_SHARED") && record.contains("tenant-one"), "{record}");

    let apart = Client::open(&tenant(&mut servers, "tenant-three", Some("client-other"))).unwrap();
    let error = apart.decrypt(&message, b"", "*", &mut [0; 64]).unwrap_err();
    assert_eq!(error.code(), Code::KeyNotFound, "{error}");
    // Once nobody else uses it, it is free.
    one.close().unwrap();
    drop((one, two));
    Client::open(&path).unwrap();
}

#[test]
fn a_tenant_s_certificate_is_not_taken_up_while_the_other_runs_and_its_keks_are_told_apart() {
    let mut servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let one = Client::open(&tenant(&mut servers, "kek-one", None)).unwrap();
    one.create_kek("master").unwrap();
    let apart = tenant(&mut servers, "kek-two", Some("client-other"));
    let own = std::fs::read_to_string(&apart).unwrap();
    let shared = std::fs::read_to_string(tenant(&mut servers, "kek-two", None)).unwrap();
    let written = |text: &str| {
        std::fs::write(&apart, text).unwrap();
        std::fs::set_permissions(&apart, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    let strict = |text: &str| text.replace("\"relaxed\"", "\"strict\"").replace("127.0.0.1", "kms.example.com");
    written(&strict(&own));
    let two = Client::open(&apart).unwrap();
    written(&strict(&shared));
    assert_eq!(two.reload().unwrap_err().code(), Code::CertificateShared);
    assert!(two.status().unwrap().config.reload_error.unwrap().contains("kek-one"));
    drop(two);

    // Under `relaxed` it is taken up, and told.
    written(&own);
    let two = Client::open(&apart).unwrap();
    written(&shared);
    two.reload().unwrap();
    two.create_kek("master").unwrap();
    let told = std::fs::read_to_string(servers.dir.join("kek-two.log")).unwrap();
    assert!(told.contains("finding=shared-certificate"), "{told}");
    let refused = told.lines().find(|line| line.contains("event=key.refused")).expect("a record");
    assert!(refused.contains("master") && refused.contains("reason=\"key shared\""), "{refused}");
}

#[test]
fn a_reload_that_fails_takes_no_certificate_and_one_that_succeeds_gives_up_what_it_replaced() {
    let mut servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let theirs = servers.certificate("client-other");
    let mut strict = |name: &str, certificate: Option<&str>, more: &str| {
        let path = tenant(&mut servers, name, certificate);
        let text = std::fs::read_to_string(&path).unwrap() + more;
        let text = text.replace("\"relaxed\"", "\"strict\"").replace("127.0.0.1", "kms.example.com");
        std::fs::write(&path, text).unwrap();
        path
    };
    let [old, new, other] = [None, Some("client-renewed"), Some("client-other")];
    let renewing = Client::open(&strict("renewing", old, "")).unwrap();
    let elsewhere = Client::open(&strict("elsewhere", other, "")).unwrap();
    let opened = |path: &std::path::Path| Client::open(path).map_err(|error| error.code());

    let (certificate, key) = (theirs.certificate.display(), theirs.key.display());
    let second = format!(
        "\n[[server]]\nhost = \"kms2.example.com\"\nclient_certificate = \"{certificate}\"\nclient_key = \"{key}\"\n"
    );
    strict("renewing", new, &second);
    assert_eq!(renewing.reload().unwrap_err().code(), Code::CertificateShared, "the second server's is elsewhere's");
    assert_eq!(opened(&strict("waiting", old, "")).err(), Some(Code::CertificateShared), "it goes on with what it has");
    opened(&strict("waiting", new, "")).expect("what was not taken up is free");

    strict("renewing", new, "");
    renewing.reload().unwrap();
    assert_eq!(opened(&strict("waiting", new, "")).err(), Some(Code::CertificateShared));
    opened(&strict("waiting", old, "")).expect("what was replaced is free");

    renewing.close().unwrap();
    opened(&strict("waiting", new, "")).expect("what a closed client used is free");
    elsewhere.close().unwrap();
}
