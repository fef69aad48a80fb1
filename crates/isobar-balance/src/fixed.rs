//! Logarithms and powers of fractions, in integers: `no_std` has none, and those of a platform's library differ from
//! platform to platform in their last bits, which is enough to send a key to another server.

/// Bits after the binary point of a logarithm.
const FRACTION: u32 = 56;

/// Parts into which the interval from 1 to 2 is cut for the table, as a power of two.
const TABLE_BITS: u32 = 7;
const TABLE: usize = 1 << TABLE_BITS;

/// log2(e), with 62 bits after the point.
const LOG2_E: i64 = 6_653_256_548_922_161_245;

/// One halving.
const ONE_HALVING: i64 = 1 << FRACTION;

/// 1, 1/2, 1/3, 1/4, 1/5 with 62 bits after the point.
const OVER: [i64; 5] = [1 << 62, (1 << 62) / 2, (1 << 62) / 3, (1 << 62) / 4, (1 << 62) / 5];

/// One part of the interval: the reciprocal of its middle with 64 bits after the point, and the logarithm of its
/// middle with [`FRACTION`].
#[derive(Debug, Clone, Copy)]
struct Part {
    reciprocal: u64,
    log2: i64,
}

static PARTS: [Part; TABLE] = parts();

#[expect(
    clippy::cast_possible_truncation,
    reason = "below 2^64: the divisor is above 256, and below 512"
)]
const fn parts() -> [Part; TABLE] {
    let mut parts = [Part { reciprocal: 0, log2: 0 }; TABLE];
    let mut at = 0;
    while at < TABLE {
        // The middle is 1 + (at + 1/2) / 128 = odd / 256.
        let odd = 2 * TABLE as u128 + 2 * at as u128 + 1;
        parts[at] = Part {
            reciprocal: ((1 << 72) / odd) as u64,
            log2: log2_by_squaring((odd << 54) as u64),
        };
        at += 1;
    }
    parts
}

/// The logarithm of a number from 1 to 2 with 62 bits after the point: each squaring brings out one bit.
const fn log2_by_squaring(number: u64) -> i64 {
    let mut number = number as u128;
    let mut log2 = 0;
    let mut bit = 0;
    while bit < FRACTION {
        number = (number * number) >> 62;
        log2 <<= 1;
        if number >= 2 << 62 {
            number >>= 1;
            log2 |= 1;
        }
        bit += 1;
    }
    log2
}

/// How many halvings the fraction `numerator / 2^64` is away from 1: minus its logarithm to base 2, times 2^56. A
/// numerator of 0 counts as 1.
///
/// *Error*: below 2^-49 absolutely, that is below 128 of what it returns; nearly all of it is from cutting the series.
/// *Cost*: eight multiplications. *Source*: a table of 128 reciprocals takes the argument to within
/// 1/256 of 1, where five terms of the series of ln(1 + z) do.
#[expect(clippy::cast_possible_truncation, reason = "z is small, whatever its sign")]
pub(crate) fn halvings(numerator: u64) -> u64 {
    let numerator = numerator.max(1);
    let zeros = numerator.leading_zeros();
    let normal = numerator << zeros;
    let part = PARTS[(normal >> (63 - TABLE_BITS)) as usize % TABLE];
    // 1 + z, with 64 bits after the point; z is below 1/256.
    let near_one = (u128::from(normal) * u128::from(part.reciprocal)) >> 63;
    let z = near_one.wrapping_sub(1 << 64) as i64;
    let mut series = OVER[4];
    for over in [OVER[3], OVER[2], OVER[1], OVER[0]] {
        series = over - product(z, series, 64);
    }
    let ln = product(z, series, 62);
    let log2 = product(ln, LOG2_E, 62 + 64 - FRACTION);
    let whole = i64::from(zeros) << FRACTION;
    // Below 1 halving what is left of one may be less than the error.
    whole
        .saturating_add(ONE_HALVING - part.log2 - log2)
        .max(0)
        .cast_unsigned()
}

