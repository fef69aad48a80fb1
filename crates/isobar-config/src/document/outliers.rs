//! What may be written about servers that are taken out for how they answer?

use isobar_plan::ServiceState;

use super::{OrNone, Whole};
use crate::problem::{Path, Problems};
use crate::scenario::Decimal;
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::{Detail, Setting, Shape, Written};
use crate::tree::{Node, Value};
use crate::units::{Percent, Span};

/// How servers are taken out for how they answer: by rules, or in nginx's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutlierDetection {
    /// By rules that look at failures in a row and compare servers.
    Rules(OutlierRules),
    /// In nginx's way.
    Simple(SimpleOutliers),
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self::Rules(Setting::placeholder())
    }
}

impl Setting for OutlierDetection {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        let is_simple = |key: &str| matches!(key, "max_fails" | "fail_timeout");
        match &node.value {
            Value::Mapping(entries) if entries.iter().any(|entry| is_simple(&entry.key)) => {
                Self::Simple(Setting::decode(node, at, problems))
            }
            _ => Self::Rules(Setting::decode(node, at, problems)),
        }
    }

    fn placeholder() -> Self {
        Self::default()
    }

    fn encode(&self, detail: Detail) -> Written {
        match self {
            Self::Rules(rules) => rules.encode(detail),
            Self::Simple(simple) => simple.encode(detail),
        }
    }

    fn shape() -> Shape {
        Shape::Either(vec![OutlierRules::shape(), SimpleOutliers::shape()])
    }
}

settings! {
    /// When a server gets no requests for a while because of how it answered. A failure is a status of 500 or more but 501
    /// and 505, an answer that breaks off or does not come, or a connection that cannot be made; a 4xx never is.
    pub struct OutlierRules called "outlier detection" {
        /// Failures in a row of any kind after which a server is out.
        consecutive_errors: OrNone<Whole<1, 10_000>> = OrNone(Some(Whole::of(5))),
        /// Connections in a row that cannot be made, after which a server is out.
        consecutive_connect_failures: OrNone<Whole<1, 10_000>> = OrNone(Some(Whole::of(5))),
        /// Out is a server whose success rate in an interval is far below that of the others.
        success_rate: OrNone<SuccessRate> = OrNone(Some(Setting::placeholder())),
        /// Out is a server that failed most of its requests in an interval.
        failure_percentage: OrNone<FailurePercentage>,
        /// Out is a server whose answers take far longer in an interval than those of most servers.
        latency: OrNone<LatencyOutliers>,
        /// How often servers are compared, by what they did since the last time.
        interval: Span = Span::seconds(10),
        /// For how long a server is out.
        ejection: Ejection,
        /// The part of the servers that is out at most for how they answer; one always may be, and never the last one that
        /// gets requests.
        max_ejected: Percent<1, 100> = Percent::of(10),
        /// Servers the upstream must have for any of them to be taken out.
        min_servers: Whole<1, 10_000> = Whole::of(5),
    }
}

settings! {
    /// Out is a server whose success rate in an interval is far below that of the others.
    pub struct SuccessRate called "the rule about success rates" {
        /// How far below the mean of all servers, in standard deviations.
        stdev_factor: Decimal<1, 100_000> = Decimal::thousandths(1_900),
        /// Servers with enough requests that are needed for a comparison. Among fewer than five, nothing can be 1.9
        /// deviations below the mean.
        min_servers: Whole<1, 10_000> = Whole::of(5),
        /// Requests in an interval that are enough.
        min_requests: Whole<1, 10_000_000> = Whole::of(100),
    }
}

settings! {
    /// Out is a server that failed most of its requests in an interval.
    pub struct FailurePercentage called "the rule about failure percentages" {
        /// The part of its requests from which it is out.
        threshold: Percent<1, 100> = Percent::of(85),
        /// Servers with enough requests that are needed for a judgement.
        min_servers: Whole<1, 10_000> = Whole::of(5),
        /// Requests in an interval that are enough.
        min_requests: Whole<1, 10_000_000> = Whole::of(50),
    }
}

settings! {
    /// Out is a server whose answers take far longer in an interval than those of most servers: the mean time to their first
    /// byte, against the median of all servers.
    pub struct LatencyOutliers called "the rule about latency" {
        /// How many times the median.
        factor: Decimal<1_000, 1_000_000> = Decimal::thousandths(3_000),
        /// Servers with enough requests that are needed for a comparison.
        min_servers: Whole<1, 10_000> = Whole::of(5),
        /// Requests in an interval that are enough.
        min_requests: Whole<1, 10_000_000> = Whole::of(100),
    }
}

settings! {
    /// For how long a server is out: longer each time it happens again, and less so again for each interval without.
    pub struct Ejection called "the ejection" {
        /// The first time; up to a tenth of it is added by chance, so that servers do not come back together.
        base: Span = Span::seconds(30),
        /// At most.
        max: Span = Span::seconds(300),
    }
}

settings! {
    /// When a server gets no requests for a while, in the way of nginx: each server for itself, as many out as have failed,
    /// but for the last. In place of all the other rules.
    pub struct SimpleOutliers called "outlier detection by `max_fails`, which stands in place of the other rules" {
        /// Failures after which a server is out, of which none came later than `fail_timeout` after the one before.
        max_fails: Whole<1, 10_000> = Whole::of(1),
        /// For how long it is out, and how long a failure counts.
        fail_timeout: Span = Span::seconds(10),
    }
}

impl Choice for ServiceState {
    const EXPECTED: &'static str = "the state of a server";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Enabled, Self::Enabled.word(), "it serves"),
        (
            Self::Drain,
            Self::Drain.word(),
            "it gets no new requests but those that belong to it",
        ),
        (Self::Disabled, Self::Disabled.word(), "it gets no new requests at all"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "up" | "on" | "true" | "active" | "ready" => Some("did you mean `enabled`?"),
            "draining" | "drained" => Some("did you mean `drain`?"),
            "down" | "off" | "false" | "maint" | "maintenance" => Some("did you mean `disabled`?"),
            _ => None,
        }
    }
}
