//! What may be written about a limit?

use isobar_plan::{Direction, Exhausted, LimitMode, MissingKey, OnLoss};

use super::hash::token;
use super::{HeaderName, HeaderValue, Named, OneOrMore, OrNone, SharedThrough, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::{Burst, ByteSize, Network, Pace, Percent, Span, Timestamp};

settings! {
    /// A limit on requests, by key. Routes and listeners name it; all that name it count together.
    pub struct Limit called "a limit" {
        /// Whom it counts: `client_ip` as trusted proxies tell it, `header:NAME`, `cookie:NAME`, `query:NAME`, `host`, `path`, `method`,
        /// `route`, `tls_name`, and at a forward proxy `user`; several together make one key.
        key: OneOrMore<LimitKeyPart> = OneOrMore(vec![LimitKeyPart::CLIENT_IP]),
        /// How it counts.
        algorithm: LimitAlgorithm = LimitAlgorithm::Gcra,
        /// How many in which time, or for `bandwidth` how many bytes; must be written, but for `concurrency`.
        rate: Option<Pace>,
        /// How many at once, for `gcra`, `token_bucket` and `bandwidth`; without it, as many as the rate has in its time.
        burst: Option<Burst>,
        /// Which bytes are counted, for `bandwidth`; without it, those to clients.
        direction: Option<Direction>,
        /// What becomes of requests and connections when no bytes are left, for `bandwidth`; without it, `refuse` where the rate is for an
        /// hour or longer, which is a quota, and `pace` otherwise.
        exhausted: Option<Exhausted>,
        /// Requests in flight, for `concurrency`.
        max_requests: Option<Whole<1, 10_000_000>>,
        /// How long a request past the burst may wait for its turn before it is refused, for `gcra`; `none`: none waits.
        delay: OrNone<Span>,
        /// What one request takes: a number, or where it is found.
        cost: LimitCost,
        /// What becomes of requests that lack a part of the key.
        missing: MissingKey = MissingKey::OwnBucket,
        /// Bits of IPv4 addresses that count.
        prefix_v4: Whole<1, 32> = Whole::of(32),
        /// Bits of IPv6 addresses that count: a client has a whole /64 as a rule.
        prefix_v6: Whole<1, 128> = Whole::of(64),
        /// Other rates for some keys. The values of several parts have `|` between them.
        overrides: Named<OverrideKey, LimitOverride>,
        /// A file with further ones, a key and a rate on each line, such as `10.0.0.7 1000/min`; it is read again when it changes.
        overrides_file: Option<OverridesFile>,
        /// Clients that it does not hold for.
        exempt: Vec<Network>,
        /// Clients that are always refused (403).
        deny: Vec<Network>,
        /// The status of a refusal.
        status: Whole<400, 599> = Whole::of(429),
        /// The body of a refusal; without it, the reason in a sentence.
        body: Option<Remark>,
        /// What kind of body that is.
        content_type: HeaderValue = HeaderValue::made("text/plain; charset=utf-8"),
        /// Whether also those that pass are told what is left (`RateLimit` and `RateLimit-Policy`); those that are refused always are.
        headers: bool = false,
        /// By how much at most, each by another part of it, those that are refused are told to come later than they could, so that
        /// they do not all come at once; `none`: everybody is told the truth.
        jitter: OrNone<Span>,
        /// Whether it refuses.
        mode: LimitMode = LimitMode::Enforce,
        /// For how many of its keys it refuses; the others are in its shadow.
        enforce: Percent<0, 100> = Percent::of(100),
        /// Whom to ask about it; for the log.
        owner: Option<Remark>,
        /// Why it is there; for the log.
        reason: Option<Remark>,
        /// When it ends by itself; `none`: never.
        expires: OrNone<Timestamp>,
        /// When it disarms itself: it refuses nobody any more once it has refused more than this part of the requests; `none`: never.
        disarm_above: OrNone<LimitGuard>,
        /// Through which store instances share it: its name, or `true` where there is only one; `none`: each instance counts alone.
        shared: OrNone<SharedThrough>,
        /// What happens while that store is lost.
        on_loss: OnLoss = OnLoss::Local,
        /// Keys that are sure to find room in its table, which takes 61 bytes for each, and for `sliding_log` about 11 more for each request
        /// of the largest rate: `max_keys` times those are 5000000 at most.
        max_keys: Whole<1_000, 67_108_864> = Whole::of(100_000),
    }
}

settings! {
    /// Another rate for one key of a limit.
    pub struct LimitOverride called "an override" short rate {
        /// How many in which time, or how many bytes.
        rate: Option<Pace>,
        /// How many at once; without it, as many as the rate has in its time.
        burst: Option<Burst>,
        /// Requests in flight, for `concurrency`.
        max_requests: Option<Whole<1, 10_000_000>>,
    }
}

settings! {
    /// What a request takes of a limit.
    pub struct LimitCost called "a cost" short default {
        /// What it takes where nothing says otherwise.
        default: Whole<1, 1_000_000> = Whole::of(1),
        /// The field of the request that says what it takes. Clients write what they like there: for those that are trusted.
        header: Option<HeaderName>,
        /// The parameter of the query that says so.
        query: Option<QueryName>,
        /// What counts of that at most; without it, as much as there ever is at once.
        max: Option<Whole<1, 1_000_000>>,
        /// How it is corrected when there is an answer; without it, what was taken stays taken.
        settle: Option<LimitSettle>,
    }
}

settings! {
    /// What an answer says of the cost of its request.
    pub struct LimitSettle called "the settlement of a cost" {
        /// The field of the answer that says what it was. Clients do not see it.
        header: Option<HeaderName>,
        /// Bytes of the answer that cost one.
        bytes: Option<ByteSize<1, { 1 << 40 }>>,
    }
}

settings! {
    /// When a new limit disarms itself.
    pub struct LimitGuard called "the guard of a limit" short share {
        /// It may refuse so much of what it is asked.
        share: Percent<1, 99>,
        /// Judged once there were so many requests within the window.
        min_requests: Whole<1, 1_000_000_000> = Whole::of(1_000),
        /// How long is counted before counting begins anew.
        window: Span = Span::seconds(60),
        /// For how long the limit is new; afterwards it has proved itself.
        watch: Span = Span::seconds(86_400),
    }
}

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the options say what they are")]
pub enum LimitAlgorithm {
    Gcra,
    TokenBucket,
    FixedWindow,
    SlidingWindow,
    SlidingLog,
    Concurrency,
    Bandwidth,
}

impl LimitAlgorithm {
    /// Those that count requests, in the order of the reference.
    pub const OF_REQUESTS: [Self; 6] = [
        Self::Gcra,
        Self::TokenBucket,
        Self::FixedWindow,
        Self::SlidingWindow,
        Self::SlidingLog,
        Self::Concurrency,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::TokenBucket => "token_bucket",
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindow => "sliding_window",
            Self::SlidingLog => "sliding_log",
            Self::Concurrency => "concurrency",
            Self::Bandwidth => "bandwidth",
        }
    }
}

