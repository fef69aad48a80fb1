//! Which trailers are passed on? Collects them line by line; does not know where the body before them ended.
//!
//! *Source*: RFC 9110 section 6.5.1, RFC 9112 section 7.1.2.

use alloc::vec::Vec;

use super::fields;
use crate::{BodyError, Known};

/// Fields that make no sense, or do harm, where the message they change is already under way: those that frame,
/// route, authorise, cache or describe it. The ones the proxy acts on are excluded anyway.
const FORBIDDEN: [&[u8]; 23] = [
    b"accept-ranges",
    b"age",
    b"allow",
    b"alt-svc",
    b"cache-control",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"content-security-policy",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"vary",
    b"www-authenticate",
];

/// The trailers of a body: whole lines, and the one under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trailers {
    bytes: Vec<u8>,
    /// Where the line under way begins.
    line_start: usize,
    /// Bytes received.
    received: usize,
    /// Lines received.
    count: usize,
}

impl Trailers {
    /// The trailers to pass on.
    pub(crate) fn lines(&self) -> &[u8] {
        self.bytes.get(..self.line_start).unwrap_or_default()
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn is_within_line(&self) -> bool {
        self.bytes.len() > self.line_start
    }

    /// Takes one line or what there is of it, and says how many bytes that was.
    ///
    /// *Errors*: nothing has changed then.
    pub(crate) fn push(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let len = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        let piece = input.get(..len).unwrap_or_default();
        if self.received + len > BodyError::MAX_TRAILER_BYTES || self.count == BodyError::MAX_TRAILERS {
            return Err(BodyError::TrailersTooLarge);
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        if piece.last() == Some(&b'\n') {
            match is_passed_on(self.bytes.get(self.line_start..).unwrap_or_default()) {
                Ok(true) => {}
                Ok(false) => self.bytes.truncate(self.line_start),
                Err(error) => {
                    self.bytes.truncate(before);
                    return Err(error);
                }
            }
            self.line_start = self.bytes.len();
            self.count += 1;
        }
        self.received += len;
        Ok(len)
    }
}

/// Whether a line, its CRLF included, is a trailer to pass on.
fn is_passed_on(line: &[u8]) -> Result<bool, BodyError> {
    let line = line.strip_suffix(b"\r\n").ok_or(BodyError::BadTrailer)?;
    let (name, _) = fields::field_line(line).map_err(|_| BodyError::BadTrailer)?;
    let forbidden = FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden));
    Ok(Known::from_name(name) == Known::Other && !forbidden)
}

#[cfg(test)]
mod tests {
    use super::Trailers;
    use crate::BodyError;

    #[test]
    fn a_bad_line_leaves_no_trace() {
        let mut trailers = Trailers::default();
        assert_eq!(trailers.push(b"a: b\r\n"), Ok(6));
        assert_eq!(trailers.push(b"bad\r\n"), Err(BodyError::BadTrailer));
        assert!(!trailers.is_within_line());
        assert_eq!(trailers.push(b"c: d\r\n"), Ok(6));
        assert_eq!(trailers.lines(), b"a: b\r\nc: d\r\n");
    }
}
