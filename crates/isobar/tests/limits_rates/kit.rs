//! What do tests of limits share?

use std::fs;
use std::path::PathBuf;

use isobar_testkit::{Client, Configuration, Isobar, Metrics, Origin, Response, binary, serde_json};

/// An instance with limits, its server, and its log on standard output.
pub(crate) struct Limited {
    pub(crate) isobar: Isobar,
    pub(crate) origin: Origin,
    pub(crate) configuration: Configuration,
}

/// Limits, and those that hold for everything.
pub(crate) fn limited(limits: &str, named: &str) -> Limited {
    to(Origin::named("a"), limits, named)
}

pub(crate) fn to(origin: Origin, limits: &str, named: &str) -> Limited {
    with(origin, limits, &format!("request_limits: {named}"))
}

/// Limits, and lines for the listener.
pub(crate) fn with(origin: Origin, limits: &str, listener: &str) -> Limited {
    let configuration = Configuration::to(&[origin.address()]).listener(listener);
    run(origin, configuration, limits)
}

/// Limits, routes, and lines for the listener.
pub(crate) fn routed(limits: &str, routes: &str, listener: &str) -> Limited {
    let origin = Origin::named("a");
    let configuration = Configuration::to(&[origin.address()]).listener(listener).routes(routes);
    run(origin, configuration, limits)
}

/// A limit `user` with an `overrides_file`, and what it holds at first.
pub(crate) fn with_file(limit: &str, rates: &str) -> (Limited, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rates");
    fs::write(&path, rates).unwrap();
    let origin = Origin::named("a");
    let configuration = Configuration::to(&[origin.address()])
        .listener("request_limits: [user]")
        .top(format!("limits:\n  user: {{ {limit}, overrides_file: rates }}"));
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, configuration.yaml()).unwrap();
    let limited = Limited {
        isobar: binary!().run_file(directory, &file),
        origin,
        configuration,
    };
    (limited, path)
}

fn run(origin: Origin, configuration: Configuration, limits: &str) -> Limited {
    let configuration = configuration.top(top(limits));
    Limited {
        isobar: binary!().run(&configuration),
        origin,
        configuration,
    }
}

fn top(limits: &str) -> String {
    let limits: String = limits.lines().map(|line| format!("  {line}\n")).collect();
    format!("limits:\n{limits}access_log: {{ path: stdout }}")
}

impl Limited {
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.isobar.address()).unwrap()
    }

    /// A request that is under way.
    pub(crate) fn begin(&self) -> Client {
        let mut client = self.client();
        client.send("GET / HTTP/1.1\r\nhost: test.example\r\n\r\n").unwrap();
        client
    }

    /// The statuses of requests with these lines, all on one connection.
    pub(crate) fn statuses(&self, path: &str, lines: &str, times: usize) -> Vec<u16> {
        let mut client = self.client();
        (0..times).map(|_| ask(&mut client, path, lines).status).collect()
    }

    /// How many of them pass.
    pub(crate) fn passes(&self, lines: &str, times: usize) -> usize {
        let statuses = self.statuses("/", lines, times);
        statuses.iter().filter(|status| **status == 200).count()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.isobar.metrics()
    }

    /// Decisions of a limit with this outcome.
    pub(crate) fn decisions(&self, limit: &str, outcome: &str) -> usize {
        let metrics = self.metrics();
        let sample = format!("isobar_limit_decisions_total{{limit=\"{limit}\",outcome=\"{outcome}\"}} ");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(&sample));
        line.and_then(|count| count.trim().parse().ok()).unwrap()
    }

    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.isobar.stdout().lines().map(str::to_owned).collect()
    }

    /// Takes other limits into service.
    pub(crate) fn reload(&self, from: &str, into: &str) -> String {
        let text = self.configuration.yaml();
        assert!(text.contains(from), "{text}");
        self.isobar.reload(&text.replace(from, into))
    }
}

/// Asks on a connection that stays open.
#[track_caller]
pub(crate) fn ask(client: &mut Client, path: &str, lines: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test.example\r\n{lines}\r\n");
    client.exchange(request).unwrap()
}

/// A number in a line of JSON.
pub(crate) fn number(line: &str, field: &str) -> f64 {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line[field].as_f64().unwrap()
}

/// What a limit had left, as the client was told.
pub(crate) fn decisions_left(answer: &Response) -> Option<u64> {
    let (_, left) = answer.fields.value("ratelimit")?.split_once(";r=")?;
    left.split(';').next()?.parse().ok()
}