impl Choice for LimitAlgorithm {
    const EXPECTED: &'static str = "an algorithm";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Gcra,
            "gcra",
            "evenly at the rate, with a burst; exact, and what is past the burst can wait",
        ),
        (
            Self::TokenBucket,
            "token_bucket",
            "a bucket of tokens that fills at the rate; decides as `gcra` does",
        ),
        (
            Self::FixedWindow,
            "fixed_window",
            "so many in each window; twice as many can come around its edge",
        ),
        (Self::SlidingWindow, "sliding_window", "so many in any window, nearly"),
        (
            Self::SlidingLog,
            "sliding_log",
            "so many in any window, exactly; for small limits, because each key takes 8 bytes more for each request of it",
        ),
        (Self::Concurrency, "concurrency", "so many requests in flight"),
        (
            Self::Bandwidth,
            "bandwidth",
            "bytes at the rate, with a burst; nothing that has begun is cut off",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "leaky_bucket" => Some("write `gcra`, which is one"),
            "bytes" | "traffic_shaping" | "throughput" => Some("did you mean `bandwidth`?"),
            "log" | "sliding_window_log" | "sliding_logs" => Some("did you mean `sliding_log`?"),
            _ => None,
        }
    }
}

impl Choice for Direction {
    const EXPECTED: &'static str = "a direction";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Download, "download", "bytes to clients"),
        (Self::Upload, "upload", "bytes from clients"),
        (Self::Both, "both", "all of them, together"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "down" | "out" | "outgoing" | "egress" | "response" => Some("did you mean `download`?"),
            "up" | "in" | "incoming" | "ingress" | "request" => Some("did you mean `upload`?"),
            _ => None,
        }
    }
}

impl Choice for Exhausted {
    const EXPECTED: &'static str = "what becomes of requests when no bytes are left";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Pace, "pace", "all go on at the rate, which they share"),
        (
            Self::Refuse,
            "refuse",
            "what has begun goes on, and nothing new begins before what it took is made up for",
        ),
    ];
}

impl Choice for LimitMode {
    const EXPECTED: &'static str = "a mode";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Enforce, "enforce", "it refuses"),
        (Self::Shadow, "shadow", "it counts, and refuses nobody"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "dry_run" | "dry-run" | "log" | "report" | "off" => Some("did you mean `shadow`?"),
            _ => None,
        }
    }
}

impl Choice for MissingKey {
    const EXPECTED: &'static str = "what becomes of requests without a key";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::OwnBucket, "own_bucket", "all of them are counted together"),
        (Self::Skip, "skip", "the limit does not hold for them"),
        (Self::Refuse, "refuse", "they are refused"),
    ];
}

/// One part of a limit's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimitKeyPart(isobar_plan::LimitKey);

impl LimitKeyPart {
    /// The client's address.
    pub(crate) const CLIENT_IP: Self = Self(isobar_plan::LimitKey::Part(isobar_plan::HashPart::ClientIp));

    /// As the plan has it.
    #[must_use]
    pub fn part(&self) -> isobar_plan::LimitKey {
        self.0.clone()
    }
}

