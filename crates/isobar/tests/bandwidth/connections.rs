//! How fast do the bytes of connections go that nobody looks into?

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use isobar_testkit::tungstenite::Message;
use isobar_testkit::websocket::{PythonEcho, connect};
use isobar_testkit::{Configuration, Nginx, TcpServer, binary, connect_from, eventually, noise};

use crate::kit::{Fetching, Reader, rates, share};

/// A server that sends for as long as somebody reads.
fn endless() -> TcpServer {
    TcpServer::start(|mut stream| {
        let bytes = vec![b'z'; 256 * 1024];
        loop {
            stream.write_all(&bytes)?;
        }
    })
}

#[test]
fn tcp_connections_of_one_source_share_its_rate() {
    let server = endless();
    let configuration = Configuration::to(&[server.address()])
        .listener("protocol: tcp\nrequest_limits: [band]")
        .top("limits: { band: { algorithm: bandwidth, rate: 6MB/s, burst: 100kB } }");
    let isobar = binary!().run(&configuration);
    let connect = |from: &str| {
        let stream = connect_from(from.parse().unwrap(), isobar.address()).unwrap();
        Reader::begin(stream, "")
    };
    let mine: Vec<_> = (0..4).map(|_| connect("127.0.0.1")).collect();
    let other = [connect("127.0.0.2")];
    eventually("all receive", || mine.iter().all(|reader| reader.count() > 300_000));
    let (mine, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| rates(&other, 2));
        (rates(&mine, 2), other.join().unwrap())
    });
    share(&mine, 6_000_000.0);
    share(&other, 6_000_000.0);
}

#[test]
fn a_quota_closes_new_tcp_connections_and_the_line_names_it() {
    let server = TcpServer::start(|mut stream| stream.write_all(&[b'z'; 50_000]));
    let configuration = Configuration::to(&[server.address()])
        .listener("protocol: tcp\nrequest_limits: [band]")
        .top(
            "limits: { band: { algorithm: bandwidth, rate: 40kB/h } }\naccess_log: { path: access.log, format: json }",
        );
    let isobar = binary!().run(&configuration);
    let first = Reader::begin(TcpStream::connect(isobar.address()).unwrap(), "");
    eventually("it has all of it", || first.count() == 50_000);
    let second = Reader::begin(TcpStream::connect(isobar.address()).unwrap(), "");
    let refused = "\"limit\":\"band\"";
    eventually("the second is refused", || {
        let text = std::fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        text.lines()
            .any(|line| line.contains(refused) && line.contains("\"cause\":\"rate_limited\""))
    });
    assert_eq!(second.count(), 0);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn websockets_are_held_both_ways() {
    let echo = PythonEcho::start();
    let configuration = Configuration::to(&[echo.address()])
        .listener("request_limits: [band]")
        .top("limits: { band: { algorithm: bandwidth, rate: 1MB/s, burst: 100kB, direction: both } }");
    let isobar = binary!().run(&configuration);
    let mut socket = connect(isobar.address(), "/chat").unwrap();
    let began = Instant::now();
    socket.send(Message::binary(noise(1 << 20, 1))).unwrap();
    let mut came = Vec::new();
    while came.len() < 1 << 20 {
        came.extend_from_slice(&socket.read().unwrap().into_data());
    }
    assert!(came == noise(1 << 20, 1), "another message came back");
    let lasted = began.elapsed();
    assert!((1_800..3_500).contains(&lasted.as_millis()), "{lasted:?}");
}

#[test]
fn users_of_a_forward_proxy_have_a_rate_each_over_all_that_they_do() {
    let nginx = Nginx::start("");
    nginx.put("big", &vec![b'x'; 32 << 20]);
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    for (name, create) in [("alice", "-bBc"), ("bob", "-bB")] {
        let made = Command::new("htpasswd")
            .arg(create)
            .arg(&users)
            .args([name, "secret"])
            .output();
        assert!(made.expect("htpasswd is installed").status.success());
    }
    let file = directory.path().join("isobar.yaml");
    let text = "listeners:\n  - name: web\n    address: 127.0.0.1:0\n    protocol: forward_proxy\n    request_limits: [band]\n    \
                forward_proxy:\n      users: users\n      rules: [{ name: here, action: allow, addresses: 127.0.0.0/8 }]\n\
                limits: { band: { algorithm: bandwidth, key: user, rate: 2MB/s, burst: 100kB } }\n\
                admin: { address: 127.0.0.1:0 }\n";
    std::fs::write(&file, text).unwrap();
    let isobar = binary!().run_file(directory, &file);
    let (proxy, url) = (
        format!("http://{}", isobar.address()),
        format!("http://{}/big", nginx.address()),
    );
    let fetch = |user: &str, more: &[&str]| {
        let login = format!("{user}:secret");
        let arguments = ["--proxy", &proxy, "--proxy-user", &login, "--max-time", "3", &url];
        Fetching::begin(&[&arguments, more].concat())
    };
    // Alice has tunnels, and requests that the proxy reads.
    let alice = [fetch("alice", &["-p"]), fetch("alice", &["-p"]), fetch("alice", &[])];
    let bob = fetch("bob", &["-p"]).end();
    let alice = alice.map(Fetching::end);
    let total: u64 = alice.iter().map(|fetched| fetched.received).sum();
    assert!((5_000_000..6_500_000).contains(&total), "{alice:?}");
    assert!((5_000_000..6_500_000).contains(&bob.received), "{bob:?}");
    assert!(alice.iter().all(|fetched| fetched.received > total / 5), "{alice:?}");
    let waited = isobar
        .metrics()
        .sum("isobar_limit_throttled_seconds_sum", &[("limit", "band")]);
    assert!(waited > Some(Duration::from_secs(6).as_secs_f64()), "{waited:?}");
}
