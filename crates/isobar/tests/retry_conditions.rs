//! What is sent again when the configuration says so, how often, and within which time?

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{
    After, Client, ClosedPort, Configuration, Isobar, Origin, binary, eventually, get, noise, wait_for,
};

/// Runs with these servers in turn, and these lines for the upstream.
fn in_turn(servers: &[SocketAddr], lines: &str) -> Isobar {
    let configuration = Configuration::to(servers)
        .upstream("balance: round_robin")
        .upstream(lines);
    binary!().run(&configuration.top("access_log: { path: access.log, format: json }"))
}

#[track_caller]
fn line(isobar: &Isobar, number: usize) -> Value {
    wait_for("the line is written", || {
        let text = fs::read_to_string(isobar.directory().join("access.log")).ok()?;
        let line = text
            .split_inclusive('\n')
            .nth(number)
            .filter(|line| line.ends_with('\n'))?;
        Some(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
    })
}

#[test]
fn an_answer_is_given_up_for_another_servers() {
    let (bad, good) = (Origin::failing(503), Origin::named("good"));
    let isobar = in_turn(&[bad.address(), good.address()], "retry: { on: [503] }");
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().text(), "good");
    }
    // A retry takes its turn as well, so that how many requests meet the bad one is not a half of them.
    let met = bad.request_count();
    assert_eq!((met >= 10, good.request_count()), (true, 20));
    // Its answer was read to its end, so that its connection was of further use.
    assert!(bad.connections_accepted() <= 2, "{}", bad.connections_accepted());
    let metrics = isobar.metrics();
    let retries = |reason| metrics.sum("isobar_upstream_retries_total", &[("reason", reason)]);
    assert_eq!((retries("status"), retries("closed")), (Some(met as f64), Some(0.0)));
    assert_eq!(metrics.sum("isobar_upstream_requests_total", &[]), Some(20.0));
    assert_eq!(metrics.sum("isobar_server_retries_total", &[]), Some(met as f64));
    let bad_answers = metrics.sum("isobar_server_responses_total", &[("code_class", "5xx")]);
    assert_eq!(bad_answers, Some(met as f64));
    let lines: Vec<Value> = (0..2).map(|number| line(&isobar, number)).collect();
    let tried = lines.iter().find(|line| line["attempts"] == 2).unwrap();
    assert_eq!(tried["tried"], format!("{}:503", bad.address()), "{tried:#}");
    assert_eq!(
        (&tried["status"], &tried["retry_refused"]),
        (&200.into(), &false.into())
    );
    isobar.comes_to_rest();
}

#[test]
fn the_last_answer_is_passed_on() {
    let servers = [Origin::failing(503), Origin::failing(503), Origin::failing(503)];
    let addresses = servers.each_ref().map(Origin::address);
    let check = |lines: &str, expected: usize| {
        let before: usize = servers.iter().map(Origin::request_count).sum();
        let isobar = in_turn(&addresses, lines);
        let answer = get(isobar.address(), "/").unwrap();
        assert_eq!((answer.status, answer.text()), (503, "failed".to_owned()), "{lines}");
        let after: usize = servers.iter().map(Origin::request_count).sum();
        assert_eq!(after - before, expected, "{lines}");
        isobar.comes_to_rest();
    };
    check("retry: { on: 5xx, attempts: 1 }", 2);
    check("retry: { on: 5xx, attempts: 9 }", 3);
    check("retry: { on: 500-502, attempts: 2 }", 1);
    check("retry: { attempts: 2 }", 1);
    check("retry: { on: none, attempts: 2 }", 1);
    check("retry: { on: 5xx, attempts: 9, backoff: { base: 1ms, max: 2ms } }", 10);
}

