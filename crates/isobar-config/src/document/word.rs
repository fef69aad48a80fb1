//! Which texts can name something?

use std::fmt;

use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};

/// A name of a listener, route, upstream or server: a label in logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

/// Bytes a name has at most.
const MAX_BYTES: usize = 256;

impl Label {
    /// A name; none: it is empty, longer than 256 bytes, or holds a space or a control character.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    /// A name that is one by the way it was made.
    pub(crate) fn made(text: impl Into<Box<str>>) -> Self {
        let label = Self(text.into());
        debug_assert!(Self::read(&label.0).is_ok(), "{label} is no name");
        label
    }

    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Word for Label {
    fn read(text: &str) -> Result<Self, Misfit> {
        if text.is_empty() {
            return Err(Misfit::because("a name cannot be empty"));
        }
        if text.len() > MAX_BYTES {
            return Err(Misfit::because(format!("a name has {MAX_BYTES} bytes at most")));
        }
        match text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            None => Ok(Self(text.into())),
            Some(wrong) => Err(
                Misfit::because(format!("`{}` cannot stand in a name", wrong.escape_debug()))
                    .help("use letters, digits, `-`, `_` or `.`"),
            ),
        }
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self("".into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "name",
            expected: "a name".to_owned(),
            pattern: Some(r"^[^\s\x00-\x1f\x7f]+$"),
            examples: &["web"],
            range: None,
            number: true,
        }
    }
}

word_setting!(Label);
