//! Are connections that requests share given up when they are dead, kept when they are not, and no more than are needed?

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::http2::{End, FramePeer, Http2Origin, Http2Settings, flags, headers, kind};
use isobar_testkit::{Client, Configuration, Gate, Load, LoadOptions, Origin, binary, eventually, get};

use crate::scripted::{answer, before, counted, scripted};

/// Requests for a path, on so many streams of a connection, in one piece.
fn ask(peer: &mut FramePeer, streams: impl Iterator<Item = u32>, path: &str) {
    let head = headers(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ]);
    let frames: Vec<u8> = streams
        .flat_map(|stream| FramePeer::bytes(kind::HEADERS, flags::WHOLE, stream, &head))
        .collect();
    peer.send(frames).unwrap();
}

/// A server whose first connection answers once and falls silent.
fn falls_silent() -> Origin {
    scripted(|peer, asked| match (asked.connection, asked.stream) {
        (0, 3..) => Ok(()),
        (_, stream) => answer(peer, stream),
    })
}

/// Asks, and gives up after a while where there is no answer.
fn impatient(isobar: &isobar_testkit::Isobar, version: &str) -> bool {
    let patience = Duration::from_millis(400);
    if version == "http2" {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        peer.set_patience(patience).unwrap();
        peer.get(1, "/").unwrap();
        if peer.end_of(1).is_ok_and(|end| end == End::Status(200)) {
            return true;
        }
        // The connection stays; its request is not wanted any more.
        peer.frame(kind::RST_STREAM, flags::NONE, 1, [0, 0, 0, 8]).unwrap();
        eventually("it is given up", || counted(isobar, "server_in_flight") == 0.0);
        return false;
    }
    let mut client = Client::connect(isobar.address()).unwrap();
    client.stream().set_read_timeout(Some(patience)).unwrap();
    client.get("/").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_connection_on_which_nothing_comes_takes_no_more() {
    for version in ["http1", "http2"] {
        let origin = falls_silent();
        let isobar = before(&[origin.address()], "");
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
        let began = Instant::now();
        eventually("there is a new one", || impatient(&isobar, version));
        assert!(
            began.elapsed() < Duration::from_secs(6),
            "{version}: {:?}",
            began.elapsed()
        );
        assert_eq!(origin.connections_accepted(), 2, "{version}");
    }
}

#[test]
fn a_connection_on_which_nothing_comes_until_a_deadline_takes_no_more() {
    for rules in [
        "retry: { deadline: 400ms }",
        "retry: { try_timeout: 400ms, attempts: 0 }",
    ] {
        let origin = falls_silent();
        let isobar = before(&[origin.address()], rules);
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
        let mut statuses = Vec::new();
        eventually("there is a new one", || {
            statuses.push(get(isobar.address(), "/").unwrap().status);
            statuses.last() == Some(&200)
        });
        // A second of silence, which the first of these may not have been.
        assert!((2..=5).contains(&statuses.len()), "{rules}: {statuses:?}");
        assert_eq!(origin.connections_accepted(), 2, "{rules}");
    }
}

#[test]
fn a_connection_on_which_others_are_answered_is_kept() {
    let origin = Http2Origin::start(Http2Settings::default());
    let routes = "- { match: { path: /held }, upstream: web, timeouts: { read: 1500ms } }\n- upstream: web";
    let configuration = Configuration::to(&[origin.address()]).upstream("http_version: http2");
    let isobar = binary!().workers(1).run(&configuration.routes(routes));
    let address = isobar.address();
    let slow = thread::spawn(move || get(address, "/held").unwrap().status);
    let mut client = Client::connect(address).unwrap();
    while !slow.is_finished() {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    assert_eq!(slow.join().unwrap(), 504);
    assert_eq!(client.get("/").unwrap().status, 200);
    assert_eq!(origin.connections_accepted(), 1);
}

#[test]
fn a_stream_that_the_server_breaks_off_is_its_failure() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let broken = scripted(move |peer, asked| {
        counting.fetch_add(1, Ordering::SeqCst);
        match asked.stream {
            1 => answer(peer, 1),
            stream => peer.frame(kind::RST_STREAM, flags::NONE, stream, [0, 0, 0, 2]),
        }
    });
    let isobar = before(&[broken.address()], "");
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    for number in 0..3 {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 502, "{number}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4, "each was sent once");
    assert_eq!(broken.connections_accepted(), 1);
    assert_eq!(counted(&isobar, "server_failures_total"), 3.0);
    // Whoever looks for servers that fail sees it.
    let good = [(), ()].map(|()| scripted(|peer, asked| answer(peer, asked.stream)));
    let rules = "balance: round_robin\nslow_start: none\nretry: { attempts: 0 }\n\
                 outlier_detection: { consecutive_errors: 3, ejection: { base: 60s }, min_servers: 3 }";
    let isobar = before(&[broken.address(), good[0].address(), good[1].address()], rules);
    let statuses: Vec<_> = (0..30).map(|_| get(isobar.address(), "/").unwrap().status).collect();
    assert!(
        statuses.iter().filter(|&&status| status == 502).count() >= 3,
        "{statuses:?}"
    );
    eventually("it is taken out", || counted(&isobar, "server_ejected") == 1.0);
}

#[test]
fn a_refused_stream_goes_elsewhere_as_far_as_the_budget_allows() {
    let refusing = scripted(|peer, asked| peer.frame(kind::RST_STREAM, flags::NONE, asked.stream, [0, 0, 0, 7]));
    let good = scripted(|peer, asked| answer(peer, asked.stream));
    let lines = "balance: round_robin\noutlier_detection: none\nslow_start: none";
    for (budget, expected) in [("none", 200), ("{ percent: 0%, min: 0/s }", 503)] {
        let isobar = before(
            &[refusing.address(), good.address()],
            &format!("{lines}\nretry: {{ budget: {budget} }}"),
        );
        // Of every two one goes to the server that refuses.
        let statuses: Vec<_> = (0..8)
            .map(|_| {
                let mut client = Client::connect(isobar.address()).unwrap();
                client.post("/", b"body").unwrap().status
            })
            .collect();
        let refused = statuses.iter().filter(|&&status| status == 503).count();
        let failures = isobar
            .metrics()
            .sum("isobar_server_failures_total", &[("cause", "server_refused")])
            .unwrap();
        assert!(failures >= 1.0, "{budget}: {statuses:?}");
        if expected == 200 {
            assert_eq!(refused, 0, "{budget}: {statuses:?}");
        } else {
            assert_eq!(refused as f64, failures, "{budget}: {statuses:?}");
        }
        assert_eq!(counted(&isobar, "server_connections_opened_total"), 2.0, "{budget}");
    }
}

#[test]
fn what_a_server_that_leaves_did_nothing_about_goes_to_another_connection() {
    let origin = scripted(|peer, asked| match (asked.connection, asked.stream) {
        // It has answered the first, and has not looked at others.
        (0, 3..) => peer.frame(kind::GOAWAY, flags::NONE, 0, [0, 0, 0, 1, 0, 0, 0, 0]),
        (_, stream) => answer(peer, stream),
    });
    let isobar = before(&[origin.address()], "retry: { attempts: 0 }");
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..3 {
        assert_eq!(client.post("/", b"body").unwrap().status, 200);
    }
    assert_eq!(origin.connections_accepted(), 2);
    assert_eq!(counted(&isobar, "server_failures_total"), 0.0);
}

#[test]
fn a_connection_that_was_closed_while_idle_fails_no_request() {
    let origin = scripted(|peer, asked| answer(peer, asked.stream));
    let isobar = before(&[origin.address()], "retry: { attempts: 0 }");
    for number in 0..20 {
        let mut client = Client::connect(isobar.address()).unwrap();
        assert_eq!(client.post("/", b"body").unwrap().status, 200, "{number}");
        eventually("it is answered", || counted(&isobar, "server_in_flight") == 0.0);
        origin.close_connections();
        assert_eq!(client.post("/", b"body").unwrap().status, 200, "{number}");
    }
    assert_eq!(counted(&isobar, "server_failures_total"), 0.0);
}

/// As it is for connections of HTTP/1: whoever closes without a word has not looked at the request.
#[test]
fn a_connection_that_ends_without_a_word_as_it_is_used_again_is_no_failure() {
    let origin = scripted(|peer, asked| match asked.stream {
        1 => answer(peer, 1),
        _ => Err(std::io::ErrorKind::ConnectionAborted.into()),
    });
    let isobar = before(&[origin.address()], "retry: { attempts: 0 }");
    let mut client = Client::connect(isobar.address()).unwrap();
    for number in 0..10 {
        assert_eq!(client.get("/").unwrap().status, 200, "{number}");
    }
    assert_eq!(origin.connections_accepted(), 10);
    assert_eq!(counted(&isobar, "server_failures_total"), 0.0);
}

#[test]
fn many_requests_at_once_make_few_connections() {
    let origin = Http2Origin::start(Http2Settings {
        max_concurrent_streams: Some(100),
        ..Http2Settings::default()
    });
    let isobar = before(&[origin.address()], "");
    let mut peers: Vec<_> = (0..5)
        .map(|_| FramePeer::connect(isobar.address(), &[]).unwrap())
        .collect();
    for peer in &mut peers {
        ask(peer, (1..200).step_by(2), "/held");
    }
    eventually("all are there", || origin.busy() == 500);
    let connections = origin.connections_accepted();
    assert!((5..=8).contains(&connections), "{connections}");
    origin.release();
    for peer in &mut peers {
        for _ in 0..100 {
            loop {
                let frame = peer.next_of_note().unwrap().unwrap();
                assert!(matches!(frame.kind, kind::HEADERS | kind::DATA), "{frame:?}");
                if frame.kind == kind::DATA {
                    break;
                }
            }
        }
    }
    isobar.comes_to_rest();
}

#[test]
fn a_client_that_leaves_before_there_is_a_connection_frees_its_place() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::raw(move |stream| {
        held.pass();
        let mut peer = FramePeer::accept(stream, &[])?;
        while let Some(frame) = peer.next_of_note()? {
            if frame.kind == kind::HEADERS {
                answer(&mut peer, frame.stream)?;
            }
        }
        Ok(())
    });
    let isobar = before(&[origin.address()], "timeouts: { connect: 14s }");
    let in_flight = |count: f64| {
        eventually("so many are in flight", || {
            counted(&isobar, "server_in_flight") == count
        });
    };
    let mut first = Client::connect(isobar.address()).unwrap();
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    in_flight(1.0);
    let mut old = Client::connect(isobar.address()).unwrap();
    old.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut new = FramePeer::connect(isobar.address(), &[]).unwrap();
    new.get(1, "/").unwrap();
    in_flight(3.0);
    old.reset().unwrap();
    in_flight(2.0);
    new.frame(kind::RST_STREAM, flags::NONE, 1, [0, 0, 0, 8]).unwrap();
    in_flight(1.0);
    gate.open();
    assert_eq!(first.receive().unwrap().status, 200);
    assert_eq!(origin.connections_accepted(), 1);
}

/// A server of both versions, which counts the requests of each.
fn of_both_versions(seen: &Arc<[AtomicUsize; 2]>) -> Origin {
    let seen = Arc::clone(seen);
    Origin::raw(move |mut stream| {
        let mut first = [0; 3];
        stream.peek(&mut first)?;
        if &first == b"PRI" {
            let mut peer = FramePeer::accept(stream, &[])?;
            while let Some(frame) = peer.next_of_note()? {
                if frame.kind == kind::HEADERS {
                    seen[1].fetch_add(1, Ordering::SeqCst);
                    answer(&mut peer, frame.stream)?;
                }
            }
            return Ok(());
        }
        let mut head = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            head.extend_from_slice(&buffer[..count]);
            if head.ends_with(b"\r\n\r\n") {
                head.clear();
                seen[0].fetch_add(1, Ordering::SeqCst);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            }
        }
    })
}

