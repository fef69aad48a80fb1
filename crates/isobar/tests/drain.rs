//! Does SIGTERM let work finish, take no more, and end in time?

use std::time::{Duration, Instant};

use isobar_testkit::websocket::{connect, websocket_echo};
use isobar_testkit::{
    CLOSED_WITHOUT_ANSWER, Client, Configuration, Gate, Isobar, Load, LoadOptions, Origin, PATIENCE, Signal, binary,
    eventually,
};

fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |exchange| {
        gate.pass();
        exchange.reply(200, &[], b"done")
    })
}

fn with_request_in_flight(drain_timeout: &str, origin: &Origin) -> (Isobar, Client) {
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).top(format!("drain_timeout: {drain_timeout}")));
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || origin.request_count() == 1);
    (isobar, client)
}

#[test]
fn what_is_in_flight_finishes() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (mut isobar, mut busy) = with_request_in_flight("30s", &origin);
    let (address, mut idle) = (isobar.address(), Client::connect(isobar.address()).unwrap());
    isobar.signal(Signal::TERM);
    assert!(idle.sees_close(), "an idle connection is left open");
    eventually("new connections are refused", || Client::connect(address).is_err());
    gate.open();
    let answer = busy.receive().unwrap();
    assert_eq!(answer.text(), "done");
    assert!(answer.fields.lists("connection", "close"), "{:?}", answer.fields);
    assert!(busy.sees_close());
    assert_eq!(isobar.ends(Duration::from_secs(5)).code(), Some(0), "{}", isobar.log());
}

#[test]
fn a_connection_that_was_accepted_still_has_its_first_request_answered() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (isobar, mut busy) = with_request_in_flight("30s", &origin);
    let (address, mut fresh) = (isobar.address(), Client::connect(isobar.address()).unwrap());
    isobar.signal(Signal::TERM);
    eventually("new connections are refused", || Client::connect(address).is_err());
    gate.open();
    fresh.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let answer = fresh.receive().unwrap();
    assert_eq!(answer.text(), "done");
    assert!(answer.fields.lists("connection", "close"), "{:?}", answer.fields);
    assert_eq!(busy.receive().unwrap().text(), "done");
}

#[test]
fn what_does_not_finish_is_cut_at_the_deadline() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let sockets = websocket_echo();
    let configuration = Configuration::to(&[origin.address()])
        .routes("- { upstream: web }\n- { match: { path: /socket }, upstream: sockets }")
        .another_upstream("sockets", sockets.address())
        .top("drain_timeout: 500ms");
    let mut isobar = binary!().run(&configuration);
    let mut tunnel = connect(isobar.address(), "/socket").unwrap();
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || gate.waiting() == 1);
    let start = Instant::now();
    isobar.signal(Signal::TERM);
    assert_eq!(isobar.ends(Duration::from_secs(5)).code(), Some(0), "{}", isobar.log());
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "{:?} is before the deadline",
        start.elapsed()
    );
    assert!(tunnel.read().is_err());
    assert!(client.receive().map_or(true, |answer| answer.status == 503));
    gate.open();
}

#[test]
fn an_idle_instance_ends_at_once() {
    let origin = Origin::named("a");
    let mut isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let mut client = Client::connect(isobar.address()).unwrap();
    assert_eq!(client.get("/").unwrap().status, 200);
    isobar.signal(Signal::TERM);
    assert_eq!(isobar.ends(Duration::from_secs(5)).code(), Some(0), "{}", isobar.log());
    assert!(client.sees_close());
}

#[test]
fn no_answer_is_lost_under_load() {
    let origin = Origin::named("a");
    let mut isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let load = Load::start(
        isobar.address(),
        &LoadOptions {
            clients: 8,
            per_connection: 1_000_000,
            ..LoadOptions::default()
        },
    );
    load.passes(500);
    isobar.signal(Signal::TERM);
    assert_eq!(isobar.ends(PATIENCE).code(), Some(0), "{}", isobar.log());
    let report = load.finish();
    assert_eq!(
        origin.request_count() as u64,
        report.succeeded,
        "a request was served and its answer lost"
    );
    // A request may meet the close of its idle connection, and later ones a closed port; an answer never breaks off.
    let expected = |failure: &&String| failure.contains(CLOSED_WITHOUT_ANSWER) || failure.contains("os error");
    let others = report
        .failures
        .iter()
        .filter(|failure| !expected(failure))
        .collect::<Vec<_>>();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn the_admin_listener_says_that_it_drains() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (mut isobar, mut busy) = with_request_in_flight("30s", &origin);
    let ready = || isobar_testkit::get(isobar.admin(), "/health/ready").map(|answer| answer.status);
    assert_eq!(ready().unwrap(), 200);
    isobar.signal(Signal::TERM);
    eventually("it is not ready any more", || matches!(ready(), Ok(503)));
    gate.open();
    assert_eq!(busy.receive().unwrap().text(), "done");
    assert_eq!(isobar.ends(Duration::from_secs(5)).code(), Some(0), "{}", isobar.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (mut isobar, _busy) = with_request_in_flight("60s", &origin);
    let address = isobar.address();
    isobar.signal(Signal::TERM);
    eventually("it drains", || Client::connect(address).is_err());
    isobar.signal(Signal::TERM);
    let _ = isobar.ends(Duration::from_secs(5));
    gate.open();
}
