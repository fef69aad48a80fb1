//! What came of a run?

use alloc::boxed::Box;
use alloc::vec::Vec;

use isobar_balance::Balance;

use crate::histogram::Histogram;
use crate::series::Series;

/// What came of a run. Everything but `series`, `little` and `duration` is of the time between the warm-up and the
/// last arrival, or of the requests that came in it.
#[derive(Debug, Clone)]
pub struct Report {
    /// How a server was chosen.
    pub balance: Balance,
    /// How requests ended.
    pub ends: Ends,
    /// Further attempts after a failed one.
    pub retries: u64,
    /// The time from coming to the answer, or until the client left; requests that ended with an error have none.
    pub latency: Histogram,
    /// Their mean, in nanoseconds.
    pub mean: f64,
    /// Half the width of the interval in which the mean lies with 95 % confidence, from the means of 32 batches.
    pub half_width: f64,
    /// Each server.
    pub servers: Vec<ServerReport>,
    /// Requests with a key that was asked for before.
    pub keyed: u64,
    /// Those of them that another server answered than the time before.
    pub moved: u64,
    /// How it went over time, from the start to the end.
    pub series: Series,
    /// Little's law over the whole run.
    pub little: Little,
    /// Nanoseconds from the start to the last event.
    pub duration: u64,
    /// Events that made up the run.
    pub events: u64,
    /// Requests whose fate was open at the end, because nothing would have happened to them any more.
    pub unfinished: u64,
}

/// How requests ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// With an answer.
    pub answered: u64,
    /// With an error of the last server tried.
    pub failed: u64,
    /// With a client that did not wait any longer.
    pub timed_out: u64,
    /// Without a place on a server: the queue was full, or they waited in it too long.
    pub refused: u64,
    /// Without a server that could have been tried.
    pub unavailable: u64,
}

impl Ends {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.answered + self.errors()
    }

    /// Those without an answer.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.failed + self.timed_out + self.refused + self.unavailable
    }
}

/// What came of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerReport {
    /// What it is called.
    pub name: Box<str>,
    /// Requests sent to it, retries included.
    pub sent: u64,
    /// Those that it failed.
    pub failed: u64,
    /// How often a balancer took it out for how it answered.
    pub ejections: u64,
    /// Its part of all that was sent, 0 to 1.
    pub share: f64,
    /// The part of its slots that was busy, 0 to 1.
    pub utilisation: f64,
    /// Requests present, on average.
    pub load: f64,
    /// What it can do relative to the others: slots times speed.
    pub capacity: f64,
}

/// Little's law: the mean number present is the rate at which they come times the mean time they stay.
///
/// Over a whole run that begins and ends empty it holds exactly; so a deviation is a request that was lost or counted
/// twice, which is why every run is checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Little {
    /// Requests present, on average, from the number present at each moment.
    pub present: f64,
    /// Requests that came in a second.
    pub rate: f64,
    /// How long they stayed on average, in seconds, from each one's own coming and going.
    pub time: f64,
}

impl Little {
    /// How far both sides are apart, relative to them.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        let product = self.rate * self.time;
        if product > 0.0 {
            (self.present - product).abs() / product
        } else {
            self.present
        }
    }

    /// Whether it holds: within a billionth, which is rounding.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.deviation() < 1e-9
    }
}

impl Report {
    /// The part of requests that ended without an answer, 0 to 1.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        self.ends.errors() as f64 / (self.ends.total().max(1)) as f64
    }

    /// The part of requests with a key that went elsewhere than the time before; none: there were no such requests.
    #[must_use]
    pub fn moved_rate(&self) -> Option<f64> {
        (self.keyed > 0).then(|| self.moved as f64 / self.keyed as f64)
    }

    /// How uneven the load was over the measured time: the deviation of the servers' loads, relative to their
    /// capacity, in their mean.
    #[must_use]
    pub fn imbalance(&self) -> f64 {
        let loads = || self.servers.iter().map(|server| server.load / server.capacity);
        let count = self.servers.len().max(1) as f64;
        let mean = loads().sum::<f64>() / count;
        let variance = loads().map(|load| (load - mean) * (load - mean)).sum::<f64>() / count;
        if mean > 0.0 { libm::sqrt(variance) / mean } else { 0.0 }
    }

    /// What each server can do relative to the others.
    #[must_use]
    pub fn capacities(&self) -> Vec<f64> {
        self.servers.iter().map(|server| server.capacity).collect()
    }
}
