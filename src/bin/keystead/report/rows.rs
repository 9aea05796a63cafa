//! The rows of an audit trail, read one at a time: it may be larger than memory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use keystead::log::{read_lines, seconds_of};
use keystead::{Code, Error, Result};

/// What the report needs of a row.
pub struct Row<'a> {
    pub operation: &'a str,
    /// `host:port`; empty where the trail itself has something to tell.
    pub server: String,
    pub key_name: &'a str,
    pub key_version: Option<u32>,
    pub user: &'a str,
    pub succeeded: bool,
    pub reason: &'a str,
    pub message: &'a str,
    /// Seconds since 1970, where date and time can be read.
    pub at: Option<i64>,
}

const NAMES: [&str; 11] = [
    "operation",
    "key_server",
    "port",
    "key_name",
    "date",
    "time",
    "user",
    "result",
    "key_version",
    "result_reason",
    "result_message",
];

/// Shows every row of the files to `visit`, and returns how many lines could not be read as one.
pub fn read(files: &[&Path], visit: &mut dyn FnMut(&Row<'_>)) -> Result<u64> {
    let mut unreadable = 0;
    // Of the file that is read: each has its header row.
    let mut current: Option<(PathBuf, [usize; NAMES.len()])> = None;
    read_lines(files, &mut |file, line| {
        let text = String::from_utf8_lossy(line);
        let cells = split(text.trim_end_matches(['\r', '\n']));
        if let Some(places) = header(&cells) {
            current = Some((file.to_owned(), places));
            return Ok(());
        }
        let Some((_, places)) = current.as_ref().filter(|(known, _)| known == file) else {
            let file = file.display();
            let text = format!("{file} is not an audit trail: its first line is not the header row of one");
            return Err(Error::new(Code::InvalidArgument, text));
        };
        match row(&cells, places) {
            Some(row) => visit(&row),
            None => unreadable += 1,
        }
        Ok(())
    })?;
    Ok(unreadable)
}

/// Where each of [`NAMES`] stands, if this is the header row.
fn header(cells: &[Cow<'_, str>]) -> Option<[usize; NAMES.len()]> {
    if cells.first()? != NAMES[0] {
        return None;
    }
    let mut places = [0; NAMES.len()];
    for (place, name) in places.iter_mut().zip(NAMES) {
        *place = cells.iter().position(|cell| cell == name)?;
    }
    Some(places)
}

fn row<'a>(cells: &'a [Cow<'a, str>], places: &[usize; NAMES.len()]) -> Option<Row<'a>> {
    let cell = |index: usize| cells.get(places[index]).map(AsRef::as_ref);
    let succeeded = match cell(7)? {
        "success" => true,
        "failure" => false,
        _ => return None,
    };
    let (host, port) = (cell(1)?, cell(2)?);
    let server = match (host, port) {
        ("", _) => String::new(),
        (host, port) if host.contains(':') => format!("[{host}]:{port}"),
        (host, port) => format!("{host}:{port}"),
    };
    Some(Row {
        operation: cell(0)?,
        server,
        key_name: cell(3)?,
        key_version: cell(8)?.parse().ok(),
        user: cell(6)?,
        succeeded,
        reason: cell(9)?,
        message: cell(10)?,
        at: seconds_of(cell(4)?, cell(5)?),
    })
}

/// RFC 4180 §2. What stands behind a closing quote is taken as it is.
fn split(line: &str) -> Vec<Cow<'_, str>> {
    let mut cells = Vec::with_capacity(20);
    let mut rest = line;
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted),
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (Cow::Borrowed(&rest[..end]), &rest[end..])
            }
        };
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return cells,
        }
    }
}

/// A cell behind its opening quote, and what follows its closing one.
fn quoted_cell(text: &str) -> (Cow<'_, str>, &str) {
    let mut cell = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return (Cow::Owned(cell + rest), "");
        };
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                cell.push('"');
                rest = next;
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                cell.push_str(&after[..end]);
                return (Cow::Owned(cell), &after[end..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_rfc_4180_writes_them() {
        assert_eq!(split("a,b,,d"), ["a", "b", "", "d"]);
        assert_eq!(split(""), [""]);
        assert_eq!(split(r#""a,b","say ""hi""",c"#), ["a,b", "say \"hi\"", "c"]);
        assert_eq!(split(r#""never closed,x"#), ["never closed,x"]);
        assert_eq!(split(r#""a"b,c"#), ["ab", "c"]);
        assert_eq!(split("a,"), ["a", ""]);
    }
}
