//! Does a second server answer where the first takes long, and at which price?

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::{After, Client, Configuration, Isobar, Origin, binary, eventually, get};

fn run(servers: &[SocketAddr], lines: &str) -> Isobar {
    let configuration = Configuration::to(servers)
        .upstream("balance: round_robin")
        .upstream(lines)
        .top("access_log: { path: access.log, format: \"{status} {attempts} {cause} {tried}\" }");
    binary!().run(&configuration)
}

/// Answers with its name, one request in so many only after the pause.
fn stalling(name: &'static str, one_in: usize, pause: Duration) -> Origin {
    let count = AtomicUsize::new(1);
    Origin::start(move |exchange| {
        exchange.body()?;
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(one_in) {
            thread::sleep(pause);
        }
        exchange.reply(200, &[], name.as_bytes())
    })
}

fn log(isobar: &Isobar) -> String {
    fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default()
}

const STALL: Duration = Duration::from_millis(300);

/// The latencies of so many requests one after the other, in order, at each of four connections.
fn latencies(address: SocketAddr, requests: usize) -> Vec<Duration> {
    let client = |_| {
        thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            let ask = |_| {
                let began = Instant::now();
                assert_eq!(client.get("/").unwrap().status, 200);
                began.elapsed()
            };
            (0..requests / 4).map(ask).collect::<Vec<_>>()
        })
    };
    let clients: Vec<_> = (0..4).map(client).collect();
    let mut all: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    all.sort_unstable();
    all
}

/// One of three servers stalls in a twentieth of its requests: of all of them, one in sixty is slow.
#[test]
fn the_tail_is_cut_for_a_twentieth_more_load() {
    let servers = [
        stalling("a", 20, STALL),
        stalling("b", usize::MAX, STALL),
        stalling("c", usize::MAX, STALL),
    ];
    let addresses = servers.each_ref().map(Origin::address);
    let requests = 2_400;
    let p99 = |latencies: &[Duration]| latencies[latencies.len() * 99 / 100];
    let plain = run(&addresses, "");
    let before = p99(&latencies(plain.address(), requests));
    assert!(before >= STALL, "without hedging the 99th percentile is {before:?}");
    let hedged = run(&addresses, "hedge: p95");
    // The upstream's latencies are learned from its first requests.
    latencies(hedged.address(), 400);
    let sent = || servers.iter().map(Origin::request_count).sum::<usize>();
    let before = sent();
    let after = p99(&latencies(hedged.address(), requests));
    let extra = (sent() - before) as f64 / requests as f64 - 1.0;
    assert!(
        after < STALL / 2,
        "with hedging it is {after:?}, for {extra} more requests"
    );
    assert!(extra <= 0.065, "{extra} more requests");
    let metrics = hedged.metrics();
    let hedges = metrics.sum("isobar_upstream_hedges_total", &[]).unwrap();
    let won = metrics.sum("isobar_upstream_hedges_won_total", &[]).unwrap();
    assert!(won > 10.0 && won <= hedges, "{won} of {hedges}");
    // Who is overtaken has not failed.
    assert_eq!(metrics.sum("isobar_server_failures_total", &[]), Some(0.0));
    hedged.comes_to_rest();
}

#[test]
fn a_server_that_never_answers_is_overtaken() {
    let (silent, good) = (Origin::mute(), Origin::named("good"));
    let isobar = run(&[silent.address(), good.address()], "hedge: 20ms");
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(client.get("/").unwrap().text(), "good");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(good.request_count(), 10);
    let asked = silent.request_count();
    assert!(asked >= 2, "{asked}");
    eventually("what was cancelled is closed", || silent.connections_open() == 0);
    let lost = format!("200 2 complete {}:hedge_lost", silent.address());
    eventually("the log says who lost", || log(&isobar).matches(&lost).count() == asked);
    isobar.comes_to_rest();
}

