//! How many requests at once can a server work on before they only wait for each other?
//!
//! The answer is found from latency. What the server takes while it is not crowded is the *baseline*; as long as its
//! answers take no more than that and a tolerance, the limit grows by its square root, and past it the limit shrinks in
//! the proportion in which they are late. In between it settles where a small backlog keeps the server busy and no more.
//!
//! *Source*: the gradient of Netflix's concurrency-limits (`Gradient2Limit`) and of Envoy's adaptive concurrency, with
//! three differences. The mean of a window is geometric, so that one answer in fifty that takes a thousand times as long
//! moves it by 15 %. The baseline is no average that follows a crowd which lasts, as Netflix's does, and is not found by
//! holding everything back to three requests, as Envoy's is: it is what windows say in which the limit is not used up, and
//! where there have been none for half a minute, the limit is quartered for about two rounds of requests. (Halved, it would
//! settle at 16 before a server with one place: the baseline would be that of eight in a line.) And a limit that is not
//! used up does not change.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use crate::{Finish, Moment, Outcome};

/// Where a limit may lie, and how late answers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GradientRules {
    /// The least it may be; at least 1.
    pub min: u32,
    /// The most it may be, at most [`MOST`](Self::MOST).
    pub max: u32,
    /// By how many hundredths of the baseline answers may be late before the limit shrinks.
    pub tolerance_percent: u32,
}

impl GradientRules {
    /// The highest limit there can be.
    pub const MOST: u32 = 1_000_000;

    fn clamp(&self, limit: u32) -> u32 {
        let least = self.min.clamp(1, Self::MOST);
        limit.clamp(least, self.max.clamp(least, Self::MOST))
    }

    /// The latency past which the limit shrinks. Two milliseconds are nothing anybody waits for, and very fast servers
    /// are late by as much whenever their machine does something else.
    fn allowed(&self, baseline: u64) -> u64 {
        let late = u128::from(baseline) * u128::from(self.tolerance_percent) / 100;
        baseline.saturating_add(u64::try_from(late).unwrap_or(u64::MAX).max(LEAST_LATE))
    }
}

/// A limit begins at so many, and doubles until it is used up or answers are late.
const FIRST: u32 = 4;

/// A window takes at least this long.
const WINDOW: Duration = Duration::from_millis(100);

/// And has at least as many answers as the limit is, within these bounds: about one round of requests.
const FEWEST: u32 = 4;
const ENOUGH: u32 = 50;

/// How long a baseline is believed that no window confirms: two hundred times as long as it is, within these bounds. To
/// measure takes about six times the baseline, in which a third of the work is done: two parts in a hundred at most.
const BELIEVED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
const BELIEVED_FOR: u64 = 200;

/// In nanoseconds.
const LEAST_LATE: u64 = 2_000_000;

/// A limit is kept in units of 1/256.
const UNIT: u64 = 256;

/// A sum of logarithms has 40 bits below the count of them.
const COUNT_SHIFT: u32 = 40;

/// Fraction bits of a logarithm.
const FRACTION: u32 = 10;

/// What a window is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// The limit doubles until it is too high.
    Rising,
    /// It follows the gradient.
    Steady,
    /// It is quartered, and requests of before are still about.
    Draining,
    /// It is quartered, and what answers take now is the baseline.
    Measuring,
}

/// The limit of one server, as all workers find it together.
///
/// *Cost*: two atomic additions per answer, and a few more operations for the one that closes a window; no lock and no
/// allocation. Windows that two workers close at once are closed by one of them.
#[derive(Debug)]
#[repr(align(128))]
pub struct Gradient {
    /// How many latencies were seen in this window, and the sum of their logarithms.
    seen: AtomicU64,
    /// Most requests in flight in this window.
    peak: AtomicU32,
    /// In units of 1/256.
    limit: AtomicU32,
    /// When the window began.
    began: AtomicU64,
    /// Nanoseconds; 0: there is none yet.
    baseline: AtomicU64,
    /// When the baseline was last confirmed.
    confirmed: AtomicU64,
    phase: AtomicU8,
}

