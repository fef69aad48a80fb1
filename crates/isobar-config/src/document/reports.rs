//! What may be written about what servers report of themselves?

use super::{HeaderName, HealthPath, HostField, OrNone, Whole};
use crate::setting::section::settings;
use crate::units::{Percent, Span};

settings! {
    /// What servers report of their load in their answers. For `balance: prequal` and `orca_weighted_round_robin`;
    /// nobody else's answers are searched for reports.
    pub struct Reports called "the reports of an upstream" {
        /// The field in which a server tells how many requests it has in flight; `x-requests-in-flight` where nothing
        /// else is written. For `prequal`.
        in_flight_header: Option<HeaderName>,
        /// Whether clients are not shown reports: they say more of a server than strangers need to know.
        strip: bool = true,
    }
}

settings! {
    /// How `balance: prequal` chooses. The names are those of the paper.
    pub struct Prequal called "the settings of prequal" {
        /// The part of the candidates that are not hot; only when there are no others is a hot one chosen.
        /// Where nothing is written: 84% from 32 servers on, which is the paper's, otherwise 0%.
        q_rif: Option<Percent<0, 100>>,
        /// Servers that become candidates with each request, and are asked unless they reported a moment ago.
        probes_per_request: Whole<1, 8> = Whole::of(3),
        /// Candidates that are remembered; never more than half of the servers.
        pool_size: Whole<2, 16> = Whole::of(16),
        /// How old a report may be.
        max_age: Span = Span::seconds(1),
        /// A server that reported within this time, in an answer or asked, is not asked.
        fresh: Span = Span::millis(5),
        /// How often a candidate may be chosen; where nothing is written, what follows from the paper's equation 1.
        reuse: Option<Whole<1, 16>>,
        /// How servers are asked; a path alone is short for it with all its defaults. `none`: they are not, and what
        /// they tell in their answers has to do.
        probe: OrNone<LoadProbe>,
    }
}

settings! {
    /// How servers are asked for their load: by a GET on a connection of its own, one for each server.
    pub struct LoadProbe called "a load probe" short path {
        /// The path that is asked for, query included. A server should answer it at once, however busy it is.
        path: HealthPath,
        /// The `Host` field that is sent; the server's address where nothing else is written.
        host: Option<HostField>,
        /// How long an answer may take; `max_age` where nothing else is written.
        timeout: Option<Span>,
        /// Probes a second at most, over all servers of the upstream and all workers.
        max_per_second: Whole<1, 1_000_000> = Whole::of(1000),
    }
}

settings! {
    /// How `balance: orca_weighted_round_robin` weighs. The names are those of gRPC A58.
    pub struct Orca called "the settings of orca" {
        /// How long a server must have reported before its reports count; `none`: they count at once.
        blackout: OrNone<Span> = OrNone(Some(Span::seconds(10))),
        /// How old a report may be.
        expiration: Span = Span::seconds(180),
        /// How often weights are computed anew.
        update_period: Span = Span::seconds(1),
        /// What the part of requests that a server fails weighs against the part of it that is in use.
        error_penalty: Percent<0, 10_000> = Percent::of(100),
    }
}
