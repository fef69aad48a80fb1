//! How is a number with a point written?

use crate::setting::shape::WordShape;
use crate::setting::word::decode_word;
use crate::setting::{Detail, Misfit, Setting, Shape, Word, Written};

/// Units of the last digit that is kept.
const SCALE: u64 = 1_000_000;

/// Digits after the point.
const DIGITS: usize = 6;

/// Units of the last digit in one unit of the range.
const RANGE: u64 = 1_000;

/// A number from `LEAST` to `GREATEST` thousandths, with at most six digits after the point.
///
/// It is kept as a whole number of millionths, so that what is written reads as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal<const LEAST: u64, const GREATEST: u64>(u64);

impl<const LEAST: u64, const GREATEST: u64> Decimal<LEAST, GREATEST> {
    /// So many thousandths, moved to the nearer end of the range where it lies outside: for constants.
    pub(crate) const fn thousandths(number: u64) -> Self {
        let number = if number < LEAST { LEAST } else { number };
        let number = if number > GREATEST { GREATEST } else { number };
        Self(number * (SCALE / RANGE))
    }

    /// The number rounded to six digits; none: it lies outside the range.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what does not fit is outside of every range"
    )]
    pub fn new(number: f64) -> Option<Self> {
        let millionths = (number * SCALE as f64).round();
        let within =
            millionths >= (LEAST * (SCALE / RANGE)) as f64 && millionths <= (GREATEST * (SCALE / RANGE)) as f64;
        within.then_some(Self(millionths as u64))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0 as f64 / SCALE as f64
    }
}

impl<const LEAST: u64, const GREATEST: u64> Word for Decimal<LEAST, GREATEST> {
    fn read(text: &str) -> Result<Self, Misfit> {
        let (least, greatest) = (LEAST * (SCALE / RANGE), GREATEST * (SCALE / RANGE));
        match millionths(text) {
            Some(number) if (least..=greatest).contains(&number) => Ok(Self(number)),
            Some(_) => Err(Misfit::OTHER),
            None => Err(Misfit {
                message: None,
                help: help(text)
                    .filter(|(number, _)| (least..=greatest).contains(number))
                    .map(|(_, written)| crate::suggest::did_you_mean(&written)),
            }),
        }
    }

    fn write(&self) -> String {
        written(self.0)
    }

    fn stand_in() -> Self {
        Self(LEAST.max(1) * (SCALE / RANGE))
    }

    fn describe() -> WordShape {
        let range = format!(
            "{} to {}",
            written(LEAST * (SCALE / RANGE)),
            written(GREATEST * (SCALE / RANGE))
        );
        WordShape {
            name: "decimal number",
            expected: format!("a number from {}", range),
            pattern: Some(r"^[0-9]+(?:\.[0-9]{1,6})?$"),
            examples: &["0.9", "2"],
            range: Some(range),
            number: true,
        }
    }
}

impl<const LEAST: u64, const GREATEST: u64> Setting for Decimal<LEAST, GREATEST> {
    fn decode(
        node: &crate::tree::Node<'_>,
        at: crate::problem::Path<'_>,
        problems: &mut crate::problem::Problems,
    ) -> Self {
        decode_word(node, at, problems)
    }

    fn placeholder() -> Self {
        Self::stand_in()
    }

    fn encode(&self, _: Detail) -> Written {
        match self.0 % SCALE {
            0 => Written::Number(self.0 / SCALE),
            _ => Written::Text(self.write()),
        }
    }

    fn shape() -> Shape {
        Shape::Word(Self::describe())
    }
}

/// The millionths of a text; none: it is no number, or too exact.
pub(super) fn millionths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > DIGITS {
        return None;
    }
    let part: u64 = format!("{part:0<DIGITS$}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(SCALE)?.checked_add(part)
}

fn written(millionths: u64) -> String {
    let (whole, part) = (millionths / SCALE, millionths % SCALE);
    let text = format!("{whole}.{part:0DIGITS$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What was probably meant: a percentage, a decimal comma, a digit left out.
fn help(text: &str) -> Option<(u64, String)> {
    let plain = text.trim().replace(',', ".");
    if !plain.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let meant = match plain.strip_suffix('%') {
        Some(percent) => millionths(percent.trim())? / 100,
        None => millionths(&format!("0{plain}")).or_else(|| millionths(&format!("{plain}0")))?,
    };
    Some((meant, written(meant)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Share = Decimal<0, 1_000>;

    #[test]
    fn reads_and_writes() {
        let check = |text: &str, value: f64, again: &str| {
            let read = Decimal::<0, 1_000_000>::read(text).unwrap();
            assert_eq!((read.value(), read.write().as_str()), (value, again), "{text}");
            assert_eq!(Decimal::<0, 1_000_000>::new(value), Some(read));
        };
        check("0", 0.0, "0");
        check("0.9", 0.9, "0.9");
        check("12", 12.0, "12");
        check("1.000001", 1.000_001, "1.000001");
        check("07.50", 7.5, "7.5");
    }

    #[test]
    fn refuses() {
        let check = |text: &str, help: Option<&str>| {
            assert_eq!(Share::read(text).unwrap_err().help.as_deref(), help, "{text}");
        };
        check("1.1", None);
        check("-0.5", None);
        check("1e-3", None);
        check("nan", None);
        check("", None);
        check("0.1234567", None);
        check("99999999999999999999", None);
        check("20%", Some("did you mean `0.2`?"));
        check("0,5", Some("did you mean `0.5`?"));
        check(".5", Some("did you mean `0.5`?"));
        check("500%", None);
        assert_eq!(Share::new(-0.1), None);
        assert_eq!(Share::new(f64::NAN), None);
    }
}
