//! Is this the host a rule asks for?
//!
//! Knows names and addresses as text; nothing is resolved.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Write};
use core::net::Ipv6Addr;
use core::str::FromStr;

use crate::PatternError;

/// The longest name in the DNS, without its trailing dot (RFC 1035 section 2.3.4).
pub(crate) const MAX_NAME: usize = 253;
/// The longest label of a name (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// Which hosts a rule takes.
///
/// Names are in lower case, without port and trailing dot; IPv6 addresses in brackets and as short as possible.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host, also none.
    Any,
    /// This host.
    Exact(Box<str>),
    /// `*.example.com`, kept without the `*.`: one or more labels before it.
    Wildcard(Box<str>),
}

impl HostPattern {
    /// Reads a pattern as written in the configuration.
    ///
    /// *Errors*: the text is none of the forms that the [crate's documentation](crate) lists.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::HostEmpty);
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(name) = text.strip_prefix("*.") {
            return parse_name(name).map(Self::Wildcard);
        }
        if text.starts_with('[') {
            return parse_address(text).map(Self::Exact);
        }
        parse_name(text).map(Self::Exact)
    }

    /// Whether it takes a host that is written as patterns are: in lower case, without port and trailing dot.
    #[must_use]
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => host == name.as_bytes(),
            Self::Wildcard(name) => suffixes(host).any(|suffix| suffix == name.as_bytes()),
        }
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
        }
    }
}

fn parse_name(text: &str) -> Result<Box<str>, PatternError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if let Some(colon) = name.find(':') {
        return Err(PatternError::HostPort(name.split_at(colon).1.into()));
    }
    for character in name.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => {}
            '*' => return Err(PatternError::HostWildcard),
            _ if character.is_ascii() => return Err(PatternError::HostCharacter(character)),
            _ => return Err(PatternError::HostNotAscii(character)),
        }
    }
    if let Some(label) = name
        .split('.')
        .find(|label| label.is_empty() || label.len() > MAX_LABEL)
    {
        return Err(PatternError::HostLabel(label.into()));
    }
    if name.len() > MAX_NAME {
        return Err(PatternError::HostTooLong(name.len()));
    }
    Ok(name.to_ascii_lowercase().into())
}

fn parse_address(text: &str) -> Result<Box<str>, PatternError> {
    if let Some((_, port)) = text.rsplit_once("]:") {
        return Err(PatternError::HostPort(alloc::format!(":{port}").into()));
    }
    let address = in_brackets(text.as_bytes()).ok_or_else(|| PatternError::HostAddress(text.into()))?;
    let mut written = String::new();
    // Writing to a String cannot fail.
    let _ = write!(written, "[{address}]");
    Ok(written.into())
}

/// Room for a host in canonical form.
pub(crate) type HostBuffer = [u8; MAX_NAME];

/// Writes the host of a request as patterns are written: in lower case, without port and trailing dot, an IPv6
/// address as short as possible. A host that is longer than any name becomes empty, and only [`HostPattern::Any`]
/// takes it.
pub(crate) fn canonical_host<'a>(host: &'a [u8], buffer: &'a mut HostBuffer) -> &'a [u8] {
    let host = without_port(host);
    if let Some(address) = in_brackets(host) {
        let mut writer = SliceWriter { buffer, written: 0 };
        // The longest address has 45 characters and brackets: it fits.
        let _ = write!(writer, "[{address}]");
        return writer.into_written();
    }
    let name = host.strip_suffix(b".").unwrap_or(host);
    let Some(lower) = buffer.get_mut(..name.len()) else {
        return b"";
    };
    if !name.iter().any(u8::is_ascii_uppercase) {
        return name;
    }
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    lower
}

/// What follows each dot of a name, longest first; the part before a dot is at least one character.
pub(crate) fn suffixes(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b'.', host)
        .filter(|&dot| dot > 0)
        .filter_map(|dot| host.get(dot + 1..))
}

/// A host without the port behind it, if there is one.
#[must_use]
pub fn without_port(host: &[u8]) -> &[u8] {
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match host.split_at_checked(host.len() - digits) {
        Some((name, _)) => name.strip_suffix(b":").unwrap_or(host),
        None => host,
    }
}

fn in_brackets(host: &[u8]) -> Option<Ipv6Addr> {
    let address = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    core::str::from_utf8(address).ok()?.parse().ok()
}

/// Writes text into a slice, without allocating.
struct SliceWriter<'a> {
    buffer: &'a mut [u8],
    written: usize,
}

impl<'a> SliceWriter<'a> {
    fn into_written(self) -> &'a [u8] {
        self.buffer.get(..self.written).unwrap_or_default()
    }
}

impl Write for SliceWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.written + text.len();
        self.buffer
            .get_mut(self.written..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.written = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
