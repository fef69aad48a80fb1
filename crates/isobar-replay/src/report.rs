//! What came of all requests?

use std::time::Duration;

use isobar_observe::LimitOutcome;
use isobar_plan::{Limit, Name};

use crate::keys::{KeyReport, Peaks};
use crate::measure::Measured;
use crate::origin::Care;
use crate::tally::Hits;
use crate::timeline::Timeline;

/// What came of all requests. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Requests that were replayed.
    pub requests: u64,
    /// When the first and the last of them came; none: there were none.
    pub between: Option<(u64, u64)>,
    /// Requests that a limit refused.
    pub refused: u64,
    /// Further ones that one would have, were it enforced.
    pub shadow_refused: u64,
    /// Requests that had to wait.
    pub delayed: u64,
    /// Lines of requests that were never understood, and which no route or limit sees.
    pub not_understood: u64,
    /// Requests whose path is none that is served.
    pub bad_paths: u64,
    /// Requests that no route takes.
    pub no_route: u64,
    /// Requests of listeners that the configuration does not have, taken to be of another one.
    pub other_listener: u64,
    /// Whether the host was known, of a log that has routes by host.
    pub host_unknown: u64,
    /// Requests to be looked after, in the order of [`Care::ALL`].
    pub cared_for: [Hits; Care::ALL.len()],
    /// All requests over time.
    pub timeline: Timeline,
    /// Every route.
    pub routes: Vec<RouteReport>,
    /// Requests that another route takes than the log says, the most first.
    pub moved: Vec<Moved>,
    /// Every limit, in the order of the configuration.
    pub limits: Vec<LimitReport>,
    /// How much keys ask, where that was to be found out.
    pub measured: Vec<Measured>,
    /// Limits each of which was asked as if it were the only one.
    pub alone: Vec<LimitReport>,
}

/// What came of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteReport {
    /// Its listener.
    pub listener: Name,
    /// Its name.
    pub route: Name,
    /// Where its requests go.
    pub upstream: Name,
    /// How many it takes.
    pub requests: u64,
    /// How many of them limits refused.
    pub refused: u64,
}

/// Requests that another route takes than took them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The route of the log.
    pub from: Box<str>,
    /// The route of the configuration; empty: none.
    pub to: Box<str>,
    /// How many.
    pub requests: u64,
}

/// What came of a limit.
#[derive(Debug, Clone)]
pub struct LimitReport {
    /// The limit.
    pub limit: Limit,
    /// By outcome.
    pub(crate) outcomes: [u64; LimitOutcome::ALL.len()],
    /// Requests that another limit refused before this one was asked.
    pub not_asked: u64,
    /// Requests of which the log does not say what the limit goes by.
    pub unjudged: u64,
    /// What it does not say of them.
    pub lacking: Vec<String>,
    /// Whom it concerned when.
    pub timeline: Timeline,
    /// The keys that asked most.
    pub busiest: Vec<KeyReport>,
    /// The keys that were refused most.
    pub most_refused: Vec<KeyReport>,
    /// How near all keys came to it.
    pub peaks: Peaks,
    /// Requests to be looked after, in the order of [`Care::ALL`].
    pub hits: [Hits; Care::ALL.len()],
    /// When the first and the last was refused.
    pub refused_between: Option<(u64, u64)>,
    /// The longest that one had to wait.
    pub longest_delay: Duration,
    /// When it disarmed itself.
    pub disarmed: Option<u64>,
}

impl LimitReport {
    /// Requests with an outcome.
    #[must_use]
    pub fn of(&self, outcome: LimitOutcome) -> u64 {
        self.outcomes.get(outcome as usize).copied().unwrap_or(0)
    }

    /// Requests that came to it and could be judged.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.outcomes.iter().sum::<u64>() + self.not_asked
    }

    /// Those that it refused, or would have.
    #[must_use]
    pub fn over(&self) -> u64 {
        let over = [LimitOutcome::Refused, LimitOutcome::Denied, LimitOutcome::ShadowRefused];
        over.map(|outcome| self.of(outcome)).iter().sum()
    }
}
