//! Does a scenario make sense, and what does it ask of the simulator?
//!
//! The one way from [`ScenarioDocument`] to [`Scenario`]. Every section is taken apart without `..`, so that a key
//! which is declared but forgotten here does not compile.

mod arrivals;
mod events;
mod servers;

use isobar_sim::{Balancers, Counters, Keys, Queue, Reports, Retry, Scenario, Service, Shape};

use super::Decimal;
use super::document::{self, ScenarioDocument, ServiceKind};
use crate::document::OrNone;
use crate::problem::{Path, Problem, Problems};
use crate::units::Span;

/// Servers that are simulated at most.
const MAX_SERVERS: u32 = 20_000;

/// Judges a document as a whole.
pub(super) fn judge(document: &ScenarioDocument, problems: &mut Problems) -> Scenario {
    let mut later = Problems::default();
    let scenario = bridge(document, &mut later);
    problems.extend_with_consequences(later);
    if !problems.has_errors() {
        let mut warnings = Problems::default();
        warn(document, &scenario, &mut warnings);
        problems.extend_with_consequences(warnings);
    }
    scenario
}

fn bridge(document: &ScenarioDocument, problems: &mut Problems) -> Scenario {
    let ScenarioDocument {
        servers,
        arrivals,
        service,
        balance,
        choices,
        bounded_load,
        balancers,
        keys,
        timeout,
        adaptive_concurrency,
        retry,
        queue,
        outlier_detection,
        reports,
        probe_time,
        events,
        requests,
        warm_up,
        seed,
    } = document;
    let mut list = servers::servers(servers, problems);
    let changes = events::changes(events, &mut list, problems);
    let ejecting = Path::ROOT.key("outlier_detection");
    let outliers = crate::bridge::outlier_detection(outlier_detection, ejecting, problems);
    if let Some(outliers) = &outliers {
        crate::bridge::warn_of_few_servers(outliers, list.servers.len(), ejecting, problems);
    }
    let adaptive = adaptive_concurrency.0.as_ref().map(|written| {
        let limits = list.servers.iter().map(|server| server.limit);
        let at = Path::ROOT.key("adaptive_concurrency");
        crate::bridge::adaptive_concurrency(written, limits, at, problems)
    });
    let mut scenario = Scenario {
        balance: crate::bridge::balance((*balance, *choices), Path::ROOT, problems),
        bound_percent: bounded_load.0.map(hundredths),
        balancers: self::balancers(balancers),
        servers: list.servers,
        arrivals: isobar_sim::Arrivals::Poisson { rate: 1.0 },
        service: self::service(service, problems),
        keys: self::keys(keys),
        timeout: timeout.0.map(nanoseconds),
        adaptive,
        retry: self::retry(retry),
        queue: self::queue(queue),
        outliers,
        reports: match reports {
            document::Reports::WhenProbed => Reports::WhenProbed,
            document::Reports::InAnswers => Reports::InAnswers,
            document::Reports::Nothing => Reports::None,
        },
        probe_time: probe_time.nanoseconds(),
        changes,
        requests: u64::from(requests.value()),
        warm_up: 0,
        seed: u64::from(seed.value()),
    };
    arrivals::set(arrivals, &mut scenario, problems);
    scenario.warm_up = part(scenario.requests, warm_up.value());
    scenario
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a part of a whole number that is less than all of it"
)]
fn part(whole: u64, part: f64) -> u64 {
    (whole as f64 * part) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the factor is from 1 to 1000"
)]
fn hundredths(factor: Decimal<1_000, 1_000_000>) -> u32 {
    (factor.value() * 100.0).round() as u32
}

fn nanoseconds(span: Span) -> u64 {
    u64::try_from(span.duration().as_nanos()).unwrap_or(u64::MAX)
}

