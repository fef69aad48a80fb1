//! Are clients that speak gRPC-Web answered by servers that speak gRPC?
//!
//! The servers are Python's grpcio; requests are made by hand, and text is read by another decoder than Isobar's.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isobar_testkit::http2::{Asked, fetch};
use isobar_testkit::{After, Client, ClosedPort, Configuration, Fields, GrpcServer, Isobar, Origin, binary};

/// To these servers, which speak HTTP/2.
fn configuration(servers: &[&GrpcServer]) -> Configuration {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    Configuration::to(&addresses)
        .upstream("http_version: http2\nbalance: round_robin")
        .routes("- { upstream: web, grpc_web: true }")
        .top("access_log: { path: access.log, format: json }")
}

fn start(server: &GrpcServer) -> Isobar {
    binary!().run(&configuration(&[server]))
}

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

/// A message with its prefix.
fn frame(message: impl AsRef<[u8]>) -> Vec<u8> {
    let message = message.as_ref();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// Messages as this content type has them: text with padding behind each.
fn spelled(content_type: &str, messages: &[&[u8]]) -> Vec<u8> {
    let frames = messages.iter().map(frame);
    match content_type.contains("-text") {
        true => frames.map(|frame| STANDARD.encode(frame)).collect::<String>().into(),
        false => frames.collect::<Vec<_>>().concat(),
    }
}

/// What a call came to.
#[derive(Debug, Default)]
struct Told {
    status: u16,
    fields: Fields,
    messages: Vec<Vec<u8>>,
    trailers: Fields,
}

impl Told {
    #[track_caller]
    fn new(status: u16, fields: Fields, body: &[u8]) -> Self {
        let is_text = fields
            .value("content-type")
            .is_some_and(|value| value.contains("-text"));
        let body = match is_text {
            true => text(body),
            false => body.to_vec(),
        };
        let (mut messages, mut trailers) = (Vec::new(), None);
        let mut rest = body.as_slice();
        while let Some((prefix, behind)) = rest.split_first_chunk::<5>() {
            let [flag, length @ ..] = *prefix;
            let (frame, behind) = behind.split_at(usize::try_from(u32::from_be_bytes(length)).unwrap());
            assert!(trailers.is_none(), "something follows the trailers");
            match flag {
                0 => messages.push(frame.to_vec()),
                0x80 => trailers = Some(lines_of(frame)),
                other => panic!("a frame of kind {other}"),
            }
            rest = behind;
        }
        assert!(rest.is_empty(), "a part of a frame");
        Self {
            status,
            fields,
            messages,
            trailers: trailers.unwrap_or_default(),
        }
    }

    fn code(&self) -> &str {
        self.trailers.value("grpc-status").unwrap_or("none")
    }

    fn message(&self) -> &str {
        self.trailers.value("grpc-message").unwrap_or_default()
    }
}

/// What text says, which is padded in any place.
#[track_caller]
fn text(body: &[u8]) -> Vec<u8> {
    let groups: Vec<_> = body.chunks(4).collect();
    let padded = groups.split_inclusive(|group| group.ends_with(b"="));
    padded
        .flat_map(|groups| STANDARD.decode(groups.concat()).unwrap())
        .collect()
}

#[track_caller]
fn lines_of(frame: &[u8]) -> Fields {
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let text = text.strip_suffix("\r\n").unwrap();
    let lines = text.split("\r\n").map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(name, name.to_ascii_lowercase());
        (name.to_owned(), value.to_owned())
    });
    Fields(lines.collect())
}

/// Asks over HTTP/1.1, with more fields.
#[track_caller]
fn over_http1(client: &mut Client, method: &str, fields: &[(&str, &str)], body: &[u8]) -> Told {
    let mut head = format!(
        "POST /test.Calls/{method} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in fields {
        head.extend([name, ": ", value, "\r\n"]);
    }
    client.send([head.as_bytes(), b"\r\n", body].concat()).unwrap();
    received(client)
}

#[track_caller]
fn received(client: &mut Client) -> Told {
    let response = client.receive().unwrap();
    assert_eq!(response.trailers, Fields::default());
    Told::new(response.status, response.fields, &response.body)
}

/// Asks over HTTP/2, with more fields.
#[track_caller]
fn over_http2(address: SocketAddr, method: &str, fields: &[(&str, &str)], body: &[u8]) -> Told {
    let path = format!("/test.Calls/{method}");
    let asked = Asked {
        method: "POST",
        path: &path,
        fields,
        body,
        trailers: &[],
    };
    let got = fetch(address, &asked).unwrap();
    assert_eq!(got.trailers, Fields::default());
    Told::new(got.status, got.fields, &got.body)
}

