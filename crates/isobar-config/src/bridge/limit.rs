//! What do limits ask of the data plane?

pub(super) mod bytes;
mod costs;
mod logs;

use std::net::IpAddr;
use std::time::Duration;

use isobar_plan::{
    GuardRules, HashPart, LimitAnswer, LimitCounting, LimitEnforcement, LimitHeaders, LimitKey, LimitKind, LimitMode,
    LimitNote, LimitPace, MOST_LIMITS,
};

pub(crate) use bytes::of_bytes;

use super::Bridge;
use crate::document::{
    Label, Limit, LimitAlgorithm, LimitGuard, LimitKeyPart, LimitOverride, Named, OverrideKey, Remark, Whole,
};
use crate::problem::{Path, Problem, Problems};
use crate::setting::Word;
use crate::units::{Burst, Network, Pace, Span, Timestamp};

/// What lies between the values of the parts of a key.
const BETWEEN: char = '|';

pub(super) fn limits(written: &Named<Label, Limit>, problems: &mut Problems) -> Vec<isobar_plan::Limit> {
    let root = Path::ROOT.key("limits");
    let limit = |(name, written): &(Label, Limit)| {
        let mut limit = one(name, written, root.key(name.as_str()), problems);
        limit.fit_logs();
        limit
    };
    written.iter().map(limit).collect()
}

fn one(name: &Label, written: &Limit, at: Path<'_>, problems: &mut Problems) -> isobar_plan::Limit {
    let Limit {
        key,
        algorithm,
        rate: _,
        burst: _,
        max_requests: _,
        direction: _,
        exhausted: _,
        delay,
        cost,
        missing,
        prefix_v4,
        prefix_v6,
        overrides,
        overrides_file,
        exempt,
        deny,
        status,
        body,
        content_type,
        headers,
        jitter,
        mode,
        enforce,
        owner,
        reason,
        expires,
        disarm_above,
        shared: _,
        on_loss: _,
        max_keys,
    } = written;
    check(written, at, problems);
    bytes::check(written, at, problems);
    logs::check(written, at, problems);
    let pace = own_pace(written, at, problems);
    let counting = LimitCounting {
        key: key.0.iter().map(|part| part.part()).collect(),
        missing: *missing,
        prefix_v4: u8::try_from(prefix_v4.value()).unwrap_or(32),
        prefix_v6: u8::try_from(prefix_v6.value()).unwrap_or(128),
        kind: kind(written, *algorithm, delay.0.map_or(Duration::ZERO, Span::duration)),
        pace,
        cost: self::cost(*algorithm, cost.default.value()),
        costs: costs::costs(written, pace, at.key("cost"), problems),
        max_keys: max_keys.value(),
        shared: None, // Who with is found out when stores are known.
    };
    isobar_plan::Limit {
        name: name.as_str().into(),
        overrides: self::overrides(overrides, &counting, at.key("overrides"), problems),
        overrides_file: overrides_file.as_ref().map(|file| file.as_str().into()),
        overrides_read: [].into(),
        exempt: ranges(exempt),
        deny: ranges(deny),
        answer: LimitAnswer {
            status: u16::try_from(status.value()).unwrap_or(429),
            body: text(body.as_ref()),
            content_type: content_type.as_str().into(),
            headers: told(*headers),
            jitter: jitter.0.map_or(Duration::ZERO, Span::duration),
        },
        enforcement: enforcement((*mode, enforce.value()), expires.0, disarm_above.0.as_ref()),
        note: note(owner.as_ref(), reason.as_ref()),
        counting,
    }
}

fn enforcement(
    (mode, percent): (LimitMode, u32),
    expires: Option<Timestamp>,
    disarm_above: Option<&LimitGuard>,
) -> LimitEnforcement {
    LimitEnforcement {
        mode,
        part: percent * 100,
        expires: expires.map(Timestamp::since_1970),
        guard: disarm_above.map(guard),
    }
}

// tidy: allow(boolean-parameter): it is a setting that is on or off.
const fn told(headers: bool) -> LimitHeaders {
    match headers {
        true => LimitHeaders::Always,
        false => LimitHeaders::WhenRefused,
    }
}

