//! How do random bits become times and sizes?

use isobar_balance::Chance;

/// A number from 0 to 1, 1 excluded, with 53 random bits.
pub(crate) fn unit(chance: &mut Chance) -> f64 {
    const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
    (chance.bits() >> 11) as f64 * SCALE
}

/// Whether something of this probability happens.
pub(crate) fn happens(chance: &mut Chance, probability: f64) -> bool {
    unit(chance) < probability
}

/// An exponentially distributed number with this mean.
pub(crate) fn exponential(chance: &mut Chance, mean: f64) -> f64 {
    -mean * libm::log1p(-unit(chance))
}

/// A normally distributed number with mean 0 and deviation 1.
///
/// *Source*: Marsaglia's polar method (Marsaglia and Bray, "A convenient method for generating normal variables",
/// 1964); the second number of each pair is given up, so that a draw depends on nothing but the generator.
pub(crate) fn normal(chance: &mut Chance) -> f64 {
    loop {
        let (x, y) = (2.0 * unit(chance) - 1.0, 2.0 * unit(chance) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * libm::sqrt(-2.0 * libm::log(square) / square);
        }
    }
}

/// A length of time in whole nanoseconds, rounded up so that nothing happens before it is due.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is past 584 years is the last moment there is"
)]
pub(crate) fn nanoseconds(length: f64) -> u64 {
    libm::ceil(length) as u64
}

/// The number of a generator that belongs to a purpose, so that what one part draws does not change what another does.
pub(crate) fn stream(seed: u64, purpose: u64) -> Chance {
    let mut chance = Chance::new(seed ^ purpose.wrapping_mul(0xd1b5_4a32_d192_ed03));
    Chance::new(chance.bits())
}

#[cfg(test)]
mod tests {
    use super::{exponential, nanoseconds, normal, stream, unit};
    use std::vec::Vec;

    const DRAWS: usize = 100_000;

    /// Mean and deviation within five standard errors; the seed is fixed.
    fn check(draw: impl FnMut() -> f64, mean: f64, deviation: f64) {
        let drawn: Vec<f64> = core::iter::repeat_with(draw).take(DRAWS).collect();
        let found = drawn.iter().sum::<f64>() / DRAWS as f64;
        let variance = drawn.iter().map(|x| (x - found) * (x - found)).sum::<f64>() / DRAWS as f64;
        let slack = 5.0 * deviation / (DRAWS as f64).sqrt();
        assert!((found - mean).abs() < slack, "seed 3: mean {found} instead of {mean}");
        assert!(
            (variance.sqrt() - deviation).abs() < 2.0 * slack,
            "seed 3: {variance} instead of {deviation} squared"
        );
    }

    #[test]
    fn moments() {
        let mut chance = stream(3, 1);
        check(|| unit(&mut chance), 0.5, 1.0 / 12f64.sqrt());
        check(|| exponential(&mut chance, 4.0), 4.0, 4.0);
        check(|| normal(&mut chance), 0.0, 1.0);
    }

    #[test]
    fn streams_differ() {
        assert_ne!(stream(3, 1).bits(), stream(3, 2).bits());
        assert_ne!(stream(3, 1).bits(), stream(4, 1).bits());
        assert_eq!(stream(3, 1).bits(), stream(3, 1).bits());
    }

    #[test]
    fn nothing_is_due_too_early() {
        assert_eq!(nanoseconds(0.0), 0);
        assert_eq!(nanoseconds(1.2), 2);
        assert_eq!(nanoseconds(f64::INFINITY), u64::MAX);
    }
}
