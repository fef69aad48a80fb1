//! Whom does a limit count?

use isobar_testkit::{Curl, Origin, curl};

use crate::kit::{self, Limited, ask, limited};

/// A listener whose clients are told by proxies that it trusts: all of this machine.
fn behind_proxies(limits: &str, named: &str) -> Limited {
    let listener = format!("trusted_proxies: [127.0.0.0/8]\nrequest_limits: {named}");
    kit::with(Origin::named("a"), limits, &listener)
}

#[test]
fn every_value_of_a_key_is_counted_for_itself() {
    let check = |key: &str, first: (&str, &str), second: (&str, &str)| {
        let limited = limited(&format!("one: {{ key: {key}, rate: 2/day }}"), "[one]");
        for (path, lines) in [first, second] {
            assert_eq!(
                limited.statuses(path, lines, 3),
                [200, 200, 429],
                "{key}: {path} {lines}"
            );
        }
    };
    check("\"header:x-user\"", ("/", "X-User: a\r\n"), ("/", "x-user: b\r\n"));
    check("\"header:x-user\"", ("/", "X-User: a\r\n"), ("/", "X-User:\r\n"));
    check(
        "\"cookie:session\"",
        ("/", "cookie: a=b; session=1\r\n"),
        ("/", "cookie: session=2\r\n"),
    );
    check("\"query:user\"", ("/?user=1&x=1", ""), ("/?x=1&user=2", ""));
    check("path", ("/a?1", ""), ("/b", ""));
    check("[client_ip, path]", ("/a", ""), ("/b", ""));
    check(
        "[path, \"header:x-user\"]",
        ("/a", "x-user: b\r\n"),
        ("/a", "x-user: c\r\n"),
    );
    // What is one with its parts shifted is another key.
    check(
        "[\"header:a\", \"header:b\"]",
        ("/", "a: xy\r\nb: z\r\n"),
        ("/", "a: x\r\nb: yz\r\n"),
    );
}

#[test]
fn methods_and_hosts_are_keys() {
    let limited = limited("one: { key: [method, host], rate: 1/day }", "[one]");
    let mut client = limited.client();
    let mut status = |method: &str, host: &str| {
        let request = format!("{method} / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n");
        client.exchange(request).unwrap().status
    };
    assert_eq!([status("GET", "a.example"), status("GET", "A.example:80")], [200, 429]);
    assert_eq!([status("POST", "a.example"), status("POST", "a.example")], [200, 429]);
    assert_eq!([status("GET", "b.example"), status("GET", "b.example")], [200, 429]);
}

#[test]
fn routes_are_keys_and_a_limit_counts_for_all_that_name_it() {
    let routes = "- { name: a, match: { path: /a }, upstream: web }\n- { name: rest, upstream: web }";
    let limited = kit::routed(
        "one: { key: route, rate: 2/day }\nall: { rate: 5/day }",
        routes,
        "request_limits: [one, all]",
    );
    assert_eq!(limited.statuses("/a", "", 3), [200, 200, 429]);
    assert_eq!(limited.statuses("/b", "", 3), [200, 200, 429]);
    assert_eq!(limited.decisions("all", "admitted"), 4);
}

#[test]
fn the_client_is_whom_trusted_proxies_tell() {
    let limited = behind_proxies("one: { rate: 2/day }", "[one]");
    for client in ["203.0.113.1", "203.0.113.2", "203.0.113.1, 203.0.113.3"] {
        let lines = format!("x-forwarded-for: {client}\r\n");
        assert_eq!(limited.statuses("/", &lines, 3), [200, 200, 429], "{client}");
    }
    // What stands before the client was written by itself.
    assert_eq!(
        limited.statuses("/", "x-forwarded-for: 9.9.9.9, 203.0.113.1\r\n", 1),
        [429]
    );
}

#[test]
fn whom_nobody_trusts_cannot_choose_a_key() {
    let limited = limited("one: { rate: 2/day }", "[one]");
    let mut client = limited.client();
    let forged = |client: &mut _, number: usize| {
        let lines = format!(
            "x-forwarded-for: 10.0.0.{number}\r\nforwarded: for=10.0.1.{number}\r\nx-real-ip: 10.0.2.{number}\r\n"
        );
        ask(client, "/", &lines).status
    };
    let statuses: Vec<_> = (0..6).map(|number| forged(&mut client, number)).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429, 429]);
}

