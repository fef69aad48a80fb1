//! What does a setting look like when it is written down again?

use serde_json::{Map, Value};

/// A value as it would be written; the order of keys is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing: the key is left out.
    Nothing,
    /// `true` or `false`.
    Switch(bool),
    /// A number.
    Number(u64),
    /// A word or a text.
    Text(String),
    /// A list.
    List(Vec<Written>),
    /// A mapping.
    Mapping(Vec<(String, Written)>),
}

impl Written {
    /// The value in JSON.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Switch(switch) => Value::Bool(*switch),
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Mapping(entries) => {
                let entries = entries.iter().filter(|(_, value)| *value != Self::Nothing);
                Value::Object(
                    entries
                        .map(|(key, value)| (key.clone(), value.to_json()))
                        .collect::<Map<_, _>>(),
                )
            }
        }
    }

    /// Whether it stands on one line: neither a list nor a mapping with anything in it.
    pub(crate) fn is_flat(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Mapping(entries) => entries.is_empty(),
            _ => true,
        }
    }
}