/// The product of two numbers, without so many bits after the point.
#[expect(clippy::cast_possible_truncation, reason = "what is multiplied here leaves 64 bits")]
const fn product(a: i64, b: i64, bits: u32) -> i64 {
    ((a as i128 * b as i128) >> bits) as i64
}

/// 2 to the power of minus `halvings / 2^56`, as a numerator over 2^63.
///
/// *Error*: below 2^-50. *Cost*: up to 56 multiplications; not for a pick.
pub(crate) fn halved(halvings: u64) -> u64 {
    const ONE: u128 = 1 << 63;
    let fraction = halvings & ((1 << FRACTION) - 1);
    let mut power = ONE;
    // 2^(-1/2), 2^(-1/4), ...: each the square root of the one before.
    let mut factor = ONE / 2;
    for bit in (0..FRACTION).rev() {
        factor = (factor << 63).isqrt();
        if fraction >> bit & 1 == 1 {
            power = (power * factor) >> 63;
        }
    }
    let whole = u32::try_from(halvings >> FRACTION).unwrap_or(u32::MAX);
    u64::try_from(power.checked_shr(whole).unwrap_or(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{halved, halvings};
    use crate::Chance;

    const SCALE: f64 = (1u64 << 56) as f64;

    /// Within 2^-49 of the platform's logarithm, and what a double may be off itself: near 1 it knows the logarithm of a
    /// distance exactly; elsewhere it has lost 2^-47 when it comes off 64.
    fn check(numerator: u64) {
        let (expected, lost) = if numerator > 1 << 63 {
            let distance = (u64::MAX - numerator) as f64 + 1.0;
            (
                -(-distance / 2f64.powi(64)).ln_1p() / std::f64::consts::LN_2,
                2f64.powi(-52),
            )
        } else {
            (64.0 - (numerator.max(1) as f64).log2(), 2f64.powi(-47))
        };
        let actual = halvings(numerator) as f64 / SCALE;
        let tolerance = 2f64.powi(-49) + lost;
        assert!(
            (actual - expected).abs() < tolerance,
            "{numerator:#x}: {actual} instead of {expected}, off by {}",
            (actual - expected) / 2f64.powi(-48)
        );
    }

    #[test]
    fn halvings_are_right_everywhere() {
        let mut chance = Chance::new(56);
        for shift in 0..64 {
            check(u64::MAX >> shift);
            check(1 << shift);
            check((1 << shift) + 1);
            (0..500).for_each(|_| check(chance.bits() >> shift));
            (0..100).for_each(|_| check(u64::MAX - (chance.bits() >> shift)));
        }
        // Where the table's parts meet.
        for part in 0..128u64 {
            check((128 + part) << 56);
            check(((128 + part) << 56) - 1);
        }
    }

    /// The numbers themselves, so that no platform and no later version maps a key otherwise.
    #[test]
    fn halvings_never_change() {
        let check = |numerator: u64, expected: u64| assert_eq!(halvings(numerator), expected, "{numerator:#x}");
        check(0, 4_611_686_018_427_387_845);
        check(1, 4_611_686_018_427_387_845);
        check(1 << 63, 72_057_594_037_927_877);
        check(0x9e37_79b9_7f4a_7c15, 50_025_401_976_509_251);
        check(0x0123_4567_89ab_cdef, 563_042_272_977_914_218);
        check(u64::MAX - 0xffff_ffff, 24_204_406);
        check(u64::MAX, 0);
    }

    #[test]
    fn halved_undoes_halvings() {
        let mut chance = Chance::new(57);
        for _ in 0..2_000 {
            let numerator = chance.bits() >> chance.below(60);
            let back = halved(halvings(numerator));
            let error = (back as f64 * 2.0 - numerator as f64) / 2f64.powi(64);
            assert!(error.abs() < 2f64.powi(-47), "{numerator:#x} comes back off by {error}");
        }
        assert_eq!((halved(0), halved(1 << 56), halved(u64::MAX)), (1 << 63, 1 << 62, 0));
    }
}
