//! Do curl and others get what they ask for, whichever way they speak to the proxy?

use std::io::Write as _;
use std::net::Shutdown;

use isobar_testkit::serde_json::Value;
use isobar_testkit::{
    After, Authority, Client, Origin, TlsConduct, TlsServer, Validity, curl, eventually, noise, rest, tungstenite,
    wait_for, websocket,
};

use crate::{HERE, connect, expect, line_with, run, socks, tunnel};

#[test]
fn curl_gets_through_in_every_way_with_tls_verified_end_to_end() {
    let authority = Authority::new();
    let certified = authority.certify("localhost", Validity::Now);
    let secured = TlsServer::start(&certified, TlsConduct::Answers, None);
    let plain = Origin::named("plain");
    let isobar = run(HERE);
    let proxy = |scheme: &str| format!("{scheme}://{}", isobar.address());
    let ca = authority.file();
    let at = |port: u16, scheme: &str| format!("{scheme}://localhost:{port}/");
    let (https, http) = (
        at(secured.address().port(), "https"),
        at(plain.address().port(), "http"),
    );
    for scheme in ["http", "socks5", "socks5h"] {
        let answer = curl(&["--proxy", &proxy(scheme), "--cacert", ca.to_str().unwrap(), &https]);
        assert_eq!(
            (answer.exit, answer.body.as_slice()),
            (0, b"good".as_slice()),
            "{scheme}"
        );
        // It is curl that looks at the certificate, and it is the server's.
        let answer = curl(&["--proxy", &proxy(scheme), &https]);
        assert_eq!(answer.exit, 60, "{scheme}");
        let answer = curl(&["--proxy", &proxy(scheme), &http]);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"plain".as_slice()),
            "{scheme}"
        );
        let answer = curl(&["--proxy", &proxy(scheme), "--proxytunnel", &http]);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"plain".as_slice()),
            "{scheme}"
        );
    }
    let host = format!("localhost:{}", secured.address().port());
    let line = wait_for("the line of a tunnel", || {
        let is_it = |line: &Value| line["method"] == "CONNECT" && line["host"] == host.as_str();
        isobar.access_lines(1).into_iter().find(is_it)
    });
    let expected = [
        ("server", Value::from(secured.address().to_string())),
        ("route", "here".into()),
        ("status", 200.into()),
        ("upgraded", true.into()),
        ("user", Value::Null),
        ("protocol", "HTTP/1.1".into()),
    ];
    for (key, value) in expected {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert!(
        line["bytes_out"].as_u64() > Some(500) && line["bytes_in"].as_u64() > Some(200),
        "{line}"
    );
    assert_eq!(line_with(&isobar, "protocol", "SOCKS5")["route"], "here");
    let line = line_with(&isobar, "method", "GET");
    assert_eq!(
        (&line["target"], &line["bytes_out"]),
        (&"/".into(), &5.into()),
        "{line}"
    );
    eventually("the tunnels are counted, and none is open", || {
        let metrics = isobar.metrics();
        let labels = [("route", "here"), ("cause", "complete")];
        metrics.sum("isobar_route_exchanges_total", &labels) >= Some(3.0)
            && metrics.sum("isobar_route_upgraded_connections", &[]) == Some(0.0)
    });
}

/// Servers see a request as if the client had sent it to them, and nothing of the way it came.
#[test]
fn destinations_learn_nothing_of_the_way() {
    let origin = Origin::echo();
    let sent = |proxy: &str| {
        let isobar = run(&format!("{HERE}\n{proxy}"));
        let to = origin.address();
        let request = format!(
            "POST http://{to}/a?b=c HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: Basic YTpi\r\n\
             Proxy-Connection: keep-alive\r\nConnection: x-own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nX-Kept: 2\r\nVia: 1.1 before\r\n\
             X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX_Forwarded_For: 192.0.2.2\r\n\
             Content-Length: 4\r\n\r\nbody"
        );
        let mut client = Client::connect(isobar.address()).unwrap();
        assert_eq!(client.exchange(request).unwrap().status, 200);
        let seen = origin.last_request();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a?b=c"));
        assert_eq!(seen.body, b"body");
        let fields = seen
            .fields
            .0
            .iter()
            .map(|(name, value)| format!("{}: {value}", name.to_lowercase()));
        let mut fields: Vec<_> = fields.collect();
        fields.sort();
        fields.join("\n").replace(&to.to_string(), "SERVER")
    };
    assert_eq!(sent(""), "content-length: 4\nhost: SERVER\nx-kept: 2");
    assert_eq!(
        sent("via: true\nforwarded_for: true"),
        "content-length: 4\nforwarded: for=192.0.2.1\nhost: SERVER\nvia: 1.1 before, 1.1 isobar\n\
         x-forwarded-for: 192.0.2.1, 127.0.0.1\nx-kept: 2\nx-real-ip: 192.0.2.1"
    );
}

