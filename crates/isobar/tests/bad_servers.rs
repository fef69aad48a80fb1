//! What does a client get when a server misbehaves?

use std::time::{Duration, Instant};

use isobar_testkit::{After, Client, ClosedPort, Configuration, FullPort, Isobar, Origin, binary, eventually, get};

fn before(origin: &Origin) -> Isobar {
    let configuration = Configuration::to(&[origin.address()]);
    binary!().run(&configuration.upstream("timeouts: { connect: 300ms, read: 300ms }\nretry: { attempts: 1 }"))
}

#[test]
fn malformed_answers_are_502() {
    for bytes in [
        "garbage\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0, 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 200 O",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ] {
        let origin = Origin::answering(bytes, After::Close);
        let isobar = before(&origin);
        for request in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
        ] {
            let mut client = Client::connect(isobar.address()).unwrap();
            let answer = client
                .exchange(request)
                .unwrap_or_else(|error| panic!("{bytes:?} {request:?}: {error}"));
            assert_eq!(answer.status, 502, "{bytes:?} {request:?}");
            assert!(
                answer.fields.value("content-length").is_some(),
                "{bytes:?}: {:?}",
                answer.fields
            );
        }
    }
}

#[test]
fn heads_without_end_are_502() {
    for line in [
        format!("x: {}\r\n", "a".repeat(1000)),
        "x: 1\r\n".into(),
        "y".repeat(10_000),
    ] {
        let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &line.repeat(300_000 / line.len());
        let origin = Origin::answering(endless, After::Close);
        let isobar = before(&origin);
        assert_eq!(get(isobar.address(), "/").unwrap().status, 502, "{:?}", &line[..5]);
    }
}

#[test]
fn interim_answers_without_end_are_502() {
    let endless = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n".repeat(20_000);
    let origin = Origin::answering(endless, After::Close);
    let isobar = before(&origin);
    let answer = get(isobar.address(), "/");
    assert!(
        answer.as_ref().map_or(true, |answer| answer.status == 502),
        "{:?}",
        answer.map(|a| a.status)
    );
    eventually("the server is rid of it", || origin.connections_open() == 0);
}

#[test]
fn a_reset_or_close_instead_of_an_answer_is_502() {
    for after in [After::Close, After::Reset] {
        let origin = Origin::answering("", after);
        let isobar = before(&origin);
        assert_eq!(get(isobar.address(), "/").unwrap().status, 502, "{after:?}");
    }
}

#[test]
fn a_server_that_stalls_is_504() {
    let origin = Origin::silent();
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    let start = Instant::now();
    assert_eq!(client.get("/").unwrap().status, 504);
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "{:?} is before the deadline",
        start.elapsed()
    );
    assert_eq!(
        client.get("/").unwrap().status,
        504,
        "the client's connection carries another request"
    );
    eventually("stalled connections are closed", || origin.connections_open() == 0);
}

#[test]
fn a_connection_that_is_never_made_is_504() {
    let full = FullPort::new().unwrap();
    let isobar = binary!().run(&Configuration::to(&[full.address()]).upstream("timeouts: { connect: 300ms }"));
    let start = Instant::now();
    assert_eq!(get(isobar.address(), "/").unwrap().status, 504);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn servers_that_refuse_are_502_or_503() {
    let ports = [ClosedPort::reserve().unwrap(), ClosedPort::reserve().unwrap()];
    let isobar = binary!().run(&Configuration::to(&ports.map(|port| port.address())));
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..3 {
        assert!(matches!(client.get("/").unwrap().status, 502 | 503));
    }
}

#[test]
fn an_unresolvable_name_is_a_server_that_is_down_and_not_the_process() {
    let origin = Origin::named("a");
    let configuration = Configuration::to(&[origin.address()]).server("\"no-such-host.invalid:80\"");
    let isobar = binary!().run(&configuration.upstream("retry: { attempts: 1 }"));
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..10 {
        assert_eq!(client.get("/").unwrap().text(), "a");
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_off_as_whole() {
    for (bytes, after) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", After::Close),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", After::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", After::Stall),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            After::Close,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            After::Stall,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n0\r\n\r\n",
            After::Keep,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n4\r\nlonger\r\n0\r\n\r\n",
            After::Keep,
        ),
    ] {
        let origin = Origin::answering(bytes, after);
        let isobar = before(&origin);
        match get(isobar.address(), "/") {
            Err(error) => assert!(
                !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
                "{bytes:?} {after:?}: the client hangs"
            ),
            Ok(answer) => assert_eq!(answer.status, 502, "{bytes:?} {after:?}: the client takes it for whole"),
        }
        eventually("the server's connection is closed", || origin.connections_open() == 0);
    }
}

#[test]
fn what_follows_an_answer_is_not_another_answer() {
    // Bytes nobody asked for on a kept connection would answer the next client's request.
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned",
        After::Keep,
    );
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().text(), "ok");
    }
}

#[test]
fn a_server_that_is_slow_but_moves_is_not_cut() {
    let origin = Origin::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")?;
        exchange
            .send_in_pieces("12345678", 1, Duration::from_millis(100))
            .map(|()| After::Keep)
    });
    let isobar = before(&origin);
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "12345678");
}

#[test]
fn a_client_that_goes_frees_its_server() {
    let origin = Origin::silent();
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let in_flight = || isobar.metrics().sum("isobar_server_in_flight", &[]);
    eventually("the server has the request", || in_flight() == Some(1.0));
    client.reset().unwrap();
    eventually("the server's place is free", || in_flight() == Some(0.0));
    eventually("the server's connection is closed", || origin.connections_open() == 0);
}
