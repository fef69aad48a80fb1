//! Which limits hold for requests, whom do they count, and what are those told who are refused?

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use isobar_limit::{Bandwidth, Concurrency, FixedWindow, Gcra, SlidingLog, SlidingWindow, Table, TokenBucket};
pub use isobar_limit::{GuardRules, Limit as LimitAlgorithm, Mode as LimitMode, Rate};

use crate::{Cidr, HashPart, Name, SharedLimit};

/// The most limits that one request may fall under.
pub const MOST_LIMITS: usize = isobar_limit::Transaction::MOST_CLAIMS;

/// The most units of a limit that keeps a log for each key.
pub const MOST_LOG_UNITS: u32 = SlidingLog::MOST_UNITS;

/// The most units of all keys together that such a limit may keep: 64 MiB.
pub const MOST_LOGGED: u64 = Table::MOST_LOGGED;

/// A limit that routes name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name, unique among limits; a label in metrics and the access log.
    pub name: Name,
    /// What it counts, and how. Where this changes, counting begins anew.
    pub counting: LimitCounting,
    /// Other paces for some keys; of several for one key the last counts.
    pub overrides: Vec<LimitOverride>,
    /// The file with further ones, which is read when the plan is taken into service; none: there is none.
    pub overrides_file: Option<Box<str>>,
    /// What stood in it.
    pub overrides_read: Arc<[LimitOverride]>,
    /// Clients that it does not hold for.
    pub exempt: Vec<Cidr>,
    /// Clients that are always refused.
    pub deny: Vec<Cidr>,
    /// What is told.
    pub answer: LimitAnswer,
    /// Whether its refusals count.
    pub enforcement: LimitEnforcement,
    /// What people wrote about it.
    pub note: LimitNote,
}

/// What people wrote about a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitNote {
    /// Whom to ask about it; none: nobody is named.
    pub owner: Option<Box<str>>,
    /// Why it is there; none: nothing is said.
    pub reason: Option<Box<str>>,
}

/// What a limit counts, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitCounting {
    /// What makes up the key, in order; not empty.
    pub key: Vec<LimitKey>,
    /// What becomes of requests that lack a part of it.
    pub missing: MissingKey,
    /// Bits of an IPv4 address that count: 32 at most.
    pub prefix_v4: u8,
    /// Bits of an IPv6 address that count: 128 at most.
    pub prefix_v6: u8,
    /// How it counts.
    pub kind: LimitKind,
    /// How much it lets pass, where no override says otherwise.
    pub pace: LimitPace,
    /// Units that a request costs, where nothing says otherwise.
    pub cost: u64,
    /// What says otherwise; none: nothing does.
    pub costs: Option<Box<LimitCosts>>,
    /// Keys that are sure to find room.
    pub max_keys: u32,
    /// With whom; none: this instance counts alone.
    pub shared: Option<SharedLimit>,
}

/// Where the cost of a request is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitCosts {
    /// The part of the request that says it, as a whole number; none: it says nothing of it.
    pub source: Option<HashPart>,
    /// What counts of that at most.
    pub max: u64,
    /// What the answer says of it; none: nothing.
    pub settle: Option<Settlement>,
}

/// What an answer says of the cost of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// A whole number in the first field of this name, in small letters; clients do not see it.
    Header(Box<str>),
    /// A unit for each so many bytes of its body, and one at least.
    Bytes(u64),
}

/// One part of a limit's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// What keys of upstreams can be made of too, but for what only TCP has.
    Part(HashPart),
    /// The method.
    Method,
    /// The route that takes the request, and its listener.
    Route,
    /// The name that the client asked for in its TLS handshake.
    TlsName,
    /// The user of a forward proxy; an address where nobody has to say who he is.
    User,
}

/// What becomes of requests that lack a part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissingKey {
    /// All of them are counted together.
    OwnBucket,
    /// The limit does not hold for them.
    Skip,
    /// They are refused.
    Refuse,
}

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Evenly at a rate, with a burst; what is past it waits for so long at most, if at all.
    Gcra {
        /// The longest wait; zero: nothing waits.
        delay: Duration,
    },
    /// A bucket that fills at a rate.
    TokenBucket,
    /// So many in each window.
    FixedWindow,
    /// So many in any window, nearly.
    SlidingWindow,
    /// So many in any window, exactly: each key has a log of what it took.
    SlidingLog {
        /// What logs have room for: the units of the largest rate of any key, up to [`MOST_LOG_UNITS`].
        units: u32,
    },
    /// So many at once.
    Concurrency,
    /// Bytes at a rate; units are bytes.
    Bandwidth {
        /// Which bytes.
        direction: Direction,
        /// What becomes of requests that begin when there are none left.
        exhausted: Exhausted,
    },
}

