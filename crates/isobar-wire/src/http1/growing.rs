//! Is the rest of a long head worth reading yet? A client may send a long head byte by byte, and every byte has us
//! look at all of them again; so beyond the first bytes the end is searched before they are read, which is many times
//! faster. Does not know what is wrong with a head.

use super::limits::MAX_FIELDS;

/// Bytes of a head that are read without a search for its end. To read them takes no longer than to receive a packet.
const FRONT_BYTES: usize = 2_048;

/// The part of the window that is read without a search.
#[inline(always)]
pub(crate) fn front(window: &[u8]) -> &[u8] {
    window.get(..FRONT_BYTES).unwrap_or(window)
}

/// Whether to read a line that begins at `start`: not where it may be long and has not ended.
#[inline(always)]
pub(crate) fn is_line_worth_reading(window: &[u8], start: usize) -> bool {
    window.len() <= FRONT_BYTES || memchr::memchr(b'\n', window.get(start..).unwrap_or_default()).is_some()
}

/// Whether fields that do not end in the [`front`] are worth reading: not where they do not end at all, or where there
/// are more of them than there may be.
#[cold]
pub(crate) fn are_fields_worth_reading(window: &[u8], start: usize) -> bool {
    let fields = window.get(start..).unwrap_or_default();
    let ends_at = |line: usize| fields.get(line..).is_some_and(|line| line.starts_with(b"\r\n"));
    let mut line_ends = memchr::memchr_iter(b'\n', fields).take(MAX_FIELDS);
    ends_at(0) || line_ends.any(|lf| ends_at(lf + 1))
}
