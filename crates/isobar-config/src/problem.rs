//! What is wrong, and with which setting?
//!
//! A [`Problem`] names the setting by its path and, where it was found while reading the tree, the bytes. It knows
//! no lines and no colours: [`crate::diagnostics`] turns problems into what a person reads.

use std::fmt;
use std::ops::Range;

use crate::diagnostics::Severity;
use crate::tree::{Node, Value};

/// Problems kept at most; further ones are only counted.
pub(crate) const MAX_PROBLEMS: usize = 1000;

/// Problems for which a suggestion is searched at most.
const MAX_HELPED: usize = 100;

/// The way from the root to a setting, linked through the stack so that walking down allocates nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<&'p str>,
}

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<K> {
    /// No step: the root.
    Root,
    /// Into the value of a key.
    Key(K),
    /// Into an element of a list.
    Index(usize),
}

impl<'p> Path<'p> {
    /// The root of a document.
    pub(crate) const ROOT: Self = Self {
        parent: None,
        step: Step::Root,
    };

    /// The path of a key's value.
    pub(crate) fn key(&'p self, key: &'p str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    /// The path of a list's element.
    pub(crate) fn index(&'p self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// The path as a value of its own.
    pub(crate) fn to_owned(self) -> OwnedPath {
        let mut steps = Vec::new();
        let mut next = Some(&self);
        while let Some(path) = next {
            match path.step {
                Step::Root => {}
                Step::Key(key) => steps.push(Step::Key(key.into())),
                Step::Index(index) => steps.push(Step::Index(index)),
            }
            next = path.parent;
        }
        steps.reverse();
        OwnedPath(steps)
    }
}

/// The way from the root to a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnedPath(Vec<Step<Box<str>>>);

impl OwnedPath {
    /// Whether the other setting is this one or lies within it.
    fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The bytes of the setting; none: it was not written.
    pub(crate) fn find(&self, root: &Node<'_>, spot: Spot) -> Option<Range<usize>> {
        self.walk(root, spot).ok()
    }

    /// The bytes of the setting, or of the nearest one around it that was written.
    pub(crate) fn find_or_around(&self, root: &Node<'_>, spot: Spot) -> Range<usize> {
        self.walk(root, spot).unwrap_or_else(|around| around)
    }

    fn walk(&self, root: &Node<'_>, spot: Spot) -> Result<Range<usize>, Range<usize>> {
        let mut node = root;
        let mut key = None;
        for step in &self.0 {
            (node, key) = match step {
                Step::Root => (node, key),
                // The short form of a section: its one value stands for the key.
                Step::Key(_) if matches!(node.value, Value::Scalar(_)) => (node, None),
                Step::Key(name) => {
                    let entry = node.entry(name).ok_or_else(|| node.headline())?;
                    (&entry.value, Some(&entry.key_span))
                }
                Step::Index(index) => (node.element(*index).ok_or_else(|| node.headline())?, None),
            };
        }
        Ok(match key {
            Some(span) if spot == Spot::Key || node.value == Value::Nothing => span.clone(),
            _ => node.headline(),
        })
    }
}

impl fmt::Display for OwnedPath {
    /// Writes `upstreams.api.servers[1].weight`; a key that holds a dot, a bracket or a space stands in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            let dot = if position == 0 { "" } else { "." };
            match step {
                Step::Root => {}
                Step::Key(key) if key.contains(['.', '[', ']', '"', ' ']) => write!(f, "{dot}{key:?}")?,
                Step::Key(key) => write!(f, "{dot}{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Which end of a setting a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    pub(crate) path: OwnedPath,
    pub(crate) spot: Spot,
    /// The bytes, where they are known already.
    pub(crate) span: Option<Range<usize>>,
    pub(crate) message: String,
    /// What stands under the source line.
    pub(crate) label: Option<String>,
    pub(crate) help: Option<String>,
    /// Another setting that has to do with it, and how.
    pub(crate) related: Option<(Place, String)>,
    /// A setting without which there would be nothing to say.
    pub(crate) needs: Option<OwnedPath>,
}

/// Where something stands: a setting of the document, or bytes that are known already.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A setting.
    Setting(OwnedPath, Spot),
    /// Bytes.
    Bytes(Range<usize>),
}

impl Problem {
    /// An error about the value of a setting.
    pub(crate) fn error(path: Path<'_>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.to_owned(),
            spot: Spot::Value,
            span: None,
            message: message.into(),
            label: None,
            help: None,
            related: None,
            needs: None,
        }
    }

    /// A warning about the value of a setting.
    pub(crate) fn warning(path: Path<'_>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(path, message)
        }
    }

    /// Makes it about the key.
    pub(crate) fn on_key(self) -> Self {
        Self {
            spot: Spot::Key,
            ..self
        }
    }

    /// Says which bytes it is about.
    pub(crate) fn at(self, span: Range<usize>) -> Self {
        Self {
            span: Some(span),
            ..self
        }
    }

    /// Adds the words under the source line.
    pub(crate) fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..self
        }
    }

    /// Adds what to do about it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Adds what to do about it, where that is known.
    pub(crate) fn maybe_help(self, help: Option<String>) -> Self {
        Self {
            help: help.or(self.help),
            ..self
        }
    }

    /// Says that it only holds where another setting could be read.
    pub(crate) fn needs(self, path: Path<'_>) -> Self {
        Self {
            needs: Some(path.to_owned()),
            ..self
        }
    }

    /// The settings it is about.
    fn paths(&self) -> impl Iterator<Item = &OwnedPath> {
        let related = match &self.related {
            Some((Place::Setting(path, _), _)) => Some(path),
            _ => None,
        };
        std::iter::once(&self.path).chain(related)
    }

    /// Adds another setting that has to do with it.
    pub(crate) fn related(self, path: Path<'_>, spot: Spot, message: impl Into<String>) -> Self {
        Self {
            related: Some((Place::Setting(path.to_owned(), spot), message.into())),
            ..self
        }
    }
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) list: Vec<Problem>,
    pub(crate) left_out: usize,
    /// Settings something else stands in for although nothing is said about them.
    unreadable: Vec<OwnedPath>,
}

