//! How long does a server take, by what its answers took?
//!
//! Three estimates, because three algorithms mean different things by it; only the one that the algorithm in use
//! reads is kept up to date. Failed requests never count as fast: they are left out, or count as slow.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::Moment;

/// In which time a peak fades to 1/e, Finagle's and Linkerd's default.
const FADING: Duration = Duration::from_secs(10);

/// The part a new sample has in the average, as in nginx: one twentieth.
const AVERAGED: u64 = 20;

/// A peak is kept in units of 2^6 nanoseconds, 275 s at most.
const PEAK_BITS: u32 = 6;

/// Its moment is kept in ticks of 2^20 nanoseconds (1.05 ms), modulo 2^32: a server without a request for exactly 52
/// days counts as just seen.
const TICK_BITS: u32 = 20;

/// The estimates of one server; zero means that there is none yet.
#[derive(Debug)]
pub(super) struct Latency {
    /// The peak in the upper half, its moment in the lower.
    peak: AtomicU64,
    /// Nanoseconds.
    average: AtomicU64,
    /// Nanoseconds per request in flight.
    pace: AtomicU64,
    /// When the server was last chosen, to about the period its chooser gives, in nanoseconds.
    chosen: AtomicU64,
}

impl Latency {
    pub(super) const fn new() -> Self {
        Self {
            peak: AtomicU64::new(0),
            average: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            chosen: AtomicU64::new(0),
        }
    }

    /// The peak, faded from when it was seen, in nanoseconds.
    pub(super) fn peak(&self, now: Moment) -> u64 {
        Peak::from_word(self.peak.load(Ordering::Relaxed)).faded(now).cost << PEAK_BITS
    }

    /// Jumps up to a sample that is above the peak, and otherwise falls towards it with time.
    ///
    /// *Source*: Finagle's `PeakEwma`; ours compares a sample with the peak as it has faded by then.
    pub(super) fn see_peak(&self, sample: Duration, now: Moment) {
        let sample = nanoseconds(sample) >> PEAK_BITS;
        let seen = |word| Some(Peak::from_word(word).seen(sample, now).word());
        let _always = self.peak.fetch_update(Ordering::Relaxed, Ordering::Relaxed, seen);
    }

    /// In nanoseconds.
    pub(super) fn average(&self) -> u64 {
        self.average.load(Ordering::Relaxed)
    }

    pub(super) fn see_average(&self, sample: Duration) {
        see(&self.average, nanoseconds(sample));
    }

    /// In nanoseconds per request in flight.
    pub(super) fn pace(&self) -> u64 {
        self.pace.load(Ordering::Relaxed)
    }

    /// Takes an answer that took `sample` with `in_flight` requests at the server, itself among them.
    pub(super) fn see_pace(&self, sample: Duration, in_flight: u32) {
        see(&self.pace, nanoseconds(sample) / u64::from(in_flight.max(1)));
    }

    /// Remembers that the server was chosen. *Cost*: a load while that is known to less than a `period`.
    pub(super) fn choose(&self, now: Moment, period: Duration) {
        if self.unchosen(now) > nanoseconds(period) {
            self.chosen.store(now.nanoseconds(), Ordering::Relaxed);
        }
    }