/// Makes a call in each spelling over each version.
#[track_caller]
fn in_every_way(isobar: &Isobar, method: &str, messages: &[&[u8]], check: impl Fn(&Told)) {
    let mut client = Client::connect(isobar.address()).unwrap();
    for content_type in [BINARY, TEXT, "application/grpc-web", "application/grpc-web-text"] {
        let fields = [
            ("content-type", content_type),
            ("x-grpc-web", "1"),
            ("accept", content_type),
        ];
        let body = spelled(content_type, messages);
        for told in [
            over_http1(&mut client, method, &fields, &body),
            over_http2(isobar.address(), method, &fields, &body),
        ] {
            assert_eq!(told.status, 200, "{told:?}");
            assert_eq!(told.fields.value("content-type"), Some(content_type), "{told:?}");
            assert_eq!(told.fields.value("grpc-status"), None, "{told:?}");
            check(&told);
        }
    }
}

#[test]
fn calls_are_answered_in_the_spelling_they_were_made_in() {
    let server = GrpcServer::start("a");
    let isobar = start(&server);
    in_every_way(&isobar, "Unary", &[b"hello"], |told| {
        assert_eq!(told.messages, [b"hello"]);
        assert_eq!(told.fields.value("began"), Some("a"));
        let trailer = |name| told.trailers.value(name);
        assert_eq!(
            (told.code(), trailer("who"), trailer("who-bin")),
            ("0", Some("a"), Some("AP8"))
        );
    });
    in_every_way(&isobar, "Count", &[b"4 0"], |told| {
        assert_eq!((told.code(), told.messages.concat()), ("0", b"0123".to_vec()));
    });
    in_every_way(&isobar, "Total", &[b"12", b"", b"345"], |told| {
        assert_eq!((told.code(), told.messages.concat()), ("0", b"5".to_vec()));
    });
    // Trailers alone, and trailers behind the beginning of an answer.
    for method in ["Unary", "Late"] {
        in_every_way(&isobar, method, &[b"fail FAILED_PRECONDITION"], |told| {
            assert_eq!((told.code(), told.messages.len()), ("9", 0));
            assert_eq!(told.message(), "100 %25 failed: na%C3%AFve");
        });
    }
    isobar.comes_to_rest();
    let metrics = isobar.metrics();
    for (status, calls) in [("ok", 24.0), ("failed_precondition", 16.0)] {
        for name in ["isobar_route_grpc_calls_total", "isobar_server_grpc_calls_total"] {
            assert_eq!(
                metrics.sum(name, &[("grpc_status", status)]),
                Some(calls),
                "{name} {status}"
            );
        }
    }
    let lines = isobar.access_lines(40);
    assert_eq!(lines.iter().filter(|line| line["grpc_status"] == "ok").count(), 24);
}

#[test]
fn what_is_accepted_says_how_the_answer_is_spelled() {
    let server = GrpcServer::start("a");
    let isobar = start(&server);
    let check = |asked: &str, accept: &str, answered: &str| {
        let mut client = Client::connect(isobar.address()).unwrap();
        let fields = [("content-type", asked), ("accept", accept)];
        let told = over_http1(&mut client, "Unary", &fields, &spelled(asked, &[b"x"]));
        assert_eq!(told.fields.value("content-type"), Some(answered), "{asked} {accept}");
        assert_eq!(told.messages, [b"x"]);
    };
    check(BINARY, "text/html, application/grpc-web-text", TEXT);
    check(TEXT, "application/grpc-web", BINARY);
    check(TEXT, "*/*", TEXT);
}

#[test]
fn text_may_be_cut_anywhere() {
    let server = GrpcServer::start("a");
    let isobar = start(&server);
    let bytes = frame(b"some message");
    let head = format!("POST /test.Calls/Unary HTTP/1.1\r\nHost: a\r\nContent-Type: {TEXT}\r\n");
    for size in 1..=bytes.len() {
        // Groups that are padded behind every few bytes, in chunks that end within groups.
        let text: String = bytes.chunks(size).map(|piece| STANDARD.encode(piece)).collect();
        let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        for chunk in text.as_bytes().chunks(size + 4) {
            chunked += &format!("{:x}\r\n{}\r\n", chunk.len(), str::from_utf8(chunk).unwrap());
        }
        chunked += "0\r\n\r\n";
        let length = format!("{head}Content-Length: {}\r\n\r\n{text}", text.len());
        // What follows on the connection are requests like any other.
        let all = [chunked.as_str(), &length, &chunked].concat();
        let mut client = Client::connect(isobar.address()).unwrap();
        client.send_in_pieces(all, size * 7, Duration::ZERO).unwrap();
        for _ in 0..3 {
            let told = received(&mut client);
            assert_eq!(
                (told.code(), told.messages.concat()),
                ("0", b"some message".to_vec()),
                "{size}"
            );
        }
    }
}

