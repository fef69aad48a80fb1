//! Where does a piece of a head lie in its bytes? Does not know what the piece means.

/// A range of a head's bytes; offsets fit 16 bits because a head is at most 65,535 bytes long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The offset of its first byte.
    pub start: u16,
    /// How many bytes it has.
    pub len: u16,
}

impl Span {
    /// The bytes it stands for; empty where it does not lie within `bytes`.
    #[must_use]
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        bytes.get(start..start + usize::from(self.len)).unwrap_or_default()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The span of `range`; empty where it does not fit 16 bits.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        match (u16::try_from(start), u16::try_from(end.saturating_sub(start))) {
            (Ok(start), Ok(len)) => Self { start, len },
            _ => Self::default(),
        }
    }

    /// The span of `len` bytes from `start`, which lie within the first 65,535 bytes.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "heads are read within a window that 16 bits suffice for"
    )]
    pub(crate) fn within(start: usize, len: usize) -> Self {
        debug_assert!(
            start + len <= usize::from(u16::MAX),
            "the window is larger than a head may be"
        );
        Self {
            start: start as u16,
            len: len as u16,
        }
    }

    /// The span of `piece`, which is a slice of `bytes`.
    #[inline]
    pub(crate) fn locate(bytes: &[u8], piece: &[u8]) -> Self {
        let start = piece.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        debug_assert!(
            start.saturating_add(piece.len()) <= bytes.len(),
            "the piece is not of these bytes"
        );
        Self::new(start, start.saturating_add(piece.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn bytes_of_a_span() {
        let check = |start, len, expected: &[u8]| assert_eq!(Span { start, len }.of(b"abcdef"), expected);
        check(0, 0, b"");
        check(1, 3, b"bcd");
        check(0, 6, b"abcdef");
        check(5, 2, b"");
        check(u16::MAX, u16::MAX, b"");
    }

    #[test]
    fn spans_of_pieces() {
        let bytes = b"GET / HTTP/1.1";
        assert_eq!(Span::locate(bytes, &bytes[4..5]), Span { start: 4, len: 1 });
        assert_eq!(Span::new(70_000, 70_001), Span::default());
        assert_eq!(Span::new(5, 4), Span { start: 5, len: 0 });
    }
}
