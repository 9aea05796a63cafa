//! What a mask leaves of a value.
//!
//! A character is what a reader takes for one: an extended grapheme cluster (Unicode Standard Annex #29), so that no
//! accent and no part of an emoji is left behind. A value that a mask does not understand is masked as a whole.

#![forbid(unsafe_code)]

use unicode_segmentation::UnicodeSegmentation;

use crate::config::Shown;

/// A mask is never longer than its value by more than this, in bytes.
pub const ROOM: usize = 4;

/// In the place of a character, or of what has no length to be told.
const HIDDEN: &str = "*";
const WHOLE: &str = "***";

/// Writes the mask of a value to the front of `out`, zeroes the rest, and returns the mask's size. `out` has room for
/// [`ROOM`] bytes more than the value.
pub fn apply(shown: Shown, value: &[u8], out: &mut [u8]) -> usize {
    let mut mask = Writer { out, filled: 0 };
    let understood = std::str::from_utf8(value).ok().and_then(|value| match shown {
        Shown::Ends { first, last } => ends(value, first, last, &mut mask),
        Shown::Email => email(value, &mut mask),
        Shown::Card => card(value, &mut mask),
        Shown::Year => year(value, &mut mask),
        Shown::Nothing => None,
    });
    if understood.is_none() {
        mask.push(WHOLE);
    }
    let filled = mask.filled;
    out[filled..].fill(0);
    filled
}

/// Straight into the caller's buffer: nothing of a value is kept anywhere else.
struct Writer<'a> {
    out: &'a mut [u8],
    filled: usize,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) {
        self.out[self.filled..][..text.len()].copy_from_slice(text.as_bytes());
        self.filled += text.len();
    }
}

/// At least half of the characters stay hidden: of a short value, all.
fn ends(value: &str, first: usize, last: usize, mask: &mut Writer<'_>) -> Option<()> {
    let count = value.graphemes(true).count();
    let is_long = 2 * (first + last) <= count;
    for (place, character) in value.graphemes(true).enumerate() {
        let is_shown = is_long && (place < first || place >= count - last);
        mask.push(if is_shown { character } else { HIDDEN });
    }
    Some(())
}

/// `a***@example.com`: how long the name is, is hidden, too.
fn email(value: &str, mask: &mut Writer<'_>) -> Option<()> {
    let (name, domain) = value.split_once('@')?;
    let is_address = !name.is_empty() && !domain.is_empty() && !domain.contains('@');
    if !is_address || value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let mut characters = name.graphemes(true);
    let first = characters.next()?;
    if characters.next().is_some() {
        mask.push(first);
    }
    mask.push(WHOLE);
    mask.push("@");
    mask.push(domain);
    Some(())
}

/// 12 to 19 digits (ISO/IEC 7812-1), in groups or not: the last four (PCI DSS 3.4).
fn card(value: &str, mask: &mut Writer<'_>) -> Option<()> {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let is_card = value.bytes().all(|b| b.is_ascii_digit() || b == b' ' || b == b'-');
    if !is_card || !(12..=19).contains(&digits) {
        return None;
    }
    let mut left = digits;
    for place in 0..value.len() {
        let character = &value[place..=place];
        let is_digit = character.as_bytes()[0].is_ascii_digit();
        mask.push(if is_digit && left > 4 { HIDDEN } else { character });
        left -= usize::from(is_digit);
    }
    Some(())
}

