//! What may be written about having too much to do?

use isobar_plan::{Priority, QueueOrder};

use super::{OrNone, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::{Percent, Span};

settings! {
    /// What all servers of an upstream are given at once at most, over all workers. Requests of `normal` priority may use
    /// 95 % of it and those of `low` priority 80 %.
    pub struct UpstreamLimits called "the limits of an upstream" {
        /// Requests in flight; past it they wait in the queue. `none`: no limit.
        max_requests: OrNone<Whole<1, 10_000_000>>,
        /// Open connections to servers, idle ones included: those are closed first, and no more requests are in flight
        /// than there may be connections. `none`: no limit.
        max_connections: OrNone<Whole<1, 10_000_000>>,
    }
}

settings! {
    /// How many requests each server is given at once is found from its latency: as many as it answers without letting
    /// them wait much. A server's `max_connections` still holds.
    pub struct AdaptiveConcurrency called "adaptive concurrency" {
        /// The least the limit may be.
        min: Whole<1, 1_000_000> = Whole::of(1),
        /// The most it may be.
        max: Whole<1, 1_000_000> = Whole::of(1000),
        /// By how much of the latency without load answers may take longer before the limit shrinks; less than 2 ms is
        /// never too much.
        tolerance: Percent<1, 1000> = Percent::of(50),
    }
}

settings! {
    /// Where requests wait while every server is at its limit.
    pub struct Queue called "the queue of an upstream" {
        /// Requests that wait at most, over all workers; past it the answer is 503 at once, unless the request has a
        /// higher priority than one that waits. 0: none waits.
        max: Whole<0, 10_000_000> = Whole::of(1024),
        /// How long a request waits at most (503).
        timeout: Span = Span::seconds(5),
        /// Who is served first among those of one priority. When many wait in vain the order is turned round.
        order: QueueOrder = QueueOrder::FirstCome,
    }
}

impl Choice for QueueOrder {
    const EXPECTED: &'static str = "an order";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::FirstCome, "first_come", "who came first"),
        (
            Self::Deadline,
            "deadline",
            "who must be answered first: when the time is over that `grpc-timeout` or `x-request-timeout` say, or that \
             of the queue where it is less; who cannot be answered in time is refused at once",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "fifo" | "fcfs" | "first" => Some("did you mean `first_come`?"),
            "edf" | "earliest_deadline" | "deadlines" => Some("did you mean `deadline`?"),
            "lifo" | "newest" | "last_come" => Some("the newest go first by themselves while many wait in vain"),
            _ => None,
        }
    }
}

impl Choice for Priority {
    const EXPECTED: &'static str = "a priority";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Critical,
            "critical",
            "served before all others, and may use all of an upstream's limits: for the health checks of balancers in \
             front and what people need to set things right",
        ),
        (Self::Normal, "normal", "may use 95 % of an upstream's limits"),
        (
            Self::Low,
            "low",
            "served after all others, and may use 80 % of an upstream's limits: for what can wait or be done again",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "high" | "highest" => Some("did you mean `critical`?"),
            "default" | "medium" => Some("did you mean `normal`?"),
            "background" | "batch" | "bulk" | "sheddable" => Some("did you mean `low`?"),
            _ => None,
        }
    }
}
