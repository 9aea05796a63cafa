//! Values as they stand in a line: one line per record, nothing invisible, nothing endless.

#![forbid(unsafe_code)]

use std::fmt::Write;

/// A value longer than this is cut before it is queued, and says by how much; in bytes of UTF-8.
pub(crate) const MAX_VALUE: usize = 512;
/// Room for what says so.
const MARKER: usize = 32;

/// Appends ` name=value`. A value is bare if it consists of visible ASCII without `"`, `\` and `=`, else quoted.
pub(crate) fn push_field(line: &mut String, name: &str, value: &str) {
    line.push(' ');
    line.push_str(name);
    line.push('=');
    if is_bare(value) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            _ => push_visible(line, c),
        }
    }
    line.push('"');
}

/// The value, or as much of it as fits and how much is missing.
pub(super) fn shortened(value: &str) -> String {
    if value.len() <= MAX_VALUE {
        return value.to_owned();
    }
    let kept = head(value, MAX_VALUE - MARKER);
    format!("{kept}…(+{} bytes)", value.len() - kept.len())
}

/// The first characters of the value, in at most so many bytes.
pub(super) fn head(value: &str, bytes: usize) -> &str {
    let mut end = value.len().min(bytes);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// Appends a text with what a reader would not see or that would break or turn the line escaped.
pub(crate) fn push_visible_text(out: &mut String, text: &str) {
    if is_printable(text) { out.push_str(text) } else { text.chars().for_each(|c| push_visible(out, c)) }
}

/// Whether it is ASCII that anybody sees: most values are, and need no look at each character.
pub(crate) fn is_printable(text: &str) -> bool {
    is_all(text, |b| matches!(b, b' '..=b'~'))
}

/// Whether all bytes are of a kind. Looks at all of them, which is sooner done than stopping at the first that is not.
#[inline]
pub(crate) fn is_all(text: &str, is_of_kind: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & is_of_kind(byte))
}

/// Appends a character, escaped if it is one that a reader would not see or that would break or turn the line.
pub(crate) fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if is_invisible(c) => {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        }
        _ => out.push(c),
    }
}

fn is_bare(value: &str) -> bool {
    !value.is_empty() && is_all(value, |b| matches!(b, b'!'..=b'~') & !matches!(b, b'"' | b'\\' | b'='))
}

/// Control characters, line and paragraph separators, and what reorders, joins or hides text: marks of direction
/// (Unicode Bidi), zero-width characters, variation selectors of the supplementary plane and tags.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &str) -> String {
        let mut line = String::new();
        push_field(&mut line, "k", value);
        line
    }

    #[test]
    fn plain_values_stand_bare_and_others_are_quoted() {
        assert_eq!(field("kms1.example.com:5696"), " k=kms1.example.com:5696");
        assert_eq!(field(""), r#" k="""#);
        assert_eq!(field("a b"), r#" k="a b""#);
        assert_eq!(field("a=b"), r#" k="a=b""#);
        assert_eq!(field(r#"say "hi" \o/"#), r#" k="say \"hi\" \\o/""#);
        assert_eq!(field("Zoë 鍵 🔑"), " k=\"Zoë 鍵 🔑\"");
    }

    #[test]
    fn no_value_can_break_hide_or_turn_a_line() {
        assert_eq!(field("a\r\nb\tc\0\u{1b}[31m"), r#" k="a\r\nb\tc\u{0}\u{1b}[31m""#);
        for c in (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| is_invisible(*c)) {
            let line = field(&format!("x{c}y"));
            assert!(!line.contains(c), "{:x} stands in {line:?}", c as u32);
        }
        for c in ['\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{e0041}'] {
            assert!(is_invisible(c), "{:x}", c as u32);
        }
    }

    #[test]
    fn a_long_value_is_cut_between_characters_and_says_so() {
        assert_eq!(shortened(&"é".repeat(400)), format!("{}…(+320 bytes)", "é".repeat(240)));
        assert_eq!(shortened(&format!("x{}", "é".repeat(400))), format!("x{}…(+322 bytes)", "é".repeat(239)));
        assert_eq!(shortened(&"x".repeat(512)), "x".repeat(512));
        let longest = shortened(&"é".repeat(1 << 26));
        assert!(longest.len() <= MAX_VALUE, "{}", longest.len());
    }
}
