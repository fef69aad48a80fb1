//! What does a person read about what is wrong?
//!
//! A [`Diagnostic`] knows its place in lines and columns; [`Diagnostics`] holds all of one document, in the order of
//! the text. It knows no setting.

mod render;

use std::fmt;
use std::ops::Range;

use serde_json::{Value, json};

use crate::Source;
use crate::problem::{Place, Problem, Problems};
use crate::tree::Node;

pub use render::Color;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but hardly does what was meant.
    Warning,
}

impl Severity {
    /// The word in rendered text and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One problem and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: a lower-case fragment without a full stop.
    pub message: String,
    /// What the place it points at has to do with it.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// The setting, such as `upstreams.api.servers[1].weight`; empty: the document as a whole.
    pub path: String,
    /// Where it is in the text; none: the document was not read from a text.
    pub position: Option<Position>,
    /// Another place that has to do with it.
    pub related: Option<Related>,
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The bytes; on character boundaries and within the text.
    pub span: Range<usize>,
}

/// Another place that has to do with a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// What it has to do with it.
    pub message: String,
    /// Where it is.
    pub position: Position,
}

/// Everything there is to say about one document, sorted by position; errors before warnings at the same one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostics {
    /// The diagnostics in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many there are, those counted in [`left_out`](Self::left_out) aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many problems were found but not kept, because a thousand are enough to begin with.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether any of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The text for people: file, line, column, the source line with the place marked, and what to do about it.
    ///
    /// `source` must be the text they were found in.
    #[must_use]
    pub fn render(&self, source: &Source, color: Color) -> String {
        render::render(self, source, color)
    }

    /// The form for programs: `{"errors": 1, "warnings": 0, "left_out": 0, "diagnostics": [{"severity", "message",
    /// "path", "label", "help", "line", "column", "start", "end", "related"}]}`; `start` and `end` count bytes.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "left_out": self.left_out,
            "diagnostics": self.list.iter().map(Diagnostic::to_json).collect::<Vec<_>>(),
        })
    }

    /// How many there are of one severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.list
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    /// Finds the places of problems in the text they were found in; `tree` is missing where the text is no YAML.
    pub(crate) fn locate(problems: Problems, text: &str, tree: Option<&Node<'_>>) -> Self {
        let lines = Lines::of(text);
        let mut list: Vec<Diagnostic> = Vec::with_capacity(problems.list.len());
        for problem in problems.list {
            let span = problem.span.clone();
            let span = span.or_else(|| tree.map(|tree| problem.path.find_or_around(tree, problem.spot)));
            let span = span.unwrap_or(0..0);
            let related = problem.related.as_ref().and_then(|(place, message)| {
                let span = match place {
                    Place::Bytes(span) => span.clone(),
                    Place::Setting(path, spot) => path.find(tree?, *spot)?,
                };
                Some(Related {
                    message: message.clone(),
                    position: lines.position(text, span),
                })
            });
            list.push(Diagnostic {
                position: Some(lines.position(text, span)),
                related,
                ..Diagnostic::without_place(problem)
            });
        }
        Self::sorted(list, problems.left_out)
    }

    /// Keeps problems of a document that was not read from a text.
    pub(crate) fn without_text(problems: Problems) -> Self {
        Self::sorted(
            problems.list.into_iter().map(Diagnostic::without_place).collect(),
            problems.left_out,
        )
    }

    fn sorted(mut list: Vec<Diagnostic>, left_out: usize) -> Self {
        list.sort_by(|a, b| a.order().cmp(&b.order()));
        // What an alias stands for is read once for each use, and is wrong each time.
        list.dedup_by(|a, b| a.position.is_some() && a.position == b.position && a.message == b.message);
        Self { list, left_out }
    }
}

impl Diagnostic {
    fn without_place(problem: Problem) -> Self {
        Self {
            severity: problem.severity,
            message: problem.message,
            label: problem.label,
            help: problem.help,
            path: problem.path.to_string(),
            position: None,
            related: None,
        }
    }

    fn order(&self) -> (Option<(usize, usize)>, Severity, &str) {
        let place = self
            .position
            .as_ref()
            .map(|position| (position.span.start, position.span.end));
        (place, self.severity, &self.path)
    }

    fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.name(),
            "message": self.message,
            "path": self.path,
            "label": self.label,
            "help": self.help,
            "line": self.position.as_ref().map(|position| position.line),
            "column": self.position.as_ref().map(|position| position.column),
            "start": self.position.as_ref().map(|position| position.span.start),
            "end": self.position.as_ref().map(|position| position.span.end),
            "related": self.related.as_ref().map(|related| json!({
                "message": related.message,
                "line": related.position.line,
                "column": related.position.column,
            })),
        })
    }
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    /// Writes one line for each, without the source text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{diagnostic}")?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Display for Diagnostic {
    /// Writes `line 3, column 7: error: unknown key `adress` (listeners[0].adress)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column, .. }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        write!(f, "{}: {}", self.severity.name(), self.message)?;
        if self.path.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.path)
        }
    }
}

impl std::error::Error for Diagnostics {}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after = text
            .bytes()
            .enumerate()
            .filter(|&(_, byte)| byte == b'\n')
            .map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// The position of bytes, moved onto the text where they lie past its end.
    fn position(&self, text: &str, span: Range<usize>) -> Position {
        // An error at the very end is about the last line that says something.
        let written = text.trim_end().len();
        let start = if span.start >= text.len() { written } else { span.start };
        // The parser ends some spans a byte behind their beginning, whatever is written there.
        let start = text.floor_char_boundary(start);
        let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
        let line = self.0.partition_point(|&begin| begin <= start);
        let begin = line
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .copied()
            .unwrap_or(0);
        let column = text.get(begin..start).map_or(0, |before| before.chars().count()) + 1;
        Position {
            line,
            column,
            span: start..end,
        }
    }
}
