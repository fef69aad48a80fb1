//! Is this the path a rule asks for?

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::{Canonical, PatternError, canonical_target};

/// Which paths a rule takes. The text is canonical, as [`canonical_target`] writes paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// Every path, also the `*` of `OPTIONS *`.
    Any,
    /// This path.
    Exact(Box<str>),
    /// `/v1/*`, kept without the `/*`: `/v1` and everything below it, by whole segments.
    Segments(Box<str>),
    /// `/v1*`, kept without the `*`: everything that begins with it.
    Prefix(Box<str>),
}

impl PathPattern {
    /// Reads a pattern as written in the configuration.
    ///
    /// *Errors*: the text is none of the forms that the [crate's documentation](crate) lists.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if !text.starts_with('/') {
            return Err(PatternError::PathStart);
        }
        if let Some(end) = text.chars().find(|&character| matches!(character, '?' | '#')) {
            return Err(PatternError::PathEnd(end));
        }
        let Some(beginning) = text.strip_suffix('*') else {
            return canonical_path(text).map(Self::Exact);
        };
        if beginning.ends_with('/') {
            let parent = canonical_path(beginning)?;
            return Ok(Self::Segments(parent.strip_suffix('/').unwrap_or(&parent).into()));
        }
        // The last segment is only the beginning of one: `/.*` must not become `/`. With a letter that is no
        // hexadecimal digit after it, it is neither a dot segment nor completed to an escape.
        let completed = canonical_path(&alloc::format!("{beginning}x"))?;
        Ok(Self::Prefix(completed.strip_suffix('x').unwrap_or(&completed).into()))
    }

    /// Whether it takes a canonical path.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => path == text.as_bytes(),
            Self::Segments(text) => matches!(path.strip_prefix(text.as_bytes()), Some([] | [b'/', ..])),
            Self::Prefix(text) => path.starts_with(text.as_bytes()),
        }
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Segments(text) => write!(f, "{text}/*"),
            Self::Prefix(text) => write!(f, "{text}*"),
        }
    }
}

fn canonical_path(text: &str) -> Result<Box<str>, PatternError> {
    if text.contains('*') {
        return Err(PatternError::PathWildcard);
    }
    let mut scratch = Vec::new();
    match canonical_target(text.as_bytes(), &mut scratch)? {
        Canonical::Same => Ok(text.into()),
        // Whatever is not ASCII is written as an escape: nothing is lost.
        Canonical::Rewritten => Ok(String::from_utf8_lossy(&scratch).into()),
    }
}

#[cfg(test)]
mod tests;
