//! Do requests of one key reach one server, and does a server that fails at once attract no traffic?

use std::collections::{BTreeMap, BTreeSet};

use isobar_testkit::{Client, Configuration, Isobar, Origin, binary, eventually, get};

/// An upstream of three servers with these settings.
fn three(settings: &[&str]) -> (Vec<Origin>, Isobar) {
    let origins = ["a", "b", "c"].map(Origin::named).into_iter().collect::<Vec<_>>();
    let addresses = origins.iter().map(Origin::address).collect::<Vec<_>>();
    let mut configuration = Configuration::to(&addresses);
    for setting in settings {
        configuration = configuration.upstream(*setting);
    }
    let isobar = binary!().run(&configuration);
    (origins, isobar)
}

/// Who answers a request with these lines behind its request line.
fn answer(isobar: &Isobar, target: &str, lines: &str) -> String {
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n");
    client.send(request.as_bytes()).unwrap();
    client.receive().unwrap().text()
}

/// Asks for many keys twice each: every key has one server, and every server has keys.
fn check(settings: &[&str], request: impl Fn(u32) -> (String, String)) {
    let (_origins, isobar) = three(settings);
    let mut servers = BTreeMap::<String, u32>::new();
    for key in 0..60 {
        let (target, lines) = request(key);
        let first = answer(&isobar, &target, &lines);
        assert_eq!(answer(&isobar, &target, &lines), first, "{settings:?}, key {key}");
        *servers.entry(first).or_default() += 1;
    }
    assert_eq!(servers.len(), 3, "{settings:?}: {servers:?}");
}

#[test]
fn requests_of_a_key_reach_one_server() {
    for balance in ["ring_hash", "ketama", "maglev", "rendezvous", "memento"] {
        let balance = format!("balance: {balance}");
        check(&[&balance, "hash: [\"header:x-user\"]"], |key| {
            ("/".to_owned(), format!("X-USER: {key}\r\n"))
        });
    }
}

#[test]
fn every_part_of_a_request_can_be_its_key() {
    let with = |hash: &str, request: fn(u32) -> (String, String)| {
        check(&["balance: maglev", &format!("hash: {hash}")], request);
    };
    with("[path]", |key| (format!("/{key}?{key}"), String::new()));
    with("[\"query:user\"]", |key| (format!("/?a=b&user={key}"), String::new()));
    with("[\"cookie:session\"]", |key| {
        ("/".to_owned(), format!("Cookie: theme=dark; session={key}\r\n"))
    });
    with("[path, \"header:x-user\"]", |key| {
        (format!("/{}", key % 8), format!("X-User: {}\r\n", key / 8))
    });
}

#[test]
fn without_parts_the_key_is_the_clients_address() {
    let (_origins, isobar) = three(&["balance: ring_hash"]);
    let servers = (0..20)
        .map(|key| answer(&isobar, &format!("/{key}"), ""))
        .collect::<BTreeSet<_>>();
    assert_eq!(servers.len(), 1, "all are of one client: {servers:?}");
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    let (_origins, isobar) = three(&["balance: ring_hash", "hash: [\"header:x-user\"]"]);
    let servers = (0..60).map(|_| answer(&isobar, "/", "")).collect::<BTreeSet<_>>();
    assert_eq!(servers.len(), 3, "{servers:?}");
}

#[test]
fn a_server_that_leaves_moves_its_own_keys_only() {
    let (origins, isobar) = three(&[
        "balance: maglev",
        "hash: [path]",
        // Its keys are to come back at once.
        "slow_start: none",
        "health: { type: tcp, interval: 100ms, timeout: 100ms, rise: 1, fall: 1 }",
    ]);
    let all = || {
        (0..60)
            .map(|key| answer(&isobar, &format!("/{key}"), ""))
            .collect::<Vec<_>>()
    };
    let before = all();
    origins[1].stop();
    eventually("it is known to be gone", || {
        isobar.metrics().sum(
            "isobar_server_healthy",
            &[("server", &origins[1].address().to_string())],
        ) == Some(0.0)
    });
    for (key, (before, after)) in before.iter().zip(all()).enumerate() {
        assert_ne!(after, "b");
        if before != "b" {
            assert_eq!(*before, after, "key {key} had no reason to move");
        }
    }
    origins[1].resume();
    eventually("every key is where it was", || all() == before);
}

#[test]
fn a_server_that_fails_at_once_is_charged() {
    let failing = Origin::start(|exchange| exchange.reply(500, &[], b"no"));
    let well = Origin::named("a");
    let isobar = binary!().run(&Configuration::to(&[failing.address(), well.address()]));
    let failed = (0..200)
        .filter(|_| get(isobar.address(), "/").unwrap().status == 500)
        .count();
    // Each failure counts as a request in flight for a second, so that among idle servers the other one has less.
    assert!(
        (1..=20).contains(&failed),
        "{failed} of 200 went to a server that fails"
    );
}