/// What a window came to.
#[derive(Debug, Clone, Copy)]
struct Window {
    now: Moment,
    /// Nanoseconds.
    latency: u64,
    peak: u32,
}

impl Default for Gradient {
    fn default() -> Self {
        Self::new()
    }
}

impl Gradient {
    /// A limit about which nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            seen: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            limit: AtomicU32::new(FIRST << 8),
            began: AtomicU64::new(0),
            baseline: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Rising as u8),
        }
    }

    /// Forgets everything.
    pub fn restart(&self) {
        self.limit.store(FIRST << 8, Ordering::Relaxed);
        self.baseline.store(0, Ordering::Relaxed);
        self.began.store(0, Ordering::Relaxed);
        self.enter(Phase::Rising);
        let _last = self.seen.swap(0, Ordering::Relaxed);
    }

    /// The limit now.
    #[must_use]
    pub fn limit(&self, rules: &GradientRules) -> u32 {
        let limit = self.limit.load(Ordering::Relaxed) >> 8;
        match self.phase() {
            Phase::Rising | Phase::Steady => rules.clamp(limit),
            Phase::Draining | Phase::Measuring => rules.clamp(limit / 4),
        }
    }

    /// What the server takes while it is not crowded; zero: that is not known yet.
    #[must_use]
    pub fn baseline(&self) -> Duration {
        Duration::from_nanos(self.baseline.load(Ordering::Relaxed))
    }

    /// Takes in how a request ended that the server was picked for; true when the limit may have changed.
    ///
    /// A failure says how long the server takes only where it took longer than it may: one that comes at once is no sign
    /// of a server with time to spare.
    pub fn finished(&self, rules: &GradientRules, finish: &Finish) -> bool {
        let latency = u64::try_from(finish.latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        if matches!(finish.outcome, Outcome::Failure { .. }) {
            let baseline = self.baseline.load(Ordering::Relaxed);
            if baseline == 0 || latency <= rules.allowed(baseline) {
                return false;
            }
        }
        self.peak.fetch_max(finish.in_flight, Ordering::Relaxed);
        let one = (1 << COUNT_SHIFT) | log2(latency);
        let seen = self.seen.fetch_add(one, Ordering::Relaxed).wrapping_add(one);
        if seen >> COUNT_SHIFT < u64::from(self.wanted(rules)) {
            return false;
        }
        let began = self.began.load(Ordering::Relaxed);
        if finish.now.since(Moment::new(began)) < nanoseconds(WINDOW) {
            return false;
        }
        let now = finish.now.nanoseconds();
        let closes = self
            .began
            .compare_exchange(began, now, Ordering::Relaxed, Ordering::Relaxed);
        if closes.is_ok() {
            self.close(rules, finish.now);
        }
        closes.is_ok()
    }

    /// How many answers make a window. All requests of before a quartering have ended when as many have as there were;
    /// of before a doubling, when half as many have as there are now.
    fn wanted(&self, rules: &GradientRules) -> u32 {
        let limit = rules.clamp(self.limit.load(Ordering::Relaxed) >> 8);
        match self.phase() {
            Phase::Draining => limit,
            Phase::Rising => (limit * 2).clamp(FEWEST, ENOUGH * 2),
            Phase::Steady | Phase::Measuring => limit.clamp(FEWEST, ENOUGH),
        }
    }

    fn close(&self, rules: &GradientRules, now: Moment) {
        let seen = self.seen.swap(0, Ordering::Relaxed);
        let peak = self.peak.swap(0, Ordering::Relaxed);
        let Some(mean) = (seen & ((1 << COUNT_SHIFT) - 1)).checked_div(seen >> COUNT_SHIFT) else {
            return;
        };
        let window = Window {
            now,
            latency: exp2(mean),
            peak,
        };
        match self.phase() {
            Phase::Draining => self.enter(Phase::Measuring),
            Phase::Measuring => {
                self.believe(window.latency, now);
                self.enter(Phase::Steady);
            }
            phase => self.follow(rules, &window, phase),
        }
    }

    fn follow(&self, rules: &GradientRules, window: &Window, phase: Phase) {
        let limit = rules.clamp(self.limit.load(Ordering::Relaxed) >> 8);
        let baseline = match self.baseline.load(Ordering::Relaxed) {
            0 => window.latency,
            known => known,
        };
        if u64::from(window.peak) * 2 < u64::from(limit) {
            // Nobody waits for anybody: this is what the server takes.
            self.believe(towards(baseline, window.latency, 4), window.now);
            return;
        }
        let baseline = if window.latency < baseline {
            towards(baseline, window.latency, 2)
        } else {
            baseline
        };
        if window.latency <= baseline.saturating_add(baseline / 10) {
            self.believe(baseline, window.now);
        }
        self.baseline.store(baseline, Ordering::Relaxed);
        let allowed = rules.allowed(baseline);
        if phase == Phase::Rising && window.latency <= allowed {
            self.set(rules, u64::from(limit) * 2 * UNIT);
            return;
        }
        self.enter(Phase::Steady);
        self.step(rules, allowed, window.latency);
        let confirmed = Moment::new(self.confirmed.load(Ordering::Relaxed));
        let believed = baseline.saturating_mul(BELIEVED_FOR);
        if window.now.since(confirmed) >= believed.clamp(nanoseconds(BELIEVED.0), nanoseconds(BELIEVED.1)) {
            self.enter(Phase::Draining);
        }
    }

    /// Moves the limit down to where the gradient points, or half of the way up to there.
    fn step(&self, rules: &GradientRules, allowed: u64, latency: u64) {
        let limit = u64::from(self.limit.load(Ordering::Relaxed)).clamp(UNIT, u64::from(GradientRules::MOST) * UNIT);
        let gradient = u128::from(allowed) * u128::from(UNIT) / u128::from(latency.max(1));
        let gradient = u64::try_from(gradient).unwrap_or(UNIT).clamp(UNIT / 2, UNIT);
        // The square root of a limit in units of 1/256 is sixteen times that of the limit.
        let target = limit * gradient / UNIT + limit.isqrt() * 16;
        self.set(rules, if target < limit { target } else { limit.midpoint(target) });
    }

    fn set(&self, rules: &GradientRules, limit: u64) {
        let highest = u64::from(rules.clamp(u32::MAX)) * UNIT;
        let limit = limit.clamp(u64::from(rules.clamp(0)) * UNIT, highest);
        self.limit
            .store(u32::try_from(limit).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn believe(&self, baseline: u64, now: Moment) {
        self.baseline.store(baseline.max(1), Ordering::Relaxed);
        self.confirmed.store(now.nanoseconds(), Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Rising,
            1 => Phase::Steady,
            2 => Phase::Draining,
            _ => Phase::Measuring,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// One `part`-th of the way.
const fn towards(from: u64, to: u64, part: u64) -> u64 {
    from - from / part + to / part
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The logarithm to base 2, in units of 1/1024, straight between powers: at most 6 % of a factor 2 off, and
/// [`exp2`] takes the same way back.
const fn log2(value: u64) -> u64 {
    let whole = value.ilog2();
    let fraction = if whole >= FRACTION {
        (value >> (whole - FRACTION)) & ((1 << FRACTION) - 1)
    } else {
        (value << (FRACTION - whole)) & ((1 << FRACTION) - 1)
    };
    ((whole as u64) << FRACTION) | fraction
}

/// The value of which this is the logarithm.
const fn exp2(log: u64) -> u64 {
    let (whole, fraction) = (log >> FRACTION, log & ((1 << FRACTION) - 1));
    let mantissa = (1 << FRACTION) | fraction;
    if whole >= 63 {
        u64::MAX
    } else if whole >= FRACTION as u64 {
        mantissa << (whole - FRACTION as u64)
    } else {
        mantissa >> (FRACTION as u64 - whole)
    }
}

#[cfg(test)]
mod tests;
