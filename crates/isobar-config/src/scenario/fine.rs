//! How is a time within a simulation written, which may be much shorter than any of the real thing?

use super::decimal::millionths;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::Span;

/// A time longer than zero, to the nanosecond, written as a duration or as a decimal number of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fine(u64);

/// A point in time, as the time from the start; it may be zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(u64);

/// The units from the longest to the shortest, in nanoseconds.
const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

/// A simulation does not last longer than a span of the real thing.
const MAX_NANOSECONDS: u64 = 365 * 86_400 * 1_000_000_000;

impl Fine {
    pub(super) const MILLISECOND: Self = Self(1_000_000);

    /// So many nanoseconds; none: it is zero or longer than 365 days.
    #[must_use]
    pub fn new(nanoseconds: u64) -> Option<Self> {
        (1..=MAX_NANOSECONDS)
            .contains(&nanoseconds)
            .then_some(Self(nanoseconds))
    }

    /// The time.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }
}

impl Offset {
    /// The time from the start.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }
}

/// The nanoseconds of a text; none: it is no time.
fn read(text: &str) -> Option<u64> {
    if let Ok(span) = text.parse::<Span>() {
        return u64::try_from(span.duration().as_nanos()).ok();
    }
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let exact = u128::from(millionths(number)?) * u128::from(*length);
    let nanoseconds = u64::try_from(exact / 1_000_000).ok()?;
    (nanoseconds <= MAX_NANOSECONDS).then_some(nanoseconds)
}

/// What was probably meant.
fn help(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let compact = compact.to_ascii_lowercase().replace("µs", "us").replace(',', ".");
    let with_unit = || format!("{compact}ms");
    let meant = [compact.clone(), with_unit()];
    let meant = meant.into_iter().find(|meant| read(meant).is_some() && meant != text);
    meant.map(|meant| crate::suggest::did_you_mean(&meant))
}

fn write(nanoseconds: u64) -> String {
    let (unit, length) = UNITS
        .into_iter()
        .find(|(_, length)| nanoseconds.is_multiple_of(*length))
        .unwrap_or(("ns", 1));
    format!("{}{unit}", nanoseconds / length)
}

fn describe(expected: &str) -> WordShape {
    WordShape {
        name: "fine duration",
        expected: expected.to_owned(),
        pattern: Some(
            r"^(?:[0-9]+(?:\.[0-9]+)?(?:s|ms|us|ns)|(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?(?:[0-9]+ms)?)$",
        ),
        examples: &["10ms", "0.25ms", "40us"],
        range: None,
        number: false,
    }
}

impl Word for Fine {
    fn read(text: &str) -> Result<Self, Misfit> {
        match read(text) {
            Some(0) => Err(Misfit::because("a duration must be longer than zero")),
            Some(nanoseconds) => Ok(Self(nanoseconds)),
            None => Err(Misfit {
                message: None,
                help: help(text),
            }),
        }
    }

    fn write(&self) -> String {
        write(self.0)
    }

    fn stand_in() -> Self {
        Self(1_000_000)
    }

    fn describe() -> WordShape {
        describe("a duration such as `10ms` or `0.25ms`")
    }
}

impl Word for Offset {
    fn read(text: &str) -> Result<Self, Misfit> {
        match read(text) {
            Some(nanoseconds) => Ok(Self(nanoseconds)),
            None if text == "0" => Ok(Self(0)),
            None => Err(Misfit {
                message: None,
                help: help(text),
            }),
        }
    }

    fn write(&self) -> String {
        write(self.0)
    }

    fn stand_in() -> Self {
        Self(0)
    }

    fn describe() -> WordShape {
        WordShape {
            pattern: Some(r"^.*$"),
            number: true,
            ..describe("a time from the start such as `10s` or `0s`")
        }
    }
}

word_setting!(Fine, Offset);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        let check = |text: &str, nanoseconds, again: &str| {
            let read = Offset::read(text).unwrap();
            assert_eq!(
                (read.nanoseconds(), read.write().as_str()),
                (nanoseconds, again),
                "{text}"
            );
            assert_eq!(Offset::read(again), Ok(read));
        };
        check("10ms", 10_000_000, "10ms");
        check("0.25ms", 250_000, "250us");
        check("40us", 40_000, "40us");
        check("1.5s", 1_500_000_000, "1500ms");
        check("1m30s", 90_000_000_000, "90s");
        check("7ns", 7, "7ns");
        check("0s", 0, "0s");
        check("0", 0, "0s");
    }

    #[test]
    fn refuses() {
        let check = |text: &str, help: Option<&str>| {
            assert_eq!(Fine::read(text).unwrap_err().help.as_deref(), help, "{text}");
        };
        check("0s", None);
        check("10", Some("did you mean `10ms`?"));
        check("1,5ms", Some("did you mean `1.5ms`?"));
        check("40 µs", Some("did you mean `40us`?"));
        check("soon", None);
        check("-1ms", None);
        check("", None);
        check("99999999999999999999s", None);
        check("400d", None);
    }
}
