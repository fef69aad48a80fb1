//! What does an access log come to as scenarios?
//!
//! Its requests come again as they came, each with the work that it was. What a log does not say, how much at once a
//! server can work at, follows from how busy the servers are taken to have been.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use isobar_balance::Allowance;
use isobar_observe::WallTime;
use isobar_sim::{Arrivals, Balancers, Change, Counters, Failing, Queue, Retry, Scenario, Server, Traced, What};
use serde_json::Value;

use super::{Measure, Task, Trial};
use crate::arguments::RecommendOptions;
use crate::failure::io_reason;

/// Requests that are taken in where nothing is said, the first of the log.
const REQUESTS: u64 = 200_000;

/// A request that took longer was none that balancing could have done better, or is a mistake.
const LONGEST_SECONDS: f64 = 86_400.0;

/// Requests of a server from which its speed can be told.
const TELLING: u64 = 30;

/// Within this factor of the others, other requests and not another speed may be why a server took longer.
const ALIKE: f64 = 1.25;

/// How busy servers are taken to have been, where nothing is said.
const LOAD: f64 = 0.7;

/// How long clients wait, in mean times of a request, and at least.
const PATIENCE: f64 = 50.0;
const PATIENCE_SECONDS: f64 = 2.0;

/// One request of the log.
#[derive(Debug, Clone, PartialEq)]
struct Logged {
    /// When it came, in seconds since 1970.
    at: f64,
    /// How long its server worked at it, in seconds.
    took: f64,
    /// By its position among the servers.
    server: usize,
}

/// The requests of one upstream.
#[derive(Debug, Default, Clone)]
struct Recorded {
    servers: Vec<Box<str>>,
    requests: Vec<Logged>,
}

/// The log as it is, with a server that is slow, and with one that fails fast.
///
/// *Errors*: it cannot be read, is not in JSON, or has too few requests to tell anything.
pub(super) fn task(file: &Path, options: &RecommendOptions) -> Result<Task> {
    let (input, name) = open(file)?;
    let upstreams = read(input, &name, options.requests.unwrap_or(REQUESTS))?;
    let (upstream, recorded) = chosen(upstreams, options.upstream.as_deref(), &name)?;
    let load = options.workload.load.unwrap_or(LOAD);
    let balancers = options.workload.balancers.unwrap_or(1);
    let scenario = scenario(&recorded, load, balancers, options.seed);
    Ok(Task {
        measure: Measure::of(&scenario),
        about: about(&name, &upstream, &recorded, load),
        trials: trials(scenario),
    })
}

/// What a person named: a file, or `-` for the standard input.
fn open(file: &Path) -> Result<(Box<dyn Read>, String)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), "standard input".to_owned()));
    }
    let name = file.display().to_string();
    match File::open(file) {
        Ok(opened) => Ok((Box::new(opened), name)),
        Err(error) => bail!("failed to read {name}: {}", io_reason(&error)),
    }
}

