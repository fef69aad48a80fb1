//! How is written what a server is expected to answer, before it is known what it is asked?

use super::Text;
use crate::problem::{Path, Problems};
use crate::setting::word::decode_word;
use crate::setting::{Detail, Misfit, Setting, Shape, Word, Written};
use crate::tree::{Node, Value};
use crate::units::Statuses;

/// A text, or a list of statuses. Whether a text is a status or something a server says depends on the kind of probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Something that was written without a list around it.
    One(Text),
    /// A list, which only statuses can be.
    Statuses(Statuses),
}

impl Expectation {
    /// The statuses it stands for.
    pub(crate) fn statuses(&self) -> Result<Statuses, Misfit> {
        match self {
            Self::One(text) => Statuses::read_one(&text.write()),
            Self::Statuses(statuses) => Ok(statuses.clone()),
        }
    }

    /// The text it stands for; none: it is a list.
    pub(crate) fn text(&self) -> Option<&Text> {
        match self {
            Self::One(text) => Some(text),
            Self::Statuses(_) => None,
        }
    }
}

impl From<Statuses> for Expectation {
    fn from(statuses: Statuses) -> Self {
        match statuses.as_word().and_then(|word| Text::read(&word).ok()) {
            Some(text) => Self::One(text),
            None => Self::Statuses(statuses),
        }
    }
}

impl Setting for Expectation {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        match &node.value {
            Value::Scalar(_) => Self::One(decode_word(node, at, problems)),
            _ => Statuses::decode(node, at, problems).into(),
        }
    }

    fn placeholder() -> Self {
        Self::Statuses(Statuses::placeholder())
    }

    fn encode(&self, detail: Detail) -> Written {
        match self {
            Self::One(text) => text.encode(detail),
            Self::Statuses(statuses) => statuses.encode(detail),
        }
    }

    fn shape() -> Shape {
        match Statuses::shape() {
            Shape::Either(mut shapes) => {
                shapes.push(Text::shape());
                Shape::Either(shapes)
            }
            other => other,
        }
    }
}