#[test]
fn bodies_that_are_here_are_hedged_and_posts_are_not() {
    let (silent, good) = (Origin::mute(), Origin::echo());
    let servers = [silent.address(), good.address()];
    let isobar = run(&servers, "hedge: 20ms\ntimeouts: { read: 500ms }");
    let body = vec![b'x'; 40_000];
    let request = |method: &str| {
        let head = format!(
            "{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    };
    let ask = |method: &str| {
        let mut client = Client::connect(isobar.address()).unwrap();
        client
            .send_in_pieces(request(method), 9_000, Duration::from_millis(2))
            .unwrap();
        client.receive().unwrap()
    };
    for _ in 0..4 {
        assert_eq!(ask("PUT").body, body);
    }
    let mut statuses: Vec<u16> = (0..2).map(|_| ask("POST").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
    isobar.comes_to_rest();
}

/// A failure of the second server does not count while the first may still answer, nor the other way round.
#[test]
fn an_answer_is_better_than_a_failure_that_is_faster() {
    let slow = stalling("slow", 1, STALL);
    let failing = Origin::failing(500);
    let isobar = run(&[slow.address(), failing.address()], "hedge: 20ms");
    let mut client = Client::connect(isobar.address()).unwrap();
    // The second server takes its turn too, so that the slow one is always asked first.
    for _ in 0..4 {
        assert_eq!(client.get("/").unwrap().text(), "slow");
    }
    let tried = format!("200 2 complete {}:500", failing.address());
    eventually("the log says so", || log(&isobar).matches(&tried).count() == 4);
    let closing = Origin::start(|_| {
        thread::sleep(STALL / 3);
        Ok(After::Close)
    });
    let isobar = run(&[closing.address(), slow.address()], "hedge: 20ms");
    for _ in 0..4 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "slow");
    }
    isobar.comes_to_rest();
}

#[test]
fn no_more_is_hedged_than_the_budget_allows() {
    let servers = [stalling("a", 1, STALL / 6), stalling("b", 1, STALL / 6)];
    let addresses = servers.each_ref().map(Origin::address);
    let isobar = run(&addresses, "hedge: 5ms\nretry: { budget: { percent: 10%, min: 0/s } }");
    latencies(isobar.address(), 400);
    let metrics = isobar.metrics();
    let hedges = metrics.sum("isobar_upstream_hedges_total", &[]).unwrap();
    let refused = metrics.sum("isobar_upstream_retries_refused_total", &[]).unwrap();
    assert!((10.0..=40.0).contains(&hedges), "{hedges}");
    assert!(refused > 300.0, "{refused}");
    isobar.comes_to_rest();
}

#[test]
fn up_to_three_more_servers_are_asked() {
    let servers = [Origin::mute(), Origin::mute(), Origin::mute(), Origin::named("good")];
    let addresses = servers.each_ref().map(Origin::address);
    let isobar = run(&addresses, "hedge: { after: 20ms, max: 3 }");
    for _ in 0..4 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "good");
    }
    isobar.comes_to_rest();
    eventually("what was cancelled is closed", || {
        servers[..3].iter().all(|server| server.connections_open() == 0)
    });
}

/// While requests wait for a place there is none to spare for a second try.
#[test]
fn nothing_is_hedged_into_a_full_upstream() {
    let servers = [stalling("a", 1, STALL), stalling("b", 1, STALL)];
    let mut configuration = Configuration::default().upstream("hedge: 100ms\nqueue: { timeout: 30s }");
    for server in &servers {
        configuration = configuration.server(format!("{{ address: \"{}\", max_connections: 1 }}", server.address()));
    }
    let isobar = binary!().run(&configuration);
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let address = isobar.address();
            thread::spawn(move || get(address, "/").unwrap().status)
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    isobar.comes_to_rest();
    assert!(isobar.metrics().sum("isobar_upstream_queue_entered_total", &[]) > Some(0.0));
    let sent: usize = servers.iter().map(Origin::request_count).sum();
    // The first may be hedged before the others come, and the last when they are gone.
    assert!(sent <= 14, "{sent} for 12 requests");
}

#[test]
fn clients_that_leave_take_both_tries_with_them() {
    let servers = [Origin::mute(), Origin::mute()];
    let isobar = run(&servers.each_ref().map(Origin::address), "hedge: 10ms");
    for _ in 0..6 {
        let mut client = Client::connect(isobar.address()).unwrap();
        let before: usize = servers.iter().map(Origin::request_count).sum();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        eventually("both are asked", || {
            servers.iter().map(Origin::request_count).sum::<usize>() == before + 2
        });
        drop(client);
    }
    isobar.comes_to_rest();
    eventually("their connections are closed", || {
        servers.iter().all(|server| server.connections_open() == 0)
    });
}

#[test]
fn pipelined_requests_are_hedged_in_order() {
    let slow = stalling("slow", 1, STALL);
    let good = Origin::start(|exchange| {
        let target = exchange.request.target.clone();
        exchange.reply(200, &[], target.as_bytes())
    });
    let isobar = run(&[slow.address(), good.address()], "hedge: 10ms");
    let mut client = Client::connect(isobar.address()).unwrap();
    let requests: String = (0..6)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    client.send(requests).unwrap();
    for number in 0..6 {
        assert_eq!(client.receive().unwrap().text(), format!("/{number}"));
    }
    isobar.comes_to_rest();
}
