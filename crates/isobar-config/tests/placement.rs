//! What is written of levels, zones, panic, slow start, bounds and subsets arrives in the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use isobar_balance::{Balance, Bound, Choices, SlowStart};
use isobar_config::{Loaded, Source, load};
use isobar_plan::{Locality, Panic, Placement, Upstream};

fn loaded(text: &str) -> Loaded {
    let source = Source {
        name: "placement.yaml".to_owned(),
        text: text.to_owned(),
    };
    load(&source).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

/// The upstream of a configuration with these lines within it, and these at the top.
fn upstream(lines: &str, top: &str) -> Upstream {
    let lines = lines.replace('\n', "\n    ");
    let text = format!("listeners: [{{ address: ':80', upstream: a }}]\nupstreams:\n  a:\n    {lines}\n{top}\n");
    loaded(&text).plan.upstreams.remove(0)
}

const SERVERS: &str = "servers: [{ address: ':1', zone: x }, { address: ':2', zone: y, priority: 7 }]";

#[test]
fn what_is_left_out_has_its_default() {
    let plain = upstream("servers: [':1']", "");
    assert_eq!(
        plain.placement,
        Placement {
            bound: None,
            locality: None,
            panic: Some(Panic {
                below_percent: 50,
                min_servers: 5
            }),
            slow_start: Some(SlowStart::default()),
        }
    );
    assert_eq!(
        (plain.balance, plain.servers[0].priority),
        (Balance::LeastConnections, 0)
    );
    let none = upstream(
        "servers: [':1']\nlocality: none\npanic: none\nslow_start: none\nbounded_load: none\nsubset: none",
        "instance: none",
    );
    assert_eq!(none.placement, Placement::default());
}

#[test]
fn everything_arrives() {
    let long = format!(
        "{SERVERS}\nbalance: maglev\nbounded_load: 130%\nlocality: {{ balancers: {{ x: 3, y: 1 }}, min_servers: 2 }}\n\
         panic: {{ below: 30%, min_servers: 3 }}\nslow_start: {{ window: 1m, aggression: 1.5, min_weight: 5% }}"
    );
    let upstream = upstream(&long, "zone: x");
    assert_eq!(
        upstream.placement,
        Placement {
            bound: Some(Bound { percent: 130 }),
            locality: Some(Locality {
                zone: "x".into(),
                balancers: vec![("x".into(), 3), ("y".into(), 1)],
                min_servers: 2,
            }),
            panic: Some(Panic {
                below_percent: 30,
                min_servers: 3,
            }),
            slow_start: Some(SlowStart {
                window: Duration::from_secs(60),
                floor_percent: 5,
                aggression_percent: 150,
            }),
        }
    );
    let places: Vec<_> = upstream
        .servers
        .iter()
        .map(|server| (server.priority, server.zone.as_deref()))
        .collect();
    assert_eq!(places, [(0, Some("x")), (7, Some("y"))]);
}

#[test]
fn short_forms() {
    let upstream = upstream("servers: [':1']\npanic: 20%\nslow_start: 5s", "");
    assert_eq!(
        upstream.placement.panic,
        Some(Panic {
            below_percent: 20,
            min_servers: 5
        })
    );
    assert_eq!(upstream.placement.slow_start.unwrap().window, Duration::from_secs(5));
}

#[test]
fn zones_matter_when_the_instance_has_one() {
    let locality = |top: &str, lines: &str| upstream(&format!("{SERVERS}{lines}"), top).placement.locality;
    assert_eq!(
        locality("zone: x", ""),
        Some(Locality {
            zone: "x".into(),
            balancers: vec![],
            min_servers: 6
        })
    );
    assert_eq!(locality("", ""), None);
    assert_eq!(locality("zone: x", "\nlocality: none"), None);
    assert_eq!(upstream("servers: [':1']", "zone: x").placement.locality, None);
}

#[test]
fn choices_and_algorithms() {
    let check = |lines: &str, expected| {
        assert_eq!(
            upstream(&format!("servers: [':1']\n{lines}"), "").balance,
            expected,
            "{lines}"
        );
    };
    let drawn = |number| Balance::PowerOfTwo(Choices::new(number));
    check("balance: least_connections", Balance::LeastConnections);
    check("balance: least_connections\nchoices: all", Balance::LeastConnections);
    check("choices: 3", drawn(3));
    check("balance: power_of_two", drawn(2));
    check("balance: power_of_two\nchoices: 16", drawn(16));
    check("balance: power_of_two\nchoices: all", Balance::LeastConnections);
}

/// The servers of an instance by name with their weights.
fn of_instance(number: u32, of: u32, (servers, subset): (u32, &str)) -> BTreeMap<String, u32> {
    let servers: Vec<_> = (1..=servers).map(|port| format!("':{port}'")).collect();
    let lines = format!("servers: [{}]\nsubset: {subset}", servers.join(", "));
    let upstream = upstream(&lines, &format!("instance: {{ number: {number}, of: {of} }}"));
    let named = |server: &isobar_plan::Server| (server.name.to_string(), server.weight);
    upstream.servers.iter().map(named).collect()
}

/// Over all instances every server is used exactly alike, each by some part of some of them.
#[test]
fn an_even_subset_is_even() {
    for (servers, of, size) in [(40, 10, 8), (40, 7, 5), (13, 5, 4), (3, 4, 1), (100, 3, 20)] {
        let mut used = BTreeMap::<String, f64>::new();
        for number in 0..of {
            let own = of_instance(number, of, (servers, &size.to_string()));
            assert!(own.len() >= size as usize, "{own:?}");
            assert!(
                own.len() < servers as usize || size == servers || servers <= 3,
                "{own:?}"
            );
            let sum: u32 = own.values().sum();
            for (name, weight) in own {
                *used.entry(name).or_default() += f64::from(weight) / f64::from(sum);
            }
        }
        let each = f64::from(of) / f64::from(servers);
        assert_eq!(used.len(), servers as usize);
        assert!(
            used.values().all(|used| (used - each).abs() < 1e-9),
            "{servers} {of} {size}: {used:?}"
        );
    }
}

#[test]
fn a_stable_subset_changes_in_one_place() {
    let subset = "{ size: 10, spread: stable }";
    let mut all = BTreeSet::new();
    for number in 0..20 {
        let before: BTreeSet<_> = of_instance(number, 20, (60, subset)).into_keys().collect();
        let after: BTreeSet<_> = of_instance(number, 20, (61, subset)).into_keys().collect();
        assert_eq!((before.len(), after.len()), (10, 10));
        assert!(before.difference(&after).count() <= 1);
        assert_eq!(
            of_instance(number, 20, (60, subset)).len(),
            10,
            "it is the same each time"
        );
        all.extend(before);
    }
    assert!(all.len() > 50, "20 times 10 of 60 leave out about 2: {}", all.len());
}

/// Each level has a subset of its own, and weights are kept in proportion, 0 among them.
#[test]
fn subsets_are_of_levels() {
    let server = |port: u32| match port {
        1..=6 => format!("{{ address: ':{port}', weight: {} }}", (port - 1) * 2),
        7..=12 => format!("{{ address: ':{port}', priority: 1 }}"),
        _ => format!("{{ address: ':{port}', backup: true }}"),
    };
    let servers: Vec<_> = (1..=14).map(server).collect();
    let lines = format!("servers: [{}]\nsubset: 3", servers.join(", "));
    for number in 0..2 {
        let upstream = upstream(&lines, &format!("instance: {{ number: {number}, of: 2 }}"));
        let of = |wanted: fn(&isobar_plan::Server) -> bool| upstream.servers.iter().filter(|s| wanted(s)).count();
        assert_eq!(of(|server| server.priority == 0 && !server.backup), 3);
        assert_eq!(of(|server| server.priority == 1), 3);
        assert_eq!(of(|server| server.backup), 2, "there are no more");
        for server in upstream
            .servers
            .iter()
            .filter(|server| server.priority == 0 && !server.backup)
        {
            let port: u32 = server.name.rsplit(':').next().unwrap().parse().unwrap();
            assert_eq!(server.weight * 2 % ((port - 1) * 2).max(1), 0, "{server:?}");
            assert_eq!(server.weight == 0, port == 1, "{server:?}");
        }
    }
}
