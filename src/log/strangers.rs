//! Chains that do not belong together. The files of one log, or of one audit trail, hold one chain.

#![forbid(unsafe_code)]

use super::report::{Findings, Kind};
use super::sequence::Sequence;

const JOINED: &str = "another chain begins here: the log was replaced or lost its state, or these are files of several logs, which are \
                      verified apart (what a collector kept: --collected)";

/// Looks at the chains of logs, or those of audit trails. Where one begins within another, the smaller one was put there; these are
/// returned. Where one begins behind another, that one was replaced or they were joined, and either may be real.
pub(super) fn find<'a>(
    chains: impl Iterator<Item = &'a Sequence>,
    files: &[String],
    findings: &mut Findings,
) -> Vec<u64> {
    let mut chains: Vec<&Sequence> = chains.collect();
    chains.sort_by_key(|chain| chain.first.place);
    let mut strangers = Vec::new();
    let mut chains = chains.into_iter();
    let Some(mut main) = chains.next() else { return strangers };
    for other in chains {
        if other.first.place > main.last.place {
            let (begins, end) = (other.first, main.last);
            let file = &files[end.place.file];
            let why = format!("{JOINED}; {:016x} ends with {} ({file}:{})", end.stream, end.serial, end.place.line);
            findings.add_range(Kind::Inserted, begins.place, Some((begins.serial, begins.serial)), &why);
            main = other;
            continue;
        }
        let stranger = if other.records > main.records { std::mem::replace(&mut main, other) } else { other };
        let (records, begins) = (stranger.records, stranger.first);
        let why = format!("{records} records of another chain begin here; they belong to another file");
        findings.add_range(Kind::Inserted, begins.place, Some((begins.serial, begins.serial)), &why);
        strangers.push(begins.stream);
    }
    strangers
}
