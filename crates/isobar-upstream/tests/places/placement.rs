//! Who starts slowly, who panics, and does the bound count what it should, as servers come and go?

use std::task::Poll;
use std::time::Instant;

use isobar_balance::{Bound, SlowStart, Tier};
use isobar_plan::{Panic, Placement};
use isobar_upstream::hash;

use super::*;

fn slowly(servers: Vec<Server>) -> Settings {
    let slow_start = Some(SlowStart {
        window: Duration::from_secs(3600),
        ..SlowStart::default()
    });
    Settings {
        placement: Placement {
            slow_start,
            ..Placement::default()
        },
        health: vec![Arc::new(HealthCheck {
            proxy_protocol: None,
            name: "tcp".into(),
            port: None,
            tls: None,
            probe: HealthProbe::Tcp(Vec::new()),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
        })],
        ..settings(servers)
    }
}

fn named(name: &str) -> Server {
    Server {
        address: ServerAddress::Name(name.into(), 80),
        ..server(name, None)
    }
}

fn warmths(upstream: &Upstream) -> Vec<u32> {
    let servers = upstream.status().servers;
    servers.iter().map(|server| server.warmth_percent).collect()
}

fn probe(upstream: &Upstream, slot: usize, is_good: bool) {
    let result = if is_good { Ok(()) } else { Err("refused".to_owned()) };
    let took = Duration::ZERO;
    let members = upstream.members();
    members.servers[slot].probed(&members.settings.health[0], ProbeOutcome { result, took });
    upstream.refresh();
}

fn resolve(upstream: &Upstream, slot: usize, outcome: Result<(), ()>) {
    let addresses = outcome.map(|()| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))]);
    upstream.members().servers[slot].resolved(addresses.map_err(|()| "no such name".to_owned()));
    upstream.refresh();
}

#[test]
fn who_comes_or_comes_back_starts_slowly() {
    let upstream = Upstream::new(slowly(vec![server("a", None), named("b")]), 1);
    assert!(upstream.members().next_step(Instant::now()).is_none(), "nobody is new");
    // The first probe and the first answer about a name only tell what was so from the start.
    probe(&upstream, 0, true);
    resolve(&upstream, 1, Ok(()));
    assert_eq!(warmths(&upstream), [100, 100]);
    resolve(&upstream, 1, Err(()));
    resolve(&upstream, 1, Ok(()));
    assert_eq!(warmths(&upstream), [100, 10]);
    let step = upstream.members().next_step(Instant::now()).unwrap();
    assert!(step <= Duration::from_secs(3600 / 64 + 1), "{step:?}");
    upstream.reconfigure(slowly(vec![
        server("c", None),
        named("b"),
        server("a", None),
        named("d"),
    ]));
    resolve(&upstream, 3, Ok(()));
    assert_eq!(warmths(&upstream), [10, 10, 100, 10]);
    probe(&upstream, 2, false);
    assert_eq!(warmths(&upstream), [10, 10, 100, 10], "who is away is not warmed up");
    probe(&upstream, 2, true);
    assert_eq!(warmths(&upstream), [10; 4]);
    let without = Settings {
        placement: Placement::default(),
        ..slowly(vec![server("a", None)])
    };
    upstream.reconfigure(without);
    assert_eq!(warmths(&upstream), [100]);
    assert!(upstream.members().next_step(Instant::now()).is_none());
}

#[test]
fn who_waits_for_a_change_is_woken_by_it() {
    let upstream = upstream(vec![server("a", None)]);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let epoch = upstream.members().epoch();
    assert_eq!(upstream.poll_changed(epoch, &mut cx), Poll::Pending);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    upstream.refresh();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(upstream.poll_changed(epoch, &mut cx), Poll::Ready(()));
}

#[test]
fn panic_is_told_with_its_strength() {
    let with_priority = |name: &str, priority| Server {
        priority,
        ..server(name, None)
    };
    let upstream = Arc::new(Upstream::new(
        Settings {
            placement: Placement {
                panic: Some(Panic {
                    below_percent: 50,
                    min_servers: 2,
                }),
                ..Placement::default()
            },
            ..slowly(vec![
                with_priority("a", 0),
                with_priority("b", 0),
                with_priority("c", 3),
                named("d"),
            ])
        },
        1,
    ));
    let panicking = || upstream.status().panicking;
    assert_eq!(panicking(), []);
    probe(&upstream, 0, false);
    assert_eq!(panicking(), [], "the other level can carry it");
    probe(&upstream, 1, false);
    probe(&upstream, 2, false);
    assert_eq!(panicking(), [Tier::PRIMARY]);
    let strength = upstream.members().strength(Tier::PRIMARY);
    assert_eq!((strength.available, strength.servers), (0, 3));
    // Whoever is picked has an address.
    let local = Local::<()>::new(Arc::clone(&upstream));
    let mut chance = Chance::new(1);
    for _ in 0..100 {
        let place = local.view().place(&Ask::default(), &mut chance).unwrap();
        assert!(["a", "b"].contains(&&**place.server().server.name()));
    }
    probe(&upstream, 1, true);
    probe(&upstream, 0, true);
    assert_eq!(panicking(), []);
}

fn bounded(percent: Option<u32>, servers: &[&str]) -> Settings {
    Settings {
        balance: Balance::RingHash,
        placement: Placement {
            bound: percent.map(|percent| Bound { percent }),
            ..Placement::default()
        },
        ..settings(servers.iter().map(|name| server(name, None)).collect())
    }
}

/// Takes so many places for one key.
fn take(local: &Local<()>, count: usize) -> Vec<Place<()>> {
    let ask = Ask {
        key: Some(hash(b"hot", 0)),
        ..Ask::default()
    };
    let mut chance = Chance::new(1);
    (0..count)
        .map(|_| local.view().place(&ask, &mut chance).unwrap())
        .collect()
}

fn in_flight(upstream: &Upstream) -> Vec<u32> {
    let servers = upstream.status().servers;
    servers.iter().map(|server| server.in_flight).collect()
}

/// With 100 % every server has the same, to one.
#[test]
fn a_bound_counts_what_is_there_and_no_more() {
    let upstream = Arc::new(Upstream::new(bounded(None, &["a", "b", "c"]), 1));
    let local = Local::<()>::new(Arc::clone(&upstream));
    let before = take(&local, 12);
    assert!(in_flight(&upstream).contains(&12));
    upstream.reconfigure(bounded(Some(100), &["a", "b", "c"]));
    let after = take(&local, 24);
    assert_eq!(in_flight(&upstream), [12, 12, 12]);
    // What leaves with a server is no longer part of it, and another that comes is.
    upstream.reconfigure(bounded(Some(100), &["b", "c", "d"]));
    let more = take(&local, 12);
    assert_eq!(in_flight(&upstream), [12, 12, 12]);
    drop((before, after));
    let last = take(&local, 6);
    let counts = in_flight(&upstream);
    assert!(counts.iter().sum::<u32>() == 18 && counts.contains(&12), "{counts:?}");
    // Off and on again with requests on their way; nothing is left of them in the end.
    upstream.reconfigure(bounded(None, &["b", "c", "d"]));
    drop(last);
    upstream.reconfigure(bounded(Some(100), &["b", "c", "d"]));
    drop(more);
    assert_eq!(in_flight(&upstream), [0, 0, 0]);
    let _fresh = take(&local, 3);
    assert_eq!(in_flight(&upstream), [1, 1, 1], "the bound starts from nothing");
}
