//! How does a record become a line?

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::nearest::nearest;
use super::{Field, Record};

/// How long a template may be.
pub const MAX_TEMPLATE_BYTES: usize = 8_192;

const COMBINED: &str = r#"{client} - - [{time_clf}] "{request}" {status} {bytes_out} "{referer}" "{user_agent}""#;

/// The format of a line of the access log, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Text(Field),
    Json(Field),
}

/// Why a template does not compile. The fault is the configuration's.
///
/// *Units*: positions count bytes from the start of the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder names no field.
    #[error("unknown field {{{name}}}{}", suggested(.suggestion))]
    UnknownField {
        /// Where the name begins.
        position: usize,
        /// The name.
        name: Box<str>,
        /// The field that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A brace is opened and not closed.
    #[error("`{{` without `}}`; write `{{{{` for a brace")]
    Unclosed {
        /// Where the brace is.
        position: usize,
    },
    /// A brace is closed that was not opened.
    #[error("`}}` without `{{`; write `}}}}` for a brace")]
    Unopened {
        /// Where the brace is.
        position: usize,
    },
    /// A control character other than a tab, which would break the line.
    #[error("control character {character:?}; a line of the log is one line")]
    Control {
        /// Where it is.
        position: usize,
        /// The character.
        character: char,
    },
    /// The template is too long.
    #[error("a template of {length} bytes; at most {MAX_TEMPLATE_BYTES} are taken")]
    TooLong {
        /// How long it is.
        length: usize,
    },
}

fn suggested(suggestion: &Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |name| alloc::format!("; did you mean {{{name}}}?"))
}

impl TemplateError {
    /// Where in the template the mistake is, in bytes from its start.
    #[must_use]
    pub fn position(&self) -> usize {
        match *self {
            Self::UnknownField { position, .. }
            | Self::Unclosed { position }
            | Self::Unopened { position }
            | Self::Control { position, .. } => position,
            Self::TooLong { .. } => MAX_TEMPLATE_BYTES,
        }
    }
}

impl Template {
    /// Compiles a template: text with `{field}` placeholders, and `{{` and `}}` for braces.
    ///
    /// *Errors*: the first mistake in the template.
    pub fn compile(template: &str) -> Result<Self, TemplateError> {
        if template.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong { length: template.len() });
        }
        let mut parts = Parts::default();
        let mut characters = template.char_indices().peekable();
        while let Some((position, character)) = characters.next() {
            match character {
                '{' | '}' if characters.next_if(|&(_, next)| next == character).is_some() => parts.literal(character),
                '{' => {
                    let rest = template.get(position + 1..).unwrap_or_default();
                    let (name, _) = rest.split_once('}').ok_or(TemplateError::Unclosed { position })?;
                    parts.field(Part::Text(field(name, position + 1)?));
                    characters.by_ref().find(|&(_, next)| next == '}');
                }
                '}' => return Err(TemplateError::Unopened { position }),
                _ if character.is_control() && character != '\t' => {
                    return Err(TemplateError::Control { position, character });
                }
                _ => parts.literal(character),
            }
        }
        Ok(parts.finish())
    }

    /// The JSON format: one object with every field that does not repeat another.
    #[must_use]
    pub fn json() -> Self {
        let mut parts = Parts::default();
        for (i, field) in Field::ALL.into_iter().filter(|field| field.in_json()).enumerate() {
            parts.literal(if i == 0 { '{' } else { ',' });
            parts.literal('"');
            field.name().chars().for_each(|character| parts.literal(character));
            parts.literal('"');
            parts.literal(':');
            parts.field(Part::Json(field));
        }
        parts.literal('}');
        parts.finish()
    }

    /// The combined format.
    ///
    /// *Source*: the predefined `combined` of nginx's `ngx_http_log_module`, which is Apache's with other escapes. The
    /// user's name is always `-`.
    #[must_use]
    pub fn combined() -> Self {
        // The template is a constant that a test compiles; were it wrong, lines would be empty.
        Self::compile(COMBINED).unwrap_or(Self { parts: Box::default() })
    }

    /// Appends one line with its newline at the end.
    ///
    /// No byte of the record ends the line or leaves its quotes. *Cost*: allocates nothing beyond what `out` must grow.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Text(field) => field.write_text(record, out),
                Part::Json(field) => field.write_json(record, out),
            }
        }
        out.push(b'\n');
    }
}

fn field(name: &str, position: usize) -> Result<Field, TemplateError> {
    Field::of(name).ok_or_else(|| TemplateError::UnknownField {
        position,
        name: name.into(),
        suggestion: nearest(name, Field::ALL.into_iter().map(Field::name)),
    })
}

/// The parts so far, with the literal that may still grow.
#[derive(Default)]
struct Parts {
    done: Vec<Part>,
    literal: String,
}

impl Parts {
    fn literal(&mut self, character: char) {
        self.literal.push(character);
    }

    fn field(&mut self, part: Part) {
        self.close_literal();
        self.done.push(part);
    }

    fn finish(mut self) -> Template {
        self.close_literal();
        Template {
            parts: self.done.into(),
        }
    }

    fn close_literal(&mut self) {
        if !self.literal.is_empty() {
            self.done.push(Part::Literal(core::mem::take(&mut self.literal).into()));
        }
    }
}
