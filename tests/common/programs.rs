//! Programs that others wrote, fetched into the build (`cmake --build build --target log_programs`) or installed.

#![allow(dead_code)] // Each test uses a part of it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The fetched one if there is one, else what is installed; without either, says that what needs it is skipped.
///
/// Where `KEYSTEAD_REQUIRED_PROGRAMS` says so, lacking it is a failure: a list of names, or the file of those that were
/// fetched.
pub fn program(name: &str) -> Option<PathBuf> {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/build/log-programs/bin");
    let fetched = std::env::var_os("KEYSTEAD_LOG_PROGRAMS").map_or(PathBuf::from(built), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = [fetched].into_iter().chain(installed).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(!is_required(name), "{name} is required, and was neither fetched nor is it installed");
        eprintln!("skipped: {name} was neither fetched nor is it installed");
    }
    found
}

/// Whether a test may not do without.
pub fn is_required(name: &str) -> bool {
    let required = std::env::var("KEYSTEAD_REQUIRED_PROGRAMS").unwrap_or_default();
    let required = if required.starts_with('/') { fs::read_to_string(required).unwrap_or_default() } else { required };
    required.split_whitespace().any(|required| required == name)
}

/// Ends it also when the test fails.
pub struct Daemon(pub Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// rsyslogd or syslog-ng with this configuration, and whatever it keeps in `folder`; what it says is in `NAME.err`.
pub fn collector(name: &str, folder: &Path, config: &str) -> Option<Daemon> {
    let mut command = Command::new(program(name)?);
    let file = folder.join(format!("{name}.conf"));
    let own = |what: &str| folder.join(format!("{name}.{what}"));
    if name == "syslog-ng" {
        fs::write(&file, format!("@version: 3.38\n{config}")).unwrap();
        command.args(["--foreground", "--no-caps", "--cfgfile"]).arg(file);
        command.arg("--persist-file").arg(own("persist")).arg("--control").arg(own("control"));
        command.arg("--pidfile").arg(own("pid"));
    } else {
        fs::write(&file, config).unwrap();
        command.arg("-n").arg("-i").arg(own("pid")).arg("-f").arg(file);
    }
    let errors = fs::File::create(own("err")).unwrap();
    Some(Daemon(command.stdout(Stdio::null()).stderr(errors).spawn().unwrap()))
}

/// The numbered block of docs/OPERATIONS.md below a heading, with other ports and folders.
pub fn snippet(heading: &str, number: usize, replacements: &[(&str, &str)]) -> String {
    let page = page();
    let section = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    // Text and blocks take turns.
    let block = section.split("```").nth(2 * number + 1).unwrap();
    let block = block.split_once('\n').unwrap().1.to_owned();
    replacements.iter().fold(block, |block, (from, to)| {
        assert!(block.contains(from), "{heading} has no {from}");
        block.replace(from, to)
    })
}

/// The command of docs/OPERATIONS.md that stands in a line of text and begins so.
pub fn inline(beginning: &str) -> String {
    let page = page();
    let at = page.find(beginning).unwrap_or_else(|| panic!("no {beginning}")) + 1;
    page[at..].split('`').next().unwrap().to_owned()
}

/// The command of docs/OPERATIONS.md that is a block of its own and begins so.
#[allow(dead_code, reason = "not every test that uses programs runs one")]
pub fn command(beginning: &str) -> String {
    let page = page();
    let found = page.lines().find_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(beginning)));
    found.unwrap_or_else(|| panic!("no {beginning}")).to_owned()
}

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md")).unwrap()
}

/// A port of loopback on which nobody listens. It is none of those that the system gives to whoever asks for any
/// (`ip_local_port_range`, from 32768), which another test could be given before it is used.
pub fn free_port() -> u16 {
    let any = || 10_000 + (RandomState::new().hash_one(()) % 20_000) as u16;
    std::iter::repeat_with(any).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
