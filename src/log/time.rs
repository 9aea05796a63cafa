//! Moments as records and people read them.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::platform;

/// A moment: microseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment(i64);

/// How long `2026-11-23T20:15:00` is.
const TO_THE_SECOND: usize = 19;

impl Moment {
    #[inline]
    pub fn now() -> Moment {
        Moment(platform::microseconds_since_1970())
    }

    /// As the system's last tick had it, up to 10 ms ago, for a fifth of the price.
    #[inline]
    pub fn lately() -> Moment {
        Moment(platform::microseconds_since_1970_at_the_last_tick())
    }

    /// This moment, or a later one of this clock that was seen by somebody who looked more closely.
    #[inline]
    pub fn not_before(self, seen: Moment) -> Moment {
        const TICK: i64 = 10_000;
        if (0..=TICK).contains(&(seen.0 - self.0)) { seen } else { self }
    }

    pub fn from_seconds(seconds: i64) -> Moment {
        Moment(seconds.saturating_mul(1_000_000))
    }

    pub fn from_milliseconds(milliseconds: i64) -> Moment {
        Moment(milliseconds.saturating_mul(1_000))
    }

    /// From `2026-11-23T20:15:00.123456Z`.
    pub fn parse_iso(text: &str) -> Option<Moment> {
        let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
        let (month, day) = (u8::try_from(digits(5..7)?).ok()?, u8::try_from(digits(8..10)?).ok()?);
        let time = (digits(11..13)? * 60 + digits(14..16)?) * 60 + digits(17..19)?;
        let days = days_from_civil(digits(0..4)?.into(), month, day)?;
        Some(Moment((days * 86_400 + i64::from(time)) * 1_000_000 + i64::from(digits(20..26)?)))
    }

    /// Appends `2026-11-23T20:15:00.123456Z` (RFC 3339, as RFC 5424 §6.2.3 has it).
    pub fn push_iso(self, out: &mut String) {
        push_ascii(out, &self.to_the_second(0));
        out.push('.');
        push_digits(out, self.0.rem_euclid(1_000_000) as u64, 6);
        out.push('Z');
    }

    /// `2026-11-23T20:15:00`, as a clock shows it that is `offset` seconds ahead of UTC.
    pub fn to_the_second(self, offset: i32) -> [u8; TO_THE_SECOND] {
        type Last = Cell<(i64, [u8; TO_THE_SECOND])>;
        // Many records come in one second, and a thread writes them in UTC and in local time.
        thread_local! {
            static UTC: Last = const { Cell::new((i64::MIN, [0; TO_THE_SECOND])) };
            static LOCAL: Last = const { Cell::new((i64::MIN, [0; TO_THE_SECOND])) };
        }
        let second = self.seconds() + i64::from(offset);
        let last = if offset == 0 { &UTC } else { &LOCAL };
        let (of, known) = last.get();
        if of == second {
            return known;
        }
        let text = to_the_second(second);
        last.set((second, text));
        text
    }

    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Appends the milliseconds since 1970, UTC.
    pub fn push_milliseconds(self, out: &mut String) {
        let milliseconds = self.0.div_euclid(1_000);
        out.push_str(if milliseconds < 0 { "-" } else { "" });
        push_digits(out, milliseconds.unsigned_abs(), 1);
    }

    /// How far local time is ahead of UTC, in seconds. Asks the system once in a quarter of an hour, since zones
    /// change their offset on such a boundary only.
    pub fn local_offset(self) -> i32 {
        // The quarter in the upper bits, the offset in the lower 32, so that both are read at once.
        static KNOWN: AtomicI64 = AtomicI64::new(i64::MIN);
        let quarter = self.seconds().div_euclid(900);
        let known = KNOWN.load(Ordering::Relaxed);
        if known >> 32 == quarter {
            return known as i32;
        }
        let offset = platform::local_offset(self.seconds());
        KNOWN.store(quarter << 32 | i64::from(offset as u32), Ordering::Relaxed);
        offset
    }
}

