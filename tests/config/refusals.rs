//! A client that is not opened leaves a record of why, as far as the configuration can be read.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use keystead::log::{AuditorPrivateKey, Options, verify_with};
use keystead::{Client, Code};

use crate::site::{Site, minimal, set_mode};

/// Where a test that runs again, as another user or beside another disk, finds its configuration.
const FOLDER: &str = "KEYSTEAD_TEST_REFUSED";
const LOG: &str = "[log]\ntarget = \"file:keystead.log\"\nauditor_key = \"auditor.pem\"\n";

fn site(text: &str) -> Site {
    fill(Site::new(), text)
}

fn fill(site: Site, text: &str) -> Site {
    let auditor = AuditorPrivateKey::generate().unwrap();
    site.write("auditor.key", &auditor.to_pem().unwrap(), 0o600);
    site.write("auditor.pem", &auditor.to_public_pem().unwrap(), 0o644);
    site.write("keystead.conf", text, 0o600);
    site
}

/// Opening is refused with the code, and the sealed log tells of it.
fn refused(folder: &Path, code: Code) {
    let path = |name: &str| folder.join(name);
    let error = Client::open(&path("keystead.conf")).err().expect("a client was opened");
    assert_eq!(error.code(), code, "{error}");
    let log = fs::read_to_string(path("keystead.log")).unwrap();
    let record = log.lines().find(|line| line.contains("event=client.refused severity=error")).expect(&log);
    assert!(record.contains(&format!(" code={} ", code.name())), "{record}");
    assert!(record.contains("keystead.conf") && record.contains(" message="), "{record}");
    assert!(log.lines().last().unwrap().contains("event=log.checkpoint"), "{log}");
    let keys = [AuditorPrivateKey::read(&path("auditor.key")).unwrap()];
    let report = verify_with(&[&path("keystead.log")], &Options { auditor_keys: &keys, ..Options::default() }).unwrap();
    assert!(report.is_intact(), "{report}");
}

#[test]
fn what_the_policy_and_the_rules_of_algorithms_refuse_is_recorded() {
    let here = minimal("strict").replace("kms1.example.com", "localhost");
    refused(site(&(here + LOG)).folder.path(), Code::PolicyRefused);
    let algorithm = minimal("relaxed") + "[keys]\nalgorithm = \"3DES\"\n" + LOG;
    refused(site(&algorithm).folder.path(), Code::AlgorithmRefused);
}

#[test]
fn a_certificate_or_a_key_that_cannot_be_used_is_recorded() {
    let text = minimal("strict") + LOG;
    let expired = site(&text);
    expired.write("client.pem", "nothing", 0o644);
    refused(expired.folder.path(), Code::CertificateInvalid);
    let exposed = site(&text);
    set_mode(&exposed.path("client.key"), 0o644);
    refused(exposed.folder.path(), Code::FileExposed);
}

#[test]
fn an_audit_trail_that_cannot_be_opened_is_recorded() {
    let site = site(&(minimal("strict") + LOG + "[audit]\nfile = \"nowhere/audit.csv\"\n"));
    refused(site.folder.path(), Code::System);
}

#[test]
fn the_application_s_function_is_told_of_a_refusal() {
    let site = site(&minimal("strict").replace("kms1.example.com", "localhost"));
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = told.clone();
    let on_record = Box::new(move |record: keystead::log::Told<'_>| keep.lock().unwrap().push(record.event.to_owned()));
    let error = Client::open_with(&site.path("keystead.conf"), Some(on_record)).err().unwrap();
    assert_eq!(error.code(), Code::PolicyRefused);
    assert_eq!(*told.lock().unwrap(), ["client.refused"]);
}

/// What cannot be read names no log, and a log that cannot be sealed as it should be is left alone.
#[test]
fn a_configuration_that_cannot_be_read_as_far_as_its_log_leaves_the_error_alone() {
    let text = minimal("strict") + LOG;
    let exposed = site(&text);
    set_mode(&exposed.path("keystead.conf"), 0o666);
    let unreadable = site(&(text.clone() + "colour = \"red\"\n"));
    let unsealed = site(&text);
    unsealed.write("auditor.pem", "nothing", 0o644);
    let cases = [(exposed, Code::FileExposed), (unreadable, Code::ConfigInvalid), (unsealed, Code::CertificateInvalid)];
    for (site, code) in cases {
        assert_eq!(Client::open(&site.path("keystead.conf")).err().unwrap().code(), code);
        assert!(!site.path("keystead.log").exists());
    }
}

/// Runs a test again in the folder, by way of `command`. The program may lie where others may not look.
fn again(site: &Site, mut command: Command, test: &str) {
    let program = site.path("test");
    let output = command.arg(&program).args(["--exact", test, "--nocapture"]).env(FOLDER, site.folder.path()).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// Where other users may go.
fn site_with_program() -> Site {
    let site = fill(Site::below(Path::new("/tmp")), &(minimal("strict") + LOG));
    fs::copy(env::current_exe().unwrap(), site.path("test")).unwrap();
    site
}

#[test]
fn an_owner_who_can_sign_on_is_recorded() {
    if let Some(folder) = env::var_os(FOLDER) {
        return refused(Path::new(&folder), Code::OwnerSignsOn);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let users = users.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let shell = fields.get(6)?;
        let can_sign_on = !shell.ends_with("/nologin") && !shell.ends_with("/false");
        Some((fields[2].parse().ok()?, fields[3].parse().ok()?)).filter(|(user, _)| *user != 0 && can_sign_on)
    });
    let own: u32 = fs::metadata("/proc/self").unwrap().uid();
    let Some((user, group)) = users.collect::<Vec<(u32, u32)>>().into_iter().find(|(user, _)| own == 0 || *user == own)
    else {
        return println!("skipped: nobody here can sign on but root");
    };
    let site = site_with_program();
    let mut command = Command::new("env");
    if own == 0 {
        let folder = site.folder.path();
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.chain([folder.to_owned()]).for_each(|path| chown(path, Some(user), Some(group)).unwrap());
        command.uid(user).gid(group);
    }
    again(&site, command, "refusals::an_owner_who_can_sign_on_is_recorded");
}

/// A folder on a disk of its own, which the kernel is said to call removable.
const REMOVABLE: &str = r#"
set -e
mkdir "$1/stick"
mount -t tmpfs none "$1/stick"
find "$1" -maxdepth 1 -type f -exec cp -p {} "$1/stick" \;
mount -t tmpfs none /sys/dev/block
device=/sys/dev/block/$(stat -c %Hd:%Ld "$1/stick")
mkdir "$device"
echo 1 > "$device/removable"
export KEYSTEAD_TEST_REFUSED="$1/stick"
shift
exec "$@"
"#;

#[test]
fn a_configuration_on_a_removable_disk_is_recorded() {
    if let Some(folder) = env::var_os(FOLDER) {
        return refused(Path::new(&folder), Code::MountRefused);
    }
    let may_mount = ["-Urm", "mount", "-t", "tmpfs", "none", "/sys/dev/block"];
    if !Command::new("unshare").args(may_mount).output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: nothing can be mounted here");
    }
    let site = site_with_program();
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", REMOVABLE, "sh"]).arg(site.folder.path());
    again(&site, command, "refusals::a_configuration_on_a_removable_disk_is_recorded");
}
