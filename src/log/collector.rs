//! Records on their way to a collector or the host: numbered, hashed, and sent until they are.

#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use super::batch::{self, Batch, Field};
use super::live::LiveChain;
use super::queue::{Loss, Shared, Writer};
use super::seal_file::PERIOD;
use super::time::Moment;
use super::view::View;
use super::{Record, Severity, catalogue, parts};
use crate::config::AuditorKey;
use crate::error::Result;

/// The first and the longest pause before a collector is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Where lines go.
pub(super) trait Outlet: Send + 'static {
    /// Whether nothing is sent any more once the log is over.
    const ENDS_WITH_LOG: bool;

    /// Sends a line, without line end.
    fn send(&mut self, record: &Record<'_>, line: &str) -> io::Result<()>;
}

/// A chain of its own towards one outlet.
pub(super) struct Collector<O> {
    chain: LiveChain,
    outlet: O,
    /// The longest line that it takes.
    limit: Option<usize>,
}

impl<O: Outlet> Collector<O> {
    /// Waits for no collector.
    ///
    /// Errors: `System` without random numbers.
    pub fn new(outlet: O, limit: Option<usize>, view: View, auditor: Option<&AuditorKey>) -> Result<Collector<O>> {
        Ok(Collector { chain: LiveChain::new(view, auditor)?, outlet, limit })
    }

