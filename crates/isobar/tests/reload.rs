//! Does a new configuration take effect without anybody noticing the change itself?

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use isobar_testkit::tungstenite::Message;
use isobar_testkit::websocket::{connect, websocket_echo};
use isobar_testkit::{Client, Configuration, Gate, Isobar, Load, LoadOptions, Origin, Signal, binary, eventually, get};

fn serves(isobar: &Isobar, name: &str) -> bool {
    get(isobar.address(), "/").is_ok_and(|answer| answer.text() == name)
}

#[test]
fn a_hundred_reloads_under_load_fail_nothing() {
    let origins = ["a", "b", "c"].map(Origin::named);
    let sockets = websocket_echo();
    let routes = "- { upstream: web }\n- { match: { path: /socket }, upstream: sockets }";
    let plan = |servers: &[Origin], balance: &str| {
        let servers = servers.iter().map(Origin::address).collect::<Vec<_>>();
        let configuration = Configuration::to(&servers).upstream(format!("balance: {balance}"));
        configuration
            .routes(routes)
            .another_upstream("sockets", sockets.address())
    };
    let isobar = binary!().run(&plan(&origins, "round_robin"));
    let plans = [
        plan(&origins[..1], "least_connections"),
        plan(&origins[1..], "random"),
        plan(&origins, "round_robin"),
    ];
    let mut tunnels = (0..8)
        .map(|_| connect(isobar.address(), "/socket").unwrap())
        .collect::<Vec<_>>();
    let load = Load::start(
        isobar.address(),
        &LoadOptions {
            clients: 8,
            ..LoadOptions::default()
        },
    );
    for round in 0..100 {
        let said = isobar.reload(&plans[round % plans.len()].yaml());
        assert!(said.contains("configuration applied"), "{said}");
        load.passes(5);
        let tunnel = &mut tunnels[round % 8];
        tunnel.send(Message::text(round.to_string())).unwrap();
        assert_eq!(tunnel.read().unwrap(), Message::text(round.to_string()));
    }
    load.finish().assert_flawless();
    for tunnel in &mut tunnels {
        tunnel.send(Message::binary(vec![7; 100_000])).unwrap();
        assert_eq!(tunnel.read().unwrap(), Message::binary(vec![7; 100_000]));
    }
    assert_eq!(sockets.connections_accepted(), 8, "a WebSocket was made anew");
}

#[test]
fn an_invalid_file_is_refused_and_the_plan_stays() {
    let origin = Origin::named("a");
    let configuration = Configuration::to(&[origin.address()]);
    let isobar = binary!().run(&configuration);
    let mut kept = Client::connect(isobar.address()).unwrap();
    assert_eq!(kept.get("/").unwrap().text(), "a");
    for (broken, words) in [
        (configuration.clone().upstream("blance: random").yaml(), "balance"),
        (configuration.clone().upstream("balance: fastest").yaml(), "fastest"),
        (configuration.yaml().replace("upstream: web", "upstream: wbe"), "wbe"),
        ("listeners: [".to_owned(), "isobar.yaml"),
        (String::new(), "isobar.yaml"),
    ] {
        let said = isobar.reload(&broken);
        assert!(
            said.contains("configuration refused") && said.contains(words),
            "{words}: {said}"
        );
        assert_eq!(kept.get("/").unwrap().text(), "a");
        assert!(serves(&isobar, "a"));
        assert_eq!(
            isobar.metrics().sum("isobar_config_last_reload_successful", &[]),
            Some(0.0)
        );
    }
    let said = isobar.reload(&configuration.upstream("balance: random").yaml());
    assert!(said.contains("configuration applied"), "{said}");
    assert_eq!(
        isobar.metrics().sum("isobar_config_last_reload_successful", &[]),
        Some(1.0)
    );
}

#[test]
fn a_file_that_is_gone_leaves_the_plan() {
    let origin = Origin::named("a");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    fs::remove_file(isobar.configuration()).unwrap();
    isobar.signal(Signal::HUP);
    isobar.wait_for_log("configuration refused");
    assert!(serves(&isobar, "a"));
}

