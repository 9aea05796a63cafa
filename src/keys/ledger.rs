//! What is remembered of keys: the highest version seen, so that a server that lags or lost something never takes
//! a name back to an older one, and what is known to need a version, so that it is not destroyed under it.
//!
//! In memory, and in a file where one is configured. It holds no secrets and is appended to, a line for each change, so
//! that the processes of an application can share it; once most lines are outdated it is made anew:
//!
//! ```text
//! version customer-42/3 active
//! version customer-42/3 ended
//! reference customer-42/2 table orders, column card
//! release customer-42/2 table orders, column card
//! ```

#![forbid(unsafe_code)]

mod file;
mod hold;
mod known;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lookup::Found;
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::{Deadline, State};
use file::{StateFile, WHAT};
use hold::{Hold, Holds};
pub use known::Newest;
use known::{Known, version_line};

/// The longest description of what needs a version, in bytes.
const MAX_REFERENCE: usize = 256;

pub struct Ledger {
    path: Option<PathBuf>,
    holds: Holds,
    known: Mutex<Known>,
}

impl Ledger {
    /// Opens or makes the file, mode 0600, and reads it.
    ///
    /// Errors: `FileExposed` where others could change it, `System`.
    pub fn open(path: Option<&Path>) -> Result<Ledger> {
        let mut known = Known::default();
        if let Some(path) = path {
            known.file = Some(StateFile::open(path)?);
            known.catch_up().map_err(|error| failed(path, "read", &error))?;
        }
        Ok(Ledger { path: path.map(Path::to_owned), holds: Holds::of(path), known: Mutex::new(known) })
    }

    /// The highest version of `name` that was seen.
    pub fn newest(&self, name: &str) -> Option<Newest> {
        self.up_to_date().newest.get(name).copied()
    }

    /// Remembers what servers showed. A failing disk is no reason not to go on: see [`Ledger::is_damaged`].
    pub fn note(&self, found: &[Found]) {
        let used = found.iter().filter(|found| found.state != State::PreActive);
        let seen = |found: &Found| Newest { version: found.id.version, has_ended: found.state != State::Active };
        self.note_all(&used.map(|found| (&found.id, seen(found))).collect::<Vec<_>>());
    }

    fn note_all(&self, all: &[(&KeyId, Newest)]) {
        let mut known = self.lock();
        let mut lines = String::new();
        for (id, seen) in all {
            if known.take(&id.name, *seen) {
                lines += &version_line(id, *seen);
            }
        }
        if !lines.is_empty() && known.append(&lines).is_err() {
            known.is_damaged = true;
        }
    }

    /// Remembers the key of a data space, so that no other one is called the same: a key server may forget what is destroyed.
    pub fn note_made(&self, id: &KeyId) {
        self.note_all(&[(id, Newest { version: id.version, has_ended: true })]);
    }

    /// What is known to need this version.
    pub fn references(&self, id: &KeyId) -> Vec<String> {
        self.up_to_date().references.get(id).map(|what| what.iter().cloned().collect()).unwrap_or_default()
    }

    /// The versions that `what` is known to need.
    pub fn needed_by(&self, what: &str) -> Vec<KeyId> {
        let known = self.up_to_date();
        known.references.iter().filter(|(_, known)| known.contains(what)).map(|(id, _)| id.clone()).collect()
    }

