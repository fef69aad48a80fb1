//! What is to be tried out?
//!
//! Plain values, all times in nanoseconds of virtual time, all servers by their position. Where they come from is the
//! caller's business.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use isobar_balance::{Allowance, Balance, GradientRules, Outliers};

use crate::service::{Service, Shape};

/// Everything that decides how a run goes: two runs of one scenario are the same, event by event.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// How a server is chosen.
    pub balance: Balance,
    /// What a server may have in flight, in hundredths of its share, for algorithms by key; none: no bound.
    pub bound_percent: Option<u32>,
    /// Who chooses.
    pub balancers: Balancers,
    /// Who is chosen from; a server's position is its slot.
    pub servers: Vec<Server>,
    /// When requests come.
    pub arrivals: Arrivals,
    /// How much work they are.
    pub service: Service,
    /// What they are told apart by; none: nothing.
    pub keys: Option<Keys>,
    /// How long a client waits; none: for ever.
    pub timeout: Option<u64>,
    /// How the limit of a server follows from its latency, below the one it has; none: it does not.
    pub adaptive: Option<GradientRules>,
    /// What follows when a server fails a request.
    pub retry: Retry,
    /// Where requests wait while every server is at its limit.
    pub queue: Queue,
    /// How balancers take servers out for how they answer; none: they do not.
    pub outliers: Option<Outliers>,
    /// What servers say of themselves.
    pub reports: Reports,
    /// How long a probe is under way, there and back.
    pub probe_time: u64,
    /// What happens to servers on the way, in any order.
    pub changes: Vec<Change>,
    /// How many requests come.
    pub requests: u64,
    /// How many of them come before anything is measured.
    pub warm_up: u64,
    /// What all chance follows from.
    pub seed: u64,
}

/// The balancers that requests come in at, each as likely as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balancers {
    /// How many there are; at least 1.
    pub count: u32,
    /// What they know of each other's requests.
    pub counters: Counters,
}

/// What several balancers know of each other's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counters {
    /// Everything, as the workers of one instance do: one group, one set of counters, one queue.
    Shared,
    /// Nothing, as independent instances do.
    Own,
}

/// One server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// What reports call it.
    pub name: Box<str>,
    /// Its share relative to the others.
    pub weight: u32,
    /// How fast it works; 1 does a nanosecond's work in a nanosecond.
    pub speed: f64,
    /// How many requests it works at at full speed.
    pub slots: u32,
    /// What happens to further ones.
    pub discipline: Discipline,
    /// How many requests a balancer gives it at once; none: any number.
    pub limit: Option<u32>,
    /// What else runs on its machine.
    pub antagonist: Option<Antagonist>,
    /// How it slows down with age.
    pub wear: Option<Wear>,
    /// Whether balancers know it from the beginning.
    pub present: bool,
}

/// What happens when a server has more requests than slots?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// They wait, first come, first served.
    Fifo,
    /// All are worked at, each the slower for it.
    Sharing,
}

/// Other load on a server's machine, which comes and goes: exponentially long times of either kind.
///
/// *Source*: the antagonists of Wydrowski et al., "Load is not what you should balance" (NSDI 2024), as two states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Antagonist {
    /// What is left of the server's speed while it is there: above 0, up to 1.
    pub speed: f64,
    /// How long it stays, on average.
    pub busy: f64,
    /// How long it stays away, on average.
    pub quiet: f64,
}

impl Antagonist {
    /// The part of the time that it is there.
    #[must_use]
    pub fn presence(&self) -> f64 {
        self.busy / (self.busy + self.quiet)
    }
}

/// A server that slows down with age, until it comes back after it was away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wear {
    /// What it loses of its speed in a second.
    pub per_second: f64,
    /// What is left in the end: above 0, up to 1.
    pub least: f64,
}

/// When requests come.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrivals {
    /// Independently of each other.
    Poisson {
        /// Requests in a second.
        rate: f64,
    },
    /// Independently of each other for a time, then not at all for a time.
    Bursts {
        /// Requests in a second, on average over both.
        rate: f64,
        /// How long they come.
        on: f64,
        /// How long they do not.
        off: f64,
    },
    /// Several at once.
    Batches {
        /// Requests in a second.
        rate: f64,
        /// How many come at once.
        size: u32,
    },
    /// When this says; sorted by time.
    Trace(Arc<[Traced]>),
}

