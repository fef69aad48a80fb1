//! Do the bytes of TCP connections reach the right server, whole, and what becomes of the connections?

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use isobar_testkit::serde_json::Value;
use isobar_testkit::{
    ClosedPort, Configuration, FullPort, Gate, Isobar, PATIENCE, Signal, TcpServer, binary, echo, eventually, noise,
    rest,
};

const LOG: &str = "access_log: { path: access.log, format: json }";

fn tcp(servers: &[SocketAddr]) -> Configuration {
    Configuration::to(servers).listener("protocol: tcp").top(LOG)
}

fn connect(isobar: &Isobar) -> TcpStream {
    let stream = TcpStream::connect(isobar.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn expect(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

#[test]
fn bytes_go_both_ways_and_the_line_says_what_happened() {
    let server = TcpServer::echo("a:");
    let isobar = binary!().run(&tcp(&[server.address()]));
    let mut client = connect(&isobar);
    expect(&mut client, "a:");
    client.write_all(b"hello").unwrap();
    expect(&mut client, "hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    let line = &isobar.access_lines(1)[0];
    let name = server.address().to_string();
    for (key, expected) in [
        ("listener", Value::from("web")),
        ("route", "default".into()),
        ("upstream", "web".into()),
        ("server", name.as_str().into()),
        ("picked", "balance".into()),
        ("protocol", "TCP".into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 7.into()),
        ("attempts", 1.into()),
        ("cause", "complete".into()),
        ("client", "127.0.0.1".into()),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    for key in ["first_byte_ms", "connect_ms", "duration_ms"] {
        assert!(line[key].as_f64().is_some_and(|ms| ms < 15_000.0), "{key} in {line}");
    }
    let metrics = isobar.metrics();
    let value = |name: &str| metrics.sum(name, &[]).unwrap_or(-1.0);
    for (name, expected) in [
        ("isobar_listener_connections_accepted_total", 1.0),
        ("isobar_route_exchanges_total", 1.0),
        ("isobar_route_request_body_bytes_total", 5.0),
        ("isobar_route_response_body_bytes_total", 7.0),
        ("isobar_upstream_requests_total", 1.0),
        ("isobar_server_requests_total", 1.0),
        ("isobar_server_connections_opened_total", 1.0),
        ("isobar_server_request_body_bytes_total", 5.0),
        ("isobar_server_response_body_bytes_total", 7.0),
        ("isobar_server_connection_duration_seconds_count", 1.0),
    ] {
        assert!((value(name) - expected).abs() < 0.5, "{name}: {}", value(name));
    }
}

/// Each side may end what it sends and go on receiving.
#[test]
fn half_closed_connections_go_on() {
    // It answers only when it has seen the end.
    let late = TcpServer::start(|mut stream| {
        let sent = rest(&mut stream);
        stream.write_all(&sent)
    });
    let isobar = binary!().run(&tcp(&[late.address()]));
    let mut client = connect(&isobar);
    let sent = noise(3 << 20, 1);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut client) == sent);
    // It ends at once, and receives all the same.
    let (told, heard) = std::sync::mpsc::sync_channel(1);
    let early = TcpServer::start(move |mut stream| {
        stream.write_all(b"bye")?;
        stream.shutdown(Shutdown::Write)?;
        let _ = told.send(rest(&mut stream));
        Ok(())
    });
    let isobar = binary!().run(&tcp(&[early.address()]));
    let mut client = connect(&isobar);
    assert_eq!(rest(&mut client), b"bye");
    client.write_all(&sent).unwrap();
    drop(client);
    assert!(heard.recv_timeout(PATIENCE).unwrap() == sent);
}

/// More than any buffer holds, both ways at once, through the copying and through the pipes.
#[test]
fn bulk_data_arrives_whole() {
    let server = TcpServer::echo("");
    let isobar = binary!().run(&tcp(&[server.address()]));
    let mut client = connect(&isobar);
    let sent = noise(48 << 20, 2);
    let mut writer = client.try_clone().unwrap();
    let copy = sent.clone();
    let thread = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(rest(&mut client) == sent);
    thread.join().unwrap();
    assert_eq!(isobar.access_lines(1)[0]["bytes_out"], sent.len());
}

#[test]
fn a_server_that_cannot_be_reached_costs_no_connection() {
    let (closed, full) = (ClosedPort::reserve().unwrap(), FullPort::new().unwrap());
    let good = TcpServer::echo("good");
    let configuration = tcp(&[closed.address(), full.address(), good.address()])
        .upstream("balance: first_available\ntimeouts: { connect: 200ms }\noutlier_detection: none");
    let isobar = binary!().run(&configuration);
    let mut client = connect(&isobar);
    expect(&mut client, "good");
    drop(client);
    let line = &isobar.access_lines(1)[0];
    let tried = format!("{}:connect_failed {}:connect_timeout", closed.address(), full.address());
    assert_eq!(line["tried"], tried.as_str());
    assert_eq!(line["attempts"], 3);
    let metrics = isobar.metrics();
    let retries = metrics.sum("isobar_upstream_retries_total", &[("reason", "connect_failure")]);
    assert_eq!(retries, Some(2.0));
    let failed = |cause| metrics.sum("isobar_server_failures_total", &[("cause", cause)]);
    assert_eq!(
        (failed("connect_failed"), failed("connect_timeout")),
        (Some(1.0), Some(1.0))
    );
}

#[test]
fn nobody_there_is_said_in_the_log() {
    let closed = ClosedPort::reserve().unwrap();
    let isobar = binary!().run(&tcp(&[closed.address()]));
    assert_eq!(rest(&mut connect(&isobar)), b"");
    let line = &isobar.access_lines(1)[0];
    assert_eq!(
        (&line["cause"], &line["fault"]),
        (&"connect_failed".into(), &"server".into())
    );
    assert_eq!(line["attempts"], 1);
}

#[test]
fn what_is_idle_too_long_is_closed() {
    let server = TcpServer::echo("a");
    let isobar = binary!().run(&tcp(&[server.address()]).upstream("timeouts: { idle: 300ms }"));
    let mut busy = connect(&isobar);
    let mut idle = connect(&isobar);
    expect(&mut busy, "a");
    for _ in 0..8 {
        busy.write_all(b"b").unwrap();
        expect(&mut busy, "b");
        // The pace of this connection is what is tested.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(rest(&mut idle), b"a");
    assert_eq!(isobar.access_lines(1)[0]["cause"], "idle_timeout");
    busy.write_all(b"c").unwrap();
    assert_eq!(rest(&mut busy), b"c");
}

/// Says something again and again, whatever it hears; ends when the connection does.
fn chatter(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(b".")?;
        // The pace of this connection is what is tested.
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn each_direction_may_be_idle_for_a_time_of_its_own() {
    let talks = TcpServer::start(chatter);
    let configuration = tcp(&[talks.address()]).upstream("timeouts: { idle: 60s, client_idle: 400ms }");
    let isobar = binary!().run(&configuration);
    assert!(rest(&mut connect(&isobar)).len() > 2);
    let line = &isobar.access_lines(1)[0];
    assert_eq!(
        (&line["cause"], &line["detail"]),
        (&"client_idle_timeout".into(), &"".into())
    );
    let listens = TcpServer::start(|mut stream| {
        rest(&mut stream);
        Ok(())
    });
    let configuration = tcp(&[listens.address()]).upstream("timeouts: { idle: 60s, server_idle: 400ms }");
    let isobar = binary!().run(&configuration);
    assert!(chatter(connect(&isobar)).is_err());
    let line = &isobar.access_lines(1)[0];
    assert_eq!(line["cause"], "server_idle_timeout");
    assert!(line["bytes_in"].as_u64().is_some_and(|bytes| bytes > 2), "{line}");
}

#[test]
fn a_server_that_takes_nothing_is_told_apart_from_a_client_that_is_silent() {
    // It stays open, and nobody reads from it.
    let deaf = TcpServer::start(|stream| {
        std::mem::forget(stream);
        Ok(())
    });
    let configuration = tcp(&[deaf.address()]).upstream("timeouts: { idle: 60s, client_idle: 400ms }");
    let isobar = binary!().run(&configuration);
    let much = vec![0; 64 << 20];
    assert!(connect(&isobar).write_all(&much).is_err());
    let line = &isobar.access_lines(1)[0];
    assert_eq!(line["cause"], "client_idle_timeout");
    assert_eq!(line["detail"], "the server did not take what the client sent");
}

#[test]
fn half_a_connection_may_be_idle_for_less() {
    let server = TcpServer::start(|mut stream| {
        stream.write_all(b"a")?;
        rest(&mut stream);
        // It neither says more nor ends.
        std::mem::forget(stream);
        Ok(())
    });
    let configuration = tcp(&[server.address()]).upstream("timeouts: { idle: 60s, half_closed: 300ms }");
    let isobar = binary!().run(&configuration);
    let (mut open, mut half) = (connect(&isobar), connect(&isobar));
    expect(&mut open, "a");
    expect(&mut half, "a");
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut half), b"");
    let line = &isobar.access_lines(1)[0];
    assert_eq!(line["cause"], "half_closed_timeout");
    assert_eq!(line["detail"], "the client had ended what it sent");
    open.write_all(b"b").unwrap();
    assert_eq!(isobar.access_lines(1).len(), 1, "the other one goes on");
}

#[test]
fn least_connections_counts_connections() {
    let servers = ["a", "b", "c"].map(TcpServer::echo);
    let isobar = binary!().run(&tcp(&servers.each_ref().map(TcpServer::address)));
    let mut open: Vec<_> = (0..9).map(|_| connect(&isobar)).collect();
    for client in &mut open {
        let mut name = [0];
        client.read_exact(&mut name).unwrap();
    }
    assert_eq!(servers.each_ref().map(TcpServer::accepted), [3, 3, 3]);
    let in_flight = isobar.metrics().values("isobar_server_in_flight", &[]);
    assert_eq!(in_flight, [3.0, 3.0, 3.0]);
}

#[test]
fn clients_of_one_address_stay_with_their_server() {
    let servers = ["a", "b", "c", "d"].map(TcpServer::echo);
    let configuration = tcp(&servers.each_ref().map(TcpServer::address)).upstream("balance: maglev");
    let isobar = binary!().run(&configuration);
    for _ in 0..12 {
        let mut name = [0];
        connect(&isobar).read_exact(&mut name).unwrap();
    }
    let mut counts = servers.each_ref().map(TcpServer::accepted);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 0, 12]);
}

#[test]
fn connections_wait_for_room_and_no_more_than_may() {
    let server = TcpServer::echo("a");
    let configuration = tcp(&[])
        .server(format!("{{ address: \"{}\", max_connections: 1 }}", server.address()))
        .upstream("queue: { max: 1, timeout: 10s }");
    let isobar = binary!().run(&configuration);
    let mut first = connect(&isobar);
    expect(&mut first, "a");
    let mut second = connect(&isobar);
    eventually("the second waits", || {
        isobar.metrics().sum("isobar_upstream_queued", &[]) == Some(1.0)
    });
    assert_eq!(rest(&mut connect(&isobar)), b"", "there is no room for a third");
    assert_eq!(isobar.access_lines(1)[0]["cause"], "queue_full");
    drop(first);
    expect(&mut second, "a");
    // One that leaves while it waits makes room for the next.
    let third = connect(&isobar);
    eventually("the third waits", || {
        isobar.metrics().sum("isobar_upstream_queued", &[]) == Some(1.0)
    });
    drop(third);
    let causes = |count| -> Vec<String> {
        let lines = isobar.access_lines(count);
        lines
            .iter()
            .map(|line| line["cause"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(causes(3), ["queue_full", "complete", "client_closed"]);
}

#[test]
fn whoever_waits_too_long_is_turned_away() {
    let server = TcpServer::echo("a");
    let configuration = tcp(&[server.address()])
        .upstream("limits: { max_connections: 1, max_requests: 1 }\nqueue: { max: 5, timeout: 200ms }");
    let isobar = binary!().run(&configuration);
    let mut first = connect(&isobar);
    expect(&mut first, "a");
    assert_eq!(rest(&mut connect(&isobar)), b"");
    let line = &isobar.access_lines(1)[0];
    assert_eq!(line["cause"], "queue_timeout");
    assert!(line["queue_ms"].as_f64().is_some_and(|ms| ms >= 200.0), "{line}");
}

#[test]
fn a_server_that_resets_is_to_blame_and_a_client_is_too() {
    let server = TcpServer::echo("a");
    let isobar = binary!().run(&tcp(&[server.address()]));
    let mut client = connect(&isobar);
    expect(&mut client, "a");
    server.reset_all();
    assert_eq!(rest(&mut client), b"");
    assert_eq!(isobar.access_lines(1)[0]["cause"], "server_aborted");
    let failed = isobar
        .metrics()
        .sum("isobar_server_failures_total", &[("cause", "server_aborted")]);
    assert_eq!(failed, Some(1.0));
    let mut client = connect(&isobar);
    expect(&mut client, "a");
    // Whoever closes with bytes unread sends a reset.
    client.write_all(b"x").unwrap();
    assert_eq!(client.peek(&mut [0]).unwrap(), 1);
    drop(client);
    let line = &isobar.access_lines(2)[1];
    assert_eq!(
        (&line["cause"], &line["fault"]),
        (&"client_closed".into(), &"client".into())
    );
}

/// A server that dies and comes back: connections go to the other, then to both.
#[test]
fn a_server_that_dies_is_gone_around_and_taken_back() {
    let port = Arc::new(ClosedPort::reserve().unwrap());
    let (mortal, other) = (TcpServer::at(&port, echo("m")), TcpServer::echo("o"));
    let configuration = tcp(&[mortal.address(), other.address()]).upstream(
        "balance: round_robin\nhealth: { type: tcp, send: ping, expect: ping, interval: 100ms, rise: 1, fall: 1 }",
    );
    let isobar = binary!().run(&configuration);
    let names = || -> String {
        let name = |_| {
            let mut name = [0];
            connect(&isobar)
                .read_exact(&mut name)
                .map_or('-', |()| char::from(name[0]))
        };
        (0..6).map(name).collect()
    };
    eventually("both are healthy", || names() == "momomo" || names() == "omomom");
    let mut open: Vec<_> = (0..4).map(|_| connect(&isobar)).collect();
    for client in &mut open {
        client.read_exact(&mut [0]).unwrap();
    }
    drop(mortal);
    assert_eq!(names(), "oooooo", "no connection is lost");
    let survivors = open.iter_mut().filter_map(|client| {
        client.write_all(b"x").ok()?;
        let mut byte = [0];
        client.read_exact(&mut byte).ok()
    });
    assert_eq!(survivors.count(), 2);
    let _mortal = TcpServer::at(&port, echo("m"));
    eventually("it is taken back", || names().contains('m'));
}

#[test]
fn a_reload_moves_new_connections_and_ends_old_ones_in_time() {
    let (old, new) = (TcpServer::echo("o"), TcpServer::echo("n"));
    let configuration =
        |server: &TcpServer, timeout: &str| tcp(&[server.address()]).top(format!("drain_timeout: {timeout}")).yaml();
    let isobar = binary!().run(&tcp(&[old.address()]).top("drain_timeout: 20s"));
    let mut client = connect(&isobar);
    expect(&mut client, "o");
    isobar.reload(&configuration(&new, "20s"));
    expect(&mut connect(&isobar), "n");
    client.write_all(b"still").unwrap();
    expect(&mut client, "still");
    drop(client);
    let causes: Vec<_> = isobar
        .access_lines(2)
        .iter()
        .map(|line| line["cause"].clone())
        .collect();
    assert_eq!(causes, ["complete", "complete"]);
    let mut client = connect(&isobar);
    expect(&mut client, "n");
    isobar.reload(&configuration(&old, "300ms"));
    expect(&mut connect(&isobar), "o");
    assert_eq!(rest(&mut client), b"");
    let lines = isobar.access_lines(4);
    assert!(lines.iter().any(|line| line["cause"] == "drained"), "{lines:?}");
}

#[test]
fn connections_of_a_listener_that_is_gone_end_in_time() {
    let server = TcpServer::echo("a");
    let isobar = binary!().run(&tcp(&[server.address()]).top("drain_timeout: 300ms"));
    let mut client = connect(&isobar);
    expect(&mut client, "a");
    let text = tcp(&[server.address()]).top("drain_timeout: 300ms").yaml();
    isobar.reload(&text.replace("name: web", "name: other"));
    assert_eq!(rest(&mut client), b"");
    assert_eq!(isobar.access_lines(1)[0]["cause"], "drained");
}

#[test]
fn a_drain_lets_connections_finish_and_cuts_the_rest() {
    let server = TcpServer::echo("a");
    let mut isobar = binary!().run(&tcp(&[server.address()]).top("drain_timeout: 1s"));
    let (mut quick, mut slow) = (connect(&isobar), connect(&isobar));
    let [quick_peer, slow_peer] = [&mut quick, &mut slow].map(|client| {
        expect(client, "a");
        client.local_addr().unwrap().to_string()
    });
    isobar.signal(Signal::TERM);
    let address = isobar.address();
    eventually("new connections are refused", || TcpStream::connect(address).is_err());
    quick.write_all(b"last").unwrap();
    expect(&mut quick, "last");
    drop(quick);
    assert_eq!(rest(&mut slow), b"");
    assert_eq!(isobar.ends(Duration::from_secs(10)).code(), Some(0), "{}", isobar.log());
    // Those who came while the socket was closing are in the log as well, and end as they will.
    let lines = isobar.access_lines(2);
    for (peer, cause) in [(quick_peer, "complete"), (slow_peer, "shutdown")] {
        let line = lines.iter().find(|line| line["peer"] == peer);
        assert_eq!(line.unwrap()["cause"], cause, "{lines:?}");
    }
}

/// Who waits, for a server or in the queue, is cut as well.
#[test]
fn whoever_waits_is_cut_when_time_is_up() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = TcpServer::start(move |_| {
        held.pass();
        Ok(())
    });
    let configuration = tcp(&[])
        .server(format!("{{ address: \"{}\", max_connections: 1 }}", server.address()))
        .top("drain_timeout: 300ms");
    let mut isobar = binary!().run(&configuration);
    let (_first, mut second) = (connect(&isobar), connect(&isobar));
    eventually("one waits", || {
        isobar.metrics().sum("isobar_upstream_queued", &[]) == Some(1.0)
    });
    isobar.signal(Signal::TERM);
    assert_eq!(rest(&mut second), b"");
    assert_eq!(isobar.ends(Duration::from_secs(10)).code(), Some(0), "{}", isobar.log());
    assert!(isobar.access_lines(2).iter().all(|line| line["cause"] == "shutdown"));
    gate.open();
}

#[test]
fn a_listener_can_change_what_it_speaks() {
    let server = TcpServer::start(|mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
    });
    let (http, raw) = (Configuration::to(&[server.address()]), tcp(&[server.address()]));
    let isobar = binary!().run(&raw);
    let get = || {
        let mut client = connect(&isobar);
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut answer = vec![0; 4096];
        let count = client.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(!get().contains("date:"), "it passes for what the server sent");
    let address = isobar.address();
    let at = |configuration: &Configuration| configuration.yaml().replacen("127.0.0.1:0", &address.to_string(), 1);
    isobar.reload(&at(&raw));
    isobar.reload(&at(&http));
    // Workers take what is new into use each in its own time, a moment after the log says so.
    eventually("HTTP is spoken", || {
        let mut client = connect(&isobar);
        client.write_all(b"nonsense\r\n\r\n").unwrap();
        rest(&mut client).starts_with(b"HTTP/1.1 400 ")
    });
    isobar.reload(&at(&raw));
    eventually("bytes are passed on", || {
        let mut client = connect(&isobar);
        client.write_all(b"nonsense\r\n\r\n").unwrap();
        rest(&mut client).starts_with(b"HTTP/1.1 200 ")
    });
}
