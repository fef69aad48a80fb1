//! Which server gets a request, and what happens when none has room?

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::{Client, Configuration, Gate, Isobar, Origin, binary, eventually, get};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::request_count).collect()
}

/// A server that answers when the gate opens.
fn gated(name: &str, gate: &Gate) -> Origin {
    let (name, gate) = (name.to_owned(), gate.clone());
    Origin::start(move |exchange| {
        gate.pass();
        exchange.reply(200, &[], name.as_bytes())
    })
}

#[track_caller]
fn send_without_waiting(isobar: &Isobar) -> Client {
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send(REQUEST).unwrap();
    client
}

#[test]
fn round_robin_gives_equal_shares() {
    let origins = ["a", "b", "c"].map(Origin::named);
    let isobar = binary!().run(&Configuration::to(&addresses(&origins)).upstream("balance: round_robin"));
    for connection in 0..6 {
        let mut client = Client::connect(isobar.address()).unwrap();
        for _ in 0..10 {
            assert_eq!(client.get("/").unwrap().status, 200, "connection {connection}");
        }
    }
    assert_eq!(counts(&origins), [20, 20, 20]);
}

#[test]
fn weights_are_exact_over_whole_cycles_and_all_workers() {
    let origins = ["a", "b", "c", "never"].map(Origin::named);
    let mut configuration = Configuration::default().upstream("balance: round_robin");
    for (origin, weight) in origins.iter().zip([5, 3, 1, 0]) {
        configuration = configuration.server(format!("{{ address: \"{}\", weight: {weight} }}", origin.address()));
    }
    let isobar = binary!().run(&configuration);
    for _ in 0..90 {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    }
    assert_eq!(counts(&origins), [50, 30, 10, 0]);
}

#[test]
fn least_connections_prefers_the_idle() {
    let gates = [Gate::new(), Gate::new()];
    let (slow, fast) = (gated("slow", &gates[0]), gated("fast", &gates[1]));
    let servers = [slow.address(), fast.address()];
    let isobar = binary!().run(&Configuration::to(&servers).upstream("balance: least_connections"));
    let mut held = Vec::new();
    // One after the other: workers that choose at the same moment may find the same server idle.
    for number in 1..=8 {
        held.push(send_without_waiting(&isobar));
        eventually("a server has it", || {
            gates.iter().map(Gate::waiting).sum::<usize>() == number
        });
    }
    assert_eq!(
        gates.each_ref().map(Gate::waiting),
        [4, 4],
        "each server holds its half"
    );
    gates[1].open();
    let fast_address = fast.address().to_string();
    let in_flight = || {
        isobar
            .metrics()
            .sum("isobar_server_in_flight", &[("server", &fast_address)])
    };
    eventually("one server is idle", || in_flight() == Some(0.0));
    for _ in 0..20 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "fast");
    }
    gates[0].open();
    for client in &mut held {
        assert_eq!(client.receive().unwrap().status, 200);
    }
}

#[test]
fn least_connections_is_exact_across_workers() {
    let gate = Gate::new();
    let origins = ["a", "b", "c", "d"].map(|name| gated(name, &gate));
    let isobar = binary!().workers(4).run(&Configuration::to(&addresses(&origins)));
    let mut held = Vec::new();
    for number in 1..=20 {
        held.push(send_without_waiting(&isobar));
        eventually("a server has it", || gate.waiting() == number);
    }
    assert_eq!(counts(&origins), [5, 5, 5, 5]);
    gate.open();
    for mut client in held {
        assert_eq!(client.receive().unwrap().status, 200);
    }
}

#[test]
fn random_uses_every_server() {
    let origins = ["a", "b", "c"].map(Origin::named);
    let isobar = binary!().run(&Configuration::to(&addresses(&origins)).upstream("balance: random"));
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..300 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    // Each expects 100 with a standard deviation of 8.2; 40 is more than seven of those away.
    assert!(
        counts(&origins).iter().all(|count| (60..=140).contains(count)),
        "{:?}",
        counts(&origins)
    );
}

#[test]
fn a_backup_serves_only_while_no_other_can() {
    let (primary, backup) = (Origin::named("primary"), Origin::named("backup"));
    let configuration = Configuration::to(&[primary.address()])
        .server(format!("{{ address: \"{}\", backup: true }}", backup.address()))
        .upstream("health: { type: tcp, interval: 100ms, timeout: 100ms, rise: 1, fall: 1 }");
    let isobar = binary!().run(&configuration);
    for _ in 0..10 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "primary");
    }
    primary.stop();
    eventually("the backup serves", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.text() == "backup")
    });
    primary.resume();
    eventually("the primary serves", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.text() == "primary")
    });
    let before = backup.request_count();
    for _ in 0..10 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "primary");
    }
    assert_eq!(backup.request_count(), before);
}

