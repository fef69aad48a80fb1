//! What does the text say, before anybody asks what it means?
//!
//! Turns YAML 1.2 into a tree whose every node knows the bytes it came from. It knows no setting: a mapping is a
//! list of keys with values, a scalar is text that was quoted or not (`yes` and `on` are text, as in the core
//! schema). Every way in which a small file could become a large tree has a named maximum.

mod build;
mod syntax;

use std::borrow::Cow;
use std::ops::Range;

pub(crate) use build::parse;

use crate::problem::{Path, Problem};

/// Bytes of text that are read at most.
pub(crate) const MAX_TEXT_BYTES: usize = 64 * 1024 * 1024;

/// How deep lists and mappings may nest, aliases expanded. The settings themselves need fewer than ten levels.
pub(crate) const MAX_DEPTH: usize = 64;

/// How many nodes a tree may have; what an alias stands for counts each time it is used.
pub(crate) const MAX_NODES: usize = 1_000_000;

/// What a text is to be, for messages about it as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called {
    /// Such as `configuration`.
    pub(crate) name: &'static str,
    /// The smallest one there is, as help.
    pub(crate) smallest: &'static str,
    /// Keys at its top that nothing else has.
    pub(crate) own: &'static [&'static str],
    /// What else people give in its place.
    pub(crate) other: Other,
}

/// What a text is that was meant for something else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Other {
    /// Such as `scenario`.
    pub(crate) name: &'static str,
    /// Keys at its top that nothing else has.
    pub(crate) own: &'static [&'static str],
    /// What reads it, as help.
    pub(crate) read_by: &'static str,
}

impl Called {
    /// Whether a tree is the other thing; then, what is said of it.
    pub(crate) fn mistaken(&self, root: &Node<'_>) -> Option<Problem> {
        let first = |keys: &'static [&'static str]| keys.iter().find_map(|&key| root.entry(key));
        let Other { name, own, read_by } = self.other;
        let entry = first(own).filter(|_| first(self.own).is_none())?;
        let problem = Problem::error(Path::ROOT, format!("this is a {name}, not a {}", self.name));
        Some(problem.at(entry.key_span.clone()).help(read_by))
    }
}

/// A value and the bytes of the text it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node<'s> {
    /// Where it stands; for an alias, where its anchor stands.
    pub(crate) span: Range<usize>,
    /// What stands there.
    pub(crate) value: Value<'s>,
}

/// What stands at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'s> {
    /// Nothing at all, as after `key:` at the end of a line.
    Nothing,
    /// A word, a number, a text.
    Scalar(Scalar<'s>),
    /// A list.
    List(Vec<Node<'s>>),
    /// Keys with values in the order written; keys are unique.
    Mapping(Vec<Entry<'s>>),
}

/// A word, a number, a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar<'s> {
    /// The text without quotes.
    pub(crate) text: Cow<'s, str>,
    /// How it was written.
    pub(crate) style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: the only way to write a number or a truth value.
    Plain,
    /// In quotes or as a block: always text.
    Quoted,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<'s> {
    /// The key.
    pub(crate) key: Cow<'s, str>,
    /// Where the key stands.
    pub(crate) key_span: Range<usize>,
    /// The value.
    pub(crate) value: Node<'s>,
}

impl<'s> Node<'s> {
    /// The entry of a mapping with this key; where there is none, one that differs in case only, as the names of
    /// header fields may.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry<'s>> {
        let Value::Mapping(entries) = &self.value else {
            return None;
        };
        let same = entries.iter().find(|entry| entry.key == key);
        same.or_else(|| entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key)))
    }

    /// The element of a list at this position.
    pub(crate) fn element(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }

    /// The text of a scalar that was written without quotes.
    pub(crate) fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if scalar.style == Style::Plain => Some(&scalar.text),
            _ => None,
        }
    }

    /// What it is, for the second half of "expected …, found …".
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Nothing => "nothing".to_owned(),
            Value::Scalar(scalar) if scalar.style == Style::Quoted => format!("the text `{}`", shorten(&scalar.text)),
            Value::Scalar(scalar) => format!("`{}`", shorten(&scalar.text)),
            Value::List(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }

    /// The bytes a message about the node points at: the first line of it, as the rest rarely helps.
    pub(crate) fn headline(&self) -> Range<usize> {
        match &self.value {
            Value::Mapping(entries) => entries
                .first()
                .map_or(self.span.clone(), |entry| entry.key_span.clone()),
            Value::List(items) if !items.is_empty() => self.span.start..self.span.start + 1,
            _ => self.span.clone(),
        }
    }
}

/// A text for a message: on one line, and cut when it is long.
pub(crate) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut short: String = text.chars().take(MAX_CHARS).flat_map(visible).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}

fn visible(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let kept = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(kept)
}
