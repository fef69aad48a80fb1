//! What may be written about requests that are sent again?

use isobar_observe::GrpcStatus;

use super::{OrNone, Whole};
use crate::problem::{Path, Problems};
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::{decode_word, word_setting};
use crate::setting::{Detail, Misfit, Setting, Shape, Word, Written};
use crate::tree::{Node, Value};
use crate::units::{ByteSize, PerSecond, Percent, Span};

/// Bytes of a body that are kept to be sent again.
pub type Kept = ByteSize<0, { 16 << 20 }>;

settings! {
    /// When a request that failed is sent again. It goes to a server that has not failed it while there is one.
    pub struct Retry called "the retries of an upstream" {
        /// Further tries after the first; 0: a request is sent once.
        attempts: Whole<0, 10> = Whole::of(2),
        /// What is tried again: `connect_failure` (no connection was made), `closed` (the server closed it before its
        /// answer began), `timeout` (the server did not take the request or not answer in time), statuses such as
        /// `503`, `5xx` or `502-504`, and statuses of gRPC such as `unavailable` (the call was answered with it alone, and may be
        /// repeated); `none`: nothing. Without it, `[connect_failure, closed]`, and `timeout` where there
        /// is a `try_timeout`.
        on: Option<OrNone<Conditions>>,
        /// Whether requests that are not idempotent, such as POST, are repeated too after a server may have acted on
        /// them. One of which nothing was sent is repeated whatever its method.
        non_idempotent: bool = false,
        /// For one try's answer head, connecting included, before another server is asked; it begins anew when the last
        /// of the request was sent. `none`: the timeouts of the upstream hold alone.
        try_timeout: OrNone<Span>,
        /// For everything from the first byte of the request to the head of the answer: all tries, the queue and pauses
        /// (504); `none`: there is no such bound.
        deadline: OrNone<Span>,
        /// How many requests may be sent again, as a part of all; `none`: there is no bound.
        budget: OrNone<RetryBudget> = OrNone(Some(RetryBudget::placeholder())),
        /// The pause between tries; `none`: there is none, and no server is asked twice.
        backoff: OrNone<Backoff>,
        /// Bodies up to this size are kept while they are sent, so that they can be sent again.
        buffer: Kept = Kept::of(64 << 10),
    }
}

settings! {
    /// How many requests may be sent again, as a part of all. Retries and hedges of all workers take from one budget;
    /// ten seconds of it are saved up.
    pub struct RetryBudget called "the budget for retries" {
        /// Retries per hundred requests.
        percent: Percent<0, 1_000> = Percent::of(20),
        /// Retries that are allowed in any case, for upstreams with few requests.
        min: PerSecond = PerSecond::of(3),
    }
}

settings! {
    /// A pause between tries, at random between nothing and `base` times two for each try before, `max` at most. With
    /// it, a server that failed is asked once more when no other is left.
    pub struct Backoff called "the pause between tries" {
        /// The longest first pause.
        base: Span = Span::millis(25),
        /// The longest pause. A `Retry-After` up to this is waited for.
        max: Span = Span::millis(250),
    }
}

settings! {
    /// When a request that takes long is given to another server as well. The first answer is taken, the other try
    /// cancelled. Only for requests that may be repeated and are sent in full.
    pub struct Hedge called "hedging" short after {
        /// After which time without an answer: a quantile of how long this upstream's answers took of late to begin, such
        /// as `p95`, or a fixed time.
        after: HedgeAfter = HedgeAfter::Thousandths(950),
        /// How many further servers are asked at most, each after that time again.
        max: Whole<1, 3> = Whole::of(1),
    }
}

settings! {
    /// When a request of a route is sent again. What is left out is as in the upstream, whose budget all its routes share.
    pub struct RouteRetry called "the retries of a route" {
        /// Further tries after the first.
        attempts: Option<Whole<0, 10>>,
        /// What is tried again.
        on: Option<OrNone<Conditions>>,
        /// Whether requests that are not idempotent are repeated too.
        non_idempotent: Option<bool>,
        /// For one try's answer head.
        try_timeout: Option<OrNone<Span>>,
        /// For everything until the head of the answer (504).
        deadline: Option<OrNone<Span>>,
        /// The pause between tries.
        backoff: Option<OrNone<Backoff>>,
        /// Bodies up to this size are kept so that they can be sent again.
        buffer: Option<Kept>,
    }
}

/// What is tried again: one condition, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions(pub Vec<Condition>);