fn cost(algorithm: LimitAlgorithm, written: u32) -> u64 {
    match algorithm {
        // Bytes are counted when they go.
        LimitAlgorithm::Bandwidth => 0,
        _ => written.into(),
    }
}

fn ranges(written: &[Network]) -> Vec<isobar_plan::Cidr> {
    written.iter().filter_map(|network| network.cidr()).collect()
}

fn note(owner: Option<&Remark>, reason: Option<&Remark>) -> LimitNote {
    LimitNote {
        owner: text(owner),
        reason: text(reason),
    }
}

fn text(remark: Option<&Remark>) -> Option<Box<str>> {
    remark.map(|remark| remark.as_str().into())
}

fn kind(written: &Limit, algorithm: LimitAlgorithm, delay: Duration) -> LimitKind {
    match algorithm {
        LimitAlgorithm::Gcra => LimitKind::Gcra { delay },
        LimitAlgorithm::TokenBucket => LimitKind::TokenBucket,
        LimitAlgorithm::FixedWindow => LimitKind::FixedWindow,
        LimitAlgorithm::SlidingWindow => LimitKind::SlidingWindow,
        // Made to fit when the other rates are known.
        LimitAlgorithm::SlidingLog => LimitKind::SlidingLog { units: 0 },
        LimitAlgorithm::Concurrency => LimitKind::Concurrency,
        LimitAlgorithm::Bandwidth => bytes::kind(written),
    }
}

fn guard(written: &LimitGuard) -> GuardRules {
    let LimitGuard {
        share,
        min_requests,
        window,
        watch,
    } = written;
    GuardRules {
        most_refused: share.value() * 100,
        min_requests: min_requests.value(),
        window: window.duration(),
        watch: watch.duration(),
    }
}

/// Reports what the algorithm has no use for.
fn check(written: &Limit, at: Path<'_>, problems: &mut Problems) {
    let mut useless = |key: &str, is_written: bool, of: &str| {
        if is_written {
            let message = format!("`{key}` is for {of}");
            problems.push(Problem::error(at.key(key), message).on_key().needs(at.key("algorithm")));
        }
    };
    let is_concurrency = written.algorithm == LimitAlgorithm::Concurrency;
    let has_burst = matches!(
        written.algorithm,
        LimitAlgorithm::Gcra | LimitAlgorithm::TokenBucket | LimitAlgorithm::Bandwidth
    );
    useless(
        "rate",
        is_concurrency && written.rate.is_some(),
        "algorithms that count over time",
    );
    useless(
        "burst",
        !has_burst && written.burst.is_some(),
        "`gcra`, `token_bucket` and `bandwidth`",
    );
    useless(
        "max_requests",
        !is_concurrency && written.max_requests.is_some(),
        "`concurrency`",
    );
    useless(
        "delay",
        written.algorithm != LimitAlgorithm::Gcra && written.delay.0.is_some(),
        "`gcra`",
    );
    if written.key.0.is_empty() {
        problems.push(Problem::error(at.key("key"), "a key has one part at least").help("key: client_ip"));
    }
}

/// The pace that the limit itself has.
fn own_pace(written: &Limit, at: Path<'_>, problems: &mut Problems) -> LimitPace {
    let stated = Stated {
        rate: written.rate,
        burst: written.burst,
        max_requests: written.max_requests,
    };
    let pace = stated.pace(written.algorithm).unwrap_or_else(|(key, example)| {
        let problem = Problem::error(at.key(key), format!("the key `{key}` is missing"));
        problems.push(problem.on_key().help(example));
        FALLBACK
    });
    if let LimitPace::Rate { burst, .. } = pace
        && written.algorithm != LimitAlgorithm::Bandwidth
        && u64::from(written.cost.default.value()) > burst
        && written.delay.0.is_none()
    {
        let message = format!(
            "no request can pass: one costs {}, and there are never more than {burst}",
            written.cost.default.value()
        );
        problems.push(Problem::error(at.key("cost"), message).on_key());
    }
    pace
}

const FALLBACK: LimitPace = LimitPace::AtOnce(1);

/// A pace as it is written.
#[derive(Clone, Copy)]
struct Stated {
    rate: Option<Pace>,
    burst: Option<Burst>,
    max_requests: Option<Whole<1, 10_000_000>>,
}

