//! Which limits would hold back few?
//!
//! From what keys ask, a rate that a stated part of them never reaches, with room above, as a person would write it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use isobar_plan::{
    HashPart, Limit, LimitAnswer, LimitCounting, LimitEnforcement, LimitHeaders, LimitKey, LimitKind, LimitNote,
    LimitPace, MissingKey, Rate,
};

use crate::measure::{Measured, Span};
use crate::report::LimitReport;

/// Keys that a suggested limit has room for.
const MAX_KEYS: u32 = 100_000;

/// A limit that might be of use.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The limit.
    pub limit: Limit,
    /// The part of keys, from 0 to 1, that it lets have all they asked for.
    pub percentile: f64,
    /// The most that those ask within its window.
    pub asked: u64,
    /// Its window.
    pub window: Duration,
    /// How many keys there were.
    pub keys: u64,
}

/// Proposes limits: for each way to tell requests apart, window and percentile one, with so many times what was asked. Where two would be
/// the same, the one of the lower percentile.
#[must_use]
pub fn proposals(measured: &[Measured], headroom: f64) -> Vec<Suggestion> {
    let mut proposals = Vec::new();
    for measured in measured.iter().filter(|measured| measured.keys > 0) {
        for span in &measured.spans {
            let mut known = HashSet::new();
            for &(percentile, asked) in &span.at {
                let units = rounded_up(asked as f64 * headroom);
                if known.insert(units) {
                    proposals.push(suggestion(measured, span, (percentile, asked), units));
                }
            }
        }
    }
    proposals
}

fn suggestion(measured: &Measured, span: &Span, (percentile, asked): (f64, u64), units: u64) -> Suggestion {
    let parts: Vec<String> = measured.key.iter().map(part_name).collect();
    let key: String = parts.join("-").chars().map(fit_for_a_name).collect();
    let name = format!("{key}-{}-p{}", unit(span.window), percent_text(percentile));
    let mut limit = to_hash(0, &measured.key);
    let rate = Rate::new(units, span.window);
    limit.name = name.as_str().into();
    limit.counting.pace = LimitPace::Rate { rate, burst: units };
    limit.counting.missing = MissingKey::Skip;
    Suggestion {
        limit,
        percentile,
        asked,
        window: span.window,
        keys: measured.keys,
    }
}

/// A limit that is there to make keys.
pub(crate) fn to_hash(number: usize, key: &[LimitKey]) -> Limit {
    let rate = Rate::per_second(1);
    Limit {
        name: number.to_string().as_str().into(),
        counting: LimitCounting {
            key: key.to_vec(),
            missing: MissingKey::Skip,
            prefix_v4: 32,
            prefix_v6: 64,
            kind: LimitKind::Gcra { delay: Duration::ZERO },
            pace: LimitPace::Rate { rate, burst: 1 },
            cost: 1,
            costs: None,
            max_keys: MAX_KEYS,
            shared: None,
        },
        overrides: Vec::new(),
        overrides_file: None,
        overrides_read: [].into(),
        exempt: Vec::new(),
        deny: Vec::new(),
        answer: LimitAnswer {
            status: 429,
            body: None,
            content_type: "text/plain".into(),
            headers: LimitHeaders::WhenRefused,
            jitter: Duration::ZERO,
        },
        enforcement: LimitEnforcement::FULL,
        note: LimitNote::default(),
    }
}

/// A number as large at least, with two digits that are not zero.
fn rounded_up(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are not that large"
    )]
    let mut number = (number - 1e-9).ceil().max(1.0) as u64;
    let mut factor = 1;
    while number >= 100 {
        number = number.div_ceil(10);
        factor *= 10;
    }
    number * factor
}

/// What a part of a key is called in a configuration.
#[must_use]
pub(crate) fn part_name(part: &LimitKey) -> String {
    match part {
        LimitKey::Part(HashPart::ClientIp) => "client_ip".to_owned(),
        LimitKey::Part(HashPart::Host) => "host".to_owned(),
        LimitKey::Part(HashPart::Path) => "path".to_owned(),
        LimitKey::Part(HashPart::Sni) => "sni".to_owned(),
        LimitKey::Part(HashPart::DestinationPort) => "destination_port".to_owned(),
        LimitKey::Part(HashPart::Header(name)) => format!("header:{name}"),
        LimitKey::Part(HashPart::Cookie(name)) => format!("cookie:{name}"),
        LimitKey::Part(HashPart::Query(name)) => format!("query:{name}"),
        LimitKey::Method => "method".to_owned(),
        LimitKey::Route => "route".to_owned(),
        LimitKey::TlsName => "tls_name".to_owned(),
        LimitKey::User => "user".to_owned(),
    }
}

/// Reads a part of a key as a configuration has it.
#[must_use]
pub fn part_of(name: &str) -> Option<LimitKey> {
    let named = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    if let Some(header) = named("header:") {
        return Some(LimitKey::Part(HashPart::Header(header.to_ascii_lowercase().into())));
    }
    if let Some(cookie) = named("cookie:") {
        return Some(LimitKey::Part(HashPart::Cookie(cookie.into())));
    }
    if let Some(query) = named("query:") {
        return Some(LimitKey::Part(HashPart::Query(query.into())));
    }
    let simple = [
        LimitKey::Part(HashPart::ClientIp),
        LimitKey::Part(HashPart::Host),
        LimitKey::Part(HashPart::Path),
        LimitKey::Method,
        LimitKey::Route,
        LimitKey::TlsName,
    ];
    simple.into_iter().find(|part| part_name(part) == name)
}

