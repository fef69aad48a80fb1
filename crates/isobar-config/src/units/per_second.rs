//! How is a number per second written?

use super::text_traits;
use crate::setting::shape::WordShape;
use crate::setting::{Misfit, Word};

/// A whole number per second, a million at most, written `3/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerSecond(u32);

const GREATEST: u32 = 1_000_000;

impl PerSecond {
    /// So many, at most a million: for constants.
    pub(crate) const fn of(number: u32) -> Self {
        Self(if number < GREATEST { number } else { GREATEST })
    }

    /// How many.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl Word for PerSecond {
    fn read(text: &str) -> Result<Self, Misfit> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.strip_suffix("/s") {
            Some(number) if digits(number) => match number.parse() {
                Ok(number @ 0..=GREATEST) => Ok(Self(number)),
                _ => Err(Misfit::because("a million per second is the most")),
            },
            _ => {
                let bare = text.trim_end_matches(|c: char| !c.is_ascii_digit());
                let meant = digits(bare) && bare.len() <= 6 && !text.contains(['.', 'm', 'h']);
                Err(Misfit {
                    message: None,
                    help: meant.then(|| crate::suggest::did_you_mean(&format!("{bare}/s"))),
                })
            }
        }
    }

    fn write(&self) -> String {
        format!("{}/s", self.0)
    }

    fn stand_in() -> Self {
        Self(0)
    }

    fn describe() -> WordShape {
        WordShape {
            name: "rate",
            expected: "a number per second such as `3/s`".to_owned(),
            pattern: Some("^[0-9]+/s$"),
            examples: &["3/s"],
            range: Some(format!("0/s to {GREATEST}/s")),
            number: false,
        }
    }
}

text_traits!(PerSecond);

#[cfg(test)]
mod tests {
    use super::PerSecond;

    #[test]
    fn reads_and_writes() {
        let check = |text: &str, expected: &str| {
            let found = text.parse::<PerSecond>();
            let found = found.map_or_else(|error| error.to_string(), |rate| rate.to_string());
            assert_eq!(found, expected, "{text}");
        };
        let expected = "expected a number per second such as `3/s`, found";
        check("3/s", "3/s");
        check("0/s", "0/s");
        check("1000000/s", "1000000/s");
        check("1000001/s", "a million per second is the most");
        check("99999999999/s", "a million per second is the most");
        check("3", &format!("{expected} `3`; did you mean `3/s`?"));
        check(
            "3 per second",
            &format!("{expected} `3 per second`; did you mean `3/s`?"),
        );
        check("3/m", &format!("{expected} `3/m`"));
        check("", &format!("{expected} ``"));
    }
}