#[test]
fn a_post_is_repeated_only_when_told() {
    let (bad, good) = (Origin::failing(502), Origin::echo());
    let servers = [bad.address(), good.address()];
    let statuses = |lines: &str| {
        let isobar = in_turn(&servers, lines);
        let mut client = Client::connect(isobar.address()).unwrap();
        let mut statuses: Vec<u16> = (0..4).map(|_| client.post("/", b"body").unwrap().status).collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(statuses("retry: { on: [closed, 5xx] }"), [200, 200, 502, 502]);
    assert_eq!(statuses("retry: { on: [closed, 5xx], non_idempotent: true }"), [200; 4]);
    let closing = Origin::start(|exchange| exchange.body().map(|_| After::Close));
    let servers = [closing.address(), good.address()];
    let isobar = in_turn(&servers, "retry: { non_idempotent: true }");
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..4 {
        assert_eq!(client.post("/", b"body").unwrap().body, b"body");
    }
}

#[test]
fn conditions_that_are_left_out_are_not_met() {
    let good = Origin::named("good");
    let closed = ClosedPort::reserve().unwrap();
    let closing = Origin::answering("", After::Close);
    let check = |bad: SocketAddr, on: &str, expected: [u16; 2]| {
        let isobar = in_turn(
            &[bad, good.address()],
            &format!("retry: {{ on: {on} }}\ntimeouts: {{ read: 200ms }}"),
        );
        let mut client = Client::connect(isobar.address()).unwrap();
        let mut statuses = [client.get("/").unwrap().status, client.get("/").unwrap().status];
        statuses.sort_unstable();
        assert_eq!(statuses, expected, "{on}");
    };
    check(closed.address(), "closed", [200, 502]);
    check(closed.address(), "connect_failure", [200, 200]);
    check(closing.address(), "connect_failure", [200, 502]);
    check(closing.address(), "closed", [200, 200]);
    let silent = Origin::mute();
    check(silent.address(), "[closed, connect_failure]", [200, 504]);
    check(silent.address(), "timeout", [200, 200]);
}

#[test]
fn bodies_are_sent_again() {
    let put = |body: &[u8]| {
        let chunks: Vec<u8> = body
            .chunks(5_000)
            .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
            .collect();
        let length = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        let chunked = b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        [
            [length.as_bytes(), body].concat(),
            [chunked, &*chunks, b"0\r\n\r\n"].concat(),
        ]
    };
    let body = noise(60_000, 7);
    let closing = Origin::start(|exchange| exchange.body().map(|_| After::Close));
    let good = Origin::echo();
    let isobar = in_turn(&[closing.address(), good.address()], "");
    for request in put(&body) {
        let mut client = Client::connect(isobar.address()).unwrap();
        for _ in 0..4 {
            client
                .send_in_pieces(&request, 9_000, Duration::from_millis(2))
                .unwrap();
            assert_eq!(client.receive().unwrap().body, body);
        }
    }
    assert!(closing.request_count() >= 4);
    // What is larger than the buffer is sent once, also where one read takes all of it. Nothing was sent of what met
    // nobody.
    let closed = ClosedPort::reserve().unwrap();
    let none = in_turn(&[closing.address(), good.address()], "retry: { buffer: 100 }");
    let unmet = in_turn(&[closed.address(), good.address()], "retry: { buffer: 100 }");
    for (length, expected) in [(90, [200, 200]), (110, [200, 502])] {
        let request = &put(&noise(length, 9))[0];
        let statuses = |isobar: &Isobar| {
            let mut client = Client::connect(isobar.address()).unwrap();
            let mut statuses = [(); 2].map(|()| {
                client.send(request).unwrap();
                client.receive().unwrap().status
            });
            statuses.sort_unstable();
            statuses
        };
        assert_eq!(statuses(&none), expected, "{length}");
        assert_eq!(statuses(&unmet), [200, 200], "{length}");
    }
    let small = in_turn(
        &[closing.address()],
        "retry: { buffer: 32KiB, backoff: { base: 1ms, max: 1ms } }",
    );
    for request in put(&noise(1_000_000, 8)) {
        let before = closing.request_count();
        let mut client = Client::connect(small.address()).unwrap();
        client
            .send_in_pieces(&request, 90_000, Duration::from_millis(2))
            .unwrap();
        assert_eq!(client.receive().unwrap().status, 502);
        assert_eq!(closing.request_count() - before, 1);
    }
}

#[test]
fn a_try_that_takes_too_long_is_given_up_for_another_server() {
    let (silent, good) = (Origin::mute(), Origin::named("good"));
    let isobar = in_turn(&[silent.address(), good.address()], "retry: { try_timeout: 200ms }");
    for number in 0..4 {
        let began = Instant::now();
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "good");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let line = line(&isobar, number);
        if line["attempts"] == 2 {
            assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
            assert_eq!(line["tried"], format!("{}:try_timeout", silent.address()));
        }
    }
    let met = silent.request_count();
    assert!(met >= 2, "{met}");
    let reasons = isobar.metrics();
    assert_eq!(
        reasons.sum("isobar_upstream_retries_total", &[("reason", "timeout")]),
        Some(met as f64)
    );
    // A POST was sent, so its time-out is passed on.
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut statuses: Vec<u16> = (0..2).map(|_| client.post("/", b"x").unwrap().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
    isobar.comes_to_rest();
}

#[test]
fn the_deadline_is_for_everything() {
    let servers = [Origin::mute(), Origin::mute(), Origin::mute(), Origin::mute()];
    let addresses = servers.each_ref().map(Origin::address);
    let is_in_time = |began: Instant| {
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(500) && took < Duration::from_secs(4),
            "{took:?}"
        );
    };
    let isobar = in_turn(
        &addresses,
        "retry: { attempts: 9, try_timeout: 200ms, deadline: 500ms }",
    );
    let began = Instant::now();
    assert_eq!(get(isobar.address(), "/").unwrap().status, 504);
    is_in_time(began);
    let first = line(&isobar, 0);
    assert_eq!(first["cause"], "deadline_exceeded", "{first:#}");
    assert!(first["attempts"].as_u64().unwrap() >= 2, "{first:#}");
    // An upload that does not end.
    let mut client = Client::connect(isobar.address()).unwrap();
    let began = Instant::now();
    client
        .send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab")
        .unwrap();
    assert_eq!(client.receive().unwrap().status, 504);
    is_in_time(began);
    // A place in the queue.
    let full = binary!().run(
        &Configuration::default()
            .server(format!("{{ address: \"{}\", max_connections: 1 }}", addresses[0]))
            .upstream("retry: { deadline: 500ms }\nqueue: { timeout: 20s }\ntimeouts: { read: 20s }"),
    );
    let began = Instant::now();
    let mut first = Client::connect(full.address()).unwrap();
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(get(full.address(), "/").unwrap().status, 504);
    is_in_time(began);
    assert_eq!(first.receive().unwrap().status, 504);
    full.comes_to_rest();
    isobar.comes_to_rest();
}