/// The parts of a key as a configuration has them.
#[must_use]
pub fn key_text(key: &[LimitKey]) -> String {
    let quoted = |part| match part_name(part) {
        name if name.contains(':') => format!("\"{name}\""),
        name => name,
    };
    match key {
        [only] => quoted(only),
        several => format!("[{}]", several.iter().map(quoted).collect::<Vec<_>>().join(", ")),
    }
}

/// A rate as a configuration has it.
#[must_use]
pub fn rate_text(rate: Rate) -> String {
    format!("{}/{}", rate.units(), period_text(rate))
}

/// The time of a rate as a configuration has it.
#[must_use]
pub fn period_text(rate: Rate) -> String {
    let period = rate.period();
    match period.as_secs() {
        1 => "s".to_owned(),
        60 => "min".to_owned(),
        3_600 => "h".to_owned(),
        86_400 => "day".to_owned(),
        seconds if period.subsec_nanos() == 0 => format!("{seconds}s"),
        _ => format!("{}ms", period.as_millis()),
    }
}

fn unit(window: Duration) -> &'static str {
    match window.as_secs() {
        1 => "second",
        60 => "minute",
        _ => "hour",
    }
}

/// A part as a percentage without more digits than it has.
fn percent_text(part: f64) -> String {
    let percent = (part * 1e8).round() / 1e6;
    format!("{percent}").replace('.', "-")
}

fn fit_for_a_name(character: char) -> char {
    if character.is_ascii_alphanumeric() {
        character
    } else {
        '-'
    }
}

/// Suggestions as a part of a configuration, each with what came of it when it was replayed by itself.
#[must_use]
pub fn yaml(suggestions: &[Suggestion], replayed: &[LimitReport], requests: u64) -> String {
    let mut yaml = String::from("limits:\n");
    for (suggestion, report) in suggestions.iter().zip(replayed) {
        let limit = &suggestion.limit;
        let LimitPace::Rate { rate, .. } = limit.counting.pace else {
            continue;
        };
        let percent = suggestion.percentile * 100.0;
        let share = report.over() as f64 / requests.max(1) as f64 * 100.0;
        // Writing to a string never fails.
        let _ = write!(
            yaml,
            "  # {percent} % of the keys ask {} or fewer per {}. Replayed: refuses {} of {requests} requests\n  \
             # ({share:.3} %), and {} of {} keys something.\n  {}: {{ key: {}, rate: {}, mode: shadow }}\n",
            suggestion.asked,
            unit(suggestion.window),
            report.over(),
            report.peaks.refused,
            suggestion.keys,
            limit.name,
            key_text(&limit.counting.key),
            rate_text(rate),
        );
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_round_and_never_lower() {
        let check = |number: f64, expected| assert_eq!(rounded_up(number), expected, "{number}");
        check(0.0, 1);
        check(1.5, 2);
        check(99.0, 99);
        check(99.1, 100);
        check(101.0, 110);
        check(1_234.0, 1_300);
        check(1_234_567.0, 1_300_000);
    }

    #[test]
    fn parts_are_read_as_they_are_written() {
        for name in [
            "client_ip",
            "host",
            "path",
            "method",
            "route",
            "tls_name",
            "header:x-user",
            "cookie:a",
            "query:b",
        ] {
            assert_eq!(part_of(name).map(|part| part_name(&part)).as_deref(), Some(name));
        }
        for name in ["", "header:", "ip", "sni"] {
            assert_eq!(part_of(name), None, "{name}");
        }
    }

    #[test]
    fn proposals_of_what_was_measured() {
        let measured = Measured {
            key: vec![part_of("client_ip").unwrap(), part_of("header:x-user").unwrap()],
            keys: 1_000,
            one_of: 1,
            requests: 5_000,
            unknown: 0,
            missing: 0,
            spans: vec![Span {
                window: Duration::from_secs(60),
                at: vec![(0.99, 20), (0.999, 20), (1.0, 300)],
                median: 1,
                most: 300,
            }],
        };
        let proposals = proposals(&[measured], 1.5);
        let names: Vec<_> = proposals.iter().map(|it| (&*it.limit.name, it.asked)).collect();
        let prefix = "client-ip-header-x-user-minute";
        assert_eq!(
            names,
            [(&*format!("{prefix}-p99"), 20), (&*format!("{prefix}-p100"), 300)]
        );
        let rates = proposals.iter().map(|it| it.limit.counting.pace);
        let expected = [30, 450].map(|units| LimitPace::Rate {
            rate: Rate::per_minute(units),
            burst: units,
        });
        assert_eq!(rates.collect::<Vec<_>>(), expected);
        assert_eq!(
            key_text(&proposals[0].limit.counting.key),
            "[client_ip, \"header:x-user\"]"
        );
    }
}
