//! How are one health check or several written?

use super::HealthCheck;
use crate::problem::{Path, Problems};
use crate::setting::{Detail, Setting, Shape, Written};
use crate::tree::{Node, Value};

/// One health check, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthChecks {
    /// One, without a list around it.
    One(Box<HealthCheck>),
    /// A list.
    List(Vec<HealthCheck>),
}

impl HealthChecks {
    /// Those there are.
    pub fn iter(&self) -> std::slice::Iter<'_, HealthCheck> {
        match self {
            Self::One(check) => std::slice::from_ref(&**check).iter(),
            Self::List(checks) => checks.iter(),
        }
    }

    /// Those there are, to be changed.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [HealthCheck] {
        match self {
            Self::One(check) => std::slice::from_mut(check),
            Self::List(checks) => checks,
        }
    }
}

impl Setting for HealthChecks {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        match &node.value {
            Value::List(_) => Self::List(Vec::decode(node, at, problems)),
            _ => Self::One(Box::new(HealthCheck::decode(node, at, problems))),
        }
    }

    fn placeholder() -> Self {
        Self::One(Box::new(HealthCheck::placeholder()))
    }

    fn encode(&self, detail: Detail) -> Written {
        match self {
            Self::One(check) => check.encode(detail),
            Self::List(checks) => checks.encode(detail),
        }
    }

    fn shape() -> Shape {
        let element = Box::new(HealthCheck::shape());
        Shape::Either(vec![HealthCheck::shape(), Shape::List { element }])
    }
}
