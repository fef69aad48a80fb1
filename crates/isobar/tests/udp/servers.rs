//! Which server does a flow go to, and what if it is not there?

use isobar_testkit::{ClosedUdpPort, UdpServer, binary, eventually};

use super::{ask, ask_again, client, dropped, is_left_alone, udp};

#[test]
fn a_server_that_is_not_there_is_left_for_another() {
    let closed = ClosedUdpPort::reserve().unwrap();
    let server = UdpServer::echo("good:");
    let configuration = udp(&[closed.address(), server.address()])
        .listener("udp: { idle_timeout: 300ms }")
        .upstream("balance: first_available\noutlier_detection: none");
    let isobar = binary!().run(&configuration);
    assert_eq!(ask_again(&client(isobar.address()), "x"), "good:x");
    let line = &isobar.access_lines(1)[0];
    assert_eq!(line["tried"], format!("{}:connect_failed", closed.address()).as_str());
    assert_eq!((&line["attempts"], &line["cause"]), (&2.into(), &"idle_timeout".into()));
    let failed = isobar
        .metrics()
        .sum("isobar_server_failures_total", &[("cause", "connect_failed")]);
    assert_eq!(failed, Some(1.0));
}

/// What is said by ICMP counts against a server as a connection does that it refuses.
#[test]
fn a_server_that_is_not_there_is_taken_out() {
    let closed = ClosedUdpPort::reserve().unwrap();
    let server = UdpServer::echo("good:");
    let configuration = udp(&[closed.address(), server.address()])
        .upstream("balance: round_robin\noutlier_detection: { max_fails: 3, fail_timeout: 60s }");
    let isobar = binary!().run(&configuration);
    for number in 0..8 {
        ask_again(&client(isobar.address()), &number.to_string());
    }
    let ejected = || isobar.metrics().sum("isobar_server_ejected", &[]);
    eventually("it is out", || ejected() == Some(1.0));
    for number in 0..8 {
        assert_eq!(
            ask(&client(isobar.address()), &number.to_string()),
            format!("good:{number}")
        );
    }
}

#[test]
fn nobody_there_is_said_in_the_log() {
    let closed = ClosedUdpPort::reserve().unwrap();
    let isobar = binary!().run(&udp(&[closed.address()]).listener("udp: { idle_timeout: 200ms }"));
    client(isobar.address()).send(b"x").unwrap();
    let line = &isobar.access_lines(1)[0];
    assert_eq!(
        (&line["cause"], &line["fault"]),
        (&"connect_failed".into(), &"server".into())
    );
}

/// A server in the middle of a flow: its client goes on with another, and with it once it is back.
#[test]
fn a_server_that_dies_is_gone_around_and_taken_back() {
    let port = ClosedUdpPort::reserve().unwrap();
    let answer = |name: &'static str| move |datagram: &[u8]| vec![[name.as_bytes(), datagram].concat()];
    let (mortal, other) = (UdpServer::at(&port, answer("m")), UdpServer::echo("o"));
    let configuration = udp(&[mortal.address(), other.address()]).upstream(
        "balance: first_available\n\
         health: { type: udp, send: 'are you\\x20there', expect: m, interval: 100ms, timeout: 90ms, rise: 1, fall: 1 }\n\
         panic: none",
    );
    let isobar = binary!().run(&configuration);
    let healthy = |state: &str| isobar.metrics().sum("isobar_server_check_state", &[("state", state)]);
    eventually("one answers as it should, the other does not", || {
        (healthy("healthy"), healthy("unhealthy")) == (Some(1.0), Some(1.0))
    });
    assert!(mortal.received().contains(&b"are you there".to_vec()));
    let client = client(isobar.address());
    assert_eq!(ask(&client, "1"), "m1");
    drop(mortal);
    eventually("it is found out", || healthy("unhealthy") == Some(2.0));
    client.send(b"2").unwrap();
    assert!(is_left_alone(&client), "nobody is well");
    let _mortal = UdpServer::at(&port, answer("m"));
    eventually("it is taken back", || healthy("healthy") == Some(1.0));
    assert_eq!(ask_again(&client, "3"), "m3");
}

/// Without `expect` it is enough that nobody says that the server is not there.
#[test]
fn a_server_that_never_answers_can_be_well() {
    let closed = ClosedUdpPort::reserve().unwrap();
    let silent = UdpServer::start(|_| Vec::new());
    let configuration = udp(&[closed.address(), silent.address()])
        .upstream("health: { type: udp, send: hello, interval: 200ms, timeout: 100ms, rise: 1, fall: 1 }");
    let isobar = binary!().run(&configuration);
    let state = |server: &str, state: &str| {
        isobar
            .metrics()
            .sum("isobar_server_health_state", &[("server", server), ("state", state)])
    };
    eventually("both are known", || {
        let closed = state(&closed.address().to_string(), "unhealthy");
        let silent = state(&silent.address().to_string(), "healthy");
        (closed, silent) == (Some(1.0), Some(1.0))
    });
    client(isobar.address()).send(b"a line").unwrap();
    eventually("it arrives", || silent.received().contains(&b"a line".to_vec()));
}

/// A flow moves away from a server that its checks say is ill, though nothing is refused.
#[test]
fn flows_leave_a_server_that_is_ill() {
    let ill = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_ill = std::sync::Arc::clone(&ill);
    let first = UdpServer::start(move |datagram| match is_ill.load(std::sync::atomic::Ordering::SeqCst) {
        true => Vec::new(),
        false => vec![[b"a", datagram].concat()],
    });
    let second = UdpServer::start(|datagram| vec![[b"a", datagram, b"!"].concat()]);
    let configuration = udp(&[first.address(), second.address()]).upstream(
        "balance: first_available\n\
         health: { type: udp, send: x, expect: a, interval: 100ms, timeout: 90ms, rise: 1, fall: 1 }",
    );
    let isobar = binary!().run(&configuration);
    let client = client(isobar.address());
    assert_eq!(ask(&client, "1"), "a1");
    ill.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(ask_again(&client, "2"), "a2!");
}

#[test]
fn least_connections_counts_flows_and_limits_hold() {
    let servers = ["a", "b"].map(UdpServer::echo);
    let mut configuration = udp(&[]).listener("udp: { idle_timeout: 4s }");
    for server in &servers {
        configuration = configuration.server(format!("{{ address: \"{}\", max_connections: 2 }}", server.address()));
    }
    let isobar = binary!().run(&configuration);
    let clients: Vec<_> = (0..4).map(|_| client(isobar.address())).collect();
    for client in &clients {
        ask(client, "x");
    }
    assert_eq!(servers.each_ref().map(UdpServer::sources), [2, 2]);
    assert_eq!(isobar.metrics().values("isobar_server_in_flight", &[]), [2.0, 2.0]);
    let fifth = client(isobar.address());
    fifth.send(b"x").unwrap();
    assert_eq!(
        isobar.access_lines(1)[0]["cause"],
        "queue_full",
        "datagrams do not wait"
    );
    assert_eq!(dropped(&isobar, "no_server"), 1.0);
    assert!(!ask_again(&fifth, "x").is_empty(), "flows end, and there is room");
}

#[test]
fn clients_of_one_address_stay_with_their_server() {
    let servers = ["a", "b", "c", "d"].map(UdpServer::echo);
    let configuration = udp(&servers.each_ref().map(UdpServer::address)).upstream("balance: maglev");
    let isobar = binary!().run(&configuration);
    for _ in 0..12 {
        ask(&client(isobar.address()), "x");
    }
    let mut counts = servers.each_ref().map(UdpServer::sources);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 0, 12]);
}
