//! Is a proxy in front believed about who the client is, nobody else, and are servers told?

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use isobar_testkit::{
    ClosedPort, Configuration, Isobar, Nginx, Origin, PATIENCE, Process, TcpServer, binary, eventually, rest, wait_for,
};

const LOG: &str = "access_log: { path: access.log, format: json }";
const FROM_HERE: &str = "proxy_protocol: { from: [127.0.0.0/8] }";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 203.0.113.9 4711 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, body].concat()
}

/// From 192.0.2.7:4711 to 203.0.113.9:443, with a unique ID.
fn v2_with_id() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 203, 0, 113, 9, 0x12, 0x67, 0x01, 0xbb];
    v2(1, 0x11, &[&addresses[..], &[5, 0, 3], b"id7"].concat())
}

fn tcp(servers: &[SocketAddr]) -> Configuration {
    Configuration::to(servers).listener("protocol: tcp").top(LOG)
}

fn connect(isobar: &Isobar) -> TcpStream {
    let stream = TcpStream::connect(isobar.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends this and what is to be echoed, in pieces of so many bytes; what comes back.
fn echoed(isobar: &Isobar, header: &[u8], piece: usize) -> Vec<u8> {
    let mut client = connect(isobar);
    client.set_nodelay(true).unwrap();
    for bytes in [header, b"hello"].concat().chunks(piece) {
        if client.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    rest(&mut client)
}

#[test]
fn the_client_is_who_the_header_names() {
    let server = TcpServer::echo("");
    let isobar = binary!().run(&tcp(&[server.address()]).listener(FROM_HERE));
    for (count, header) in [V1.to_vec(), v2_with_id()].iter().enumerate() {
        for (at, piece) in [1, 20, 1000].into_iter().enumerate() {
            assert_eq!(
                echoed(&isobar, header, piece),
                b"hello",
                "{header:?} in pieces of {piece}"
            );
            let lines = isobar.access_lines(3 * count + at + 1);
            let line = lines.last().unwrap();
            assert_eq!(
                (&line["client"], &line["peer"]),
                (&"192.0.2.7".into(), &"192.0.2.7:4711".into())
            );
            assert_eq!((&line["bytes_in"], &line["cause"]), (&5.into(), &"complete".into()));
        }
    }
    // A proxy that speaks for itself, as to see whether we are there.
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0, 0, b"")] {
        assert_eq!(echoed(&isobar, &header, 1000), b"hello");
    }
    assert_eq!(isobar.access_lines(8)[7]["client"], "127.0.0.1");
}

#[test]
fn what_is_no_header_is_closed_and_counted() {
    let server = TcpServer::echo("");
    let isobar = binary!().run(&tcp(&[server.address()]).listener(FROM_HERE));
    let long = v2(1, 0x11, &[0; 5000]);
    let broken: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", "does not begin with a PROXY protocol header"),
        (b"PROXY TCP4 1.2.3.4\r\n", "not two addresses and two ports"),
        (&long, "too long"),
        (&v2(1, 0x11, &[0; 3]), "shorter than its addresses"),
        (b"PROXY TCP4 192.0.2.7 203", "does not end with CRLF"),
    ];
    for (count, (header, detail)) in broken.iter().enumerate() {
        let mut client = connect(&isobar);
        client.write_all(header).unwrap();
        // It may have been closed at once.
        let _ = client.shutdown(Shutdown::Write);
        assert_eq!(rest(&mut client), b"");
        let lines = isobar.access_lines(count + 1);
        let line = &lines[count];
        assert_eq!(line["cause"], "proxy_header", "{line}");
        let found = line["detail"].as_str().unwrap_or_default();
        assert!(found.contains(detail) || found.contains("ended within"), "{line}");
    }
    let refused = isobar
        .metrics()
        .sum("isobar_listener_requests_refused_total", &[("cause", "proxy_header")]);
    assert_eq!(refused, Some(5.0));
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_header_that_is_late_is_not_waited_for() {
    let server = TcpServer::echo("");
    let configuration = tcp(&[server.address()])
        .listener(FROM_HERE)
        .listener("timeouts: { handshake: 200ms }");
    let isobar = binary!().run(&configuration);
    let mut silent = connect(&isobar);
    let mut slow = connect(&isobar);
    slow.write_all(&V1[..20]).unwrap();
    assert_eq!((rest(&mut silent), rest(&mut slow)), (vec![], vec![]));
    for line in isobar.access_lines(2) {
        assert_eq!(
            (&line["cause"], &line["fault"]),
            (&"proxy_header".into(), &"client".into())
        );
        assert!(
            line["detail"].as_str().is_some_and(|detail| detail.contains("in time")),
            "{line}"
        );
    }
}

#[test]
fn nobody_else_is_believed() {
    let server = TcpServer::echo("");
    let elsewhere = "proxy_protocol: { from: [192.0.2.0/24] }";
    let isobar = binary!().run(&tcp(&[server.address()]).listener(elsewhere));
    assert_eq!(echoed(&isobar, V1, 1000), b"");
    assert_eq!(echoed(&isobar, b"", 1000), b"");
    for line in isobar.access_lines(2) {
        assert_eq!(
            (&line["client"], &line["cause"]),
            (&"127.0.0.1".into(), &"proxy_header".into())
        );
    }
    assert_eq!(server.accepted(), 0);
    let accepting = "proxy_protocol: { from: [192.0.2.0/24], others: accept }";
    let isobar = binary!().run(&tcp(&[server.address()]).listener(accepting));
    assert_eq!(echoed(&isobar, b"", 1000), b"hello");
    assert_eq!(
        echoed(&isobar, V1, 1000),
        [V1, b"hello"].concat(),
        "it is like any other bytes"
    );
    assert!(isobar.access_lines(2).iter().all(|line| line["client"] == "127.0.0.1"));
}

#[test]
fn requests_are_from_whom_the_header_names() {
    let origin = Origin::start(|exchange| {
        let told = exchange
            .request
            .fields
            .value("x-forwarded-for")
            .unwrap_or_default()
            .to_owned();
        exchange.reply(200, &[], told.as_bytes())
    });
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).listener(FROM_HERE).top(LOG));
    for (header, client) in [
        (V1.to_vec(), "192.0.2.7"),
        (v2_with_id(), "192.0.2.7"),
        (v2(0, 0, b""), "127.0.0.1"),
    ] {
        let mut stream = connect(&isobar);
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(&[&header[..], request].concat()).unwrap();
        let answer = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(answer.ends_with(client), "{answer}");
    }
    let mut stream = connect(&isobar);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(rest(&mut stream), b"", "without a header there is no answer");
    let refused = || {
        isobar
            .metrics()
            .sum("isobar_listener_requests_refused_total", &[("cause", "proxy_header")])
    };
    eventually("it is counted", || refused() == Some(1.0));
    // Workers write their lines each in their own time.
    let lines = isobar.access_lines(3);
    let of = |client: &str| lines.iter().filter(|line| line["client"] == client).count();
    assert_eq!((of("192.0.2.7"), of("127.0.0.1")), (2, 1), "{lines:?}");
}

