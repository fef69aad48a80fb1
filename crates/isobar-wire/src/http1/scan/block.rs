//! What are eight bytes made of? Looks at them as one number; does not know the bytes beside them.
//!
//! Each question is answered by a number with the highest bit set in every byte that is not usual, as far as the
//! first of them: what is found after it may be wrong.

use core::num::NonZeroU64;

/// Eight bytes, the first of them lowest.
#[derive(Clone, Copy)]
pub(super) struct Block(u64);

/// The highest bit of every byte.
const HIGH: u64 = every(0x80);

impl Block {
    /// How many bytes a block has.
    pub(super) const LEN: usize = 8;

    /// The block of these bytes.
    #[inline(always)]
    pub(super) fn load(bytes: &[u8; Self::LEN]) -> Self {
        Self(u64::from_le_bytes(*bytes))
    }

    /// How many bytes come before the first that is neither a letter nor `-`; none: all are.
    #[inline(always)]
    pub(super) fn word(self) -> Option<usize> {
        // Sums and differences stay within their byte, because its highest bit is free.
        let low = self.0 & !HIGH;
        let lower = low | every(0x20);
        let no_letter = (every(0x80 + (b'a' - 1)) - lower) | (lower + every(0x80 - (b'z' + 1)));
        let no_dash = (low ^ every(b'-')) + every(0x7f);
        before((no_letter & no_dash) | self.0)
    }

    /// How many bytes come before the first control character; none: there is none.
    #[inline(always)]
    pub(super) fn text(self) -> Option<usize> {
        before((self.below(b' ') | self.equal_to(0x7f)) & !self.0)
    }

    /// How many bytes come before the first that is not visible ASCII, or is `#`; none: there is none.
    #[inline(always)]
    pub(super) fn target(self) -> Option<usize> {
        before(self.below(b'!') | self.equal_to(0x7f) | self.equal_to(b'#') | self.0)
    }

    /// Finds the first byte less than `bound`, among those of seven bits. A difference borrows only from bytes after
    /// one that is found.
    #[inline(always)]
    fn below(self, bound: u8) -> u64 {
        self.0.wrapping_sub(every(bound))
    }

    /// Finds the first such byte, among those of seven bits.
    #[inline(always)]
    fn equal_to(self, byte: u8) -> u64 {
        Self(self.0 ^ every(byte)).below(1)
    }
}

/// A number of this byte eight times.
const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// How many bytes come before the first whose highest bit is set.
#[inline(always)]
fn before(found: u64) -> Option<usize> {
    NonZeroU64::new(found & HIGH).map(|found| found.trailing_zeros() as usize / 8)
}
