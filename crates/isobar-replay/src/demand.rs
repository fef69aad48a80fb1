//! How much of a limit would a key use if nothing were refused?
//!
//! The limit's own measure of use, without its end: the level of a bucket that has no rim, the count of a window that never is
//! full. Above 1 something is refused; below it, what is left is headroom.

use std::collections::VecDeque;
use std::time::Duration;

use isobar_l7::trial::Counted;
use isobar_plan::LimitKind;

/// What a key used so far, as far as its limit still knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Demand {
    /// The level, or the count of this window, or of those in flight.
    level: f64,
    /// The count of the window before.
    before: f64,
    /// When it was last so, or when the window began, in nanoseconds since 1970.
    since: u64,
    /// What came in the last window, the oldest first; of a log alone. `level` is what it adds up to.
    log: VecDeque<(u64, f64)>,
}

impl Demand {
    /// Adds what a request takes, or what its end changes of that; *returns* the use after it, as a part of what the key may have at once.
    pub(crate) fn add(&mut self, kind: LimitKind, counted: &Counted, cost: f64, now: u64) -> f64 {
        let window = counted.quota.window.map_or(1.0, |window| window.as_nanos() as f64);
        let period = counted.quota.window.map_or(1, nanoseconds).max(1);
        let used = match kind {
            LimitKind::Gcra { .. } | LimitKind::TokenBucket | LimitKind::Bandwidth { .. } => {
                let passed = now.saturating_sub(self.since) as f64;
                let drained = passed * counted.quota.units as f64 / window;
                self.level = ((self.level - drained).max(0.0) + cost).max(0.0);
                self.since = self.since.max(now);
                self.level
            }
            LimitKind::FixedWindow | LimitKind::SlidingWindow => {
                self.turn(now, period);
                self.level = (self.level + cost).max(0.0);
                let left = (self.since + period).saturating_sub(now).min(period) as f64 / window;
                match kind {
                    LimitKind::SlidingWindow => self.level + self.before * left,
                    _ => self.level,
                }
            }
            LimitKind::SlidingLog { .. } => {
                self.forget(now.saturating_sub(period));
                self.note(cost, now, counted.capacity);
                self.level
            }
            LimitKind::Concurrency => {
                self.level = (self.level + cost).max(0.0);
                self.level
            }
        };
        used / counted.capacity.max(1) as f64
    }

    /// Forgets what was noted up to a time.
    fn forget(&mut self, until: u64) {
        while let Some((at, cost)) = self.log.front()
            && *at <= until
        {
            self.level -= cost;
            self.log.pop_front();
        }
        if self.log.is_empty() {
            self.level = 0.0;
        }
    }

    /// Adds to a log, or takes off what came last. Of more than twice what there is at once, the oldest counts as long as what came after it.
    fn note(&mut self, cost: f64, now: u64, capacity: u64) {
        let mut cost = cost;
        while cost < 0.0
            && let Some((_, last)) = self.log.back_mut()
        {
            let back = last.min(-cost);
            (*last, cost, self.level) = (*last - back, cost + back, self.level - back);
            if *last <= 0.0 {
                self.log.pop_back();
            }
        }
        if cost <= 0.0 {
            return;
        }
        self.level += cost;
        match self.log.back_mut() {
            Some((last, sum)) if *last >= now => *sum += cost,
            _ => self.log.push_back((now, cost)),
        }
        if self.log.len() as u64 > capacity.saturating_mul(2)
            && let Some((_, oldest)) = self.log.pop_front()
            && let Some((_, next)) = self.log.front_mut()
        {
            *next += oldest;
        }
    }

