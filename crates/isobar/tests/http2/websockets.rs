//! Do WebSockets pass between every two versions (RFC 6455, RFC 8441)?
//!
//! Behind the handshake bytes are bytes, so what is sent here are no frames of WebSockets, except where a program speaks them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use isobar_testkit::http2::{End, FramePeer, Http2Origin, Http2Settings, flags, kind};
use isobar_testkit::{After, Client, Configuration, Isobar, Origin, Signal, binary, eventually, noise};

/// A server of HTTP/1 that agrees to everything, proves it with this, and gives every byte back.
fn agreeing(accept: &'static str) -> Origin {
    Origin::raw(move |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let key = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .starts_with("sec-websocket-key:")
                .then(|| line[18..].trim().to_owned())
        });
        let accept = match accept {
            "" => tungstenite_accept(&key.unwrap_or_default()),
            wrong => wrong.to_owned(),
        };
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
        )?;
        let mut copy = stream.try_clone()?;
        std::io::copy(&mut stream, &mut copy)?;
        copy.shutdown(Shutdown::Write)
    })
}

fn tungstenite_accept(key: &str) -> String {
    isobar_testkit::tungstenite::handshake::derive_accept_key(key.as_bytes())
}

fn before(server: SocketAddr, version: &str, more: &str) -> Isobar {
    let upstream = format!("http_version: {version}\n{more}");
    let log = "access_log: { path: access.log, format: json }";
    binary!().run(&Configuration::to(&[server]).upstream(upstream).top(log))
}

fn open(isobar: &Isobar) -> f64 {
    isobar
        .metrics()
        .sum("isobar_route_upgraded_connections", &[])
        .unwrap_or(-1.0)
}

const REQUEST: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client of either version whose WebSocket is open.
enum Socket {
    Http1(Client),
    Http2(FramePeer),
}

impl Socket {
    fn connect(version: &str, address: SocketAddr) -> Self {
        if version == "http1" {
            let mut client = Client::connect(address).unwrap();
            client.send(REQUEST).unwrap();
            let answer = client.receive_head().unwrap();
            assert_eq!(answer.status, 101, "{answer:?}");
            assert_eq!(
                answer.fields.value("sec-websocket-accept"),
                Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                "{answer:?}"
            );
            return Self::Http1(client);
        }
        let mut peer = FramePeer::connect(address, &[]).unwrap();
        peer.connect_websocket(1, "/chat").unwrap();
        assert_eq!(peer.end_of(1).unwrap(), End::Status(200));
        Self::Http2(peer)
    }

    fn say(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1(client) => client.send(bytes).unwrap(),
            Self::Http2(peer) => peer.frame(kind::DATA, flags::NONE, 1, bytes).unwrap(),
        }
    }

    fn hear(&mut self, count: usize) -> Vec<u8> {
        match self {
            Self::Http1(client) => client.receive_bytes(count).unwrap(),
            Self::Http2(peer) => peer.data_of(1, count).unwrap().0,
        }
    }

    /// Ends what it says, and hears the other end do the same.
    fn finish(&mut self) {
        match self {
            Self::Http1(client) => {
                client.finish().unwrap();
                assert_eq!(client.rest().unwrap(), b"");
            }
            Self::Http2(peer) => {
                peer.frame(kind::DATA, flags::END_STREAM, 1, []).unwrap();
                assert_eq!(peer.data_of(1, usize::MAX).unwrap(), (Vec::new(), true));
            }
        }
    }
}

#[test]
fn websockets_pass_between_every_two_versions() {
    let (old, new) = (
        agreeing(""),
        Http2Origin::start(Http2Settings {
            websockets: true,
            ..Http2Settings::default()
        }),
    );
    for (server, address) in [("http1", old.address()), ("http2", new.address())] {
        let isobar = before(address, server, "");
        for client in ["http1", "http2"] {
            let mut socket = Socket::connect(client, isobar.address());
            // The client may have its answer before it is counted.
            eventually("it is open", || open(&isobar) == 1.0);
            for len in [1, 125, 1000, 16_000] {
                let bytes = noise(len, 9);
                for _ in 0..20 {
                    socket.say(&bytes);
                    assert!(socket.hear(len) == bytes, "{client} to {server}: {len}");
                }
            }
            socket.finish();
            eventually("it is over", || open(&isobar) == 0.0);
        }
        let metrics = isobar.metrics();
        assert_eq!(metrics.sum("isobar_route_upgrades_total", &[]), Some(2.0), "{server}");
        assert_eq!(
            metrics.sum("isobar_route_exchanges_total", &[("cause", "complete")]),
            Some(2.0),
            "{server}"
        );
        isobar.comes_to_rest();
    }
}

#[test]
fn a_server_has_to_prove_that_it_understood() {
    let origin = agreeing("AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let isobar = before(origin.address(), "http1", "");
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    peer.connect_websocket(1, "/").unwrap();
    assert_eq!(peer.end_of(1).unwrap(), End::Status(502));
    assert_eq!(open(&isobar), 0.0);
    // The connection serves others.
    peer.connect_websocket(3, "/").unwrap();
    assert_eq!(peer.end_of(3).unwrap(), End::Status(502));
}

/// Neither is a failure of the server, which would have it ejected.
#[test]
fn a_server_that_takes_no_websockets_is_not_asked() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = before(origin.address(), "http2", "");
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    peer.connect_websocket(1, "/").unwrap();
    assert_eq!(peer.end_of(1).unwrap(), End::Status(501));
    let mut client = Client::connect(isobar.address()).unwrap();
    assert_eq!(client.exchange(REQUEST).unwrap().status, 501);
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
    assert_eq!(isobar.metrics().sum("isobar_server_failures_total", &[]), Some(0.0));
    isobar.comes_to_rest();
}

