//! What is counted of an audit trail, in memory that does not grow with it.

use std::collections::{BTreeMap, HashMap};

use keystead::Code;
use keystead::log::catalogue;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::rows::Row;

/// So many entries of a table are told apart; what comes later is counted together.
const MAX_ENTRIES: usize = 10_000;
/// So many single events are listed; all are counted.
const MAX_LISTED: usize = 50;
/// So many bars the plot over time has at most.
const MAX_BUCKETS: i64 = 96;
/// Widths of a bar, in seconds; after the last they double.
const WIDTHS: [i64; 9] = [60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800];

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Count {
    pub success: u64,
    pub failure: u64,
}

impl Count {
    pub fn all(self) -> u64 {
        self.success + self.failure
    }

    fn add(&mut self, succeeded: bool) {
        *(if succeeded { &mut self.success } else { &mut self.failure }) += 1;
    }
}

/// Everything that the report tells of the rows.
#[derive(Default, Serialize)]
pub struct Summary {
    /// Rows of operations on key servers.
    pub operations: Count,
    /// Lines that are no rows.
    pub unreadable: u64,
    /// Seconds since 1970.
    pub first: Option<i64>,
    pub last: Option<i64>,
    pub over_time: Timeline,
    pub by_operation: Table<Count>,
    pub by_server: Table<Count>,
    pub by_key: Table<KeyFacts>,
    pub by_user: Table<Count>,
    /// Why operations failed.
    pub reasons: Table<Count>,
    /// Operations that one server did not serve, and the next one that was asked did.
    pub failovers: Listed<Failover>,
    /// What the trail tells of itself, such as rows that could not be written.
    pub notices: Listed<Notice>,
    /// Rows that are the auditor's seals, which the verification judges.
    pub seals: u64,
    #[serde(skip)]
    unserved: HashMap<(String, String), String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct KeyFacts {
    #[serde(flatten)]
    pub count: Count,
    /// The highest that was seen.
    pub version: u32,
    /// When that was made, or first seen.
    pub since: Option<i64>,
    /// Whether the trail holds its making.
    pub is_made_here: bool,
    /// Versions that were made after another one.
    pub rotations: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Failover {
    pub at: Option<i64>,
    pub operation: String,
    pub key: String,
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    pub at: Option<i64>,
    pub what: String,
    pub message: String,
}

impl Summary {
    pub fn add(&mut self, row: &Row<'_>) {
        if let Some(at) = row.at {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
        }
        if catalogue::USUAL.contains(&row.operation) {
            self.seals += u64::from(row.operation != catalogue::LOG_ROTATED);
            return;
        }
        if row.server.is_empty() {
            let (what, message) = (row.operation.to_owned(), row.message.to_owned());
            self.notices.add(|| Notice { at: row.at, what, message });
            return;
        }
        self.operations.add(row.succeeded);
        if let Some(at) = row.at {
            self.over_time.add(at, row.succeeded);
        }
        self.by_operation.entry(row.operation).add(row.succeeded);
        self.by_server.entry(&row.server).add(row.succeeded);
        if !row.user.is_empty() {
            self.by_user.entry(row.user).add(row.succeeded);
        }
        if !row.key_name.is_empty() {
            self.by_key.entry(row.key_name).add(row);
        }
        if !row.succeeded {
            self.reasons.entry(row.reason).add(false);
        }
        self.follow(row);
    }

    /// Failed rows whose next row for the same operation and key is another server's success are failovers.
    fn follow(&mut self, row: &Row<'_>) {
        if self.unserved.is_empty() && row.succeeded {
            return;
        }
        let subject = (row.operation.to_owned(), row.key_name.to_owned());
        if !row.succeeded {
            if is_transport(row.reason) && self.unserved.len() < MAX_ENTRIES {
                self.unserved.entry(subject).or_insert_with(|| row.server.clone());
            }
            return;
        }
        if let Some(from) = self.unserved.remove(&subject)
            && from != row.server
        {
            let (operation, key) = subject;
            self.failovers.add(|| Failover { at: row.at, operation, key, from, to: row.server.clone() });
        }
    }
}

/// Whether the reason lies between us and the server, as the trail spells it.
fn is_transport(reason: &str) -> bool {
    Code::ALL.iter().any(|code| code.is_transport() && code.name().to_lowercase().replace('_', " ") == reason)
}

impl KeyFacts {
    fn add(&mut self, row: &Row<'_>) {
        self.count.add(row.succeeded);
        let Some(version) = row.key_version.filter(|_| row.succeeded) else { return };
        let is_made = row.operation == "Create";
        self.rotations += u64::from(is_made && version > 1);
        if version > self.version || (is_made && version == self.version) {
            (self.version, self.since, self.is_made_here) = (version, row.at, is_made);
        }
    }
}

/// Values by name.
#[derive(Default)]
pub struct Table<V> {
    entries: HashMap<String, V>,
    /// Of all names that came when the table was full.
    pub others: Option<V>,
}

impl<V: Default> Table<V> {
    fn entry(&mut self, name: &str) -> &mut V {
        if self.entries.contains_key(name) || self.entries.len() < MAX_ENTRIES {
            // Looked for by reference first: nearly every row is of a known name.
            if !self.entries.contains_key(name) {
                self.entries.insert(name.to_owned(), V::default());
            }
            return self.entries.get_mut(name).expect("it was just looked for or inserted");
        }
        self.others.get_or_insert_with(V::default)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The entries of which `weight` makes most, then by name.
    pub fn largest(&self, count: usize, weight: impl Fn(&V) -> u64) -> Vec<(&str, &V)> {
        let mut all: Vec<(&str, &V)> = self.iter().collect();
        all.sort_by(|(a, x), (b, y)| weight(y).cmp(&weight(x)).then_with(|| a.cmp(b)));
        all.truncate(count);
        all
    }
}

impl<V: Serialize> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sorted: BTreeMap<&String, &V> = self.entries.iter().collect();
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in sorted {
            map.serialize_entry(name, value)?;
        }
        if let Some(others) = &self.others {
            map.serialize_entry("", others)?;
        }
        map.end()
    }
}

/// The last few of many, with their number.
#[derive(Serialize)]
pub struct Listed<T> {
    pub count: u64,
    pub last: std::collections::VecDeque<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed { count: 0, last: Default::default() }
    }
}