/// One request of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traced {
    /// When it comes.
    pub at: u64,
    /// What it is told apart by, counted from 0; none: nothing.
    pub key: Option<u32>,
    /// How much work it is, in nanoseconds; none: as the scenario's service says.
    pub work: Option<f64>,
}

/// What requests are told apart by: the `k`-th key is asked for in proportion to `1 / k^skew`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keys {
    /// How many there are.
    pub count: u32,
    /// How unequal: 0 for all alike, about 1 for what people ask for (Zipf's law).
    pub skew: f64,
}

/// What follows when a server fails a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many further servers are tried.
    pub attempts: u32,
    /// How many retries there may be, as a part of the requests of a balancer; none: no budget.
    pub budget: Option<Allowance>,
}

/// Where requests wait while every server is at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// How many wait at most, per set of counters.
    pub max: u32,
    /// How long each waits at most; none: for ever.
    pub timeout: Option<u64>,
}

/// What servers say of themselves, for algorithms that go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// Nothing.
    None,
    /// In each answer: how many requests they have, from whomever these came, and how busy they are.
    InAnswers,
    /// The same in each answer and when probed.
    WhenProbed,
}

/// Something that happens to a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// When.
    pub at: u64,
    /// To which, by position.
    pub server: usize,
    /// What.
    pub what: What,
}

/// What can happen to a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// It works at this multiple of its speed from now on: 0 is a stall, 1 is as before.
    Speed(f64),
    /// It answers with errors from now on; none: no longer.
    Failing(Option<Failing>),
    /// It is gone: requests it has are lost, and new ones are refused.
    Away,
    /// It is there again.
    Back,
    /// Balancers take it in.
    Join,
    /// Balancers are told to forget it; it finishes what it has.
    Leave,
    /// Balancers find out that it does not answer, as by its probes, and give it nothing new.
    Doubted,
    /// Balancers find out that it answers again.
    Trusted,
    /// Balancers know it by this weight.
    Weight(u32),
}

/// A server that answers with errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failing {
    /// The part of requests that fail, 0 to 1.
    pub share: f64,
    /// The part of the work that a failure takes: below 1, failures are faster than answers.
    pub work: f64,
}

/// Why a scenario cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    /// There are no servers.
    NoServers,
    /// No server has a weight, so none would get a request.
    NoWeight,
    /// There are no balancers.
    NoBalancers,
    /// There are no requests, or none after the warm-up.
    NoRequests,
    /// A rate, time, speed or share is zero, negative, not a number, or past what it is a share of.
    Number(&'static str),
    /// A change names a server that is not there.
    NoSuchServer,
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServers => f.write_str("there are no servers"),
            Self::NoWeight => f.write_str("every server has the weight 0: none would get a request"),
            Self::NoBalancers => f.write_str("there are no balancers"),
            Self::NoRequests => f.write_str("no request would be measured"),
            Self::Number(what) => write!(f, "the {what} cannot be this"),
            Self::NoSuchServer => f.write_str("a change names a server that is not there"),
        }
    }
}

impl core::error::Error for Nonsense {}

impl Server {
    /// A server with one slot, of speed 1 and weight 1, without a limit, to which nothing happens.
    #[must_use]
    pub fn plain(name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            speed: 1.0,
            slots: 1,
            discipline: Discipline::Fifo,
            limit: None,
            antagonist: None,
            wear: None,
            present: true,
        }
    }
}

impl Scenario {
    /// Plain servers, called `s0` and so on, and independent requests with exponential work: what others are variations
    /// of. One balancer with [`Balance::LeastConnections`]; nothing happens on the way, and nothing is tried again.
    ///
    /// *Units*: `mean` is the mean work in nanoseconds, `load` what is asked for as a part of what the servers can do.
    #[must_use]
    pub fn plain(servers: u32, load: f64, mean: f64) -> Self {
        Self {
            balance: Balance::LeastConnections,
            bound_percent: None,
            balancers: Balancers {
                count: 1,
                counters: Counters::Shared,
            },
            servers: (0..servers).map(|number| Server::plain(format!("s{number}"))).collect(),
            arrivals: Arrivals::Poisson {
                rate: load * f64::from(servers) * 1e9 / mean,
            },
            service: Service {
                mean,
                shape: Shape::Exponential,
            },
            keys: None,
            timeout: None,
            adaptive: None,
            retry: Retry {
                attempts: 0,
                budget: None,
            },
            queue: Queue {
                max: u32::MAX,
                timeout: None,
            },
            outliers: None,
            reports: Reports::WhenProbed,
            probe_time: 1_000_000,
            changes: Vec::new(),
            requests: 100_000,
            warm_up: 10_000,
            seed: 1,
        }
    }