impl Stated {
    /// *Errors*: the key that is missing, and an example.
    fn pace(self, algorithm: LimitAlgorithm) -> Result<LimitPace, (&'static str, &'static str)> {
        if algorithm == LimitAlgorithm::Concurrency {
            let most = self.max_requests.ok_or(("max_requests", "max_requests: 10"))?;
            return Ok(LimitPace::AtOnce(most.value().into()));
        }
        let example = match algorithm {
            LimitAlgorithm::Bandwidth => "rate: 10MB/s",
            _ => "rate: 100/min",
        };
        let rate = self.rate.ok_or(("rate", example))?;
        Ok(LimitPace::Rate {
            rate: own_rate(rate),
            burst: self.burst.map_or(rate.units(), Burst::units),
        })
    }
}

fn own_rate(pace: Pace) -> isobar_plan::Rate {
    isobar_plan::Rate::new(pace.units(), pace.period())
}

fn algorithm(kind: LimitKind) -> LimitAlgorithm {
    match kind {
        LimitKind::Gcra { .. } => LimitAlgorithm::Gcra,
        LimitKind::TokenBucket => LimitAlgorithm::TokenBucket,
        LimitKind::FixedWindow => LimitAlgorithm::FixedWindow,
        LimitKind::SlidingWindow => LimitAlgorithm::SlidingWindow,
        LimitKind::SlidingLog { .. } => LimitAlgorithm::SlidingLog,
        LimitKind::Concurrency => LimitAlgorithm::Concurrency,
        LimitKind::Bandwidth { .. } => LimitAlgorithm::Bandwidth,
    }
}

fn overrides(
    written: &Named<OverrideKey, LimitOverride>,
    counting: &LimitCounting,
    at: Path<'_>,
    problems: &mut Problems,
) -> Vec<isobar_plan::LimitOverride> {
    let mut overrides = Vec::with_capacity(written.0.len());
    for (key, other) in written.iter() {
        let at = at.key(key.as_str());
        let LimitOverride {
            rate,
            burst,
            max_requests,
        } = other;
        let stated = Stated {
            rate: *rate,
            burst: *burst,
            max_requests: *max_requests,
        };
        let key = match values(key.as_str(), &counting.key) {
            Ok(key) => key,
            Err(message) => {
                problems.push(Problem::error(at, message).on_key());
                continue;
            }
        };
        match stated.pace(algorithm(counting.kind)) {
            Ok(pace) => overrides.push(isobar_plan::LimitOverride { key, pace }),
            Err((missing, example)) => {
                let problem = Problem::error(at, format!("the key `{missing}` is missing"));
                problems.push(problem.help(example));
            }
        }
    }
    overrides
}

/// The value of each part of a key.
///
/// *Errors*: why no request has it.
pub(super) fn values(key: &str, parts: &[LimitKey]) -> Result<Box<[Box<str>]>, String> {
    let values: Box<[Box<str>]> = match parts.len() {
        1 => [key.into()].into(),
        _ => key.split(BETWEEN).map(|value| value.trim().into()).collect(),
    };
    if values.len() != parts.len() {
        let (has, wants) = (values.len(), parts.len());
        return Err(format!(
            "the key has {wants} parts, with `{BETWEEN}` between them, and this value has {has}"
        ));
    }
    for (part, value) in parts.iter().zip(&values) {
        let shown = value.escape_debug();
        match part {
            LimitKey::Part(HashPart::ClientIp) if value.parse::<IpAddr>().is_err() => {
                return Err(format!("`{shown}` is no address of a client"));
            }
            LimitKey::Route if !value.contains('/') => {
                return Err(format!("`{shown}` is no route; write it as in `LISTENER/ROUTE`"));
            }
            _ => {}
        }
    }
    Ok(values)
}

/// Reads the file of a limit with rates by key: a key and a rate on each line, or a number where requests in flight are limited.
///
/// *Errors*: the first line that cannot be read, and why; the writer's fault.
pub fn read_overrides(text: &str, counting: &LimitCounting) -> Result<Vec<isobar_plan::LimitOverride>, String> {
    lines(text, &counting.key, (algorithm(counting.kind), counting.max_keys))
}

