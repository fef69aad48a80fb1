//! How is a length of time written?

use std::time::Duration;

use super::text_traits;
use crate::setting::shape::WordShape;
use crate::setting::{Misfit, Word};

/// A length of time from 1 ms to 365 days, written `500ms`, `10s`, `1m30s`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// The units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

const MAX_MILLIS: u64 = 365 * 86_400_000;

impl Span {
    /// A length of time; none: it is not between 1 ms and 365 days. What is shorter than a millisecond is cut off.
    #[must_use]
    pub fn new(duration: Duration) -> Option<Self> {
        let millis = u64::try_from(duration.as_millis()).ok()?;
        (1..=MAX_MILLIS)
            .contains(&millis)
            .then(|| Self(Duration::from_millis(millis)))
    }

    /// So many seconds, for constants; at least one.
    pub(crate) const fn seconds(seconds: u32) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds as u64 }))
    }

    /// So many milliseconds, for constants; at least one.
    pub(crate) const fn millis(millis: u32) -> Self {
        Self(Duration::from_millis(if millis == 0 { 1 } else { millis as u64 }))
    }

    /// The length.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Word for Span {
    fn read(text: &str) -> Result<Self, Misfit> {
        let Some(millis) = millis(text) else {
            return Err(Misfit {
                message: None,
                help: help(text),
            });
        };
        match millis {
            0 => Err(Misfit::because("a duration must be longer than zero")),
            1..=MAX_MILLIS => Ok(Self(Duration::from_millis(millis))),
            _ => Err(Misfit::because("a duration can be 365 days at most")),
        }
    }

    fn write(&self) -> String {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(MAX_MILLIS);
        let mut text = String::new();
        for (unit, length) in UNITS.iter().skip(1) {
            if rest >= *length {
                text.push_str(&format!("{}{unit}", rest / length));
                rest %= length;
            }
        }
        text
    }

    fn stand_in() -> Self {
        Self::seconds(1)
    }

    fn describe() -> WordShape {
        WordShape {
            name: "duration",
            expected: "a duration such as `10s`".to_owned(),
            pattern: Some("^(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?(?:[0-9]+ms)?$"),
            examples: &["500ms", "10s", "1m30s", "2h"],
            range: None,
            number: false,
        }
    }
}

text_traits!(Span);

/// The milliseconds of a text; none: it is no duration. Units come in falling order, each at most once.
fn millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, length) = units.find(|(name, _)| *name == unit)?;
        // Nothing is cut off: a number too long for the type is too long for the range as well.
        let number = if digits == 0 {
            return None;
        } else {
            number.parse::<u64>().unwrap_or(u64::MAX)
        };
        total = total.saturating_add(number.saturating_mul(*length));
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// What was probably meant: a bare number or a fraction, another spelling of a unit, a space before it.
fn help(text: &str) -> Option<String> {
    let compact: String = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect::<String>()
        .to_ascii_lowercase();
    let digits = compact
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, unit) = compact.split_at_checked(digits)?;
    let unit = match unit {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let meant = match number.split_once('.') {
        None => format!("{number}{unit}"),
        Some(_) => fraction(number, *length)?,
    };
    matches!(millis(&meant), Some(1..=MAX_MILLIS)).then(|| crate::suggest::did_you_mean(&meant))
}

/// A fraction of a unit in units that need none.
fn fraction(number: &str, length: u64) -> Option<String> {
    let (whole, part) = number.split_once('.')?;
    let scale = 10u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = part.parse::<u64>().ok()?.checked_mul(length)?;
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().ok()?.checked_mul(length)?
    };
    part.is_multiple_of(scale).then_some(())?;
    Span::new(Duration::from_millis(whole.checked_add(part / scale)?)).map(|span| span.write())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Span;

    #[test]
    fn reads() {
        let check = |text: &str, millis| assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        check("1ms", 1);
        check("500ms", 500);
        check("10s", 10_000);
        check("1m30s", 90_000);
        check("2h", 7_200_000);
        check("1d2h3m4s5ms", 93_784_005);
        check("365d", 365 * 86_400_000);
    }

    #[test]
    fn refuses() {
        let check = |text: &str, message: &str, help: Option<&str>| {
            let error = text.parse::<Span>().unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.help.as_deref()),
                (message, help),
                "{text}"
            );
        };
        let expected = |text: &str| format!("expected a duration such as `10s`, found `{text}`");
        check("10", &expected("10"), Some("did you mean `10s`?"));
        check("10 s", &expected("10 s"), Some("did you mean `10s`?"));
        check("10S", &expected("10S"), Some("did you mean `10s`?"));
        check("10sec", &expected("10sec"), Some("did you mean `10s`?"));
        check("5 minutes", &expected("5 minutes"), Some("did you mean `5m`?"));
        check("1.5s", &expected("1.5s"), Some("did you mean `1s500ms`?"));
        check("0.5h", &expected("0.5h"), Some("did you mean `30m`?"));
        check("1.00001s", &expected("1.00001s"), None);
        check("30s1m", &expected("30s1m"), None);
        check("1s1s", &expected("1s1s"), None);
        check("-1s", &expected("-1s"), None);
        check("s", &expected("s"), None);
        check("soon", &expected("soon"), None);
        check("", &expected(""), None);
        check("10µs", &expected("10µs"), None);
        check("0s", "a duration must be longer than zero", None);
        check("366d", "a duration can be 365 days at most", None);
        check("99999999999999999999999h", "a duration can be 365 days at most", None);
    }

    #[test]
    fn writes() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), expected, "{text}");
        };
        check("500ms", "500ms");
        check("1000ms", "1s");
        check("1500ms", "1s500ms");
        check("60s", "1m");
        check("90s", "1m30s");
        check("10m", "10m");
        check("24h", "24h");
        check("7d", "168h");
        check("90m", "1h30m");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(millis in 1..=super::MAX_MILLIS) {
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}|[0-9.]{0,25}[a-z ]{0,8}") {
            let _ = text.parse::<Span>();
        }
    }
}
