//! Do WebSockets and other upgrades pass untouched?

use std::io::{Read, Write};

use isobar_testkit::tungstenite::protocol::CloseFrame;
use isobar_testkit::tungstenite::protocol::frame::coding::CloseCode;
use isobar_testkit::tungstenite::{Bytes, Error, Message};
use isobar_testkit::websocket::{PythonEcho, connect, python_client, was_cut, websocket_echo};
use isobar_testkit::{After, Client, Configuration, Isobar, Origin, binary, eventually, noise};

fn before(origin: &Origin) -> Isobar {
    binary!().run(&Configuration::to(&[origin.address()]))
}

#[test]
fn messages_of_every_kind_come_back() {
    let origin = websocket_echo();
    let isobar = before(&origin);
    let mut socket = connect(isobar.address(), "/chat").unwrap();
    for message in [
        Message::text("grüße"),
        Message::text(""),
        Message::binary(noise(1 << 20, 1)),
        Message::binary(noise(8 << 20, 2)),
        Message::text("last"),
    ] {
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "another message came back");
    }
    socket
        .send(Message::Ping(Bytes::from_static(b"are you there")))
        .unwrap();
    assert_eq!(
        socket.read().unwrap(),
        Message::Pong(Bytes::from_static(b"are you there"))
    );
}

#[test]
fn programs_of_another_make_find_nothing_wrong() {
    let echo = PythonEcho::start();
    let isobar = binary!().run(&Configuration::to(&[echo.address()]));
    for compression in ["plain", "deflate"] {
        assert_eq!(python_client(isobar.address(), compression), Ok(()), "{compression}");
    }
    eventually("both are over, and counted", || {
        let metrics = isobar.metrics();
        let open = metrics.sum("isobar_route_upgraded_connections", &[]);
        (open, metrics.sum("isobar_route_upgrades_total", &[])) == (Some(0.0), Some(2.0))
    });
}

#[test]
fn close_codes_pass_both_ways() {
    let origin = websocket_echo();
    let isobar = before(&origin);
    let mut socket = connect(isobar.address(), "/").unwrap();
    let frame = CloseFrame {
        code: CloseCode::Library(4321),
        reason: "done here".into(),
    };
    socket.close(Some(frame.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(frame)));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    eventually("the server's connection ends too", || origin.connections_open() == 0);
}

#[test]
fn the_end_of_one_side_reaches_the_other() {
    let origin = websocket_echo();
    let isobar = before(&origin);
    drop(connect(isobar.address(), "/").unwrap());
    eventually("the server sees its client go", || origin.connections_open() == 0);
    let mut socket = connect(isobar.address(), "/").unwrap();
    origin.close_connections();
    assert!(was_cut(&socket.read().unwrap_err()));
}

#[test]
fn an_idle_tunnel_is_closed_after_its_timeout() {
    let origin = websocket_echo();
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream("timeouts: { idle: 300ms }"));
    let mut socket = connect(isobar.address(), "/").unwrap();
    socket.send(Message::text("alive")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("alive"));
    assert!(was_cut(&socket.read().unwrap_err()));
    eventually("the server's connection ends too", || origin.connections_open() == 0);
}

#[test]
fn a_tunnel_in_which_one_side_is_silent_is_closed_as_asked() {
    let origin = websocket_echo();
    let configuration = Configuration::to(&[origin.address()])
        .upstream("timeouts: { idle: 60s, client_idle: 300ms }")
        .top("access_log: { path: access.log, format: json }");
    let isobar = binary!().run(&configuration);
    let mut socket = connect(isobar.address(), "/").unwrap();
    assert!(was_cut(&socket.read().unwrap_err()));
    eventually("it is written down", || {
        let log = std::fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        log.contains(r#""cause":"client_idle_timeout""#)
    });
}

#[test]
fn other_protocols_upgrade_too_and_early_bytes_are_kept() {
    let origin = Origin::raw(|mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\nHELLO")?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes.to_ascii_uppercase())
    });
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
    let answer = client.exchange(request).unwrap();
    assert_eq!((answer.status, answer.fields.value("upgrade")), (101, Some("shout")));
    assert_eq!(client.receive_bytes(5).unwrap(), b"HELLO");
    client.send("world").unwrap();
    assert_eq!(client.rest().unwrap(), b"WORLD");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", After::Keep);
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(client.exchange(request).unwrap().text(), "no");
    }
    assert_eq!(client.get("/").unwrap().text(), "no");
}

#[test]
fn nothing_is_tunnelled_before_the_server_agrees() {
    // A request hidden behind an upgrade that the server refuses must meet the proxy's rules, not the server (RFC 9110 7.8).
    let origin = Origin::named("a");
    let isobar =
        binary!().run(&Configuration::to(&[origin.address()]).routes("- { match: { path: /open/* }, upstream: web }"));
    let mut client = Client::connect(isobar.address()).unwrap();
    client
        .send(
            "GET /open/x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n\
             GET /closed HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.receive().unwrap().status, 200);
    assert_eq!(client.receive().unwrap().status, 404);
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.target.starts_with("/open/"))
    );
}