/// Whether a limit that is written so, for so many keys, can read the file.
///
/// *Errors*: as for [`read_overrides`].
pub fn check_overrides(text: &str, key: &[LimitKeyPart], algorithm: (LimitAlgorithm, u32)) -> Result<(), String> {
    let key: Vec<_> = key.iter().map(LimitKeyPart::part).collect();
    lines(text, &key, algorithm).map(drop)
}

fn lines(
    text: &str,
    key: &[LimitKey],
    (algorithm, max_keys): (LimitAlgorithm, u32),
) -> Result<Vec<isobar_plan::LimitOverride>, String> {
    let mut overrides = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let read = self::line(line, key, algorithm).and_then(|read| match algorithm {
                LimitAlgorithm::SlidingLog => logs::fitting(read, max_keys),
                _ => Ok(read),
            });
            overrides.push(read.map_err(|why| format!("line {number}: {why}"))?);
        }
    }
    Ok(overrides)
}

fn line(line: &str, key: &[LimitKey], algorithm: LimitAlgorithm) -> Result<isobar_plan::LimitOverride, String> {
    let Some((value, pace)) = line.rsplit_once([' ', '\t']) else {
        return Err("a line has a key and a rate, as in `10.0.0.7 1000/min`".to_owned());
    };
    let pace = match algorithm {
        LimitAlgorithm::Concurrency => {
            let most = pace.parse().ok().filter(|most| *most > 0);
            LimitPace::AtOnce(most.ok_or_else(|| format!("`{}` is no number of requests", pace.escape_debug()))?)
        }
        _ => {
            let rate: Pace = pace
                .parse()
                .map_err(|error: crate::units::UnitError| error.to_string())?;
            if rate.is_of_bytes() != (algorithm == LimitAlgorithm::Bandwidth) {
                let what = if rate.is_of_bytes() { "bytes" } else { "requests" };
                return Err(format!(
                    "`{rate}` is a rate of {what}, and the limit counts something else"
                ));
            }
            LimitPace::Rate {
                rate: own_rate(rate),
                burst: rate.units(),
            }
        }
    };
    let key = values(value.trim_end(), key)?;
    Ok(isobar_plan::LimitOverride { key, pace })
}

