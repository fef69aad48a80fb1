//! Which servers should get no requests for a while, by how they answered?
//!
//! Health checks ask a server how it is; this looks at what it does. Workers count into one [`Conduct`] a server. A
//! control loop calls [`OutlierDetector::evaluate`] when [`poll_timeout`](OutlierDetector::poll_timeout) says so, or at
//! once when a count says that it is [due](Attention::Due), and builds a group without the servers that are out.
//!
//! The rules and their defaults are those of Envoy and gRPC (proposal A50); the simple mode is nginx's `max_fails`
//! and `fail_timeout`. Rules by comparison need servers to compare with, and never judge few requests. A 4xx never
//! counts against a server: anybody could take it out with a wrong request.
//!
//! # For how long
//! An ejection lasts the base time multiplied by how often the server was ejected before, up to a most, and some
//! jitter; the multiplier goes down by one in each interval in which the server was in. A health check that passes
//! ends an ejection, where there is one to pass.
//!
//! # How many
//! At most a part of all servers is out, but one may always be, and never all: when everything fails, it is not the
//! servers that stand out. This module does not know of health checks and of operators; servers that get no requests
//! because of those come on top of the part, are told by [`OutlierDetector::missing`], and leave a last one that is not
//! ejected either. When the last one goes missing, those that are out come back: a server that fails some requests is
//! worth more than none. What a group does with too few servers is the group's business.

mod conduct;
mod reason;
mod rules;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Chance, Moment};

use conduct::{Rows, Totals};
use rules::Record;

pub use conduct::{Attention, Conduct, Verdict};
pub use reason::Reason;

/// Which rules there are; a rule that is none is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutlierSettings {
    /// How often servers are compared.
    pub interval: Duration,
    /// How long the first ejection lasts.
    pub base_ejection: Duration,
    /// How long one lasts at most, without jitter; never less than the first.
    pub max_ejection: Duration,
    /// How much longer an ejection may last by chance, so that servers do not come back together.
    pub jitter: Duration,
    /// The part of the servers that is out at most, in percent; one always may be, unless this is 0.
    pub max_ejected_percent: u8,
    /// Failures in a row of any kind after which a server is out; 0 counts as 1.
    pub consecutive_errors: Option<u32>,
    /// Connections in a row that could not be made, after which a server is out; 0 counts as 1.
    pub consecutive_unreachable: Option<u32>,
    /// Detection by success rate.
    pub success_rate: Option<SuccessRate>,
    /// Detection by the part of requests that failed.
    pub failure_percentage: Option<FailurePercentage>,
    /// Detection by latency, for which latencies have to be [counted](Conduct::count_latency).
    pub latency: Option<LatencyRule>,
    /// nginx's rule.
    pub max_fails: Option<MaxFails>,
}

/// How servers are taken out for how they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outliers {
    /// The rules, for how long, and how many at most.
    pub rules: OutlierSettings,
    /// Servers there must be for any of them to be ejected.
    pub min_servers: u32,
}

/// A server is out whose success rate is far below the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SuccessRate {
    /// How far, in thousandths of the standard deviation.
    pub stdev_factor_thousandths: u32,
    /// Servers with enough requests that are needed for a comparison.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
}

/// A server is out that failed most of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FailurePercentage {
    /// The part it may not reach, in percent.
    pub threshold: u8,
    /// Servers with enough requests that are needed for a judgement.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
}

/// A server is out whose answers take far longer than those of most. No other program's rule: the median is used
/// because a slow server moves it little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LatencyRule {
    /// How much of the median its mean may be, in percent.
    pub factor_percent: u32,
    /// Servers with enough requests that are needed for a comparison.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
}

/// A server is out for a time after some failures of which none came later than that time after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxFails {
    /// How many failures; 0: never.
    pub max_fails: u32,
    /// The time, for both.
    pub fail_timeout: Duration,
}

impl OutlierSettings {
    /// Envoy's and gRPC's defaults: out for 30 s to 5 minutes after 5 failures in a row or a success rate 1.9
    /// deviations below the mean; compared every 10 s; 10 % are out at most. Other rules are off.
    pub const DEFAULT: Self = Self {
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        jitter: Duration::from_secs(3),
        max_ejected_percent: 10,
        consecutive_errors: Some(5),
        consecutive_unreachable: Some(5),
        success_rate: Some(SuccessRate::DEFAULT),
        failure_percentage: None,
        latency: None,
        max_fails: None,
    };

    /// nginx's way and nothing else: every server for itself, as many out as have failed, but for the last.
    #[must_use]
    pub const fn simple(max_fails: u32, fail_timeout: Duration) -> Self {
        Self {
            jitter: Duration::ZERO,
            max_ejected_percent: 100,
            consecutive_errors: None,
            consecutive_unreachable: None,
            success_rate: None,
            max_fails: if max_fails == 0 {
                None
            } else {
                Some(MaxFails {
                    max_fails,
                    fail_timeout,
                })
            },
            ..Self::DEFAULT
        }
    }
}

