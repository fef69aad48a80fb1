//! How is a type read, written and described, all from one declaration?
//!
//! A [`Setting`] is a type that people can write. [`settings!`](section) declares a mapping with its keys, defaults
//! and help texts once; reading, the written-out form, the JSON Schema and the reference page all come from that
//! declaration. This module knows no particular setting.

pub(crate) mod choice;
mod collection;
mod number;
mod one_or_more;
pub(crate) mod section;
pub(crate) mod shape;
pub(crate) mod word;
mod written;

pub use collection::{Named, OrNone};
pub use number::Whole;
pub use one_or_more::OneOrMore;
pub(crate) use shape::Shape;
pub(crate) use word::{Misfit, Word};
pub(crate) use written::Written;

use crate::problem::{Path, Problem, Problems};
use crate::suggest;
use crate::tree::{Node, Value};

/// A type that people can write.
pub(crate) trait Setting: Sized {
    /// Reads a node. What cannot be read is reported, and something stands in for it so that the checks that need
    /// the rest of the document can go on; a document with a reported error is never used.
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self;

    /// What stands in for a value that could not be read.
    fn placeholder() -> Self;

    /// The value where nothing is written; none: something must be.
    fn absent() -> Option<Self> {
        None
    }

    /// The form people would write; [`Written::Nothing`]: the key is left out.
    fn encode(&self, detail: Detail) -> Written;

    /// What may be written.
    fn shape() -> Shape;
}

/// How much is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything, defaults included.
    Full,
    /// What is not the default.
    Brief,
}

/// Reports that a node is not of the kind a setting needs.
pub(crate) fn wrong_kind<T: Setting>(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> T {
    problems.push_with(|| {
        let expected = T::shape().expected();
        let problem = Problem::error(at, format!("expected {expected}, found {}", node.describe()));
        match node.value {
            Value::Nothing => problem.help("write a value after the `:`"),
            _ => problem.at(node.headline()),
        }
    });
    T::placeholder()
}

/// The help for a word that is none of those known: the nearest one, or all of them.
pub(crate) fn help_for_word<'w>(word: &str, what: &str, known: impl IntoIterator<Item = &'w str> + Clone) -> String {
    match suggest::nearest(word, known.clone()) {
        Some(near) => suggest::did_you_mean(near),
        None => list_of_words(what, known),
    }
}

/// `valid keys: a, b, c`, cut where there are very many.
pub(crate) fn list_of_words<'w>(what: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    const MAX_LISTED: usize = 24;
    let mut words: Vec<&str> = known.into_iter().take(MAX_LISTED + 1).collect();
    let cut = words.len() > MAX_LISTED;
    words.truncate(MAX_LISTED);
    let words: Vec<String> = words
        .into_iter()
        .map(|word| format!("`{}`", crate::tree::shorten(word)))
        .collect();
    match (words.is_empty(), cut) {
        (true, _) => format!("there are no {what}"),
        (false, false) => format!("{what}: {}", words.join(", ")),
        (false, true) => format!("{what}: {}, …", words.join(", ")),
    }
}
