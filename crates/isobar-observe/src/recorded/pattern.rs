//! How is a line of text taken apart?
//!
//! A template read backwards: what stands between two of its literals is the value of the field between them. A value ends where
//! the next literal is first found, and one in quotes at the quote that has no backslash before it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Column, Columns, Entry, unescape};
use crate::access::{MAX_TEMPLATE_BYTES, nearest_field};

/// The format of nginx and Apache that is called combined; what follows it on a line is left alone.
pub const COMBINED: &str =
    r#"{client} {-} {user} [{time_clf}] "{request}" {status} {bytes_out} "{referer}" "{user_agent}""#;

/// The Common Log Format; what follows it on a line is left alone.
pub const COMMON: &str = r#"{client} {-} {user} [{time_clf}] "{request}" {status} {bytes_out}"#;

/// Combined with the virtual host and its port in front, as Apache on Debian writes it.
pub const VHOST_COMBINED: &str =
    r#"{host} {client} {-} {user} [{time_clf}] "{request}" {status} {bytes_out} "{referer}" "{user_agent}""#;

/// A template, ready to take lines apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    name: Box<str>,
    /// What a line begins with.
    start: Box<[u8]>,
    steps: Box<[Step]>,
    columns: Columns,
    tail: Tail,
}

/// A value, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// Where the value goes; none: it does not matter.
    column: Option<usize>,
    /// What follows it; empty: the end of the line.
    end: Box<[u8]>,
}

/// A template taken apart: what a line begins with, what follows, and which columns that has.
type Apart = (Box<[u8]>, Box<[Step]>, Columns);

/// What may follow on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Nothing,
    Anything,
}

/// Why a template cannot be read backwards. The fault is that of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A placeholder names no field.
    #[error("unknown field {{{name}}}{}", suggested(.suggestion))]
    UnknownField {
        /// The name.
        name: Box<str>,
        /// The field that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// Nobody could tell where one value ends and the next begins.
    #[error("nothing stands between {{{0}}} and {{{1}}}, so that they cannot be told apart")]
    Adjacent(Box<str>, Box<str>),
    /// A brace is opened and not closed, or closed and not opened.
    #[error("a brace alone; write `{{{{` or `}}}}` for one that is meant")]
    Brace,
    /// It has no field.
    #[error("it has no field, such as {{client}}")]
    NoField,
    /// The template is too long.
    #[error("a template of {0} bytes; at most {MAX_TEMPLATE_BYTES} are taken")]
    TooLong(usize),
}

fn suggested(suggestion: &Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |name| alloc::format!("; did you mean {{{name}}}?"))
}

impl Pattern {
    /// A template of the access log, read backwards. Beside its fields it may have `{duration_s}`, `{header:NAME}`, `{cookie:NAME}`, and
    /// `{-}` for what does not matter.
    pub fn compile(template: &str) -> Result<Self, PatternError> {
        let (start, steps, columns) = Parts::of(template)?;
        Ok(Self {
            name: template.into(),
            start,
            steps,
            columns,
            tail: Tail::Nothing,
        })
    }

    /// The Common Log Format.
    #[must_use]
    pub fn common() -> Self {
        Self::known("common", COMMON)
    }

    /// The combined format.
    #[must_use]
    pub fn combined() -> Self {
        Self::known("combined", COMBINED)
    }

    /// Combined with the host in front.
    #[must_use]
    pub fn vhost_combined() -> Self {
        Self::known("vhost_combined", VHOST_COMBINED)
    }

    /// One of the constants, which a test compiles; were it wrong, no line would be of it.
    fn known(name: &str, template: &str) -> Self {
        let (start, steps, columns) = Parts::of(template).unwrap_or_default();
        Self {
            name: name.into(),
            start,
            steps,
            columns,
            tail: Tail::Anything,
        }
    }

    /// What it is called: its template, or its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(super) fn read(&self, line: &[u8], entry: &mut Entry) -> bool {
        let Some(mut rest) = line.strip_prefix(&*self.start) else {
            return false;
        };
        let mut is_quoted = self.start.ends_with(b"\"");
        for step in &self.steps {
            let Some(length) = length(rest, &step.end, is_quoted) else {
                return false;
            };
            let (value, after) = rest.split_at(length);
            if let Some(column) = step.column {
                match value {
                    b"-" | b"" => entry.absent(column),
                    value => entry.write(column, |out| unescape::text(value, out)),
                }
            }
            rest = after.get(step.end.len()..).unwrap_or_default();
            is_quoted = step.end.ends_with(b"\"");
        }
        !self.steps.is_empty() && (self.tail == Tail::Anything || rest.is_empty())
    }
}

/// How long a value is that ends with a literal; none: it does not end.
fn length(text: &[u8], end: &[u8], quoted: bool) -> Option<usize> {
    let Some(&first) = end.first() else {
        return Some(text.len());
    };
    let mut from = 0;
    loop {
        let at = from + memchr::memchr(first, text.get(from..)?)?;
        let is_end = text.get(at..).is_some_and(|rest| rest.starts_with(end));
        if is_end && !(quoted && first == b'"' && is_escaped(text, at)) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Whether an odd number of backslashes stands before a position.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    backslashes % 2 == 1
}

/// The parts of a template so far.
#[derive(Default)]
struct Parts {
    start: Vec<u8>,
    steps: Vec<(Column, Vec<u8>)>,
}

impl Parts {
    fn of(template: &str) -> Result<Apart, PatternError> {
        if template.len() > MAX_TEMPLATE_BYTES {
            return Err(PatternError::TooLong(template.len()));
        }
        let mut parts = Self::default();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            parts.literal(before);
            rest = match (brace.strip_prefix("{{"), brace.strip_prefix("}}")) {
                (Some(after), _) => {
                    parts.literal("{");
                    after
                }
                (_, Some(after)) => {
                    parts.literal("}");
                    after
                }
                _ => parts.field(brace)?,
            };
        }
        parts.literal(rest);
        parts.finish()
    }

    fn literal(&mut self, text: &str) {
        let end = self.steps.last_mut().map_or(&mut self.start, |(_, end)| end);
        end.extend_from_slice(text.as_bytes());
    }

    /// Takes a placeholder; *returns* what follows it.
    fn field<'t>(&mut self, brace: &'t str) -> Result<&'t str, PatternError> {
        let inside = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let (name, after) = inside.ok_or(PatternError::Brace)?;
        let column = Column::of(name).ok_or_else(|| PatternError::UnknownField {
            name: name.into(),
            suggestion: nearest_field(name),
        })?;
        if let Some((last, end)) = self.steps.last()
            && end.is_empty()
        {
            let name_of = |column: &Column| alloc::format!("{column}").into();
            return Err(PatternError::Adjacent(name_of(last), name_of(&column)));
        }
        self.steps.push((column, Vec::new()));
        Ok(after)
    }

    fn finish(self) -> Result<Apart, PatternError> {
        if self.steps.iter().all(|(column, _)| *column == Column::Ignored) {
            return Err(PatternError::NoField);
        }
        let mut columns = Columns::default();
        let step = |(column, end): (Column, Vec<u8>)| Step {
            column: (column != Column::Ignored).then(|| columns.place(column)),
            end: end.into(),
        };
        let steps = self.steps.into_iter().map(step).collect();
        Ok((self.start.into(), steps, columns))
    }
}
