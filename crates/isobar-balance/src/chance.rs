//! Where do the dice come from?
//!
//! From a seed, so that a simulation or a failed test can be run again. Nothing here is fit for secrets.

use crate::mix;

/// A small seeded generator of random numbers; each worker owns one.
///
/// *Source*: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): period 2^64,
/// and any seed is a good seed.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// A generator whose numbers follow from the seed alone.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(mix::GOLDEN);
        mix::scramble(self.state)
    }

    /// A number below `bound`; 0 when the bound is 0.
    ///
    /// No number is more likely than another by more than `bound / 2^64` of its share.
    pub const fn below(&mut self, bound: u64) -> u64 {
        mix::below(self.bits(), bound)
    }

    /// A position in a sequence of `len` items; 0 when it is empty.
    #[expect(clippy::cast_possible_truncation, reason = "the number is below a usize")]
    pub const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    /// The first numbers from seed 1234567, as printed by the authors' reference program `splitmix64.c`.
    #[test]
    fn reference_sequence() {
        let mut chance = Chance::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(expected.map(|_| chance.bits()), expected);
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut chance = Chance::new(7);
        for bound in [1, 2, 3, 10, 1000] {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..bound * 20 {
                seen.insert(chance.below(bound));
            }
            assert_eq!(seen.len() as u64, bound, "seed 7, bound {bound}");
            assert!(seen.iter().all(|&number| number < bound));
        }
        assert_eq!(chance.below(0), 0);
        assert_eq!(chance.index(0), 0);
    }
}
