//! Records on their way to a file or a collector: a bounded queue, and one thread that writes.
//!
//! Whatever is slow or away never holds the application. What finds the queue full is counted, and the count is a
//! record of its own as soon as there is room. The thread takes all that waits at once, so that many records cost one
//! write and many callers wait for one fdatasync(2). Serials are given when a record is written, so a chain has no gap.

#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Severity;
use super::batch::{Batch, Field};
use super::catalogue;
use super::losses::Losses;
use super::recover::Notice;
use super::time::Moment;
use crate::error::{Code, Error, Result};
use crate::platform::ProcessStamp;

/// So long the thread lets records come together that nobody waits for.
const GATHER: Duration = Duration::from_millis(20);
/// So often the thread looks by itself whether something came before it sleeps until it is woken: to wake it is a call of the
/// system, and whoever does then meets it at the lock.
const LOOKS: u32 = 5;
/// So long a collector is tried after the log was closed, if records still wait.
const LINGER: Duration = Duration::from_secs(1);

/// The ticket of a record that found no room.
const LOST: u64 = 0;

/// What the thread of a queue does with records.
pub(crate) trait Writer: Send + 'static {
    /// Writes them all, or says why not with [`Shared::set_failure`]. An empty batch asks to try again what failed.
    fn write(&mut self, batch: &Batch, shared: &Shared);

    /// Whether trying again at once may help.
    fn retries(&self) -> bool {
        false
    }

    /// Does what is left to do when nothing more comes for now.
    fn settle(&mut self, _: &Shared) {}

    /// How long nothing may come until it is asked to settle. Never, where there is nothing to do.
    fn unsettled(&self) -> Option<Duration> {
        None
    }
}

/// The queue of a sink that is open.
pub(crate) struct Queue {
    shared: Arc<Shared>,
    /// A child has no thread that writes. Outside the mutex, which another thread may have held when the process forked.
    process: ProcessStamp,
    thread: ThreadId,
    /// So long callers wait until their record is written. Where there is none, they do not.
    patience: Option<Duration>,
    retries: bool,
}

/// How it stands with records that are to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Records that will never be written, since it was opened.
    pub lost: u64,
    /// Since when none can be written, in seconds since 1970; absent while they can.
    pub failing_since: Option<i64>,
    /// Why not.
    pub reason: Option<String>,
}

/// What is lost with records that are not written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Loss {
    /// Those that were not counted before.
    pub records: u64,
    /// Those that a later record is to tell of.
    pub to_tell: u64,
}

/// A record's place in the queue.
#[derive(Clone, Copy)]
#[must_use]
pub(crate) struct Ticket(u64);

/// What was asked of a queue, and is to be waited for.
#[must_use]
pub(crate) struct Flush<'a> {
    shared: &'a Shared,
    pushed: u64,
    retried: u64,
}

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing will come any more.
    woken: Condvar,
    /// Something was written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Batch,
    /// When the last record was put in.
    last: Moment,
    /// So many were ever put in, and so many of them were written, or lost for good.
    pushed: u64,
    done: u64,
    thread: Thread,
    /// Somebody waits for what is in the queue.
    is_urgent: bool,
    /// Somebody wants to know whether what failed still does, or that the writer settles.
    wants_retry: bool,
    is_retrying: bool,
    retried: u64,
    /// Found no room since the last record that told of it.
    dropped: u64,
    /// The record that told of them was lost as well, and another would be. They are told of with the next that comes.
    is_untold: bool,
    /// So many were lost since the log was opened.
    lost: u64,
    /// Which of those that were put in.
    losses: Losses,
    /// Why records cannot be written, while that lasts, and since when, in seconds since 1970.
    failure: Option<String>,
    failing_since: Option<i64>,
    /// Somebody waited in vain; nobody else does until the thread comes back.
    is_stuck: bool,
    closed_at: Option<Instant>,
    /// The thread, and what it wrote to, are gone.
    has_ended: bool,
}

/// What the thread of a queue does.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Thread {
    #[default]
    Writing,
    /// It lets records come together, and looks in a moment.
    Gathering,
    Asleep,
}