/// The least burst of a limit on bytes.
#[must_use]
pub fn least_byte_burst(rate: Rate) -> u64 {
    Bandwidth::least_burst(rate)
}

/// Which bytes a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Those to clients.
    Download,
    /// Those from clients.
    Upload,
    /// All of them, together.
    Both,
}

/// What becomes of requests and connections when a limit on bytes has none left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exhausted {
    /// All go on at the rate, which they share.
    Pace,
    /// What has begun goes on, and what it takes is owed; nothing new begins before that is made up for.
    Refuse,
}

/// How much a limit lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitPace {
    /// So many units in a time.
    Rate {
        /// How many in how long.
        rate: Rate,
        /// So many at once; of no meaning to windows.
        burst: u64,
    },
    /// So many requests in flight.
    AtOnce(u64),
}

/// Another pace for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitOverride {
    /// The value of each part of the key.
    pub key: Box<[Box<str>]>,
    /// What holds for it.
    pub pace: LimitPace,
}

/// What is told to those a limit holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitAnswer {
    /// The status of a refusal.
    pub status: u16,
    /// The body of a refusal; none: the cause in a sentence.
    pub body: Option<Box<str>>,
    /// What kind of body that is: a valid field value.
    pub content_type: Box<str>,
    /// Whether those that pass are told what is left.
    pub headers: LimitHeaders,
    /// By how much at most, each by another part of it, those refused are told to come later than they could.
    pub jitter: Duration,
}

/// Who is sent `RateLimit` fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitHeaders {
    /// Everybody.
    Always,
    /// Those that are refused.
    WhenRefused,
}

/// Whether refusals count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitEnforcement {
    /// Whether it refuses at all.
    pub mode: LimitMode,
    /// For how many of 10,000 keys it does.
    pub part: u32,
    /// When it ends, since 1970; none: never.
    pub expires: Option<Duration>,
    /// When it is disarmed for refusing too much; none: never.
    pub guard: Option<GuardRules>,
}

impl Limit {
    /// Makes logs as long as the largest rate of any key needs; to be called whenever overrides were read.
    pub fn fit_logs(&mut self) {
        let LimitKind::SlidingLog { units } = &mut self.counting.kind else {
            return;
        };
        let others = self.overrides.iter().chain(&*self.overrides_read);
        let paces = others.map(|other| other.pace).chain([self.counting.pace]);
        let most = paces.map(|pace| match pace {
            LimitPace::Rate { rate, .. } => rate.units(),
            LimitPace::AtOnce(most) => most,
        });
        let most = most.max().unwrap_or(0);
        *units = u32::try_from(most).map_or(MOST_LOG_UNITS, |most| most.min(MOST_LOG_UNITS));
    }
}

impl LimitCounting {
    /// The units that the log of each key has room for; 0: there are none.
    #[must_use]
    pub const fn log_units(&self) -> u32 {
        match self.kind {
            LimitKind::SlidingLog { units } => units,
            _ => 0,
        }
    }

    /// The algorithm, at the limit's own pace or at another one of its kind.
    #[must_use]
    pub fn algorithm(&self, pace: LimitPace) -> LimitAlgorithm {
        let (rate, burst) = match pace {
            LimitPace::Rate { rate, burst } => (rate, burst),
            LimitPace::AtOnce(most) => return LimitAlgorithm::Concurrency(Concurrency::new(most)),
        };
        match self.kind {
            LimitKind::Gcra { delay } => LimitAlgorithm::Gcra(Gcra::new(rate, burst).with_delay(delay)),
            LimitKind::TokenBucket => LimitAlgorithm::TokenBucket(TokenBucket::new(rate, burst)),
            LimitKind::FixedWindow => LimitAlgorithm::FixedWindow(FixedWindow::new(rate)),
            LimitKind::SlidingWindow => LimitAlgorithm::SlidingWindow(SlidingWindow::new(rate)),
            LimitKind::SlidingLog { .. } => LimitAlgorithm::SlidingLog(SlidingLog::new(rate)),
            LimitKind::Concurrency => LimitAlgorithm::Concurrency(Concurrency::new(burst)),
            LimitKind::Bandwidth { exhausted, .. } => LimitAlgorithm::Bandwidth(match exhausted {
                Exhausted::Pace => Bandwidth::pacing(rate, burst),
                Exhausted::Refuse => Bandwidth::pacing(rate, burst).refusing(),
            }),
        }
    }

