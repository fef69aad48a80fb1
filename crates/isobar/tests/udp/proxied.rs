//! Are servers told of clients, and are proxies in front believed, with the PROXY protocol?
//!
//! Headers are written by hand, from section 2.2 of the specification: signature, version and command, family and transport, length,
//! addresses, ports.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};

use isobar_testkit::{UdpServer, binary, noise};

use super::{ask, client, dropped, heard, is_left_alone, udp};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, `PROXY`, UDP over IPv4.
fn header(source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    let mut header = [SIGNATURE, b"\x21\x12\0\x0c"].concat();
    header.extend(source.ip().octets());
    header.extend(destination.ip().octets());
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => panic!("{address}"),
    }
}

/// As PowerDNS, Unbound and NSD expect it: before each datagram. What they answer has none.
#[test]
fn servers_are_told_of_clients_before_each_datagram() {
    let server = UdpServer::start(|_| vec![b"plain".to_vec()]);
    let isobar = binary!().run(&udp(&[server.address()]).upstream("proxy_protocol: v2"));
    let client = client(isobar.address());
    for text in ["one", "two"] {
        assert_eq!(ask(&client, text), "plain");
    }
    let header = header(v4(client.local_addr().unwrap()), v4(isobar.address()));
    let expected = ["one", "two"].map(|text| [&header, text.as_bytes()].concat());
    assert_eq!(server.received(), expected);
}

#[test]
fn a_proxy_in_front_speaks_for_its_clients() {
    let servers = ["a:", "b:", "c:", "d:"].map(UdpServer::echo);
    let configuration = udp(&servers.each_ref().map(UdpServer::address))
        .listener("proxy_protocol: { from: [127.0.0.1] }\nudp: { idle_timeout: 500ms }")
        .upstream("balance: maglev");
    let isobar = binary!().run(&configuration);
    let proxy = client(isobar.address());
    let to = "10.9.9.9:53".parse().unwrap();
    let told = |source: &str, text: &str| [&header(source.parse().unwrap(), to), text.as_bytes()].concat();
    let mut names = Vec::new();
    for number in 1..=20 {
        let source = format!("10.1.1.{number}:1000");
        proxy.send(&told(&source, "x")).unwrap();
        let answer = heard(&proxy);
        assert!(answer.ends_with(":x"), "{answer}");
        proxy.send(&told(&source, "y")).unwrap();
        assert_eq!(heard(&proxy), answer.replace('x', "y"), "a flow stays");
        names.push(answer);
    }
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 1, "servers are chosen by who is told of");
    assert_eq!(
        servers.iter().map(UdpServer::sources).sum::<usize>(),
        20,
        "a flow for each"
    );
    let line = &isobar.access_lines(1)[0];
    assert!(line["client"].as_str().unwrap().starts_with("10.1.1."), "{line}");
}

#[test]
fn what_has_no_header_where_there_has_to_be_one_goes_nowhere() {
    let server = UdpServer::echo("");
    let configuration = udp(&[server.address()]).listener("proxy_protocol: { from: [127.0.0.1] }");
    let isobar = binary!().run(&configuration);
    let proxy = client(isobar.address());
    let other = UdpSocket::bind("127.0.0.5:0").unwrap();
    other.connect(isobar.address()).unwrap();
    let good = header("10.1.1.1:1".parse().unwrap(), "10.9.9.9:53".parse().unwrap());
    let mut stream = good.clone();
    stream[13] = 0x11;
    let broken = [
        b"hello".to_vec(),
        Vec::new(),
        b"PROXY TCP4 10.1.1.1 10.9.9.9 1 53\r\nx".to_vec(),
        good[..20].to_vec(),
        stream,
        noise(100, 1),
    ];
    for datagram in &broken {
        proxy.send(datagram).unwrap();
    }
    other.send(&[&good[..], b"x"].concat()).unwrap();
    assert!(is_left_alone(&other), "it is not listed");
    assert_eq!(dropped(&isobar, "proxy_header"), 7.0);
    // A proxy that speaks for itself.
    proxy.send(&[SIGNATURE, b"\x20\0\0\0", b"check"].concat()).unwrap();
    assert_eq!(heard(&proxy), "check");
    assert_eq!(server.received(), [b"check"]);
}

/// Others speak for themselves, and nobody is given what is meant for a client that a proxy told of.
#[test]
fn others_can_be_served_and_take_nobodys_flow() {
    let server = UdpServer::echo("");
    let configuration = udp(&[server.address()])
        .address("0.0.0.0:0")
        .listener("proxy_protocol: { from: [127.0.0.1], others: accept }\nudp: { flow: client }")
        .upstream("proxy_protocol: v2");
    let isobar = binary!().workers(1).run(&configuration);
    let to = SocketAddr::from(([127, 0, 0, 1], isobar.address().port()));
    let (proxy, other) = (client(to), UdpSocket::bind("127.0.0.5:0").unwrap());
    other.connect(to).unwrap();
    let known = v4(other.local_addr().unwrap());
    let header = header(known, "10.9.9.9:53".parse().unwrap());
    let datagram = [&header[..], b"told"].concat();
    proxy.send(&datagram).unwrap();
    let passed_on = heard(&proxy);
    assert_eq!(
        passed_on,
        String::from_utf8_lossy(&datagram),
        "what was told is told on"
    );
    assert_eq!(server.received(), [&datagram[..]]);
    other.send(b"own").unwrap();
    assert!(is_left_alone(&other));
    assert_eq!(dropped(&isobar, "proxy_header"), 1.0);
    proxy.send(&datagram).unwrap();
    assert_eq!(heard(&proxy), passed_on);
}
