//! What do health checks make of servers that never end, say nonsense, or go away in the middle?

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::{Configuration, Isobar, Origin, binary, eventually, get};

/// Longer than any of the servers here takes to fill what a probe reads.
const TIMES: &str = "interval: 1s, timeout: 900ms, rise: 1, fall: 1";

/// Memory that all probes of a test may take together, above what the program has anyway.
const MAX_GROWTH_BYTES: u64 = 24 << 20;

/// The reasons of the one server.
fn reasons(isobar: &Isobar) -> String {
    let report = isobar.health();
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let server = checks
        .iter()
        .find(|check| check["name"].as_str().is_some_and(|name| name.starts_with("server ")));
    server
        .and_then(|check| check["detail"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn request(stream: &mut TcpStream) -> io::Result<()> {
    stream.read(&mut [0; 4096]).map(drop)
}

/// Says something and then the same again and again, until nobody listens.
fn endless(first: &'static str, again: &'static str) -> Origin {
    Origin::raw(move |mut stream| {
        stream.write_all(first.as_bytes())?;
        let piece = again.repeat(1 + 4096 / again.len());
        loop {
            stream.write_all(piece.as_bytes())?;
        }
    })
}

/// Says a little every few milliseconds.
fn drop_by_drop(text: &'static str) -> Origin {
    Origin::raw(move |mut stream| {
        for byte in text.bytes().cycle() {
            stream.write_all(&[byte])?;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    })
}

/// Takes a request, says something and closes.
fn once(text: &'static [u8]) -> Origin {
    Origin::raw(move |mut stream| {
        request(&mut stream)?;
        stream.write_all(text)
    })
}

/// Says that nothing will come, and goes on to listen.
fn half_closed() -> Origin {
    Origin::raw(|mut stream| {
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut stream, &mut io::sink()).map(drop)
    })
}

#[test]
fn each_ends_in_time_with_a_reason_and_takes_little_memory() {
    let http = "type: http";
    let body = "type: http, body: needle";
    let tcp = "type: tcp, expect: needle";
    let tls = "type: https, verify: none";
    let grpc = "type: grpc";
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let table: [(Origin, &str, &str); 24] = [
        (endless("HTTP/1.1 200 OK\r\n", "a: b\r\n"), http, "not HTTP: "),
        (endless("HTTP/1.1 200 OK\r\na: ", "b"), http, "not HTTP: "),
        (
            endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
            http,
            "more than 1048576 bytes",
        ),
        (
            drop_by_drop("HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n"),
            http,
            "no answer within 900ms, waiting for the head",
        ),
        (endless("", "\u{1}\u{2}garbage\n"), http, "not HTTP: "),
        (
            once(b"HTTP/1.1 200 OK\r\nconte"),
            http,
            "closed in the head of the answer",
        ),
        (once(b""), http, "closed before an answer"),
        (half_closed(), http, "closed before an answer"),
        (
            endless(head, "5\r\nhello\r\n"),
            body,
            "`needle` is not in the first 65536 bytes of the body",
        ),
        (
            endless("HTTP/1.1 200 OK\r\n\r\n", "hay"),
            body,
            "`needle` is not in the first 65536 bytes of the body",
        ),
        (
            once(b"HTTP/1.1 200 OK\r\n\r\nhay"),
            body,
            "the body is without `needle`: `hay`",
        ),
        (
            once(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhay"),
            body,
            "ended before the body",
        ),
        (endless(head, "zz\r\n"), body, "not HTTP: "),
        (
            once(b"HTTP/1.1 204 No Content\r\n\r\n"),
            body,
            "the body is without `needle`: nothing",
        ),
        (endless("", "hay"), tcp, "65536 bytes without it"),
        (drop_by_drop("hay"), tcp, "waiting for `needle`, heard `hay"),
        (
            Origin::raw(|mut stream| stream.write_all(b"bye\r\n")),
            tcp,
            "expected `needle`, found `bye\\r\\n` and the end",
        ),
        (half_closed(), tcp, "expected `needle`, found nothing and the end"),
        (endless("", "garbage"), tls, "does not speak TLS"),
        (Origin::silent(), tls, "in the TLS handshake"),
        (half_closed(), tls, "closed in the middle"),
        (endless("", "garbage"), grpc, "not HTTP/2"),
        // An empty SETTINGS frame, over and over: each of them is to be acknowledged.
        (endless("", "\0\0\0\u{4}\0\0\0\0\0"), grpc, "more than 1048576 bytes"),
        (half_closed(), grpc, "not HTTP/2"),
    ];
    let check = |(index, (origin, kind, _)): (usize, &(Origin, &str, &str))| {
        format!(
            "- {{ name: check-{index}, port: {}, {kind}, {TIMES} }}\n",
            origin.address().port()
        )
    };
    let served = Origin::named("a");
    for (index, part) in table.chunks(12).enumerate() {
        let checks: String = part.iter().enumerate().map(check).collect();
        let isobar = binary!().run(&Configuration::to(&[served.address()]).upstream(format!("health:\n{checks}")));
        let before = isobar.process().resident_bytes().unwrap();
        let missing = || {
            let reasons = reasons(&isobar);
            let of = |index: usize| {
                let name = format!("check check-{index}: ");
                reasons
                    .split("; ")
                    .find_map(|reason| reason.split_once(&name))
                    .map(|(_, reason)| reason.to_owned())
            };
            let told = part
                .iter()
                .enumerate()
                .map(|(index, (_, kind, words))| (of(index), kind, words));
            let wrong =
                told.filter(|(reason, _, words)| !reason.as_ref().is_some_and(|reason| reason.contains(*words)));
            wrong
                .map(|(reason, kind, words)| format!("{kind}: {words:?} in {reason:?}"))
                .collect::<Vec<_>>()
        };
        let mut last = Vec::new();
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("every check has its reason", || {
                last = missing();
                last.is_empty()
            });
        }));
        assert!(all.is_ok(), "part {index}: {last:#?}");
        let after = isobar.process().resident_bytes().unwrap();
        assert!(after < before + MAX_GROWTH_BYTES, "{before} bytes, then {after}");
        assert_eq!(get(isobar.address(), "/").unwrap().status, 503);
        assert_eq!(isobar.metrics().sum("isobar_server_in_flight", &[]), Some(0.0));
    }
}

/// More servers than are probed at once or started at once: all of them are soon known, none of them is asked twice as
/// often as it should be, and the probes do not come in one burst.
#[test]
fn a_thousand_servers_are_probed_without_a_burst() {
    let origin = Origin::named("a");
    let port = origin.address().port();
    let servers: Vec<String> = (0..1000)
        .map(|n| format!("{{ address: \"127.0.0.1:{port}\", name: s{n} }}"))
        .collect();
    let mut configuration = Configuration::to(&[]);
    for server in &servers {
        configuration = configuration.server(server);
    }
    let configuration = configuration.upstream("health: { path: /health, interval: 4s, timeout: 3s }");
    let began = Instant::now();
    let isobar = binary!().run(&configuration);
    let known = |state| {
        isobar
            .metrics()
            .sum("isobar_server_health_state", &[("state", state)])
            .unwrap_or_default()
    };
    eventually("some are known", || known("healthy") > 0.0);
    assert!(known("unknown") > 0.0, "they are not all asked at once");
    eventually("all are known", || known("healthy") > 999.5);
    let (asked, elapsed) = (origin.request_count() as f64, began.elapsed());
    // An interval is a tenth shorter at times, and those asked first are asked again before the last.
    let most = 1000.0 * (1.0 + elapsed.as_secs_f64() / 3.6);
    assert!(
        asked >= 1000.0 && asked <= most,
        "{asked} probes of a thousand servers in {elapsed:?}"
    );
}
