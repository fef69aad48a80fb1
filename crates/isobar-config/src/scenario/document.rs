//! What may be written in a scenario?

use isobar_balance::Balance;

use super::{Decimal, Fine, Offset};
use crate::document::{AdaptiveConcurrency, Compared, Label, OrNone, OutlierDetection, RetryBudget, Whole};
use crate::setting::Setting;
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::Span;

settings! {
    /// Servers, requests and mishaps that are simulated in virtual time.
    pub struct ScenarioDocument called "a scenario" {
        /// The servers; there must be at least one group.
        servers: Vec<ServerGroup>,
        /// When requests come.
        arrivals: Arrivals,
        /// How much work a request is for a server.
        service: Service,
        /// How a server is chosen.
        balance: Balance = Balance::LeastConnections,
        /// How many servers `least_connections` and `power_of_two` compare: `all`, or so many drawn by chance. Without
        /// it, `all` for `least_connections` and 2 for `power_of_two`.
        choices: Option<Compared>,
        /// What a server may have in flight, as a multiple of its share, under an algorithm by key; further requests
        /// go to the next server in their key's order. `none`: no bound.
        bounded_load: OrNone<Decimal<1_000, 1_000_000>>,
        /// Who chooses: the workers of one instance, or independent instances.
        balancers: Balancers,
        /// What requests are told apart by, for algorithms that keep those of one key together; `none`: nothing.
        keys: OrNone<Keys>,
        /// How long a client waits before it leaves; the server goes on with the request. `none`: for ever.
        timeout: OrNone<Span>,
        /// Finds from latency how many requests at once each server can work on, with the rules of an upstream; `none`: only
        /// `max_connections` holds.
        adaptive_concurrency: OrNone<AdaptiveConcurrency>,
        /// What happens when a server fails a request.
        retry: Retries,
        /// Where requests wait while every server is at its limit.
        queue: QueueLimits,
        /// How each balancer takes servers out for how they answer, with the rules of an upstream; `none`: it does not. Where
        /// a configuration that says nothing has the defaults, a scenario has `none`; they are `{}` here.
        outlier_detection: OrNone<OutlierDetection>,
        /// What servers say of themselves, for algorithms that go by it.
        reports: Reports = Reports::WhenProbed,
        /// How long a probe is under way, there and back.
        probe_time: Fine = Fine::MILLISECOND,
        /// What happens to servers on the way.
        events: Vec<Event>,
        /// How many requests come.
        requests: Whole<100, 1_000_000_000> = Whole::of(100_000),
        /// The part of them that comes before anything is measured.
        warm_up: Decimal<0, 900> = Decimal::thousandths(100),
        /// What all chance follows from: the same seed replays a run exactly.
        seed: Whole<0, 4_294_967_295> = Whole::of(1),
    }
}

settings! {
    /// Servers that are alike. One is called by the name of its group, several by that and their number: `web-1`,
    /// `web-2`.
    pub struct ServerGroup called "a group of servers" {
        /// The name of the group.
        name: Label,
        /// How many there are.
        count: Whole<1, 10_000> = Whole::of(1),
        /// The share of each relative to the others.
        weight: Whole<0, 65_535> = Whole::of(1),
        /// How fast each works: 2 does the work of 10ms in 5ms.
        speed: Decimal<1, 1_000_000> = Decimal::thousandths(1_000),
        /// How many requests each works at at full speed: its cores, or its threads.
        slots: Whole<1, 10_000> = Whole::of(1),
        /// What happens when a server has more requests than slots.
        discipline: Discipline = Discipline::Fifo,
        /// Requests that a balancer gives each at once; `none`: no limit.
        max_connections: OrNone<Whole<1, 10_000_000>>,
        /// What else runs on each one's machine, and comes and goes by chance; `none`: nothing.
        antagonist: OrNone<AntagonistLoad>,
        /// How each slows down with age, until it comes back after it was away; `none`: it does not.
        wear: OrNone<Wear>,
    }
}

/// What happens when a server has more requests than slots?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// They wait.
    Fifo,
    /// All are worked at.
    Sharing,
}

impl Choice for Discipline {
    const EXPECTED: &'static str = "a discipline";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Fifo, "fifo", "further requests wait, first come, first served"),
        (Self::Sharing, "sharing", "all are worked at, each the slower for it"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        matches!(word, "ps" | "processor_sharing" | "shared").then_some("did you mean `sharing`?")
    }
}

