//! What is refused of keys and of where they come from, each with a code of its own, a record and a row.

#[path = "common/keyservers.rs"]
mod keyservers;

use std::collections::BTreeSet;
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

/// As a key server with a bad generator would: each of its new keys has these bytes.
fn spoil_generator(servers: &KeyServers) {
    const TRIGGER: &str = "import sqlite3, sys; store = sqlite3.connect(sys.argv[1]); store.execute(\"CREATE TRIGGER spoil AFTER \
                           INSERT ON managed_objects BEGIN UPDATE managed_objects SET value = CAST('correct horse battery \
                           staple 123' AS BLOB) WHERE uid = NEW.uid; END\"); store.commit()";
    let store = servers.dir.join("keys.sqlite");
    let done = std::process::Command::new(keyservers::python()).args(["-c", TRIGGER]).arg(store).status().unwrap();
    assert!(done.success());
}

/// Tests run under `relaxed`, which uses it and says so: `strict` speaks to no key server of this machine, and what it makes of
/// the same finding has a unit test.
#[test]
fn a_key_whose_bytes_were_made_by_hand_is_recorded_and_audited_also_as_the_key_of_a_data_space() {
    let servers = KeyServers::start_kind(Kind::PyKmip, 1);
    let client = Client::open(&servers.config).unwrap();
    client.create_key("random").unwrap();
    client.create_kek("master").unwrap();
    spoil_generator(&servers);
    client.create_key("typed").unwrap();
    let file = servers.dir.join("orders.dek");
    client.create_space("orders", "master", &file, keystead::client::Original::Destroy).unwrap();
    let log = std::fs::read_to_string(&servers.log).unwrap();
    let trail = std::fs::read_to_string(&servers.audit).unwrap();
    for name in ["typed", "space:orders"] {
        let is_of = |line: &&str| line.contains(name) && line.contains("key weak");
        let record = log.lines().filter(|line| line.contains("event=key.refused")).find(is_of);
        let row = trail.lines().filter(|row| row.starts_with("Refuse Key,")).find(is_of);
        assert!(record.is_some_and(|record| record.contains("random generator")), "{name}: {log}");
        assert!(row.is_some_and(|row| row.contains(",failure,1,")), "{name}: {trail}");
    }
    assert_eq!(log.lines().filter(|line| line.contains("key weak")).count(), 2, "{log}");
    assert!(!log.contains("battery") && !trail.contains("battery"));
}

/// What no parameter, option or argument is called: keys come from the key server alone, and none from a password.
const FORBIDDEN: [&str; 8] = ["password", "passphrase", "secret", "material", "key_bytes", "raw_key", "hex", "base64"];

fn assert_clean(what: &str, text: &str) {
    for word in FORBIDDEN {
        assert!(!text.to_lowercase().contains(word), "{word} in {what}: {text}");
    }
}

fn source(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The identifiers that end at each place where `before` stands, or begin there.
fn names_after<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let word = |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    text.split(before).skip(1).map(word).collect()
}

#[test]
fn no_call_of_the_c_library_takes_a_password_or_carries_the_bytes_of_a_key() {
    let header = source("include/keystead.h");
    let code: String =
        header.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let (_, code) = code.split_once("*/").expect("the first page");
    assert!(code.contains("keystead_client_create_key"), "the declarations were found");
    assert_clean("the header", code);
    // All that bytes go in and out by.
    let code = code.replace("*const *", "*");
    let bytes = names_after(&code, "uint8_t *");
    let known = ["aad", "aads", "keystead_bytes_data", "message", "messages", "out", "plaintext", "plaintexts"];
    let known = known.into_iter().chain(["protected_dek", "start", "stream"]).collect();
    assert_eq!(bytes, known, "is what is new never a key?");
}