    /// Keeps others from noting needs, so that a version nothing is known to need can be ended: hold it over both, which the
    /// deadline is to bound, as others wait. Errors: `Deadline`, `System`.
    pub fn hold(&self, deadline: Deadline) -> Result<Hold<'_>> {
        self.holds.to_end(deadline)
    }

    /// Remembers that `what` needs this version. Where a version is just being ended, it waits for that.
    ///
    /// Errors: `InvalidArgument`, `Deadline`, `System` if it cannot be written.
    pub fn refer(&self, id: &KeyId, what: &str, deadline: Deadline) -> Result<()> {
        check_reference(what)?;
        let _nobody_ends_it = self.holds.to_note(deadline)?;
        self.change(id, what, "reference")
    }

    /// Forgets that `what` needs this version. Errors: `InvalidArgument`, `System`.
    pub fn release(&self, id: &KeyId, what: &str) -> Result<()> {
        check_reference(what)?;
        self.change(id, what, "release")
    }

    /// Whether the file holds more than our lines, or could not be written since this was asked last.
    pub fn was_damaged(&self) -> Option<&Path> {
        let is_damaged = std::mem::take(&mut self.lock().is_damaged);
        self.path.as_deref().filter(|_| is_damaged)
    }

    /// Reads the file and writes to it, where there is one. Tells whether it holds our lines alone. Errors: `System`.
    pub fn check(&self) -> Result<Option<bool>> {
        let Some(path) = &self.path else { return Ok(None) };
        let mut known = self.lock();
        known.catch_up().map_err(|error| failed(path, "read", &error))?;
        known.append("").map_err(|error| failed(path, "written", &error))?;
        Ok(Some(!known.holds_foreign))
    }

    fn change(&self, id: &KeyId, what: &str, verb: &str) -> Result<()> {
        let mut known = self.up_to_date();
        let is_known = known.references.get(id).is_some_and(|known| known.contains(what));
        if is_known == (verb == "reference") {
            return Ok(());
        }
        // What was not written must not be believed to be safe.
        let line = format!("{verb} {id} {what}\n");
        let written = known.append(&line);
        written.map_err(|error| failed(self.path.as_deref().unwrap_or(Path::new("")), "written", &error))?;
        known.apply(&line);
        Ok(())
    }

    fn up_to_date(&self) -> MutexGuard<'_, Known> {
        let mut known = self.lock();
        if known.catch_up().is_err() {
            known.is_damaged = true;
        }
        known
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Valid between any two statements.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_reference(what: &str) -> Result<()> {
    if (1..=MAX_REFERENCE).contains(&what.len()) && !what.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("what needs a key is described in 1 to {MAX_REFERENCE} bytes on one line");
    Err(Error::new(Code::InvalidArgument, message))
}

fn failed(path: &Path, how: &str, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "put the file back that was removed: an empty one knows nothing that needs a key",
        _ => "mend the disk or its permissions",
    };
    let message = format!("{WHAT} in {} could not be {how}: {error}; {remedy}", path.display());
    Error::new(Code::System, message).in_file(path)
}

#[cfg(test)]
mod tests {
    use super::known::OUTDATED;
    use super::*;
    use crate::keys::lookup::tests::found;

    fn id(text: &str) -> KeyId {
        KeyId::parse(text).unwrap()
    }

    fn soon() -> Deadline {
        Deadline::after(std::time::Duration::from_secs(30))
    }