impl Queue {
    /// Starts the thread. Waits for nothing.
    ///
    /// Errors: `System` if the system gives no thread.
    pub fn start(mut writer: impl Writer, patience: Option<Duration>) -> Result<Queue> {
        let shared = Arc::new(Shared::default());
        let (retries, of_thread) = (writer.retries(), shared.clone());
        let run = move || {
            let mut batch = Batch::default();
            while let Some(is_settling) = of_thread.take(&mut batch, writer.unsettled()) {
                writer.write(&batch, &of_thread);
                if is_settling {
                    writer.settle(&of_thread);
                }
                of_thread.finish(batch.len());
                batch.clear();
            }
            writer.settle(&of_thread);
            drop(writer);
            of_thread.lock().has_ended = true;
            of_thread.written.notify_all();
        };
        let thread = std::thread::Builder::new().name("keystead-log".into()).spawn(run);
        let thread = thread.map_err(|error| cannot_start(&error))?.thread().id();
        Ok(Queue { shared, process: ProcessStamp::current(), thread, patience, retries })
    }

    /// Whether a record can be put in without waiting for somebody, who may be ourselves.
    pub fn is_free(&self) -> bool {
        self.process.is_current() && !matches!(self.shared.state.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Puts a record in. `is_urgent`: it is to be written at once, else within some milliseconds. Waits for nothing.
    #[inline]
    pub fn push<'a>(
        &self,
        event: &'static str,
        severity: Severity,
        is_urgent: bool,
        fields: impl Iterator<Item = (&'static str, &'a str)> + Clone,
    ) -> Ticket {
        if !self.process.is_current() {
            return Ticket(LOST);
        }
        let moment = if is_urgent { Moment::now() } else { Moment::lately() };
        let mut state = self.shared.lock();
        if state.waiting.is_full() {
            state.dropped += 1;
            state.lost += 1;
            return Ticket(LOST);
        }
        let moment = moment.not_before(state.last);
        state.last = moment;
        state.tell_of_loss(moment);
        state.waiting.push(moment, event, severity, fields);
        state.pushed += 1;
        let ticket = Ticket(state.pushed);
        let wakes = state.wakes(is_urgent);
        drop(state);
        if wakes {
            self.shared.woken.notify_one();
        }
        ticket
    }

    /// Waits until the record is written or lost for good, but not for ever, and not at all where another caller waited
    /// in vain: a disk that hangs holds the application once. Returns why it is not written, as far as that is known: where
    /// nobody waits, nothing is.
    pub fn wait(&self, ticket: Ticket) -> Option<String> {
        let patience = self.patience?;
        if !self.process.is_current() {
            return None;
        }
        let is_early = |state: &mut State| state.done < ticket.0 && !state.is_stuck;
        let waited = self.shared.written.wait_timeout_while(self.shared.lock(), patience, is_early);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            state.is_stuck = true;
            let why = state.failure.take().unwrap_or_else(|| format!("it has taken nothing for {patience:?}"));
            state.set_failure(Some(why));
            self.shared.written.notify_all();
        }
        let is_written = ticket.0 != LOST && ticket.0 <= state.done && !state.losses.contains(ticket.0);
        (!is_written).then(|| state.failure.clone().unwrap_or_else(|| "a record was lost".to_owned()))
    }

