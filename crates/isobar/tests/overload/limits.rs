//! Do the limits of an upstream and its servers hold, are they told of, and is everything given back?

use std::time::Duration;

use isobar_testkit::websocket::{connect, websocket_echo};
use isobar_testkit::{Client, Configuration, Gate, Isobar, Origin, binary, eventually, get};

const LOG: &str = "access_log: { path: access.log, format: \"{target} {status} {cause}\" }";

pub(crate) fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |exchange| {
        gate.pass();
        exchange.reply(200, &[], b"done")
    })
}

pub(crate) fn send(isobar: &Isobar, target: &str, fields: &str) -> Client {
    let mut client = Client::connect(isobar.address()).unwrap();
    client
        .send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
        .unwrap();
    client
}

pub(crate) fn metric(isobar: &Isobar, name: &str) -> f64 {
    isobar.metrics().sum(name, &[]).unwrap_or(-1.0)
}

/// Waits until the access log has the line.
#[track_caller]
pub(crate) fn is_logged(isobar: &Isobar, line: &str) {
    let log = isobar.directory().join("access.log");
    eventually(line, || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().any(|other| other == line))
    });
}

#[track_caller]
pub(crate) fn nothing_is_left(isobar: &Isobar) {
    eventually("everything is given back", || {
        let metrics = isobar.metrics();
        let names = [
            "isobar_upstream_queued",
            "isobar_upstream_in_flight",
            "isobar_server_in_flight",
        ];
        names.iter().all(|name| metrics.sum(name, &[]) == Some(0.0))
    });
}

/// What `/health/detailed` says of the upstream.
fn detail(isobar: &Isobar) -> String {
    let health = isobar.health();
    let checks = health["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "upstream web").unwrap();
    check["detail"].as_str().unwrap().to_owned()
}

#[test]
fn requests_past_the_limit_of_the_upstream_wait_or_are_told_why() {
    let gate = Gate::new();
    let origins = [gated(&gate), gated(&gate)];
    let configuration = Configuration::to(&[origins[0].address(), origins[1].address()])
        .upstream("limits: { max_requests: 3 }\nqueue: { max: 2 }")
        .top(LOG);
    let isobar = binary!().run(&configuration);
    let mut clients: Vec<_> = (0..5).map(|_| send(&isobar, "/", "")).collect();
    eventually("two wait", || metric(&isobar, "isobar_upstream_queued") == 2.0);
    eventually("three are at the servers", || gate.waiting() == 3);
    assert_eq!(get(isobar.address(), "/more").unwrap().status, 503);
    is_logged(&isobar, "/more 503 max_requests");
    let refused = [("upstream", "web"), ("priority", "normal"), ("cause", "max_requests")];
    assert_eq!(
        isobar.metrics().sum("isobar_upstream_refused_total", &refused),
        Some(1.0)
    );
    assert_eq!(metric(&isobar, "isobar_upstream_max_requests"), 3.0);
    let told = detail(&isobar);
    assert!(
        told.contains("2 of 2 requests waiting, 3 of 3 requests in flight"),
        "{told}"
    );
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    nothing_is_left(&isobar);
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
}

#[test]
fn a_reload_lowers_and_lifts_the_limit_in_the_middle() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let with = |limits: &str| Configuration::to(&[origin.address()]).upstream(format!("limits: {limits}"));
    let isobar = binary!().run(&with("{ max_requests: 4 }"));
    let mut clients: Vec<_> = (0..6).map(|_| send(&isobar, "/", "")).collect();
    eventually("four are at the server", || gate.waiting() == 4);
    eventually("two wait", || metric(&isobar, "isobar_upstream_queued") == 2.0);
    isobar.reload(&with("{ max_requests: 1 }").yaml());
    assert_eq!(
        metric(&isobar, "isobar_upstream_in_flight"),
        4.0,
        "those in flight stay"
    );
    clients.push(send(&isobar, "/", ""));
    eventually("three wait", || metric(&isobar, "isobar_upstream_queued") == 3.0);
    isobar.reload(&with("{ max_requests: none }").yaml());
    eventually("all are at the server", || gate.waiting() == 7);
    isobar.reload(&with("{ max_requests: 2 }").yaml());
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    nothing_is_left(&isobar);
    // Had one too many or too few been given back, the limit would not be two now.
    let gate = Gate::new();
    let origin = gated(&gate);
    let configuration = Configuration::to(&[origin.address()]).upstream("limits: { max_requests: 2 }");
    isobar.reload(&configuration.yaml());
    let clients: Vec<_> = (0..3).map(|_| send(&isobar, "/", "")).collect();
    eventually("one waits", || metric(&isobar, "isobar_upstream_queued") == 1.0);
    eventually("two are at the server", || gate.waiting() == 2);
    drop(clients);
    gate.open();
    nothing_is_left(&isobar);
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    let origins: Vec<_> = (0..3).map(|_| Origin::named("a")).collect();
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let configuration = Configuration::to(&addresses)
        .upstream("balance: round_robin\nlimits: { max_connections: 2 }\nqueue: { max: 0 }");
    let isobar = binary!().workers(2).run(&configuration);
    for round in 0..60 {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200, "{round}");
        let open = metric(&isobar, "isobar_upstream_connections");
        assert!((0.0..=2.0).contains(&open), "{open} are open in round {round}");
    }
    assert!(origins.iter().all(|origin| origin.request_count() > 0));
    eventually("no more are open", || {
        origins.iter().map(Origin::connections_open).sum::<usize>() <= 2
    });
    let lower = Configuration::to(&addresses).upstream("limits: { max_connections: 1 }");
    isobar.reload(&lower.yaml());
    // Two workers that look at the same moment may both let one go.
    eventually("at most one is left", || {
        metric(&isobar, "isobar_upstream_connections") <= 1.0
    });
    isobar.reload(
        &Configuration::to(&addresses)
            .upstream("keep_alive: { idle_timeout: 10ms }")
            .yaml(),
    );
    eventually("none is open", || metric(&isobar, "isobar_upstream_connections") == 0.0);
}

