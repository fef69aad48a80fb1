//! What happens when connections or descriptors run out?

use isobar_testkit::{Client, Configuration, Gate, Load, LoadOptions, Metrics, Origin, binary, eventually, get};

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
