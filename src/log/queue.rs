//! Records on their way to a collector: a bounded queue, and one thread that writes.
//!
//! A collector that is slow or away never holds the application. What finds the queue full is counted, and the count is
//! a record of its own as soon as there is room. Serials are given when a record is written, so a chain has no gap.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chain::{Form, Link, Notice};
use super::layout::Hash;
use super::state::Position;
use super::time::Moment;
use super::transport::Transport;
use super::view::View;
use super::{Level, Record, Severity, catalogue, parts, recover};
use crate::config::{Format, Target};
use crate::error::{Code, Error, Result};
use crate::platform::ProcessStamp;

/// So many records wait at most.
const CAPACITY: usize = 8192;
/// The first and the longest pause before a collector is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// So long the thread goes on after the log was closed, if records still wait.
const LINGER: Duration = Duration::from_secs(1);

/// The queue of a log that is open.
pub(super) struct Queue {
    shared: Arc<Shared>,
    /// A child has no thread that writes. Outside the mutex, which another thread may have held when the process forked.
    process: ProcessStamp,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing will come any more.
    woken: Condvar,
    /// Nothing waits any more.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// The thread has one in hand.
    is_writing: bool,
    /// Found no room since the last record that told of it.
    dropped: u64,
    /// Why the collector could not be written to, while that lasts.
    failure: Option<String>,
    closed_at: Option<Instant>,
}

struct Entry {
    moment: Moment,
    event: &'static str,
    severity: Severity,
    fields: Vec<(&'static str, Cow<'static, str>)>,
}

