//! Which records will never be written, for those who wait for them.

#![forbid(unsafe_code)]

use std::ops::Range;

/// So many ranges are told apart.
const MAX_RANGES: usize = 64;

/// Lost records by their tickets, in order. Between ranges all was written, except that the oldest are joined when there
/// are too many: whoever asks so late may be told that a record was lost that was not, and never the reverse.
#[derive(Default)]
pub(super) struct Losses(Vec<Range<u64>>);

impl Losses {
    /// Adds some that begin no earlier than any that were added before.
    pub fn add(&mut self, tickets: Range<u64>) {
        match self.0.last_mut() {
            _ if tickets.is_empty() => {}
            Some(last) if tickets.start <= last.end => last.end = last.end.max(tickets.end),
            _ => self.0.push(tickets),
        }
        if self.0.len() > MAX_RANGES {
            self.0[0].end = self.0.remove(1).end;
        }
    }

    pub fn contains(&self, ticket: u64) -> bool {
        self.0.iter().any(|range| range.contains(&ticket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lost_record_is_ever_taken_for_a_written_one_and_of_the_latest_none_the_other_way_round() {
        let mut losses = Losses::default();
        let is_lost = |ticket: u64| ticket % 10 >= 7;
        for ten in (0..5000).step_by(10) {
            losses.add(ten..ten);
            losses.add(ten + 7..ten + 9);
            // A record that was sent in parts is lost with each of them.
            losses.add(ten + 9..ten + 10);
            losses.add(ten + 9..ten + 10);
        }
        for ticket in 0..5000 {
            let told = losses.contains(ticket);
            assert!(told || !is_lost(ticket), "{ticket}");
            assert!(told == is_lost(ticket) || ticket < 4500, "{ticket}");
        }
        assert!(losses.0.len() <= MAX_RANGES);
    }
}
