//! How much work is a request?
//!
//! Work is counted in the nanoseconds that a server of speed 1 needs for it alone.

use isobar_balance::Chance;

use crate::draws;

/// How the work of requests is distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// The mean, in nanoseconds; greater than 0.
    pub mean: f64,
    /// How single requests lie around it.
    pub shape: Shape,
}

/// How single requests lie around their mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Every request is the mean.
    Deterministic,
    /// Exponentially, the classic of queueing theory.
    Exponential,
    /// With a long tail.
    Lognormal {
        /// The deviation, in means.
        variation: f64,
    },
    /// Most are small, some are large.
    Bimodal {
        /// The part that is large, 0 to 1.
        large: f64,
        /// How many small ones a large one is worth.
        factor: f64,
    },
    /// Normally, cut off at zero and scaled so that the mean is as stated.
    TruncatedNormal {
        /// The deviation before it is cut off, in means.
        variation: f64,
    },
}

impl Service {
    /// The work of one request.
    pub(crate) fn draw(&self, chance: &mut Chance) -> f64 {
        self.mean * self.relative(chance)
    }

    fn relative(&self, chance: &mut Chance) -> f64 {
        match self.shape {
            Shape::Deterministic => 1.0,
            Shape::Exponential => draws::exponential(chance, 1.0),
            Shape::Lognormal { variation } => {
                let variance = libm::log1p(variation * variation);
                libm::exp(libm::sqrt(variance) * draws::normal(chance) - variance / 2.0)
            }
            Shape::Bimodal { large, factor } => {
                let small = 1.0 / (1.0 - large + large * factor);
                if draws::happens(chance, large) {
                    small * factor
                } else {
                    small
                }
            }
            Shape::TruncatedNormal { variation } => loop {
                let drawn = 1.0 + variation * draws::normal(chance);
                if drawn > 0.0 {
                    return drawn / (1.0 + variation * hazard(variation));
                }
            },
        }
    }

    /// The variance, in squared means: 0 for requests that are all alike, 1 for exponential ones.
    #[must_use]
    pub fn squared_variation(&self) -> f64 {
        match self.shape {
            Shape::Deterministic => 0.0,
            Shape::Exponential => 1.0,
            Shape::Lognormal { variation } => variation * variation,
            Shape::Bimodal { large, factor } => {
                let mean = 1.0 - large + large * factor;
                (1.0 - large + large * factor * factor) / (mean * mean) - 1.0
            }
            Shape::TruncatedNormal { variation } => {
                let hazard = hazard(variation);
                let mean = 1.0 + variation * hazard;
                let variance = variation * variation * (1.0 - hazard / variation - hazard * hazard);
                variance / (mean * mean)
            }
        }
    }
}

/// The density of the normal distribution with mean 1 at zero, over what of it lies above; in deviations.
fn hazard(variation: f64) -> f64 {
    let at = 1.0 / variation;
    let density = libm::exp(-at * at / 2.0) / libm::sqrt(2.0 * core::f64::consts::PI);
    density / (0.5 * libm::erfc(-at / core::f64::consts::SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::{Service, Shape};
    use crate::draws;

    /// Mean within 2 %, squared variation within 8 % or 0.02, over 100,000 draws from seed 9.
    fn check(shape: Shape) {
        const DRAWS: u32 = 100_000;
        let service = Service { mean: 5e6, shape };
        let mut chance = draws::stream(9, 0);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..DRAWS {
            let drawn = service.draw(&mut chance) / service.mean;
            assert!(drawn >= 0.0, "{shape:?}");
            sum += drawn;
            squares += drawn * drawn;
        }
        let mean = sum / f64::from(DRAWS);
        let variation = squares / f64::from(DRAWS) - mean * mean;
        let expected = service.squared_variation();
        assert!((mean - 1.0).abs() < 0.02, "{shape:?}: mean {mean}");
        assert!(
            (variation - expected).abs() < 0.02 + 0.08 * expected,
            "{shape:?}: {variation} instead of {expected}"
        );
    }

    #[test]
    fn means_and_variations_are_as_stated() {
        check(Shape::Deterministic);
        check(Shape::Exponential);
        check(Shape::Lognormal { variation: 0.5 });
        check(Shape::Lognormal { variation: 1.5 });
        check(Shape::Bimodal {
            large: 0.1,
            factor: 20.0,
        });
        check(Shape::Bimodal {
            large: 0.0,
            factor: 20.0,
        });
        check(Shape::TruncatedNormal { variation: 0.1 });
        check(Shape::TruncatedNormal { variation: 1.0 });
        check(Shape::TruncatedNormal { variation: 4.0 });
    }
}