settings! {
    /// Other load on a server's machine, for exponentially long times.
    pub struct AntagonistLoad called "an antagonist" {
        /// What is left of the server's speed while it is there.
        speed: Decimal<1, 1_000>,
        /// How long it stays, on average.
        busy: Fine,
        /// How long it stays away, on average.
        quiet: Fine,
    }
}

settings! {
    /// How a server slows down with age.
    pub struct Wear called "the wear of a server" {
        /// What it loses of its speed in a minute.
        per_minute: Decimal<1, 60_000>,
        /// What is left of its speed in the end.
        least: Decimal<1, 1_000> = Decimal::thousandths(100),
    }
}

settings! {
    /// When requests come: so many a second, or as many as make a load.
    pub struct Arrivals called "the arrivals" {
        /// How they come.
        r#type: ArrivalKind = ArrivalKind::Poisson,
        /// Requests in a second, as a part of what the servers can do in that time, antagonists taken off; above 1
        /// is more than they can do.
        load: Option<Decimal<1, 100_000>>,
        /// Requests in a second.
        rate: Option<Decimal<1, 100_000_000_000>>,
        /// How long they come, for `bursts`.
        on: Option<Fine>,
        /// How long they do not come, for `bursts`.
        off: Option<Fine>,
        /// How many come at once, for `batches`.
        size: Option<Whole<1, 1_000_000>>,
        /// Each request, for `trace`, in the order of time.
        requests: Vec<TracedRequest>,
    }
}

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrivalKind {
    /// Independently.
    Poisson,
    /// With pauses.
    Bursts,
    /// Several at once.
    Batches,
    /// As written.
    Trace,
}

impl Choice for ArrivalKind {
    const EXPECTED: &'static str = "a way of arriving";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Poisson, "poisson", "independently of each other"),
        (
            Self::Bursts,
            "bursts",
            "independently for the time `on`, then not for the time `off`; `load` and `rate` are over both",
        ),
        (Self::Batches, "batches", "`size` at once"),
        (Self::Trace, "trace", "when `requests` says"),
    ];
}

settings! {
    /// One request of a trace.
    pub struct TracedRequest called "a request" short at {
        /// When it comes.
        at: Offset,
        /// What it is told apart by; without it, by what the scenario's `keys` say.
        key: Option<Label>,
        /// How much work it is; without it, what `service` says.
        work: Option<Fine>,
    }
}

settings! {
    /// How much work a request is, as the time that a server of speed 1 takes for it alone.
    pub struct Service called "the service time" {
        /// How single requests lie around the mean.
        r#type: ServiceKind = ServiceKind::Exponential,
        /// The mean.
        mean: Fine,
        /// The deviation in means, for `lognormal` and `truncated_normal`; 1 where nothing else is written.
        variation: Option<Decimal<10, 20_000>>,
        /// The part of requests that is large, for `bimodal`; 0.1 where nothing else is written.
        large: Option<Decimal<0, 1_000>>,
        /// How many small requests a large one is worth, for `bimodal`; 10 where nothing else is written.
        factor: Option<Decimal<1_000, 10_000_000>>,
    }
}

/// How single requests lie around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Exponentially.
    Exponential,
    /// Not at all.
    Deterministic,
    /// With a long tail.
    Lognormal,
    /// In two sizes.
    Bimodal,
    /// Normally, above zero.
    TruncatedNormal,
}

impl Choice for ServiceKind {
    const EXPECTED: &'static str = "a distribution";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Exponential, "exponential", "the classic of queueing theory"),
        (Self::Deterministic, "deterministic", "every request is the mean"),
        (Self::Lognormal, "lognormal", "with a long tail, by `variation`"),
        (
            Self::Bimodal,
            "bimodal",
            "most are small, a part `large` is `factor` times as large",
        ),
        (
            Self::TruncatedNormal,
            "truncated_normal",
            "normally with `variation`, cut off at zero and scaled back to the mean",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "constant" | "fixed" => Some("did you mean `deterministic`?"),
            "normal" | "gaussian" => Some("did you mean `truncated_normal`? A time cannot be negative"),
            _ => None,
        }
    }
}

settings! {
    /// Who chooses. Each request comes in at one of them by chance.
    pub struct Balancers called "the balancers" {
        /// How many there are.
        count: Whole<1, 10_000> = Whole::of(1),
        /// What they know of each other's requests.
        counters: Counters = Counters::Shared,
    }
}

