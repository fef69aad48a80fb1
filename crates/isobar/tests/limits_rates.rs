//! Do limits let pass what they promise, and nothing more?

#[path = "limits_rates/answers.rs"]
mod answers;
#[path = "limits_rates/costs.rs"]
mod costs;
#[path = "limits_rates/keys.rs"]
mod keys;
#[path = "limits_rates/kit.rs"]
mod kit;
#[path = "limits_rates/log.rs"]
mod log;
#[path = "limits_rates/many.rs"]
mod many;
#[path = "limits_rates/overrides.rs"]
mod overrides;
#[path = "limits_rates/rollout.rs"]
mod rollout;

use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::tungstenite::Error;
use isobar_testkit::websocket::{connect, websocket_echo};
use isobar_testkit::{After, Client, Gate, Origin, binary, eventually};

use kit::{Limited, limited};

/// Eight clients that ask as fast as they can: how many were let pass.
fn pass_of(limited: &Limited, requests: usize) -> usize {
    let address = limited.isobar.address();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = Client::connect(address).unwrap();
                    let statuses = (0..requests).map(|_| client.get("/").unwrap().status);
                    statuses.filter(|status| *status == 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

#[test]
fn a_hundred_in_a_time_are_a_hundred_over_all_workers() {
    for algorithm in ["gcra", "token_bucket", "fixed_window", "sliding_window", "sliding_log"] {
        // Windows of a day begin with the process.
        let limit = format!("day: {{ algorithm: {algorithm}, rate: 100/day, max_keys: 1000 }}");
        let limited = limited(&limit, "[day]");
        assert_eq!(pass_of(&limited, 40), 100, "{algorithm}");
        assert_eq!(limited.origin.request_count(), 100, "{algorithm}");
        assert_eq!(limited.decisions("day", "admitted"), 100, "{algorithm}");
        assert_eq!(limited.decisions("day", "refused"), 220, "{algorithm}");
    }
}

#[test]
fn a_rate_goes_on_for_as_long_as_it_is_asked() {
    let limited = limited("per-client: { rate: 100/s, burst: 20 }", "[per-client]");
    let began = Instant::now();
    let mut passed = 0;
    while began.elapsed() < Duration::from_secs(2) {
        passed += pass_of(&limited, 5);
    }
    let most = 20.0 + began.elapsed().as_secs_f64() * 100.0;
    assert!(passed as f64 <= most, "{passed} passed, {most} are the most");
    assert!(passed as f64 >= most * 0.9, "{passed} passed of {most}");
}

#[test]
fn a_login_is_limited_by_its_path() {
    let limited = kit::routed(
        "login: { rate: 5/day }\nall: { rate: 1000/day }",
        "- { match: { path: /login }, upstream: web, limits: [login] }\n- upstream: web",
        "request_limits: [all]",
    );
    let mut client = limited.client();
    for number in 0..8 {
        let expected = if number < 5 { 200 } else { 429 };
        assert_eq!(client.get("/login").unwrap().status, expected, "{number}");
        assert_eq!(client.get("/other").unwrap().status, 200, "{number}");
    }
    // What the limit of the route refused is given back to that of the listener.
    assert_eq!(limited.decisions("all", "admitted"), 13);
    assert_eq!(limited.decisions("all", "returned"), 3);
}

#[test]
fn what_one_limit_refuses_costs_no_other() {
    let limited = limited(
        "address: { rate: 10/day }\nuser: { key: \"header:x-user\", rate: 2/day }",
        "[address, user]",
    );
    let mut client = limited.client();
    let statuses = |client: &mut Client, user: &str, times: usize| {
        (0..times)
            .map(|_| kit::ask(client, "/", &format!("x-user: {user}\r\n")).status)
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses(&mut client, "a", 6), [200, 200, 429, 429, 429, 429]);
    // The four refusals above took nothing of the ten.
    for user in ["b", "c", "d", "e"] {
        assert_eq!(statuses(&mut client, user, 2), [200, 200], "{user}");
    }
    assert_eq!(statuses(&mut client, "f", 1), [429]);
    assert_eq!(limited.decisions("address", "refused"), 1);
    assert_eq!(limited.decisions("user", "refused"), 4);
}

#[test]
fn a_cost_is_taken_for_each_request() {
    let limited = limited("heavy: { rate: 100/day, cost: 30 }", "[heavy]");
    let statuses = limited.statuses("/", "", 5);
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[test]
fn requests_past_the_burst_wait_for_their_turn() {
    let limited = limited("smooth: { rate: 10/s, burst: 1, delay: 1s }", "[smooth]");
    let began = Instant::now();
    let statuses = limited.statuses("/", "", 6);
    assert_eq!(statuses, [200; 6]);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(495),
        "five of six wait for 100 ms each: {took:?}"
    );
    assert_eq!(limited.decisions("smooth", "delayed"), 5);
    eventually("lines with waits", || {
        let waited = |line: &&str| kit::number(line, "limit_delay_ms") > 10.0;
        limited.log_lines().iter().map(String::as_str).filter(waited).count() == 5
    });
    // More than ten at once would wait for longer than a second.
    let mut crowd: Vec<_> = (0..20).map(|_| limited.begin()).collect();
    let statuses = crowd.iter_mut().map(|client| client.receive().unwrap().status);
    let passed = statuses.filter(|status| *status == 200).count();
    assert!((10..=12).contains(&passed), "{passed}");
    assert_eq!(limited.decisions("smooth", "refused"), 20 - passed);
}

/// An origin that answers when it is told to.
fn gated() -> (Origin, Gate) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |exchange| {
        at_origin.pass();
        exchange.reply(200, &[], b"done")
    });
    (origin, gate)
}

