//! What becomes of flows when the configuration changes, or the instance ends?

use std::time::Duration;

use isobar_testkit::{Signal, TcpServer, UdpServer, binary, eventually};

use super::{ask, ask_again, causes, client, dropped, is_left_alone, open_flows, udp};

#[test]
fn flows_survive_a_reload() {
    let (one, two) = (UdpServer::echo("1:"), UdpServer::echo("2:"));
    let configuration = |servers: &[&UdpServer], more: &str| {
        let servers: Vec<_> = servers.iter().map(|server| server.address()).collect();
        udp(&servers).listener(more).top("drain_timeout: 20s")
    };
    let isobar = binary!().run(&configuration(&[&one], ""));
    let clients: Vec<_> = (0..20).map(|_| client(isobar.address())).collect();
    for client in &clients {
        assert_eq!(ask(client, "x"), "1:x");
    }
    let address = isobar.address();
    for more in [
        "priority: normal",
        "udp: { idle_timeout: 50s, max_flows: 1000 }",
        "udp: { max_flows: 5 }",
        "",
    ] {
        isobar.reload(&configuration(&[&two, &one], more).yaml());
        for client in &clients {
            assert_eq!(ask(client, "x"), "1:x");
        }
    }
    assert_eq!(isobar.address(), address);
    assert_eq!(one.sources(), 20, "no flow began anew");
    // Where flows go that begin now.
    isobar.reload(&configuration(&[&two], "").yaml());
    eventually("new flows go to the new server", || ask(&client(address), "x") == "2:x");
    for client in &clients {
        assert_eq!(ask(client, "x"), "1:x", "those of the old one may finish");
    }
    assert_eq!(one.sources(), 20);
}

#[test]
fn flows_whose_server_or_listener_is_gone_end_in_time() {
    let (old, new) = (UdpServer::echo("o"), UdpServer::echo("n"));
    let configuration = |server: &UdpServer| udp(&[server.address()]).top("drain_timeout: 300ms");
    let isobar = binary!().run(&configuration(&old));
    let flow = client(isobar.address());
    assert_eq!(ask(&flow, "x"), "ox");
    isobar.reload(&configuration(&new).yaml());
    assert_eq!(causes(&isobar, 1), ["drained"]);
    assert_eq!(ask(&flow, "x"), "nx", "the same client begins another flow");
    let other = configuration(&new).yaml().replace("name: web", "name: other");
    isobar.reload(&other);
    assert_eq!(causes(&isobar, 2), ["drained", "drained"]);
    assert_eq!(ask_again(&flow, "y"), "ny", "the address is still listened on");
    assert_eq!(open_flows(&isobar), 1.0);
}

/// What a flow is changes: those there are end, and begin anew.
#[test]
fn what_makes_a_flow_can_change() {
    let server = UdpServer::echo("");
    let configuration = |flow: &str| udp(&[server.address()]).listener(format!("udp: {{ flow: {flow} }}"));
    let isobar = binary!().run(&configuration("client"));
    let client = client(isobar.address());
    assert_eq!(ask(&client, "x"), "x");
    isobar.reload(&configuration("client_and_destination").yaml());
    assert_eq!(causes(&isobar, 1), ["drained"]);
    assert_eq!(ask(&client, "x"), "x");
    assert_eq!(server.sources(), 2);
}

#[test]
fn a_drain_lets_flows_go_on_and_cuts_the_rest() {
    let server = UdpServer::echo("a:");
    let mut isobar = binary!().run(&udp(&[server.address()]).top("drain_timeout: 1s"));
    let flow = client(isobar.address());
    assert_eq!(ask(&flow, "1"), "a:1");
    isobar.signal(Signal::TERM);
    eventually("no more flows begin", || {
        client(isobar.address()).send(b"x").unwrap();
        dropped(&isobar, "draining") > 0.0
    });
    assert_eq!(ask(&flow, "2"), "a:2");
    assert_eq!(isobar.ends(Duration::from_secs(10)).code(), Some(0), "{}", isobar.log());
    assert!(isobar.access_lines(1).iter().any(|line| line["cause"] == "shutdown"));
}

#[test]
fn without_flows_there_is_nothing_to_wait_for() {
    let server = UdpServer::echo("");
    let mut isobar = binary!().run(&udp(&[server.address()]).listener("udp: { responses: 1 }"));
    assert_eq!(ask(&client(isobar.address()), "x"), "x");
    isobar.signal(Signal::TERM);
    assert_eq!(isobar.ends(Duration::from_secs(5)).code(), Some(0), "{}", isobar.log());
}

/// As DNS has it: both at one port, each with its own kind of server.
#[test]
fn tcp_and_udp_share_a_port() {
    let (datagrams, connections) = (UdpServer::echo("u"), TcpServer::echo("t"));
    let configuration = udp(&[datagrams.address()]).another_upstream("tcp", connections.address());
    // A port that is free for UDP may be somebody else's for TCP.
    let isobar = (0..20)
        .map(|_| binary!().run(&configuration))
        .find(|isobar| std::net::TcpListener::bind(isobar.address()).is_ok())
        .expect("there is a port that is free for both");
    let address = isobar.address();
    let both = format!(
        "listeners:\n  - {{ name: stream, address: \"{address}\", protocol: tcp, upstream: tcp }}\n{}",
        configuration.yaml().trim_start_matches("listeners:\n")
    );
    isobar.reload(&both);
    assert_eq!(ask(&client(address), "x"), "ux");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let mut name = [0];
    std::io::Read::read_exact(&mut stream, &mut name).unwrap();
    assert_eq!(name, *b"t");
    // The one at this address may leave while the other stays.
    isobar.reload(&configuration.yaml());
    eventually("nobody listens", || std::net::TcpStream::connect(address).is_err());
    let flow = client(address);
    assert_eq!(ask(&flow, "x"), "ux");
    assert!(is_left_alone(&flow));
}

/// Somebody else's socket is not shared with, and half of a file is not taken.
#[test]
fn an_address_that_cannot_be_had_refuses_the_whole_file() {
    let server = UdpServer::echo("");
    let isobar = binary!().run(&udp(&[server.address()]));
    let flow = client(isobar.address());
    assert_eq!(ask(&flow, "x"), "x");
    let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let said = isobar.reload(&udp(&[server.address()]).address(&taken.to_string()).yaml());
    assert!(
        said.contains("configuration refused") && said.contains(&taken.to_string()),
        "{said}"
    );
    assert_eq!(ask(&flow, "y"), "y");
    // A port that is free is taken, and the old one given back.
    drop(holder);
    isobar.reload(&udp(&[server.address()]).address(&taken.to_string()).yaml());
    assert_eq!(ask(&client(taken), "z"), "z");
    assert_eq!(isobar.address(), taken);
}
