//! What do very many tunnels cost, what ends them, and who can wear the proxy down?

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use isobar_testkit::{Origin, PATIENCE, Signal, TcpServer, answer_to, echo, eventually, noise, rest};

use crate::{HERE, connect, expect, line_with, run, run_text, socks, tunnel, with_listener, yaml};

/// 1,000 idle and 200 busy tunnels for a minute; then descriptors and memory are back where they were.
#[test]
fn very_many_tunnels_leave_nothing_behind() {
    const IDLE: usize = 1000;
    const BUSY: usize = 200;
    /// What the busy ones move in any time, in bytes.
    const ENOUGH: u64 = 10 << 20;
    let server = TcpServer::start(|stream| {
        // It has the patience of its peers.
        stream.set_read_timeout(None)?;
        echo("")(stream)
    });
    let isobar = run(&format!("{HERE}\ntimeouts: {{ idle: 5m }}"));
    let to = server.address();
    let round = |seconds: u64| {
        let idle: Vec<_> = (0..IDLE)
            .map(|index| match index % 2 {
                0 => tunnel(&isobar, to),
                _ => {
                    let mut client = connect(&isobar);
                    client.write_all(&socks(to)).unwrap();
                    let mut answer = [0; 12];
                    client.read_exact(&mut answer).unwrap();
                    client
                }
            })
            .collect();
        let busy: Vec<_> = (0..BUSY).map(|_| tunnel(&isobar, to)).collect();
        let (stop, moved) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            // As many threads as there are machines' cores to spare, each with its share of the tunnels.
            for share in busy.chunks(25) {
                let (stop, moved) = (&stop, &moved);
                scope.spawn(move || carry(share, stop, moved));
            }
            let until = Instant::now() + Duration::from_secs(seconds);
            let few = || moved.load(Ordering::Relaxed) <= ENOUGH && Instant::now() < until + PATIENCE;
            while Instant::now() < until || few() {
                std::thread::sleep(Duration::from_millis(100));
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(moved.load(Ordering::Relaxed) > ENOUGH, "{moved:?}");
        for mut client in idle {
            client.write_all(b"still here").unwrap();
            expect(&mut client, "still here");
        }
        drop(busy);
        eventually("every tunnel has ended", || {
            isobar.metrics().sum("isobar_route_upgraded_connections", &[]) == Some(0.0)
        });
    };
    // What is made once, on first use, is there from then on.
    let start = isobar.process().descriptors().unwrap();
    round(1);
    let (before, memory) = (
        isobar.process().descriptors().unwrap(),
        isobar.process().resident_bytes().unwrap(),
    );
    round(60);
    eventually("the descriptors are closed", || {
        isobar.process().descriptors().unwrap() <= before + 2
    });
    assert!(
        before <= start + 100,
        "{start} and then {before}: pipes are kept, but not this many"
    );
    let after = isobar.process().resident_bytes().unwrap();
    assert!(after < memory + (16 << 20), "{memory} bytes, and then {after}");
}

/// Sends something through each tunnel and waits until it has come back, again and again.
fn carry(tunnels: &[TcpStream], stop: &AtomicBool, moved: &AtomicU64) {
    let sent = noise(16 << 10, 9);
    let mut found = vec![0; sent.len()];
    while !stop.load(Ordering::Relaxed) {
        for mut tunnel in tunnels {
            tunnel.write_all(&sent).unwrap();
        }
        for mut tunnel in tunnels {
            tunnel.read_exact(&mut found).unwrap();
            assert!(found == sent);
            moved.fetch_add(found.len() as u64, Ordering::Relaxed);
        }
        // Other tests want the machine as well.
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn silent_tunnels_end() {
    let server = TcpServer::echo("");
    let isobar = run(&format!("{HERE}\ntimeouts: {{ idle: 300ms }}"));
    let mut client = tunnel(&isobar, server.address());
    for _ in 0..5 {
        client.write_all(b"x").unwrap();
        expect(&mut client, "x");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(rest(&mut client), b"");
    assert_eq!(line_with(&isobar, "method", "CONNECT")["cause"], "idle_timeout");
}

#[test]
fn half_a_tunnel_may_be_silent_for_less() {
    // It answers, and keeps its half open for as long as nobody takes it away.
    let server = TcpServer::start(|mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
        rest(&mut stream);
        std::mem::forget(stream);
        Ok(())
    });
    let isobar = run(&format!("{HERE}\ntimeouts: {{ idle: 60s, half_closed: 300ms }}"));
    let mut client = tunnel(&isobar, server.address());
    client.write_all(b"x").unwrap();
    expect(&mut client, "x");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    let line = line_with(&isobar, "method", "CONNECT");
    assert_eq!(line["cause"], "half_closed_timeout");
    assert_eq!(line["detail"], "the client had ended what it sent");
}

/// A reload leaves tunnels alone, as long as their listener is there.
#[test]
fn reloads_keep_tunnels() {
    let server = TcpServer::echo("");
    let isobar = run(HERE);
    let mut client = tunnel(&isobar, server.address());
    assert!(
        isobar
            .reload(&yaml("otherwise: deny"))
            .contains("configuration applied")
    );
    client.write_all(b"on").unwrap();
    expect(&mut client, "on");
    let gone = yaml("otherwise: deny").replace("name: web", "name: other") + "drain_timeout: 300ms\n";
    assert!(isobar.reload(&gone).contains("configuration applied"));
    client.write_all(b"and on").unwrap();
    expect(&mut client, "and on");
    assert_eq!(rest(&mut client), b"");
    assert_eq!(line_with(&isobar, "method", "CONNECT")["cause"], "drained");
}

#[test]
fn tunnels_may_finish_when_the_instance_stops() {
    let server = TcpServer::echo("");
    let mut isobar = run_text(&(yaml(HERE) + "drain_timeout: 20s\n"));
    let mut client = tunnel(&isobar, server.address());
    let mut idle = isobar_testkit::Client::connect(isobar.address()).unwrap();
    assert_eq!(idle.get("/").unwrap().status, 404);
    isobar.signal(Signal::TERM);
    assert!(idle.sees_close(), "a connection without a request is closed at once");
    client.write_all(b"last words").unwrap();
    expect(&mut client, "last words");
    drop(client);
    assert!(isobar.ends(Duration::from_secs(15)).success());
    // One that does not end is cut.
    let mut isobar = run_text(&(yaml(HERE) + "drain_timeout: 300ms\n"));
    let mut client = tunnel(&isobar, server.address());
    isobar.signal(Signal::TERM);
    assert_eq!(rest(&mut client), b"");
    assert!(isobar.ends(Duration::from_secs(15)).success());
    assert_eq!(line_with(&isobar, "method", "CONNECT")["cause"], "shutdown");
}

/// Clients that begin and do not go on are let go of in time; garbage costs nothing.
#[test]
fn slow_and_senseless_clients_are_let_go() {
    let origin = Origin::named("a");
    let to = origin.address();
    let isobar = run_text(&with_listener(
        "timeouts: { handshake: 400ms, head: 400ms, idle: 400ms }",
        HERE,
    ));
    let before = isobar.process().descriptors().unwrap();
    let beginnings: [&[u8]; 9] = [
        b"",
        b"\x05",
        b"\x05\xff",
        b"\x05\x01\x00\x05\x01\x00\x03\xff",
        b"C",
        b"GET http://",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        &[0xff; 300],
    ];
    let mut clients = Vec::new();
    for beginning in beginnings {
        for _ in 0..20 {
            let mut client = connect(&isobar);
            client.write_all(beginning).unwrap();
            clients.push(client);
        }
    }
    // One that sends a byte now and then is no better off.
    let mut drip = connect(&isobar);
    let began = Instant::now();
    let mut sent = 0;
    while drip.write_all(&socks(to)[sent % 7..=sent % 7]).is_ok() && began.elapsed() < Duration::from_secs(5) {
        sent += usize::from(sent < 4);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for mut client in clients {
        drop(rest(&mut client));
    }
    eventually("they are gone", || {
        isobar
            .metrics()
            .sum("isobar_listener_connections", &[("listener", "web")])
            == Some(0.0)
    });
    // A worker may open its reactor and its ring only after the others are ready.
    let after = isobar.process().descriptors().unwrap();
    assert!(after <= before + 20, "{before} descriptors, and then {after}");
    let answer = answer_to(
        isobar.address(),
        format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    assert_eq!(answer.unwrap().status(), 200);
}

/// A body has to make progress: a byte now and then is none.
#[test]
fn bodies_that_drip_are_given_up() {
    let origin = Origin::echo();
    let to = origin.address();
    let isobar = run_text(&with_listener("timeouts: { body: 400ms }", HERE));
    let mut client = connect(&isobar);
    write!(
        client,
        "POST http://{to}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    )
    .unwrap();
    let mut writer = client.try_clone().unwrap();
    let began = Instant::now();
    let thread = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() && began.elapsed() < Duration::from_secs(8) {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let answer = String::from_utf8_lossy(&rest(&mut client)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    thread.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    // One that goes on takes as long as it likes.
    let mut client = connect(&isobar);
    write!(
        client,
        "POST http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 20480\r\n\r\n"
    )
    .unwrap();
    for _ in 0..10 {
        client.write_all(&[b'x'; 2048]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let answer = String::from_utf8_lossy(&rest(&mut client)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Random bytes, and well-formed beginnings that go wrong anywhere, end in an answer or a close.
#[test]
fn mutilated_requests_harm_nobody() {
    let origin = Origin::named("a");
    let to = origin.address();
    let isobar = run(HERE);
    let requests = [
        socks(to),
        format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes(),
        format!("POST http://{to}/ HTTP/1.1\r\nHost: {to}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .into_bytes(),
    ];
    let dice = noise(4000, 77);
    for (round, dice) in dice.chunks(4).enumerate().take(600) {
        let mut request = requests[round % requests.len()].clone();
        let at = (usize::from(dice[0]) << 8 | usize::from(dice[1])) % request.len();
        match dice[2] % 3 {
            0 => request[at] = dice[3],
            1 => request.truncate(at),
            _ => request.insert(at, dice[3]),
        }
        let mut client = connect(&isobar);
        if client.write_all(&request).is_ok() {
            let _ = client.shutdown(std::net::Shutdown::Write);
            drop(rest(&mut client));
        }
    }
    assert!(!isobar.log().contains("panicked"), "{}", isobar.log());
    let answer = answer_to(
        isobar.address(),
        format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    assert_eq!(answer.unwrap().status(), 200);
}

/// A destination that takes no connection is given up in time; a client that leaves before is not waited for.
#[test]
fn destinations_that_do_not_answer_are_given_up() {
    let full = isobar_testkit::FullPort::new().unwrap();
    let to = full.address();
    let isobar = run(&format!("{HERE}\ntimeouts: {{ connect: 500ms, read: 500ms }}"));
    let answer = answer_to(
        isobar.address(),
        format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    assert_eq!(answer.unwrap().status(), 504);
    let mut client = connect(&isobar);
    client.write_all(&socks(to)).unwrap();
    assert_eq!(rest(&mut client).get(3), Some(&6));
    let mute = Origin::mute();
    let to = mute.address();
    let answer = answer_to(
        isobar.address(),
        format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    assert_eq!(answer.unwrap().status(), 504);
    let isobar = run(HERE);
    let mut client = connect(&isobar);
    write!(client, "CONNECT {} HTTP/1.1\r\nHost: a\r\n\r\n", full.address()).unwrap();
    drop(client);
    assert_eq!(line_with(&isobar, "method", "CONNECT")["cause"], "client_closed");
    let mut client = connect(&isobar);
    write!(client, "GET http://{to}/ HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || mute.request_count() == 2);
    drop(client);
    assert_eq!(line_with(&isobar, "method", "GET")["cause"], "client_closed");
    assert_eq!(isobar.access_lines(2).len(), 2);
}

/// Servers that break off, or speak something else, end a request and nothing more.
#[test]
fn broken_servers_are_told_of() {
    let check = |answer: &str, after: isobar_testkit::After, status: u16, cause: &str| {
        let origin = Origin::answering(answer, after);
        let isobar = run(HERE);
        let to = origin.address();
        let mut client = connect(&isobar);
        write!(
            client,
            "GET http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let found = String::from_utf8_lossy(&rest(&mut client)).into_owned();
        assert!(found.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}: {found}");
        assert_eq!(line_with(&isobar, "method", "GET")["cause"], cause, "{answer}");
    };
    use isobar_testkit::After::Close;
    check("", Close, 502, "server_closed");
    check("HTTP/1.1 200 OK\r\ncontent-le", Close, 502, "server_closed");
    check("SSH-2.0-x\r\n\r\n", Close, 502, "server_malformed");
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        Close,
        502,
        "server_malformed",
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        Close,
        200,
        "server_aborted",
    );
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        Close,
        200,
        "server_aborted",
    );
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        Close,
        200,
        "server_aborted",
    );
    check(
        "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        Close,
        103,
        "complete",
    );
}