    #[test]
    fn a_file_is_checked_by_reading_and_writing_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let ledger = Ledger::open(Some(&path)).unwrap();
        ledger.note(&[found("a/2", State::Active)]);
        assert_eq!(ledger.check().unwrap(), Some(true));
        std::fs::write(&path, "version a/2 active\nwhat is this\n").unwrap();
        assert_eq!(Ledger::open(Some(&path)).unwrap().check().unwrap(), Some(false));
        std::fs::remove_file(&path).unwrap();
        assert!(ledger.check().unwrap_err().message().contains("put the file back"));
        assert_eq!(Ledger::open(None).unwrap().check().unwrap(), None);
    }

    #[test]
    fn the_highest_version_outlasts_the_process_and_is_never_undercut() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let ledger = Ledger::open(Some(&path)).unwrap();
        assert_eq!(ledger.newest("a"), None);
        ledger.note(&[found("a/2", State::Active), found("a/1", State::Active), found("a/3", State::PreActive)]);
        ledger.note(&[found("a/1", State::Active), found("b/7", State::Deactivated)]);
        for ledger in [ledger, Ledger::open(Some(&path)).unwrap()] {
            assert_eq!(ledger.newest("a"), Some(Newest { version: 2, has_ended: false }));
            assert_eq!(ledger.newest("b"), Some(Newest { version: 7, has_ended: true }));
        }
        let again = Ledger::open(Some(&path)).unwrap();
        again.note(&[found("b/7", State::Active), found("a/2", State::Compromised)]);
        assert!(again.newest("b").unwrap().has_ended, "a server that lags brings it back");
        assert!(Ledger::open(Some(&path)).unwrap().newest("a").unwrap().has_ended);
    }

    #[test]
    fn a_process_sees_at_once_what_another_one_refers_to() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let (one, other) = (Ledger::open(Some(&path)).unwrap(), Ledger::open(Some(&path)).unwrap());
        one.refer(&id("a/1"), "table orders, column card", soon()).unwrap();
        one.refer(&id("a/1"), "backup of May", soon()).unwrap();
        one.refer(&id("a/1"), "backup of May", soon()).unwrap();
        assert_eq!(other.references(&id("a/1")), ["backup of May", "table orders, column card"]);
        assert!(other.references(&id("a/11")).is_empty());
        other.release(&id("a/1"), "backup of May").unwrap();
        assert_eq!(one.references(&id("a/1")), ["table orders, column card"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3, "nothing is written twice");
        for what in ["", "two\nlines", &"x".repeat(257)] {
            assert_eq!(one.refer(&id("a/1"), what, soon()).unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_need_is_noted_before_a_version_is_ended_or_after_and_not_in_between() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let (one, other) = (Ledger::open(Some(&path)).unwrap(), Ledger::open(Some(&path)).unwrap());
        let alone = Ledger::open(None).unwrap();
        for (ends, notes) in [(&one, &other), (&one, &one), (&alone, &alone)] {
            let hold = ends.hold(soon()).unwrap();
            let at_once = Deadline::after(std::time::Duration::ZERO);
            let refusal = notes.refer(&id("a/1"), "table orders", at_once).unwrap_err();
            assert!(refusal.code() == Code::Deadline && refusal.message().contains("nothing was done"), "{refusal}");
            assert!(ends.references(&id("a/1")).is_empty());
            notes.note(&[found("a/1", State::Active)]);
            drop(hold);
            notes.refer(&id("a/1"), "table orders", at_once).unwrap();
            assert_eq!(ends.references(&id("a/1")), ["table orders"]);
            notes.release(&id("a/1"), "table orders").unwrap();
        }
    }

    #[test]
    fn a_torn_or_foreign_line_costs_nothing_but_itself_and_is_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let text = "version a/2 active\nversion a/x active\nnonsense\nreference a/1 x\nversion b/9 acti";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let ledger = Ledger::open(Some(&path)).unwrap();
        assert_eq!(ledger.was_damaged(), Some(path.as_path()));
        assert_eq!(ledger.was_damaged(), None, "it is told once");
        assert_eq!((ledger.newest("a").unwrap().version, ledger.newest("b")), (2, None));
        ledger.refer(&id("a/3"), "after the torn line", soon()).unwrap();
        let again = Ledger::open(Some(&path)).unwrap();
        assert_eq!(again.references(&id("a/3")), ["after the torn line"]);
        assert_eq!(again.references(&id("a/1")), ["x"]);
    }

    #[test]
    fn what_is_outdated_leaves_the_file_and_what_is_true_stays_for_every_process() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let (one, other) = (Ledger::open(Some(&path)).unwrap(), Ledger::open(Some(&path)).unwrap());
        one.note(&[found("a/2", State::Active), found("b/7", State::Deactivated)]);
        one.refer(&id("a/2"), "table orders", soon()).unwrap();
        other.refer(&id("a/1"), "archive", soon()).unwrap();
        let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
        for number in 0..2 * OUTDATED {
            one.refer(&id("a/2"), &format!("job {number}"), soon()).unwrap();
            one.release(&id("a/2"), &format!("job {number}")).unwrap();
        }
        assert!(lines() < OUTDATED + 20, "{} lines", lines());
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        // The other one had the old file open, and writes to the new one.
        other.refer(&id("c/1"), "backup of May", soon()).unwrap();
        other.release(&id("a/1"), "archive").unwrap();
        for ledger in [&one, &other, &Ledger::open(Some(&path)).unwrap()] {
            assert_eq!(ledger.newest("a"), Some(Newest { version: 2, has_ended: false }));
            assert_eq!(ledger.newest("b"), Some(Newest { version: 7, has_ended: true }));
            assert_eq!(ledger.references(&id("a/2")), ["table orders"]);
            assert_eq!(ledger.references(&id("c/1")), ["backup of May"]);
            assert!(ledger.references(&id("a/1")).is_empty() && ledger.was_damaged().is_none());
        }
    }

    #[test]
    fn nothing_is_lost_while_several_processes_write_and_the_file_is_made_anew() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let write = |writer: usize| {
            let ledger = Ledger::open(Some(&path)).unwrap();
            for number in 0..40 {
                ledger.refer(&id("a/1"), &format!("writer {writer} keeps {number}"), soon()).unwrap();
                for _ in 0..4 {
                    ledger.refer(&id("a/1"), &format!("writer {writer} drops"), soon()).unwrap();
                    ledger.release(&id("a/1"), &format!("writer {writer} drops")).unwrap();
                }
            }
        };
        drop(Ledger::open(Some(&path)).unwrap());
        // Open, so that no other file is given its number.
        let first = std::fs::File::open(&path).unwrap();
        let before = std::os::unix::fs::MetadataExt::ino(&first.metadata().unwrap());
        std::thread::scope(|scope| (0..4).for_each(|writer| drop(scope.spawn(move || write(writer)))));
        assert_ne!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap()), before, "it was made anew");
        let ledger = Ledger::open(Some(&path)).unwrap();
        assert_eq!(ledger.references(&id("a/1")).len(), 160);
        assert!(ledger.was_damaged().is_none());
    }

    #[test]
    fn a_lock_that_is_held_for_more_than_a_second_is_waited_for() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let ledger = Ledger::open(Some(&path)).unwrap();
        let holder = std::fs::File::open(&path).unwrap();
        holder.lock().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(1500));
                drop(holder);
            });
            ledger.refer(&id("a/1"), "table orders", soon()).unwrap();
        });
    }

    #[test]
    fn nothing_is_said_to_be_written_to_a_file_that_was_removed_and_what_was_known_still_is() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, aside) = (folder.path().join("keys.state"), folder.path().join("aside"));
        let ledger = Ledger::open(Some(&path)).unwrap();
        ledger.refer(&id("a/1"), "table orders", soon()).unwrap();
        std::fs::rename(&path, &aside).unwrap();
        let refusal = ledger.refer(&id("a/1"), "backup of May", soon()).unwrap_err();
        assert!(refusal.code() == Code::System && refusal.message().contains("put the file back"), "{refusal}");
        assert_eq!(ledger.references(&id("a/1")), ["table orders"]);
        assert!(!path.exists());
        std::fs::rename(&aside, &path).unwrap();
        ledger.refer(&id("a/1"), "backup of May", soon()).unwrap();
        assert_eq!(ledger.references(&id("a/1")).len(), 2);
    }

    #[test]
    fn a_line_that_is_not_ours_is_kept() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let ledger = Ledger::open(Some(&path)).unwrap();
        std::fs::write(&path, "nonsense\n".to_owned() + &"version a/1 active\n".repeat(2 * OUTDATED)).unwrap();
        assert_eq!(ledger.newest("a").map(|newest| newest.version), Some(1));
        assert!(ledger.was_damaged().is_some());
        ledger.refer(&id("a/1"), "after it was told", soon()).unwrap();
        assert_eq!(ledger.references(&id("a/1")), ["after it was told"]);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("nonsense\n"));
    }

    #[test]
    fn a_line_that_is_not_ours_is_kept_also_if_it_comes_while_the_file_is_made_anew() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        let ledger = Ledger::open(Some(&path)).unwrap();
        ledger.refer(&id("a/1"), "table orders", soon()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap() + "nonsense\n";
        std::fs::write(&path, &text).unwrap();
        ledger.lock().renew();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert!(ledger.was_damaged().is_some());
    }

    #[test]
    fn a_state_that_others_may_change_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys.state");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(Ledger::open(Some(&path)).err().unwrap().code(), Code::FileExposed);
    }
}