impl SuccessRate {
    /// gRPC's: 1.9 deviations, among at least 5 servers with 100 requests each.
    pub const DEFAULT: Self = Self {
        stdev_factor_thousandths: 1900,
        minimum_hosts: 5,
        request_volume: 100,
    };
}

impl FailurePercentage {
    /// gRPC's: 85 %, among at least 5 servers with 50 requests each.
    pub const DEFAULT: Self = Self {
        threshold: 85,
        minimum_hosts: 5,
        request_volume: 50,
    };
}

impl LatencyRule {
    /// Three times the median, among at least 5 servers with 100 requests each.
    pub const DEFAULT: Self = Self {
        factor_percent: 300,
        minimum_hosts: 5,
        request_volume: 100,
    };
}

/// What changed for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Its position among those that are followed.
    pub server: usize,
    /// What.
    pub what: Ejection,
}

/// Whether a server is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ejection {
    /// It gets no requests until then.
    Ejected {
        /// When it comes back.
        until: Moment,
        /// Which rule it broke.
        reason: Reason,
    },
    /// It gets requests again.
    Returned,
}

/// Decides who is out. Time and chance come in; nothing is sent, and nobody is waited for.
#[derive(Debug)]
pub struct OutlierDetector {
    settings: OutlierSettings,
    servers: Vec<Watched>,
    next_sweep: Moment,
}

/// A server that is followed.
#[derive(Debug)]
struct Watched {
    conduct: Arc<Conduct>,
    /// What it had counted at the end of the last interval.
    seen: Totals,
    multiplier: u32,
    out_until: Option<Moment>,
    /// Within this interval.
    came_back: bool,
    /// It gets no requests for reasons that are not this module's.
    is_missing: bool,
}

impl OutlierDetector {
    /// A detector that follows nobody yet.
    #[must_use]
    pub const fn new(settings: OutlierSettings, now: Moment) -> Self {
        Self {
            next_sweep: now.after(settings.interval),
            servers: Vec::new(),
            settings,
        }
    }

    /// Follows these servers and no others; what is known of those that were followed before stays, by their conduct.
    ///
    /// *Shape*: positions are those in `conducts` from now on. *Cost*: quadratic in the number of servers at worst,
    /// linear where their order stays.
    pub fn follow(&mut self, conducts: impl IntoIterator<Item = Arc<Conduct>>) {
        let mut known = core::mem::take(&mut self.servers);
        for conduct in conducts {
            let same = known.iter().position(|watched| Arc::ptr_eq(&watched.conduct, &conduct));
            let watched = same.map_or_else(|| Watched::new(conduct), |position| known.remove(position));
            self.servers.push(watched);
        }
        // Should one of them be followed again, what it did before says nothing of it then.
        for gone in known {
            gone.conduct.forget_rows();
        }
    }

    /// Tells which of the servers, and no others, get no requests for other reasons than an ejection: their probes fail,
    /// or an operator has taken them out. They are not ejected, and the last of the others is not either.
    pub fn missing(&mut self, servers: &[usize]) {
        for watched in &mut self.servers {
            watched.is_missing = false;
        }
        for server in servers {
            if let Some(watched) = self.servers.get_mut(*server) {
                watched.is_missing = true;
            }
        }
    }

    /// Takes other settings; ejections that were made stay as they are.
    pub fn reconfigure(&mut self, settings: OutlierSettings, now: Moment) {
        self.settings = settings;
        self.next_sweep = now.after(settings.interval);
    }

    /// Whether a server is out.
    #[must_use]
    pub fn is_ejected(&self, server: usize) -> bool {
        self.servers
            .get(server)
            .is_some_and(|watched| watched.out_until.is_some())
    }

