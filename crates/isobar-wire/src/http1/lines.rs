//! Where do the lines of a head end, and where does the head? Does not know what a line says.

use crate::{HeadError, HeadLimits};

/// Bytes of a head at most, so that offsets fit [`Span`](crate::Span).
const MAX_HEAD_BYTES: usize = u16::MAX as usize;

/// Fields of a head at most.
pub(crate) const MAX_FIELDS: usize = 256;

impl HeadLimits {
    /// The bytes that may belong to the head.
    pub(crate) fn window(self, bytes: &[u8]) -> &[u8] {
        let max = self.max_bytes.min(MAX_HEAD_BYTES);
        bytes.get(..max).unwrap_or(bytes)
    }

    /// Whether a head that has not ended within these bytes is too large.
    pub(crate) fn is_reached(self, window: &[u8]) -> bool {
        window.len() >= self.max_bytes.min(MAX_HEAD_BYTES)
    }
}

/// The first line of a head.
pub(crate) struct FirstLine<'a> {
    /// Its bytes, without CRLF.
    pub(crate) line: &'a [u8],
    /// Where the next line begins.
    pub(crate) next: usize,
}

/// Finds the first line, which begins at `start`; none: more bytes are needed.
#[inline]
pub(crate) fn first_line(window: &[u8], start: usize, limits: HeadLimits) -> Result<Option<FirstLine<'_>>, HeadError> {
    let rest = window.get(start..).unwrap_or_default();
    match memchr::memchr(b'\n', rest) {
        Some(at) => {
            let line = rest
                .get(..at)
                .and_then(|line| line.strip_suffix(b"\r"))
                .ok_or(HeadError::BareLf)?;
            Ok(Some(FirstLine {
                line,
                next: start + at + 1,
            }))
        }
        None if limits.is_reached(window) => Err(HeadError::TargetTooLong),
        None => Ok(None),
    }
}

/// The field lines of a head.
pub(crate) struct FieldLines<'a> {
    /// Their bytes, the empty line that ends the head included.
    pub(crate) bytes: &'a [u8],
    /// How many there are.
    pub(crate) count: usize,
    /// Where the head ends.
    pub(crate) end: usize,
}

/// Finds the field lines, the first of which begins at `start`; none: more bytes are needed.
///
/// *Cost*: one search for LF, which ends early when there are too many lines.
///
/// *Errors*: the first line that is at fault decides, so that it does not matter how many bytes follow it.
#[inline]
pub(crate) fn field_lines(
    window: &[u8],
    start: usize,
    limits: HeadLimits,
) -> Result<Option<FieldLines<'_>>, HeadError> {
    let rest = window.get(start..).unwrap_or_default();
    let max_fields = limits.max_fields.min(MAX_FIELDS);
    let mut line_start = 0;
    for (count, at) in memchr::memchr_iter(b'\n', rest).enumerate() {
        let line = rest.get(line_start..at).unwrap_or_default();
        if line == b"\r" {
            let bytes = rest.get(..=at).unwrap_or_default();
            return Ok(Some(FieldLines {
                bytes,
                count,
                end: start + at + 1,
            }));
        }
        if line.last() != Some(&b'\r') {
            return Err(HeadError::BareLf);
        }
        if count == max_fields {
            return Err(HeadError::TooManyFields);
        }
        line_start = at + 1;
    }
    if limits.is_reached(window) {
        Err(HeadError::HeadTooLarge)
    } else {
        Ok(None)
    }
}
