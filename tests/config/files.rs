//! Files that others may read or change: refused under every policy.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use keystead::config::files::{Access, read};
use keystead::{Code, config};

use crate::site::{POLICIES, Refusal, Site, minimal, set_mode};

#[test]
fn a_file_that_others_may_read_or_change_is_refused() {
    let site = Site::new();
    site.write("password", "secret", 0o600);
    let cases = [
        ("keystead.conf", 0o640, "0640", "chmod 600"),
        ("keystead.conf", 0o604, "0604", "chmod 600"),
        ("keystead.conf", 0o602, "0602", "chmod 600"),
        ("client.key", 0o644, "0644", "chmod 600"),
        ("client.key", 0o620, "0620", "chmod 600"),
        ("password", 0o604, "0604", "chmod 600"),
        ("client.pem", 0o664, "0664", "chmod 644"),
        ("ca.pem", 0o646, "0646", "chmod 644"),
    ];
    for policy in POLICIES {
        let conf =
            site.write("keystead.conf", &(minimal(policy) + "user = \"u\"\npassword = \"file:password\"\n"), 0o600);
        config::load(&conf).expect("before anything is opened to others");
        for (name, mode, shown, remedy) in cases {
            let path = site.path(name);
            let before = fs::metadata(&path).unwrap().mode();
            set_mode(&path, mode);
            let refusal = Refusal::of(config::load(&conf));
            set_mode(&path, before);
            let remedy = format!("{remedy} {}", path.display());
            refusal.is(Code::FileExposed, &path).says(&[shown, &remedy]);
        }
        set_mode(&site.path("client.key"), 0o644);
        let refusal = Refusal::of(config::load(&conf));
        set_mode(&site.path("client.key"), 0o600);
        refusal.says(&[&format!("`client_key` ({} line 8)", conf.display())]);
    }
}

#[test]
fn a_symbolic_link_in_the_place_of_a_file_is_refused() {
    for policy in POLICIES {
        let site = Site::new();
        let conf = site.write("keystead.conf", &minimal(policy), 0o600);
        let link = site.path("link.conf");
        symlink(&conf, &link).unwrap();
        Refusal::of(config::load(&link)).is(Code::FileExposed, &link).says(&["is a symbolic link", "name the file"]);
        fs::rename(site.path("client.key"), site.path("real.key")).unwrap();
        symlink(site.path("real.key"), site.path("client.key")).unwrap();
        Refusal::of(config::load(&conf)).is(Code::FileExposed, &site.path("client.key")).says(&["is a symbolic link"]);
    }
}

#[test]
fn a_folder_that_others_may_change_is_refused() {
    for policy in POLICIES {
        let site = Site::new();
        let folder = site.path("a b");
        fs::create_dir_all(folder.join("etc")).unwrap();
        let text = minimal(policy).replace("\"c", "\"../../c");
        let conf = folder.join("etc/keystead.conf");
        fs::write(&conf, text).unwrap();
        set_mode(&conf, 0o600);
        config::load(&conf).unwrap();
        for mode in [0o777, 0o775, 0o722] {
            set_mode(&folder, mode);
            let remedy = format!("chmod go-w '{}'", folder.display());
            let shown = format!("{mode:04o}");
            Refusal::of(config::load(&conf)).is(Code::FileExposed, &conf).says(&[&remedy, &shown]);
        }
        set_mode(&folder, 0o755);
        config::load(&conf).unwrap();
    }
}

#[test]
fn a_key_in_a_folder_that_others_may_change_is_refused() {
    for policy in POLICIES {
        let site = Site::new();
        let keys = site.path("keys");
        fs::create_dir(&keys).unwrap();
        fs::rename(site.path("client.key"), keys.join("client.key")).unwrap();
        set_mode(&keys, 0o777);
        site.refused(&minimal(policy).replace("client.key", "keys/client.key"))
            .is(Code::FileExposed, &keys.join("client.key"))
            .says(&["chmod go-w"]);
    }
}

