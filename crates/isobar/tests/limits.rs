//! What happens when connections or descriptors run out?

use isobar_testkit::{
    Client, Configuration, Gate, Isobar, Load, LoadOptions, Metrics, Origin, binary, eventually, get,
};

#[test]
fn out_of_descriptors_it_recovers_when_pressure_ends() {
    let origin = Origin::named("a");
    let isobar = binary!()
        .through(&["prlimit", "--nofile=64:64"])
        .run(&Configuration::to(&[origin.address()]));
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    let mut clients = (0..120)
        .filter_map(|_| Client::connect(isobar.address()).ok())
        .collect::<Vec<_>>();
    for client in &mut clients {
        let _ = client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    isobar.wait_for_log("descriptors");
    let connected = clients.len();
    drop(clients);
    // Until the last of them was accepted, and found to be gone, each takes a descriptor again for a moment.
    eventually("the pressure has ended", || {
        let accepted = "isobar_listener_connections_accepted_total";
        get(isobar.admin(), "/metrics").is_ok_and(|answer| {
            let metrics = Metrics::new(answer.text());
            metrics.sum(accepted, &[]) >= Some((connected + 1) as f64)
                && metrics.sum("isobar_listener_connections", &[]) == Some(0.0)
        })
    });
    eventually("it serves again", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.status == 200)
    });
    let load = Load::start(isobar.address(), &LoadOptions::default());
    load.passes(100);
    load.finish().assert_flawless();
}

/// Has one worker keep connections to its server: as many requests are under way at once. *Returns* who asked.
fn warmed(descriptors: usize, requests: usize, configuration: impl Fn(&Origin) -> Configuration) -> Warmed {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |exchange| {
        held.pass();
        exchange.reply(200, &[], b"a")
    });
    let isobar = binary!()
        .workers(1)
        .through(&["prlimit", &format!("--nofile={descriptors}:{descriptors}")])
        .run(&configuration(&origin));
    let connect = |_| {
        let mut client = Client::connect(isobar.address()).unwrap();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        client
    };
    let mut clients = (0..requests).map(connect).collect::<Vec<_>>();
    eventually("all have reached the server", || gate.waiting() == requests);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().text(), "a");
    }
    Warmed {
        isobar,
        origin,
        clients,
    }
}

struct Warmed {
    isobar: Isobar,
    origin: Origin,
    clients: Vec<Client>,
}

#[test]
fn idle_connections_to_servers_have_a_quarter_of_the_descriptors() {
    let warmed = warmed(96, 30, |origin| Configuration::to(&[origin.address()]));
    eventually("the others are closed", || warmed.origin.connections_open() == 96 / 4);
}

#[test]
fn idle_connections_to_servers_make_room_when_descriptors_run_out() {
    const IDLE: usize = 20;
    const DESCRIPTORS: usize = 128;
    let other = Origin::named("b");
    let mut warmed = warmed(DESCRIPTORS, IDLE, |origin| {
        Configuration::to(&[origin.address()])
            .routes("- { name: other, match: { path: /other }, upstream: other }\n- { name: web, upstream: web }")
            .another_upstream("other", other.address())
    });
    let address = warmed.isobar.address();
    let come = |clients: &mut Vec<Client>| {
        let mut client = Client::connect(address).unwrap();
        assert_eq!(client.get("/").unwrap().text(), "a");
        clients.push(client);
    };
    while warmed.isobar.process().descriptors().unwrap() < DESCRIPTORS {
        come(&mut warmed.clients);
    }
    assert_eq!(warmed.origin.connections_accepted(), IDLE, "they used what was idle");
    let first = warmed.clients.first_mut().unwrap();
    assert_eq!(
        first.get("/other").unwrap().text(),
        "b",
        "nothing was idle towards this one"
    );
    // One connection to a server is in use for each of them, and goes on to the next.
    for _ in 0..IDLE - 2 {
        come(&mut warmed.clients);
    }
}

#[test]
fn connections_past_the_maximum_wait_for_others_to_end() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |exchange| {
        held.pass();
        exchange.reply(200, &[("connection", "close")], b"a")
    });
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).listener("limits: { max_connections: 4 }"));
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let connect = |_| {
        let mut client = Client::connect(isobar.address()).unwrap();
        client.send(request).unwrap();
        client
    };
    let mut clients = (0..12).map(connect).collect::<Vec<_>>();
    eventually("the first have reached the server", || gate.waiting() >= 4);
    let open = || isobar.metrics().sum("isobar_listener_connections", &[]);
    assert_eq!((gate.waiting(), open()), (4, Some(4.0)));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().text(), "a", "all are answered in the end");
    }
}
