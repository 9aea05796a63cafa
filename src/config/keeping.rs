//! Where the configuration and what it names are kept, and whose they are.
//!
//! Keys are not to lie on what is carried away or mounted from elsewhere, and the user that owns the configuration
//! is to be one that nobody signs on as. `strict` refuses both and `relaxed` warns.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Config, Finding, Policy};
use crate::error::{Code, Error, Result};
use crate::platform;

/// File systems of other machines, by their number (linux/magic.h).
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00C3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x0BD0_0BD0, "Lustre"),
    (0x564C, "NCP"),
];

/// File systems of media that are carried about.
const CARRIED: &[(u64, &str)] =
    &[(0x4D44, "FAT"), (0x2011_BAB0, "exFAT"), (0x9660, "ISO 9660"), (0x1501_3346, "UDF"), (0x482B, "HFS+")];

/// What a file lies on that it should not; `None` where it may stay, or where nobody can tell.
fn medium(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let device = file.metadata().ok()?.dev();
    // A container's root may be anything; nothing is mounted there beside it.
    if std::fs::metadata("/").is_ok_and(|root| root.dev() == device) {
        return None;
    }
    medium_of(platform::file_system(&file).ok()?).or_else(|| is_removable(device).then(|| "a removable disk".into()))
}

fn medium_of(file_system: u64) -> Option<String> {
    let known =
        |list: &[(u64, &'static str)]| list.iter().find(|(number, _)| *number == file_system).map(|(_, name)| *name);
    let network = known(NETWORK).map(|name| format!("a file system that is mounted from elsewhere ({name})"));
    network.or_else(|| known(CARRIED).map(|name| format!("a medium that can be carried away ({name})")))
}

/// Whether the kernel calls the disk, or the one that a partition is of, removable.
fn is_removable(device: u64) -> bool {
    let place = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    let says_so = |flag: &str| std::fs::read_to_string(format!("{place}/{flag}")).is_ok_and(|text| text.trim() == "1");
    says_so("removable") || says_so("../removable")
}

/// Whether what was read lies where keys may be kept.
pub(super) fn check_media<'a>(policy: Policy, paths: impl Iterator<Item = &'a Path>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in paths {
        let Some(medium) = medium(path) else { continue };
        let message = format!("{} lies on {medium}; keep it on a disk of this machine", path.display());
        if policy == Policy::Strict {
            return Err(Error::new(Code::MountRefused, message).in_file(path));
        }
        findings.push(Finding { id: "mounted-file", message });
    }
    Ok(findings)
}

impl Config {
    /// Whether the user that owns the file is one that nobody signs on as. Root may do anything anyway.
    pub fn check_owner(&self) -> Result<Option<Finding>> {
        let Ok(metadata) = std::fs::metadata(&self.path) else { return Ok(None) };
        let shell = platform::login_shell(metadata.uid());
        let Some(shell) = shell.filter(|shell| metadata.uid() != 0 && can_sign_on(Path::new(shell))) else {
            return Ok(None);
        };
        let message = format!(
            "{} belongs to user {}, who can sign on (with {}); let it belong to a user of its own: usermod --shell \
             /usr/sbin/nologin",
            self.path.display(),
            metadata.uid(),
            Path::new(&shell).display()
        );
        match self.policy {
            Policy::Strict => Err(Error::new(Code::OwnerSignsOn, message).in_file(&self.path)),
            Policy::Relaxed => Ok(Some(Finding { id: "owner-signs-on", message })),
        }
    }
}

/// An empty shell means /bin/sh (passwd(5)).
fn can_sign_on(shell: &Path) -> bool {
    let name = shell.file_name().and_then(|name| name.to_str());
    !matches!(name, Some("nologin" | "false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_from_elsewhere_or_carried_about_is_known_and_disks_are_not_taken_for_it() {
        const EXT4: u64 = 0xEF53;
        const TMPFS: u64 = 0x0102_1994;
        const OVERLAY: u64 = 0x794C_7630;
        for (number, word) in [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0x6573_5546, "FUSE"), (0x4D44, "FAT")] {
            assert!(medium_of(number).unwrap().contains(word));
        }
        assert!([EXT4, TMPFS, OVERLAY].iter().all(|number| medium_of(*number).is_none()));
        assert_eq!(medium(Path::new("/proc/self/status")), None);
        assert_eq!(platform::file_system(&File::open("/proc/self/status").unwrap()).unwrap(), 0x9FA0);
    }

    #[test]
    fn only_nologin_and_false_keep_a_user_from_signing_on() {
        for shell in ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false"] {
            assert!(!can_sign_on(Path::new(shell)));
        }
        for shell in ["/bin/bash", "/bin/sh", "", "/usr/bin/zsh"] {
            assert!(can_sign_on(Path::new(shell)), "{shell}");
        }
        assert!(platform::login_shell(0).is_some_and(|shell| can_sign_on(Path::new(&shell))));
        assert_eq!(platform::login_shell(3_999_999_999), None);
    }
}