#[test]
fn a_linked_folder_is_followed_and_held_to_the_same_rules() {
    let site = Site::new();
    for folder in ["real", "real/etc", "links"] {
        fs::create_dir(site.path(folder)).unwrap();
    }
    let conf = site.path("real/etc/keystead.conf");
    fs::write(&conf, minimal("strict").replace("\"c", "\"../../c")).unwrap();
    set_mode(&conf, 0o600);
    symlink("../real", site.path("links/relative")).unwrap();
    symlink(site.path("links/relative/etc"), site.path("links/absolute")).unwrap();
    symlink("loop", site.path("links/loop")).unwrap();
    let through = site.path("links/absolute/keystead.conf");
    config::load(&through).unwrap();
    set_mode(&site.path("real"), 0o777);
    Refusal::of(config::load(&through)).is(Code::FileExposed, &through).says(&["chmod go-w"]);
    let looped = site.path("links/loop/keystead.conf");
    Refusal::of(config::load(&looped)).is(Code::FileExposed, &looped).says(&["loop of symbolic links"]);
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: only root can give files away");
        return;
    }
    const STRANGER: u32 = 54321;
    for policy in POLICIES {
        let site = Site::new();
        let conf = site.write("keystead.conf", &minimal(policy), 0o600);
        for name in ["keystead.conf", "client.key", "client.pem", "ca.pem"] {
            let path = site.path(name);
            chown(&path, Some(STRANGER), None).unwrap();
            let remedy = format!("chown 0 {}", path.display());
            Refusal::of(config::load(&conf)).is(Code::FileExposed, &path).says(&["belongs to user 54321", &remedy]);
            chown(&path, Some(0), None).unwrap();
        }
        chown(site.folder.path(), Some(STRANGER), None).unwrap();
        let remedy = format!("chown 0 {}", site.folder.path().display());
        Refusal::of(config::load(&conf)).is(Code::FileExposed, &conf).says(&[&remedy]);
        chown(site.folder.path(), Some(0), None).unwrap();
        fs::create_dir(site.path("real")).unwrap();
        let link = site.path("link");
        symlink(site.path("real"), &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
        let through = link.join("keystead.conf");
        Refusal::of(config::load(&through)).is(Code::FileExposed, &through).says(&["symbolic link", "54321"]);
    }
}

#[test]
fn what_is_not_a_readable_file_is_refused_and_never_waited_for() {
    let site = Site::new();
    let absent = site.path("absent.conf");
    Refusal::of(config::load(&absent)).is(Code::ConfigUnreadable, &absent).says(&["put the file there"]);
    Refusal::of(config::load(site.folder.path())).is(Code::FileExposed, site.folder.path()).says(&["regular file"]);
    Refusal::of(config::load(Path::new("/"))).says(&["name the file itself"]);
    let below = site.path("ca.pem").join("keystead.conf");
    Refusal::of(config::load(&below)).is(Code::ConfigUnreadable, &below);
    let large = site.write("large.conf", &"#".repeat((1 << 20) + 1), 0o600);
    Refusal::of(config::load(&large)).is(Code::ConfigUnreadable, &large).says(&["1048577 bytes"]);
    let pipe = site.path("pipe.conf");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    Refusal::of(config::load(&pipe)).is(Code::FileExposed, &pipe).says(&["not a regular file"]);
    site.refused(&minimal("strict").replace("ca.pem", "nowhere/ca.pem"))
        .is(Code::ConfigUnreadable, &site.path("nowhere/ca.pem"))
        .says(&["`ca_certificate`", "line 6"]);
}

#[test]
fn a_file_that_is_exchanged_while_it_is_read_is_never_taken_unchecked() {
    let site = Site::new();
    let exposed = site.write("exposed", "exposed", 0o644);
    let private = site.write("private", "private", 0o600);
    let path = site.write("file", "private", 0o600);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for source in [&exposed, &private] {
                    fs::hard_link(source, site.path("next")).unwrap();
                    fs::rename(site.path("next"), &path).unwrap();
                }
                // Renaming one link of a file over another leaves both.
                let _ = fs::remove_file(site.path("next"));
            }
        });
        let (mut taken, mut refused) = (Vec::new(), 0);
        while (taken.len() < 200 || refused < 200) && taken.len() + refused < 1_000_000 {
            match read(&path, "the file", Access::Private) {
                Ok(bytes) => taken.push(bytes),
                Err(_) => refused += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(taken.len() >= 200 && refused >= 200, "both files were met");
        assert!(taken.iter().all(|bytes| **bytes == b"private"));
    });
}