    /// Nanoseconds since it was chosen.
    pub(super) fn unchosen(&self, now: Moment) -> u64 {
        now.since(Moment::new(self.chosen.load(Ordering::Relaxed)))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Moves an average towards a sample; the first is taken as it is. No sample counts as none.
fn see(average: &AtomicU64, sample: u64) {
    let sample = sample.max(1);
    let towards = |average: u64| match average {
        0 => Some(sample),
        _ => Some((average - average / AVERAGED).saturating_add(sample / AVERAGED).max(1)),
    };
    let _always = average.fetch_update(Ordering::Relaxed, Ordering::Relaxed, towards);
}

/// A peak as it is kept.
#[derive(Debug, Clone, Copy)]
struct Peak {
    cost: u64,
    tick: u32,
}

impl Peak {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of a word")]
    const fn from_word(word: u64) -> Self {
        Self {
            cost: word >> 32,
            tick: word as u32,
        }
    }

    const fn word(self) -> u64 {
        (self.cost << 32) | self.tick as u64
    }

    /// What is left of it.
    fn faded(self, now: Moment) -> Self {
        let tick = tick_of(now);
        let passed = tick.wrapping_sub(self.tick);
        if passed == 0 || passed > u32::MAX / 2 {
            return self;
        }
        Self {
            cost: part(self.cost, fading(passed)),
            tick,
        }
    }

    fn seen(self, sample: u64, now: Moment) -> Self {
        let faded = self.faded(now);
        let sample = sample.clamp(1, u64::from(u32::MAX));
        let cost = if sample >= faded.cost {
            sample
        } else if faded.tick == self.tick {
            // Within a tick nothing fades, and a sample below the peak has no part in it.
            faded.cost
        } else {
            faded.cost + (sample - part(sample, fading(faded.tick.wrapping_sub(self.tick))))
        };
        Self { cost, tick: faded.tick }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "ticks are told apart by their lower half"
)]
const fn tick_of(now: Moment) -> u32 {
    (now.nanoseconds() >> TICK_BITS) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "a part of a 32-bit number")]
fn part(of: u64, factor: f64) -> u64 {
    (of as f64 * factor) as u64
}

/// What is left of a peak after so many ticks.
fn fading(ticks: u32) -> f64 {
    let tick = Duration::from_nanos(1 << TICK_BITS);
    negative_exponential(f64::from(ticks) * (tick.as_secs_f64() / FADING.as_secs_f64()))
}

/// e to the power of `-x`, for `x` of at least 0, to a relative error of 1e-9: `core` has none.
///
/// As `2^-n * e^-r` with `r` below ln 2, the latter by its series.
#[expect(clippy::cast_possible_truncation, reason = "below 1000")]
fn negative_exponential(x: f64) -> f64 {
    if x > 500.0 {
        return 0.0;
    }
    let halvings = (x / core::f64::consts::LN_2) as u64;
    let rest = x - halvings as f64 * core::f64::consts::LN_2;
    let series = (1..=11).rev().fold(1.0, |sum, term| 1.0 - rest / f64::from(term) * sum);
    series * f64::from_bits((1023 - halvings) << 52)
}

#[cfg(test)]
mod tests {
    use super::{FADING, Latency, negative_exponential};
    use crate::Moment;
    use core::time::Duration;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn at(milliseconds: u64) -> Moment {
        Moment::default().after(ms(milliseconds))
    }

    /// Within 1 %, which is more than ticks and units round off here.
    fn assert_close(actual: u64, expected: Duration) {
        let expected = expected.as_nanos() as f64;
        assert!(
            (actual as f64 - expected).abs() <= expected * 0.01,
            "{actual} is not {expected}"
        );
    }

    #[test]
    fn the_exponential_is_the_standard_library_s() {
        for step in 0..50_000 {
            let x = f64::from(step) * 0.01;
            let (actual, expected) = (negative_exponential(x), (-x).exp());
            assert!((actual - expected).abs() <= expected * 1e-9, "{x}: {actual} {expected}");
        }
        assert_eq!(negative_exponential(1e9), 0.0);
    }

    #[test]
    fn a_peak_rises_at_once_and_fades_in_time() {
        let latency = Latency::new();
        assert_eq!(latency.peak(at(5)), 0);
        latency.see_peak(ms(10), at(1_000));
        latency.see_peak(ms(400), at(1_001));
        assert_close(latency.peak(at(1_001)), ms(400));
        latency.see_peak(ms(10), at(1_001));
        assert_close(latency.peak(at(1_001)), ms(400));
        assert_close(latency.peak(at(1_001).after(FADING)), ms(400).mul_f64((-1f64).exp()));
        latency.see_peak(ms(10), at(1_001).after(FADING));
        let towards = ms(400).mul_f64((-1f64).exp()) + ms(10).mul_f64(1.0 - (-1f64).exp());
        assert_close(latency.peak(at(1_001).after(FADING)), towards);
    }

    #[test]
    fn a_clock_that_goes_back_fades_nothing() {
        let latency = Latency::new();
        latency.see_peak(ms(100), at(50_000));
        assert_close(latency.peak(at(0)), ms(100));
        latency.see_peak(ms(1), at(0));
        assert_close(latency.peak(at(50_000)), ms(100));
        latency.choose(at(50_000), ms(10));
        assert_eq!(latency.unchosen(at(0)), 0);
    }

    #[test]
    fn an_average_moves_by_a_twentieth() {
        let latency = Latency::new();
        latency.see_average(ms(100));
        assert_close(latency.average(), ms(100));
        latency.see_average(ms(200));
        assert_close(latency.average(), ms(105));
        (0..500).for_each(|_| latency.see_average(ms(20)));
        assert_close(latency.average(), ms(20));
        latency.see_average(Duration::ZERO);
        assert_close(latency.average(), ms(19));
    }

    #[test]
    fn the_pace_is_per_request_in_flight() {
        let latency = Latency::new();
        latency.see_pace(ms(90), 9);
        assert_close(latency.pace(), ms(10));
        latency.see_pace(ms(10), 0);
        assert_close(latency.pace(), ms(10));
    }

    #[test]
    fn extremes_stay_within_their_range() {
        let latency = Latency::new();
        latency.see_peak(Duration::MAX, at(1));
        latency.see_average(Duration::MAX);
        latency.see_average(Duration::MAX);
        assert_close(latency.peak(at(1)), Duration::from_nanos(u64::from(u32::MAX) << 6));
        assert!(latency.average() > u64::MAX / 2);
    }
}