    /// When [`evaluate`](Self::evaluate) has something to do; none: no servers are followed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let back = self.servers.iter().filter_map(|watched| watched.out_until).min();
        (!self.servers.is_empty()).then(|| back.map_or(self.next_sweep, |back| back.min(self.next_sweep)))
    }

    /// Looks at the counters and says what follows: first who is back, then who is out.
    pub fn evaluate(&mut self, now: Moment, chance: &mut Chance) -> Vec<Change> {
        let mut changes = Vec::new();
        for server in 0..self.servers.len() {
            let is_over = |watched: &Watched| watched.out_until.is_some_and(|until| until <= now);
            if self.servers.get(server).is_some_and(is_over) {
                changes.extend(self.take_back(server));
            }
        }
        if self.serving() == 0 {
            let is_present = |(_, watched): &(usize, &Watched)| !watched.is_missing;
            let present: Vec<usize> = self
                .servers
                .iter()
                .enumerate()
                .filter(is_present)
                .map(|(server, _)| server)
                .collect();
            changes.extend(present.into_iter().filter_map(|server| self.take_back(server)));
        }
        let mut suspects = self.suspects_by_rows();
        if self.next_sweep <= now {
            suspects.extend(self.sweep());
            self.next_sweep = now.after(self.settings.interval);
        }
        for (server, reason) in suspects {
            changes.extend(self.eject(server, reason, now, chance));
        }
        changes
    }

    /// A health check of this server passed: if it is out, it is back.
    pub fn probe_passed(&mut self, server: usize) -> Option<Change> {
        self.take_back(server)
    }

    /// Those with enough failures in a row.
    fn suspects_by_rows(&self) -> Vec<(usize, Reason)> {
        let reason = |rows: Rows| {
            let settings = &self.settings;
            let reached = |limit: Option<u32>, row: u32| limit.is_some_and(|limit| row >= limit.max(1));
            let max_fails = settings.max_fails.map(|simple| simple.max_fails);
            if reached(settings.consecutive_unreachable, rows.unreachable) {
                Some(Reason::ConsecutiveUnreachable(rows.unreachable))
            } else if reached(settings.consecutive_errors, rows.errors) {
                Some(Reason::ConsecutiveErrors(rows.errors))
            } else if reached(max_fails.filter(|&limit| limit > 0), rows.fails) {
                Some(Reason::MaxFails(rows.fails))
            } else {
                None
            }
        };
        let suspect = |(server, watched): (usize, &Watched)| Some((server, reason(watched.conduct.take_rows())?));
        self.servers.iter().enumerate().filter_map(suspect).collect()
    }

    /// Compares the servers by what they did since the last time.
    fn sweep(&mut self) -> Vec<(usize, Reason)> {
        let mut records = Vec::new();
        for (server, watched) in self.servers.iter_mut().enumerate() {
            let totals = watched.conduct.totals();
            let interval = totals.since(watched.seen);
            watched.seen = totals;
            if watched.out_until.is_none() {
                let whole_interval = !core::mem::take(&mut watched.came_back);
                watched.multiplier = watched.multiplier.saturating_sub(u32::from(whole_interval));
                records.push(Record {
                    server,
                    totals: interval,
                });
            }
        }
        let settings = &self.settings;
        let because = |reason| move |server| (server, reason);
        let rates = settings
            .success_rate
            .map(|rule| rules::by_success_rate(&records, &rule));
        let failures = settings
            .failure_percentage
            .map(|rule| rules::by_failure_percentage(&records, &rule));
        let latencies = settings.latency.map(|rule| rules::by_latency(&records, &rule));
        let rates = rates.into_iter().flatten().map(because(Reason::SuccessRate));
        let failures = failures.into_iter().flatten().map(because(Reason::FailurePercentage));
        let latencies = latencies.into_iter().flatten().map(because(Reason::Latency));
        rates.chain(failures).chain(latencies).collect()
    }

    fn eject(&mut self, server: usize, reason: Reason, now: Moment, chance: &mut Chance) -> Option<Change> {
        let settings = self.settings;
        let out = self
            .servers
            .iter()
            .filter(|watched| watched.out_until.is_some())
            .count();
        if out >= self.most_out() || self.serving() <= 1 {
            return None;
        }
        let watched = self.servers.get_mut(server)?;
        if watched.out_until.is_some() || watched.is_missing {
            return None;
        }
        watched.multiplier = watched.multiplier.saturating_add(1);
        let time = match (reason, settings.max_fails) {
            (Reason::MaxFails(_), Some(simple)) => simple.fail_timeout,
            _ => {
                let longest = settings.max_ejection.max(settings.base_ejection);
                settings.base_ejection.saturating_mul(watched.multiplier).min(longest)
            }
        };
        let jitter = u64::try_from(settings.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(chance.below(jitter));
        let until = now.after(time.saturating_add(jitter));
        watched.out_until = Some(until);
        let what = Ejection::Ejected { until, reason };
        Some(Change { server, what })
    }

    /// Servers that may be out: the part, one at least, and all but one at most.
    fn most_out(&self) -> usize {
        let count = self.servers.len();
        let part = count * usize::from(self.settings.max_ejected_percent.min(100)) / 100;
        let least = usize::from(self.settings.max_ejected_percent > 0);
        part.max(least).min(count.saturating_sub(1))
    }

    /// Servers that get requests.
    fn serving(&self) -> usize {
        let serves = |watched: &&Watched| watched.out_until.is_none() && !watched.is_missing;
        self.servers.iter().filter(serves).count()
    }

    fn take_back(&mut self, server: usize) -> Option<Change> {
        let watched = self.servers.get_mut(server)?;
        watched.out_until.take()?;
        // What was under way when it was ejected says nothing of it now.
        watched.conduct.forget_rows();
        watched.seen = watched.conduct.totals();
        watched.came_back = true;
        let what = Ejection::Returned;
        Some(Change { server, what })
    }
}

impl Watched {
    fn new(conduct: Arc<Conduct>) -> Self {
        Self {
            seen: conduct.totals(),
            conduct,
            multiplier: 0,
            out_until: None,
            came_back: false,
            is_missing: false,
        }
    }
}

#[cfg(test)]
mod tests;
