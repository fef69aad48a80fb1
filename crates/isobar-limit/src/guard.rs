//! Does a new limit refuse far more than anybody meant?
//!
//! A limit that is written wrongly turns good clients away by the thousand. While it is new its refusals are counted, and when
//! they are more than a stated share of what it was asked it is disarmed: from then on it refuses nobody, until somebody
//! looks. It does not know who was refused.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use isobar_balance::Moment;

use crate::Verdict;
use crate::rate::nanoseconds;

/// When a limit is disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardRules {
    /// It may refuse so many of 10,000 requests.
    pub most_refused: u32,
    /// Judged once there were so many within a window.
    pub min_requests: u32,
    /// How long is counted before counting begins anew.
    pub window: Duration,
    /// For how long a limit is new.
    pub watch: Duration,
}

impl GuardRules {
    /// Five in a hundred of at least a thousand within a minute, for a day.
    pub const DEFAULT: Self = Self {
        most_refused: 500,
        min_requests: 1_000,
        window: Duration::from_secs(60),
        watch: Duration::from_secs(86_400),
    };
}

/// What a new limit has refused, over all workers.
///
/// *Cost*: one atomic addition for each decision while the limit is new, one load afterwards.
#[derive(Debug)]
pub struct Guard {
    /// Requests above refusals, 32 bits each.
    counts: AtomicU64,
    /// When this window began.
    began: AtomicU64,
    /// When it was disarmed, and 1; 0: it was not.
    disarmed: AtomicU64,
    /// Since when the limit is new.
    armed: AtomicU64,
}

const ONE_REQUEST: u64 = 1 << 32;

impl Guard {
    /// A guard of a limit that is new now.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self {
            counts: AtomicU64::new(0),
            began: AtomicU64::new(now.nanoseconds()),
            disarmed: AtomicU64::new(0),
            armed: AtomicU64::new(now.nanoseconds()),
        }
    }

    /// Somebody has looked: the limit is in force, and new again. Nothing happens to one that was not disarmed.
    ///
    /// *Returns* whether it was.
    pub fn rearm(&self, now: Moment) -> bool {
        if self.disarmed().is_none() {
            return false;
        }
        self.armed.store(now.nanoseconds(), Ordering::Relaxed);
        self.began.store(now.nanoseconds(), Ordering::Relaxed);
        self.counts.store(0, Ordering::Relaxed);
        // Nobody counts before this, so that what is above is not of the time before.
        self.disarmed.swap(0, Ordering::Release) > 0
    }

    /// When the limit was disarmed; none: it is in force.
    #[must_use]
    pub fn disarmed(&self) -> Option<Moment> {
        let disarmed = self.disarmed.load(Ordering::Acquire);
        disarmed.checked_sub(1).map(Moment::new)
    }

    /// Counts a decision: *returns* true to the one caller whose decision disarms the limit.
    pub fn count(&self, rules: &GuardRules, verdict: Verdict, now: Moment) -> bool {
        let armed = Moment::new(self.armed.load(Ordering::Relaxed));
        if now.since(armed) >= nanoseconds(rules.watch) || self.disarmed().is_some() {
            return false;
        }
        self.begin_window(rules, now);
        let one = ONE_REQUEST + u64::from(!verdict.passes());
        let counts = self.counts.fetch_add(one, Ordering::Relaxed).wrapping_add(one);
        let (requests, refused) = (counts >> 32, counts % ONE_REQUEST);
        if requests < u64::from(rules.min_requests.max(1))
            || refused * 10_000 <= requests * u64::from(rules.most_refused)
        {
            return false;
        }
        let disarmed = now.nanoseconds().saturating_add(1);
        self.disarmed
            .compare_exchange(0, disarmed, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    fn begin_window(&self, rules: &GuardRules, now: Moment) {
        let began = self.began.load(Ordering::Relaxed);
        // A count of 2^31 begins anew as well, before it runs into its neighbour.
        let full = self.counts.load(Ordering::Relaxed) >> 63 == 1;
        if !full && now.since(Moment::new(began)) < nanoseconds(rules.window) {
            return;
        }
        let mine = self
            .began
            .compare_exchange(began, now.nanoseconds(), Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            self.counts.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::{Guard, GuardRules, Moment, Verdict};

    const REFUSED: Verdict = Verdict::Refused { retry_in: None };
    const RULES: GuardRules = GuardRules {
        most_refused: 1_000,
        min_requests: 100,
        window: Duration::from_secs(1),
        watch: Duration::from_secs(60),
    };

    /// How many requests it takes until the limit is disarmed when every `nth` is refused, one a millisecond.
    fn disarmed_after(nth: u64, from: u64) -> Option<u64> {
        let guard = Guard::new(Moment::new(0));
        (1..=5_000).find(|step| {
            let verdict = if step % nth == 0 { REFUSED } else { Verdict::Admitted };
            let now = Moment::new(from + step * 1_000_000);
            let disarms = guard.count(&RULES, verdict, now);
            assert_eq!(guard.disarmed(), disarms.then_some(now));
            disarms
        })
    }

    #[test]
    fn what_refuses_too_much_is_disarmed() {
        assert_eq!(disarmed_after(1, 0), Some(100));
        assert_eq!(disarmed_after(9, 0), Some(100));
        // A tenth is allowed, wherever a window begins.
        assert_eq!(disarmed_after(11, 0), None);
    }

    #[test]
    fn what_has_proved_itself_is_not() {
        assert_eq!(disarmed_after(1, 60_000_000_000), None);
    }

    #[test]
    fn who_is_armed_again_is_new_again() {
        let guard = Guard::new(Moment::new(0));
        let second = |second: u64| Moment::new(second * 1_000_000_000);
        let refused = |now| (0..500).filter(|_| guard.count(&RULES, REFUSED, now)).count();
        assert!(!guard.rearm(second(1)), "it is in force");
        assert_eq!(refused(second(2)), 1);
        // Even after the time for which it was watched at first.
        assert!(guard.rearm(second(100)));
        assert_eq!((guard.disarmed(), guard.rearm(second(100))), (None, false));
        assert!(
            (0..99).all(|_| !guard.count(&RULES, REFUSED, second(100))),
            "counting begins anew"
        );
        assert_eq!(refused(second(100)), 1);
        assert!(guard.rearm(second(200)));
        assert_eq!(refused(second(260)), 0, "it has proved itself");
    }

    #[test]
    fn it_is_disarmed_once() {
        let guard = Guard::new(Moment::new(0));
        let count = || guard.count(&RULES, REFUSED, Moment::new(5));
        assert_eq!((0..500).filter(|_| count()).count(), 1);
    }
}
