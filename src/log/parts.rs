//! Records that are too long for a datagram, as several of their own.
//!
//! Each part is a record with serial and hash, so nothing is ever cut behind a hash. `part=2/3` tells which it is; the
//! values of one name, read in the order of the parts, make the field.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::batch::Field;
use super::text::{self, MAX_VALUE};

/// As long as the longest number that a part bears.
const NUMBER: &str = "99/99";

/// Packs the fields so that no part is longer than `limit`. `length` tells how long a line with these fields is.
pub(super) fn split<'a>(
    fields: &'a [Field<'a>],
    limit: usize,
    length: impl Fn(&[Field<'_>]) -> usize,
) -> Vec<Vec<Field<'a>>> {
    let mark = || ("part", Cow::Borrowed(NUMBER));
    let overhead = length(&[mark()]);
    let cost = |name: &'static str, value: &str| length(&[mark(), (name, value.into())]) - overhead;
    // A client with a very long name has longer lines rather than parts without end.
    let room = limit.saturating_sub(overhead).max(MAX_VALUE / 8);
    let mut parts = vec![vec![mark()]];
    let mut used = 0;
    for (name, value) in fields {
        let mut rest: &str = value;
        loop {
            let mut piece = rest;
            while cost(name, piece) > room - used && !piece.is_empty() {
                // Half of what is left may fit as well; an empty part takes at least one character.
                let smaller = text::head(piece, piece.len() / 2);
                if smaller.is_empty() && used == 0 {
                    break;
                }
                piece = smaller;
            }
            if piece.is_empty() && !rest.is_empty() || cost(name, piece) > room - used && used > 0 {
                parts.push(vec![mark()]);
                used = 0;
                continue;
            }
            used = (used + cost(name, piece)).min(room);
            parts.last_mut().expect("there is a first").push((name, piece.to_owned().into()));
            rest = &rest[piece.len()..];
            if rest.is_empty() {
                break;
            }
        }
    }
    let count = parts.len();
    for (number, part) in parts.iter_mut().enumerate() {
        part[0].1 = format!("{}/{count}", number + 1).into();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(fields: &[Field<'_>]) -> usize {
        let mut line = String::from("sixteen bytes in");
        fields.iter().for_each(|(name, value)| text::push_field(&mut line, name, value));
        line.len()
    }

    #[test]
    fn parts_are_short_and_lose_nothing() {
        let values = ["é".repeat(200), "\"\\".repeat(100), "\u{202e}".repeat(60), "short".into(), String::new()];
        let names = ["a", "b", "c", "d", "e"];
        let fields: Vec<Field<'_>> = names.iter().zip(&values).map(|(n, v)| (*n, v.as_str().into())).collect();
        for limit in [120, 200, 500, 5000] {
            let parts = split(&fields, limit, length);
            assert!(parts.iter().all(|part| length(part) <= limit), "{limit}: {parts:?}");
            assert_eq!(parts[0][0].1, format!("1/{}", parts.len()));
            for (name, value) in names.iter().zip(&values) {
                let pieces = parts.iter().flatten().filter(|(piece, _)| piece == name);
                assert_eq!(&pieces.map(|(_, text)| text.as_ref()).collect::<String>(), value, "{limit}");
            }
        }
        assert_eq!(split(&fields, 5000, length).len(), 1);
    }
}
