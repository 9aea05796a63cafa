//! What a message costs over raw AES-256-GCM. How to read it: `benches/README.md`.
//!
//! `cargo bench --features cli --bench envelope` measures with criterion; with `-- --ratios` behind it, it compares with the
//! limits: both sides of a ratio take turns in short rounds, so that other work on the machine hits both alike.

#[path = "../tests/common/c_key.rs"]
mod c_key;

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use c_key::CKey;
use criterion::{Criterion, Throughput};
use keystead::Client;
use keystead::envelope::{Key, KeyId, stream};
use keystead::memory::slot::Slot;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const KEY: [u8; 32] = *b"a constant for measuring, no key";
const PAGE: usize = 4096;

/// Size of the plaintext, and how often the time of raw AES-256-GCM a message may take.
const SIZES: [(usize, f64); 4] = [(64, 1.6), (1 << 10, 1.3), (64 << 10, 1.25), (1 << 20, 1.4)];
const WORST_ALIGNMENT: f64 = 1.15;
const DECRYPT: f64 = 1.15;
/// A stream in segments of 64 KiB against one message of the same size.
const IN_SEGMENTS: f64 = 1.05;
const STREAM: usize = 1 << 20;
const IN_A_BATCH: f64 = 1.3;
const ROWS: usize = 10_000;
const CACHE_HIT: Duration = Duration::from_nanos(60);
/// So many clients are asked one after the other: what else the machine does for a while is not to decide.
const CLIENTS: usize = 15;
const NEW_SESSION: Duration = Duration::from_micros(2);

/// How many messages of different sessions take turns, so that none is found among the opened ones.
const SESSIONS: usize = 2048;

type Work<'a> = Box<dyn FnMut() + 'a>;

fn key() -> Key {
    Key::new(KeyId::new("0123456789abcdef", 1).unwrap(), Slot::copy_of(&KEY).unwrap())
}

/// A buffer whose first byte lies `offset` bytes behind the start of a page.
struct Aligned {
    all: Vec<u8>,
    start: usize,
    size: usize,
}

impl Aligned {
    fn new(size: usize, offset: usize) -> Aligned {
        let all = vec![1; size + 2 * PAGE];
        let start = all.as_ptr().align_offset(PAGE) + offset;
        Aligned { all, start, size }
    }
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.all[self.start..][..self.size]
    }
}

fn ring_seal<'a>(n: usize) -> Work<'a> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).unwrap());
    let mut buffer = Aligned::new(n, 0);
    let mut counter = 0_u128;
    Box::new(move || {
        counter += 1;
        let nonce = Nonce::assume_unique_for_key(counter.to_le_bytes()[..12].try_into().unwrap());
        let _ = black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), black_box(buffer.bytes())).unwrap());
    })
}

/// Encrypts from the start of a page to `offset` bytes behind the start of one.
fn encrypt(key: &Key, n: usize, offset: usize) -> Work<'_> {
    let mut plaintext = Aligned::new(n, 0);
    let mut out = Aligned::new(key.encrypted_size(n).unwrap(), offset);
    Box::new(move || {
        black_box(key.encrypt(black_box(plaintext.bytes()), b"", out.bytes()).unwrap());
    })
}

/// The same through the C interface, by the handle that an application holds.
fn encrypt_from_c(key: &CKey, n: usize) -> Work<'_> {
    let mut plaintext = Aligned::new(n, 0);
    let mut out = Aligned::new(key.encrypted_size(n), 0);
    Box::new(move || {
        black_box(key.encrypt(black_box(plaintext.bytes()), b"", out.bytes()));
    })
}

/// A key as an application gets it: from a client, whose configuration `KEYSTEAD_CONFIG` names. `None` without one.
fn key_from_c() -> Option<CKey> {
    let config = std::env::var_os("KEYSTEAD_CONFIG")?;
    Some(CKey::create(Path::new(&config), "0123456789abcdef"))
}

fn message(key: &Key, n: usize) -> Vec<u8> {
    let mut out = vec![0; key.encrypted_size(n).unwrap()];
    key.encrypt(&vec![1; n], b"", &mut out).unwrap();
    out
}