impl Word for LimitKeyPart {
    fn read(text: &str) -> Result<Self, Misfit> {
        use isobar_plan::HashPart::{ClientIp, Cookie, Header, Host, Path, Query};
        use isobar_plan::LimitKey::{Method, Part, Route, TlsName, User};
        let (kind, name) = text
            .split_once(':')
            .map_or((text, None), |(kind, name)| (kind, Some(name.trim_start())));
        let part = match (kind, name) {
            ("client_ip", None) => Part(ClientIp),
            ("host", None) => Part(Host),
            ("path", None) => Part(Path),
            ("method", None) => Method,
            ("route", None) => Route,
            ("tls_name", None) => TlsName,
            ("user", None) => User,
            ("header", Some(name)) => Part(Header(token(name)?.to_ascii_lowercase().into())),
            ("cookie", Some(name)) => Part(Cookie(token(name)?.into())),
            ("query", Some(name)) if !name.is_empty() => Part(Query(name.into())),
            ("header" | "cookie" | "query", _) => return Err(Misfit::OTHER.help(format!("write `{kind}:NAME`"))),
            ("source" | "source_ip" | "ip" | "remote_addr" | "src" | "remote_ip", None) => {
                return Err(Misfit::OTHER.help("did you mean `client_ip`?"));
            }
            ("sni" | "server_name", None) => return Err(Misfit::OTHER.help("did you mean `tls_name`?")),
            ("uri" | "url", None) => return Err(Misfit::OTHER.help("did you mean `path`?")),
            _ => return Err(Misfit::OTHER),
        };
        Ok(Self(part))
    }

    fn write(&self) -> String {
        use isobar_plan::HashPart::{ClientIp, Cookie, DestinationPort, Header, Host, Path, Query, Sni};
        use isobar_plan::LimitKey::{Method, Part, Route, TlsName, User};
        match &self.0 {
            Part(ClientIp | Sni | DestinationPort) => "client_ip".to_owned(),
            Part(Host) => "host".to_owned(),
            Part(Path) => "path".to_owned(),
            Method => "method".to_owned(),
            Route => "route".to_owned(),
            TlsName => "tls_name".to_owned(),
            User => "user".to_owned(),
            Part(Header(name)) => format!("header:{name}"),
            Part(Cookie(name)) => format!("cookie:{name}"),
            Part(Query(name)) => format!("query:{name}"),
        }
    }

    fn stand_in() -> Self {
        Self::CLIENT_IP
    }

    fn describe() -> WordShape {
        WordShape {
            name: "part of a limit's key",
            expected: "`client_ip`, `header:NAME`, `cookie:NAME`, `query:NAME`, `host`, `path`, `method`, `route`, `tls_name` or `user`"
                .to_owned(),
            pattern: Some("^(client_ip|host|path|method|route|tls_name|user|(header|cookie|query): *.+)$"),
            examples: &["client_ip", "header:x-user"],
            range: None,
            number: false,
        }
    }
}

macro_rules! texts {
    ($($(#[doc = $help:literal])+ $Name:ident $most:literal $name:literal $expected:literal $examples:expr;)*) => {$(
        $(#[doc = $help])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name(Box<str>);

        impl $Name {
            /// As written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Word for $Name {
            fn read(text: &str) -> Result<Self, Misfit> {
                match text.len() {
                    0 => Err(Misfit::OTHER),
                    1..=$most => Ok(Self(text.into())),
                    _ => Err(Misfit::because(format!("{} bytes are the most", $most))),
                }
            }

            fn write(&self) -> String {
                self.0.to_string()
            }

            fn stand_in() -> Self {
                Self("?".into())
            }

            fn describe() -> WordShape {
                WordShape {
                    name: $name,
                    expected: $expected.to_owned(),
                    pattern: None,
                    examples: $examples,
                    range: Some(format!("1 to {} bytes", $most)),
                    number: true,
                }
            }
        }

        word_setting!($Name);
    )*};
}

texts! {
    /// Something for people to read.
    Remark 4096 "text" "a text" &["the payments team"];
    /// The value of a limit's key.
    OverrideKey 4096 "value of a key" "the value of a key such as `10.0.0.7`" &["10.0.0.7"];
    /// A parameter of the query.
    QueryName 256 "parameter of the query" "the name of a parameter such as `cost`" &["cost"];
    /// A file with rates by key.
    OverridesFile 4096 "file" "a file such as `/etc/isobar/rates`" &["/etc/isobar/rates"];
}

word_setting!(LimitKeyPart);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_as_they_are_read() {
        for text in [
            "client_ip",
            "host",
            "path",
            "method",
            "route",
            "tls_name",
            "user",
            "header:x-user",
            "cookie:Session",
            "query:a b",
        ] {
            assert_eq!(LimitKeyPart::read(text).unwrap().write(), text);
        }
        assert_eq!(LimitKeyPart::read("header: X-User").unwrap().write(), "header:x-user");
        for text in ["", "header", "header:", "header:a b", "sni", "ip", "client_ip:x"] {
            assert!(LimitKeyPart::read(text).is_err(), "{text}");
        }
    }
}
