//! The writer's side of seals: when a file begins with a new one, when a checkpoint is due, and where the key is until
//! then.
//!
//! The key of the next checkpoint lies in `FILE.seal`, overwritten in place, so that every process that writes to the
//! file goes on with the same seal, also after a restart or a crash (`docs/decisions/0004-seals.md`). It is used under
//! the lock of the state file.

#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::chain::Opened;
use super::layout::Hash;
use super::place::{self, Fault};
use super::recover::Notice;
use super::seal::{self, Claim, SealKey};
use super::state::Position;
use crate::config::{AuditorKey, Durability};
use crate::memory::scrub;

/// A checkpoint is written once so many records stand behind the last one,
pub(super) const RECORDS: u64 = 1000;
/// or so long after it.
pub(super) const PERIOD: Duration = Duration::from_secs(30);

const MAGIC: &[u8; 16] = b"keystead-seal-1\n";
/// The length of `FILE.seal`, in bytes.
const LENGTH: usize = 16 + 6 * 8 + 32 + 8;

/// What seals one file.
pub(super) struct Sealer {
    auditor: AuditorKey,
    path: PathBuf,
    /// What is sealed, for errors.
    what: &'static str,
    file: Option<Opened>,
    /// As `FILE.seal` was when we last saw it.
    mark: Option<Mark>,
}

/// How far a seal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    seal: u64,
    auditor: [u8; 8],
    /// Of the next checkpoint.
    index: u64,
    /// Of the last checkpoint's record, or of the seal's own.
    serial: u64,
    /// Of the same, in seconds since 1970.
    time: u64,
    /// Of the file in which the seal began.
    inode: u64,
}

/// A seal and its key, as `FILE.seal` holds them.
struct Kept {
    mark: Mark,
    key: SealKey,
}

/// What is due.
pub(super) enum Due {
    Nothing,
    Checkpoint(Seal),
    /// A new seal, and a checkpoint of the one before, which thereby vouches for it.
    Beginning(Option<Seal>),
}

/// A seal that is about to be used.
pub(super) struct Seal(Kept);

impl Sealer {
    /// For the log at `path`.
    pub fn new(auditor: AuditorKey, path: &Path, what: &'static str) -> Sealer {
        let mut path = path.to_owned().into_os_string();
        path.push(".seal");
        Sealer { auditor, path: path.into(), what, file: None, mark: None }
    }

    /// What is due where the chain stands. The file is asked only when something seems to be due, because another process
    /// may have seen to it. `at_once`: a checkpoint is wanted if it seals anything.
    pub fn due(&mut self, position: &Position, at_once: bool) -> Result<Due, Fault> {
        let auditor = self.auditor;
        let fits = |mark: &Mark| mark.is_of(position, &auditor) && !mark.is_due(position, at_once);
        if self.mark.as_ref().is_some_and(fits) {
            return Ok(Due::Nothing);
        }
        let kept = self.read()?;
        self.mark = kept.as_ref().map(|kept| kept.mark);
        Ok(match kept {
            Some(kept) if fits(&kept.mark) => Due::Nothing,
            Some(kept) if kept.mark.is_of(position, &auditor) => Due::Checkpoint(Seal(kept)),
            kept => Due::Beginning(kept.map(Seal)),
        })
    }

    /// Whether records stand behind the last checkpoint, so far as we know. Another process may have made it, further on.
    pub fn is_behind(&self, position: &Position) -> bool {
        self.mark.is_none_or(|mark| position.serial > mark.serial)
    }

    /// Makes a new seal for the chain, whose key is in nobody's hands but the auditor's and ours.
    pub fn begin(&self, position: &Position) -> io::Result<(Seal, Notice)> {
        let key = SealKey::random()?;
        let sealed = seal::seal_to(&self.auditor, position.stream, &key)?;
        let auditor = self.auditor.id();
        let (seal, serial) = (seal::name_of(&sealed), position.serial + 1);
        let mark = Mark { seal, auditor, index: 0, serial, time: now(), inode: position.inode };
        let notice = Notice::Seal { seal, auditor, sealed_key: seal::base64url(&sealed) };
        Ok((Seal(Kept { mark, key }), notice))
    }