fn decrypt(key: &Key, n: usize) -> Work<'_> {
    let message = message(key, n);
    let mut out = Aligned::new(n, 0);
    Box::new(move || {
        black_box(key.decrypt(black_box(&message), b"", out.bytes()).unwrap());
    })
}

fn decrypt_new_sessions(key: &Key, n: usize) -> Work<'_> {
    let messages: Vec<Vec<u8>> = (0..SESSIONS)
        .map(|_| {
            key.quiesce();
            message(key, n)
        })
        .collect();
    let mut out = Aligned::new(n, 0);
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % SESSIONS;
        black_box(key.decrypt(black_box(&messages[turn]), b"", out.bytes()).unwrap());
    })
}

/// A stream that is given in one call.
fn encrypt_stream(key: &Key, n: usize) -> Work<'_> {
    let mut plaintext = Aligned::new(n, 0);
    let mut out = Aligned::new(n + stream::ROOM, 0);
    Box::new(move || {
        let mut encryptor = key.encrypt_stream(b"").unwrap();
        let (plaintext, out) = (black_box(plaintext.bytes()), out.bytes());
        let size = encryptor.update(plaintext, out).unwrap();
        black_box(encryptor.finish(&mut out[size..]).unwrap());
    })
}

/// A column of values of one size, as a batch.
fn encrypt_batch(key: &Key, rows: usize, n: usize) -> Work<'_> {
    let values = vec![vec![1_u8; n]; rows];
    let mut out = vec![0; rows * key.encrypted_size(n).unwrap()];
    let mut offsets = vec![0; rows + 1];
    Box::new(move || {
        let values = black_box(&values).iter().map(|value| (value.as_slice(), &b""[..]));
        black_box(key.encrypt_many(values, &mut out, &mut offsets).unwrap());
    })
}

/// The same column with raw AES-256-GCM.
fn ring_column<'a>(rows: usize, n: usize) -> Work<'a> {
    let mut column: Vec<Work<'_>> = vec![ring_seal(n)];
    Box::new(move || (0..rows).for_each(|_| column[0]()))
}

/// A key that a client has in its cache, by name.
fn cache_hit<'a>(client: Client) -> Work<'a> {
    client.create_key("0123456789abcdef").unwrap();
    Box::new(move || {
        black_box(client.key(black_box("0123456789abcdef")).unwrap());
    })
}

fn measure_with_criterion() {
    let mut criterion = Criterion::default().configure_from_args();
    let key = key();
    for (n, _) in SIZES {
        let mut group = criterion.benchmark_group(format!("{n} bytes"));
        group.throughput(Throughput::Bytes(n as u64));
        let works = [
            ("ring seal_in_place", ring_seal(n)),
            ("encrypt", encrypt(&key, n, 0)),
            ("decrypt, opened session", decrypt(&key, n)),
            ("decrypt, new session", decrypt_new_sessions(&key, n.min(1 << 10))),
        ];
        for (name, mut work) in works {
            group.bench_function(name, |bencher| bencher.iter(&mut work));
        }
    }
    criterion.final_summary();
}

/// Nanoseconds a call of each work, in each of many short rounds. The works take turns.
fn rounds(works: &mut [Work<'_>]) -> Vec<Vec<f64>> {
    const ROUND: Duration = Duration::from_micros(50);
    const ROUNDS: usize = 1000;
    let calls: Vec<u32> = works
        .iter_mut()
        .map(|work| {
            let start = Instant::now();
            (0..10).for_each(|_| work());
            let each = start.elapsed() / 10;
            (ROUND.as_nanos() / each.as_nanos().max(1)).clamp(1, 10_000) as u32
        })
        .collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); works.len()];
    for _ in 0..ROUNDS {
        for ((work, calls), times) in works.iter_mut().zip(&calls).zip(&mut times) {
            work();
            let start = Instant::now();
            (0..*calls).for_each(|_| work());
            times.push(start.elapsed().as_nanos() as f64 / f64::from(*calls));
        }
    }
    times
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of what two works' rounds next to each other give: whatever slows the machine for longer than
/// a round slows both.
fn compare(one: &[f64], other: &[f64], with: impl Fn(f64, f64) -> f64) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| with(*one, *other)))
}