/// Days since 1970-01-01 as a date. Years are taken to begin in March, so that the leap day ends one.
fn civil_from_days(days: i64) -> (i64, u8, u8) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let days = days + 719_468; // 0000-03-01
    let era = days.div_euclid(DAYS_OF_400_YEARS);
    let day_of_era = days.rem_euclid(DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`]; `None` for what is no month or day.
fn days_from_civil(year: i64, month: u8, day: u8) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Seconds since 1970 as `2026-11-23T20:15:00`, in the proleptic Gregorian calendar; a year after 9999 loses its first digit.
fn to_the_second(seconds: i64) -> [u8; TO_THE_SECOND] {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let year = year.max(0);
    let parts = [year / 100 % 100, year % 100, month.into(), day.into(), rest / 3600, rest / 60 % 60, rest % 60];
    let mut text = *b"    -  -  T  :  :  ";
    for (at, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
        text[at..at + 2].copy_from_slice(&two(part as u8));
    }
    text
}

/// Appends the numbers that are given, one behind the other, and returns where each ends, or would.
pub(crate) fn push_numbers<const N: usize>(out: &mut String, numbers: [Option<u64>; N]) -> [usize; N] {
    numbers.map(|number| {
        if let Some(number) = number {
            push_digits(out, number, 1);
        }
        out.len()
    })
}

/// Appends a number of at least so many digits, of which there are at most 8. Records hold many numbers, and the formatter of
/// the standard library takes most of their time.
pub(crate) fn push_digits(out: &mut String, number: u64, width: usize) {
    const EIGHT: u64 = 100_000_000;
    let (high, mut low) = (number / EIGHT, number % EIGHT);
    let mut width = width;
    if high > 0 {
        push_digits(out, high, 1);
        width = 8;
    }
    // The first digit ends in the lowest byte. All are written at once: a processor waits when it is to copy together what was
    // just written apart.
    let (mut digits, mut count) = (0, 0);
    while low > 0 || count < width {
        digits = (digits << 8) + u64::from(b'0') + low % 10;
        low /= 10;
        count += 1;
    }
    push_ascii(out, &digits.to_le_bytes()[..count]);
}

/// The two digits of a number below 100.
fn two(number: u8) -> [u8; 2] {
    [b'0' + number / 10 % 10, b'0' + number % 10]
}

/// Appends what is known to be ASCII.
pub(crate) fn push_ascii(out: &mut String, bytes: &[u8]) {
    out.push_str(std::str::from_utf8(bytes).expect("ASCII is UTF-8"));
}

/// Seconds since 1970 as `2026-11-23 20:15:00Z`.
pub fn utc(seconds: i64) -> String {
    let mut to_the_second = Moment::from_seconds(seconds).to_the_second(0);
    to_the_second[10] = b' ';
    let mut text = String::with_capacity(TO_THE_SECOND + 1);
    push_ascii(&mut text, &to_the_second);
    text.push('Z');
    text
}

/// Seconds since 1970 of a date and a time in UTC, as [`utc`] and the audit trail write them.
pub fn seconds_of(date: &str, time: &str) -> Option<i64> {
    let digits = |text: &str, range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
    let (month, day) = (u8::try_from(digits(date, 5..7)?).ok()?, u8::try_from(digits(date, 8..10)?).ok()?);
    let days = days_from_civil(digits(date, 0..4)?.into(), month, day)?;
    let seconds = (digits(time, 0..2)? * 60 + digits(time, 3..5)?) * 60 + digits(time, 6..8)?;
    Some(days * 86_400 + i64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (-1, "1969-12-31 23:59:59Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (4_107_542_399, "2100-02-28 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
            (1_795_464_900, "2026-11-23 20:15:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
            assert_eq!(seconds_of(&text[..10], &text[11..]), Some(seconds));
        }
    }

    #[test]
    fn numbers_have_the_digits_that_they_need() {
        for (number, width, text) in [(0, 1, "0"), (7, 2, "07"), (1234, 2, "1234"), (42, 8, "00000042")] {
            let mut out = String::new();
            push_digits(&mut out, number, width);
            assert_eq!(out, text);
        }
        for number in
            (0..64).flat_map(|bits| [1 << bits, (1 << bits) - 1]).chain([100_000_000, 10_000_000_007, u64::MAX])
        {
            let mut out = String::new();
            push_digits(&mut out, number, 1);
            assert_eq!(out, number.to_string());
        }
    }

    #[test]
    fn what_is_remembered_of_the_last_second_is_of_that_second() {
        for (seconds, offset, text) in [
            (1_795_464_900, 0, "2026-11-23T20:15:00"),
            (1_795_464_900, 0, "2026-11-23T20:15:00"),
            (1_795_464_900, 3600, "2026-11-23T21:15:00"),
            (1_795_464_900, -72_900, "2026-11-23T00:00:00"),
            (1_795_464_901, 0, "2026-11-23T20:15:01"),
            (-1, 0, "1969-12-31T23:59:59"),
        ] {
            assert_eq!(Moment::from_seconds(seconds).to_the_second(offset), text.as_bytes());
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut before = civil_from_days(-200_000);
        for day in -199_999..200_000 {
            let today = civil_from_days(day);
            let follows = today.0 == before.0 && today.1 == before.1 && today.2 == before.2 + 1
                || today.0 == before.0 && today.1 == before.1 + 1 && today.2 == 1
                || today.0 == before.0 + 1 && (today.1, today.2, before.1, before.2) == (1, 1, 12, 31);
            assert!(follows, "{today:?} after {before:?}");
            assert_eq!(days_from_civil(today.0, today.1, today.2), Some(day));
            before = today;
        }
    }

    #[test]
    fn an_offset_moves_the_clock_and_the_date() {
        let moment = Moment::from_seconds(1_795_464_900);
        assert_eq!(&moment.to_the_second(5 * 3600 + 45 * 60), b"2026-11-24T02:00:00");
        let known = moment.local_offset();
        assert_eq!(known, moment.local_offset());
        assert_eq!(known % 900, 0);
    }
}
