//! Do listeners keep their sockets, and what waits in them, while their names and addresses change?

use std::net::SocketAddr;

use isobar_testkit::{Client, ClosedPort, Configuration, Isobar, Load, LoadOptions, Origin, binary, eventually, get};

/// Listeners as YAML, each with an address and the upstream it serves; names begin with a comma.
fn listeners(of: &[(&str, SocketAddr, &str)], origins: &[&Origin; 2]) -> String {
    let listener = |(name, address, upstream): &(&str, SocketAddr, &str)| {
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("name: {name}, ")
        };
        format!("  - {{ {name}address: \"{address}\", upstream: {upstream} }}\n")
    };
    format!(
        "listeners:\n{}upstreams:\n  a: {{ servers: [ \"{}\" ] }}\n  b: {{ servers: [ \"{}\" ] }}\n",
        of.iter().map(listener).collect::<String>(),
        origins[0].address(),
        origins[1].address()
    )
}

#[track_caller]
fn start(yaml: &str) -> Isobar {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    std::fs::write(&file, yaml).unwrap();
    binary!().run_file(directory, &file)
}

#[track_caller]
fn applies(isobar: &Isobar, yaml: &str) {
    let said = isobar.reload(yaml);
    assert!(said.contains("configuration applied"), "{said}");
}

fn says(address: SocketAddr) -> String {
    get(address, "/").map_or_else(|error| error.to_string(), |answer| answer.text())
}

#[test]
fn a_listener_that_is_renamed_under_load_fails_nothing() {
    let origin = Origin::named("a");
    let yaml = Configuration::to(&[origin.address()]).yaml();
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let address = isobar.address();
    let options = LoadOptions {
        clients: 8,
        per_connection: 1,
        ..LoadOptions::default()
    };
    let load = Load::start(address, &options);
    for round in 0..40 {
        let name = format!("name: web-{round}");
        applies(&isobar, &yaml.replace("name: web", &name));
        assert_eq!(isobar.listener(&format!("web-{round}")), address);
        load.passes(3);
    }
    load.finish().assert_flawless();
}

#[test]
fn listeners_may_swap_their_addresses() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let ports = [(); 2].map(|()| ClosedPort::reserve().unwrap());
    let [one, two] = [0, 1].map(|port: usize| ports[port].address());
    let isobar = start(&listeners(&[("left", one, "a"), ("right", two, "b")], &[&a, &b]));
    assert_eq!((says(one), says(two)), ("a".into(), "b".into()));
    applies(
        &isobar,
        &listeners(&[("left", two, "a"), ("right", one, "b")], &[&a, &b]),
    );
    assert_eq!((isobar.listener("left"), isobar.listener("right")), (two, one));
    eventually("each serves at the other address", || {
        (says(one), says(two)) == ("b".into(), "a".into())
    });
}

#[test]
fn listeners_without_names_come_and_go_in_any_order() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let ports = [(); 2].map(|()| ClosedPort::reserve().unwrap());
    let [one, two] = [0, 1].map(|port: usize| ports[port].address());
    let both = listeners(&[("", one, "a"), ("", two, "b")], &[&a, &b]);
    let isobar = start(&both);
    for _ in 0..3 {
        applies(&isobar, &listeners(&[("", two, "b")], &[&a, &b]));
        eventually("the first is closed", || Client::connect(one).is_err());
        assert_eq!(says(two), "b");
        applies(&isobar, &both);
        eventually("both serve", || (says(one), says(two)) == ("a".into(), "b".into()));
    }
}

#[test]
fn a_listener_may_move_between_every_address_and_one_of_them() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let port = ClosedPort::reserve().unwrap();
    let one = port.address();
    let every = SocketAddr::from(([0, 0, 0, 0], one.port()));
    let isobar = start(&listeners(&[("web", every, "a")], &[&a, &b]));
    for address in [one, every, one] {
        applies(&isobar, &listeners(&[("web", address, "b")], &[&a, &b]));
        eventually("it serves by the new rules", || says(one) == "b");
        assert_eq!(isobar.listener("web"), address);
        applies(&isobar, &listeners(&[("web", address, "a")], &[&a, &b]));
        eventually("and by the old ones again", || says(one) == "a");
    }
}