/// What a server hears of a connection before the client's first bytes, `hello`.
fn heard(isobar: &Isobar, header: &[u8]) -> Vec<u8> {
    let all = echoed(isobar, header, 1000);
    all.strip_suffix(b"hello").unwrap_or(&all).to_vec()
}

#[test]
fn servers_are_told_in_either_version() {
    let server = TcpServer::echo("");
    let told = |version: &str, listener: &str| {
        let upstream = format!("proxy_protocol: {version}");
        binary!().run(&tcp(&[server.address()]).listener(listener).upstream(upstream))
    };
    let isobar = told("v1", FROM_HERE);
    assert_eq!(heard(&isobar, &v2_with_id()), V1);
    let isobar = told("v2", FROM_HERE);
    assert_eq!(
        heard(&isobar, &v2_with_id()),
        v2_with_id(),
        "what it was told is passed on"
    );
    let isobar = told("v1", "");
    let line = String::from_utf8(heard(&isobar, b"")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let port = isobar.address().port().to_string();
    assert_eq!(
        (words[..4].to_vec(), words[5]),
        (vec!["PROXY", "TCP4", "127.0.0.1", "127.0.0.1"], port.as_str())
    );
    assert_eq!(
        isobar.access_lines(1)[0]["bytes_in"],
        5,
        "the header is not the client's"
    );
}

/// A health check comes as clients do, and speaks for nobody.
#[test]
fn checks_begin_with_a_header_too() {
    let server = TcpServer::start(|mut stream| {
        let mut header = [0; 16];
        stream.read_exact(&mut header)?;
        if header[..12] == *SIGNATURE && header[12..] == [0x20, 0, 0, 0] {
            let mut word = [0; 4];
            stream.read_exact(&mut word)?;
            stream.write_all(&word)?;
        }
        Ok(())
    });
    let configuration = tcp(&[server.address()])
        .upstream("proxy_protocol: v2\nhealth: { type: tcp, send: ping, expect: ping, interval: 50ms, fall: 1 }");
    let isobar = binary!().run(&configuration);
    eventually("the check passes", || says(&isobar, "tcp"));
}

/// Whether a check says that the server is well.
fn says(isobar: &Isobar, check: &str) -> bool {
    let labels = [("check", check), ("state", "healthy")];
    isobar.metrics().sum("isobar_server_check_state", &labels) == Some(1.0)
}

/// HAProxy in front tells who the client is, and nginx behind hears it.
#[test]
fn haproxy_and_nginx_understand_one_another_through_it() {
    for version in ["v1", "v2"] {
        let behind = ClosedPort::reserve().unwrap();
        let nginx = Nginx::start(&format!(
            "listen {} proxy_protocol; location / {{ default_type text/plain; \
             return 200 \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_port\"; }}",
            behind.address()
        ));
        let configuration = tcp(&[behind.address()])
            .listener(FROM_HERE)
            .upstream(format!("proxy_protocol: {version}"))
            .upstream("health: { type: http, path: /, interval: 100ms }");
        let isobar = binary!().run(&configuration);
        let front = ClosedPort::reserve().unwrap();
        let haproxy = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n\
             listen front\n bind {}\n server isobar {} send-proxy{}\n",
            front.address(),
            isobar.address(),
            if version == "v1" { "" } else { "-v2" },
        );
        let file = isobar.directory().join("haproxy.cfg");
        std::fs::write(&file, haproxy).unwrap();
        let mut command = std::process::Command::new("haproxy");
        let _haproxy = Process::spawn(command.arg("-db").arg("-f").arg(&file)).expect("haproxy is installed");
        let mut client = wait_for("haproxy listens", || TcpStream::connect(front.address()).ok());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let answer = String::from_utf8(rest(&mut client)).unwrap();
        let expected = format!("{} {}", client.local_addr().unwrap(), front.address().port());
        assert!(
            answer.ends_with(&expected),
            "{expected:?} is not in {answer:?}; {}",
            nginx.log()
        );
        eventually("the health check passes", || says(&isobar, "http"));
    }
}
