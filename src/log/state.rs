//! The state file beside a chained file: where its chain stands.
//!
//! It lets the chain go on when the file is emptied or replaced, and it is what processes that share the file lock. One
//! line of fixed length, overwritten in place.

#![forbid(unsafe_code)]

use super::layout::{Hash, MAX_SERIAL, decimal, stream};

/// Where a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Names the chain.
    pub stream: u64,
    /// Of the last record.
    pub serial: u64,
    /// Hash of the last record.
    pub head: Hash,
    /// Of the file that holds the last record.
    pub inode: u64,
    /// The file's size behind the last record.
    pub offset: u64,
}

/// The length of a state file, in bytes.
pub(super) const LENGTH: usize = 211;

impl Position {
    /// The line that holds the position.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut text = format!(
            "keystead-chain-1 stream={:016x} serial={:020} head={} inode={:020} offset={:020} ",
            self.stream, self.serial, self.head, self.inode, self.offset
        );
        let check = check(text.as_bytes());
        text += &format!("{check}\n");
        text.into_bytes().try_into().expect("every field has a fixed width")
    }

    /// `None` if the line was not written by [`Position::encode`] in this form.
    pub fn parse(line: &[u8]) -> Option<Position> {
        let words: Vec<&[u8]> = line.strip_suffix(b"\n")?.split(|b| *b == b' ').collect();
        let [b"keystead-chain-1", chain, serial, head, inode, offset, sum] = words[..] else {
            return None;
        };
        if sum != check(&line[..line.len() - 1 - sum.len()]).as_bytes() {
            return None;
        }
        Some(Position {
            stream: stream(chain.strip_prefix(b"stream=")?)?,
            serial: padded(serial.strip_prefix(b"serial=")?).filter(|serial| *serial <= MAX_SERIAL)?,
            head: Hash::parse(head.strip_prefix(b"head=")?)?,
            inode: padded(inode.strip_prefix(b"inode=")?)?,
            offset: padded(offset.strip_prefix(b"offset=")?)?,
        })
    }
}

fn padded(text: &[u8]) -> Option<u64> {
    let zeroes = text.iter().take_while(|b| **b == b'0').count();
    if zeroes == text.len() { Some(0) } else { decimal(&text[zeroes..]) }
}

/// Against torn writes, not against people: half a hash.
fn check(text: &[u8]) -> String {
    let mut hash = Hash::of(text).to_string();
    hash.truncate(16);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_the_state_file_and_damage_is_noticed() {
        for number in [0, 1, 1_234_567_890, u64::MAX] {
            let serial = number.min(MAX_SERIAL);
            let position = Position { stream: number, serial, head: Hash::of(b"x"), inode: number, offset: number };
            let line = position.encode();
            assert_eq!(Position::parse(&line), Some(position));
            for at in 0..line.len() {
                let mut damaged = line;
                damaged[at] ^= 1;
                assert_eq!(Position::parse(&damaged), None, "byte {at}");
            }
            assert_eq!(Position::parse(&line[..100]), None);
        }
    }
}