fn limited(origin: &Origin, queue: &str) -> Isobar {
    let server = format!("{{ address: \"{}\", max_connections: 1 }}", origin.address());
    binary!().run(
        &Configuration::default()
            .server(server)
            .upstream(format!("queue: {queue}")),
    )
}

#[test]
fn requests_past_the_limit_wait_their_turn() {
    let gate = Gate::new();
    let origin = gated("a", &gate);
    let isobar = limited(&origin, "{ max: 100, timeout: 10s }");
    let held = (0..8).map(|_| send_without_waiting(&isobar)).collect::<Vec<_>>();
    let queued = || isobar.metrics().sum("isobar_upstream_queued", &[]);
    eventually("seven wait", || queued() == Some(7.0));
    eventually("the server has one", || gate.waiting() == 1);
    assert_eq!(origin.request_count(), 1, "the server gets one at a time");
    gate.open();
    for mut client in held {
        assert_eq!(client.receive().unwrap().text(), "a");
    }
    eventually("nobody waits", || queued() == Some(0.0));
    assert_eq!(origin.request_count(), 8);
}

#[test]
fn a_wait_ends_after_its_timeout_with_503() {
    let gate = Gate::new();
    let origin = gated("a", &gate);
    let isobar = limited(&origin, "{ max: 100, timeout: 300ms }");
    let mut first = send_without_waiting(&isobar);
    eventually("the server is busy", || gate.waiting() == 1);
    let start = Instant::now();
    assert_eq!(get(isobar.address(), "/").unwrap().status, 503);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    gate.open();
    assert_eq!(first.receive().unwrap().status, 200);
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
}

#[test]
fn a_full_queue_is_503_at_once() {
    for (queue, waiting) in [("{ max: 0, timeout: 10s }", 0), ("{ max: 2, timeout: 10s }", 2)] {
        let gate = Gate::new();
        let origin = gated("a", &gate);
        let isobar = limited(&origin, queue);
        let mut held = vec![send_without_waiting(&isobar)];
        eventually("the server is busy", || gate.waiting() == 1);
        held.extend((0..waiting).map(|_| send_without_waiting(&isobar)));
        let expected = f64::from(waiting);
        eventually("the queue is full", || {
            isobar.metrics().sum("isobar_upstream_queued", &[]) == Some(expected)
        });
        let start = Instant::now();
        assert_eq!(get(isobar.address(), "/").unwrap().status, 503, "{queue}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{queue}: {:?}",
            start.elapsed()
        );
        gate.open();
        for mut client in held {
            assert_eq!(client.receive().unwrap().status, 200, "{queue}");
        }
    }
}

#[test]
fn a_client_that_leaves_the_queue_takes_no_turn() {
    let gate = Gate::new();
    let origin = gated("a", &gate);
    let isobar = limited(&origin, "{ max: 100, timeout: 10s }");
    let mut first = send_without_waiting(&isobar);
    eventually("the server is busy", || gate.waiting() == 1);
    let leaving = (0..5).map(|_| send_without_waiting(&isobar)).collect::<Vec<_>>();
    let queued = || isobar.metrics().sum("isobar_upstream_queued", &[]);
    eventually("five wait", || queued() == Some(5.0));
    drop(leaving);
    eventually("nobody waits", || queued() == Some(0.0));
    gate.open();
    assert_eq!(first.receive().unwrap().status, 200);
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    assert_eq!(origin.request_count(), 2, "the server never hears of those who left");
}

#[test]
fn the_limit_holds_over_all_workers() {
    let (busy, most) = (
        std::sync::atomic::AtomicUsize::new(0),
        std::sync::atomic::AtomicUsize::new(0),
    );
    let most = std::sync::Arc::new(most);
    let seen = std::sync::Arc::clone(&most);
    let origin = Origin::start(move |exchange| {
        use std::sync::atomic::Ordering::SeqCst;
        seen.fetch_max(busy.fetch_add(1, SeqCst) + 1, SeqCst);
        thread::sleep(Duration::from_millis(2));
        busy.fetch_sub(1, SeqCst);
        exchange.reply(200, &[], b"a")
    });
    let server = format!("{{ address: \"{}\", max_connections: 3 }}", origin.address());
    let isobar = binary!().workers(4).run(&Configuration::default().server(server));
    let options = isobar_testkit::LoadOptions {
        clients: 16,
        ..Default::default()
    };
    let load = isobar_testkit::Load::start(isobar.address(), &options);
    load.passes(500);
    load.finish().assert_flawless();
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 3);
}
