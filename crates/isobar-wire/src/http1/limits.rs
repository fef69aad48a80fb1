//! How much may a head take? Does not know what it says.

use crate::{HeadError, HeadLimits, Parsed};

/// Bytes of a head at most, so that offsets fit [`Span`](crate::Span).
const MAX_HEAD_BYTES: usize = u16::MAX as usize;

/// Fields of a head at most.
pub(crate) const MAX_FIELDS: usize = 256;

impl HeadLimits {
    /// The bytes that may belong to the head.
    #[inline]
    pub(crate) fn window(self, bytes: &[u8]) -> &[u8] {
        bytes.get(..self.bytes()).unwrap_or(bytes)
    }

    /// How many fields a head may have.
    #[inline]
    pub(crate) fn fields(self) -> usize {
        self.max_fields.min(MAX_FIELDS)
    }

    /// What becomes of a head of which there is nothing to say but that these bytes are not all of it.
    #[inline]
    pub(crate) fn wait_for_more(self, window: &[u8]) -> Result<Parsed, HeadError> {
        if self.is_reached(window) {
            Err(HeadError::HeadTooLarge)
        } else {
            Ok(Parsed::Partial)
        }
    }

    /// Whether a head that has not ended within these bytes is too large.
    pub(crate) fn is_reached(self, window: &[u8]) -> bool {
        window.len() >= self.bytes()
    }

    fn bytes(self) -> usize {
        self.max_bytes.min(MAX_HEAD_BYTES)
    }
}