fn balancers(written: &document::Balancers) -> Balancers {
    let document::Balancers { count, counters } = written;
    Balancers {
        count: count.value(),
        counters: match counters {
            document::Counters::Shared => Counters::Shared,
            document::Counters::Own => Counters::Own,
        },
    }
}

fn keys(written: &OrNone<document::Keys>) -> Option<Keys> {
    let document::Keys { count, skew } = written.0.as_ref()?;
    Some(Keys {
        count: count.value(),
        skew: skew.value(),
    })
}

fn retry(written: &document::Retries) -> Retry {
    let document::Retries { attempts, budget } = written;
    Retry {
        attempts: attempts.value(),
        budget: crate::bridge::retry_budget(budget),
    }
}

fn queue(written: &document::QueueLimits) -> Queue {
    let document::QueueLimits { max, timeout } = written;
    Queue {
        max: max.value(),
        timeout: timeout.0.map(nanoseconds),
    }
}

fn service(written: &document::Service, problems: &mut Problems) -> Service {
    let document::Service {
        r#type,
        mean,
        variation,
        large,
        factor,
    } = written;
    let at = Path::ROOT.key("service");
    let spread = matches!(r#type, ServiceKind::Lognormal | ServiceKind::TruncatedNormal);
    let bimodal = *r#type == ServiceKind::Bimodal;
    refuse_where(
        at,
        "variation",
        variation.is_some() && !spread,
        "lognormal` and `truncated_normal",
        problems,
    );
    refuse_where(at, "large", large.is_some() && !bimodal, "bimodal", problems);
    refuse_where(at, "factor", factor.is_some() && !bimodal, "bimodal", problems);
    let variation = variation.map_or(1.0, |variation| variation.value());
    Service {
        mean: mean.nanoseconds() as f64,
        shape: match r#type {
            ServiceKind::Exponential => Shape::Exponential,
            ServiceKind::Deterministic => Shape::Deterministic,
            ServiceKind::Lognormal => Shape::Lognormal { variation },
            ServiceKind::TruncatedNormal => Shape::TruncatedNormal { variation },
            ServiceKind::Bimodal => Shape::Bimodal {
                large: large.map_or(0.1, |large| large.value()),
                factor: factor.map_or(10.0, |factor| factor.value()),
            },
        },
    }
}

/// Reports a key that means nothing beside the type or action that was chosen.
// tidy: allow(boolean-parameter): the parameter is the question that the name asks.
fn refuse_where(at: Path<'_>, key: &str, wrong: bool, only_for: &str, problems: &mut Problems) {
    if wrong {
        let problem = Problem::error(at.key(key), format!("`{key}` is only for `{only_for}`"));
        problems.push(problem.on_key());
    }
}

/// What can be simulated, but hardly says what was meant.
fn warn(document: &ScenarioDocument, scenario: &Scenario, problems: &mut Problems) {
    let load = scenario.load();
    let arrivals = Path::ROOT.key("arrivals");
    if load >= 1.0 && load.is_finite() {
        let message = format!("the requests are {load:.2} times what the servers can do: they pile up until the end");
        let limited = scenario.timeout.is_some()
            || scenario.adaptive.is_some()
            || scenario.servers.iter().all(|server| server.limit.is_some());
        if !limited {
            problems.push(Problem::warning(arrivals, message).on_key());
        }
    }
    if document.bounded_load.0.is_some() && !scenario.balance.is_keyed() {
        let message = format!("a bound on the load has no effect on `{}`", scenario.balance);
        problems.push(Problem::warning(Path::ROOT.key("bounded_load"), message).on_key());
    }
    let seconds = scenario.requests as f64 / scenario.rate();
    let events = Path::ROOT.key("events");
    for (index, event) in document.events.iter().enumerate() {
        if event.at.nanoseconds() as f64 / 1e9 > seconds {
            let message = format!("this comes after the last request, at about {seconds:.1}s");
            problems.push(Problem::warning(events.index(index).key("at"), message));
        }
    }
}