impl Setting for Conditions {
    fn decode(node: &Node<'_>, at: Path<'_>, problems: &mut Problems) -> Self {
        match &node.value {
            Value::List(_) => Self(Vec::decode(node, at, problems)),
            _ => Self(vec![decode_word(node, at, problems)]),
        }
    }

    fn placeholder() -> Self {
        Self(vec![Condition::stand_in()])
    }

    fn encode(&self, detail: Detail) -> Written {
        match self.0.as_slice() {
            [condition] => condition.encode(detail),
            conditions => Written::List(conditions.iter().map(|condition| condition.encode(detail)).collect()),
        }
    }

    fn shape() -> Shape {
        let one = Shape::Word(Condition::describe());
        Shape::Either(vec![one.clone(), Shape::List { element: Box::new(one) }])
    }
}

/// One thing that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// No connection was made.
    ConnectFailure,
    /// The server closed its connection before its answer began.
    Closed,
    /// The server was too slow.
    Timeout,
    /// An answer with a status from one to the other, both included.
    Statuses(u16, u16),
    /// A call of gRPC that was answered with this status and nothing else.
    Grpc(GrpcStatus),
}

const WORDS: [(&str, Condition); 3] = [
    ("connect_failure", Condition::ConnectFailure),
    ("closed", Condition::Closed),
    ("timeout", Condition::Timeout),
];

impl Word for Condition {
    fn read(text: &str) -> Result<Self, Misfit> {
        if let Some((_, condition)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*condition);
        }
        if let Some(status) = GrpcStatus::of(text) {
            return match status {
                GrpcStatus::Ok => Err(Misfit::because("what went well is not tried again")),
                status => Ok(Self::Grpc(status)),
            };
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return statuses(text);
        }
        Err(match text {
            "none" => Misfit::because("`none` stands alone, in place of the list"),
            "gateway_error" => Misfit::OTHER.help("did you mean `502-504`?"),
            "reset" | "error" => Misfit::OTHER.help(crate::suggest::did_you_mean("closed")),
            "connect" | "refused" => Misfit::OTHER.help(crate::suggest::did_you_mean("connect_failure")),
            _ => Misfit {
                message: None,
                help: crate::suggest::nearest(text, words()).map(crate::suggest::did_you_mean),
            },
        })
    }

    fn write(&self) -> String {
        match *self {
            Self::Statuses(low, high) if low == high => low.to_string(),
            Self::Statuses(low, high) if low % 100 == 0 && high == low + 99 => format!("{}xx", low / 100),
            Self::Statuses(low, high) => format!("{low}-{high}"),
            Self::Grpc(status) => status.text().to_owned(),
            _ => WORDS
                .iter()
                .find(|(_, condition)| condition == self)
                .map_or_else(String::new, |(word, _)| (*word).to_owned()),
        }
    }

    fn stand_in() -> Self {
        Self::ConnectFailure
    }

    fn describe() -> WordShape {
        WordShape {
            name: "condition",
            expected: "`connect_failure`, `closed`, `timeout`, statuses such as `503`, `5xx` or `502-504`, or a status of gRPC such \
                       as `unavailable`"
                .to_owned(),
            pattern: Some(
                "^(?:connect_failure|closed|timeout|[2-5]xx|[2-5][0-9]{2}(?:-[2-5][0-9]{2})?|cancelled|unknown|invalid_argument|deadline_exceeded|not_found|already_exists|permission_denied|resource_exhausted|failed_precondition|aborted|out_of_range|unimplemented|internal|unavailable|data_loss|unauthenticated)$",
            ),
            examples: &["connect_failure", "closed", "timeout", "503", "5xx", "unavailable"],
            range: None,
            number: true,
        }
    }
}

/// Every word there is.
fn words() -> impl Iterator<Item = &'static str> + Clone {
    let statuses = GrpcStatus::ALL.into_iter().filter(|status| *status != GrpcStatus::Ok);
    WORDS
        .map(|(word, _)| word)
        .into_iter()
        .chain(statuses.map(GrpcStatus::text))
}