/// What a server takes is known when it has sent its settings, and a connection that ends before is waited for no longer.
#[test]
fn a_server_that_breaks_off_before_it_says_what_it_takes_fails_at_once() {
    // At once, and within its settings.
    for said in [&b""[..], b"\0\0\x06\x04\0\0\0\0\0\0\x08"] {
        let origin = Origin::raw(move |mut stream| {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface)?;
            stream.write_all(said)
        });
        let isobar = before(
            origin.address(),
            "http2",
            "retry: { attempts: 0 }\ntimeouts: { connect: 10s }",
        );
        let began = Instant::now();
        let mut client = Client::connect(isobar.address()).unwrap();
        assert_eq!(client.exchange(REQUEST).unwrap().status, 502, "{said:?}");
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        peer.connect_websocket(1, "/").unwrap();
        assert_eq!(peer.end_of(1).unwrap(), End::Status(502), "{said:?}");
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{said:?}: {:?}",
            began.elapsed()
        );
        isobar.comes_to_rest();
    }
}

/// To a client of HTTP/2 a success says that the WebSocket is open.
#[test]
fn a_server_that_answers_something_else_opens_nothing() {
    for status in ["200 OK", "204 No Content", "299 What"] {
        let length = if status.starts_with("204") {
            ""
        } else {
            "content-length: 2\r\n"
        };
        let body = if length.is_empty() { "" } else { "ok" };
        let bytes = format!("HTTP/1.1 {status}\r\n{length}\r\n{body}");
        let origin = Origin::answering(bytes, After::Keep);
        let isobar = before(origin.address(), "http1", "");
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        for stream in [1, 3] {
            peer.connect_websocket(stream, "/").unwrap();
            assert_eq!(peer.end_of(stream).unwrap(), End::Status(502), "{status}");
        }
        // To one of HTTP/1 it is what it is.
        let answer = Client::connect(isobar.address()).unwrap().exchange(REQUEST).unwrap();
        assert_eq!(answer.status.to_string(), status[..3]);
        eventually("nothing is open", || open(&isobar) == 0.0);
    }
}

#[test]
fn a_refused_websocket_is_an_ordinary_answer() {
    let origin = Origin::failing(403);
    let isobar = before(origin.address(), "http1", "");
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    for stream in [1, 3] {
        peer.connect_websocket(stream, "/").unwrap();
        // What it says without waiting belongs to nobody.
        peer.frame(
            kind::DATA,
            flags::NONE,
            stream,
            b"GET /admin HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .unwrap();
        assert_eq!(peer.end_of(stream).unwrap(), End::Status(403));
    }
    eventually("both are over", || open(&isobar) == 0.0);
    assert!(
        origin.requests().iter().all(|request| request.target == "/"),
        "{:?}",
        origin.requests()
    );
    let keys = origin.last_request().fields.values("sec-websocket-key").len();
    assert_eq!(keys, 1);
}

/// The time that requests may take does not end a WebSocket; a silence does.
#[test]
fn a_websocket_outlives_the_timeouts_of_requests_and_not_a_silence() {
    let new = Http2Origin::start(Http2Settings {
        websockets: true,
        ..Http2Settings::default()
    });
    let old = agreeing("");
    for (server, address) in [("http1", old.address()), ("http2", new.address())] {
        let isobar = before(address, server, "timeouts: { read: 200ms, send: 200ms, idle: 1200ms }");
        for client in ["http1", "http2"] {
            let mut socket = Socket::connect(client, isobar.address());
            // Longer than a request may take, with less than the silence between two words.
            let began = Instant::now();
            while began.elapsed().as_millis() < 800 {
                socket.say(b"word");
                assert_eq!(socket.hear(4), b"word");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(open(&isobar), 1.0, "{client} to {server}");
            eventually("the silence ends it", || open(&isobar) == 0.0);
            match socket {
                Socket::Http1(mut client) => assert!(client.sees_close()),
                // A word of it, and no orderly end.
                Socket::Http2(mut peer) => assert!(!peer.data_of(1, usize::MAX).unwrap().1),
            }
        }
        let ended = isobar
            .metrics()
            .sum("isobar_route_exchanges_total", &[("cause", "idle_timeout")]);
        assert_eq!(ended, Some(2.0), "{server}");
    }
}

#[test]
fn reloads_and_drains_leave_open_websockets_alone() {
    let new = Http2Origin::start(Http2Settings {
        websockets: true,
        ..Http2Settings::default()
    });
    let configuration = Configuration::to(&[new.address()])
        .upstream("http_version: http2")
        .top("drain_timeout: 20s");
    let mut isobar = binary!().run(&configuration);
    let mut sockets = ["http1", "http2"].map(|version| Socket::connect(version, isobar.address()));
    for priority in ["high", "normal"] {
        isobar.reload(&configuration.clone().listener(format!("priority: {priority}")).yaml());
        for socket in &mut sockets {
            socket.say(b"still there");
            assert_eq!(socket.hear(11), b"still there");
        }
    }
    isobar.signal(Signal::TERM);
    isobar.wait_for_log("drain");
    for socket in &mut sockets {
        socket.say(b"and now");
        assert_eq!(socket.hear(7), b"and now");
        socket.finish();
    }
    assert!(isobar.ends(Duration::from_secs(10)).success());
}