/// Prints one line and says whether the limit holds.
fn judge(what: &str, value: f64, limit: f64, unit: &str) -> bool {
    let holds = value <= limit;
    println!("  {what:<34} {value:>8.2}{unit}  limit {limit:.2}{unit}  {}", if holds { "holds" } else { "EXCEEDED" });
    holds
}

fn compare_with_the_limits() -> bool {
    let key = key();
    let key_from_c = key_from_c();
    if key_from_c.is_none() {
        println!("not measured: the C interface, which needs a key server (benches/README.md)");
    }
    let mut all_hold = true;
    for (n, limit) in SIZES {
        let mut works =
            [ring_seal(n), encrypt(&key, n, 0), decrypt(&key, n), decrypt_new_sessions(&key, n.min(1 << 10))];
        let times = rounds(&mut works);
        let [ring, encrypt, decrypt, new] = [0, 1, 2, 3].map(|work| &times[work]);
        let [r, e, d] = [ring, encrypt, decrypt].map(|times| median(times.iter().copied()));
        println!("{n} bytes: ring {r:.0} ns, encrypt {e:.0} ns, decrypt {d:.0} ns");
        all_hold &= judge("encrypt / ring", compare(encrypt, ring, |e, r| e / r), limit, "");
        if let Some(key) = &key_from_c {
            let times = rounds(&mut [ring_seal(n), encrypt_from_c(key, n)]);
            all_hold &= judge("encrypt from C / ring", compare(&times[1], &times[0], |e, r| e / r), limit, "");
        }
        all_hold &= judge("decrypt / encrypt", compare(decrypt, encrypt, |d, e| d / e), DECRYPT, "");
        if n <= 1 << 10 {
            let more = compare(new, decrypt, |new, opened| new - opened);
            all_hold &= judge("new session - opened session", more, NEW_SESSION.as_nanos() as f64, " ns");
        }
        all_hold &= judge("worst alignment / best", worst_alignment(&key, n), WORST_ALIGNMENT, "");
    }
    all_hold
}

/// Streams, batches and the key cache.
fn compare_the_whole_with_its_parts() -> bool {
    let key = key();
    let times = rounds(&mut [encrypt(&key, STREAM, 0), encrypt_stream(&key, STREAM)]);
    let mut all_hold = judge("stream / message, 1 MiB", compare(&times[1], &times[0], |s, m| s / m), IN_SEGMENTS, "");
    let times = rounds(&mut [ring_column(ROWS, 64), encrypt_batch(&key, ROWS, 64)]);
    all_hold &= judge("field of a batch / ring, 64 bytes", compare(&times[1], &times[0], |b, r| b / r), IN_A_BATCH, "");
    if let Some(config) = std::env::var_os("KEYSTEAD_CONFIG") {
        let hits = (0..CLIENTS).map(|_| {
            let client = Client::open(config.as_ref()).unwrap();
            let times = rounds(&mut [cache_hit(client)]);
            median(times[0].iter().copied())
        });
        let hit = median(hits);
        all_hold &= judge("cached key by name", hit, CACHE_HIT.as_nanos() as f64, " ns");
    }
    all_hold
}

/// How much longer encrypting takes at the worst offset of output against input than at the best.
fn worst_alignment(key: &Key, n: usize) -> f64 {
    const OFFSETS: [usize; 24] =
        [0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 24, 31, 32, 33, 63, 64, 100, 1000, 2048, 4000, 4064, 4069, 4095];
    let mut works: Vec<Work<'_>> = OFFSETS.iter().map(|&offset| encrypt(key, n, offset)).collect();
    let times = rounds(&mut works);
    let relative: Vec<f64> = times.iter().map(|of_offset| compare(of_offset, &times[0], |a, b| a / b)).collect();
    if std::env::args().any(|argument| argument == "--offsets") {
        OFFSETS.iter().zip(&relative).for_each(|(offset, time)| println!("    offset {offset:>4}: {time:.2}"));
    }
    relative.iter().copied().fold(0.0, f64::max) / relative.iter().copied().fold(f64::INFINITY, f64::min)
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--ratios") {
        return if compare_with_the_limits() & compare_the_whole_with_its_parts() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    measure_with_criterion();
    ExitCode::SUCCESS
}
