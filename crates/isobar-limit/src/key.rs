//! Whom does a limit count?
//!
//! A hash of whatever the caller tells requests apart by; this crate never sees more of it.

/// A key, as a hash of it with 64 bits, the limit's own number mixed in.
///
/// Two keys with one hash share one state. Among a million keys a new one has a chance of 1 in 10^12 to meet that, so long
/// as nobody can choose hashes: who hashes what clients send has to seed the hash with something they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// The key with this hash, of which every bit has to look random.
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        Self(hash)
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(self) -> u64 {
        self.0
    }

    /// What it is told apart by in a table, where 0 is nobody.
    pub(crate) const fn tag(self) -> u64 {
        if self.0 == 0 { 1 } else { self.0 }
    }

    /// The first `count` numbers below `bound`, independent of each other and of the bits of the hash.
    pub(crate) fn numbers<const COUNT: usize>(self, bound: u64) -> [u64; COUNT] {
        let mut state = self.0;
        core::array::from_fn(|_| {
            state = state.wrapping_add(GOLDEN);
            below(scramble(state), bound)
        })
    }
}

/// 2^64 divided by the golden ratio; odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): one changed bit changes about half of them.
pub(crate) const fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Brings 64 random bits below `bound`; by the upper bits.
pub(crate) const fn below(bits: u64, bound: u64) -> u64 {
    ((bits as u128 * bound as u128) >> 64) as u64
}
