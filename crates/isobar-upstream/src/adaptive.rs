//! How many requests is a server given at once?
//!
//! As many as its settings say, or fewer where the gradient of its latency says so. The smaller of both is the limit that
//! [`ServerState`] holds, so that whoever picks sees one number.

use std::sync::atomic::{AtomicU32, Ordering};

use isobar_balance::{Finish, Gradient, GradientRules, ServerState};

/// No limit by settings.
const NONE: u32 = u32::MAX;

/// The limit of one server.
#[derive(Debug)]
pub(crate) struct Concurrency {
    configured: AtomicU32,
    /// The rules of the gradient; a `max` of 0: it is not looked at.
    min: AtomicU32,
    max: AtomicU32,
    tolerance_percent: AtomicU32,
    gradient: Gradient,
}

impl Concurrency {
    pub(crate) fn new(configured: Option<u32>, rules: Option<&GradientRules>) -> Self {
        let concurrency = Self {
            configured: AtomicU32::new(configured.unwrap_or(NONE)),
            min: AtomicU32::new(0),
            max: AtomicU32::new(0),
            tolerance_percent: AtomicU32::new(0),
            gradient: Gradient::new(),
        };
        concurrency.keep(rules);
        concurrency
    }

    /// The limit now.
    pub(crate) fn limit(&self) -> Option<u32> {
        let configured = self.configured.load(Ordering::SeqCst);
        Some(self.adaptive_limit().map_or(configured, |limit| limit.min(configured))).filter(|&limit| limit != NONE)
    }

    /// What follows from latency; none: that is not looked at.
    pub(crate) fn adaptive_limit(&self) -> Option<u32> {
        self.rules().map(|rules| self.gradient.limit(&rules))
    }

    /// Takes other settings.
    pub(crate) fn reconfigure(&self, configured: Option<u32>, rules: Option<&GradientRules>, state: &ServerState) {
        self.configured.store(configured.unwrap_or(NONE), Ordering::SeqCst);
        if self.rules().is_none() {
            self.gradient.restart();
        }
        self.keep(rules);
        self.apply(state);
    }

    /// Takes in how a request ended.
    ///
    /// *Cost*: a load where latency is not looked at.
    pub(crate) fn finished(&self, finish: &Finish, state: &ServerState) {
        if let Some(rules) = self.rules()
            && self.gradient.finished(&rules, finish)
        {
            self.apply(state);
        }
    }

    /// Whether latency is looked at.
    pub(crate) fn is_adaptive(&self) -> bool {
        self.max.load(Ordering::SeqCst) > 0
    }

    /// Two that come at once, such as a reload and the end of a request under the old settings, may store in either
    /// order: whoever stored what is no longer true sees that, and stores again.
    fn apply(&self, state: &ServerState) {
        loop {
            let limit = self.limit();
            state.set_limit(limit);
            if self.limit() == limit {
                return;
            }
        }
    }

    fn keep(&self, rules: Option<&GradientRules>) {
        self.min.store(rules.map_or(0, |rules| rules.min), Ordering::SeqCst);
        self.tolerance_percent
            .store(rules.map_or(0, |rules| rules.tolerance_percent), Ordering::SeqCst);
        self.max
            .store(rules.map_or(0, |rules| rules.max.max(1)), Ordering::SeqCst);
    }

    fn rules(&self) -> Option<GradientRules> {
        let max = self.max.load(Ordering::SeqCst);
        (max > 0).then(|| GradientRules {
            min: self.min.load(Ordering::SeqCst),
            max,
            tolerance_percent: self.tolerance_percent.load(Ordering::SeqCst),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isobar_balance::{Moment, Outcome};

    use super::*;

    const RULES: GradientRules = GradientRules {
        min: 2,
        max: 50,
        tolerance_percent: 50,
    };

    #[test]
    fn the_smaller_of_both_limits_holds() {
        let check = |configured, rules: Option<GradientRules>, expected| {
            let (concurrency, state) = (Concurrency::new(None, None), ServerState::new(None));
            concurrency.reconfigure(configured, rules.as_ref(), &state);
            assert_eq!((concurrency.limit(), state.limit()), (expected, expected));
        };
        check(None, None, None);
        check(Some(7), None, Some(7));
        check(None, Some(RULES), Some(4));
        check(Some(3), Some(RULES), Some(3));
        check(Some(7), Some(GradientRules { min: 30, ..RULES }), Some(7));
    }

    #[test]
    fn a_request_that_ends_after_the_gradient_was_switched_off_changes_nothing() {
        let (concurrency, state) = (Concurrency::new(Some(9), Some(&RULES)), ServerState::new(Some(4)));
        let finish = |ms: u64| Finish {
            now: Moment::new(ms * 1_000_000),
            latency: Duration::from_millis(10),
            in_flight: 50,
            outcome: Outcome::Success,
        };
        (0..1000).for_each(|ms| concurrency.finished(&finish(ms * 100), &state));
        assert_eq!((state.limit(), concurrency.adaptive_limit()), (Some(9), Some(50)));
        concurrency.reconfigure(None, None, &state);
        concurrency.finished(&finish(199_000), &state);
        assert_eq!((state.limit(), concurrency.adaptive_limit()), (None, None));
        concurrency.reconfigure(None, Some(&RULES), &state);
        assert_eq!(state.limit(), Some(4), "it begins anew");
    }
}