    /// Has everything written, and the writer settle. `None` where nobody can wait for that.
    pub fn begin_flush(&self) -> Option<Flush<'_>> {
        if !self.process.is_current() || self.is_own_thread() {
            return None;
        }
        let mut state = self.shared.lock();
        let (pushed, retried) = (state.pushed, state.retry());
        if state.wakes(true) {
            self.shared.woken.notify_one();
        }
        drop(state);
        Some(Flush { shared: &self.shared, pushed, retried })
    }

    /// Waits until everything was written, and the writer has settled. Returns whether it was: see [`Flush::wait`].
    pub fn flush(&self, patience: Duration) -> bool {
        self.begin_flush().is_some_and(|flush| flush.wait(patience))
    }

    /// Has the thread end without another record, which it does not while one is being taken, and waits for it, but not
    /// longer than `patience`. Called by the thread itself, it lets it go on for a moment.
    pub fn end(&self, patience: Duration) {
        if !self.process.is_current() {
            return;
        }
        let now = Instant::now();
        let mut state = self.shared.lock();
        self.shared.woken.notify_one();
        if self.is_own_thread() {
            state.closed_at = Some(now);
        } else {
            state.closed_at = now.checked_sub(LINGER).or(Some(now));
            let is_early = |state: &mut State| !state.has_ended;
            drop(self.shared.written.wait_timeout_while(state, patience, is_early));
        }
    }

    /// Has the thread end once it wrote what it can, for which it has a moment. Does not wait.
    pub fn close(&self) {
        if self.process.is_current() {
            self.shared.lock().closed_at.get_or_insert_with(Instant::now);
            self.shared.woken.notify_one();
        }
    }

    /// Whether whatever the thread writes to calls us. Waiting for the thread would be waiting for ourselves.
    fn is_own_thread(&self) -> bool {
        std::thread::current().id() == self.thread
    }

    /// How it stands with what was put in. Tries nothing, and waits for nothing.
    pub fn health(&self) -> Health {
        let state = self.shared.lock();
        Health { lost: state.lost, failing_since: state.failing_since, reason: state.failure.clone() }
    }

    /// Why records are not written, while that lasts. Tries again where that may help.
    pub fn failure(&self) -> Option<String> {
        if !self.process.is_current() {
            return None;
        }
        let mut state = self.shared.lock();
        if let (true, true, Some(patience)) = (self.retries, state.failure.is_some() && !state.is_stuck, self.patience)
        {
            let retried = state.retry();
            if state.wakes(true) {
                self.shared.woken.notify_one();
            }
            let is_early = |state: &mut State| state.retried < retried;
            let waited = self.shared.written.wait_timeout_while(state, patience, is_early);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.is_stuck |= timeout.timed_out();
        }
        let full = || (state.dropped > 0).then(|| "the queue is full".to_owned());
        state.failure.clone().or_else(full)
    }
}

impl Flush<'_> {
    /// Waits not longer than `patience`, and not where the thread is gone. Returns whether everything was written.
    pub fn wait(self, patience: Duration) -> bool {
        let Flush { shared, pushed, retried } = self;
        // A thread that ended has settled, and does nothing more.
        let is_early = |state: &mut State| !state.has_ended && (state.done < pushed || state.retried < retried);
        let waited = shared.written.wait_timeout_while(shared.lock(), patience, is_early);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out() && state.done >= pushed
    }
}