#[test]
fn a_server_alone_is_asked_again_after_a_pause() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |exchange| {
        let status = if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            503
        } else {
            200
        };
        exchange.reply(status, &[], b"")
    });
    let check = |lines: &str, expected: [u16; 2]| {
        let isobar = in_turn(&[origin.address()], lines);
        let mut client = Client::connect(isobar.address()).unwrap();
        let statuses = [client.get("/").unwrap().status, client.get("/").unwrap().status];
        assert_eq!(statuses, expected, "{lines}");
        isobar.comes_to_rest();
    };
    check("retry: { on: 503 }", [503, 200]);
    check("retry: { on: 503, backoff: { base: 5ms, max: 20ms } }", [200, 200]);
}

#[test]
fn retry_after_is_waited_for_within_bounds() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |exchange| {
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            exchange.reply(429, &[("retry-after", "1")], b"")
        } else {
            exchange.reply(200, &[], b"")
        }
    });
    let patient = in_turn(
        &[origin.address()],
        "retry: { on: 429, backoff: { base: 5ms, max: 2s } }",
    );
    let began = Instant::now();
    assert_eq!(get(patient.address(), "/").unwrap().status, 200);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let hasty = in_turn(
        &[origin.address()],
        "retry: { on: 429, backoff: { base: 5ms, max: 500ms } }",
    );
    assert_eq!(get(hasty.address(), "/").unwrap().status, 429);
    assert_eq!(origin.request_count(), 3);
}

