//! Lines on their way to a file, and where the chain stands behind them.

#![forbid(unsafe_code)]

use super::batch;
use super::chain::{Form, Link};
use super::layout::Hash;
use super::recover::Notice;
use super::state::Position;
use super::time::{Moment, push_ascii};
use super::{Record, Severity, catalogue};

pub(super) struct Lines<'a, F> {
    pub text: String,
    /// Behind the last line, except for its offset, which is where the first one goes.
    pub position: Position,
    /// Of the position, as the next record names it.
    head: [u8; 64],
    form: &'a F,
}

impl<F: Form> Lines<'_, F> {
    /// `text` is cleared; its room is used again.
    pub fn new(form: &F, mut text: String, position: Position) -> Lines<'_, F> {
        text.clear();
        Lines { text, position, head: position.head.hex(), form }
    }

    /// Ends a torn line, and begins an empty file.
    pub fn begin(&mut self, is_torn: bool) {
        let layout = self.form.layout();
        if is_torn {
            self.text.push_str(layout.line_end());
        }
        if let (0, Some(header)) = (self.position.offset, layout.header()) {
            self.text.push_str(header);
            self.text.push_str(layout.line_end());
        }
    }

    /// Appends what the chain has to say about itself.
    pub fn notice(&mut self, notice: &Notice) {
        let (event, fields) = (notice.event(), notice.fields());
        let severity = catalogue::find(event).map_or(Severity::Warning, |event| event.severity);
        self.record(&batch::record(event, severity, &fields), Moment::now());
    }

    pub fn record(&mut self, record: &Record<'_>, moment: Moment) {
        let Position { stream, serial, .. } = self.position;
        let (serial, layout) = (serial + 1, self.form.layout());
        let link = Link { stream, serial, previous: self.head };
        let start = self.form.record(record, moment, &link, &mut self.text);
        let hash = Hash::of(&self.text.as_bytes()[start..]);
        self.text.push_str(layout.label());
        self.head = hash.hex();
        push_ascii(&mut self.text, &self.head);
        self.text.push_str(layout.line_end());
        (self.position.serial, self.position.head) = (serial, hash);
    }
}