impl Loss {
    /// A record that tells of others was none of the application's. They were counted, and are to be told of again.
    pub fn of(event: &str, fields: &[Field<'_>]) -> Loss {
        let count = || fields.iter().find(|(name, _)| *name == "count")?.1.parse().ok();
        match event == catalogue::LOG_LOST {
            true => Loss { records: 0, to_tell: count().unwrap_or(0) },
            false => Loss { records: 1, to_tell: 1 },
        }
    }

    pub fn and(self, other: Loss) -> Loss {
        Loss { records: self.records + other.records, to_tell: self.to_tell + other.to_tell }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the batch with all that waits, as soon as there is something, and returns whether the writer is to settle
    /// then; `None` once the log is closed and all is written.
    fn take(&self, batch: &mut Batch, unsettled: Option<Duration>) -> Option<bool> {
        let mut state = self.lock();
        let (mut has_gathered, mut looks) = (false, LOOKS);
        loop {
            // Once the log is over, what tells of a loss would be lost in turn.
            if state.waiting.is_empty() && !state.is_over() && !state.is_untold {
                state.tell_of_loss(Moment::now());
            }
            let is_closed = state.closed_at.is_some();
            let (is_empty, is_due) = (state.waiting.is_empty(), has_gathered || is_closed || state.is_due());
            if state.wants_retry || !is_empty && is_due {
                break;
            }
            if is_closed {
                return None;
            }
            if !is_empty || looks > 0 {
                state.thread = Thread::Gathering;
                state = self.woken.wait_timeout(state, GATHER).unwrap_or_else(PoisonError::into_inner).0;
                (has_gathered, looks) = (true, looks.saturating_sub(1));
            } else if let Some(patience) = unsettled {
                state.thread = Thread::Asleep;
                let waited = self.woken.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
                state = waited.0;
                state.wants_retry |= waited.1.timed_out();
            } else {
                state.thread = Thread::Asleep;
                state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.thread = Thread::Writing;
        }
        std::mem::swap(batch, &mut state.waiting);
        state.is_urgent = false;
        state.is_retrying = std::mem::take(&mut state.wants_retry);
        Some(state.is_retrying)
    }

    fn finish(&self, count: usize) {
        let mut state = self.lock();
        state.done += count as u64;
        state.retried += u64::from(std::mem::take(&mut state.is_retrying));
        state.is_stuck = false;
        drop(state);
        self.written.notify_all();
    }

    /// Why the last record could not be written; `None` where it was.
    pub fn set_failure(&self, failure: Option<String>) {
        self.lock().set_failure(failure);
    }

    /// Counts what will never be written of the records in `which` of what is being written, and has a later one tell of it.
    pub fn lose(&self, which: Range<usize>, loss: Loss) {
        let mut state = self.lock();
        state.dropped += loss.to_tell;
        state.is_untold |= loss.to_tell > loss.records;
        drop(state);
        self.count_lost(which, loss.records);
    }

    /// Counts records that will never be written. Of those in `which` of what is being written it is not known that they are.
    pub fn count_lost(&self, which: Range<usize>, count: u64) {
        let mut state = self.lock();
        state.lost += count;
        let first = state.done + 1;
        state.losses.add(first + which.start as u64..first + which.end as u64);
    }

    /// Whether the log was closed so long ago that the thread has to end.
    pub fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Waits before the next try; not for long once the log is closed.
    pub fn rest(&self, pause: Duration) {
        const LAST_PAUSE: Duration = Duration::from_millis(100);
        let is_open = |state: &mut State| state.closed_at.is_none();
        let waited = self.woken.wait_timeout_while(self.lock(), pause, is_open);
        if !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            std::thread::sleep(LAST_PAUSE);
        }
    }
}

impl State {
    fn set_failure(&mut self, failure: Option<String>) {
        self.failing_since = failure.as_ref().map(|_| self.failing_since.unwrap_or_else(|| Moment::now().seconds()));
        self.failure = failure;
    }

    /// Puts the count of what was lost where the next record goes.
    #[inline]
    fn tell_of_loss(&mut self, moment: Moment) {
        self.is_untold = false;
        if self.dropped > 0 {
            self.push_loss(moment);
        }
    }

    #[cold]
    fn push_loss(&mut self, moment: Moment) {
        let reason = self.failure.clone().unwrap_or_else(|| "the queue was full".to_owned());
        let notice = Notice::Lost { count: std::mem::take(&mut self.dropped), reason };
        let event = notice.event();
        let severity = catalogue::find(event).map_or(Severity::Error, |event| event.severity);
        let fields = notice.fields();
        self.waiting.push(moment, event, severity, fields.iter().map(|(name, value)| (*name, value.as_ref())));
        self.pushed += 1;
    }

    /// Asks the thread to try again what failed, and to settle. It has when `retried` reaches what is returned.
    fn retry(&mut self) -> u64 {
        self.wants_retry = true;
        self.retried + 1 + u64::from(self.is_retrying)
    }

    fn is_over(&self) -> bool {
        self.closed_at.is_some_and(|at| at.elapsed() >= LINGER)
    }

    fn is_due(&self) -> bool {
        self.is_urgent || self.waiting.is_half_full()
    }

    /// Notes what was put in, and tells whether the thread has to be woken for it.
    #[inline]
    fn wakes(&mut self, is_urgent: bool) -> bool {
        self.is_urgent |= is_urgent;
        let wakes = match self.thread {
            Thread::Writing => false,
            Thread::Gathering => self.is_due(),
            Thread::Asleep => true,
        };
        if wakes {
            // Whoever comes next need not wake it again.
            self.thread = Thread::Writing;
        }
        wakes
    }
}

pub(super) fn cannot_start(error: &io::Error) -> Error {
    let message = format!("the log cannot be started: {error}; free threads or memory for this process");
    Error::new(Code::System, message)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Has something to settle from its first record on, until it did.
    struct Unsettled(bool, Sender<()>);

    impl Writer for Unsettled {
        fn write(&mut self, batch: &Batch, _: &Shared) {
            self.0 |= !batch.is_empty();
        }

        fn settle(&mut self, _: &Shared) {
            self.0 = false;
            self.1.send(()).unwrap();
        }

        fn unsettled(&self) -> Option<Duration> {
            self.0.then_some(Duration::from_millis(100))
        }
    }

    #[test]
    fn what_was_written_is_settled_in_time_though_nothing_more_comes_and_only_once() {
        let (settled, times) = channel();
        let queue = Queue::start(Unsettled(false, settled), None).unwrap();
        let _ = queue.push("kmip.get", Severity::Info, true, std::iter::empty());
        times.recv_timeout(Duration::from_secs(30)).expect("it is asked to settle");
        times.recv_timeout(Duration::from_millis(400)).expect_err("there is nothing left to settle");
        drop(queue);
    }
}