#[test]
fn a_client_has_a_whole_network_of_ipv6() {
    let statuses = |limits: &str, clients: [&str; 3]| {
        let limited = behind_proxies(limits, "[one]");
        clients.map(|client| limited.statuses("/", &format!("x-forwarded-for: {client}\r\n"), 1)[0])
    };
    let clients = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"];
    assert_eq!(statuses("one: { rate: 1/day }", clients), [200, 429, 200]);
    assert_eq!(
        statuses("one: { rate: 1/day, prefix_v6: 128 }", clients),
        [200, 200, 200]
    );
    assert_eq!(
        statuses("one: { rate: 1/day, prefix_v6: 48 }", clients),
        [200, 429, 429]
    );
    let clients = ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1"];
    assert_eq!(statuses("one: { rate: 1/day }", clients), [200, 200, 429]);
    assert_eq!(
        statuses("one: { rate: 1/day, prefix_v4: 24 }", clients),
        [200, 429, 429]
    );
}

#[test]
fn requests_without_a_key_are_treated_as_is_said() {
    let statuses = |missing: &str| {
        let limits = format!("one: {{ key: [client_ip, \"header:x-user\"], rate: 2/day{missing} }}");
        let limited = limited(&limits, "[one]");
        let without = limited.statuses("/", "", 3);
        // What lacks a part is told apart from what has an empty one.
        assert_eq!(limited.statuses("/", "x-user:\r\n", 3), [200, 200, 429], "{missing}");
        without
    };
    assert_eq!(statuses(""), [200, 200, 429]);
    assert_eq!(statuses(", missing: own_bucket"), [200, 200, 429]);
    assert_eq!(statuses(", missing: skip"), [200, 200, 200]);
    assert_eq!(statuses(", missing: refuse"), [429, 429, 429]);
}

#[test]
fn keys_of_any_bytes_and_lengths_are_keys() {
    let limited = limited("one: { key: \"header:x-user\", rate: 1/day }", "[one]");
    let long = "x".repeat(20_000);
    let values: [&[u8]; 4] = [b"\xff\xfe\x80", b"\"\\{}%00", long.as_bytes(), "ä€😀".as_bytes()];
    for value in values {
        let mut client = limited.client();
        let request = [b"GET / HTTP/1.1\r\nhost: a\r\nx-user: ".as_slice(), value, b"\r\n\r\n"].concat();
        let statuses = [(); 2].map(|()| client.exchange(&request).unwrap().status);
        assert_eq!(statuses, [200, 429], "{:?}", value.get(..10).unwrap_or(value));
    }
    let text = limited.metrics().text().to_owned();
    let series = text
        .lines()
        .filter(|line| line.starts_with("isobar_limit_decisions_total"));
    assert_eq!(series.count(), 9, "one for each outcome, whatever clients send");
}

#[test]
fn lists_of_networks_come_before_all_counting() {
    let limited = behind_proxies(
        "one: { rate: 1/day, exempt: [10.0.0.0/8], deny: [192.0.2.0/24, \"2001:db8::/32\"] }",
        "[one]",
    );
    let statuses = |client: &str| limited.statuses("/", &format!("x-forwarded-for: {client}\r\n"), 3);
    assert_eq!(statuses("10.1.2.3"), [200; 3]);
    assert_eq!(statuses("192.0.2.7"), [403; 3]);
    assert_eq!(statuses("2001:db8:1::7"), [403; 3]);
    assert_eq!(statuses("203.0.113.7"), [200, 429, 429]);
    assert_eq!(limited.decisions("one", "exempt"), 3);
    assert_eq!(limited.decisions("one", "denied"), 6);
}

#[test]
fn names_of_tls_handshakes_are_keys() {
    let limited = kit::with(
        Origin::named("a"),
        "one: { key: tls_name, rate: 2/day }",
        "request_limits: [one]\ntls: { self_signed: [a.example, b.example] }",
    );
    let port = limited.isobar.address().port();
    let statuses = |name: &str| {
        (0..3)
            .map(|_| {
                let resolve = format!("{name}:{port}:127.0.0.1");
                let url = format!("https://{name}:{port}/");
                let Curl { status, .. } = curl(&["--insecure", "--resolve", &resolve, &url]);
                status
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses("a.example"), [200, 200, 429]);
    assert_eq!(statuses("b.example"), [200, 200, 429]);
}