#[test]
fn pipelined_requests_are_each_sent_again_in_order() {
    let bad = Origin::answering("HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nhalf", After::Stall);
    let good = Origin::start(|exchange| {
        let target = exchange.request.target.clone();
        exchange.reply(200, &[], target.as_bytes())
    });
    let isobar = in_turn(&[bad.address(), good.address()], "retry: { on: 503 }");
    let mut client = Client::connect(isobar.address()).unwrap();
    let requests: String = (0..6)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    client.send(requests).unwrap();
    for number in 0..6 {
        assert_eq!(client.receive().unwrap().text(), format!("/{number}"));
    }
    assert!(bad.request_count() >= 3);
    // An answer that does not end is not waited for: its connection is closed.
    eventually("the rest of the answers is given up", || bad.connections_open() == 0);
    isobar.comes_to_rest();
}

#[test]
fn a_body_after_100_continue_is_sent_again() {
    // One closes before it says a word, one after the body, one says 503 at once.
    let closing = Origin::answering("", After::Close);
    let rude = Origin::start(|_| Ok(After::Close));
    let refusing = Origin::start(|exchange| exchange.reply(503, &[], b"").map(|_| After::Close));
    for bad in [&closing, &rude, &refusing] {
        let good = Origin::echo();
        let isobar = in_turn(&[bad.address(), good.address()], "retry: { on: [closed, 503] }");
        for _ in 0..4 {
            let mut client = Client::connect(isobar.address()).unwrap();
            client
                .send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
                .unwrap();
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            assert_eq!(client.receive_bytes(go_on.len()).unwrap(), go_on);
            client.send("body").unwrap();
            // A server that is asked later may say it once more.
            let answer = client.receive().unwrap();
            assert_eq!((answer.status, answer.text()), (200, "body".to_owned()));
        }
        assert!(bad.request_count() >= 2);
        isobar.comes_to_rest();
    }
}

#[test]
fn a_route_has_retries_of_its_own() {
    let (bad, good) = (Origin::failing(503), Origin::named("good"));
    let configuration = Configuration::to(&[bad.address(), good.address()])
        .upstream("balance: round_robin\nretry: { on: 503 }")
        .routes("- { match: { path: /once }, upstream: web, retry: { attempts: 0 } }\n- { upstream: web }");
    let isobar = binary!().run(&configuration);
    let statuses = |path: &str| {
        let mut client = Client::connect(isobar.address()).unwrap();
        let mut statuses: Vec<u16> = (0..4).map(|_| client.get(path).unwrap().status).collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(statuses("/"), [200; 4]);
    assert_eq!(statuses("/once"), [200, 200, 503, 503]);
}

#[test]
fn a_client_that_leaves_in_a_pause_takes_its_request_with_it() {
    let bad = Origin::failing(503);
    let isobar = in_turn(
        &[bad.address()],
        "retry: { on: 503, attempts: 5, backoff: { base: 30s, max: 60s } }",
    );
    for _ in 0..5 {
        let mut client = Client::connect(isobar.address()).unwrap();
        let before = bad.request_count();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        eventually("the server is asked", || bad.request_count() > before);
        drop(client);
    }
    eventually("the clients' connections are gone", || {
        isobar.metrics().sum("isobar_listener_connections", &[]) == Some(0.0)
    });
    isobar.comes_to_rest();
    assert_eq!(line(&isobar, 0)["cause"], "client_closed");
}
