//! Looks for a key in the memory of a process, or in its core file: the key itself, its halves (as vector registers
//! hold them), and the round keys that a cipher expands it to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Serialize;

/// How much is looked at in one go.
const BLOCK: usize = 1 << 20;

/// How often something of a key was found, and in how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The 32 bytes in a row.
    pub keys: usize,
    /// 16 bytes of the key; each whole copy has two.
    pub halves: usize,
    /// Round keys 2 to 14 of AES-256; 0 and 1 are the halves.
    pub round_keys: usize,
    pub scanned_bytes: u64,
    /// What not even a debugger reads, such as the pages of memfd_secret.
    pub unreadable_bytes: u64,
}

impl Counts {
    pub fn total(&self) -> usize {
        self.keys + self.halves + self.round_keys
    }
}

/// What is looked for.
pub struct Needles {
    /// Which pairs of bytes some needle begins with: what most positions are told apart by.
    begins: Vec<bool>,
    key: [u8; 32],
    round_keys: [[u8; 16]; 15],
}

impl Needles {
    pub fn of(key: &[u8; 32]) -> Needles {
        let round_keys = expand(key);
        let mut begins = vec![false; 1 << 16];
        round_keys.iter().for_each(|needle| begins[usize::from(u16::from_ne_bytes([needle[0], needle[1]]))] = true);
        Needles { begins, key: *key, round_keys }
    }

    /// Counts what begins in the first `limit` bytes; a needle may end beyond them.
    fn count(&self, bytes: &[u8], limit: usize, counts: &mut Counts) {
        for at in 0..limit.min(bytes.len().saturating_sub(15)) {
            if self.begins[usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]))] {
                let here = &bytes[at..];
                counts.keys += usize::from(here.starts_with(&self.key));
                counts.halves += self.round_keys[..2].iter().filter(|half| here.starts_with(*half)).count();
                counts.round_keys += self.round_keys[2..].iter().filter(|round| here.starts_with(*round)).count();
            }
        }
        counts.scanned_bytes += limit as u64;
    }
}

/// Looks through `bytes`.
pub fn bytes(bytes: &[u8], needles: &Needles) -> Counts {
    let mut counts = Counts::default();
    needles.count(bytes, bytes.len(), &mut counts);
    counts
}

/// Looks through all that a debugger could read of another process.
pub fn process(pid: u32, needles: &Needles) -> io::Result<Counts> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut counts = Counts::default();
    for line in maps.lines() {
        // 7f0000000000-7f0000001000 rw-p 00000000 00:00 0    /path/of/a/file
        let mut words = line.split_ascii_whitespace();
        let range = words.next().and_then(|range| range.split_once('-')).expect("a range of addresses");
        if words.next().is_some_and(|access| access.starts_with('r')) {
            let [start, end] =
                [range.0, range.1].map(|address| u64::from_str_radix(address, 16).expect("a hexadecimal address"));
            mapping(&memory, start, end, needles, &mut counts);
        }
    }
    Ok(counts)
}

fn mapping(memory: &File, start: u64, end: u64, needles: &Needles, counts: &mut Counts) {
    const PAGE: u64 = 4096;
    let mut block = vec![0; BLOCK + 31];
    let mut at = start;
    while at < end {
        let wanted = (end - at).min(block.len() as u64) as usize;
        // A read ends in front of the first page that cannot be read.
        let got = memory.read_at(&mut block[..wanted], at).unwrap_or(0);
        if got == 0 {
            counts.unreadable_bytes += PAGE;
            at += PAGE;
        } else {
            let limit = got.min(BLOCK);
            needles.count(&block[..got], limit, counts);
            at += limit as u64;
        }
    }
}

/// Looks through a file, such as a core file.
pub fn file(path: &Path, needles: &Needles) -> io::Result<Counts> {
    let mut file = File::open(path)?;
    let mut counts = Counts::default();
    let mut block = Vec::with_capacity(BLOCK + 31);
    loop {
        let wanted = (BLOCK + 31 - block.len()) as u64;
        (&mut file).take(wanted).read_to_end(&mut block)?;
        let limit = block.len().min(BLOCK);
        if limit == 0 {
            return Ok(counts);
        }
        needles.count(&block, limit, &mut counts);
        block.drain(..limit);
    }
}

/// The round keys of AES-256 (FIPS 197 §5.2).
fn expand(key: &[u8; 32]) -> [[u8; 16]; 15] {
    let sbox = substitution_box();
    let mut words: Vec<[u8; 4]> = key.chunks_exact(4).map(|word| word.try_into().unwrap()).collect();
    let mut round_constant = 1_u8;
    for i in 8..60 {
        let mut word = words[i - 1];
        if i % 8 == 0 {
            word.rotate_left(1);
        }
        if i % 4 == 0 {
            word = word.map(|byte| sbox[usize::from(byte)]);
        }
        if i % 8 == 0 {
            word[0] ^= round_constant;
            round_constant <<= 1;
        }
        words.push(std::array::from_fn(|byte| words[i - 8][byte] ^ word[byte]));
    }
    std::array::from_fn(|round| words[4 * round..4 * round + 4].concat().try_into().unwrap())
}

/// FIPS 197 §5.1.1: the inverse in GF(2^8), then an affine map. Powers of the generator 3 and of its inverse run
/// through the field in step.
fn substitution_box() -> [u8; 256] {
    let mut sbox = [0x63; 256];
    let (mut power, mut inverse) = (1_u8, 1_u8);
    loop {
        power ^= (power << 1) ^ if power & 0x80 == 0 { 0 } else { 0x1b };
        for shift in [1, 2, 4] {
            inverse ^= inverse << shift;
        }
        inverse ^= if inverse & 0x80 == 0 { 0 } else { 0x09 };
        let mixed = (1..5).fold(inverse, |mixed, turn| mixed ^ inverse.rotate_left(turn));
        sbox[usize::from(power)] = mixed ^ 0x63;
        if power == 1 {
            return sbox;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_keys_are_those_of_the_standard() {
        // FIPS 197, appendix A.3.
        let key: [u8; 32] = std::array::from_fn(|i| {
            let text = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
            u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()
        });
        let round_keys = expand(&key);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&round_keys[2]), "9ba354118e6925afa51a8b5f2067fcde");
        assert_eq!(hex(&round_keys[14]), "fe4890d1e6188d0b046df344706c631e");
    }

    #[test]
    fn a_file_is_searched_across_its_blocks() {
        let key: [u8; 32] = std::array::from_fn(|i| (i * 7 + 3) as u8);
        let mut content = vec![0; 2 * BLOCK + 100];
        content[BLOCK - 5..][..32].copy_from_slice(&key);
        content[2 * BLOCK - 16..][..32].copy_from_slice(&key);
        content[2 * BLOCK + 68..].copy_from_slice(&key);
        content[100..116].copy_from_slice(&expand(&key)[9]);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &content).unwrap();
        let counts = super::file(file.path(), &Needles::of(&key)).unwrap();
        assert_eq!((counts.keys, counts.halves, counts.round_keys), (3, 6, 1));
        assert_eq!(counts.scanned_bytes, content.len() as u64);
    }
}
