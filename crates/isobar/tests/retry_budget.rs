//! Do retries stay a part of the requests, whatever the servers do?

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use isobar_testkit::{Client, ClosedPort, Configuration, Isobar, Load, LoadOptions, Origin, binary, eventually};

fn run(servers: &[SocketAddr], retry: &str) -> Isobar {
    let configuration = Configuration::to(servers)
        .upstream("balance: round_robin")
        .upstream(retry)
        .top("access_log: { path: access.log, format: \"{status} {retry_refused} {tried}\" }");
    binary!().run(&configuration)
}

/// Sends so many requests on eight connections at once; how many were answered with 200, and how long it took in seconds.
fn ask(address: SocketAddr, requests: usize) -> (usize, f64) {
    let began = Instant::now();
    let client = |_| {
        std::thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            (0..requests / 8)
                .filter(|_| client.get("/").unwrap().status == 200)
                .count()
        })
    };
    let clients: Vec<_> = (0..8).map(client).collect();
    let good = clients.into_iter().map(|client| client.join().unwrap()).sum();
    (good, began.elapsed().as_secs_f64())
}

/// What a budget of a fifth, three a second, and ten seconds of that saved up allows.
fn allowed(requests: usize, seconds: f64) -> f64 {
    requests as f64 * 0.2 + (10.0 + seconds) * 3.0 + 1.0
}

#[test]
fn one_of_three_fails_everything_and_a_fifth_is_saved() {
    let (bad, good) = (Origin::failing(503), [Origin::named("a"), Origin::named("b")]);
    let isobar = run(
        &[bad.address(), good[0].address(), good[1].address()],
        "retry: { on: 503, attempts: 1 }",
    );
    let requests = 4_000;
    let (answered, seconds) = ask(isobar.address(), requests);
    let metrics = isobar.metrics();
    let retries = metrics.sum("isobar_upstream_retries_total", &[]).unwrap();
    let refused = metrics.sum("isobar_upstream_retries_refused_total", &[]).unwrap();
    assert!(
        retries <= allowed(requests, seconds),
        "{retries} of {requests} in {seconds} s"
    );
    // Nor is it less than the budget has: a fifth of the requests, but for what fades.
    assert!(retries >= requests as f64 * 0.15, "{retries} of {requests}");
    let failed = requests - answered;
    assert_eq!(failed as f64, refused, "what was refused was passed on as it was");
    let total = bad.request_count() + good.iter().map(Origin::request_count).sum::<usize>();
    assert_eq!(total as f64, requests as f64 + retries);
    eventually("the log says so", || {
        let log = fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        let lines = |start: &str| log.lines().filter(|line| line.starts_with(start)).count();
        lines("503 true") == failed && lines("200 false") == answered
    });
}

#[test]
fn when_all_fail_the_load_grows_by_a_fifth() {
    let servers = [Origin::failing(503), Origin::failing(503), Origin::failing(503)];
    let isobar = run(
        &servers.each_ref().map(Origin::address),
        "retry: { on: 503, attempts: 2 }",
    );
    let requests = 4_000;
    let (answered, seconds) = ask(isobar.address(), requests);
    assert_eq!(answered, 0);
    let sent: usize = servers.iter().map(Origin::request_count).sum();
    let most = requests as f64 + allowed(requests, seconds);
    assert!(sent as f64 <= most, "{sent} for {requests} in {seconds} s");
    assert!(sent > requests, "retries there are");
}

#[test]
fn without_a_budget_every_failure_is_sent_again() {
    let servers = [Origin::failing(503), Origin::failing(503), Origin::failing(503)];
    let isobar = run(
        &servers.each_ref().map(Origin::address),
        "retry: { on: 503, attempts: 2, budget: none }",
    );
    ask(isobar.address(), 400);
    assert_eq!(servers.iter().map(Origin::request_count).sum::<usize>(), 1_200);
}

#[test]
fn a_budget_of_nothing_allows_nothing_and_a_reload_changes_that() {
    let (bad, good) = (Origin::failing(503), Origin::named("a"));
    let nothing = "retry: { on: 503, budget: { percent: 0%, min: 0/s } }";
    let isobar = run(&[bad.address(), good.address()], nothing);
    let count = |requests| ask(isobar.address(), requests).0;
    assert_eq!(count(80), 40);
    let text = fs::read_to_string(isobar.configuration()).unwrap();
    isobar.reload(&text.replace("{ percent: 0%, min: 0/s }", "none"));
    assert_eq!(count(80), 80);
    let metrics = isobar.metrics();
    assert_eq!(metrics.sum("isobar_upstream_retries_refused_total", &[]), Some(40.0));
    let retries = metrics.sum("isobar_upstream_retries_total", &[("reason", "status")]);
    assert!(retries >= Some(40.0), "{retries:?}");
}

/// Servers die and come back, by turns, while a fourth of their answers are failures and every slow request is hedged.
#[test]
fn a_server_that_refuses_connections_takes_nothing_out() {
    let (well, closed) = (Origin::named("a"), [(); 2].map(|()| ClosedPort::reserve().unwrap()));
    let servers = [well.address(), closed[0].address(), closed[1].address()];
    let isobar = run(&servers, "retry: { budget: { percent: 0%, min: 0/s } }");
    let (answered, _) = ask(isobar.address(), 120);
    assert_eq!(answered, 120);
    assert_eq!(
        isobar.metrics().sum("isobar_upstream_retries_refused_total", &[]),
        Some(0.0)
    );
}

#[test]
fn nothing_is_left_in_flight_after_chaos() {
    let flaky = || {
        let count = std::sync::atomic::AtomicUsize::new(0);
        Origin::start(move |exchange| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let status = if number.is_multiple_of(4) { 503 } else { 200 };
            exchange.reply(status, &[], b"answer")
        })
    };
    let servers = [flaky(), flaky(), flaky()];
    let configuration = Configuration::to(&servers.each_ref().map(Origin::address)).upstream(
        "retry: { on: [connect_failure, closed, 503], attempts: 3, budget: none, backoff: { base: 1ms, max: 5ms } }\n\
         hedge: 2ms",
    );
    let isobar = binary!().run(&configuration);
    let load = Load::start(
        isobar.address(),
        &LoadOptions {
            clients: 8,
            ..LoadOptions::default()
        },
    );
    for round in 0..12 {
        let server = &servers[round % 3];
        load.passes(150);
        server.stop();
        load.passes(150);
        server.resume();
    }
    let report = load.finish();
    let share = report.failed as f64 / (report.succeeded + report.failed) as f64;
    assert!(
        share < 0.05,
        "{} of {} failed: {:?}",
        report.failed,
        report.succeeded,
        report.failures
    );
    isobar.comes_to_rest();
}
