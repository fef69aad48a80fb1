//! Are slow clients cut by their deadlines, and only those?

use std::time::{Duration, Instant};

use isobar_testkit::{Client, Configuration, Isobar, Origin, binary, eventually};

const DEADLINE: Duration = Duration::from_millis(300);
const TIMEOUTS: &str = "timeouts: { idle: 300ms, head: 300ms, body: 300ms, write: 300ms }";

fn before(origin: &Origin) -> Isobar {
    binary!().run(&Configuration::to(&[origin.address()]).listener(TIMEOUTS))
}

#[track_caller]
fn is_cut_with_408(client: &mut Client, start: Instant) {
    assert_eq!(client.receive().expect("an answer").status, 408);
    assert!(client.sees_close(), "the connection stays open");
    assert!(
        start.elapsed() >= DEADLINE,
        "{:?} is before the deadline",
        start.elapsed()
    );
    assert!(
        start.elapsed() < DEADLINE * 10,
        "{:?} is long after the deadline",
        start.elapsed()
    );
}

#[test]
fn a_head_that_stops_is_408() {
    let origin = Origin::named("a");
    let isobar = before(&origin);
    for part in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx: "] {
        let mut client = Client::connect(isobar.address()).unwrap();
        let start = Instant::now();
        client.send(part).unwrap();
        is_cut_with_408(&mut client, start);
    }
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn a_head_that_drips_is_408() {
    let origin = Origin::named("a");
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    let start = Instant::now();
    // The deadline is for the whole head, so that a byte now and then does not hold the connection (Slowloris).
    let _ = client.send_in_pieces("GET / HTTP/1.1\r\nhost: a\r\n", 1, Duration::from_millis(20));
    is_cut_with_408(&mut client, start);
}

#[test]
fn a_body_that_stops_or_drips_is_408() {
    let origin = Origin::echo();
    let isobar = before(&origin);
    for lines in ["content-length: 1000", "transfer-encoding: chunked"] {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n");
        let mut client = Client::connect(isobar.address()).unwrap();
        let start = Instant::now();
        client.send(format!("{head}64\r\nabc")).unwrap();
        is_cut_with_408(&mut client, start);
        let mut client = Client::connect(isobar.address()).unwrap();
        let start = Instant::now();
        client.send(format!("{head}64\r\n")).unwrap();
        let _ = client.send_in_pieces([b'x'; 30], 1, Duration::from_millis(20));
        is_cut_with_408(&mut client, start);
    }
    eventually("the server is rid of them", || origin.connections_open() == 0);
}

#[test]
fn a_body_that_moves_is_not_cut() {
    let origin = Origin::echo();
    let isobar = before(&origin);
    let body = vec![b'x'; 16 << 10];
    let mut client = Client::connect(isobar.address()).unwrap();
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ))
        .unwrap();
    client
        .send_in_pieces(&body, 2 << 10, Duration::from_millis(100))
        .unwrap();
    assert!(client.receive().unwrap().body == body);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let origin = Origin::named("a");
    let isobar = before(&origin);
    let mut fresh = Client::connect(isobar.address()).unwrap();
    let mut used = Client::connect(isobar.address()).unwrap();
    assert_eq!(used.get("/").unwrap().status, 200);
    let start = Instant::now();
    assert!(used.sees_close() && fresh.sees_close());
    assert!(start.elapsed() < DEADLINE * 10);
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..5 {
        std::thread::sleep(DEADLINE / 3);
        assert_eq!(client.get("/").unwrap().status, 200, "a connection in use is not idle");
    }
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let body = vec![b'x'; 64 << 20];
    let origin = Origin::start(move |exchange| exchange.reply(200, &[], &body));
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || origin.request_count() == 1);
    eventually("the server is rid of it", || origin.connections_open() == 0);
    let arrived = client.rest().map(|bytes| bytes.len());
    assert!(
        arrived.as_ref().map_or(true, |&count| count < 64 << 20),
        "everything arrived: {arrived:?}"
    );
}

#[test]
fn slow_clients_do_not_hold_up_others() {
    let origin = Origin::named("a");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let slow = (0..200)
        .map(|_| {
            let mut client = Client::connect(isobar.address()).unwrap();
            client.send("GET / HTTP/1.1\r\nhost: a\r\nx: ").unwrap();
            client
        })
        .collect::<Vec<_>>();
    let mut client = Client::connect(isobar.address()).unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?} with {} slow clients",
        start.elapsed(),
        slow.len()
    );
}

#[test]
fn a_server_that_is_silent_to_an_expectation_is_504() {
    let origin = Origin::silent();
    let configuration = Configuration::to(&[origin.address()])
        .listener("timeouts: { body: 20s }")
        .upstream("timeouts: { read: 300ms }");
    let isobar = binary!().run(&configuration);
    let mut client = Client::connect(isobar.address()).unwrap();
    let start = Instant::now();
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .unwrap();
    // The client waits because it was told to; it is the server that keeps it waiting.
    assert_eq!(client.receive().expect("an answer").status, 504);
    assert!(start.elapsed() >= DEADLINE && start.elapsed() < DEADLINE * 10);
}

#[test]
fn the_read_deadline_does_not_count_the_time_the_request_took() {
    let origin = Origin::start(|exchange| {
        std::thread::sleep(Duration::from_millis(700));
        exchange.reply(200, &[], b"late but in time")
    });
    let configuration = Configuration::to(&[origin.address()]).upstream("timeouts: { read: 1s }");
    let isobar = binary!().run(&configuration);
    let mut client = Client::connect(isobar.address()).unwrap();
    // A first exchange leaves a connection in the pool, so that no time passes before the second is sent.
    assert_eq!(client.get("/").unwrap().status, 200);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(800));
    client.send("\r\n").unwrap();
    assert_eq!(client.receive().expect("an answer").status, 200);
}