impl Bridge<'_> {
    /// The names of the limits that the listener's routes share, then those of the route; each once.
    pub(super) fn limits_of(&mut self, own: &[Label], at: Path<'_>) -> Vec<isobar_plan::Name> {
        self.check_limits(own, at);
        let mut names: Vec<isobar_plan::Name> = Vec::new();
        for name in self.shared_limits.iter().chain(own) {
            if !names.iter().any(|other| **other == *name.as_str()) {
                names.push(name.as_str().into());
            }
        }
        if names.len() > MOST_LIMITS {
            let message = format!(
                "a request falls under {MOST_LIMITS} limits at most, these are {}",
                names.len()
            );
            self.problems.push(Problem::error(at, message));
            names.truncate(MOST_LIMITS);
        }
        names
    }

    /// Reports limits that do not exist.
    pub(super) fn check_limits(&mut self, names: &[Label], at: Path<'_>) {
        for (index, name) in names.iter().enumerate() {
            let known = self.limits.iter().position(|(other, _)| other == name);
            match known.and_then(|known| self.used_limits.get_mut(known)) {
                Some(used) => *used = true,
                None => {
                    let problem = Problem::error(at.index(index), format!("there is no limit `{}`", name.write()));
                    let problem = problem.needs(Path::ROOT.key("limits"));
                    let help = match self.limits.0.is_empty() {
                        true => format!("limits: {{ {name}: {{ key: client_ip, rate: 100/min }} }}"),
                        false => {
                            let names = self.limits.iter().map(|(name, _)| name.as_str());
                            crate::setting::help_for_word(name.as_str(), "limits", names)
                        }
                    };
                    self.problems.push(problem.help(help));
                }
            }
        }
    }

    /// Warns of limits that nobody names.
    pub(super) fn unused_limits(&self, problems: &mut Problems) {
        let root = Path::ROOT.key("limits");
        for ((name, _), _) in self.limits.iter().zip(&self.used_limits).filter(|(_, used)| !**used) {
            let message = format!("no route or listener names the limit `{name}`");
            problems.push(Problem::warning(root.key(name.as_str()), message).on_key());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, key: &[&str], algorithm: LimitAlgorithm) -> Result<usize, String> {
        let key: Vec<_> = key.iter().map(|part| LimitKeyPart::read(part).unwrap()).collect();
        let algorithm = (algorithm, 100_000);
        check_overrides(text, &key, algorithm)?;
        let key: Vec<_> = key.iter().map(LimitKeyPart::part).collect();
        lines(text, &key, algorithm).map(|overrides| overrides.len())
    }

    #[test]
    fn files_of_overrides() {
        use LimitAlgorithm::{Concurrency, Gcra};
        let check = |text: &str, key: &[&str], algorithm, expected: Result<usize, &str>| {
            assert_eq!(read(text, key, algorithm), expected.map_err(str::to_owned), "{text}");
        };
        check("", &["client_ip"], Gcra, Ok(0));
        check(
            "# partners\n\n10.0.0.7 1000/min\n 2001:db8::1\t5/s \n",
            &["client_ip"],
            Gcra,
            Ok(2),
        );
        check("a b c 5/s", &["header:x-user"], Gcra, Ok(1));
        check("10.0.0.7|bob 5/s", &["client_ip", "header:x-user"], Gcra, Ok(1));
        check("10.0.0.7 8", &["client_ip"], Concurrency, Ok(1));
        check(
            "10.0.0.7 5/s\n10.0.0.8",
            &["client_ip"],
            Gcra,
            Err("line 2: a line has a key and a rate, as in `10.0.0.7 1000/min`"),
        );
        check(
            "bob 5/s",
            &["client_ip"],
            Gcra,
            Err("line 1: `bob` is no address of a client"),
        );
        check(
            "10.0.0.7 0",
            &["client_ip"],
            Concurrency,
            Err("line 1: `0` is no number of requests"),
        );
        check(
            "web 5/s",
            &["route"],
            Gcra,
            Err("line 1: `web` is no route; write it as in `LISTENER/ROUTE`"),
        );
        check(
            "bob 5/s",
            &["client_ip", "method"],
            Gcra,
            Err("line 1: the key has 2 parts, with `|` between them, and this value has 1"),
        );
        check("10.0.0.7 5MB/s", &["client_ip"], LimitAlgorithm::Bandwidth, Ok(1));
        check(
            "10.0.0.7 5MB/s",
            &["client_ip"],
            Gcra,
            Err("line 1: `5000000B/s` is a rate of bytes, and the limit counts something else"),
        );
        check(
            "10.0.0.7 5/s",
            &["client_ip"],
            LimitAlgorithm::Bandwidth,
            Err("line 1: `5/s` is a rate of requests, and the limit counts something else"),
        );
        check("10.0.0.7 50/min", &["client_ip"], LimitAlgorithm::SlidingLog, Ok(1));
        check(
            "10.0.0.7 5/min\n10.0.0.8 51/min",
            &["client_ip"],
            LimitAlgorithm::SlidingLog,
            Err("line 2: logs of 51 requests for 100000 keys take more than 64 MiB; `max_keys: 98039` would fit"),
        );
        check(
            "10.0.0.7 1001/h",
            &["client_ip"],
            LimitAlgorithm::SlidingLog,
            Err("line 1: a log has room for 1000 requests at most, and not for 1001; \
                write `algorithm: gcra` or `algorithm: sliding_window`, which take any rate"),
        );
        check(
            "10.0.0.7 5/m",
            &["client_ip"],
            Gcra,
            Err("line 1: expected a rate such as `100/min`, found `5/m`; did you mean `5/min`?"),
        );
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "(\\PC{0,12}[ \\t|]{0,2}[0-9]{0,4}/?[a-z]{0,4}\\n){0,4}") {
            for algorithm in [LimitAlgorithm::Gcra, LimitAlgorithm::Concurrency] {
                let _ = read(&text, &["client_ip"], algorithm);
                let _ = read(&text, &["header:a", "route"], algorithm);
            }
        }
    }
}
