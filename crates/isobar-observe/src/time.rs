//! What date is it?
//!
//! Turns a time that was passed in into the spellings of the access log. Knows UTC only: no zones, no leap seconds
//! (Unix time has none), no clock.

use alloc::vec::Vec;
use core::time::Duration;

use crate::access::digits;

/// A point in time, as the duration since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub Duration);

/// The last second of the year 9999; later times are shown as this one, so that a year always has four digits.
const LAST_SECOND: u64 = 253_402_300_799;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

impl WallTime {
    /// Appends the time as RFC 3339 section 5.6 has it, with milliseconds: `2000-10-10T13:55:36.000Z`.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let civil = self.civil();
        digits::padded(civil.year, 4, out);
        out.push(b'-');
        digits::padded(civil.month, 2, out);
        out.push(b'-');
        digits::padded(civil.day, 2, out);
        out.push(b'T');
        civil.write_clock(out);
        out.push(b'.');
        digits::padded(u64::from(self.0.subsec_millis()), 3, out);
        out.push(b'Z');
    }

    /// Reads a time as [`write_rfc3339`](Self::write_rfc3339) writes it, with or without a fraction. None: it is none, or
    /// before 1970 or after 9999.
    #[must_use]
    pub fn read_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once('T')?;
        let clock = rest.strip_suffix('Z')?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(clock, ':')?;
        let possible = year <= 9999 && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
        let days = Civil::days(year, month, day).filter(|_| possible)?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Nine digits are nanoseconds.
        let mut nanoseconds = 0;
        let digits = fraction.bytes().chain(core::iter::repeat(b'0')).take(9);
        for digit in digits {
            nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
        }
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(Self(Duration::new(seconds, nanoseconds)))
    }

    /// Appends the time as the Common Log Format has it: `10/Oct/2000:13:55:36 +0000`.
    pub fn write_clf(self, out: &mut Vec<u8>) {
        let civil = self.civil();
        digits::padded(civil.day, 2, out);
        out.push(b'/');
        let month = usize::try_from(civil.month - 1).unwrap_or(0);
        out.extend_from_slice(MONTHS.get(month).copied().unwrap_or(b"???"));
        out.push(b'/');
        digits::padded(civil.year, 4, out);
        out.push(b':');
        civil.write_clock(out);
        out.extend_from_slice(b" +0000");
    }

    fn civil(self) -> Civil {
        let seconds = self.0.as_secs().min(LAST_SECOND);
        Civil::from_days(seconds / 86_400, seconds % 86_400)
    }
}

/// Three numbers in decimal digits.
fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let is_number = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// The number of a month by its first three letters.
pub(crate) fn month_of(letters: [u8; 3]) -> Option<u64> {
    let month = MONTHS.iter().position(|month| **month == letters)?;
    u64::try_from(month + 1).ok()
}

/// A date in the Gregorian calendar and a second of that day.
pub(crate) struct Civil {
    year: u64,
    month: u64,
    day: u64,
    second: u64,
}

impl Civil {
    /// The date a number of days after 1970-01-01.
    ///
    /// *Source*: the arithmetic of "chrono-compatible low-level date algorithms" (H. Hinnant, `civil_from_days`). Years
    /// begin on 1 March, so that the leap day is a year's last, and months alternate in a pattern of 153 days.
    const fn from_days(days: u64, second: u64) -> Self {
        const DAYS_PER_ERA: u64 = 146_097;
        const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
        let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
        let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let (month, into_next_year) = if month_from_march < 10 {
            (month_from_march + 3, 0)
        } else {
            (month_from_march - 9, 1)
        };
        Self {
            year: era * 400 + year_of_era + into_next_year,
            month,
            day,
            second,
        }
    }

