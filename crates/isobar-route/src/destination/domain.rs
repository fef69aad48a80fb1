//! Which names belong to a domain?

use alloc::boxed::Box;
use core::fmt;

use super::host;

/// A domain: `example.com` covers this name and all below it, `*.example.com` only those below.
///
/// Names are compared as bytes, without regard to case and to a dot at the end: names in other scripts are written as they are looked
/// up, as in `xn--bcher-kva.example`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainPattern {
    /// In lower case, without dots at either end.
    name: Box<str>,
    only_below: bool,
}

/// Why a text is no domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// It has bytes that are not ASCII.
    #[error("a domain is written as it is looked up, as in `xn--bcher-kva.example`")]
    NotAscii,
    /// It is an address.
    #[error("this is an address and no domain")]
    Address,
    /// It is neither.
    #[error("this is no domain")]
    Invalid,
}

impl DomainPattern {
    /// Reads a domain.
    ///
    /// *Errors*: why it is none.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if !text.is_ascii() {
            return Err(DomainError::NotAscii);
        }
        let (name, only_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text.strip_prefix('.').unwrap_or(text), false),
        };
        match host::DestinationHost::parse(name.as_bytes()) {
            Ok(host::DestinationHost::Name(name)) => Ok(Self {
                name: (&*name).into(),
                only_below,
            }),
            Ok(host::DestinationHost::Address(_)) => Err(DomainError::Address),
            Err(_) => Err(DomainError::Invalid),
        }
    }

    /// Whether a name belongs to it, which is in lower case and has no dot at the end.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match name.strip_suffix(&*self.name) {
            Some("") => !self.only_below,
            Some(before) => before.ends_with('.'),
            None => false,
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.only_below {
            f.write_str("*.")?;
        }
        f.write_str(&self.name)
    }
}
