//! How is a text or number of one kind read?

use super::shape::WordShape;
use super::{Detail, Setting, Shape, Written, wrong_kind};
use crate::problem::{Path, Problem, Problems};
use crate::tree::{Node, Value};

/// A type written as one text, such as a duration or an address.
pub(crate) trait Word: Sized {
    /// Reads the text.
    fn read(text: &str) -> Result<Self, Misfit>;

    /// The text that reads as this value.
    fn write(&self) -> String;

    /// What stands in for a text that could not be read.
    fn stand_in() -> Self;

    /// The texts that can be read.
    fn describe() -> WordShape;
}

/// Why a text is not of a kind, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Why; none: it simply is something else, and "expected …, found …" says so.
    pub(crate) message: Option<String>,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl Misfit {
    /// The text is something else.
    pub(crate) const OTHER: Self = Self {
        message: None,
        help: None,
    };

    /// The text is of the kind, but not a valid one.
    pub(crate) fn because(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            help: None,
        }
    }

    /// Parts the text of an error into why it is one and, after the semicolon, what to do about it.
    pub(crate) fn from_sentence(text: &str) -> Self {
        match text.split_once("; ") {
            None => Self::because(text),
            Some((message, help)) => Self::because(message).help(help),
        }
    }

    /// Adds what to do about it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// Reads a scalar as a word; reports what is wrong with it.
pub(crate) fn decode_word<T: Word + Setting>(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> T {
    let Value::Scalar(scalar) = &node.value else {
        return wrong_kind(node, at, problems);
    };
    match T::read(&scalar.text) {
        Ok(word) => word,
        Err(Misfit { message, help }) => {
            let expected = || format!("expected {}, found {}", T::describe().expected, node.describe());
            let message = message.unwrap_or_else(expected);
            problems.push(Problem::error(at, message).at(node.headline()).maybe_help(help));
            T::stand_in()
        }
    }
}

/// Makes a [`Word`] a [`Setting`].
macro_rules! word_setting {
    ($($Word:ty),+ $(,)?) => { $(
        impl $crate::setting::Setting for $Word {
            fn decode(
                node: &$crate::tree::Node<'_>,
                at: $crate::problem::Path<'_>,
                problems: &mut $crate::problem::Problems,
            ) -> Self {
                $crate::setting::word::decode_word(node, at, problems)
            }

            fn placeholder() -> Self {
                <Self as $crate::setting::Word>::stand_in()
            }

            fn encode(&self, _: $crate::setting::Detail) -> $crate::setting::Written {
                $crate::setting::Written::Text($crate::setting::Word::write(self))
            }

            fn shape() -> $crate::setting::Shape {
                $crate::setting::Shape::Word(<Self as $crate::setting::Word>::describe())
            }
        }
    )+ };
}
pub(crate) use word_setting;

impl Setting for bool {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        match node.plain() {
            Some("true" | "True" | "TRUE") => true,
            Some("false" | "False" | "FALSE") => false,
            Some(word) => {
                let meant = match word.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "1" | "enabled" => Some("true"),
                    "no" | "off" | "n" | "0" | "none" | "disabled" => Some("false"),
                    other => crate::suggest::nearest(other, ["true", "false"]),
                };
                let problem = Problem::error(at, format!("expected `true` or `false`, found {}", node.describe()));
                problems.push(
                    problem
                        .at(node.headline())
                        .maybe_help(meant.map(crate::suggest::did_you_mean)),
                );
                false
            }
            None => match &node.value {
                Value::Scalar(scalar) if matches!(scalar.text.as_ref(), "true" | "false") => {
                    let problem = Problem::error(at, format!("expected `true` or `false`, found {}", node.describe()));
                    problems.push(problem.at(node.headline()).help("remove the quotes"));
                    false
                }
                _ => wrong_kind(node, at, problems),
            },
        }
    }

    fn placeholder() -> Self {
        false
    }

    fn encode(&self, _: Detail) -> Written {
        Written::Switch(*self)
    }

    fn shape() -> Shape {
        Shape::Switch
    }
}