    /// Replaces what `FILE.seal` holds, once the records are written that the seal was used for. Should that fail, the
    /// next checkpoint is made with the same key, which a verifier takes.
    pub fn keep(&mut self, seal: Seal, durability: Durability) {
        let Seal(kept) = seal;
        if let Some(Opened { file, .. }) = &self.file {
            let written = file.write_all_at(&*kept.encode(), 0);
            if written.is_ok() && durability == Durability::Fsync {
                let _ = file.sync_data();
            }
        }
        self.mark = Some(kept.mark);
    }

    fn read(&mut self) -> Result<Option<Kept>, Fault> {
        let is_there = match &self.file {
            Some(file) => file.size_at(&self.path)?.is_some(),
            None => false,
        };
        if !is_there {
            self.file = Some(Opened::new(place::open(&self.path, self.what, false)?)?);
        }
        let file = self.file.as_ref().expect("it was just opened");
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = file.file.read_at(&mut *bytes, 0)?;
        Ok(Kept::parse(&bytes[..length]))
    }
}

impl Mark {
    /// Whether the seal is that of the file and of the auditor.
    fn is_of(&self, position: &Position, auditor: &AuditorKey) -> bool {
        position.offset > 0 && self.inode == position.inode && self.auditor == auditor.id()
    }

    fn is_due(&self, position: &Position, at_once: bool) -> bool {
        // A chain that is behind its seal was cut. The checkpoint shows it by its index.
        let unsealed = position.serial.checked_sub(self.serial).unwrap_or(RECORDS);
        unsealed >= RECORDS || at_once && unsealed > 0 || now().abs_diff(self.time) >= PERIOD.as_secs()
    }
}

impl Seal {
    /// A checkpoint as the record behind `position`. The key is replaced.
    pub fn checkpoint(&mut self, position: &Position) -> Notice {
        let Kept { mark, key } = &mut self.0;
        let Position { stream, serial, head, .. } = *position;
        let claim = Claim { seal: mark.seal, index: mark.index, stream, serial: serial + 1, head };
        let proof = key.vouch(&claim);
        *key = key.next();
        scrub::stack();
        scrub::registers();
        (mark.index, mark.serial, mark.time) = (mark.index + 1, serial + 1, now());
        Notice::Checkpoint { seal: claim.seal, index: claim.index, proof }
    }
}

impl Kept {
    fn encode(&self) -> Zeroizing<[u8; LENGTH]> {
        let Mark { seal, auditor, index, serial, time, inode } = self.mark;
        let mut bytes = Zeroizing::new([0; LENGTH]);
        bytes[..16].copy_from_slice(MAGIC);
        let numbers = [seal, u64::from_be_bytes(auditor), index, serial, time, inode];
        for (at, number) in numbers.iter().enumerate() {
            bytes[16 + 8 * at..][..8].copy_from_slice(&number.to_be_bytes());
        }
        bytes[64..96].copy_from_slice(self.key.expose());
        let check = Hash::of(&bytes[..96]);
        bytes[96..].copy_from_slice(&check.0[..8]);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Kept> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        if &bytes[..16] != MAGIC || bytes[96..] != Hash::of(&bytes[..96]).0[..8] {
            return None;
        }
        let number = |at: usize| u64::from_be_bytes(bytes[16 + 8 * at..][..8].try_into().expect("8 bytes"));
        let (seal, auditor) = (number(0), number(1).to_be_bytes());
        let mark = Mark { seal, auditor, index: number(2), serial: number(3), time: number(4), inode: number(5) };
        Some(Kept { mark, key: SealKey::from_bytes(bytes[64..96].try_into().expect("32 bytes")) })
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_survives_its_file_and_damage_is_noticed() {
        let mark = Mark { seal: 1, auditor: [2; 8], index: 3, serial: 4, time: 5, inode: 6 };
        let bytes = Kept { mark, key: SealKey::from_bytes(&[7; 32]) }.encode();
        let kept = Kept::parse(&*bytes).unwrap();
        assert_eq!((kept.mark, kept.key.expose()), (mark, &[7; 32]));
        for at in 0..LENGTH {
            let mut damaged = *bytes;
            damaged[at] ^= 1;
            assert!(Kept::parse(&damaged).is_none(), "byte {at}");
        }
        assert!(Kept::parse(&bytes[1..]).is_none() && Kept::parse(&[]).is_none());
    }
}