/// One connection of a client goes to several destinations, and a connection to one of them is kept for the next request there.
#[test]
fn requests_of_one_connection_go_where_each_wants() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let isobar = run(HERE);
    let mut client = Client::connect(isobar.address()).unwrap();
    for (origin, name) in [(&a, "a"), (&a, "a"), (&b, "b"), (&a, "a")] {
        let to = origin.address();
        let answer = client
            .exchange(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n"))
            .unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, name));
    }
    assert_eq!((a.connections_accepted(), b.connections_accepted()), (2, 1));
    // A connection that has ended meanwhile is replaced, and the client does not notice.
    a.close_connections();
    eventually("the connections are closed", || a.connections_open() == 0);
    let to = a.address();
    let answer = client
        .exchange(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n"))
        .unwrap();
    assert_eq!(answer.text(), "a");
    // Several at once are answered in their order.
    let each = |origin: &Origin| format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address());
    client.send([each(&a), each(&b), each(&b), each(&a)].concat()).unwrap();
    let answers = [(); 4].map(|()| client.receive().unwrap().text());
    assert_eq!(answers, ["a", "b", "b", "a"]);
    drop(client);
    assert_eq!(isobar.access_lines(9).len(), 9);
}

#[test]
fn bodies_go_both_ways_whatever_their_framing() {
    let origin = Origin::start(|exchange| {
        let body = exchange.body()?;
        if exchange.request.target == "/chunked" {
            exchange.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for piece in body.chunks(70_000) {
                exchange.send(format!("{:x}\r\n", piece.len()))?;
                exchange.send(piece)?;
                exchange.send("\r\n")?;
            }
            exchange.send("0\r\nx-trailer: 1\r\n\r\n")?;
            return Ok(After::Keep);
        }
        if exchange.request.target == "/close" {
            exchange.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            exchange.send(&body)?;
            return Ok(After::Close);
        }
        exchange.reply(200, &[], &body)
    });
    let isobar = run(HERE);
    let to = origin.address();
    let sent = noise(3 << 20, 1);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &sent).unwrap();
    let data = format!("@{}", file.path().display());
    let proxy = format!("http://{}", isobar.address());
    for path in ["/length", "/chunked", "/close"] {
        for framing in ["Transfer-Encoding: chunked", "X-Length: yes", "Expect: 100-continue"] {
            for version in ["--http1.1", "--http1.0"] {
                if version == "--http1.0" && framing.contains("chunked") {
                    // It has no chunks.
                    continue;
                }
                let url = format!("http://{to}{path}");
                let answer = curl(&["-x", &proxy, version, "--data-binary", &data, "-H", framing, &url]);
                assert_eq!((answer.exit, answer.status), (0, 200), "{path} {framing} {version}");
                assert!(answer.body == sent, "{path} {framing} {version}: {}", answer.body.len());
            }
        }
    }
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = format!(
        "POST http://{to}/chunked HTTP/1.1\r\nHost: {to}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 2\r\n\r\n"
    );
    let answer = client.exchange(request).unwrap();
    assert_eq!(
        (answer.body.as_slice(), answer.trailers.value("x-trailer")),
        (b"abc".as_slice(), Some("1"))
    );
    assert_eq!(origin.last_request().trailers.value("x-t"), Some("2"));
    let answer = client.exchange(format!("HEAD http://{to}/length HTTP/1.1\r\nHost: {to}\r\n\r\n"));
    assert_eq!(answer.map(|answer| answer.status).ok(), Some(200));
}