    /// The work all servers together do in a second, in seconds of work at speed 1, antagonists taken off.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        let one = |server: &Server| {
            let lost = server
                .antagonist
                .map_or(0.0, |antagonist| antagonist.presence() * (1.0 - antagonist.speed));
            server.speed * f64::from(server.slots) * (1.0 - lost)
        };
        self.servers.iter().filter(|server| server.present).map(one).sum()
    }

    /// Requests in a second, on average.
    #[must_use]
    pub fn rate(&self) -> f64 {
        match &self.arrivals {
            Arrivals::Poisson { rate } | Arrivals::Bursts { rate, .. } | Arrivals::Batches { rate, .. } => *rate,
            Arrivals::Trace(trace) => {
                let span = trace.last().map_or(0, |last| last.at);
                trace.len() as f64 * 1e9 / (span.max(1) as f64)
            }
        }
    }

    /// What requests ask for, as a part of what the servers can do.
    #[must_use]
    pub fn load(&self) -> f64 {
        self.rate() * self.mean_work() / 1e9 / self.capacity()
    }

    /// The mean work of a request, in nanoseconds.
    fn mean_work(&self) -> f64 {
        match &self.arrivals {
            Arrivals::Trace(trace) if !trace.is_empty() => {
                let works = trace.iter().map(|traced| traced.work.unwrap_or(self.service.mean));
                works.sum::<f64>() / trace.len() as f64
            }
            _ => self.service.mean,
        }
    }

    /// Whether it can be run.
    ///
    /// *Errors*: the first thing that makes no sense; the writer's fault.
    pub fn check(&self) -> Result<(), Nonsense> {
        if self.servers.is_empty() {
            return Err(Nonsense::NoServers);
        }
        if self.servers.iter().all(|server| server.weight == 0) {
            return Err(Nonsense::NoWeight);
        }
        if self.balancers.count == 0 {
            return Err(Nonsense::NoBalancers);
        }
        if self.requests <= self.warm_up {
            return Err(Nonsense::NoRequests);
        }
        if self.changes.iter().any(|change| change.server >= self.servers.len()) {
            return Err(Nonsense::NoSuchServer);
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), Nonsense> {
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let share = |number: f64| (0.0..=1.0).contains(&number);
        let arrivals = match &self.arrivals {
            Arrivals::Poisson { rate } => positive(*rate),
            Arrivals::Bursts { rate, on, off } => positive(*rate) && positive(*on) && *off >= 0.0 && off.is_finite(),
            Arrivals::Batches { rate, size } => positive(*rate) && *size > 0,
            Arrivals::Trace(trace) => !trace.is_empty() && trace.is_sorted_by_key(|traced| traced.at),
        };
        let server = |server: &Server| {
            let antagonist = server
                .antagonist
                .is_none_or(|it| positive(it.speed) && share(it.speed) && positive(it.busy) && positive(it.quiet));
            let wear = server
                .wear
                .is_none_or(|it| positive(it.per_second) && positive(it.least) && share(it.least));
            positive(server.speed) && server.slots > 0 && antagonist && wear
        };
        let keys = self
            .keys
            .is_none_or(|keys| keys.count > 0 && keys.skew >= 0.0 && keys.skew.is_finite());
        let outliers = self.outliers.is_none_or(|it| !it.rules.interval.is_zero());
        let checks = [
            (arrivals, "arrivals"),
            (
                positive(self.service.mean) && self.service.squared_variation() >= -1e-9,
                "service",
            ),
            (self.servers.iter().all(server), "servers"),
            (keys, "keys"),
            (outliers, "interval of the outlier detection"),
        ];
        match checks.iter().find(|(right, _)| !right) {
            Some((_, what)) => Err(Nonsense::Number(what)),
            None => Ok(()),
        }
    }
}
