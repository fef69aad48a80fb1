//! How is one of a few words read?

use super::{Detail, Setting, Shape, Written, help_for_word, wrong_kind};
use crate::problem::{Path, Problem, Problems};
use crate::tree::{Node, Value};

/// A type whose every value has a word.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// What the words are, within "expected …".
    const EXPECTED: &'static str;

    /// Every value with its word and what it means; the first stands in for a word that could not be read.
    const OPTIONS: &'static [(Self, &'static str, &'static str)];

    /// What to say about a word that is not valid but has a reason to be written.
    fn about(_word: &str) -> Option<&'static str> {
        None
    }
}

impl<T: Choice> Setting for T {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        let Value::Scalar(scalar) = &node.value else {
            return wrong_kind(node, at, problems);
        };
        if let Some((value, ..)) = T::OPTIONS.iter().find(|(_, word, _)| *word == scalar.text) {
            return *value;
        }
        let help = match T::about(&scalar.text) {
            Some(about) => about.to_owned(),
            None => help_for_word(
                &scalar.text,
                "valid values",
                T::OPTIONS.iter().map(|(_, word, _)| *word),
            ),
        };
        let problem = Problem::error(at, format!("expected {}, found {}", T::EXPECTED, node.describe()));
        problems.push(problem.at(node.headline()).help(help));
        Self::placeholder()
    }

    fn placeholder() -> Self {
        T::OPTIONS[0].0
    }

    fn encode(&self, _: Detail) -> Written {
        let word = T::OPTIONS
            .iter()
            .find(|(value, ..)| value == self)
            .map_or("", |(_, word, _)| word);
        Written::Text(word.to_owned())
    }

    fn shape() -> Shape {
        Shape::Choice {
            expected: T::EXPECTED,
            options: T::OPTIONS.iter().map(|&(_, word, help)| (word, help)).collect(),
        }
    }
}