#[test]
fn no_call_of_the_python_package_takes_a_password_or_carries_the_bytes_of_a_key() {
    let package = "bindings/python/src/keystead";
    let folder = std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(package)).unwrap();
    let (mut taken, mut given) = (BTreeSet::new(), BTreeSet::new());
    for file in
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| name.ends_with(".py"))
    {
        let text = source(&format!("{package}/{file}"));
        for definition in text.split("def ").skip(1).filter(|definition| !definition.starts_with('_')) {
            let (name, rest) = definition.split_once('(').unwrap();
            let Some((parameters, rest)) = rest.split_once(") -> ") else { continue };
            assert_clean(name, parameters);
            let is_bytes =
                |kind: &str| ["Buffer", "bytes", "bytearray", "memoryview"].iter().any(|of| kind.contains(of));
            let typed = parameters.split(", ").filter_map(|parameter| parameter.split_once(": "));
            taken.extend(typed.filter(|(_, kind)| is_bytes(kind)).map(|(name, _)| name.trim().to_owned()));
            let returned = rest.split(':').next().unwrap();
            given.extend(is_bytes(returned).then(|| name.to_owned()));
        }
    }
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let known = ["aad", "aads", "buffer", "data", "message", "messages", "plaintext", "plaintexts", "protected_dek"];
    assert_eq!(taken, &set(&known) | &set(&["event", "pattern", "record", "source"]), "is what is new never a key?");
    let known = ["encrypt", "decrypt", "encrypt_many", "decrypt_many", "reencrypt_many", "protect", "unprotect"];
    let inner = ["begin_decryption", "borrow", "decrypt_stream", "path_argument", "read", "text_argument"];
    assert_eq!(given, &set(&known) | &set(&inner), "does what is new never give a key?");
}

/// All that the tool says of its commands and their options.
fn helps(command: &[&str], found: &mut Vec<(String, String)>) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_keystead")).args(command).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    if let Some((_, commands)) = help.split_once("Commands:\n") {
        for line in commands.lines().take_while(|line| !line.is_empty()) {
            let name = line.split_whitespace().next().unwrap();
            if name != "help" && line.starts_with("  ") && !line.starts_with("   ") {
                helps(&[command, &[name]].concat(), found);
            }
        }
    }
    found.push((command.join(" "), help));
}

#[test]
fn no_command_of_the_tool_takes_a_password_or_carries_the_bytes_of_a_key() {
    let mut found = Vec::new();
    helps(&[], &mut found);
    assert!(found.iter().any(|(command, _)| command == "key create") && found.len() > 20, "{}", found.len());
    let mut values = BTreeSet::new();
    for (command, help) in &found {
        for line in help.lines().map(str::trim_start).filter(|line| line.starts_with("--") || line.starts_with('<')) {
            // Only what is given, not what is said of it.
            let given = line.split("  ").next().unwrap();
            assert_clean(command, given);
            if given.contains("key") || given.contains("kek") {
                values.extend(given.split_once(" <").map(|(_, value)| value.trim_end_matches(['>', '.']).to_owned()));
            }
        }
    }
    let named = ["FILE", "NAME", "PATTERN"].map(str::to_owned).into();
    assert_eq!(
        values, named,
        "a key is told by its name, or by the file that a certificate's or an auditor's key is in"
    );
}

/// What stands behind the client is there for our own tests and tool: it can be given a key, and speak to a key server.
#[test]
fn a_rust_program_is_offered_nothing_that_takes_or_gives_the_bytes_of_a_key() {
    let library = source("src/lib.rs");
    let modules = names_after(&library, "\npub mod ");
    let hidden = |name: &&&str| library.contains(&format!("#[cfg(feature = \"internals\")]\npub mod {name};"));
    let offered: BTreeSet<&str> = modules.iter().filter(|name| !hidden(name)).copied().collect();
    assert_eq!(offered, BTreeSet::from(["audit", "client", "config", "envelope", "error", "log"]));
    assert!(source("Cargo.toml").contains("\ndefault = []\n"), "internals are asked for");
    // A key is made of what is in a slot, and slots are not offered.
    assert!(source("src/envelope/key.rs").contains("pub fn new(id: KeyId, material: Slot<[u8; 32]>) -> Key"));
}