/// The requests by upstream, as many as `most`.
fn read(input: impl Read, name: &str, most: u64) -> Result<HashMap<Box<str>, Recorded>> {
    let mut upstreams: HashMap<Box<str>, Recorded> = HashMap::new();
    let mut count = 0;
    for (number, line) in (1..).zip(BufReader::new(input).lines()) {
        let line = line.with_context(|| format!("failed to read {name}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let Ok(fields @ Value::Object(_)) = serde_json::from_str(&line) else {
            bail!("line {number} of {name} is not of an access log in JSON; `format: json` writes one");
        };
        if take(&fields, &mut upstreams).is_some() {
            count += 1;
        }
        if count >= most {
            break;
        }
    }
    Ok(upstreams)
}

/// None: the request had no server, or is none of those that balancing is about.
fn take(fields: &Value, upstreams: &mut HashMap<Box<str>, Recorded>) -> Option<()> {
    let text = |name: &str| fields.get(name)?.as_str();
    let seconds = |name: &str| Some(fields.get(name)?.as_f64()? / 1e3);
    if fields.get("upgraded").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let (upstream, server) = (text("upstream")?, text("server")?);
    let ended = WallTime::read_rfc3339(text("time")?)?.0.as_secs_f64();
    let duration = seconds("duration_ms").filter(|seconds| (0.0..=LONGEST_SECONDS).contains(seconds))?;
    let waited = seconds("queue_ms").unwrap_or(0.0);
    // A client that takes its answer slowly keeps no server busy.
    let answered = seconds("first_byte_ms").unwrap_or(duration).min(duration);
    let recorded = upstreams.entry(upstream.into()).or_default();
    let known = recorded.servers.iter().position(|known| **known == *server);
    let server = known.unwrap_or_else(|| {
        recorded.servers.push(server.into());
        recorded.servers.len() - 1
    });
    recorded.requests.push(Logged {
        at: ended - duration,
        // What is below the log's resolution was something all the same.
        took: (answered - waited).max(1e-5),
        server,
    });
    Some(())
}

/// The upstream that was asked for, or the busiest.
fn chosen(mut upstreams: HashMap<Box<str>, Recorded>, asked: Option<&str>, name: &str) -> Result<(Box<str>, Recorded)> {
    let busiest = || {
        let (upstream, _) = upstreams
            .iter()
            .max_by_key(|(name, recorded)| (recorded.requests.len(), *name))?;
        Some(upstream.clone())
    };
    let Some(upstream) = asked.map(Box::from).or_else(busiest) else {
        bail!("{name} has no request that a server answered");
    };
    let Some(mut recorded) = upstreams.remove(&upstream) else {
        let mut names: Vec<_> = upstreams.keys().map(|name| format!("`{name}`")).collect();
        names.sort_unstable();
        bail!("{name} has no requests to `{upstream}`, only to {}", names.join(", "));
    };
    if recorded.requests.len() < 100 {
        let count = recorded.requests.len();
        bail!("{name} has {count} requests to `{upstream}`; it takes 100 to tell anything");
    }
    recorded.requests.sort_by(|a, b| a.at.total_cmp(&b.at));
    Ok((upstream, recorded))
}

impl Recorded {
    /// From the first request to the end of the last, in seconds.
    fn span(&self) -> f64 {
        let first = self.requests.first().map_or(0.0, |request| request.at);
        let last = self.requests.iter().map(|request| request.at + request.took);
        (last.fold(first, f64::max) - first).max(1e-3)
    }

    fn mean(&self) -> f64 {
        self.requests.iter().map(|request| request.took).sum::<f64>() / self.requests.len().max(1) as f64
    }

    /// How fast each server was beside the middle one.
    fn speeds(&self) -> Vec<f64> {
        let mut sums = vec![(0_u64, 0.0); self.servers.len()];
        for request in &self.requests {
            if let Some((count, sum)) = sums.get_mut(request.server) {
                *count += 1;
                *sum += request.took;
            }
        }
        let telling = |&(count, sum): &(u64, f64)| (count >= TELLING).then(|| sum / count as f64);
        let mut means: Vec<f64> = sums.iter().filter_map(telling).collect();
        means.sort_by(f64::total_cmp);
        let Some(&middle) = means.get(means.len() / 2) else {
            return vec![1.0; self.servers.len()];
        };
        let speed = |sum| {
            let speed = telling(sum).map_or(1.0, |mean| middle / mean);
            let alike = (1.0 / ALIKE..=ALIKE).contains(&speed);
            if alike { 1.0 } else { speed.clamp(0.05, 20.0) }
        };
        sums.iter().map(speed).collect()
    }
}

fn scenario(recorded: &Recorded, load: f64, balancers: u32, seed: u64) -> Scenario {
    let speeds = recorded.speeds();
    let speed = |server: usize| speeds.get(server).copied().unwrap_or(1.0);
    let work = |request: &Logged| request.took * speed(request.server);
    // By Little's law, and so that all servers together are as busy as they are taken to have been.
    let busy = recorded.requests.iter().map(work).sum::<f64>() / recorded.span();
    let per_slot = speeds.iter().sum::<f64>() * load;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let slots = (busy / per_slot).round().clamp(1.0, 1e6) as u32;
    // What is left of the difference goes into the pace.
    let pace = load * speeds.iter().sum::<f64>() * f64::from(slots) / busy;
    let first = recorded.requests.first().map_or(0.0, |request| request.at);
    let traced = |request: &Logged| Traced {
        at: nanoseconds((request.at - first) / pace),
        key: None,
        work: Some(work(request) * 1e9),
    };
    let requests = recorded.requests.len() as u64;
    let server = |server: usize| Server {
        speed: speed(server),
        slots,
        ..Server::plain(recorded.servers.get(server).cloned().unwrap_or_default())
    };
    Scenario {
        balancers: Balancers {
            count: balancers,
            counters: Counters::Own,
        },
        servers: (0..recorded.servers.len()).map(server).collect(),
        arrivals: Arrivals::Trace(recorded.requests.iter().map(traced).collect::<Arc<[_]>>()),
        timeout: Some(nanoseconds((recorded.mean() * PATIENCE).max(PATIENCE_SECONDS))),
        retry: Retry {
            attempts: 1,
            budget: Some(Allowance::DEFAULT),
        },
        queue: Queue { max: 0, timeout: None },
        probe_time: 500_000,
        requests,
        warm_up: requests / 20,
        seed,
        ..Scenario::plain(0, load, recorded.mean() * 1e9)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).max(0.0) as u64
}

fn trials(scenario: Scenario) -> Vec<Trial> {
    let last = match &scenario.arrivals {
        Arrivals::Trace(trace) => trace.last().map_or(0, |last| last.at),
        _ => 0,
    };
    let with = |name: &str, begin, end| {
        let change = |at, what| Change { at, server: 0, what };
        let mut scenario = scenario.clone();
        scenario.changes = vec![change(last / 4, begin), change(last / 4 * 3, end)];
        Trial {
            name: name.to_owned(),
            scenario,
        }
    };
    let mut trials = Vec::new();
    if scenario.servers.len() > 1 {
        let failing = Failing { share: 1.0, work: 0.01 };
        trials.push(with(
            "one server is slow for half of the time",
            What::Speed(0.3),
            What::Speed(1.0),
        ));
        trials.push(with(
            "one server fails fast for half of the time",
            What::Failing(Some(failing)),
            What::Failing(None),
        ));
    }
    trials.insert(
        0,
        Trial {
            name: "as recorded".to_owned(),
            scenario,
        },
    );
    trials
}

fn about(name: &str, upstream: &str, recorded: &Recorded, load: f64) -> String {
    format!(
        "{} requests to {upstream} in {:.0} s of {name}: {} servers, {:.1} ms a request; taken to be at load {load}",
        recorded.requests.len(),
        recorded.span(),
        recorded.servers.len(),
        recorded.mean() * 1e3
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, server: &str, took_ms: f64) -> String {
        let mut time = Vec::new();
        WallTime(std::time::Duration::from_millis(1_000_000_000 + at_ms)).write_rfc3339(&mut time);
        let time = String::from_utf8(time).unwrap();
        format!(
            r#"{{"time":"{time}","upstream":"api","server":"{server}","duration_ms":{took_ms},"queue_ms":0,"upgraded":false}}"#
        )
    }

    /// Three servers, of which the third takes four times as long; each works at one request at a time, at load 0.5.
    fn log() -> String {
        let mut text = String::new();
        for number in 0..1200_u64 {
            let (server, took) = [("a", 10.0), ("b", 10.0), ("c", 40.0)][(number % 3) as usize];
            text += &line(number * 20, server, took);
            text.push('\n');
        }
        text
    }

    fn recorded(text: &str) -> Result<(Box<str>, Recorded)> {
        chosen(read(text.as_bytes(), "log", REQUESTS)?, None, "log")
    }

    #[test]
    fn servers_requests_and_speeds_are_found() {
        let (upstream, recorded) = recorded(&log()).unwrap();
        assert_eq!(&*upstream, "api");
        assert_eq!(recorded.servers, ["a", "b", "c"].map(Box::<str>::from));
        assert_eq!(recorded.requests.len(), 1200);
        assert_eq!(recorded.speeds(), [1.0, 1.0, 0.25]);
        assert!((recorded.mean() - 0.02).abs() < 1e-9);
    }

    #[test]
    fn the_scenario_is_as_busy_as_it_is_taken_to_be() {
        let (_, recorded) = recorded(&log()).unwrap();
        for load in [0.1, 0.5, 0.9] {
            let scenario = scenario(&recorded, load, 1, 7);
            assert_eq!(scenario.check(), Ok(()));
            // The span of a scenario ends with the last arrival, that of a log with the last answer.
            assert!((scenario.load() - load).abs() < 0.01, "{load}: {}", scenario.load());
        }
    }

    #[test]
    fn what_is_no_log_is_said() {
        let check = |text: &str, expected: &str| {
            let error = recorded(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "has no request that a server answered");
        check(
            "127.0.0.1 - - [24/Nov/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1",
            "line 1 of log is not",
        );
        check("[]", "line 1 of log is not");
        check(&line(0, "a", 1.0), "1 requests");
        let other = read(log().as_bytes(), "log", REQUESTS).unwrap();
        let error = chosen(other, Some("web"), "log").unwrap_err().to_string();
        assert!(error.contains("only to `api`"), "{error}");
    }

    #[test]
    fn hostile_numbers_make_a_scenario_or_none() {
        let mut text = log();
        for took in ["1e308", "-5", "0", "null", "\"x\""] {
            text += &line(5, "a", 1.0).replace("\"duration_ms\":1", &format!("\"duration_ms\":{took}"));
            text.push('\n');
        }
        let (_, recorded) = recorded(&text).unwrap();
        let scenario = scenario(&recorded, 0.7, 1, 7);
        assert!(scenario.requests >= 1200);
        assert_eq!(scenario.check(), Ok(()));
    }
}