#[test]
fn messages_arrive_as_they_come() {
    let server = GrpcServer::start("a");
    let isobar = start(&server);
    for content_type in [BINARY, TEXT] {
        let mut client = Client::connect(isobar.address()).unwrap();
        let head = format!(
            "POST /test.Calls/Chat HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        client.send(head).unwrap();
        for turn in 0..3 {
            // Each message is sent when the one before it has been answered.
            let message = spelled(content_type, &[b"abcd"]);
            let chunk = [format!("{:x}\r\n", message.len()).as_bytes(), &message, b"\r\n"].concat();
            client.send(&chunk).unwrap();
            if turn == 0 {
                assert_eq!(client.receive_head().unwrap().status, 200);
            }
            assert_eq!(client.receive_bytes(chunk.len()).unwrap(), chunk, "{content_type}");
        }
        client.send("0\r\n\r\n").unwrap();
        let rest = wait_for_end(&mut client);
        let (_, body) = rest.split_once("\r\n").unwrap();
        let (body, _) = body.split_once("\r\n0\r\n").unwrap();
        let body = match content_type {
            TEXT => text(body.as_bytes()),
            _ => body.as_bytes().to_vec(),
        };
        assert!(String::from_utf8_lossy(&body).contains("grpc-status: 0\r\n"), "{rest}");
    }
}

/// Everything up to the end of a body of chunks.
fn wait_for_end(client: &mut Client) -> String {
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n0\r\n\r\n") {
        rest.extend(client.receive_bytes(1).unwrap());
    }
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn large_messages_wait_for_clients_that_take_their_time() {
    let server = GrpcServer::start("a");
    let isobar = start(&server);
    in_every_way(&isobar, "Big", &[b"5"], |told| {
        assert_eq!((told.code(), told.messages.len()), ("0", 5));
        assert!(told.messages.iter().all(|message| *message == vec![0; 1 << 20]));
    });
    let big: Vec<u8> = (0..1_000_003_u32).map(|index| (index % 251) as u8).collect();
    in_every_way(&isobar, "Unary", &[&big], |told| {
        assert_eq!(told.code(), "0");
        assert!(told.messages == [big.clone()]);
    });
    isobar.comes_to_rest();
}

#[test]
fn what_is_no_text_is_refused_in_words_of_grpc() {
    let server = GrpcServer::start("a");
    let isobar = start(&server);
    let check = |method: &str, begin: &str, more: &str, problem: &str| {
        let mut client = Client::connect(isobar.address()).unwrap();
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let head = format!(
            "POST /test.Calls/{method} HTTP/1.1\r\nHost: a\r\nContent-Type: {TEXT}\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            chunk(begin)
        );
        let called = server.said("called");
        client.send(head).unwrap();
        if !more.is_empty() {
            // The server has the beginning.
            server.says("called", called + 1);
            client.send(more).unwrap();
        }
        let told = received(&mut client);
        assert_eq!((told.status, told.code()), (200, "13"), "{told:?}");
        let message = told.message();
        assert!(
            message.starts_with("client_malformed: ") && message.contains(problem),
            "{message}"
        );
    };
    let message = STANDARD.encode(frame("x"));
    check("Unary", "AAAA*AAA", "", "not base64");
    check("Unary", "=AAA", "", "padding");
    check("Total", &message, "2\r\nA-\r\n", "not base64");
    check("Total", &message, "3\r\nAAA\r\n0\r\n\r\n", "ends within a group");
    let lines = isobar.access_lines(4);
    let refused = lines
        .iter()
        .filter(|line| line["cause"] == "client_malformed" && line["grpc_status"] == "internal");
    assert_eq!(refused.count(), 4);
    isobar.comes_to_rest();
}

#[test]
fn calls_are_sent_again() {
    let servers = ["a", "b"].map(GrpcServer::start);
    let isobar = binary!().run(
        &configuration(&[&servers[0], &servers[1]])
            .upstream("retry: { on: [unavailable], budget: none }\noutlier_detection: none\nslow_start: none"),
    );
    in_every_way(&isobar, "Unary", &[b"fail UNAVAILABLE a"], |told| {
        assert_eq!(
            (told.code(), told.messages.concat()),
            ("0", b"fail UNAVAILABLE a".to_vec())
        );
    });
    let failed = servers[0].said("failed");
    assert!(failed > 0);
    let retries = isobar
        .metrics()
        .sum("isobar_upstream_retries_total", &[("reason", "status")])
        .unwrap();
    assert!(
        (retries - f64::from(u32::try_from(failed).unwrap())).abs() < 0.5,
        "{retries}"
    );
}

#[test]
fn failures_of_isobars_own_are_told_in_a_frame() {
    let nobody = ClosedPort::reserve().unwrap();
    let isobar = binary!().run(
        &Configuration::to(&[nobody.address()])
            .upstream("http_version: http2")
            .routes("- { upstream: web, grpc_web: true }"),
    );
    in_every_way(&isobar, "Left", &[b""], |told| {
        assert_eq!(told.code(), "14");
        assert!(told.message().starts_with("connect_failed: "), "{told:?}");
    });
    let server = GrpcServer::start("a");
    let isobar = binary!().run(
        &Configuration::to(&[server.address()])
            .upstream("http_version: http2")
            .listener("limits: { max_body_bytes: 1KiB }")
            // The server would keep the deadline as well, if it was told.
            .routes("- { upstream: web, grpc_web: true, request_headers: { remove: [grpc-timeout] } }"),
    );
    for content_type in [BINARY, TEXT] {
        let body = spelled(content_type, &[b"2 20"]);
        let fields = [("content-type", content_type), ("grpc-timeout", "300m")];
        for (method, messages) in [("Hang", 0), ("Count", 1)] {
            let mut client = Client::connect(isobar.address()).unwrap();
            for told in [
                over_http1(&mut client, method, &fields, &body),
                over_http2(isobar.address(), method, &fields, &body),
            ] {
                assert_eq!((told.code(), told.messages.len()), ("4", messages), "{told:?}");
                assert!(told.message().starts_with("client_deadline: "), "{told:?}");
            }
        }
        let mut client = Client::connect(isobar.address()).unwrap();
        let told = over_http1(&mut client, "Unary", &fields, &spelled(content_type, &[&[b'x'; 5000]]));
        assert_eq!((told.status, told.code()), (200, "8"), "{told:?}");
    }
    server.says("cancelled Hang", 4);
    isobar.comes_to_rest();
}

#[test]
fn other_requests_and_other_routes_are_left_as_they_are() {
    let origin = Origin::start(|exchange| {
        let seen = exchange
            .request
            .fields
            .value("content-type")
            .unwrap_or_default()
            .to_owned();
        let body = exchange.body()?;
        let text = format!("{seen} {}", String::from_utf8_lossy(&body));
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ))?;
        Ok(After::Keep)
    });
    let server = GrpcServer::start("a");
    let isobar = binary!().run(
        &Configuration::to(&[server.address()])
            .upstream("http_version: http2")
            .routes(
                "- { match: { path: /http1 }, upstream: http1, grpc_web: true }\n- { match: { path: /off }, upstream: web }\n\
                 - { upstream: web, grpc_web: true }",
            )
            .another_upstream("http1", origin.address()),
    );
    let mut client = Client::connect(isobar.address()).unwrap();
    let ask = |client: &mut Client, path: &str, content_type: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: 4\r\n\r\nAAAA");
        client.exchange(head).unwrap()
    };
    assert_eq!(ask(&mut client, "/http1", TEXT).text(), format!("{TEXT} AAAA"));
    // gRPC's servers know nothing of it.
    for (path, content_type) in [("/off", TEXT), ("/test.Calls/Unary", "text/plain")] {
        let answer = ask(&mut client, path, content_type);
        assert_ne!(answer.fields.value("content-type"), Some(TEXT), "{answer:?}");
    }
    // Also on a connection that carried a call before.
    let fields = [("content-type", TEXT)];
    let told = over_http1(&mut client, "Unary", &fields, &spelled(TEXT, &[b"x"]));
    assert_eq!(told.messages, [b"x"]);
    assert_eq!(ask(&mut client, "/http1", BINARY).text(), format!("{BINARY} AAAA"));
}
