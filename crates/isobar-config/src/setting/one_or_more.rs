//! How is a value read of which there may be several?

use super::{Detail, Setting, Shape, Written};
use crate::problem::{Path, Problems};
use crate::tree::{Node, Value};

/// None, one as it is, or a list of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMore<T>(pub Vec<T>);

impl<T: Setting> Setting for OneOrMore<T> {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        match &node.value {
            Value::List(_) => Self(Vec::decode(node, at, problems)),
            _ => Self(vec![T::decode(node, at, problems)]),
        }
    }

    fn placeholder() -> Self {
        Self(Vec::new())
    }

    fn absent() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn encode(&self, detail: Detail) -> Written {
        match self.0.as_slice() {
            [one] => one.encode(detail),
            several => Written::List(several.iter().map(|value| value.encode(detail)).collect()),
        }
    }

    fn shape() -> Shape {
        let element = Box::new(T::shape());
        Shape::Either(vec![T::shape(), Shape::List { element }])
    }
}