    /// How long a key that took all there is needs to have it all again: a second at least, and a day at most.
    #[must_use]
    pub fn recovery(&self) -> Duration {
        let LimitPace::Rate { rate, burst } = self.pace else {
            return Duration::from_secs(60);
        };
        let windows = match self.kind {
            LimitKind::SlidingWindow => 2,
            LimitKind::FixedWindow | LimitKind::SlidingLog { .. } => 1,
            _ => u32::try_from(burst.div_ceil(rate.units())).unwrap_or(u32::MAX),
        };
        let time = rate.period().saturating_mul(windows);
        let time = match self.kind {
            // What was taken a whole window ago does not count any more: so no window has more than the limit by an estimate.
            LimitKind::SlidingLog { .. } => time.saturating_sub(Duration::from_nanos(1)),
            _ => time,
        };
        time.clamp(Duration::from_secs(1), Duration::from_secs(86_400))
    }
}

impl LimitEnforcement {
    /// Binding for everybody, for ever.
    pub const FULL: Self = Self {
        mode: LimitMode::Enforce,
        part: 10_000,
        expires: None,
        guard: None,
    };
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use isobar_limit::Algorithm;

    use super::{LimitCounting, LimitKey, LimitKind, LimitPace, MissingKey, Rate};
    use crate::HashPart;

    fn counting(kind: LimitKind, pace: LimitPace) -> LimitCounting {
        LimitCounting {
            key: [LimitKey::Part(HashPart::ClientIp)].into(),
            missing: MissingKey::OwnBucket,
            prefix_v4: 32,
            prefix_v6: 64,
            kind,
            pace,
            cost: 1,
            costs: None,
            max_keys: 1_000,
            shared: None,
        }
    }

    #[test]
    fn recovery_is_as_long_as_it_takes() {
        let check = |kind, units, seconds, burst, expected| {
            let rate = Rate::new(units, Duration::from_secs(seconds));
            let counting = counting(kind, LimitPace::Rate { rate, burst });
            assert_eq!(counting.recovery(), Duration::from_secs(expected), "{counting:?}");
        };
        let gcra = LimitKind::Gcra { delay: Duration::ZERO };
        check(gcra, 100, 60, 100, 60);
        check(gcra, 100, 60, 20, 60);
        check(gcra, 100, 60, 250, 180);
        check(LimitKind::TokenBucket, 1_000, 1, 1, 1);
        check(LimitKind::FixedWindow, 5, 60, 1_000, 60);
        check(LimitKind::SlidingWindow, 5, 60, 5, 120);
        check(LimitKind::SlidingLog { units: 5 }, 5, 1, 5, 1);
        check(gcra, 1, 86_400, 100, 86_400);
    }

    #[test]
    fn each_kind_promises_what_its_pace_says() {
        let check = |kind, pace, expected| {
            let algorithm = counting(kind, pace).algorithm(pace);
            assert_eq!(algorithm.most_within(Duration::ZERO), expected, "{kind:?}");
        };
        let rate = LimitPace::Rate {
            rate: Rate::per_minute(100),
            burst: 20,
        };
        check(LimitKind::Gcra { delay: Duration::ZERO }, rate, 20);
        check(LimitKind::TokenBucket, rate, 20);
        check(LimitKind::Concurrency, LimitPace::AtOnce(7), 7);
        check(LimitKind::SlidingLog { units: 100 }, rate, 100);
    }

    /// By an estimate too, in no window of a log more passes than the limit has.
    #[test]
    fn what_is_estimated_of_a_log_is_a_window() {
        let pace = LimitPace::Rate {
            rate: Rate::per_minute(5),
            burst: 5,
        };
        let counting = counting(LimitKind::SlidingLog { units: 5 }, pace);
        assert_eq!(counting.recovery(), Duration::from_nanos(59_999_999_999));
        assert_eq!(counting.algorithm(pace).most_within(counting.recovery()), 5);
    }
}