#[test]
fn a_changed_file_takes_effect_by_itself() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let isobar = binary!().run(&Configuration::to(&[a.address()]));
    let address = isobar.address();
    isobar
        .write_configuration(&Configuration::to(&[b.address()]).yaml())
        .unwrap();
    eventually("a file renamed over the old one takes effect", || serves(&isobar, "b"));
    fs::write(isobar.configuration(), Configuration::to(&[a.address()]).yaml()).unwrap();
    eventually("a file written in place takes effect", || serves(&isobar, "a"));
    assert_eq!(
        isobar.address(),
        address,
        "the listener did not change and keeps its port"
    );
}

#[test]
fn a_swapped_symlink_takes_effect_by_itself() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let stage = |version: &str, origin: &Origin| {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(
            root.join(version).join("isobar.yaml"),
            Configuration::to(&[origin.address()]).yaml(),
        )
        .unwrap();
    };
    // As Kubernetes mounts a ConfigMap: the file is a link through `..data`, which is swapped as a whole.
    stage("..2026_a", &a);
    symlink("..2026_a", root.join("..data")).unwrap();
    symlink(Path::new("..data").join("isobar.yaml"), root.join("isobar.yaml")).unwrap();
    let isobar = binary!().run_file(directory, &root.join("isobar.yaml"));
    assert!(serves(&isobar, "a"));
    stage("..2026_b", &b);
    symlink("..2026_b", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    eventually("the new version takes effect", || serves(&isobar, "b"));
}

#[test]
fn a_request_in_flight_is_answered_by_the_server_it_went_to() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Origin::start(move |exchange| {
        held.pass();
        exchange.reply(200, &[], b"slow")
    });
    let next = Origin::named("next");
    let isobar = binary!().run(&Configuration::to(&[slow.address()]));
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has it", || gate.waiting() == 1);
    assert!(
        isobar
            .reload(&Configuration::to(&[next.address()]).yaml())
            .contains("configuration applied")
    );
    eventually("others go to the new server", || serves(&isobar, "next"));
    gate.open();
    assert_eq!(client.receive().unwrap().text(), "slow");
    assert_eq!(client.get("/").unwrap().text(), "next", "on the same connection");
}

#[test]
fn what_does_not_change_keeps_its_connections_and_counters() {
    let origin = Origin::named("a");
    let configuration = Configuration::to(&[origin.address()]);
    let isobar = binary!().run(&configuration);
    let mut client = Client::connect(isobar.address()).unwrap();
    assert_eq!(client.get("/").unwrap().status, 200);
    let counted = || {
        isobar
            .metrics()
            .sum("isobar_server_requests_total", &[])
            .unwrap_or_default()
    };
    eventually("it is counted", || counted() >= 1.0);
    let other = Origin::named("other");
    for round in 0..5 {
        let yaml = configuration
            .clone()
            .another_upstream(&format!("other-{round}"), other.address())
            .yaml();
        assert!(isobar.reload(&yaml).contains("configuration applied"));
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    eventually("counters go on", || counted() >= 6.0);
    assert_eq!(
        origin.connections_accepted(),
        1,
        "the kept connection to the server was lost"
    );
}

#[test]
fn listeners_come_and_go() {
    let origin = Origin::named("a");
    let one = Configuration::to(&[origin.address()]).yaml();
    let two = one.replace(
        "upstreams:",
        "  - name: second\n    address: 127.0.0.1:0\n    upstream: web\nupstreams:",
    );
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    assert!(isobar.reload(&two).contains("configuration applied"));
    let second = isobar.listener("second");
    let mut client = Client::connect(second).unwrap();
    assert_eq!(client.get("/").unwrap().text(), "a");
    assert!(isobar.reload(&one).contains("configuration applied"));
    eventually("the second is closed", || Client::connect(second).is_err());
    assert!(serves(&isobar, "a"));
}

#[test]
fn an_address_that_cannot_be_had_refuses_the_whole_file() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let isobar = binary!().run(&Configuration::to(&[a.address()]));
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let yaml = Configuration::to(&[b.address()]).yaml();
    let yaml = yaml.replace(
        "upstreams:",
        &format!("  - name: second\n    address: {taken}\n    upstream: web\nupstreams:"),
    );
    let said = isobar.reload(&yaml);
    assert!(
        said.contains("configuration refused") && said.contains(&taken.to_string()),
        "{said}"
    );
    assert!(serves(&isobar, "a"), "half of a refused file took effect");
}