#[test]
fn so_many_are_under_way_and_no_more() {
    let (origin, gate) = gated();
    let limited = kit::to(origin, "slots: { algorithm: concurrency, max_requests: 3 }", "[slots]");
    let mut waiting: Vec<_> = (0..3).map(|_| limited.begin()).collect();
    eventually("three are under way", || limited.origin.request_count() == 3);
    let refused = limited.client().get("/").unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(
        refused.fields.value("retry-after"),
        None,
        "nobody knows when another one ends"
    );
    assert_eq!(
        refused.fields.value("ratelimit-policy"),
        Some("\"slots\";q=3;qu=\"concurrent-requests\"")
    );
    // Whoever leaves makes room.
    waiting.pop().unwrap().reset().unwrap();
    eventually("one has left", || {
        limited
            .metrics()
            .sum("isobar_route_exchanges_total", &[("cause", "client_closed")])
            == Some(1.0)
    });
    waiting.push(limited.begin());
    eventually("the fourth is under way", || limited.origin.request_count() == 4);
    gate.open();
    for mut client in waiting {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    eventually("none is in the books", || {
        limited.metrics().sum("isobar_limit_keys", &[]) == Some(0.0)
    });
    assert_eq!(limited.statuses("/", "", 5), [200; 5]);
}

#[test]
fn a_request_that_fails_gives_its_slot_back() {
    let origin = Origin::answering("", After::Close);
    let limited = kit::to(origin, "slots: { algorithm: concurrency, max_requests: 1 }", "[slots]");
    for _ in 0..5 {
        assert_eq!(limited.client().get("/").unwrap().status, 502);
    }
}

/// A WebSocket is under way until it is closed, by whichever side.
#[test]
fn a_websocket_keeps_its_slot() {
    let limits = "slots: { algorithm: concurrency, max_requests: 2 }";
    let limited = kit::to(websocket_echo(), limits, "[slots]");
    let open = || connect(limited.isobar.address(), "/chat");
    let (first, _second) = (open().unwrap(), open().unwrap());
    for _ in 0..3 {
        assert!(matches!(open(), Err(Error::Http(answer)) if answer.status() == 429));
    }
    drop(first);
    eventually("the one that left made room", || open().is_ok());
}

/// The example at the head of docs/limits.md does what it says.
#[test]
fn the_example_of_the_page_limits_as_it_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/limits.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, text) = page.split_once("```yaml\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let origin = Origin::named("a");
    let text = text
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("10.0.0.1:8080, 10.0.0.2:8080", &format!("\"{}\"", origin.address()));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    std::fs::write(&file, text).unwrap();
    let isobar = binary!().run_file(directory, &file);
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut passes = |path: &str, lines: &str, times: usize| {
        let statuses = (0..times).map(|_| kit::ask(&mut client, path, lines).status);
        statuses.filter(|status| *status == 200).count()
    };
    assert_eq!(passes("/login", "", 8), 5);
    assert_eq!(passes("/messages/1", "x-user: a\r\n", 12), 10);
    assert_eq!(passes("/messages/2", "x-user: b\r\n", 2), 2);
    assert_eq!(passes("/messages/2", "", 2), 0, "nobody writes without a name");
    let began = Instant::now();
    assert_eq!(passes("/payments/1", "x-card: 1\r\n", 4), 4);
    assert!(
        began.elapsed() >= Duration::from_millis(990),
        "three of four wait for a third of a second each"
    );
    // 21 of the hundred are gone, and one comes in 0.6 s.
    let rest = passes("/", "", 120);
    assert!((79..=90).contains(&rest), "{rest}");
}
