//! What is said of recorded traffic: against counts made in another way, against what limits counted live, and of bad input.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use isobar_testkit::{Client, Configuration, Origin, binary, serde_json};
use serde_json::Value;
use tempfile::TempDir;

/// Files of a test.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A configuration with these limits, which all requests fall under.
    fn limits(&self, limits: &str, names: &str) -> String {
        let text = format!(
            "listeners:\n  - {{ name: web, address: \"127.0.0.1:0\", upstream: web, request_limits: {names} }}\n\
             upstreams: {{ web: {{ servers: [\"127.0.0.1:1\"] }} }}\nlimits:\n  {limits}\n"
        );
        self.write("isobar.yaml", &text)
    }
}

#[track_caller]
fn replayed(arguments: &[&str]) -> Value {
    let outcome = binary!().outcome(&[&["replay", "--json"], arguments].concat());
    assert!(outcome.status.success(), "{arguments:?}: {}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn limit<'v>(value: &'v Value, name: &str) -> &'v Value {
    let limits = value["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["name"] == name).unwrap()
}

fn line(client: &str, second: u64, request: &str) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!("{client} - - [17/May/2015:10:{minute:02}:{second:02} +0000] \"{request}\" 200 12 \"-\" \"curl/8\"\n")
}

/// Traffic of forty clients, some of which come in bursts; the same every time.
fn made_up() -> String {
    let mut seed = 11u64;
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut lines: Vec<(u64, String)> = Vec::new();
    for client in 0..40u64 {
        for _ in 0..=random(60) {
            let from = random(3_000);
            let burst = if client % 5 == 0 { random(60) } else { 1 };
            let name = format!("192.0.2.{client}");
            lines.extend((0..burst).map(|at| (from + at / 3, line(&name, from + at / 3, "GET /a HTTP/1.1"))));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The log of a real web server, where it is at hand.
fn real() -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/apache_access.log.gz");
    let found = file.exists();
    if !found {
        let _ = writeln!(
            std::io::stderr(),
            "no real log at {}: the made up one only",
            file.display()
        );
    }
    found.then_some(file)
}

/// Client and time of each line in the order of time, taken apart in the simplest way.
fn naively_read(file: &str) -> Vec<(String, u64)> {
    let text = Command::new("gzip").args(["-dcf", file]).output().unwrap().stdout;
    let mut requests = Vec::new();
    for line in String::from_utf8(text).unwrap().lines() {
        // One line of the real log has no end.
        if line.matches('"').count() < 6 {
            continue;
        }
        let client = line.split(' ').next().unwrap().to_owned();
        let stamp = line.split(['[', ']']).nth(1).unwrap();
        let parts: Vec<&str> = stamp.split(['/', ':', ' ']).collect();
        assert_eq!((parts[1], parts[2], parts[6]), ("May", "2015", "+0000"), "{line}");
        let number = |at: usize| parts[at].parse::<u64>().unwrap();
        // 1 May 2015 is 16,556 days after the beginning of 1970: `date -u -d 2015-05-01 +%s` divided by 86,400.
        let days = 16_556 + number(0) - 1;
        requests.push((client, ((days * 24 + number(3)) * 60 + number(4)) * 60 + number(5)));
    }
    requests.sort_by_key(|(_, at)| *at);
    requests
}

/// Refusals by client of `units` in each window of so many seconds, counted one by one.
fn by_window(requests: &[(String, u64)], units: u64, seconds: u64) -> HashMap<&str, u64> {
    let mut windows: HashMap<(&str, u64), u64> = HashMap::new();
    let mut refused: HashMap<&str, u64> = HashMap::new();
    for (client, at) in requests {
        let taken = windows.entry((client, at / seconds)).or_default();
        if *taken < units {
            *taken += 1;
        } else {
            *refused.entry(client).or_default() += 1;
        }
    }
    refused
}

/// Refusals by client where `units` pass in so many seconds, wherever they begin, by a list of all that passed.
fn by_log(requests: &[(String, u64)], units: usize, seconds: u64) -> HashMap<&str, u64> {
    let mut passed: HashMap<&str, Vec<u64>> = HashMap::new();
    let mut refused: HashMap<&str, u64> = HashMap::new();
    for (client, at) in requests {
        let passed = passed.entry(client).or_default();
        if passed.iter().filter(|then| *then + seconds > *at).count() < units {
            passed.push(*at);
        } else {
            *refused.entry(client).or_default() += 1;
        }
    }
    refused
}

/// Refusals by client of a bucket of `burst` tokens that gets one every so many seconds, in thirds of tokens and whole seconds.
fn by_bucket(requests: &[(String, u64)], every: u64, burst: u64) -> HashMap<&str, u64> {
    let mut full_at: HashMap<&str, u64> = HashMap::new();
    let mut refused: HashMap<&str, u64> = HashMap::new();
    for (client, at) in requests {
        let full = full_at.entry(client).or_default();
        // The bucket lacks a token for every so many seconds until it is full.
        let next = (*full).max(*at) + every;
        if next - at <= every * burst {
            *full = next;
        } else {
            *refused.entry(client).or_default() += 1;
        }
    }
    refused
}

#[test]
fn counts_are_those_of_others() {
    let desk = Desk::new();
    let made_up = desk.write("made-up.log", &made_up());
    let logs = [Some(made_up), real().map(|file| file.to_str().unwrap().to_owned())];
    let config = desk.limits(
        "window: { algorithm: fixed_window, rate: 20/min, mode: shadow }\n  \
         gcra: { rate: 20/min, mode: shadow }\n  bucket: { algorithm: token_bucket, rate: 20/min, burst: 5, mode: shadow }\n  \
         log: { algorithm: sliding_log, rate: 20/min, mode: shadow }",
        "[window, gcra, bucket, log]",
    );
    for log in logs.into_iter().flatten() {
        let requests = naively_read(&log);
        let value = replayed(&[&log, "--config", &config]);
        assert_eq!(value["requests"]["replayed"], requests.len(), "{log}");
        let expected = [
            ("window", by_window(&requests, 20, 60)),
            ("gcra", by_bucket(&requests, 3, 20)),
            ("bucket", by_bucket(&requests, 3, 5)),
            ("log", by_log(&requests, 20, 60)),
        ];
        for (name, refused) in expected {
            let found = limit(&value, name);
            let sum: u64 = refused.values().sum();
            assert!(sum > 50, "{log} {name}: a comparison of {sum} refusals says little");
            assert_eq!(found["over"], sum, "{log} {name}");
            assert_eq!(found["outcomes"]["shadow_refused"], sum, "{log} {name}");
            assert_eq!(found["keys"]["refused"], refused.len(), "{log} {name}");
            for key in found["most_refused"].as_array().unwrap() {
                assert_eq!(
                    key["refused"],
                    refused[key["key"].as_str().unwrap()],
                    "{log} {name}: {key}"
                );
                assert!(key["peak"].as_f64().unwrap() > 1.0, "{key}");
            }
            for key in found["keys"]["tightest"].as_array().unwrap() {
                assert!(key["peak"].as_f64().unwrap() <= 1.0 + 1e-9, "{name}: {key}");
            }
            let intervals = found["timeline"]["intervals"].as_array().unwrap();
            let refused_in = |interval: &Value| interval["refused"].as_u64().unwrap();
            assert_eq!(intervals.iter().map(refused_in).sum::<u64>(), sum);
        }
    }
}

/// What limits in shadow count live is what a replay of the log says. Only what depends on the last millisecond may differ: the log
/// has no finer times.
#[test]
fn live_counts_are_those_of_a_replay() {
    let origin = Origin::named("a");
    let limits = "limits:\n  hourly: { key: path, rate: 10/h, mode: shadow }\n  \
                  quick: { key: path, rate: 40/s, burst: 3, mode: shadow }\n  \
                  both: { key: [client_ip, \"query:user\"], rate: 7/h, missing: skip, mode: shadow }\n\
                  access_log: { path: stdout, format: json }";
    let listener = "request_limits: [hourly, quick, both]";
    let configuration = Configuration::to(&[origin.address()]).listener(listener).top(limits);
    let isobar = binary!().run(&configuration);
    let mut client = Client::connect(isobar.address()).unwrap();
    for number in 0..400 {
        let user = if number % 2 == 0 {
            format!("?user={}", number % 8)
        } else {
            String::new()
        };
        let request = format!("GET /p{}{user} HTTP/1.1\r\nhost: test.example\r\n\r\n", number % 5);
        assert_eq!(client.exchange(request).unwrap().status, 200);
    }
    isobar.comes_to_rest();
    let live = |limit: &str, outcome: &str| {
        let metrics = isobar.metrics();
        let sample = format!("isobar_limit_decisions_total{{limit=\"{limit}\",outcome=\"{outcome}\"}} ");
        let count = metrics.text().lines().find_map(|line| line.strip_prefix(&sample));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    isobar_testkit::eventually("every request has its line", || isobar.stdout().lines().count() == 400);
    let desk = Desk::new();
    let log = desk.write("access.log", &isobar.stdout());
    let config = desk.write("isobar.yaml", &configuration.yaml());
    let value = replayed(&[&log, "--config", &config]);
    assert_eq!(value["logs"][0]["format"], "json");
    assert_eq!(value["requests"]["replayed"], 400);
    let found = |name: &str, outcome: &str| limit(&value, name)["outcomes"][outcome].as_u64().unwrap();
    for (name, outcome) in [
        ("hourly", "shadow_refused"),
        ("both", "shadow_refused"),
        ("both", "skipped"),
    ] {
        assert!(live(name, outcome) > 100, "{name} {outcome}");
        assert_eq!(found(name, outcome), live(name, outcome), "{name} {outcome}");
    }
    let (replayed, live) = (found("quick", "shadow_refused"), live("quick", "shadow_refused"));
    assert!(
        replayed.abs_diff(live) <= 400 / 20,
        "{replayed} when replayed, {live} live"
    );
}

#[test]
fn rules_are_those_of_service() {
    let desk = Desk::new();
    let mut log = String::new();
    for second in 0..10 {
        for client in ["192.0.2.1", "192.0.2.2", "10.0.0.9", "198.51.100.7", "203.0.113.5"] {
            log += &line(client, second, "GET /a%62?user=ann HTTP/1.1");
        }
        log += &line("192.0.2.3", second, "GET /healthz HTTP/1.1");
    }
    log += &line("192.0.2.9", 11, "-");
    log += &line("192.0.2.9", 11, "GET /\\x00\\xff/../../.. HTTP/1.1");
    let log = desk.write("access.log", &log);
    let config = desk.limits(
        "clients: { rate: 4/h, exempt: [192.0.2.2/32], deny: [203.0.113.0/24], overrides: { 198.51.100.7: 6/h } }\n  \
         users: { key: \"header:x-user\", rate: 1/h }\n  at-once: { algorithm: concurrency, max_requests: 1 }\n  \
         paths: { key: [path, \"query:user\"], rate: 15/h, missing: skip, mode: shadow }\n  \
         slow: { key: [client_ip, path], rate: 1/s, burst: 1, delay: 10s }",
        "[clients, users, at-once, paths, slow]",
    );
    let value = replayed(&[&log, "--config", &config]);
    let clients = limit(&value, "clients");
    let outcome = |name: &str, outcome: &str| limit(&value, name)["outcomes"][outcome].as_u64().unwrap();
    assert_eq!(outcome("clients", "exempt"), 10);
    assert_eq!(outcome("clients", "denied"), 10);
    // Four of ten for each, six for the one with a rate of its own.
    assert_eq!(outcome("clients", "refused"), 6 + 6 + 4 + 6);
    assert_eq!(clients["internal"]["private_address"]["refused"], 6);
    assert_eq!(clients["internal"]["health_path"]["refused"], 6);
    // All but the ten that were denied before.
    assert_eq!(limit(&value, "users")["unjudged"], 50);
    assert_eq!(limit(&value, "users")["lacking"][0], "header:x-user");
    assert_eq!(limit(&value, "at-once")["lacking"][0], "duration");
    // Of /ab?user=ann 10 + 4 + 4 + 6 were not refused by another one.
    assert_eq!(outcome("paths", "shadow_refused"), 24 - 15);
    assert_eq!(limit(&value, "paths")["most_refused"][0]["key"], "/ab|ann");
    assert_eq!(outcome("paths", "skipped"), 10);
    assert_eq!(value["requests"]["not_understood"], 1);
    let warnings = value["warnings"].to_string();
    for expected in [
        "clients: refuses 6 of 10 requests from private addresses",
        "clients: refuses 6 of 10 requests for health and metrics (path)",
        "users: cannot be judged for 50 requests, because the log does not say their header:x-user",
    ] {
        assert!(warnings.contains(expected), "{warnings}");
    }
    let shadow = fs::read_to_string(&config)
        .unwrap()
        .replace("{ rate: 4/h,", "{ rate: 4/h, mode: shadow,");
    let shadow = desk.write("shadow.yaml", &shadow);
    let value = replayed(&[&log, "--config", &shadow]);
    assert_eq!(
        (&value["requests"]["refused"], &limit(&value, "clients")["over"]),
        (&0.into(), &32.into())
    );
    let value = replayed(&[&log, "--config", &shadow, "--enforce"]);
    assert!(value["requests"]["refused"].as_u64().unwrap() >= 32);
}

/// Requests in flight are counted by how long they took, whatever the order of the lines.
#[test]
fn durations_say_who_was_in_flight() {
    let desk = Desk::new();
    // Three at once for a second, one after them, and lines in the order in which they ended.
    let entry = |ended: f64, took: f64| {
        format!(
            "{{\"time\":{:.3},\"client\":\"192.0.2.1\",\"method\":\"GET\",\"target\":\"/\",\"duration_ms\":{}}}\n",
            1.7e9 + ended,
            took * 1e3
        )
    };
    let lines = entry(1.3, 1.2) + &entry(1.5, 1.3) + &entry(1.6, 1.5) + &entry(3.0, 0.5);
    let log = desk.write("access.log", &lines);
    let config = desk.limits("at-once: { algorithm: concurrency, max_requests: 2 }", "[at-once]");
    let value = replayed(&[&log, "--config", &config]);
    let found = limit(&value, "at-once");
    assert_eq!(
        (&found["outcomes"]["admitted"], &found["outcomes"]["refused"]),
        (&3.into(), &1.into())
    );
    assert_eq!(found["most_refused"][0]["peak"], 1.5);
}

/// One that instances share is replayed as if one of them had all of it, and nothing of the store is needed for that.
#[test]
fn shared_limits_are_those_of_one_instance() {
    let desk = Desk::new();
    let lines: String = (0..6)
        .map(|second| line("192.0.2.1", second, "GET / HTTP/1.1"))
        .collect();
    let log = desk.write("access.log", &lines);
    let store = "{ addresses: \"192.0.2.9:6379\", password_file: /nowhere/password, tls: { ca: /nowhere/ca.pem } }";
    let config = desk.limits(
        &format!("all: {{ rate: 4/h, shared: true, on_loss: closed }}\nstores: {{ main: {store} }}"),
        "[all]",
    );
    let value = replayed(&[&log, "--config", &config]);
    let outcomes = &limit(&value, "all")["outcomes"];
    assert_eq!((&outcomes["admitted"], &outcomes["refused"]), (&4.into(), &2.into()));
}

/// What requests cost: as they say, as their answers came to, and in bytes; in the order in which they ended.
#[test]
fn costs_are_those_of_service() {
    let desk = Desk::new();
    let entry = |at: f64, target: &str, bytes: u64| {
        format!(
            "{{\"time\":{:.3},\"client\":\"192.0.2.1\",\"method\":\"GET\",\"target\":\"{target}\",\"duration_ms\":100,\"bytes_out\":{bytes}}}\n",
            1.7e9 + at
        )
    };
    let lines: String = [
        entry(1.0, "/?units=6", 900),
        entry(2.0, "/?units=6", 900),
        entry(3.0, "/", 900),
        entry(4.0, "/?units=3", 1_200),
        entry(5.0, "/?units=3", 1),
    ]
    .concat();
    let log = desk.write("access.log", &lines);
    // The burst is the rate, and an hour gives next to nothing back within seconds.
    let limits = "said: { rate: 10/h, cost: { query: units, max: 10 } }\n  \
        settled: { rate: 4/h, cost: { settle: { bytes: 1KB } } }\n  \
        quota: { algorithm: bandwidth, rate: 2KB/h }\n  \
        upload: { algorithm: bandwidth, rate: 1KB/h, direction: upload }";
    let of = |name: &str| {
        let config = desk.limits(limits, &format!("[{name}]"));
        let value = replayed(&[&log, "--config", &config]);
        let found = limit(&value, name);
        let count = |outcome: &str| found["outcomes"][outcome].as_u64().unwrap();
        (
            count("admitted"),
            count("refused"),
            found["unjudged"].as_u64().unwrap(),
            found["lacking"].to_string(),
            (found["busiest"][0]["peak"].as_f64().unwrap_or_default() * 100.0).round(),
        )
    };
    let told = |lacking: &str| lacking.to_owned();
    // 6 and not 6, 1 and 3 and not 3: ten are there. It asked for 19.
    assert_eq!(of("said"), (3, 2, 0, told("[]"), 190.0));
    // 1, 1, 1, 2 (known when it was answered), and none is left.
    assert_eq!(of("settled"), (4, 1, 0, told("[]"), 150.0));
    // 900, 900, 900: what has begun goes on, and is owed.
    assert_eq!(of("quota"), (3, 2, 0, told("[]"), 195.0));
    // Nobody wrote down what came from clients.
    assert_eq!(of("upload"), (0, 0, 5, told("[\"bytes_in\"]"), 0.0));
    let config = desk.limits(limits, "[quota]");
    let outcome = binary!().outcome(&["replay", &log, "--config", &config]);
    assert!(
        outcome.stdout.contains("client_ip, download 2KB/h, then refused"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn logs_of_all_kinds_are_read() {
    let desk = Desk::new();
    let config = desk.limits("clients: { key: \"header:x-user\", rate: 2/h }", "[clients]");
    let refused = |arguments: &[&str]| {
        let value = replayed(&[arguments, &["--config", &config]].concat());
        let found = limit(&value, "clients").clone();
        (
            value["requests"]["replayed"].as_u64().unwrap(),
            found["outcomes"]["refused"].as_u64().unwrap(),
        )
    };
    let caddy = |at: u64| {
        format!(
            "{{\"ts\":{}.5,\"request\":{{\"remote_ip\":\"192.0.2.1\",\"method\":\"GET\",\"host\":\"a\",\"uri\":\"/\",\
             \"headers\":{{\"X-User\":[\"ann\"]}}}}}}\n",
            1_700_000_000 + at
        )
    };
    let fields = "time=ts,client=request.remote_ip,method=request.method,target=request.uri,host=request.host,\
                  header:x-user=request.headers.X-User";
    let log = desk.write("caddy.log", &(0..5).map(caddy).collect::<String>());
    assert_eq!(refused(&[&log, "--fields", fields]), (5, 3));

    let template = "{client}|{header:x-user}|{time}|{request}|{-}";
    let own = |at: u64| format!("192.0.2.1|bob|2024-01-01 00:00:0{at}|GET / HTTP/1.1|anything\n");
    let log = desk.write("own.log", &(0..5).map(own).collect::<String>());
    assert_eq!(refused(&[&log, "--format", template, "--zone", "+02:00"]), (5, 3));
    let zoned = replayed(&[&log, "--format", template, "--zone", "+02:00", "--config", &config]);
    // `date -u -d '2024-01-01 00:00:00 +0200' +%s`
    assert_eq!(zoned["requests"]["first"], 1_704_060_000.0);

    // Compressed, from the standard input, and in two parts whose lines alternate.
    let clients = desk.limits("clients: { algorithm: fixed_window, rate: 3/min }", "[clients]");
    let lines: Vec<String> = (0..60)
        .map(|second| line("192.0.2.1", second, "GET / HTTP/1.1"))
        .collect();
    let half = |which: usize| {
        lines
            .iter()
            .skip(which)
            .step_by(2)
            .map(String::as_str)
            .collect::<String>()
    };
    let (one, other) = (desk.write("one.log", &half(0)), desk.write("other.log", &half(1)));
    assert!(Command::new("gzip").arg(&other).status().unwrap().success());
    let value = replayed(&[&one, &format!("{other}.gz"), "--config", &clients]);
    assert_eq!(limit(&value, "clients")["outcomes"]["refused"], 57);
    assert_eq!(
        (&value["lines"]["late"], &value["lines"]["read"]),
        (&0.into(), &60.into())
    );
    let file = fs::File::open(format!("{other}.gz")).unwrap();
    let mut command = binary!().command();
    let piped = command
        .args(["replay", "-", "--json", "--config", &clients])
        .stdin(file)
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(limit(&value, "clients")["outcomes"]["refused"], 27);
}

#[test]
fn what_cannot_be_read_is_told() {
    let desk = Desk::new();
    let config = desk.limits("clients: { rate: 1/h }", "[clients]");
    let good = line("192.0.2.1", 1, "GET / HTTP/1.1");
    let bad = format!(
        "{good}rubbish\x1b[31m\n{}{}",
        good.replace("May", "Mai"),
        good.replace("192.0.2.1", "host.example")
    );
    let log = desk.write("access.log", &(bad + &"x".repeat(200_000) + "\n" + &good));
    let value = replayed(&[&log, "--config", &config]);
    assert_eq!(
        (&value["lines"]["read"], &value["lines"]["unreadable"]),
        (&6.into(), &4.into())
    );
    let why: Vec<_> = value["lines"]["first_unreadable"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (&line["line"], &line["why"]))
        .collect();
    let why = serde_json::to_string(&why).unwrap();
    assert_eq!(
        why,
        r#"[[2,"it is not of this format"],[3,"it has no time that can be read"],[4,"its client is no address"],[5,"the line is too long"]]"#
    );
    let text = binary!().outcome(&["replay", &log, "--config", &config]);
    assert!(
        text.status.success() && !text.stdout.contains('\x1b'),
        "{}",
        text.stdout
    );

    let fails = |arguments: &[&str], code: i32, expected: &str| {
        let outcome = binary!().outcome(&[&["replay"], arguments].concat());
        assert_eq!(outcome.status.code(), Some(code), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{arguments:?}: {}", outcome.stderr);
    };
    let rubbish = desk.write("rubbish.log", "one\ntwo\n");
    fails(&[&rubbish, "--config", &config], 1, "failed to find out the format of");
    fails(
        &[&rubbish, "--config", &config, "--format", "combined"],
        1,
        "none of the 2 lines could be read",
    );
    fails(&["/nowhere.log", "--config", &config], 1, "failed to read /nowhere.log");
    let wrong = desk.write(
        "wrong.yaml",
        "listeners: [{ address: 127.0.0.1:0, upstream: web }]\nupstreams: { wep: { servers: [\"a:1\"] } }\n",
    );
    fails(&[&log, "--config", &wrong], 1, "did you mean");
    fails(
        &[&log, "--config", &config, "--format", "combind"],
        1,
        "unknown format `combind`",
    );
    fails(
        &[&log, "--config", &config, "--format", "{clint} {time}"],
        1,
        "did you mean {client}?",
    );
    fails(
        &[&log, "--config", &config, "--fields", "clint=a"],
        1,
        "did you mean `client`?",
    );
    fails(
        &[&log, "--config", &config, "--listener", "wbe"],
        1,
        "no listener of HTTP named `wbe`",
    );
    fails(&[&log], 2, "--config");
    fails(&["-", "--suggest"], 1, "failed to read the standard input twice");
    fails(
        &[&log, "--config", &config, "--fail-above", "20%"],
        3,
        "50.000 % of the requests were refused, more than the 20 %",
    );
    fails(&[&log, "--config", &config, "--fail-above", "1"], 2, "such as `1%`");
    assert!(
        binary!()
            .outcome(&["replay", &log, "--config", &config, "--fail-above", "50%"])
            .status
            .success()
    );
}

#[test]
fn routes_are_those_of_the_plan() {
    let desk = Desk::new();
    let config = desk.write(
        "isobar.yaml",
        "listeners:\n  - name: web\n    address: 127.0.0.1:0\n    routes:\n      \
         - { name: shop, match: { host: shop.example }, upstream: web, limits: [all] }\n      \
         - { name: api, match: { path: /api/* }, upstream: web }\n      \
         - { name: rest, match: { path: /x/* }, upstream: web }\n\
         upstreams: { web: { servers: [\"127.0.0.1:1\"] } }\nlimits: { all: { key: route, rate: 1/h } }\n",
    );
    let mut log = String::new();
    for (host, target, route) in [
        ("shop.example:80", "/", "shop"),
        ("SHOP.example", "/api/b", "api"),
        ("other.example", "/x/../api/c", "api"),
        ("other.example", "/x/%2e%2e/y", "rest"),
    ] {
        log += &format!(
            "{{\"time\":\"2024-01-01T00:00:00Z\",\"client\":\"192.0.2.1\",\"host\":\"{host}\",\"method\":\"GET\",\
             \"target\":\"{target}\",\"route\":\"{route}\",\"listener\":\"web\"}}\n"
        );
    }
    let log = desk.write("access.log", &log);
    let value = replayed(&[&log, "--config", &config]);
    let requests: Vec<_> = value["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["requests"].clone())
        .collect();
    assert_eq!(Value::from(requests).to_string(), "[2,1,0]");
    assert_eq!(value["requests"]["no_route"], 1);
    assert_eq!(value["requests"]["refused"], 1);
    let moved = value["moved"].to_string();
    assert_eq!(
        moved,
        r#"[{"from":"api","requests":1,"to":"shop"},{"from":"rest","requests":1,"to":null}]"#
    );
    // In combined logs the host is what is said of it.
    let log = desk.write("combined.log", &line("192.0.2.1", 1, "GET / HTTP/1.1").repeat(3));
    let value = replayed(&[&log, "--config", &config]);
    assert_eq!(
        (&value["requests"]["no_route"], &value["requests"]["host_unknown"]),
        (&3.into(), &3.into())
    );
    let value = replayed(&[&log, "--config", &config, "--host", "shop.example"]);
    assert_eq!(
        (&value["requests"]["no_route"], &value["requests"]["refused"]),
        (&0.into(), &2.into())
    );
}

/// Whom a suggested limit is to let pass it lets pass, and what is suggested can be used as it is.
#[test]
fn suggestions_keep_what_they_say() {
    let desk = Desk::new();
    let log = desk.write("access.log", &made_up());
    let arguments = [
        "--suggest",
        "--by",
        "client_ip",
        "--by",
        "client_ip,path",
        "--percentiles",
        "75,99,100",
        "--headroom",
        "1",
    ];
    let value = replayed(&[&[log.as_str()], &arguments[..]].concat());
    let suggestions = value["suggestions"].as_array().unwrap();
    assert!(suggestions.len() >= 10, "{suggestions:?}");
    for suggestion in suggestions {
        let part = suggestion["percentile"].as_f64().unwrap() / 100.0;
        let (keys, refused) = (
            suggestion["keys"].as_f64().unwrap(),
            suggestion["keys_refused"].as_f64().unwrap(),
        );
        assert!(refused <= keys * (1.0 - part), "{suggestion}");
        assert_eq!(keys, 40.0);
    }
    let some = |suggestion: &&Value| suggestion["refused"].as_u64().unwrap() > 0;
    assert!(suggestions.iter().filter(some).count() >= 3, "{suggestions:?}");
    let names: Vec<_> = suggestions
        .iter()
        .take(8)
        .map(|suggestion| suggestion["name"].as_str().unwrap())
        .collect();
    let text = format!(
        "listeners: [{{ name: web, address: \"127.0.0.1:0\", upstream: web, request_limits: [{}] }}]\n\
         upstreams: {{ web: {{ servers: [\"127.0.0.1:1\"] }} }}\n{}",
        names.join(", "),
        value["suggested_yaml"].as_str().unwrap()
    );
    let config = desk.write("suggested.yaml", &text);
    let again = replayed(&[&log, "--config", &config]);
    for (suggestion, name) in suggestions.iter().zip(names) {
        assert_eq!(limit(&again, name)["over"], suggestion["refused"], "{name}");
    }
    let text = binary!().outcome(&[&["replay", log.as_str()], &arguments[..]].concat());
    assert!(
        text.stdout.contains("client-ip-minute-p99: { key: client_ip, rate: "),
        "{}",
        text.stdout
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let desk = Desk::new();
    let hostile = line("192.0.2.1", 3_400, "GET / HTTP/1.1").replace("curl/8", "<script>alert(1)</script>");
    let log = desk.write("access.log", &(made_up() + &hostile.repeat(9)));
    let config = desk.limits(
        "agents: { key: \"header:user-agent\", rate: 5/min }\n  clients: { rate: 60/min, mode: shadow }",
        "[agents, clients]",
    );
    let page = desk.write("out.html", "");
    let outcome = binary!().outcome(&["replay", &log, "--config", &config, "--suggest", "--html", &page]);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let page = fs::read_to_string(&page).unwrap();
    for nothing in [
        "http://", "https://", "<script", "src=", "@import", "url(", "NaN", "inf",
    ] {
        assert!(!page.contains(nothing), "{nothing}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("prefers-color-scheme: dark"));
    assert_eq!(page.matches("<svg class=\"chart\"").count(), 5);
    assert!(outcome.stdout.contains("client-ip-second-p99"), "{}", outcome.stdout);
}
