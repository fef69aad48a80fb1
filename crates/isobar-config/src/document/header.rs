//! What may be written about changes to header fields?

use super::Named;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};

settings! {
    /// Changes to header fields: first fields are removed, then set, then added.
    pub struct HeaderChanges called "changes to header fields" {
        /// Fields that replace all of the same name.
        set: Named<HeaderName, HeaderValue>,
        /// Fields that are added beside those of the same name.
        add: Named<HeaderName, HeaderValue>,
        /// Fields that are removed.
        remove: Vec<HeaderName>,
    }
}

/// The name of a header field, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Box<str>);

impl HeaderName {
    /// A name from the code, which is in lower case.
    pub(crate) fn made(name: &'static str) -> Self {
        Self(name.into())
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue(Box<str>);

impl HeaderValue {
    /// A value that is one by the way it was made.
    pub(crate) fn made(text: &str) -> Self {
        debug_assert!(Self::read(text).is_ok(), "{text} is no field value");
        Self(text.into())
    }

    /// The value as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for HeaderName {
    /// Reads a token (RFC 9110 section 5.6.2).
    fn read(text: &str) -> Result<Self, Misfit> {
        const MAX_BYTES: usize = 256;
        if text.is_empty() {
            return Err(Misfit::because("the name of a header field cannot be empty"));
        }
        if text.len() > MAX_BYTES {
            return Err(Misfit::because(format!(
                "the name of a header field has {MAX_BYTES} bytes at most"
            )));
        }
        match text.chars().find(|&c| !is_token(c)) {
            None => Ok(Self(text.to_ascii_lowercase().into())),
            Some(wrong) => {
                let misfit = Misfit::because(format!(
                    "`{}` cannot stand in the name of a header field",
                    wrong.escape_debug()
                ));
                let meant = text.trim_end_matches(':').trim().replace(' ', "-");
                let mended = !meant.is_empty() && meant.chars().all(is_token);
                Err(if mended {
                    misfit.help(crate::suggest::did_you_mean(&meant))
                } else {
                    misfit
                })
            }
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
            name: "header name",
            expected: "the name of a header field such as `x-request-id`".to_owned(),
            pattern: Some("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
            examples: &["x-request-id"],
            range: None,
            number: false,
        }
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

impl Word for HeaderValue {
    /// Reads a field value (RFC 9110 section 5.5), UTF-8 allowed.
    fn read(text: &str) -> Result<Self, Misfit> {
        const MAX_BYTES: usize = 8192;
        if text.len() > MAX_BYTES {
            return Err(Misfit::because(format!(
                "the value of a header field has {MAX_BYTES} bytes at most"
            )));
        }
        if let Some(wrong) = text.chars().find(|&c| c.is_ascii_control() && c != '\t') {
            let message = format!("`{}` cannot stand in the value of a header field", wrong.escape_debug());
            let help = matches!(wrong, '\n' | '\r').then(|| "write the value on one line".to_owned());
            return Err(Misfit {
                message: Some(message),
                help,
            });
        }
        if text.trim_matches([' ', '\t']) != text {
            return Err(Misfit::because(
                "the value of a header field cannot begin or end with a space",
            ));
        }
        Ok(Self(text.into()))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self("".into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "header value",
            expected: "the value of a header field".to_owned(),
            pattern: Some(r"^(?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?$"),
            examples: &["prod"],
            range: None,
            number: true,
        }
    }
}

word_setting!(HeaderName, HeaderValue);
