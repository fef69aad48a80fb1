//! When do requests come?

use std::collections::HashMap;

use isobar_sim::{Arrivals, Scenario, Traced};

use super::refuse_where;
use crate::document::{Label, Whole};
use crate::problem::{Path, Problem, Problems};
use crate::scenario::Fine;
use crate::scenario::document::{self, ArrivalKind, TracedRequest};

/// Sets the arrivals of a scenario whose servers and service time are known; and how many there are, where a trace
/// has fewer than are asked for.
pub(super) fn set(written: &document::Arrivals, scenario: &mut Scenario, problems: &mut Problems) {
    let document::Arrivals {
        r#type,
        load,
        rate,
        on,
        off,
        size,
        requests,
    } = written;
    let at = Path::ROOT.key("arrivals");
    let kind = *r#type;
    refuse_where(
        at,
        "on",
        on.is_some() && kind != ArrivalKind::Bursts,
        "bursts",
        problems,
    );
    refuse_where(
        at,
        "off",
        off.is_some() && kind != ArrivalKind::Bursts,
        "bursts",
        problems,
    );
    refuse_where(
        at,
        "size",
        size.is_some() && kind != ArrivalKind::Batches,
        "batches",
        problems,
    );
    let listed = !requests.is_empty();
    refuse_where(at, "requests", listed && kind != ArrivalKind::Trace, "trace", problems);
    if kind == ArrivalKind::Trace {
        let paced = load.is_some() || rate.is_some();
        if paced {
            let key = if load.is_some() { "load" } else { "rate" };
            let message = format!("`{key}` has no meaning for `trace`: the requests say when they come");
            problems.push(Problem::error(at.key(key), message).on_key());
        }
        return trace(requests, scenario, problems);
    }
    let asked = [load.map(|load| load.value()), rate.map(|rate| rate.value())];
    let rate = rate_of(asked, scenario, problems);
    scenario.arrivals = match kind {
        ArrivalKind::Poisson | ArrivalKind::Trace => Arrivals::Poisson { rate },
        ArrivalKind::Bursts => bursts(rate, [on, off], problems),
        ArrivalKind::Batches => batches(rate, *size, problems),
    };
}

fn bursts(rate: f64, [on, off]: [&Option<Fine>; 2], problems: &mut Problems) -> Arrivals {
    let mut length = |key: &str, written: &Option<Fine>| {
        if written.is_none() {
            missing(key, "bursts", problems);
        }
        written.map_or(1.0, |fine| fine.nanoseconds() as f64)
    };
    Arrivals::Bursts {
        rate,
        on: length("on", on),
        off: length("off", off),
    }
}

fn batches(rate: f64, size: Option<Whole<1, 1_000_000>>, problems: &mut Problems) -> Arrivals {
    if size.is_none() {
        missing("size", "batches", problems);
    }
    Arrivals::Batches {
        rate,
        size: size.map_or(1, |size| size.value()),
    }
}

fn missing(key: &str, kind: &str, problems: &mut Problems) {
    let at = Path::ROOT.key("arrivals");
    let message = format!("the key `{key}` is missing, which `{kind}` needs");
    problems.push(Problem::error(at, message).needs(at.key(key)));
}

/// Requests in a second, from the load or the rate that was asked for.
fn rate_of([load, rate]: [Option<f64>; 2], scenario: &Scenario, problems: &mut Problems) -> f64 {
    let at = Path::ROOT.key("arrivals");
    match (load, rate) {
        (None, Some(rate)) => rate,
        (Some(load), None) => {
            let capacity = scenario.capacity();
            if capacity <= 0.0 && !scenario.servers.is_empty() {
                let message = "a `load` of no servers means nothing: none is there at the start";
                problems.push(Problem::error(at.key("load"), message).help("use `rate`"));
                return 1.0;
            }
            (load * capacity * 1e9 / scenario.service.mean).max(f64::MIN_POSITIVE)
        }
        (Some(_), Some(_)) => {
            let problem = Problem::error(at.key("rate"), "`load` and `rate` say the same twice").on_key();
            problems.push(problem.help("remove one of them"));
            1.0
        }
        (None, None) => {
            let problem = Problem::error(at, "how many requests come is not said").on_key();
            problems.push(problem.help("write a `load` such as 0.7, or a `rate` a second"));
            1.0
        }
    }
}

fn trace(requests: &[TracedRequest], scenario: &mut Scenario, problems: &mut Problems) {
    let root = Path::ROOT.key("arrivals");
    let at = root.key("requests");
    if requests.is_empty() {
        problems.push(Problem::error(at, "the trace has no requests").on_key());
        return;
    }
    let mut numbers: HashMap<&Label, u32> = HashMap::new();
    let mut traced = Vec::with_capacity(requests.len());
    let mut latest = 0;
    for (index, request) in requests.iter().enumerate() {
        let TracedRequest { at: time, key, work } = request;
        if time.nanoseconds() < latest {
            let message = "this comes before the request above it";
            problems.push(Problem::error(at.index(index).key("at"), message));
        }
        latest = latest.max(time.nanoseconds());
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        traced.push(Traced {
            at: latest,
            key: key.as_ref().map(|key| *numbers.entry(key).or_insert(next)),
            work: work.map(|work| work.nanoseconds() as f64),
        });
    }
    scenario.requests = scenario.requests.min(traced.len() as u64);
    scenario.arrivals = Arrivals::Trace(traced.into());
}