    /// The number of days after 1970-01-01; none: there is no such date, or it is before.
    ///
    /// *Source*: as for [`from_days`](Self::from_days), `days_from_civil`.
    pub(crate) fn days(year: u64, month: u64, day: u64) -> Option<u64> {
        let year_from_march = year - u64::from(month <= 2).min(year);
        let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day.checked_sub(1)?;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
        // The 31st of a month without one would be another date.
        let date = Self::from_days(days, 0);
        (date.year == year && date.month == month && date.day == day).then_some(days)
    }

    fn write_clock(&self, out: &mut Vec<u8>) {
        digits::padded(self.second / 3_600, 2, out);
        out.push(b':');
        digits::padded(self.second / 60 % 60, 2, out);
        out.push(b':');
        digits::padded(self.second % 60, 2, out);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::string::String;
    use std::vec::Vec;

    use super::{Civil, LAST_SECOND, WallTime};

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Expected values are GNU date's: `date -u -d @SECONDS '+%FT%T %d/%b/%Y:%T %z'`.
    #[test]
    fn known_dates() {
        let check = |seconds: u64, rfc3339: &str, clf: &str| {
            let time = WallTime(Duration::from_secs(seconds));
            assert_eq!(text(|out| time.write_rfc3339(out)), rfc3339, "{seconds}");
            assert_eq!(text(|out| time.write_clf(out)), clf, "{seconds}");
        };
        check(0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000");
        check(951_782_399, "2000-02-28T23:59:59.000Z", "28/Feb/2000:23:59:59 +0000");
        check(951_782_400, "2000-02-29T00:00:00.000Z", "29/Feb/2000:00:00:00 +0000");
        check(951_868_800, "2000-03-01T00:00:00.000Z", "01/Mar/2000:00:00:00 +0000");
        check(971_186_136, "2000-10-10T13:55:36.000Z", "10/Oct/2000:13:55:36 +0000");
        check(1_709_164_800, "2024-02-29T00:00:00.000Z", "29/Feb/2024:00:00:00 +0000");
        check(1_798_761_599, "2026-12-31T23:59:59.000Z", "31/Dec/2026:23:59:59 +0000");
        check(4_107_542_400, "2100-03-01T00:00:00.000Z", "01/Mar/2100:00:00:00 +0000");
        check(LAST_SECOND, "9999-12-31T23:59:59.000Z", "31/Dec/9999:23:59:59 +0000");
        check(u64::MAX, "9999-12-31T23:59:59.000Z", "31/Dec/9999:23:59:59 +0000");
    }

    #[test]
    fn what_was_written_can_be_read() {
        for seconds in (0..LAST_SECOND).step_by(86_400 * 97 + 4_321) {
            let time = WallTime(Duration::new(seconds, 123_000_000));
            assert_eq!(WallTime::read_rfc3339(&text(|out| time.write_rfc3339(out))), Some(time));
        }
        let check =
            |text: &str, expected| assert_eq!(WallTime::read_rfc3339(text).map(|time| time.0), expected, "{text}");
        check("1970-01-01T00:00:01Z", Some(Duration::from_secs(1)));
        check("1970-01-01T00:00:00.5Z", Some(Duration::from_millis(500)));
        check("1970-01-01T00:00:00.0000000019Z", Some(Duration::from_nanos(1)));
        for wrong in [
            "",
            "T",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "1970-01-01-01T00:00:00Z",
            "1970-01-01T00:00:00.xZ",
            "1970-01-01T00:00:00./Z",
            "1970-01-01T00:00:00.000000000xZ",
            "1970-01-01T+1:00:00Z",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn milliseconds_are_cut_not_rounded() {
        let time = WallTime(Duration::new(1, 999_999_999));
        assert_eq!(text(|out| time.write_rfc3339(out)), "1970-01-01T00:00:01.999Z");
    }

    /// Walks the calendar a day at a time, which needs none of the arithmetic under test.
    #[test]
    fn every_day_of_five_centuries() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..500 * 366 {
            let civil = Civil::from_days(days, 0);
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day), "day {days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                4 | 6 | 9 | 11 => 30,
                2 if leap => 29,
                2 => 28,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