#[test]
fn a_reload_changes_the_version_of_every_request_from_then_on() {
    let seen = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let origin = of_both_versions(&seen);
    let count = |version: usize| seen[version].load(Ordering::SeqCst);
    let configuration =
        |version: &str| Configuration::to(&[origin.address()]).upstream(format!("http_version: {version}"));
    let isobar = binary!().run(&configuration("http2"));
    let options = LoadOptions {
        clients: 4,
        ..LoadOptions::default()
    };
    let load = Load::start(isobar.address(), &options);
    load.passes(50);
    for (name, version) in [("http1", 0), ("http2", 1), ("http1", 0)] {
        isobar.reload(&configuration(name).yaml());
        let began = Instant::now();
        eventually("all use the new version", || {
            let (old, new) = (count(1 - version), count(version));
            load.passes(50);
            count(1 - version) == old && count(version) >= new + 40
        });
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{name}: {:?}",
            began.elapsed()
        );
        let old = count(1 - version);
        load.passes(200);
        assert_eq!(count(1 - version), old, "{name}");
    }
    load.finish().assert_flawless();
}

/// What was on its way when a request was given up is no fault of the server's.
#[test]
fn bursts_of_requests_that_are_given_up_end_no_connection_to_a_server() {
    const BURST: u32 = 240;
    const ROUNDS: usize = 7;
    let held = Arc::new(AtomicUsize::new(0));
    let (holding, given_up) = (Arc::clone(&held), Arc::new(AtomicUsize::new(0)));
    let counting = Arc::clone(&given_up);
    let origin = Origin::raw(move |stream| {
        let mut talks = stream.try_clone()?;
        let mut peer = FramePeer::accept(stream, &[])?;
        // It is never silent for so long that it would be taken for dead.
        thread::spawn(move || {
            let ping = FramePeer::bytes(kind::PING, flags::NONE, 0, [0; 8]);
            while talks.write_all(&ping).is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        while let Some(frame) = peer.next_of_note()? {
            match frame.kind {
                // The first waits for the end of all others.
                kind::HEADERS if frame.stream == 1 => {
                    holding.store(1, Ordering::SeqCst);
                }
                kind::HEADERS => peer.frame(kind::HEADERS, flags::END_HEADERS, frame.stream, [0x88])?,
                kind::RST_STREAM if frame.number(0) == 8 => {
                    // On more streams than the library remembers, and on more of those in all than it would stand.
                    peer.frame(kind::DATA, flags::NONE, frame.stream, b"late")?;
                    if counting.fetch_add(1, Ordering::SeqCst) + 1 == ROUNDS * BURST as usize {
                        answer(&mut peer, 1)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    });
    let limits = "http2: { max_concurrent_streams: 250, budgets: { resets: 1000 } }";
    let isobar = binary!().workers(1).run(
        &Configuration::to(&[origin.address()])
            .upstream("http_version: http2")
            .listener(limits),
    );
    let mut waiting = Client::connect(isobar.address()).unwrap();
    waiting.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("it is there", || held.load(Ordering::SeqCst) == 1);
    for round in 1..=ROUNDS {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        let streams = (1..2 * BURST).step_by(2);
        ask(&mut peer, streams.clone(), "/");
        for _ in 0..BURST {
            while peer.next_of_note().unwrap().unwrap().kind != kind::HEADERS {}
        }
        let resets: Vec<u8> = streams
            .flat_map(|stream| FramePeer::bytes(kind::RST_STREAM, flags::NONE, stream, [0, 0, 0, 8]))
            .collect();
        peer.send(resets).unwrap();
        eventually("all are given up", || {
            given_up.load(Ordering::SeqCst) == round * BURST as usize
        });
    }
    assert_eq!(waiting.receive().unwrap().status, 200);
    assert_eq!(origin.connections_accepted(), 1);
}

#[test]
fn a_client_that_is_refused_many_streams_keeps_its_connection() {
    const REFUSED: u32 = 1500;
    let origin = Http2Origin::start(Http2Settings::default());
    let limits = "http2: { max_concurrent_streams: 4, budgets: { resets_sent: 10000 } }";
    let isobar = binary!().workers(1).run(
        &Configuration::to(&[origin.address()])
            .upstream("http_version: http2")
            .listener(limits),
    );
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    ask(&mut peer, (1..8).step_by(2), "/held");
    eventually("they are there", || origin.busy() == 4);
    let post = headers(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]);
    for stream in (9..9 + 2 * REFUSED).step_by(2) {
        let head = FramePeer::bytes(kind::HEADERS, flags::END_HEADERS, stream, &post);
        peer.send([head, FramePeer::bytes(kind::DATA, flags::END_STREAM, stream, b"body")].concat())
            .unwrap();
    }
    let last = 9 + 2 * (REFUSED - 1);
    assert_eq!(peer.end_of(last).unwrap(), End::Reset(7));
    origin.release();
    let mut answered = Vec::new();
    while answered.len() < 4 {
        let frame = peer.next_of_note().unwrap().unwrap();
        if frame.kind == kind::HEADERS {
            answered.push(frame.stream);
        }
        assert_ne!(frame.kind, kind::GOAWAY, "{frame:?}");
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 3, 5, 7]);
    assert_eq!(origin.seen().len(), 4);
}

/// Other protocols than WebSocket there are none in HTTP/2, and nobody has to take up what is offered.
#[test]
fn an_upgrade_that_a_server_cannot_take_up_is_an_ordinary_request() {
    let origin = Http2Origin::start(Http2Settings {
        websockets: true,
        ..Http2Settings::default()
    });
    let isobar = before(&[origin.address()], "retry: { attempts: 0 }");
    for upgrade in ["foo", "h2c", "websocket", "foo, websocket", "TLS/1.0"] {
        for _ in 0..3 {
            let request =
                format!("GET /plain HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n\r\n");
            let mut client = Client::connect(isobar.address()).unwrap();
            let answer = client.exchange(request).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{upgrade}");
            let seen = origin.last_seen();
            assert_eq!(seen.method, "GET", "{upgrade}: {seen:?}");
            assert_eq!(seen.fields.value("upgrade"), None, "{upgrade}: {seen:?}");
            // The connection is as good as any.
            assert_eq!(client.get("/").unwrap().status, 200, "{upgrade}");
        }
    }
    assert_eq!(origin.connections_accepted(), 1);
    assert_eq!(counted(&isobar, "server_failures_total"), 0.0);
}

/// A path that a server of HTTP/1 is asked for is one that a server of HTTP/2 is asked for, with the same meaning.
#[test]
fn paths_that_only_http1_knows_are_spelled_for_http2() {
    let (old, new) = (Origin::named("old"), Http2Origin::start(Http2Settings::default()));
    let plain = binary!().workers(1).run(&Configuration::to(&[old.address()]));
    let isobar = before(&[new.address()], "retry: { attempts: 0 }");
    let ask = |isobar: &isobar_testkit::Isobar, target: &[u8]| {
        let request = [b"GET ", target, b" HTTP/1.1\r\nhost: a\r\n\r\n"].concat();
        Client::connect(isobar.address())
            .unwrap()
            .exchange(request)
            .unwrap()
            .status
    };
    for byte in (b'!'..=b'~').chain([0x80, 0xc3, 0xff]) {
        for before in [&b"/a"[..], b"/a?q="] {
            let target = [before, &[byte], b"b"].concat();
            let shown = target.escape_ascii();
            let expected = ask(&plain, &target);
            assert_eq!(ask(&isobar, &target), expected, "{shown}");
            if expected == 200 && byte != b'#' {
                let uri = new.last_seen().uri;
                let (plain, spelled) = (format!("/{}", char::from(byte)), format!("%{byte:02X}b"));
                let ends = uri.ends_with(&spelled) || uri.ends_with(&format!("{}b", &plain[1..]));
                assert!(ends, "{shown}: {uri}");
            }
        }
    }
    let get = |target: &[u8]| (ask(&isobar, target), new.last_seen().uri);
    let (status, uri) = get(b"/a<b>c?q=<`>");
    assert!(status == 200 && uri.ends_with("/a%3Cb%3Ec?q=%3C%60%3E"), "{uri}");
    assert_eq!(new.connections_accepted(), 1);
    assert_eq!(counted(&isobar, "server_failures_total"), 0.0);
}
