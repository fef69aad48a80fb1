//! Is everything that was done written down before the end, and does the end come?

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::websocket::{connect, websocket_echo};
use isobar_testkit::{Client, Configuration, Gate, Origin, Signal, binary, eventually, get};

/// The causes in an access log, sorted, each with its status.
fn causes(directory: &Path) -> Vec<(String, u64)> {
    let text = fs::read_to_string(directory.join("access.log")).unwrap();
    let cause = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (
            line["cause"].as_str().unwrap().to_owned(),
            line["status"].as_u64().unwrap(),
        )
    };
    let mut causes: Vec<_> = text.lines().map(cause).collect();
    causes.sort();
    causes
}

/// A configuration with a server that holds requests to `/held`, and a WebSocket server at `/socket`.
fn configuration(gate: &Gate, drain_timeout: &str) -> (Configuration, [Origin; 2]) {
    let held = gate.clone();
    let origin = Origin::start(move |exchange| {
        if exchange.request.target == "/held" {
            held.pass();
        }
        exchange.reply(200, &[], b"done")
    });
    let sockets = websocket_echo();
    let configuration = Configuration::to(&[origin.address()])
        .routes("- { upstream: web }\n- { match: { path: /socket }, upstream: sockets }")
        .another_upstream("sockets", sockets.address())
        .top(format!(
            "drain_timeout: {drain_timeout}\naccess_log: {{ path: access.log, format: json }}"
        ));
    (configuration, [origin, sockets])
}

#[test]
fn what_the_deadline_cuts_is_answered_and_logged() {
    let gate = Gate::new();
    let (configuration, _origins) = configuration(&gate, "200ms");
    let mut isobar = binary!().run(&configuration);
    let mut tunnel = connect(isobar.address(), "/socket").unwrap();
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || gate.waiting() == 1);
    isobar.signal(Signal::TERM);
    assert_eq!(client.receive().unwrap().status, 503);
    assert!(tunnel.read().is_err());
    assert_eq!(isobar.ends(Duration::from_secs(5)).code(), Some(0), "{}", isobar.log());
    let expected = [("shutdown".to_owned(), 101), ("shutdown".to_owned(), 503)];
    assert_eq!(causes(isobar.directory()), expected);
    gate.open();
}

#[test]
fn a_second_signal_leaves_no_line_unwritten() {
    let gate = Gate::new();
    let (configuration, _origins) = configuration(&gate, "60s");
    let mut isobar = binary!().run(&configuration);
    let address = isobar.address();
    let mut client = Client::connect(address).unwrap();
    client.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || gate.waiting() == 1);
    assert_eq!(get(address, "/").unwrap().text(), "done");
    isobar.signal(Signal::TERM);
    eventually("it drains", || Client::connect(address).is_err());
    let before = Instant::now();
    isobar.signal(Signal::TERM);
    let _ = isobar.ends(Duration::from_secs(5));
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    let expected = [("complete".to_owned(), 200), ("shutdown".to_owned(), 503)];
    assert_eq!(causes(isobar.directory()), expected);
    gate.open();
}

#[test]
fn a_standard_output_that_nobody_reads_does_not_hold_up_the_end() {
    const UNREAD: &str = "mkfifo unread && exec 3<>unread && exec \"$0\" \"$@\" >unread";
    let origin = Origin::named("a");
    let yaml = Configuration::to(&[origin.address()])
        .top("access_log: { format: json }")
        .yaml();
    // Whoever asks at the admin listener shares the engine, which then ends on a thread that nobody waits for.
    let yaml = yaml.replace("admin: { address: 127.0.0.1:0 }\n", "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, yaml).unwrap();
    let mut isobar = binary!().through(&["sh", "-c", UNREAD]).run_file(directory, &file);
    let path = format!("/{}", "x".repeat(4000));
    let mut client = Client::connect(isobar.address()).unwrap();
    // More than a pipe holds.
    for _ in 0..64 {
        assert_eq!(client.get(&path).unwrap().status, 200);
    }
    isobar.signal(Signal::TERM);
    assert_eq!(isobar.ends(Duration::from_secs(6)).code(), Some(0), "{}", isobar.log());
}