/// A status, a class of them, or a range.
fn statuses(text: &str) -> Result<Condition, Misfit> {
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        return match class.parse::<u16>() {
            Ok(class @ 2..=5) => Ok(Condition::Statuses(class * 100, class * 100 + 99)),
            _ => Err(Misfit::OTHER),
        };
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low), Ok(high)) if low > high => {
            let help = crate::suggest::did_you_mean(&format!("{high}-{low}"));
            Err(Misfit::because("a range runs from the lower to the higher status").help(help))
        }
        (Ok(low @ 200..=599), Ok(high @ 200..=599)) => Ok(Condition::Statuses(low, high)),
        (Ok(_), Ok(_)) => Err(Misfit::because("the status of an answer lies between 200 and 599")),
        _ => Err(Misfit::OTHER),
    }
}

/// After which time a request is hedged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeAfter {
    /// The time within which so many thousandths of the answers began.
    Thousandths(u16),
    /// So long.
    Fixed(Span),
}

impl Word for HedgeAfter {
    fn read(text: &str) -> Result<Self, Misfit> {
        let Some(percentile) = text.strip_prefix('p') else {
            return Span::read(text).map(Self::Fixed).map_err(|misfit| Misfit {
                help: percentile(text)
                    .map(|_| crate::suggest::did_you_mean(&format!("p{text}")))
                    .or(misfit.help),
                ..misfit
            });
        };
        let thousandths = percentile_of(percentile).ok_or(Misfit::OTHER)?;
        if (500..=999).contains(&thousandths) {
            Ok(Self::Thousandths(thousandths))
        } else {
            Err(Misfit::because(
                "a percentile to hedge after lies between p50 and p99.9",
            ))
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Fixed(span) => span.write(),
            Self::Thousandths(thousandths) if thousandths % 10 == 0 => format!("p{}", thousandths / 10),
            Self::Thousandths(thousandths) => format!("p{}.{}", thousandths / 10, thousandths % 10),
        }
    }

    fn stand_in() -> Self {
        Self::Thousandths(950)
    }

    fn describe() -> WordShape {
        WordShape {
            name: "percentile or duration",
            expected: "a percentile such as `p95` or a duration such as `50ms`".to_owned(),
            pattern: Some(
                "^(?:p[5-9][0-9](?:\\.[0-9])?|(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?(?:[0-9]+ms)?)$",
            ),
            examples: &["p95", "p99.9", "50ms"],
            range: None,
            number: false,
        }
    }
}

/// What a bare number was probably meant as.
fn percentile(text: &str) -> Option<u16> {
    percentile_of(text).filter(|thousandths| (500..=999).contains(thousandths))
}

/// The thousandths of a percentile with one digit after the point at most.
fn percentile_of(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole, 3) || !digits(part, 1) {
        return None;
    }
    Some(whole.parse::<u16>().ok()? * 10 + part.parse::<u16>().ok()?)
}

word_setting!(Condition, HedgeAfter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let check = |text: &str, expected: Result<&str, Option<&str>>| {
            let read = Condition::read(text);
            let found = read.as_ref().map(Word::write);
            let found = found.as_deref().map_err(|misfit| misfit.help.as_deref());
            assert_eq!(found, expected, "{text}");
        };
        check("connect_failure", Ok("connect_failure"));
        check("closed", Ok("closed"));
        check("timeout", Ok("timeout"));
        check("unavailable", Ok("unavailable"));
        check("resource_exhausted", Ok("resource_exhausted"));
        check("unavailble", Err(Some("did you mean `unavailable`?")));
        check("ok", Err(None));
        check("503", Ok("503"));
        check("500-599", Ok("5xx"));
        check("5xx", Ok("5xx"));
        check("502-504", Ok("502-504"));
        check("429", Ok("429"));
        check("timeouts", Err(Some("did you mean `timeout`?")));
        check("reset", Err(Some("did you mean `closed`?")));
        check("599-500", Err(Some("did you mean `500-599`?")));
        for text in ["", "600", "100", "5x", "9xx", "1xx", "50", "none", "503-"] {
            check(text, Err(None));
        }
    }

    #[test]
    fn percentiles() {
        let check = |text: &str, expected: Result<&str, Option<&str>>| {
            let read = HedgeAfter::read(text);
            let found = read.as_ref().map(Word::write);
            let found = found.as_deref().map_err(|misfit| misfit.help.as_deref());
            assert_eq!(found, expected, "{text}");
        };
        check("p95", Ok("p95"));
        check("p99.9", Ok("p99.9"));
        check("p95.0", Ok("p95"));
        check("50ms", Ok("50ms"));
        check("95", Err(Some("did you mean `p95`?")));
        for text in ["p", "p100", "p49", "p99.99", "p-5", "0ms", "p9", "p65535"] {
            check(text, Err(None));
        }
    }
}
