//! When is a request sent again, and when to two servers at once?

use core::time::Duration;

use crate::StatusRanges;

/// When a request that failed is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Further tries after the first, at most 10.
    pub attempts: u32,
    /// What is tried again.
    pub on: RetryOn,
    /// Whether requests that are not idempotent are repeated too, after a server may have acted on them.
    pub non_idempotent: bool,
    /// For one try's answer head, from the start of the try or the end of the upload; none: the timeouts alone hold.
    pub try_timeout: Option<Duration>,
    /// For the answer's head from the first byte of the request, all tries, the queue and pauses included (504).
    pub deadline: Option<Duration>,
    /// The pause between tries; none: there is none, and no server is asked twice.
    pub backoff: Option<Backoff>,
    /// Bodies up to this many bytes are kept so that they can be sent again.
    pub buffer: u32,
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection could be made.
    pub connect_failure: bool,
    /// The server closed its connection before its answer began.
    pub closed: bool,
    /// The server did not take the request or not begin its answer in time.
    pub timeout: bool,
    /// Answers with one of these statuses.
    pub statuses: StatusRanges,
    /// Calls of gRPC that were answered with one of these and nothing else.
    pub grpc: GrpcCodes,
}

/// A set of statuses of gRPC.
///
/// *Shape*: a bit for each, by its number on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrpcCodes(u32);

impl GrpcCodes {
    /// With this number, which is below 17, added.
    #[must_use]
    pub const fn with(self, code: u8) -> Self {
        Self(self.0 | 1 << (code & 31))
    }

    /// Whether this number is among them.
    #[must_use]
    pub const fn contains(self, code: u8) -> bool {
        code < 32 && self.0 & (1 << code) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A pause between tries: at random between nothing and `base` times two for each try before, `max` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first pause; not zero.
    pub base: Duration,
    /// The longest pause, not below `base`; also how much of a `Retry-After` is waited for.
    pub max: Duration,
}

/// When a request that takes long is given to another server as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedge {
    /// After which time without the answer's head.
    pub after: HedgeAfter,
    /// How many further servers are asked at most, 1 to 3; each after that time again.
    pub max: u32,
}

/// How long a hedged request waits for its first server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeAfter {
    /// As long as so many thousandths of the upstream's recent answers took to begin.
    Quantile(u16),
    /// So long.
    Fixed(Duration),
}
