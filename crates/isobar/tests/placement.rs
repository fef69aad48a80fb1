//! Levels, zones, panic, slow start and subsets: who is used when servers come, go and come back?

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use isobar_testkit::{Client, Configuration, Gate, Isobar, Origin, binary, eventually, get};

const HEALTH: &str = "health: { path: /health, interval: 50ms, timeout: 40ms, rise: 1, fall: 1 }";

/// A server that answers every request with its name, and probes as it is told.
struct Server {
    origin: Origin,
    is_well: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    probed: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let is_well = Arc::new(AtomicBool::new(true));
        let (served, probed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = (Arc::clone(&is_well), Arc::clone(&served), Arc::clone(&probed));
        let origin = Origin::start(move |exchange| {
            let (is_well, served, probed) = &counted;
            if exchange.request.target == "/health" {
                probed.fetch_add(1, Ordering::SeqCst);
                let status = if is_well.load(Ordering::SeqCst) { 200 } else { 500 };
                return exchange.reply(status, &[], b"");
            }
            served.fetch_add(1, Ordering::SeqCst);
            exchange.reply(200, &[], b"")
        });
        Self {
            origin,
            is_well,
            served,
            probed,
        }
    }

    fn some<const N: usize>() -> [Self; N] {
        std::array::from_fn(|_| Self::start())
    }

    fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// As a YAML value, with these settings.
    fn with(&self, settings: &str) -> String {
        format!("{{ address: \"{}\"{settings} }}", self.address())
    }
}

/// Tells servers how they are from now on, and waits until it is known, and acted on: only then the log says so.
#[track_caller]
fn be(isobar: &Isobar, servers: &[Server], is_well: bool) {
    for server in servers {
        server.is_well.store(is_well, Ordering::SeqCst);
    }
    let state = if is_well { " is healthy" } else { " is unhealthy" };
    for server in servers {
        let about = format!("server {} of web", server.address());
        eventually("it is known", || {
            let log = isobar.log();
            let last = log.lines().rev().find(|line| line.contains(&about));
            last.is_some_and(|line| line.contains(state))
        });
    }
}