    /// Sends the record at `index` of what is being written, in parts where it is too long. Without one of them it is lost.
    fn record(&mut self, index: usize, record: &Record<'_>, moment: Moment, shared: &Shared) {
        let Record { event, severity, fields, .. } = *record;
        let length = |fields: &[Field<'_>]| self.chain.length(&batch::record(event, severity, fields), moment);
        let is_sent = match self.limit {
            Some(limit) if length(fields) > limit => parts::split(fields, limit, length)
                .iter()
                .all(|part| self.deliver(&batch::record(event, severity, part), moment, shared)),
            _ => self.deliver(record, moment, shared),
        };
        if !is_sent {
            shared.lose(index..index + 1, Loss::of(event, fields));
        }
    }

    /// Sends what the seal has to say: in one piece, for a part of it proves nothing. What is not taken is made anew.
    fn seal(&mut self, at_once: bool, shared: &Shared) {
        let Some(notice) = self.chain.due(at_once) else { return };
        let event = notice.event();
        let severity = catalogue::find(event).map_or(Severity::Info, |event| event.severity);
        let fields = notice.fields();
        if self.deliver(&batch::record(event, severity, &fields), Moment::now(), shared) {
            self.chain.told();
        }
    }

    /// Sends one line, again and again until it is sent, the log is closed, or it never will be. Returns whether it was.
    fn deliver(&mut self, record: &Record<'_>, moment: Moment, shared: &Shared) -> bool {
        self.chain.prepare(record, moment);
        let mut pause = PAUSES.0;
        loop {
            if O::ENDS_WITH_LOG && shared.is_over() {
                return false;
            }
            match self.outlet.send(record, self.chain.line()) {
                Ok(()) => {
                    self.chain.advance();
                    shared.set_failure(None);
                    return true;
                }
                Err(error) => {
                    shared.set_failure(Some(error.to_string()));
                    if error.raw_os_error() == Some(libc::EMSGSIZE) || shared.is_over() {
                        return false;
                    }
                    shared.rest(pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

impl<O: Outlet> Writer for Collector<O> {
    fn write(&mut self, batch: &Batch, shared: &Shared) {
        let (records, mut fields) = (batch.records(), Vec::new());
        for index in 0..records.len() {
            // Before the first record, which a seal precedes, and behind each.
            self.seal(false, shared);
            let (moment, event, severity) = records.read(index, &mut fields);
            self.record(index, &batch::record(event, severity, &fields), moment, shared);
        }
        self.seal(false, shared);
    }

    fn settle(&mut self, shared: &Shared) {
        if self.chain.is_unsealed() {
            self.seal(true, shared);
        }
    }

    fn unsettled(&self) -> Option<Duration> {
        self.chain.is_unsealed().then_some(PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::Format;
    use super::super::queue::Queue;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Says that it has its first line and waits, then takes none up to the first that tells of lost ones, and passes on what
    /// comes later.
    struct Refusing {
        reached: Sender<()>,
        goes_on: Receiver<()>,
        has_begun: bool,
        is_over: bool,
        taken: Sender<String>,
    }

    impl Outlet for Refusing {
        const ENDS_WITH_LOG: bool = false;

        fn send(&mut self, record: &Record<'_>, line: &str) -> io::Result<()> {
            if !self.has_begun {
                self.reached.send(()).unwrap();
                self.goes_on.recv_timeout(PATIENCE).unwrap();
                self.has_begun = true;
            }
            if self.is_over {
                self.taken.send(line.to_owned()).unwrap();
                return Ok(());
            }
            if record.event == catalogue::LOG_LOST {
                self.reached.send(()).unwrap();
                self.is_over = true;
            }
            Err(io::Error::from_raw_os_error(libc::EMSGSIZE))
        }
    }

    #[test]
    fn a_count_that_is_lost_with_its_record_is_told_by_the_next() {
        const WRITTEN: u64 = 20_000;
        let ((reached, waits), (go_on, goes_on), (taken, lines)) = (channel(), channel(), channel());
        let outlet = Refusing { reached, goes_on, has_begun: false, is_over: false, taken };
        let collector = Collector::new(outlet, None, View::new(Format::Syslog, "test", false), None).unwrap();
        let queue = Queue::start(collector, None).unwrap();
        let write = |is_urgent| {
            let _ = queue.push("kmip.get", Severity::Info, is_urgent, std::iter::empty());
        };
        write(true);
        waits.recv_timeout(PATIENCE).unwrap();
        (1..WRITTEN).for_each(|_| write(false));
        go_on.send(()).unwrap();
        waits.recv_timeout(PATIENCE).unwrap();
        assert!(queue.flush(PATIENCE));
        write(true);
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert!(line.contains(&format!(" event=log.lost severity=error count={WRITTEN} ")), "{line}");
        assert_eq!(queue.health().lost, WRITTEN);
    }

    /// Finds some events too long, and says what it was given.
    struct Short {
        too_long: &'static [&'static str],
        given: Sender<String>,
    }

    impl Outlet for Short {
        const ENDS_WITH_LOG: bool = false;

        fn send(&mut self, record: &Record<'_>, _: &str) -> io::Result<()> {
            self.given.send(record.event.to_owned()).unwrap();
            match self.too_long.contains(&record.event) {
                true => Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
                false => Ok(()),
            }
        }
    }

    fn short(
        too_long: &'static [&'static str],
        limit: Option<usize>,
        auditor: Option<&AuditorKey>,
    ) -> (Queue, Receiver<String>) {
        let (given, events) = channel();
        let view = View::new(Format::Syslog, "test", false);
        let collector = Collector::new(Short { too_long, given }, limit, view, auditor).unwrap();
        (Queue::start(collector, None).unwrap(), events)
    }

    fn push_and_flush(queue: &Queue) {
        let _ = queue.push("kmip.get", Severity::Info, true, std::iter::empty());
        assert!(queue.flush(PATIENCE));
    }

    #[test]
    #[cfg(feature = "auditor")]
    fn a_seal_that_is_not_taken_is_no_record_that_was_lost() {
        let auditor = crate::log::AuditorPrivateKey::generate().unwrap().public();
        let (queue, events) = short(&[catalogue::LOG_SEAL], None, Some(&auditor));
        (0..3).for_each(|_| push_and_flush(&queue));
        assert_eq!(queue.health().lost, 0);
        let events: Vec<_> = events.try_iter().filter(|event| event != catalogue::LOG_SEAL).collect();
        assert_eq!(events, ["kmip.get"; 3]);
    }

    #[test]
    fn a_record_is_lost_once_however_many_its_parts_are() {
        let (queue, _events) = short(&["kmip.message"], Some(500), None);
        let dump = "x".repeat(2000);
        let _ = queue.push("kmip.message", Severity::Debug, true, std::iter::once(("dump", dump.as_str())));
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.health().lost, 1);
    }

    #[test]
    fn a_count_that_is_too_long_is_kept_for_the_next_record() {
        let (queue, events) = short(&["kmip.get", catalogue::LOG_LOST], None, None);
        let gap = Duration::from_millis(500);
        for pushed in 1..4 {
            push_and_flush(&queue);
            // What tells of a loss is made after it.
            assert!(queue.flush(PATIENCE));
            let told = std::iter::from_fn(|| events.recv_timeout(gap).ok()).take(20);
            let told = told.filter(|event| event == catalogue::LOG_LOST).count();
            assert_eq!((told, queue.health().lost), (1, pushed));
        }
    }
}
