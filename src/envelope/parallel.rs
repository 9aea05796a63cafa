//! Many segments at once, on a second thread where there is a core for it.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// So many segments, 1 MiB, take several times as long as a thread takes to start.
const WORTH_A_THREAD: usize = 16;

/// Pieces of one size, one after the other.
pub(super) struct Pieces<B> {
    pub bytes: B,
    pub size: usize,
}

/// Runs `work` for each piece of `input` with its number and its place in `output`, and in two halves side by side if
/// they are many. The first failure, by the order of the pieces, is that of the whole.
pub(super) fn for_each(
    input: &Pieces<&[u8]>,
    output: Pieces<&mut [u8]>,
    work: impl Fn(u32, &[u8], &mut [u8]) -> Result<()> + Sync,
) -> Result<()> {
    let count = input.bytes.len() / input.size;
    let run = |first: usize, inputs: &[u8], outputs: &mut [u8]| {
        let pieces = inputs.chunks_exact(input.size).zip(outputs.chunks_exact_mut(output.size));
        (first as u32..).zip(pieces).try_for_each(|(number, (piece, place))| work(number, piece, place))
    };
    if count < WORTH_A_THREAD || !has_two_cores() {
        return run(0, input.bytes, output.bytes);
    }
    let half = count / 2;
    let (first_input, second_input) = input.bytes.split_at(half * input.size);
    let (first_output, second_output) = output.bytes.split_at_mut(half * output.size);
    let second_output = Mutex::new(second_output);
    let second = || run(half, second_input, &mut second_output.lock().unwrap_or_else(PoisonError::into_inner));
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().name("keystead-stream".into()).spawn_scoped(scope, second);
        let first = run(0, first_input, first_output);
        let second = match spawned {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // No thread is to be had: this one does all of the work.
            Err(_) => second(),
        };
        first.and(second)
    })
}

/// Asked of the system once, as it costs more than the work. No lock: a child that was forked in the middle of the
/// question asks again.
fn has_two_cores() -> bool {
    static CORES: AtomicU8 = AtomicU8::new(0);
    if CORES.load(Ordering::Relaxed) == 0 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        CORES.store(cores.min(2) as u8, Ordering::Relaxed);
    }
    CORES.load(Ordering::Relaxed) > 1
}