/// How many of so many requests each server gets. All are answered.
#[track_caller]
fn shares(isobar: &Isobar, servers: &[Server], requests: usize) -> Vec<usize> {
    let before: Vec<_> = servers
        .iter()
        .map(|server| server.served.load(Ordering::SeqCst))
        .collect();
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..requests {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    let after = servers.iter().map(|server| server.served.load(Ordering::SeqCst));
    after.zip(before).map(|(after, before)| after - before).collect()
}

fn configuration(servers: impl IntoIterator<Item = String>) -> Configuration {
    servers
        .into_iter()
        .fold(Configuration::default(), |all, server| all.server(server))
}

#[track_caller]
fn assert_about(count: usize, expected: usize) {
    // Of some hundred requests by chance the deviation is below 10; this is four times that.
    assert!(count.abs_diff(expected) <= 40, "{count}, expected about {expected}");
}

#[test]
fn the_next_level_takes_over_what_one_cannot_carry() {
    let servers = Server::some::<6>();
    let priority = |(index, server): (usize, &Server)| match index {
        0..4 => server.with(""),
        _ => server.with(", priority: 1"),
    };
    let isobar = binary!()
        .run(&configuration(servers.iter().enumerate().map(priority)).upstream(format!("{HEALTH}\nslow_start: none")));
    let level = |shares: &[usize]| (shares[..4].iter().sum::<usize>(), shares[4..].iter().sum::<usize>());
    assert_eq!(level(&shares(&isobar, &servers, 200)), (200, 0));
    // Three of four are 75 %, which counts as 105 % of what is needed.
    be(&isobar, &servers[..1], false);
    assert_eq!(level(&shares(&isobar, &servers, 200)), (200, 0));
    // Two of four are 50 %, which counts as 70 %.
    be(&isobar, &servers[..2], false);
    let shared = shares(&isobar, &servers, 400);
    assert_about(level(&shared).1, 120);
    assert_eq!(shared[..2], [0, 0]);
    be(&isobar, &servers[..4], false);
    assert_eq!(level(&shares(&isobar, &servers, 100)), (0, 100));
    be(&isobar, &servers[..4], true);
    assert_eq!(level(&shares(&isobar, &servers, 200)), (200, 0));
}

#[test]
fn as_much_stays_in_the_zone_as_its_servers_can_bear() {
    let servers = Server::some::<6>();
    let zone = |(index, server): (usize, &Server)| server.with(if index < 3 { ", zone: a" } else { ", zone: b" });
    let base = || {
        configuration(servers.iter().enumerate().map(zone))
            .upstream(format!("{HEALTH}\nslow_start: none\npanic: none\nbalance: round_robin"))
            .top("zone: a")
    };
    let isobar = binary!().run(&base().upstream("locality: { min_servers: 3 }"));
    let zones = |shares: &[usize]| (shares[..3].iter().sum::<usize>(), shares[3..].iter().sum::<usize>());
    assert_eq!(zones(&shares(&isobar, &servers, 200)), (200, 0));
    // A quarter of the servers for half of the instances: half of the load stays.
    be(&isobar, &servers[..2], false);
    assert_about(zones(&shares(&isobar, &servers, 400)).0, 200);
    // Two servers are too few for zones.
    be(&isobar, &servers[..4], false);
    assert_eq!(shares(&isobar, &servers, 100)[4..], [50, 50]);
    be(&isobar, &servers[..4], true);
    assert_eq!(zones(&shares(&isobar, &servers, 100)), (100, 0));
    // Three of four instances are here, with half of the servers: a third of the load leaves.
    isobar.reload(
        &base()
            .upstream("locality: { min_servers: 3, balancers: { a: 3, b: 1 } }")
            .yaml(),
    );
    assert_about(zones(&shares(&isobar, &servers, 300)).0, 200);
    isobar.reload(&base().upstream("locality: none").yaml());
    assert_eq!(zones(&shares(&isobar, &servers, 120)), (60, 60));
}

#[test]
fn when_too_few_are_left_all_are_used() {
    let servers = Server::some::<5>();
    // One whose name does not resolve is never used: with no retry, it would fail the request.
    let unresolved = "\"nowhere.invalid:80\"".to_owned();
    let all = servers.iter().map(|server| server.with("")).chain([unresolved]);
    let rules = format!("{HEALTH}\nbalance: round_robin\nslow_start: none\nretry: {{ attempts: 0 }}");
    let isobar = binary!().run(&configuration(all).upstream(rules));
    let panicking = || isobar.metrics().sum("isobar_upstream_panicking_levels", &[]);
    // Three of six are not below a half.
    be(&isobar, &servers[..2], false);
    assert_eq!(shares(&isobar, &servers, 30), [0, 0, 10, 10, 10]);
    assert_eq!(panicking(), Some(0.0));
    be(&isobar, &servers[..3], false);
    assert_eq!(shares(&isobar, &servers, 50), [10; 5]);
    assert_eq!(panicking(), Some(1.0));
    isobar.wait_for_log("priority 0 of web is in panic: all its servers are used, well or not (2 of 6 available)");
    be(&isobar, &servers, false);
    assert_eq!(shares(&isobar, &servers, 50), [10; 5]);
    assert_eq!(get(isobar.admin(), "/health/ready").unwrap().status, 200);
    assert!(
        isobar.health().to_string().contains("in panic"),
        "{:#}",
        isobar.health()
    );
    be(&isobar, &servers[..3], true);
    assert_eq!(shares(&isobar, &servers, 30), [10, 10, 10, 0, 0]);
    assert_eq!(panicking(), Some(0.0));
    isobar.wait_for_log("priority 0 of web is no longer in panic");
    assert!(
        !isobar.health().to_string().contains("in panic"),
        "{:#}",
        isobar.health()
    );
}

#[test]
fn few_servers_and_those_told_so_do_not_panic() {
    let check = |rules: &str, panics: bool| {
        let servers = Server::some::<4>();
        let all = servers.iter().map(|server| server.with(""));
        let isobar = binary!().run(&configuration(all).upstream(format!("{HEALTH}\nbalance: round_robin\n{rules}")));
        be(&isobar, &servers[..3], false);
        let shares = shares(&isobar, &servers, 40);
        assert_eq!(shares, if panics { [10; 4] } else { [0, 0, 0, 40] }, "{rules:?}");
    };
    check("", false);
    check("panic: none", false);
    check("panic: { min_servers: 4 }", true);
    check("panic: { below: 25%, min_servers: 4 }", false);
}

#[test]
fn a_server_that_comes_back_starts_slowly() {
    let servers = Server::some::<2>();
    let rules = |slow_start: &str| {
        configuration(servers.iter().map(|server| server.with("")))
            .upstream(format!("{HEALTH}\nbalance: round_robin\nslow_start: {slow_start}"))
    };
    let isobar = binary!().run(&rules("{ window: 1h, min_weight: 25% }"));
    be(&isobar, &servers, true);
    assert_eq!(shares(&isobar, &servers, 100), [50, 50], "nobody is new at the start");
    be(&isobar, &servers[..1], false);
    assert_eq!(shares(&isobar, &servers, 10), [0, 10]);
    be(&isobar, &servers[..1], true);
    assert_eq!(shares(&isobar, &servers, 100), [20, 80], "a quarter of its weight");
    let address = servers[0].address().to_string();
    let warmth = || {
        isobar
            .metrics()
            .sum("isobar_server_warmth_ratio", &[("server", &address)])
    };
    assert_eq!(warmth(), Some(0.25));
    isobar.reload(&rules("none").yaml());
    assert_eq!(shares(&isobar, &servers, 100), [50, 50]);
    assert_eq!(warmth(), Some(1.0));
}

/// Its share grows with time alone, and ends as a whole.
#[test]
fn a_server_that_is_new_warms_up() {
    let servers = Server::some::<2>();
    let with = |count: usize| {
        configuration(servers[..count].iter().map(|server| server.with("")))
            .upstream("balance: round_robin\nslow_start: { window: 4s, min_weight: 10% }")
    };
    let isobar = binary!().run(&with(1));
    isobar.reload(&with(2).yaml());
    let first = shares(&isobar, &servers, 55);
    assert!(
        first[1] < 20,
        "it begins with a tenth of its weight, or a little more: {first:?}"
    );
    let mut seen = BTreeMap::new();
    eventually("it has its whole share", || {
        let share = shares(&isobar, &servers, 40)[1];
        *seen.entry(share).or_insert(0) += 1;
        share == 20
    });
    assert!(seen.len() >= 4, "its share grew in steps: {seen:?}");
    // A new upstream has nobody whom the others would have to wait for.
    let more = Server::some::<2>();
    let other = more
        .iter()
        .map(|server| format!("\"{}\"", server.address()))
        .collect::<Vec<_>>()
        .join(", ");
    let text = with(2).yaml().replace("upstream: web", "upstream: other").replace(
        "upstreams:",
        &format!("upstreams:\n  other: {{ balance: round_robin, slow_start: 1h, servers: [{other}] }}"),
    );
    isobar.reload(&text);
    assert_eq!(shares(&isobar, &more, 20), [10, 10]);
}

/// Three instances with two of six servers each: they use and probe these and no others, and all of them together are
/// used alike.
#[test]
fn instances_use_subsets_that_are_even() {
    let servers = Server::some::<6>();
    let run = |number: usize| {
        binary!().run(
            &configuration(servers.iter().map(|server| server.with("")))
                .upstream(format!("{HEALTH}\nbalance: round_robin\nsubset: 2"))
                .top(format!("instance: {{ number: {number}, of: 3 }}")),
        )
    };
    let mut all = vec![0; servers.len()];
    for number in 0..3 {
        let probed = || {
            servers
                .iter()
                .map(|server| server.probed.load(Ordering::SeqCst))
                .collect::<Vec<_>>()
        };
        let before = probed();
        let isobar = run(number);
        // Whose turn it is begins anew when health becomes known.
        eventually("its own servers are well", || {
            isobar.log().matches("is healthy").count() == 2
        });
        let shares = shares(&isobar, &servers, 60);
        let own: Vec<_> = (0..6).filter(|&index| shares[index] > 0).collect();
        assert_eq!((own.len(), shares.iter().sum::<usize>()), (2, 60), "{shares:?}");
        eventually("its own servers are probed", || {
            own.iter().all(|&index| probed()[index] > before[index] + 2)
        });
        let after = probed();
        for index in (0..6).filter(|index| !own.contains(index)) {
            assert_eq!(
                after[index], before[index],
                "instance {number} probes a server it does not use"
            );
        }
        assert_eq!(isobar.metrics().values("isobar_server_in_flight", &[]).len(), 2);
        all.iter_mut().zip(shares).for_each(|(all, share)| *all += share);
    }
    assert_eq!(all, [30; 6]);
}

/// With choices, the idle server is not always among those that are compared; without, it always wins.
#[test]
fn choices_are_drawn_by_chance() {
    let check = |choices: &str, expected: std::ops::RangeInclusive<usize>| {
        let gate = Gate::new();
        let busy = [(); 2].map(|()| {
            let gate = gate.clone();
            Origin::start(move |exchange| {
                gate.pass();
                exchange.reply(200, &[], b"")
            })
        });
        let idle = Server::start();
        let addresses = [busy[0].address(), busy[1].address(), idle.address()];
        let isobar = binary!().run(&Configuration::to(&addresses).upstream(format!("choices: {choices}")));
        let send = || {
            let mut client = Client::connect(isobar.address()).unwrap();
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            client
        };
        let count = || idle.served.load(Ordering::SeqCst);
        let seen = || busy.iter().map(Origin::request_count).sum::<usize>() + count();
        let address = idle.address().to_string();
        // One after the other: the next is sent when the idle server is known to be idle.
        let mut held = Vec::new();
        let mut send_one = || {
            let before = seen();
            held.push(send());
            eventually("somebody has it", || seen() > before);
            eventually("the idle server is idle", || {
                let metrics = isobar.metrics();
                metrics.sum("isobar_server_in_flight", &[("server", &address)]) == Some(0.0)
            });
        };
        while busy.iter().any(|origin| origin.request_count() == 0) {
            send_one();
        }
        let before = count();
        (0..40).for_each(|_| send_one());
        let idle = count() - before;
        assert!(expected.contains(&idle), "{choices}: {idle} of 40 at the idle server");
        gate.open();
    };
    check("all", 40..=40);
    // Two thirds of 40, with a deviation of 3.
    check("2", 12..=39);
}