/// What clients send right behind their request, without waiting, reaches the server; so does what each side says last.
#[test]
fn early_bytes_and_half_closed_tunnels() {
    let late = isobar_testkit::TcpServer::start(|mut stream| {
        let sent = rest(&mut stream);
        stream.write_all(&sent)
    });
    let isobar = run(HERE);
    let to = late.address();
    let connect_head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nContent-Length: 5\r\n\r\n");
    for (head, told) in [
        (
            connect_head.into_bytes(),
            "HTTP/1.1 200 Connection established\r\n\r\n".len(),
        ),
        (socks(to), 2 + 10),
    ] {
        let mut client = connect(&isobar);
        let sent = noise(200_000, 3);
        client.write_all(&[head, sent.clone()].concat()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let found = rest(&mut client);
        assert!(found[told..] == sent, "{} bytes", found.len());
    }
    let both = isobar.access_lines(2);
    assert!(
        both.iter()
            .all(|line| line["bytes_in"] == 200_000 && line["bytes_out"] == 200_000),
        "{both:?}"
    );
}

#[test]
fn websockets_are_opened_through_absolute_form() {
    let echo = websocket::websocket_echo();
    let isobar = run(HERE);
    let to = echo.address();
    // The library speaks to the server; what the proxy needs to see is put into the first line.
    let mut stream = connect(&isobar);
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        stream,
        "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut socket = tungstenite::WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Client, None);
    for text in ["a", &"b".repeat(100_000)] {
        socket.send(tungstenite::Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), text);
    }
    drop(socket);
    let line = line_with(&isobar, "method", "GET");
    assert_eq!(
        (&line["status"], &line["upgraded"]),
        (&101.into(), &true.into()),
        "{line}"
    );
}

#[test]
fn the_pac_file_leads_to_the_proxy() {
    let isobar = run("pac: /proxy.pac");
    let answer = isobar_testkit::get(isobar.address(), "/proxy.pac").unwrap();
    assert_eq!(
        answer.fields.value("content-type"),
        Some("application/x-ns-proxy-autoconfig")
    );
    let way = format!("return \"PROXY {}\";", isobar.address());
    assert!(answer.text().contains(&way), "{}", answer.text());
    for path in ["/", "/other.pac", "/proxy.pac?x"] {
        let answer = isobar_testkit::get(isobar.address(), path).unwrap();
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("this is a proxy"), "{}", answer.text());
    }
    let isobar = run("pac: { path: /wpad.dat, address: \"proxy.example:8080\" }");
    let answer = isobar_testkit::get(isobar.address(), "/wpad.dat").unwrap();
    assert!(
        answer.text().contains("return \"PROXY proxy.example:8080\";"),
        "{}",
        answer.text()
    );
}

/// Servers that speak first are heard, and a tunnel ends when both sides have ended it.
#[test]
fn tunnels_carry_what_they_are_given() {
    let server = isobar_testkit::TcpServer::echo("hello ");
    let isobar = run(HERE);
    let mut client = tunnel(&isobar, server.address());
    expect(&mut client, "hello ");
    client.write_all(b"world").unwrap();
    expect(&mut client, "world");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    let line = line_with(&isobar, "method", "CONNECT");
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"], &line["cause"]),
        (&5.into(), &11.into(), &"complete".into())
    );
}

/// A listener speaks what it is told to, and nothing else.
#[test]
fn what_is_not_spoken_is_refused() {
    let origin = Origin::named("a");
    let to = origin.address();
    let url = format!("http://{to}/");
    let tried = |isobar: &isobar_testkit::Isobar, scheme: &str| {
        let answer = curl(&["--proxy", &format!("{scheme}://{}", isobar.address()), &url]);
        answer.status
    };
    let isobar = run(&format!("{HERE}\nspeaks: http"));
    assert_eq!((tried(&isobar, "http"), tried(&isobar, "socks5")), (200, 0));
    let isobar = run(&format!("{HERE}\nspeaks: socks5"));
    assert_eq!((tried(&isobar, "http"), tried(&isobar, "socks5")), (0, 200));
    let line = line_with(&isobar, "cause", "socks_malformed");
    assert_eq!(line["detail"], "the client does not speak SOCKS 5");
}
