//! Is a bound on the load by key never exceeded, whoever picks at once and whatever is reloaded meanwhile?

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use isobar_testkit::{Client, Configuration, Gate, Isobar, Load, LoadOptions, Origin, binary, eventually};

/// All of one key.
const REQUEST: &str = "GET /hot HTTP/1.1\r\nhost: a\r\n\r\n";

fn keyed(servers: &[SocketAddr], rules: &str) -> Configuration {
    Configuration::to(servers).upstream(format!("balance: maglev\nhash: [path]\n{rules}"))
}

fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |exchange| {
        gate.pass();
        exchange.reply(200, &[], b"")
    })
}

/// Sends so many requests at once, from as many threads.
fn send_at_once(isobar: &Isobar, count: usize) -> Vec<Client> {
    let address = isobar.address();
    let send = move || {
        let mut client = Client::connect(address).unwrap();
        client.send(REQUEST).unwrap();
        client
    };
    let threads: Vec<_> = (0..count).map(|_| thread::spawn(send)).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    let mut counts: Vec<_> = origins.iter().map(Origin::request_count).collect();
    counts.sort_unstable();
    counts
}

fn wait_for(origins: &[Origin], sent: usize) {
    eventually("all are at servers", || counts(origins).iter().sum::<usize>() == sent);
}

#[track_caller]
fn finish(isobar: &Isobar, gate: &Gate, held: Vec<Client>) {
    gate.open();
    for mut client in held {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    isobar.comes_to_rest();
}

/// Everybody wants the same server; 125 % of a third of 24 requests are 10.
#[test]
fn requests_of_one_key_spread_past_the_bound() {
    let gate = Gate::new();
    let origins = [(); 3].map(|()| gated(&gate));
    let addresses = origins.each_ref().map(Origin::address);
    let isobar = binary!().workers(4).run(&keyed(&addresses, "bounded_load: 125%"));
    let held = send_at_once(&isobar, 24);
    wait_for(&origins, 24);
    let counts = counts(&origins);
    assert!(counts[2] <= 10 && counts[0] >= 4, "{counts:?}");
    finish(&isobar, &gate, held);
}

/// What is in flight when the bound comes counts for it, and what goes with a server no longer does.
#[test]
fn a_bound_that_comes_with_a_reload_counts_what_is_there() {
    let gate = Gate::new();
    let origins = [(); 3].map(|()| gated(&gate));
    let addresses = origins.each_ref().map(Origin::address);
    let isobar = binary!().workers(4).run(&keyed(&addresses, ""));
    let mut held = send_at_once(&isobar, 12);
    wait_for(&origins, 12);
    assert_eq!(counts(&origins), [0, 0, 12], "without a bound all are at one");
    isobar.reload(&keyed(&addresses, "bounded_load: 125%").yaml());
    held.extend(send_at_once(&isobar, 12));
    wait_for(&origins, 24);
    // None for the one that has 12: of 24 it may have 10. If the first 12 did not count, few of the others would find a
    // place.
    let after = counts(&origins);
    assert!(after[2] == 12 && after[1] <= 10, "{after:?}");
    // Its server leaves with 12 in flight. The other 12 and 20 more are what the two that stay share.
    let hot = origins.iter().position(|origin| origin.request_count() == 12).unwrap();
    let rest: Vec<_> = addresses
        .into_iter()
        .filter(|address| *address != origins[hot].address())
        .collect();
    isobar.reload(&keyed(&rest, "bounded_load: 110%").yaml());
    held.extend(send_at_once(&isobar, 20));
    wait_for(&origins, 44);
    let after: Vec<_> = (0..3)
        .filter(|&index| index != hot)
        .map(|index| origins[index].request_count())
        .collect();
    // 110 % of a half of 32 are 18; of a half of 44 they were 25.
    assert!(
        after.iter().all(|&count| count <= 18) && after.iter().sum::<usize>() == 32,
        "{after:?}"
    );
    finish(&isobar, &gate, held);
}

/// Clients without pause, reloads that leave the bound alone: no server ever has more than its part of what all can have.
#[test]
fn the_bound_holds_under_load_and_over_reloads() {
    const CLIENTS: usize = 16;
    let most = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let (gate, holds) = (Gate::new(), Arc::new(AtomicBool::new(false)));
    let origins = most.each_ref().map(|most| {
        let (busy, most) = (AtomicUsize::new(0), Arc::clone(most));
        let (gate, holds) = (gate.clone(), Arc::clone(&holds));
        Origin::start(move |exchange| {
            if holds.load(Ordering::SeqCst) {
                gate.pass();
            }
            most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
            busy.fetch_sub(1, Ordering::SeqCst);
            exchange.reply(200, &[], b"")
        })
    });
    let addresses = origins.each_ref().map(Origin::address);
    let rules = |queue: usize| format!("bounded_load: 125%\nqueue: {{ max: {queue} }}");
    let isobar = binary!().workers(4).run(&keyed(&addresses, &rules(100)));
    let options = LoadOptions {
        clients: CLIENTS,
        request: REQUEST.into(),
        ..LoadOptions::default()
    };
    let load = Load::start(isobar.address(), &options);
    for queue in 101..111 {
        load.passes(200);
        isobar.reload(&keyed(&addresses, &rules(queue)).yaml());
    }
    load.passes(200);
    load.finish().assert_flawless();
    // 125 % of a third of 16.
    let most = most.each_ref().map(|most| most.load(Ordering::SeqCst));
    assert!(most.iter().all(|&most| most <= 7), "{most:?}");
    assert!(
        most.iter().all(|&most| most > 0),
        "one server alone cannot bear it: {most:?}"
    );
    // The bound goes and comes with requests on their way: what is counted is what is there.
    let load = Load::start(isobar.address(), &options);
    for round in 0..10 {
        load.passes(100);
        let bound = if round % 2 == 0 { "none" } else { "125%" };
        isobar.reload(&keyed(&addresses, &format!("bounded_load: {bound}")).yaml());
    }
    load.passes(100);
    load.finish().assert_flawless();
    isobar.comes_to_rest();
    // The bound is as tight as ever: 125 % of a third of 24 are 10, and of one more that is still counted they were 11.
    holds.store(true, Ordering::SeqCst);
    let before = origins.each_ref().map(Origin::request_count);
    let mut held = Vec::new();
    for number in 1..=24 {
        held.extend(send_at_once(&isobar, 1));
        eventually("a server has it", || gate.waiting() == number);
    }
    let most = origins
        .iter()
        .zip(before)
        .map(|(origin, before)| origin.request_count() - before)
        .max();
    assert_eq!(most, Some(10));
    finish(&isobar, &gate, held);
}
