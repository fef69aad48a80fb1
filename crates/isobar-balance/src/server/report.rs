//! What does a server say of itself?
//!
//! Reports come in the headers or trailers of its answers, or as answers to probes; who reads them there is not this
//! module's business.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::Moment;

/// What one message of a server says about its load; what it does not say is left as it was known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// Requests it has in flight, from whomever they came.
    pub in_flight: Option<u32>,
    /// What a request takes at that number of requests in flight, by the server's own estimate.
    pub latency: Option<Duration>,
    /// How busy it is.
    pub load: Option<ReportedLoad>,
}

/// How busy a server says it is, with the fields of the same names of ORCA, the report that gRPC and Envoy read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReportedLoad {
    /// The part of it that is in use, of the application where it is told, otherwise of the processors; 1 is all.
    pub utilization: f32,
    /// Requests that it answered per second.
    pub rps: f32,
    /// Of these, how many it failed.
    pub eps: f32,
}

/// Requests in flight that a server can report; more count as that many, so that there is room to add to them.
const MOST_IN_FLIGHT: u32 = 1 << 24;

/// The moment of a report of requests in flight is kept in ticks of 2^20 nanoseconds, modulo 2^32.
const TICK_BITS: u32 = 20;

/// No report was made; no report makes this word, nor does any moment.
const NEVER: u64 = u64::MAX;

/// The latest reports of one server.
#[derive(Debug)]
pub(super) struct Reported {
    /// The requests in flight in the upper half, the tick of the report in the lower.
    in_flight: AtomicU64,
    /// Nanoseconds per request in flight; 0: not told.
    pace: AtomicU64,
    /// The parts of a weight: see [`Parts`].
    load: AtomicU64,
    /// When `load` was last told, in nanoseconds.
    load_at: AtomicU64,
    /// Since when it is told without a gap, in nanoseconds.
    load_since: AtomicU64,
}

/// The load of a server in the form in which it is compared.
///
/// Utilisation and the part of requests that fail are kept to 8 bits of mantissa (0.4 %), the rate to 24.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Parts {
    rps: f32,
    utilization: f32,
    failing: f32,
}

/// For how long a report of load counts, and from when on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Validity {
    /// How long a server must have told its load before that is believed.
    pub(crate) blackout: Duration,
    /// How old a report may be.
    pub(crate) expiration: Duration,
}

impl Reported {
    pub(super) const fn new() -> Self {
        Self {
            in_flight: AtomicU64::new(NEVER),
            pace: AtomicU64::new(0),
            load: AtomicU64::new(0),
            load_at: AtomicU64::new(NEVER),
            load_since: AtomicU64::new(NEVER),
        }
    }

    pub(super) fn take(&self, report: &Report, now: Moment) {
        if let (Some(in_flight), Some(latency)) = (report.in_flight, report.latency) {
            let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            let pace = nanoseconds / (u64::from(in_flight) + 1);
            self.pace.store(pace.max(1), Ordering::Relaxed);
        }
        if let Some(in_flight) = report.in_flight {
            let word = (u64::from(in_flight.min(MOST_IN_FLIGHT)) << 32) | u64::from(tick_of(now));
            self.in_flight.store(word, Ordering::Relaxed);
        }
        if let Some(parts) = report.load.and_then(Parts::new) {
            self.load.store(parts.word(), Ordering::Relaxed);
            self.load_at.store(now.nanoseconds(), Ordering::Relaxed);
            let start = |since| (since == NEVER).then_some(now.nanoseconds());
            let _kept = self
                .load_since
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, start);
        }
    }

    /// Requests in flight by its latest report, with those it was given since, when that is not older than `age`.
    pub(super) fn in_flight(&self, now: Moment, age: Duration) -> Option<u32> {
        let word = Some(self.in_flight.load(Ordering::Relaxed)).filter(|&word| word != NEVER)?;
        let (in_flight, tick) = halves(word);
        let passed = tick_of(now).wrapping_sub(tick);
        // More than half of all ticks is a clock that went back: the report is as new as can be.
        let passed = if passed > u32::MAX / 2 { 0 } else { passed };
        (Duration::from_nanos(u64::from(passed) << TICK_BITS) <= age).then_some(in_flight)
    }

    /// One more, until the next report.
    pub(super) fn add_in_flight(&self) {
        let one_more = |word: u64| (halves(word).0 < MOST_IN_FLIGHT).then(|| word + (1 << 32));
        let _full = self
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    /// In nanoseconds per request in flight; 0: it never told.
    pub(super) fn pace(&self) -> u64 {
        self.pace.load(Ordering::Relaxed)
    }

    /// The weight that follows from its load; none: it has told none, not for long enough, or too long ago.
    ///
    /// *Source*: gRPC A58. A server whose reports stopped for longer than `expiration` starts its blackout anew.
    pub(super) fn weight(&self, now: Moment, validity: &Validity, error_penalty: f32) -> Option<f32> {
        let at = Some(self.load_at.load(Ordering::Relaxed)).filter(|&at| at != NEVER)?;
        if now.since(Moment::new(at)) > span(validity.expiration) {
            self.load_since.store(NEVER, Ordering::Relaxed);
            return None;
        }
        let since = Some(self.load_since.load(Ordering::Relaxed)).filter(|&since| since != NEVER)?;
        if now.since(Moment::new(since)) < span(validity.blackout) {
            return None;
        }
        let weight = Parts::from_word(self.load.load(Ordering::Relaxed)).weight(error_penalty);
        Some(weight).filter(|weight| weight.is_finite() && *weight > 0.0)
    }
}