impl<T> Listed<T> {
    fn add(&mut self, item: impl FnOnce() -> T) {
        self.count += 1;
        if self.last.len() == MAX_LISTED {
            self.last.pop_front();
        }
        self.last.push_back(item());
    }
}

/// Counts over time, in bars as wide as it takes for all of the trail.
#[derive(Serialize)]
pub struct Timeline {
    /// Of a bar, in seconds.
    pub width: i64,
    /// By the start of the bar, in seconds since 1970. Empty ones are left out.
    pub bars: BTreeMap<i64, Count>,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline { width: WIDTHS[0], bars: BTreeMap::new() }
    }
}

impl Timeline {
    fn add(&mut self, at: i64, succeeded: bool) {
        self.bars.entry(self.start(at)).or_default().add(succeeded);
        while self.count() > MAX_BUCKETS {
            self.width = WIDTHS.into_iter().find(|&width| width > self.width).unwrap_or(self.width * 2);
            for (start, count) in std::mem::take(&mut self.bars) {
                let bar = self.bars.entry(self.start(start)).or_default();
                bar.success += count.success;
                bar.failure += count.failure;
            }
        }
    }

    fn start(&self, at: i64) -> i64 {
        at.div_euclid(self.width) * self.width
    }

    /// How many bars there are from the first to the last, the empty ones included.
    pub fn count(&self) -> i64 {
        match (self.bars.first_key_value(), self.bars.last_key_value()) {
            (Some((first, _)), Some((last, _))) => (last - first) / self.width + 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(operation: &'a str, server: &str, key_name: &'a str, reason: &'a str, at: i64) -> Row<'a> {
        let succeeded = reason.is_empty();
        Row {
            operation,
            server: server.into(),
            key_name,
            key_version: None,
            user: "",
            succeeded,
            reason,
            message: "",
            at: Some(at),
        }
    }

    #[test]
    fn bars_widen_until_all_of_the_trail_fits_and_lose_nothing() {
        let mut timeline = Timeline::default();
        for at in 0..100_000 {
            timeline.add(1_700_000_000 + (at * 7919) % 10_000_000, at % 3 != 0);
        }
        assert!(timeline.count() <= MAX_BUCKETS, "{} bars", timeline.count());
        let total = timeline.bars.values().fold(Count::default(), |sum, bar| Count {
            success: sum.success + bar.success,
            failure: sum.failure + bar.failure,
        });
        assert_eq!(total, Count { success: 66_666, failure: 33_334 });
        timeline.add(i64::MAX / 4, true);
        assert!(timeline.count() <= MAX_BUCKETS);
    }

    #[test]
    fn a_failover_is_a_failure_that_another_server_made_good() {
        let mut summary = Summary::default();
        summary.add(&row("Get", "a:1", "orders", "unreachable", 1));
        summary.add(&row("Get", "b:1", "orders", "", 2));
        summary.add(&row("Get", "a:1", "orders", "unreachable", 3));
        summary.add(&row("Get", "a:1", "orders", "", 4));
        summary.add(&row("Get", "a:1", "orders", "permission denied", 5));
        summary.add(&row("Get", "b:1", "orders", "", 6));
        summary.add(&row("Get", "a:1", "orders", "deadline", 7));
        summary.add(&row("Get", "b:1", "invoices", "", 8));
        assert_eq!(summary.failovers.count, 1);
        let failover = &summary.failovers.last[0];
        assert_eq!((failover.from.as_str(), failover.to.as_str(), failover.at), ("a:1", "b:1", Some(2)));
        assert_eq!(summary.operations, Count { success: 4, failure: 4 });
    }

    #[test]
    fn more_names_than_are_told_apart_are_still_counted() {
        let mut table = Table::<Count>::default();
        for name in 0..MAX_ENTRIES + 5 {
            table.entry(&name.to_string()).add(true);
        }
        table.entry("0").add(true);
        assert_eq!((table.len(), table.others.unwrap().success), (MAX_ENTRIES, 5));
        assert_eq!(table.largest(1, |count| count.all())[0].0, "0");
    }
}
