//! May one source have all the connections of a listener, or make new ones without end?

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use isobar_testkit::{Configuration, Isobar, Origin, TcpServer, binary, connect_from, eventually};

/// A connection from one of the addresses of this machine.
fn connect(to: SocketAddr, from: u8) -> TcpStream {
    connect_from(Ipv4Addr::new(127, 0, 0, from).into(), to).unwrap()
}

/// Whether it is served: what it says is answered.
fn is_served(stream: &mut TcpStream, says: &[u8]) -> bool {
    let mut answer = [0; 4096];
    match stream.write_all(says).and_then(|()| stream.read(&mut answer)) {
        Ok(count) => count > 0,
        Err(error) => {
            let is_closed = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            assert!(is_closed, "{error}");
            false
        }
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn tcp(limits: &str) -> (TcpServer, Isobar) {
    let server = TcpServer::echo("a");
    let isobar = binary!().run(&configuration(
        server.address(),
        &format!("protocol: tcp\nlimits: {{ {limits} }}"),
    ));
    (server, isobar)
}

fn http(limits: &str) -> (Origin, Isobar) {
    let origin = Origin::named("a");
    let isobar = binary!().run(&configuration(origin.address(), &format!("limits: {{ {limits} }}")));
    (origin, isobar)
}

fn configuration(server: SocketAddr, listener: &str) -> Configuration {
    Configuration::to(&[server])
        .listener(listener)
        .top("access_log: { path: stdout }")
}

fn refused(isobar: &Isobar, cause: &str) -> Option<f64> {
    isobar
        .metrics()
        .sum("isobar_listener_requests_refused_total", &[("cause", cause)])
}

/// Three of a source are served and no more, whoever else comes, and one that leaves makes room.
fn check_at_once(isobar: &Isobar, says: &[u8]) {
    let address = isobar.address();
    let mut open: Vec<_> = (0..3).map(|_| connect(address, 2)).collect();
    assert!(open.iter_mut().all(|stream| is_served(stream, says)));
    for _ in 0..5 {
        assert!(!is_served(&mut connect(address, 2), says));
    }
    assert!(is_served(&mut connect(address, 3), says), "another source has its own");
    assert!(
        open.iter_mut().all(|stream| is_served(stream, says)),
        "those that are served stay"
    );
    assert_eq!(refused(isobar, "source_connections"), Some(5.0));
    drop(open.pop());
    eventually("one that left makes room", || is_served(&mut connect(address, 2), says));
}

#[test]
fn one_source_has_so_many_connections_of_tcp() {
    let (_server, isobar) = tcp("max_connections_per_source: 3");
    check_at_once(&isobar, b"ping");
    eventually("lines name the cause", || {
        isobar.stdout().matches("\"cause\":\"source_connections\"").count() >= 5
    });
}

#[test]
fn one_source_has_so_many_connections_of_http() {
    let (_origin, isobar) = http("max_connections_per_source: 3");
    check_at_once(&isobar, REQUEST);
    eventually("lines name the cause", || {
        isobar.stdout().matches("\"cause\":\"source_connections\"").count() >= 5
    });
}

#[test]
fn one_source_comes_so_often() {
    let (_server, tcp) = tcp("new_connections_per_source: 4/day, max_connections_per_source: 3");
    let (_origin, http) = http("new_connections_per_source: 4/day");
    for (isobar, says) in [(&tcp, b"ping".as_slice()), (&http, REQUEST)] {
        for source in [2, 3] {
            let served = (0..8).filter(|_| is_served(&mut connect(isobar.address(), source), says));
            assert_eq!(served.count(), 4, "127.0.0.{source}");
        }
        assert_eq!(refused(isobar, "source_rate"), Some(8.0));
    }
}

#[test]
fn what_sources_have_outlives_a_reload() {
    let origin = Origin::named("a");
    let configuration = configuration(origin.address(), "limits: { max_connections_per_source: 2 }");
    let isobar = binary!().run(&configuration);
    let mut open: Vec<_> = (0..2).map(|_| connect(isobar.address(), 2)).collect();
    assert!(open.iter_mut().all(|stream| is_served(stream, REQUEST)));
    isobar.reload(&configuration.yaml().replace("source: 2", "source: 3"));
    let mut third = connect(isobar.address(), 2);
    assert!(is_served(&mut third, REQUEST));
    assert!(
        !is_served(&mut connect(isobar.address(), 2), REQUEST),
        "two and one are three"
    );
}

#[test]
fn sources_are_those_that_proxies_tell() {
    let server = TcpServer::echo("a");
    let listener = "protocol: tcp\nproxy_protocol: { from: [127.0.0.0/8] }\nlimits: { max_connections_per_source: 1 }";
    let isobar = binary!().run(&configuration(server.address(), listener));
    let mut held = Vec::new();
    let mut served = |client: &str| {
        let mut stream = connect(isobar.address(), 2);
        let header = format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\nping");
        let is_served = is_served(&mut stream, header.as_bytes());
        held.push(stream);
        is_served
    };
    assert!(served("203.0.113.1"));
    assert!(served("203.0.113.2"));
    assert!(!served("203.0.113.1"));
}