/// Of `1985-12-31`, also with a time behind it, `31.12.1985`, `12/31/1985` and the like.
fn year(value: &str, mask: &mut Writer<'_>) -> Option<()> {
    let date = value.split(['T', ' ']).next()?;
    let separator = date.chars().find(|c| !c.is_ascii_digit())?;
    if !matches!(separator, '-' | '.' | '/') {
        return None;
    }
    let mut groups = date.split(separator);
    let [a, b, c] = [groups.next()?, groups.next()?, groups.next()?];
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_small = |text: &str| is_digits(text) && text.len() <= 2;
    let is_year = |text: &str| is_digits(text) && text.len() == 4;
    if groups.next().is_some() || !is_small(b) {
        return None;
    }
    match (is_year(a) && is_small(c), is_small(a) && is_year(c)) {
        (true, _) => mask.push(a),
        (_, true) => mask.push(c),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(shown: Shown, value: &str) -> String {
        masked(shown, value.as_bytes())
    }

    /// Nothing of the value is in the buffer but what the mask shows.
    fn masked(shown: Shown, value: &[u8]) -> String {
        let mut out = vec![0xaa; value.len() + ROOM];
        let size = apply(shown, value, &mut out);
        assert!(out[size..].iter().all(|&b| b == 0), "something is left behind the mask of {value:?}");
        String::from_utf8(out[..size].to_vec()).unwrap()
    }

    #[test]
    fn the_ends_of_a_value_are_shown_if_half_of_it_stays_hidden() {
        let ends = |first, last, value: &str| mask(Shown::Ends { first, last }, value);
        assert_eq!(ends(0, 4, "DE02120300000000202051"), "******************2051");
        assert_eq!(ends(2, 0, "Ada Lovelace"), "Ad**********");
        assert_eq!(ends(1, 1, "Lovelace"), "L******e");
        assert_eq!(ends(0, 4, "12345678"), "****5678");
        assert_eq!(ends(0, 4, "1234567"), "*******");
        assert_eq!(ends(255, 255, "12"), "**");
        assert_eq!(ends(1, 0, ""), "");
    }

    #[test]
    fn characters_are_what_a_reader_takes_for_them() {
        let first = |value: &str| mask(Shown::Ends { first: 1, last: 0 }, value);
        assert_eq!(first("E\u{301}tienne"), "E\u{301}******");
        assert_eq!(first("鍵は秘密"), "鍵***");
        assert_eq!(first("👩‍👩‍👧🇩🇪"), "👩‍👩‍👧*");
        assert_eq!(mask(Shown::Ends { first: 0, last: 1 }, "aae\u{301}"), "**e\u{301}");
        assert_eq!(mask(Shown::Email, "e\u{301}a@example.com"), "e\u{301}***@example.com");
    }

    #[test]
    fn an_address_keeps_its_domain_and_hides_how_long_its_name_is() {
        assert_eq!(mask(Shown::Email, "ada@example.com"), "a***@example.com");
        assert_eq!(mask(Shown::Email, "augusta.ada.king@example.com"), "a***@example.com");
        assert_eq!(mask(Shown::Email, "a@example.com"), "***@example.com");
        for other in ["ada", "@example.com", "ada@", "ada@home@example.com", "Ada <ada@example.com>", "a\n@b", ""] {
            assert_eq!(mask(Shown::Email, other), "***", "{other}");
        }
    }

    #[test]
    fn a_card_shows_its_last_four_digits() {
        assert_eq!(mask(Shown::Card, "4111111111111111"), "************1111");
        assert_eq!(mask(Shown::Card, "4111 1111 1111 1234"), "**** **** **** 1234");
        assert_eq!(mask(Shown::Card, "3782-822463-10005"), "****-******-*0005");
        for other in [
            "411111111",
            "41111111111111111111",
            "4111 1111 1111 123x",
            "4111111111111111\n",
            "",
            "１２３４５６７８９０１２",
        ] {
            assert_eq!(mask(Shown::Card, other), "***", "{other}");
        }
    }

    #[test]
    fn a_date_shows_its_year() {
        for date in [
            "1985-12-31",
            "1985/12/31",
            "31.12.1985",
            "12/31/1985",
            "1.2.1985",
            "1985-12-31T23:59:00Z",
            "1985-12-31 10:00",
        ] {
            assert_eq!(mask(Shown::Year, date), "1985", "{date}");
        }
        for other in
            ["1985", "85-12-31", "1985-12", "1985-12.31", "19851231", "31.12.85", "1985-12-31-1", "long ago", ""]
        {
            assert_eq!(mask(Shown::Year, other), "***", "{other}");
        }
    }

    #[test]
    fn what_is_no_text_shows_nothing_under_any_mask() {
        for shown in [Shown::Ends { first: 1, last: 1 }, Shown::Email, Shown::Card, Shown::Year, Shown::Nothing] {
            assert_eq!(masked(shown, b"\xff\xfe1985-12-31@\x00"), "***");
        }
        assert_eq!(mask(Shown::Nothing, "anything"), "***");
        assert_eq!(mask(Shown::Nothing, ""), "***");
    }

    #[test]
    fn no_mask_outgrows_its_room() {
        for value in ["", "a", "@", "a@b", "ab@c", "e\u{301}x@y", "1-1-1985", "1985-1-1"] {
            for shown in [Shown::Ends { first: 9, last: 9 }, Shown::Email, Shown::Card, Shown::Year, Shown::Nothing] {
                mask(shown, value);
            }
        }
    }
}
