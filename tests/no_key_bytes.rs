//! No interface takes or gives the bytes of a key, nor makes one of a password: not that of C, not Python's, not the tool's and not
//! what the crate offers to Rust programs.

use std::collections::BTreeSet;

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
    assert_eq!(names_after(&library, "\npub use "), BTreeSet::from(["client", "error"]));
    assert!(source("Cargo.toml").contains("\ndefault = []\n"), "internals are asked for");
    // A key is made of what is in a slot, and slots are not offered.
    assert!(source("src/envelope/key.rs").contains("pub fn new(id: KeyId, material: Slot<[u8; 32]>) -> Key"));
}
