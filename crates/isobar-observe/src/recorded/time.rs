//! When was that?
//!
//! The spellings of time that logs use, with their zones: a time that says its offset from UTC is the same instant whatever summer
//! time does, and one that does not is of the zone that the caller names.

use core::time::Duration;

use crate::WallTime;
use crate::time::{Civil, month_of};

/// An offset from UTC, in seconds east of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Zone(pub i32);

impl Zone {
    /// Reads `+02:00`, `-0700`, `+02`, `Z` or `UTC`.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let (sign, digits) = match text {
            b"Z" | b"z" | b"UTC" | b"GMT" => return Some(Self(0)),
            [b'+', digits @ ..] => (1, digits),
            [b'-', digits @ ..] => (-1, digits),
            _ => return None,
        };
        let (hours, minutes) = match *digits {
            [a, b] => (two(a, b)?, 0),
            [a, b, c, d] | [a, b, b':', c, d] => (two(a, b)?, two(c, d)?),
            _ => return None,
        };
        let possible = hours <= 15 && minutes < 60;
        possible.then(|| Self(sign * i32::from(hours * 60 + minutes) * 60))
    }
}

/// Reads a time as logs write it: `10/Oct/2000:13:55:36 -0700`, RFC 3339 and its kin with or without a zone, and seconds,
/// milliseconds, microseconds or nanoseconds since 1970, told apart by how many there are. `zone` is that of times without one.
///
/// None: it is none of these, or before 1970 or after 9999.
#[must_use]
pub fn read_time(text: &[u8], zone: Zone) -> Option<WallTime> {
    let text = text.trim_ascii();
    match text {
        [_, _, b'/', ..] => clf(text, zone),
        [_, _, _, _, b'-', ..] => iso(text, zone),
        _ => since_1970(text),
    }
}

/// `10/Oct/2000:13:55:36 -0700`.
fn clf(text: &[u8], zone: Zone) -> Option<WallTime> {
    let [d0, d1, b'/', m0, m1, m2, b'/', y0, y1, y2, y3, b':', clock @ ..] = text else {
        return None;
    };
    let month = month_of([*m0, *m1, *m2])?;
    let year = u64::from(two(*y0, *y1)?) * 100 + u64::from(two(*y2, *y3)?);
    instant([year, month, u64::from(two(*d0, *d1)?)], clock_of(clock)?, zone)
}

/// `2000-10-10T13:55:36.123+02:00`, with a space for the `T`, and with a comma for the point as well.
fn iso(text: &[u8], zone: Zone) -> Option<WallTime> {
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T' | b't' | b' ',
        clock @ ..,
    ] = text
    else {
        return None;
    };
    let year = u64::from(two(*y0, *y1)?) * 100 + u64::from(two(*y2, *y3)?);
    let date = [year, u64::from(two(*m0, *m1)?), u64::from(two(*d0, *d1)?)];
    instant(date, clock_of(clock)?, zone)
}

/// A time of day, and what it says of its zone.
struct Clock {
    seconds: u64,
    nanoseconds: u32,
    zone: Option<Zone>,
}

/// `13:55:36`, a fraction, and a zone, if there is one.
fn clock_of(text: &[u8]) -> Option<Clock> {
    let [h0, h1, b':', m0, m1, b':', s0, s1, rest @ ..] = text else {
        return None;
    };
    let (hour, minute, second) = (two(*h0, *h1)?, two(*m0, *m1)?, two(*s0, *s1)?);
    // A leap second is the first of the next minute, as Unix time has it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanoseconds, rest) = match rest {
        [b'.' | b',', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let zone = match rest.trim_ascii() {
        b"" => None,
        zone => Some(Zone::read(zone)?),
    };
    Some(Clock {
        seconds: u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second),
        nanoseconds,
        zone,
    })
}

/// Digits behind a point as nanoseconds, and what follows them; further digits are cut.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    if digits.is_empty() {
        return None;
    }
    let padded = digits.iter().copied().chain(core::iter::repeat(b'0')).take(9);
    let nanoseconds = padded.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some((nanoseconds, rest))
}

fn instant([year, month, day]: [u64; 3], clock: Clock, zone: Zone) -> Option<WallTime> {
    if !(1..=12).contains(&month) {
        return None;
    }
    let days = Civil::days(year, month, day)?;
    let local = i64::try_from(days * 86_400 + clock.seconds).ok()?;
    let seconds = local - i64::from(clock.zone.unwrap_or(zone).0);
    Some(WallTime(Duration::new(u64::try_from(seconds).ok()?, clock.nanoseconds)))
}

/// A number since 1970: below 10^11 seconds, which is the year 5138, then milliseconds, microseconds, nanoseconds.
fn since_1970(text: &[u8]) -> Option<WallTime> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let whole = digits
        .iter()
        .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let nanoseconds = match rest {
        [] => 0,
        [b'.', rest @ ..] => match fraction(rest)? {
            (nanoseconds, []) => nanoseconds,
            _ => return None,
        },
        _ => return None,
    };
    let time = match whole {
        0..100_000_000_000 => Duration::new(whole, nanoseconds),
        100_000_000_000..100_000_000_000_000 => Duration::from_millis(whole),
        100_000_000_000_000..100_000_000_000_000_000 => Duration::from_micros(whole),
        _ => Duration::from_nanos(whole),
    };
    Some(WallTime(time))
}

fn two(tens: u8, ones: u8) -> Option<u16> {
    let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
    digits.then(|| u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
}