#[test]
fn tunnels_hold_connections_until_they_end() {
    let origin = websocket_echo();
    let upstream = "limits: { max_connections: 2 }\nqueue: { max: 0 }";
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream(upstream).top(LOG));
    let mut tunnels: Vec<_> = (0..2).map(|_| connect(isobar.address(), "/").unwrap()).collect();
    assert!(connect(isobar.address(), "/third").is_err());
    is_logged(&isobar, "/third 503 max_connections");
    assert!(detail(&isobar).contains("2 of 2 connections"), "{}", detail(&isobar));
    tunnels.pop();
    eventually("one has ended", || {
        metric(&isobar, "isobar_upstream_connections") == 1.0
    });
    tunnels.push(connect(isobar.address(), "/").unwrap());
    tunnels.clear();
    nothing_is_left(&isobar);
    eventually("none is open", || metric(&isobar, "isobar_upstream_connections") == 0.0);
}

#[test]
fn a_limit_from_latency_holds_and_ends_with_its_setting() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let with = |line: &str| Configuration::to(&[origin.address()]).upstream(line);
    let isobar = binary!().run(&with("adaptive_concurrency: { min: 2, max: 3 }"));
    let mut clients: Vec<_> = (0..5).map(|_| send(&isobar, "/", "")).collect();
    eventually("two wait", || metric(&isobar, "isobar_upstream_queued") == 2.0);
    eventually("three are at the server", || gate.waiting() == 3);
    assert_eq!(metric(&isobar, "isobar_server_adaptive_limit"), 3.0);
    assert_eq!(metric(&isobar, "isobar_server_limit"), 3.0);
    isobar.reload(&with("adaptive_concurrency: none").yaml());
    eventually("all are at the server", || gate.waiting() == 5);
    assert_eq!(isobar.metrics().sum("isobar_server_adaptive_limit", &[]), None);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    nothing_is_left(&isobar);
}

#[test]
fn operators_and_probes_are_served_whatever_is_full() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |exchange| {
        if exchange.request.target != "/probe" {
            held.pass();
        }
        exchange.reply(200, &[], b"done")
    });
    let upstream = "limits: { max_requests: 1, max_connections: 1 }\nqueue: { max: 1 }\n\
                    health: { path: /probe, interval: 50ms, timeout: 5s }";
    let configuration = Configuration::to(&[origin.address()])
        .upstream(upstream)
        .listener("limits: { max_connections: 3 }");
    let isobar = binary!().run(&configuration);
    let clients: Vec<_> = (0..6).map(|_| send(&isobar, "/", "")).collect();
    eventually("one waits", || metric(&isobar, "isobar_upstream_queued") == 1.0);
    let probes = || {
        let requests = origin.requests();
        requests.iter().filter(|request| request.target == "/probe").count()
    };
    let before = probes();
    eventually("the server is probed on", || probes() > before + 5);
    for path in ["/health", "/health/ready", "/health/detailed", "/metrics"] {
        assert_eq!(get(isobar.admin(), path).unwrap().status, 200, "{path}");
    }
    assert_eq!(metric(&isobar, "isobar_server_healthy"), 1.0);
    assert_eq!(
        metric(&isobar, "isobar_upstream_connections"),
        1.0,
        "those of probes do not count"
    );
    drop(clients);
    gate.open();
    nothing_is_left(&isobar);
}

/// Clients that come, leave while they wait or are served, and come again, under limits of every kind.
#[test]
fn nothing_is_kept_after_chaos() {
    let origin = Origin::start(|exchange| {
        std::thread::sleep(Duration::from_millis(5));
        exchange.reply(200, &[], b"done")
    });
    let with = |limit: u32, rest: &str| {
        let limits = format!("limits: {{ max_requests: {limit}, max_connections: {limit} }}\n{rest}");
        Configuration::to(&[origin.address()])
            .routes("- { match: { path: /low }, upstream: web, priority: low }\n- upstream: web")
            .upstream(limits)
    };
    let isobar = binary!().workers(2).run(&with(3, "queue: { max: 5 }"));
    let rests = [
        "queue: { max: 5, order: deadline }\nadaptive_concurrency: { max: 2 }",
        "queue: { max: 0 }",
        "queue: { max: 5, timeout: 10ms }\nadaptive_concurrency: {}",
    ];
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let isobar = &isobar;
            scope.spawn(move || {
                for round in 0..60u64 {
                    let target = if (round + thread).is_multiple_of(3) {
                        "/low"
                    } else {
                        "/"
                    };
                    let mut client = send(isobar, target, "x-request-timeout: 30ms\r\n");
                    if (round * 7 + thread).is_multiple_of(4) {
                        std::thread::sleep(Duration::from_millis(round % 9));
                        continue;
                    }
                    let status = client.receive().unwrap().status;
                    assert!(status == 200 || status == 503, "{status}");
                }
            });
        }
        for (limit, rest) in [4, 1, 2].into_iter().zip(rests) {
            std::thread::sleep(Duration::from_millis(100));
            isobar.reload(&with(limit, rest).yaml());
        }
    });
    nothing_is_left(&isobar);
    for _ in 0..20 {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    }
    eventually("no more are open than may be", || {
        (0.0..=2.0).contains(&metric(&isobar, "isobar_upstream_connections"))
    });
}
