//! Do datagrams reach the right server, do answers come back to whom and from where they should, and what becomes of flows?

use std::net::{SocketAddr, UdpSocket};

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{Configuration, Isobar, PATIENCE, UdpServer, binary, wait_for};

const LOG: &str = "access_log: { path: access.log, format: json }";

fn udp(servers: &[SocketAddr]) -> Configuration {
    Configuration::to(servers).listener("protocol: udp").top(LOG)
}

/// A client that hears only whom it asks.
fn client(to: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(to).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn heard(client: &UdpSocket) -> String {
    let mut answer = vec![0; 65_536];
    let count = client.recv(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

fn ask(client: &UdpSocket, text: &str) -> String {
    client.send(text.as_bytes()).unwrap();
    heard(client)
}

/// The lines of the access log, once there are so many.
fn lines(isobar: &Isobar, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} lines in the access log"), || {
        let text = std::fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let lines: Vec<Value> = lines.collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn datagrams_go_both_ways_and_the_line_says_what_happened() {
    let server = UdpServer::echo("a:");
    let configuration = udp(&[server.address()]).listener("udp: { idle_timeout: 200ms }");
    let isobar = binary!().run(&configuration);
    let client = client(isobar.address());
    assert_eq!(ask(&client, "hello"), "a:hello");
    assert_eq!(ask(&client, ""), "a:");
    let line = &lines(&isobar, 1)[0];
    let name = server.address().to_string();
    for (key, expected) in [
        ("listener", Value::from("web")),
        ("route", "default".into()),
        ("upstream", "web".into()),
        ("server", name.as_str().into()),
        ("picked", "balance".into()),
        ("protocol", "UDP".into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 9.into()),
        ("attempts", 1.into()),
        ("cause", "idle_timeout".into()),
        ("client", "127.0.0.1".into()),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms >= 200.0), "{line}");
    let metrics = isobar.metrics();
    let value = |name: &str| metrics.sum(name, &[]).unwrap_or(-1.0);
    for (name, expected) in [
        ("isobar_listener_connections_accepted_total", 1.0),
        ("isobar_listener_connections", 0.0),
        ("isobar_listener_datagrams_received_total", 2.0),
        ("isobar_listener_datagrams_sent_total", 2.0),
        ("isobar_listener_datagrams_dropped_total", 0.0),
        ("isobar_route_exchanges_total", 1.0),
        ("isobar_route_request_body_bytes_total", 5.0),
        ("isobar_route_response_body_bytes_total", 9.0),
        ("isobar_upstream_requests_total", 1.0),
        ("isobar_server_requests_total", 1.0),
        ("isobar_server_datagrams_sent_total", 2.0),
        ("isobar_server_datagrams_received_total", 2.0),
        ("isobar_server_request_body_bytes_total", 5.0),
        ("isobar_server_response_body_bytes_total", 9.0),
        ("isobar_server_connection_duration_seconds_count", 1.0),
    ] {
        assert!((value(name) - expected).abs() < 0.5, "{name}: {}", value(name));
    }
}
