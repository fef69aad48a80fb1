//! What do the first lines of messages say? What is not well-formed is not read, and
//! [`refusal`](super::refusal) says why; nothing is known of fields.
//!
//! *Source*: RFC 9112 sections 2.3, 3 and 4.

use super::bytes::Class;
use super::{growing, scan};
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
    if !growing::is_line_worth_reading(window, start) {
        return None;
    }
    let longest = start + HeadError::MAX_METHOD_BYTES;
    let method = window.get(start..=longest).or_else(|| window.get(start..))?;
    let method_end = start + Class::TOKEN.prefix(method);
    let target_start = method_end + 1;
    let target_end = scan::space_after_target(window, target_start)?;
    let next = target_end + b" HTTP/1.1\r\n".len();
    let &[b' ', ref version @ .., b'\r', b'\n'] = window.get(target_end..next)? else {
        return None;
    };
    let fine = method_end > start && method_end <= longest && window.get(method_end) == Some(&b' ');
    if !fine || target_end == target_start {
        return None;
    }
    Some(RequestLine {
        method: Method::from_bytes(window.get(start..method_end)?),
        method_name: Span::within(start, method_end - start),
        target: Span::within(target_start, target_end - target_start),
        version: http1_version(version.try_into().ok()?)?,
        next,
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
    let (first, rest) = window.split_first_chunk::<12>()?;
    let &[ref version @ .., b' ', a, b, c] = first else {
        return None;
    };
    let reason = first.len() + usize::from(rest.first() == Some(&b' '));
    let end = if reason == first.len() {
        reason
    } else if growing::is_line_worth_reading(window, reason) {
        scan::cr_after_text(window, reason)?
    } else {
        return None;
    };
    let [b'\r', b'\n', ..] = window.get(end..)? else {
        return None;
    };
    Some(StatusLine {
        version: http1_version(version)?,
        status: status_code([a, b, c])?,
        reason: if end > reason {
            Span::within(reason, end - reason)
        } else {
            Span::default()
        },
        next: end + 2,
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
