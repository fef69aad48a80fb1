//! What do the first lines of messages say? What is not well-formed is not read, and
//! [`refusal`](super::refusal) says why; nothing is known of fields.
//!
//! *Source*: RFC 9112 sections 2.3, 3 and 4.

use super::bytes::Class;
use super::fields::before;
use super::scan;
use crate::{HeadError, Method, Span, Version};

/// A request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestLine {
    pub(crate) method: Method,
    pub(crate) method_name: Span,
    /// Visible ASCII without `#`, and not empty.
    pub(crate) target: Span,
    pub(crate) version: Version,
    /// Where the next line begins.
    pub(crate) next: usize,
}

/// Reads the request line that begins at `start`, which has at most 65,535 bytes before and in it; none: it is
/// incomplete or not well-formed.
#[inline]
pub(crate) fn request_line(window: &[u8], start: usize) -> Option<RequestLine> {
    let bytes = window.get(start..)?;
    let longest = bytes.get(..=HeadError::MAX_METHOD_BYTES).unwrap_or(bytes);
    let (method, rest) = bytes.split_at_checked(Class::TOKEN.prefix(longest))?;
    let [b' ', after_method @ ..] = rest else { return None };
    let rest = scan::after_target(after_method);
    let target = before(after_method, rest);
    let [b' ', after_target @ ..] = rest else { return None };
    let (name, rest) = after_target.split_first_chunk()?;
    let [b'\r', b'\n', after @ ..] = rest else { return None };
    if method.is_empty() || method.len() > HeadError::MAX_METHOD_BYTES || target.is_empty() {
        return None;
    }
    Some(RequestLine {
        method: Method::from_bytes(method),
        method_name: Span::within(start, method.len()),
        target: Span::within(window.len() - after_method.len(), target.len()),
        version: http1_version(name)?,
        next: window.len() - after.len(),
    })
}

/// A status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusLine {
    pub(crate) version: Version,
    /// 100 to 599.
    pub(crate) status: u16,
    pub(crate) reason: Span,
    /// Where the next line begins.
    pub(crate) next: usize,
}

/// Reads the status line that begins the window, which has at most 65,535 bytes; none: it is incomplete or not
/// well-formed. The space before a reason that is not there may be missing too, as many servers have it.
#[inline]
pub(crate) fn status_line(window: &[u8]) -> Option<StatusLine> {
    let (name, rest) = window.split_first_chunk()?;
    let version = http1_version(name)?;
    let [b' ', a, b, c, rest @ ..] = rest else { return None };
    let status = status_code([*a, *b, *c])?;
    let text = rest.strip_prefix(b" ").unwrap_or(rest);
    let after_text = if text.len() < rest.len() {
        scan::after_text(text)
    } else {
        text
    };
    let [b'\r', b'\n', after @ ..] = after_text else {
        return None;
    };
    let reason = match text.len() - after_text.len() {
        0 => Span::default(),
        len => Span::within(window.len() - text.len(), len),
    };
    Some(StatusLine {
        version,
        status,
        reason,
        next: window.len() - after.len(),
    })
}

#[inline]
fn status_code(digits: [u8; 3]) -> Option<u16> {
    let [hundreds, tens, ones] = digits.map(|digit| u16::from(digit.wrapping_sub(b'0')));
    let fine = matches!(hundreds, 1..=5) && tens < 10 && ones < 10;
    fine.then_some(hundreds * 100 + tens * 10 + ones)
}

/// The version of this name where it is one of HTTP/1.
#[inline]
fn http1_version(name: &[u8; 8]) -> Option<Version> {
    match name {
        _ if name == b"HTTP/1.1" => Some(Version::Http11),
        _ if name == b"HTTP/1.0" => Some(Version::Http10),
        _ => version(name).ok(),
    }
}

/// The version of this name. A later minor version of HTTP/1 is read as HTTP/1.1 (RFC 9110 section 2.5).
#[cold]
pub(crate) fn version(name: &[u8]) -> Result<Version, HeadError> {
    match name {
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            match major {
                b'0' => Err(HeadError::BadVersion),
                b'1' => Ok(Version::Http11),
                _ => Err(HeadError::UnsupportedVersion),
            }
        }
        _ => Err(HeadError::BadVersion),
    }
}