impl Parts {
    /// None: the report says nothing, because it is empty or not of this world.
    fn new(load: ReportedLoad) -> Option<Self> {
        let usable = |number: f32| number.is_normal() && number > 0.0;
        if !usable(load.utilization) || !usable(load.rps) {
            return None;
        }
        let eps = if usable(load.eps) { load.eps } else { 0.0 };
        Some(Self {
            rps: load.rps,
            utilization: load.utilization,
            failing: (eps / load.rps).min(1.0),
        })
    }

    /// Requests per second that it would answer with all of it in use, less for what it fails.
    fn weight(self, error_penalty: f32) -> f32 {
        self.rps / (self.utilization + self.failing * error_penalty)
    }

    fn word(self) -> u64 {
        let upper = |number: f32| u64::from(number.to_bits() >> 16);
        (u64::from(self.rps.to_bits()) << 32) | (upper(self.utilization) << 16) | upper(self.failing)
    }

    fn from_word(word: u64) -> Self {
        let (rps, rest) = halves(word);
        Self {
            rps: f32::from_bits(rps),
            utilization: f32::from_bits(rest & 0xffff_0000),
            failing: f32::from_bits(rest << 16),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

fn tick_of(now: Moment) -> u32 {
    halves(now.nanoseconds() >> TICK_BITS).1
}

fn span(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Report, Reported, ReportedLoad, Validity};
    use crate::Moment;
    use core::time::Duration;

    const VALIDITY: Validity = Validity {
        blackout: Duration::from_secs(10),
        expiration: Duration::from_secs(180),
    };

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(seconds))
    }

    const fn load(utilization: f32, rps: f32, eps: f32) -> Report {
        Report {
            in_flight: None,
            latency: None,
            load: Some(ReportedLoad { utilization, rps, eps }),
        }
    }

    /// The weights that gRPC A58's formula gives, to the precision in which their parts are kept.
    #[test]
    fn weights_follow_the_formula() {
        let check = |report: Report, penalty, expected: Option<f32>| {
            let reported = Reported::new();
            reported.take(&report, at(0));
            let weight = reported.weight(at(10), &VALIDITY, penalty);
            let close = match (weight, expected) {
                (Some(weight), Some(expected)) => (weight - expected).abs() <= expected * 0.01,
                (weight, expected) => weight == expected,
            };
            assert!(close, "{report:?}: {weight:?}, not {expected:?}");
        };
        check(load(0.5, 100.0, 0.0), 1.0, Some(200.0));
        check(load(0.5, 100.0, 50.0), 1.0, Some(100.0));
        check(load(0.5, 100.0, 50.0), 0.0, Some(200.0));
        check(load(0.003, 7.0, 0.0), 1.0, Some(2_333.3));
        check(load(2.0, 10.0, 99.0), 1.0, Some(3.333));
        check(load(0.5, 100.0, -3.0), 1.0, Some(200.0));
        for nonsense in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
            check(load(nonsense, 100.0, 0.0), 1.0, None);
            check(load(0.5, nonsense, 0.0), 1.0, None);
        }
        check(load(1e-30, 1e30, 0.0), 1.0, None);
        check(Report::default(), 1.0, None);
    }

    #[test]
    fn a_report_counts_from_the_end_of_its_blackout_until_it_expires() {
        let reported = Reported::new();
        let check = |seconds, expected| {
            assert_eq!(
                reported.weight(at(seconds), &VALIDITY, 1.0).is_some(),
                expected,
                "at {seconds} s"
            );
        };
        check(0, false);
        reported.take(&load(0.5, 100.0, 0.0), at(100));
        check(109, false);
        check(110, true);
        check(280, true);
        check(281, false);
        reported.take(&load(0.5, 100.0, 0.0), at(300));
        check(309, false);
        check(310, true);
        check(0, false);
        check(310, true);
    }

    #[test]
    fn requests_in_flight_are_raised_until_the_next_report() {
        let reported = Reported::new();
        let age = Duration::from_secs(2);
        reported.add_in_flight();
        assert_eq!(reported.in_flight(at(5), age), None);
        let report = |in_flight| Report {
            in_flight: Some(in_flight),
            ..Report::default()
        };
        reported.take(&report(7), at(5));
        reported.add_in_flight();
        assert_eq!(reported.in_flight(at(5), age), Some(8));
        assert_eq!(reported.in_flight(at(6), age), Some(8));
        assert_eq!(reported.in_flight(at(8), age), None);
        assert_eq!(reported.in_flight(at(0), age), Some(8), "the clock went back");
        reported.take(&report(2), at(7));
        assert_eq!(reported.in_flight(at(7), age), Some(2));
        reported.take(&load(0.5, 1.0, 0.0), at(10));
        assert_eq!(
            reported.in_flight(at(10), age),
            None,
            "another report says nothing of this"
        );
        reported.take(&report(u32::MAX), at(9));
        (0..3).for_each(|_| reported.add_in_flight());
        assert_eq!(reported.in_flight(at(9), age), Some(super::MOST_IN_FLIGHT));
    }

    #[test]
    fn a_pace_is_what_a_request_takes_for_each_in_flight() {
        let reported = Reported::new();
        let check = |in_flight, latency, expected| {
            reported.take(
                &Report {
                    in_flight,
                    latency,
                    load: None,
                },
                at(1),
            );
            assert_eq!(reported.pace(), expected);
        };
        check(Some(3), None, 0);
        check(None, Some(Duration::from_nanos(90)), 0);
        check(Some(8), Some(Duration::from_nanos(90)), 10);
        check(Some(8), None, 10);
        check(Some(0), Some(Duration::ZERO), 1);
    }
}
