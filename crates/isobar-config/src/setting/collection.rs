//! How are lists, mappings from names, keys that may be left out and `none` read?

use super::{Detail, Setting, Shape, Word, Written, wrong_kind};
use crate::problem::{Path, Problem, Problems};
use crate::tree::{Node, Value};

impl<T: Setting> Setting for Vec<T> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        match &node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| T::decode(item, at.index(index), problems))
                .collect(),
            Value::Mapping(_) | Value::Scalar(_) => {
                let expected = Self::shape().expected();
                let problem = Problem::error(at, format!("expected {expected}, found {}", node.describe()));
                let help = "put `-` before each element, or write the elements between `[` and `]`";
                problems.push(problem.at(node.headline()).help(help));
                Self::placeholder()
            }
            Value::Nothing => wrong_kind(node, at, problems),
        }
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn encode(&self, detail: Detail) -> Written {
        Written::List(self.iter().map(|item| item.encode(detail)).collect())
    }

    fn shape() -> Shape {
        Shape::List {
            element: Box::new(T::shape()),
        }
    }
}

/// A mapping from names to values, in the order written. Names written as one are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<K, T>(pub Vec<(K, T)>);

impl<K, T> Default for Named<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, T> Named<K, T> {
    /// The names with their values.
    pub fn iter(&self) -> std::slice::Iter<'_, (K, T)> {
        self.0.iter()
    }
}

impl<K: Word, T: Setting> Setting for Named<K, T> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        let entries = match &node.value {
            Value::Mapping(entries) => entries,
            // A section whose last entry was commented out.
            Value::Nothing => return Self::default(),
            _ => return wrong_kind(node, at, problems),
        };
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = at.key(&entry.key);
            let key = K::read(&entry.key).unwrap_or_else(|misfit| {
                let expected = || {
                    format!(
                        "expected {}, found `{}`",
                        K::describe().expected,
                        entry.key.escape_debug()
                    )
                };
                let message = misfit.message.unwrap_or_else(expected);
                problems.push(
                    Problem::error(at, message)
                        .on_key()
                        .at(entry.key_span.clone())
                        .maybe_help(misfit.help),
                );
                K::stand_in()
            });
            named.push((key, T::decode(&entry.value, at, problems)));
        }
        Self(named)
    }

    fn placeholder() -> Self {
        Self::default()
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn encode(&self, detail: Detail) -> Written {
        Written::Mapping(
            self.0
                .iter()
                .map(|(key, value)| (key.write(), value.encode(detail)))
                .collect(),
        )
    }

    fn shape() -> Shape {
        Shape::Named {
            key: Box::new(Shape::Word(K::describe())),
            value: Box::new(T::shape()),
        }
    }
}

/// A key that may be left out: the value then follows from others.
impl<T: Setting> Setting for Option<T> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        Some(T::decode(node, at, problems))
    }

    fn placeholder() -> Self {
        None
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn encode(&self, detail: Detail) -> Written {
        self.as_ref().map_or(Written::Nothing, |value| value.encode(detail))
    }

    fn shape() -> Shape {
        T::shape()
    }
}

/// A value, or the word `none`: there is none, and nothing follows from others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

impl<T: Setting> Setting for OrNone<T> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        if is_none(node) {
            Self(None)
        } else {
            Self(Some(T::decode(node, at, problems)))
        }
    }

    fn placeholder() -> Self {
        Self(None)
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }

    fn encode(&self, detail: Detail) -> Written {
        self.0
            .as_ref()
            .map_or_else(|| Written::Text("none".to_owned()), |value| value.encode(detail))
    }

    fn shape() -> Shape {
        Shape::OrNone(Box::new(T::shape()))
    }
}

/// Whether a node says that there is nothing; `none` also in quotes, as it must be in JSON.
fn is_none(node: &Node<'_>) -> bool {
    let none = matches!(&node.value, Value::Scalar(scalar) if scalar.text == "none");
    none || matches!(node.plain(), Some("null" | "Null" | "NULL" | "~"))
}
