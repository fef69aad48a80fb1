//! How is a point in time written?

use std::time::Duration;

use super::text_traits;
use crate::setting::shape::WordShape;
use crate::setting::{Misfit, Word};

/// A second since 1970, in UTC, written `2026-12-31T18:00:00Z`, or `2026-12-31` for the beginning of a day (RFC 3339).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

const DAY: u64 = 86_400;

impl Timestamp {
    /// How long that is since 1970.
    #[must_use]
    pub const fn since_1970(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl Word for Timestamp {
    fn read(text: &str) -> Result<Self, Misfit> {
        let (date, time) = text
            .split_once(['T', 't', ' '])
            .map_or((text, None), |(date, time)| (date, Some(time)));
        let days = days(date).ok_or(Misfit::OTHER)?;
        let seconds = match time {
            None => 0,
            Some(time) => {
                let Some(time) = time.strip_suffix(['Z', 'z']) else {
                    return Err(Misfit::because("a point in time is in UTC").help("write it with a `Z` at its end"));
                };
                seconds(time).ok_or(Misfit::OTHER)?
            }
        };
        Ok(Self(days * DAY + seconds))
    }

    fn write(&self) -> String {
        let (year, month, day) = date(self.0 / DAY);
        let (hour, minute, second) = (self.0 % DAY / 3_600, self.0 % 3_600 / 60, self.0 % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    fn stand_in() -> Self {
        Self(0)
    }

    fn describe() -> WordShape {
        WordShape {
            name: "point in time",
            expected: "a point in time such as `2026-12-31T18:00:00Z`".to_owned(),
            pattern: Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}[Zz])?$"),
            examples: &["2026-12-31T18:00:00Z", "2026-12-31"],
            range: None,
            number: false,
        }
    }
}

text_traits!(Timestamp);

/// Two or four digits, as a number.
fn digits(text: &str, count: usize) -> Option<u64> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 of a date; none: there is no such day.
fn days(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let (year, month) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?);
    let day = digits(parts.next()?, 2)?;
    if parts.next().is_some() || year < 1970 || !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
        return None;
    }
    let before: u64 = (1..month).map(|month| month_days(year, month)).sum();
    Some(days_before(year) + before + day - 1)
}

fn seconds(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = digits(parts.next()?, 2)?;
    let fits = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    fits.then_some(hour * 3_600 + minute * 60 + second)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of a year.
const fn days_before(year: u64) -> u64 {
    let last = year - 1;
    (year - 1970) * 365 + (last / 4 - last / 100 + last / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400)
}

/// The date of a day since 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    days -= days_before(year);
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Timestamp;

    /// By `date -u -d … +%s` of GNU coreutils 9.1.
    #[test]
    fn reads_and_writes() {
        let check = |text: &str, seconds, written: &str| {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!((time.0, time.to_string().as_str()), (seconds, written));
        };
        check("1970-01-01", 0, "1970-01-01T00:00:00Z");
        check("2000-02-29T12:34:56Z", 951_827_696, "2000-02-29T12:34:56Z");
        check("2026-12-31 18:00:00z", 1_798_740_000, "2026-12-31T18:00:00Z");
        check("2100-03-01", 4_107_542_400, "2100-03-01T00:00:00Z");
        check("9999-12-31T23:59:59Z", 253_402_300_799, "9999-12-31T23:59:59Z");
    }

    #[test]
    fn refuses() {
        let check = |text: &str, message: &str| {
            let error = text.parse::<Timestamp>().unwrap_err();
            assert_eq!(error.message, message, "{text}");
        };
        let expected = |text: &str| format!("expected a point in time such as `2026-12-31T18:00:00Z`, found `{text}`");
        check("2026-12-31T18:00:00", "a point in time is in UTC");
        check("2026-12-31T18:00:00+01:00", "a point in time is in UTC");
        for text in [
            "tomorrow",
            "",
            "2026-02-29",
            "2026-13-01",
            "1969-12-31",
            "2026-1-1",
            "2026-12-31T24:00:00Z",
            "2026-12-00",
        ] {
            check(text, &expected(text));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(seconds in 0u64..253_402_300_800) {
            prop_assert_eq!(Timestamp(seconds).to_string().parse(), Ok(Timestamp(seconds)));
        }
    }
}
