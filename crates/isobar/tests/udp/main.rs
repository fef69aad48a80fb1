//! Do datagrams reach the right server, do answers come back to whom and from where they should, and what becomes of flows?

mod flows;
mod peers;
mod proxied;
mod reload;
mod reuse;
mod servers;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use isobar_testkit::{Configuration, Isobar, PATIENCE, wait_for};

const LOG: &str = "access_log: { path: access.log, format: json }";

/// How long nothing is heard where nothing is to be heard. No test waits for it to see a state.
const SILENCE: Duration = Duration::from_millis(300);

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

/// Asks as clients of UDP do: again, where there is no answer.
fn ask_again(client: &UdpSocket, text: &str) -> String {
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = vec![0; 65_536];
    let count = wait_for("an answer", || {
        client.send(text.as_bytes()).unwrap();
        client.recv(&mut answer).ok()
    });
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

/// Whether a client hears nothing.
fn is_left_alone(client: &UdpSocket) -> bool {
    client.set_read_timeout(Some(SILENCE)).unwrap();
    let heard = client.recv(&mut [0; 64]);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    heard.is_err()
}

fn causes(isobar: &Isobar, count: usize) -> Vec<String> {
    let lines = isobar.access_lines(count);
    let mut causes: Vec<_> = lines
        .iter()
        .map(|line| line["cause"].as_str().unwrap_or_default().to_owned())
        .collect();
    causes.sort_unstable();
    causes
}

fn dropped(isobar: &Isobar, reason: &str) -> f64 {
    let metrics = isobar.metrics();
    metrics
        .sum("isobar_listener_datagrams_dropped_total", &[("reason", reason)])
        .unwrap_or(-1.0)
}

fn open_flows(isobar: &Isobar) -> f64 {
    isobar.metrics().sum("isobar_listener_connections", &[]).unwrap_or(-1.0)
}
