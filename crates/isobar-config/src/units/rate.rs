//! How is a rate written?

use std::time::Duration;

use super::text_traits;
use crate::setting::shape::WordShape;
use crate::setting::{Misfit, Word};

/// So many in a time, written `100/min`, `3/s`, `1000/h`, `20/10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    units: u64,
    seconds: u64,
}

/// The units of time, each with its length in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("day", 86_400)];

/// What else they are called.
const ALIASES: [(&str, &str); 14] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "min"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("d", "day"),
    ("days", "day"),
    ("ps", "s"),
];

const MOST_UNITS: u64 = 1_000_000_000;
const MOST_SECONDS: u64 = 365 * 86_400;

impl Rate {
    /// How many.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.units
    }

    /// In how long.
    #[must_use]
    pub const fn period(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl Word for Rate {
    fn read(text: &str) -> Result<Self, Misfit> {
        let Some((units, seconds)) = parts(text) else {
            return Err(misfit(text));
        };
        if units == 0 {
            let help = "to refuse everybody, list them under `deny`; to turn a limit off, write `mode: shadow`";
            return Err(Misfit::because("a rate must be more than nothing").help(help));
        }
        if units > MOST_UNITS {
            return Err(Misfit::because(format!("a rate can be {MOST_UNITS} at most")));
        }
        if seconds == 0 || seconds > MOST_SECONDS {
            return Err(Misfit::because("the time of a rate is from 1 second to 365 days"));
        }
        Ok(Self { units, seconds })
    }

    fn write(&self) -> String {
        let fits = UNITS
            .iter()
            .rev()
            .find(|(_, length)| self.seconds.is_multiple_of(*length));
        let (unit, length) = fits.unwrap_or(&UNITS[0]);
        match self.seconds / length {
            1 => format!("{}/{unit}", self.units),
            several => format!("{}/{several}{unit}", self.units),
        }
    }

    fn stand_in() -> Self {
        Self { units: 1, seconds: 1 }
    }

    fn describe() -> WordShape {
        WordShape {
            name: "number in a time",
            expected: "a rate such as `100/min`".to_owned(),
            pattern: Some("^[0-9]+/[0-9]*(?:s|min|h|day)$"),
            examples: &["100/min", "3/s", "20/10s"],
            range: Some(format!("1 to {MOST_UNITS} in 1s to 365day")),
            number: false,
        }
    }
}

text_traits!(Rate);

/// The numbers of a text; none: it is no rate. What is too large is the largest there is.
fn parts(text: &str) -> Option<(u64, u64)> {
    let (units, time) = text.split_once('/')?;
    let digits = time.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = time.split_at_checked(digits)?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let count = if count.is_empty() { 1 } else { number(count)? };
    Some((number(units)?, count.saturating_mul(*length)))
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// What was probably meant: another spelling of a unit, spaces, words between number and unit, no unit at all.
fn misfit(text: &str) -> Misfit {
    if text.starts_with('-') {
        return Misfit::because("a rate cannot be negative").help("write it as in `100/min`");
    }
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let compact = compact.to_ascii_lowercase().replace("per", "/");
    let digits = compact.bytes().take_while(u8::is_ascii_digit).count();
    let (units, rest) = compact.split_at_checked(digits).unwrap_or_default();
    let time = rest.trim_start_matches(['/', 'r']);
    let count = time.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = time.split_at_checked(count).unwrap_or_default();
    let known = ALIASES.iter().find(|(alias, _)| *alias == unit).map(|(_, name)| *name);
    let unit = match known.or_else(|| UNITS.iter().find(|(name, _)| *name == unit).map(|(name, _)| *name)) {
        Some(unit) => unit,
        None if unit.is_empty() && count.is_empty() => "s",
        None => return Misfit::OTHER.help("the units of time are `s`, `min`, `h` and `day`"),
    };
    let meant = format!("{units}/{count}{unit}");
    let is_rate = parts(&meant).is_some_and(|(units, seconds)| units <= MOST_UNITS && seconds <= MOST_SECONDS);
    match is_rate {
        true if rest.is_empty() => Misfit::OTHER.help(format!("say in which time, as in `{units}/s` or `{units}/min`")),
        true => Misfit::OTHER.help(crate::suggest::did_you_mean(&meant)),
        false => Misfit::OTHER,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Rate;

    #[test]
    fn reads_and_writes() {
        let check = |text: &str, units, seconds, written: &str| {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(
                (rate.units, rate.seconds, rate.to_string().as_str()),
                (units, seconds, written)
            );
        };
        check("100/min", 100, 60, "100/min");
        check("3/s", 3, 1, "3/s");
        check("20/10s", 20, 10, "20/10s");
        check("90/60s", 90, 60, "90/min");
        check("1000/h", 1_000, 3_600, "1000/h");
        check("5/24h", 5, 86_400, "5/day");
        check("1/365day", 1, 31_536_000, "1/365day");
        check("7/90min", 7, 5_400, "7/90min");
    }

    #[test]
    fn refuses() {
        let check = |text: &str, message: &str, help: Option<&str>| {
            let error = text.parse::<Rate>().unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.help.as_deref()),
                (message, help),
                "{text}"
            );
        };
        let expected = |text: &str| format!("expected a rate such as `100/min`, found `{text}`");
        let units = Some("the units of time are `s`, `min`, `h` and `day`");
        let off = "to refuse everybody, list them under `deny`; to turn a limit off, write `mode: shadow`";
        check("0/min", "a rate must be more than nothing", Some(off));
        check("-1", "a rate cannot be negative", Some("write it as in `100/min`"));
        check("-1/s", "a rate cannot be negative", Some("write it as in `100/min`"));
        check("5/fortnight", &expected("5/fortnight"), units);
        check("5/minute", &expected("5/minute"), Some("did you mean `5/min`?"));
        check("5/m", &expected("5/m"), Some("did you mean `5/min`?"));
        check("5 per second", &expected("5 per second"), Some("did you mean `5/s`?"));
        check("10r/s", &expected("10r/s"), Some("did you mean `10/s`?"));
        check("5 / 10 s", &expected("5 / 10 s"), Some("did you mean `5/10s`?"));
        check(
            "100",
            &expected("100"),
            Some("say in which time, as in `100/s` or `100/min`"),
        );
        check("1.5/s", &expected("1.5/s"), units);
        check("5/0s", "the time of a rate is from 1 second to 365 days", None);
        check("5/366day", "the time of a rate is from 1 second to 365 days", None);
        check("9999999999/s", "a rate can be 1000000000 at most", None);
        check("99999999999999999999999/s", "a rate can be 1000000000 at most", None);
        check("", &expected(""), None);
        check("many", &expected("many"), units);
        check("hour", &expected("hour"), None);
        check("/min", &expected("/min"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(units in 1..=super::MOST_UNITS, seconds in 1..=super::MOST_SECONDS) {
            let rate = Rate { units, seconds };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}|[0-9.]{0,25}/?[0-9a-z ]{0,8}") {
            let _ = text.parse::<Rate>();
        }
    }
}