    /// Moves on to the window of a time.
    fn turn(&mut self, now: u64, period: u64) {
        let begin = now - now % period;
        if begin <= self.since {
            return;
        }
        self.before = if begin - self.since == period { self.level } else { 0.0 };
        (self.since, self.level) = (begin, 0.0);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isobar_balance::Moment;
    use isobar_l7::trial::Counted;
    use isobar_limit::{Key, Quota, Rate, Table, TableSettings, Unit, Verdict};
    use isobar_plan::{LimitCounting, LimitKey, LimitKind, LimitPace, MissingKey};

    use super::Demand;

    const SECOND: u64 = 1_000_000_000;

    /// A key uses more than all there is just when its limit would refuse it: shown for the first refusal of each kind, which is
    /// before what was refused makes a difference.
    #[test]
    fn what_is_over_one_is_refused() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let delay = Duration::ZERO;
        for kind in [
            LimitKind::Gcra { delay },
            LimitKind::TokenBucket,
            LimitKind::FixedWindow,
            LimitKind::SlidingWindow,
            LimitKind::SlidingLog { units: 25 },
        ] {
            for _ in 0..200 {
                let rate = Rate::new(5 + random(20), Duration::from_secs(10));
                let pace = LimitPace::Rate {
                    rate,
                    burst: rate.units(),
                };
                let counting = LimitCounting {
                    key: [LimitKey::Method].into(),
                    missing: MissingKey::OwnBucket,
                    prefix_v4: 32,
                    prefix_v6: 64,
                    kind,
                    pace,
                    cost: 1,
                    costs: None,
                    max_keys: 10,
                    shared: None,
                };
                let algorithm = counting.algorithm(pace);
                let counted = Counted {
                    key: Key::new(1),
                    capacity: rate.units(),
                    quota: Quota {
                        units: rate.units(),
                        window: Some(rate.period()),
                        unit: Unit::Requests,
                    },
                    cost: 1,
                };
                let settings = TableSettings {
                    max_keys: 1,
                    memory: counting.recovery(),
                    relax: || {},
                    advise: |_, _| {},
                };
                let table = Table::with_logs(&settings, counting.log_units());
                let mut demand = Demand::default();
                let mut now = 1_700_000_000 * SECOND;
                for _ in 0..200 {
                    now += random(SECOND * 2);
                    let use_of_it = demand.add(kind, &counted, 1.0, now);
                    let grant = table.ask(&algorithm, counted.key, 1, Moment::new(now));
                    let verdict = grant.decision.verdict;
                    let is_clear = match kind {
                        LimitKind::SlidingLog { .. } => true,
                        _ => (use_of_it - 1.0).abs() > 0.5 / counted.capacity as f64,
                    };
                    if matches!(verdict, Verdict::Refused { .. }) {
                        assert!(
                            use_of_it > 1.0 || !is_clear,
                            "{kind:?} {rate:?}: refused at {use_of_it}"
                        );
                        break;
                    }
                    assert!(
                        use_of_it <= 1.0 || !is_clear,
                        "{kind:?} {rate:?}: passes at {use_of_it}"
                    );
                }
            }
        }
    }

    /// The demand on a log is what came in the last window, refused or not, and what its end gives back is not of it.
    #[test]
    fn a_log_counts_what_came() {
        let counted = Counted {
            key: Key::new(1),
            capacity: 2,
            quota: Quota {
                units: 2,
                window: Some(Duration::from_secs(10)),
                unit: Unit::Requests,
            },
            cost: 1,
        };
        let (kind, mut demand) = (LimitKind::SlidingLog { units: 2 }, Demand::default());
        let mut add = |second: u64, cost| demand.add(kind, &counted, cost, second * SECOND);
        assert_eq!([add(1, 1.0), add(2, 1.0), add(3, 3.0)], [0.5, 1.0, 2.5]);
        assert_eq!([add(4, -2.0), add(5, 1.0)], [1.5, 2.0]);
        // Four are told apart at most: what came at 1 s counts as long as what came at 2 s.
        assert_eq!(
            [add(6, 0.5), add(6, 0.5), add(11, 0.0), add(12, 0.0)],
            [2.25, 2.5, 2.5, 1.5]
        );
        assert_eq!([add(12, 1.0), add(40, 1.0)], [2.0, 0.5]);
    }

    #[test]
    fn those_in_flight_come_and_go() {
        let counted = Counted {
            key: Key::new(1),
            capacity: 4,
            quota: Quota {
                units: 4,
                window: None,
                unit: Unit::ConcurrentRequests,
            },
            cost: 1,
        };
        let mut demand = Demand::default();
        let mut uses = Vec::new();
        uses.extend((0..3).map(|_| demand.add(LimitKind::Concurrency, &counted, 1.0, 5)));
        demand.add(LimitKind::Concurrency, &counted, -1.0, 6);
        uses.push(demand.add(LimitKind::Concurrency, &counted, 1.0, 6));
        assert_eq!(uses, [0.25, 0.5, 0.75, 0.75]);
    }
}