impl Problems {
    /// Adds a problem.
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.left_out += 1;
        }
    }

    /// Adds a problem that is costly to put into words.
    pub(crate) fn push_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem());
        } else {
            self.left_out += 1;
        }
    }

    /// Marks a setting as one that something else stands in for.
    pub(crate) fn unreadable(&mut self, at: Path<'_>) {
        if self.unreadable.len() < MAX_PROBLEMS {
            self.unreadable.push(at.to_owned());
        }
    }

    /// Whether it is worth the search for what was probably meant: past the first hundred problems nobody reads it.
    pub(crate) fn deserve_help(&self) -> bool {
        self.list.len() < MAX_HELPED
    }

    /// Whether any of them is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Adds what was found out about a whole document, leaving out what may only follow from a setting that could
    /// not be read: the value that stands in for it means nothing.
    pub(crate) fn extend_with_consequences(&mut self, later: Self) {
        let earlier = std::mem::take(&mut self.list);
        let errors = || earlier.iter().filter(|problem| problem.severity == Severity::Error);
        let values = || errors().filter(|problem| problem.spot == Spot::Value);
        let within = |path: &OwnedPath| {
            let unreadable = self.unreadable.iter().any(|setting| setting.covers(path));
            unreadable || values().any(|error| error.path.covers(path))
        };
        let around = |path: &OwnedPath| {
            let unreadable = self.unreadable.iter().any(|setting| path.covers(setting));
            unreadable || errors().any(|error| path.covers(&error.path))
        };
        let follows = |problem: &Problem| {
            let about = problem.paths().any(|path| within(path) || around(path));
            about || problem.needs.as_ref().is_some_and(within)
        };
        let kept = later.list.into_iter().filter(|problem| !follows(problem));
        let kept: Vec<Problem> = kept.collect();
        self.list = earlier;
        kept.into_iter().for_each(|problem| self.push(problem));
        self.left_out += later.left_out;
    }
}
