//! How do two numbers become one that looks like chance, and is the same on every machine and in every version?
//!
//! What keys are mapped by must never change: another mixture sends every key to another server. Nothing here is fit
//! for secrets.

/// 2^64 divided by the golden ratio; odd.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection of 64-bit numbers under which one changed bit changes about half of them.
///
/// *Source*: the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) const fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One number of two, of which neither needs to look random; which is which matters.
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    scramble(scramble(a.wrapping_add(GOLDEN)) ^ b.wrapping_mul(GOLDEN))
}

/// Brings 64 random bits below `bound`, as [`Chance::below`](crate::Chance::below) does; 0 when the bound is 0.
pub(crate) const fn below(bits: u64, bound: u64) -> u64 {
    ((bits as u128 * bound as u128) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::{below, mix, scramble};

    /// SplitMix64 from seed 1234567 is `scramble(seed + GOLDEN)`; see `chance.rs` for where the number is from.
    #[test]
    fn scramble_is_splitmix() {
        assert_eq!(
            scramble(1_234_567u64.wrapping_add(super::GOLDEN)),
            6_457_827_717_110_365_317
        );
    }

    /// Small numbers, as tests and careless callers use them, give mixtures without a pattern: of 90,000 pairs
    /// none collide, and each bit is set in half of them, to five standard deviations.
    #[test]
    fn small_numbers_mix_well() {
        let mixed = || (0..300).flat_map(|a| (0..300).map(move |b| mix(a, b)));
        let distinct: std::collections::HashSet<u64> = mixed().collect();
        assert_eq!(distinct.len(), 90_000);
        for bit in 0..64 {
            let set = mixed().filter(|mixture| mixture >> bit & 1 == 1).count();
            assert!(set.abs_diff(45_000) < 750, "bit {bit} is set {set} times");
        }
    }

    #[test]
    fn below_keeps_order_and_bound() {
        assert_eq!((below(0, 10), below(u64::MAX, 10), below(u64::MAX / 2, 10)), (0, 9, 4));
        assert_eq!(below(u64::MAX, 0), 0);
    }
}
