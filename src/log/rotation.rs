//! Our own rotation of a chained file, where no logrotate does it.
//!
//! The full file is renamed to `FILE.SERIAL`, after its last record. Names are thus unique and in order, nothing is
//! renamed twice, and the chain goes on in a new file.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Rotation;

/// Whether the file is to be put aside before so many more bytes are written. `written` is when it was last written to.
pub(super) fn is_due(rotation: &Rotation, size: u64, written: io::Result<SystemTime>) -> bool {
    let by_size = rotation.size.is_some_and(|limit| size >= limit);
    let by_time = || {
        let every = rotation.every?.as_secs().max(1);
        // Periods are counted from 1970, so that days end at midnight (UTC) whenever the application was started.
        let period = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs() / every);
        Some(period(written.ok()?)? < period(SystemTime::now())?)
    };
    by_size || by_time() == Some(true)
}

/// Puts the file aside and removes the oldest of those that are more than `keep`, so far as the system lets us: the
/// next rotation tries again. Returns its new path.
pub(super) fn rotate(rotation: &Rotation, file: &Path, last_serial: u64) -> io::Result<PathBuf> {
    let mut aside = file.to_owned().into_os_string();
    aside.push(format!(".{last_serial}"));
    let aside = PathBuf::from(aside);
    if fs::symlink_metadata(&aside).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(file, &aside)?;
    if let Some(keep) = rotation.keep {
        let mut older = put_aside(file).unwrap_or_default();
        older.sort_by_key(|(serial, _)| std::cmp::Reverse(*serial));
        older.iter().skip(keep as usize).for_each(|(_, path)| drop(fs::remove_file(path)));
    }
    Ok(aside)
}

/// The files that were put aside, with their serials.
fn put_aside(file: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let serial = entry.file_name().to_str().and_then(|other| {
            let digits = other.strip_prefix(name)?.strip_prefix('.')?;
            // Those of logrotate have fewer.
            (digits.len() >= 10).then(|| digits.parse().ok())?
        });
        found.extend(serial.map(|serial| (serial, entry.path())));
    }
    Ok(found)
}
