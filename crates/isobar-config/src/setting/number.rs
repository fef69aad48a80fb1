//! How is a whole number within a range read?

use super::{Detail, OrNone, Setting, Shape, Written, wrong_kind};
use crate::problem::{Path, Problem, Problems};
use crate::tree::{Node, Style, Value};

/// A whole number from `LEAST` to `GREATEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const LEAST: u32, const GREATEST: u32>(u32);

impl<const LEAST: u32, const GREATEST: u32> Whole<LEAST, GREATEST> {
    /// The number; none: it lies outside the range.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if LEAST <= number && number <= GREATEST {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, moved to the nearer end of the range where it lies outside: for constants.
    pub(crate) const fn of(number: u32) -> Self {
        match Self::new(number) {
            Some(whole) => whole,
            None if number < LEAST => Self(LEAST),
            None => Self(GREATEST),
        }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl<const LEAST: u32, const GREATEST: u32> OrNone<Whole<LEAST, GREATEST>> {
    /// The number; none: there is none.
    #[must_use]
    pub fn value(&self) -> Option<u32> {
        self.0.map(Whole::value)
    }
}

impl<const LEAST: u32, const GREATEST: u32> Setting for Whole<LEAST, GREATEST> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        let Value::Scalar(scalar) = &node.value else {
            return wrong_kind(node, at, problems);
        };
        let digits = !scalar.text.is_empty() && scalar.text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| scalar.text.parse().ok()).flatten().and_then(Self::new);
        if let (Some(number), Style::Plain) = (number, scalar.style) {
            return number;
        }
        let expected = Self::shape().expected();
        let help = match (number, scalar.style, digits) {
            (Some(_), Style::Quoted, _) => Some("remove the quotes".to_owned()),
            (None, _, false) => plain_digits(&scalar.text),
            _ => None,
        };
        let problem = Problem::error(at, format!("expected {expected}, found {}", node.describe()));
        problems.push(problem.at(node.headline()).maybe_help(help));
        Self::placeholder()
    }

    fn placeholder() -> Self {
        Self(LEAST)
    }

    fn encode(&self, _: Detail) -> Written {
        Written::Number(self.0.into())
    }

    fn shape() -> Shape {
        Shape::Whole {
            least: LEAST,
            greatest: GREATEST,
        }
    }
}

/// The help for a number written with signs between its digits.
fn plain_digits(text: &str) -> Option<String> {
    let written = text.strip_prefix('+').unwrap_or(text);
    let plain: String = written
        .chars()
        .filter(|c| !matches!(c, '_' | ',' | '\'' | ' '))
        .collect();
    let number = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit()) && plain != text;
    number.then(|| crate::suggest::did_you_mean(&plain))
}
