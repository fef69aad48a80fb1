//! How is a part of a hundred written?

use std::fmt;
use std::str::FromStr;

use super::UnitError;
use crate::problem::{Path, Problems};
use crate::setting::shape::WordShape;
use crate::setting::word::decode_word;
use crate::setting::{Detail, Misfit, Setting, Shape, Word, Written};
use crate::tree::Node;

/// Whole hundredths from `LEAST` to `GREATEST`, which is 100,000 at most, written `50%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent<const LEAST: u32, const GREATEST: u32>(u32);

impl<const LEAST: u32, const GREATEST: u32> Percent<LEAST, GREATEST> {
    /// So many hundredths; none: they lie outside the range.
    #[must_use]
    pub const fn new(percent: u32) -> Option<Self> {
        if LEAST <= percent && percent <= GREATEST {
            Some(Self(percent))
        } else {
            None
        }
    }

    /// So many hundredths, moved to the nearer end of the range where they lie outside: for constants.
    pub(crate) const fn of(percent: u32) -> Self {
        match Self::new(percent) {
            Some(percent) => percent,
            None if percent < LEAST => Self(LEAST),
            None => Self(GREATEST),
        }
    }

    /// How many hundredths.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl<const LEAST: u32, const GREATEST: u32> Word for Percent<LEAST, GREATEST> {
    fn read(text: &str) -> Result<Self, Misfit> {
        let digits = text.strip_suffix('%').filter(|digits| is_digits(digits));
        let Some(digits) = digits else {
            return Err(Misfit {
                message: None,
                help: help::<Self>(text),
            });
        };
        // A number too long for the type is too long for the range as well.
        digits.parse().ok().and_then(Self::new).ok_or_else(|| {
            let found = crate::tree::shorten(text);
            Misfit::because(format!(
                "expected a percentage from {LEAST}% to {GREATEST}%, found `{found}`"
            ))
        })
    }

    fn write(&self) -> String {
        format!("{}%", self.0)
    }

    fn stand_in() -> Self {
        Self(LEAST)
    }

    fn describe() -> WordShape {
        WordShape {
            name: "percentage",
            expected: "a percentage such as `50%`".to_owned(),
            pattern: Some("^[0-9]+%$"),
            examples: &[],
            range: Some(format!("{LEAST}% to {GREATEST}%")),
            number: false,
        }
    }
}

impl<const LEAST: u32, const GREATEST: u32> Setting for Percent<LEAST, GREATEST> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        decode_word(node, at, problems)
    }

    fn placeholder() -> Self {
        Self::stand_in()
    }

    fn encode(&self, _: Detail) -> Written {
        Written::Text(self.write())
    }

    fn shape() -> Shape {
        Shape::Word(Self::describe())
    }
}

impl<const LEAST: u32, const GREATEST: u32> FromStr for Percent<LEAST, GREATEST> {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        super::from_text(text)
    }
}

impl<const LEAST: u32, const GREATEST: u32> fmt::Display for Percent<LEAST, GREATEST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.write())
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What was probably meant: a number without its sign, a fraction of 1, a space before the sign.
fn help<T: Word>(text: &str) -> Option<String> {
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bare = bare.strip_suffix('%').unwrap_or(&bare);
    let has_sign = text.contains('%');
    let meant = match bare.split_once('.') {
        None => bare.to_owned(),
        Some((whole, "0" | "00")) if has_sign => whole.to_owned(),
        Some((whole, part)) if !has_sign && is_digits(whole) && is_digits(part) && part.len() <= 2 => {
            let hundredths = format!("{whole}{part:0<2}");
            hundredths.parse::<u64>().ok()?.to_string()
        }
        Some(_) => return None,
    };
    let meant = is_digits(&meant).then(|| format!("{meant}%"))?;
    T::read(&meant).ok().map(|_| crate::suggest::did_you_mean(&meant))
}

#[cfg(test)]
mod tests {
    use super::Percent;

    type Part = Percent<1, 1_000>;

    #[test]
    fn reads_and_writes() {
        let check = |text: &str, value| {
            let percent: Part = text.parse().unwrap();
            assert_eq!((percent.value(), percent.to_string()), (value, format!("{value}%")));
        };
        check("1%", 1);
        check("50%", 50);
        check("050%", 50);
        check("1000%", 1_000);
    }

    #[test]
    fn refuses() {
        let check = |text: &str, message: &str, help: Option<&str>| {
            let error = text.parse::<Part>().unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.help.as_deref()),
                (message, help),
                "{text}"
            );
        };
        let expected = |text: &str| format!("expected a percentage such as `50%`, found `{text}`");
        let range = |text: &str| format!("expected a percentage from 1% to 1000%, found `{text}`");
        check("0%", &range("0%"), None);
        check("1001%", &range("1001%"), None);
        check("99999999999%", &range("99999999999%"), None);
        check("50", &expected("50"), Some("did you mean `50%`?"));
        check("50 %", &expected("50 %"), Some("did you mean `50%`?"));
        check("0.5", &expected("0.5"), Some("did you mean `50%`?"));
        check("1.25", &expected("1.25"), Some("did you mean `125%`?"));
        check("50.0%", &expected("50.0%"), Some("did you mean `50%`?"));
        check("0.5%", &expected("0.5%"), None);
        check("0.125", &expected("0.125"), None);
        check("-5%", &expected("-5%"), None);
        check("%", &expected("%"), None);
        check("", &expected(""), None);
        check("half", &expected("half"), None);
        check("2000", &expected("2000"), None);
    }

    #[test]
    fn constants_are_within_the_range() {
        assert_eq!([0, 7, 5_000].map(|percent| Part::of(percent).value()), [1, 7, 1_000]);
    }
}