impl Queue {
    /// Starts the thread. Waits for no collector.
    ///
    /// Errors: `System` if the system gives no thread or no random numbers.
    pub fn open(target: Target, format: Format, client: &str) -> Result<Queue> {
        let failed = |error: io::Error| {
            let message = format!("the log cannot be started: {error}; free threads or memory for this process");
            Error::new(Code::System, message)
        };
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            shared: shared.clone(),
            limit: Transport::limit(&target, format),
            view: View::new(format, client, matches!(target, Target::Syslog(_))),
            transport: Transport::new(target),
            position: recover::new_chain(0).map_err(failed)?,
        };
        let thread = std::thread::Builder::new().name("keystead-log".into()).spawn(move || writer.run());
        thread.map_err(failed)?;
        Ok(Queue { shared, process: ProcessStamp::current() })
    }

    pub fn push(&self, record: &Record<'_>) {
        if !self.process.is_current() {
            return;
        }
        let moment = Moment::now();
        let own = |(name, value): &(&'static str, Cow<'_, str>)| (*name, Cow::Owned(value.clone().into_owned()));
        let fields = record.fields.iter().map(own).collect();
        let entry = Entry { moment, event: record.event, severity: record.severity, fields };
        let mut state = self.shared.lock();
        if state.entries.len() >= CAPACITY {
            state.dropped += 1;
            return;
        }
        state.tell_of_loss(moment);
        state.entries.push_back(entry);
        drop(state);
        self.shared.woken.notify_one();
    }

    /// Waits until everything was written, but not longer than `patience`. Returns whether it was.
    pub fn flush(&self, patience: Duration) -> bool {
        if !self.process.is_current() {
            return false;
        }
        let state = self.shared.lock();
        let is_busy = |state: &mut State| state.is_writing || !state.entries.is_empty();
        let waited = self.shared.drained.wait_timeout_while(state, patience, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Why records do not arrive, while that lasts.
    pub fn failure(&self) -> Option<String> {
        if !self.process.is_current() {
            return None;
        }
        let state = self.shared.lock();
        let full = || (state.dropped > 0).then(|| "the queue is full".to_owned());
        state.failure.clone().or_else(full)
    }
}

/// Does not wait: the thread writes what it can within [`LINGER`].
impl Drop for Queue {
    fn drop(&mut self) {
        if self.process.is_current() {
            self.shared.lock().closed_at = Some(Instant::now());
            self.shared.woken.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts the count of what was lost where the next record goes.
    fn tell_of_loss(&mut self, moment: Moment) {
        if self.dropped == 0 {
            return;
        }
        let reason = self.failure.clone().unwrap_or_else(|| "the queue was full".to_owned());
        let notice = Notice::Lost { count: std::mem::take(&mut self.dropped), reason };
        let event = notice.event();
        let severity = catalogue::find(event).map_or(Severity::Error, |event| event.severity);
        let fields = notice.fields().into_iter().map(|(name, value)| (name, Cow::Owned(value.into_owned()))).collect();
        self.entries.push_back(Entry { moment, event, severity, fields });
    }

    fn is_over(&self) -> bool {
        self.closed_at.is_some_and(|at| at.elapsed() >= LINGER)
    }
}

/// What the thread has.
struct Writer {
    shared: Arc<Shared>,
    view: View,
    transport: Transport,
    limit: Option<usize>,
    position: Position,
}

impl Writer {
    fn run(&mut self) {
        while let Some(entry) = self.next() {
            self.write(&entry);
        }
    }

    /// The next entry, as soon as there is one; `None` once the log is closed and all is written.
    fn next(&self) -> Option<Entry> {
        let mut state = self.shared.lock();
        state.is_writing = false;
        loop {
            if state.entries.is_empty() {
                state.tell_of_loss(Moment::now());
            }
            if state.is_over() {
                return None;
            }
            if let Some(entry) = state.entries.pop_front() {
                state.is_writing = true;
                return Some(entry);
            }
            self.shared.drained.notify_all();
            if state.closed_at.is_some() {
                return None;
            }
            state = self.shared.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write(&mut self, entry: &Entry) {
        let link = Link { stream: self.position.stream, serial: super::layout::MAX_SERIAL, previous: [b'0'; 64] };
        let length = |fields: &[(&'static str, Cow<'_, str>)]| {
            let mut line = String::new();
            self.view.push(&entry.record(fields), entry.moment, &link, &mut line);
            line.len() + self.view.layout().label().len() + 64
        };
        let parts = match self.limit {
            Some(limit) if length(&entry.fields) > limit => parts::split(&entry.fields, limit, length),
            _ => return self.deliver(&entry.record(&entry.fields), entry.moment),
        };
        for fields in parts {
            self.deliver(&entry.record(&fields), entry.moment);
        }
    }

    /// Sends one line, again and again until it is sent, the log is closed, or it never will be.
    fn deliver(&mut self, record: &Record<'_>, moment: Moment) {
        let Position { stream, serial, head, .. } = self.position;
        let link = Link { stream, serial: serial + 1, previous: head.hex() };
        let mut line = String::new();
        let start = self.view.push(record, moment, &link, &mut line);
        let hash = Hash::of(&line.as_bytes()[start..]);
        line.push_str(self.view.layout().label());
        hash.push_hex(&mut line);
        let mut pause = PAUSES.0;
        loop {
            match self.transport.send(&line) {
                Ok(()) => {
                    (self.position.serial, self.position.head) = (link.serial, hash);
                    self.shared.lock().failure = None;
                    return;
                }
                Err(error) => {
                    let mut state = self.shared.lock();
                    state.failure = Some(error.to_string());
                    if error.raw_os_error() == Some(libc::EMSGSIZE) || state.is_over() {
                        state.dropped += 1;
                        return;
                    }
                    self.rest(state, pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Waits before the next try; not for long once the log is closed.
    fn rest(&self, state: MutexGuard<'_, State>, pause: Duration) {
        let waited = self.shared.woken.wait_timeout_while(state, pause, |state| state.closed_at.is_none());
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if !timeout.timed_out() {
            std::thread::sleep(PAUSES.0);
        }
    }
}

impl Entry {
    fn record<'a>(&self, fields: &'a [(&'static str, Cow<'a, str>)]) -> Record<'a> {
        Record { event: self.event, severity: self.severity, level: Level::Basic, fields }
    }
}