/// What several balancers know of each other's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counters {
    /// Everything.
    Shared,
    /// Nothing.
    Own,
}

impl Choice for Counters {
    const EXPECTED: &'static str = "`shared` or `own`";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Shared, "shared", "everything, as the workers of one instance do"),
        (Self::Own, "own", "nothing, as independent instances do"),
    ];
}

settings! {
    /// What requests are told apart by.
    pub struct Keys called "the keys" {
        /// How many there are.
        count: Whole<1, 1_000_000>,
        /// How unequal: the k-th is asked for in proportion to 1/k to this power. 0: all alike.
        skew: Decimal<0, 5_000> = Decimal::thousandths(1_000),
    }
}

settings! {
    /// What happens when a server fails a request.
    pub struct Retries called "the retries" {
        /// How many further servers are tried.
        attempts: Whole<0, 10> = Whole::of(0),
        /// How many retries there may be, as a part of the requests; `none`: no bound.
        budget: OrNone<RetryBudget> = OrNone(Some(RetryBudget::placeholder())),
    }
}

settings! {
    /// Where requests wait while every server is at its limit.
    pub struct QueueLimits called "the queue" {
        /// How many wait at most, per set of counters; further ones end with an error.
        max: Whole<0, 10_000_000> = Whole::of(1024),
        /// How long each waits at most before it ends with an error; `none`: for ever.
        timeout: OrNone<Span>,
    }
}

/// What servers say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// In answers and when probed.
    WhenProbed,
    /// In answers.
    InAnswers,
    /// Nothing.
    Nothing,
}

impl Choice for Reports {
    const EXPECTED: &'static str = "what servers report";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::WhenProbed,
            "when_probed",
            "their requests in flight and their load, in each answer and when probed",
        ),
        (Self::InAnswers, "in_answers", "the same in each answer only"),
        (
            Self::Nothing,
            "nothing",
            "nothing, as servers do that know of no load balancer",
        ),
    ];
}

settings! {
    /// Something that happens to servers.
    pub struct Event called "an event" {
        /// When.
        at: Offset,
        /// To which, by their names or the names of their groups.
        servers: Vec<Label>,
        /// What.
        r#do: Action,
        /// How long; without it, until the end.
        r#for: Option<Fine>,
        /// How long balancers take to notice that it begins, and that it is over; `none`: they never do. Without it,
        /// 3s for `stall` and `away`, and `none` for `slow` and `fail`, which a simple probe does not see.
        detected_after: Option<OrNone<Offset>>,
        /// What is left of the speed, for `slow`.
        speed: Option<Decimal<1, 1_000_000>>,
        /// The part of requests that fail, for `fail`; 1 where nothing else is written.
        share: Option<Decimal<0, 1_000>>,
        /// What a failure takes of the time an answer would, for `fail`; 0.01 where nothing else is written.
        work: Option<Decimal<0, 100_000>>,
        /// The other weight, for `weight`.
        weight: Option<Whole<0, 65_535>>,
    }
}

/// What can happen to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It works at another speed.
    Slow,
    /// It does not work.
    Stall,
    /// It answers with errors.
    Fail,
    /// It is gone.
    Away,
    /// It is new.
    Join,
    /// It is taken out.
    Leave,
    /// It has another weight.
    Weight,
}

impl Choice for Action {
    const EXPECTED: &'static str = "something that can happen";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Slow, "slow", "it works at a part `speed` of its speed"),
        (Self::Stall, "stall", "it takes requests and does nothing"),
        (Self::Fail, "fail", "it answers with errors, and quickly"),
        (Self::Away, "away", "it loses what it has and refuses what comes"),
        (Self::Join, "join", "it is new: until then balancers do not know it"),
        (
            Self::Leave,
            "leave",
            "balancers give it nothing new, and it finishes what it has",
        ),
        (Self::Weight, "weight", "it has another `weight`"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "crash" | "down" | "die" => Some("did you mean `away`?"),
            "hang" | "freeze" => Some("did you mean `stall`?"),
            "error" | "fail_fast" | "errors" => Some("did you mean `fail`?"),
            "drain" | "remove" => Some("did you mean `leave`?"),
            "add" => Some("did you mean `join`?"),
            _ => None,
        }
    }
}
