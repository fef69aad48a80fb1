//! What becomes of clients that make much work at little cost, and of everybody else meanwhile?

use std::fs;
use std::time::Duration;

use isobar_testkit::http2::{End, FramePeer, field, flags, headers, kind};
use isobar_testkit::{Configuration, Isobar, Origin, binary, eventually, wait_for};

use crate::probe::{Probe, is_unnoticed};

const ENHANCE_YOUR_CALM: End = End::GoAway(11);

const RESETS_SENT: &str = "too many resets_sent";

/// What all attacks together may add to the memory that is in use.
const MEMORY: u64 = 96 << 20;

fn fronted(more: &str) -> (Origin, Isobar) {
    let origin = Origin::start(|exchange| {
        exchange.body()?;
        let len = exchange
            .request
            .target
            .strip_prefix("/bytes/")
            .and_then(|len| len.parse().ok());
        exchange.reply(200, &[], &vec![b'x'; len.unwrap_or(2)])
    });
    let log = "access_log: { path: access.log, format: json }";
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).listener(more).top(log));
    (origin, isobar)
}

fn details(isobar: &Isobar, cause: &str) -> Vec<String> {
    let text = fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let lines = lines.filter(|line: &serde_json::Value| line["cause"] == cause);
    lines
        .map(|line| line["detail"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn post() -> Vec<u8> {
    headers(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ])
}

fn get(path: &str) -> Vec<u8> {
    headers(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ])
}

/// Repeats what a client says until the connection ends, or so many times; how it ended.
fn attack(isobar: &Isobar, times: u32, mut say: impl FnMut(u32) -> Vec<u8>) -> End {
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    for number in 0..times {
        // A connection that is closed is the end that is looked for.
        if peer.send(say(number)).is_err() {
            break;
        }
    }
    peer.ends().unwrap()
}

/// Each flood ends its connection, with its name in the log; nobody else sees an error or waits.
#[test]
fn floods_end_their_connections_and_nobody_else_notices() {
    let (origin, isobar) = fronted("");
    let probe = Probe::start(isobar.address());
    std::thread::sleep(Duration::from_secs(1));
    let normal = probe.finish();
    let before = isobar.process().resident_bytes().unwrap();
    let probe = Probe::start(isobar.address());

    let stream = |number: u32| 2 * number + 1;
    let reset = |number| {
        let ended = FramePeer::bytes(kind::RST_STREAM, flags::NONE, stream(number), [0, 0, 0, 8]);
        [
            FramePeer::bytes(kind::HEADERS, flags::WHOLE, stream(number), get("/")),
            ended,
        ]
        .concat()
    };
    let too_much_room = |number| {
        let room = FramePeer::bytes(
            kind::WINDOW_UPDATE,
            flags::NONE,
            stream(number),
            [0x7f, 0xff, 0xff, 0xff],
        );
        [
            FramePeer::bytes(kind::HEADERS, flags::END_HEADERS, stream(number), post()),
            room,
        ]
        .concat()
    };
    let wrong_length = |number| {
        let head = [post(), field("content-length", "1")].concat();
        let long = FramePeer::bytes(kind::DATA, flags::NONE, stream(number), b"long");
        [
            FramePeer::bytes(kind::HEADERS, flags::END_HEADERS, stream(number), head),
            long,
        ]
        .concat()
    };
    let dependent = |number: u32| {
        let itself = [&stream(number).to_be_bytes()[..], &[0]].concat();
        FramePeer::bytes(
            kind::HEADERS,
            flags::WHOLE | 0x20,
            stream(number),
            [itself, get("/")].concat(),
        )
    };
    let piece = |number| match number {
        0 => FramePeer::bytes(kind::HEADERS, flags::NONE, 1, get("/")),
        _ => FramePeer::bytes(kind::CONTINUATION, flags::NONE, 1, field("x", "y")),
    };
    let nothing = |number| match number {
        0 => FramePeer::bytes(kind::HEADERS, flags::END_HEADERS, 1, post()),
        _ => FramePeer::bytes(kind::DATA, flags::NONE, 1, []),
    };
    let many = |kind: u8, stream: u32, len: usize| {
        move |_| FramePeer::bytes(kind, flags::NONE, stream, vec![0; len]).repeat(20)
    };
    let one = |_| FramePeer::bytes(kind::WINDOW_UPDATE, flags::NONE, 0, [0, 0, 0, 1]).repeat(20);
    let times = 2_000;
    let ends: [(&str, End); 11] = [
        ("too many resets", attack(&isobar, times, reset)),
        (RESETS_SENT, attack(&isobar, times, too_much_room)),
        (RESETS_SENT, attack(&isobar, times, wrong_length)),
        (RESETS_SENT, attack(&isobar, times, dependent)),
        ("too many continuations", attack(&isobar, times, piece)),
        ("too many empty_data", attack(&isobar, times, nothing)),
        ("too many settings", attack(&isobar, times, many(kind::SETTINGS, 0, 0))),
        ("too many pings", attack(&isobar, times, many(kind::PING, 0, 8))),
        (
            "too many priorities",
            attack(&isobar, times, many(kind::PRIORITY, 3, 5)),
        ),
        ("too many priorities", attack(&isobar, times, many(0xbe, 0, 5))),
        ("too many window_updates", attack(&isobar, times, one)),
    ];
    let during = probe.finish();
    for (index, (detail, end)) in ends.iter().enumerate() {
        assert!(
            matches!(*end, ENHANCE_YOUR_CALM | End::Closed),
            "{index} {detail}: {end:?}"
        );
    }
    let told = ends.iter().filter(|(_, end)| *end == ENHANCE_YOUR_CALM).count();
    assert!(told >= 9, "{ends:?}");
    let logged = wait_for("all are in the log", || {
        let details = details(&isobar, "client_flood");
        (details.len() >= ends.len()).then_some(details)
    });
    // Workers write their lines one beside the other.
    let mut left = logged.clone();
    for (detail, _) in ends.iter().filter(|(detail, _)| *detail != RESETS_SENT) {
        let found = left.iter().position(|logged| logged == detail);
        left.swap_remove(found.unwrap_or_else(|| panic!("no {detail:?} in {logged:?}")));
    }
    // Resets count when they are sent. Before, the next flood may have been noticed.
    let early = [RESETS_SENT, "too many window_updates"];
    assert!(left.iter().all(|detail| early.contains(&detail.as_str())), "{left:?}");
    is_unnoticed(normal, during);
    let after = isobar.process().resident_bytes().unwrap();
    assert!(after < before + MEMORY, "{before} bytes became {after}");
    // What they asked for before is bounded by what they had a budget for.
    assert!(origin.requests().iter().filter(|request| request.target == "/").count() < 11 * 300);
    isobar.comes_to_rest();
}

/// What was given up before anybody looked at it is nobody's work.
#[test]
fn requests_that_are_given_up_at_once_reach_no_server() {
    let (origin, isobar) = fronted("");
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    let mut all = Vec::new();
    for number in 0..100 {
        let stream = 2 * number + 1;
        all.extend(FramePeer::bytes(kind::HEADERS, flags::WHOLE, stream, get("/")));
        all.extend(FramePeer::bytes(kind::RST_STREAM, flags::NONE, stream, [0, 0, 0, 8]));
    }
    // In one piece, which is read as one or a few.
    peer.send(all).unwrap();
    peer.frame(kind::HEADERS, flags::WHOLE, 201, get("/last")).unwrap();
    assert_eq!(peer.end_of(201).unwrap(), End::Status(200));
    assert!(origin.request_count() <= 5, "{} requests", origin.request_count());
}

/// What came for them does not count against the window of their connection.
#[test]
fn uploads_that_are_given_up_at_once_take_no_window() {
    let (_origin, isobar) = fronted("http2: { connection_window: 65535B }");
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    let post = || {
        headers(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ])
    };
    let mut all = Vec::new();
    for number in 0..60 {
        let stream = 2 * number + 1;
        all.extend(FramePeer::bytes(kind::HEADERS, flags::END_HEADERS, stream, post()));
        all.extend(FramePeer::bytes(kind::DATA, flags::NONE, stream, [7; 1_000]));
        all.extend(FramePeer::bytes(kind::RST_STREAM, flags::NONE, stream, [0, 0, 0, 8]));
    }
    peer.send(all).unwrap();
    // It is given back, so that there is room for more.
    while peer.next_frame().unwrap().expect("the connection stays").kind != kind::WINDOW_UPDATE {}
    peer.frame(kind::HEADERS, flags::END_HEADERS, 121, post()).unwrap();
    for _ in 0..3 {
        peer.frame(kind::DATA, flags::NONE, 121, [7; 10_000]).unwrap();
    }
    peer.frame(kind::DATA, flags::END_STREAM, 121, "").unwrap();
    assert_eq!(peer.end_of(121).unwrap(), End::Status(200));
}

#[test]
fn what_a_client_makes_us_hold_is_bounded() {
    let (_origin, isobar) = fronted("http2: { max_memory: 64KiB }");
    let head = [get("/"), field("x-a", vec![b'a'; 10_000])].concat();
    // Faster than anybody could look at them.
    let heads = (0..40).flat_map(|number| FramePeer::bytes(kind::HEADERS, flags::WHOLE, 2 * number + 1, &head));
    let heads: Vec<u8> = heads.collect();
    for _ in 0..5 {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        // The connection may end before all of it is sent.
        let _ = peer.send(&heads);
    }
    let ended = wait_for("the line of a connection that held too much", || {
        let log = fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        log.contains("too many held_bytes").then_some(log)
    });
    assert!(ended.contains("client_flood"), "{ended}");
    isobar.comes_to_rest();
}

/// Whoever is sent a lot is heard all the same.
#[test]
fn a_client_that_is_sent_a_lot_is_heard() {
    let (_origin, isobar) = fronted("");
    let mut peer = FramePeer::connect(isobar.address(), &[(4, 0x7fff_ffff)]).unwrap();
    peer.frame(kind::WINDOW_UPDATE, flags::NONE, 0, [0x7f, 0, 0, 0])
        .unwrap();
    peer.frame(kind::HEADERS, flags::WHOLE, 1, get("/bytes/60000000"))
        .unwrap();
    let (mut came, mut is_asked) = (0, false);
    loop {
        let frame = peer.next_frame().unwrap().expect("the connection stays");
        match frame.kind {
            kind::DATA => came += frame.payload.len(),
            kind::PING if frame.flags == flags::ACK => break,
            _ => {}
        }
        if came > 1_000_000 && !std::mem::replace(&mut is_asked, true) {
            peer.frame(kind::PING, flags::NONE, 0, *b"are you?").unwrap();
        }
    }
    // What the sockets hold comes first.
    assert!(came < 40_000_000, "the answer came behind {came} bytes");
}

/// Heads that are small when they are sent and large when they are read.
#[test]
fn heads_that_grow_are_refused() {
    let (origin, isobar) = fronted("");
    let before = isobar.process().resident_bytes().unwrap();
    // A field of 4,000 bytes that is kept in the table, and then named by one byte each.
    let mut kept = field("bomb", vec![b'b'; 4_000]);
    kept[0] = 0x40;
    let bomb = [get("/"), kept, vec![0xbe; 12_000]].concat();
    // Fields as small as they can be.
    let tiny = [get("/"), field("a", "").repeat(4_000)].concat();
    // The same, of names and values that are in the static table.
    let indexed = [get("/"), vec![0x90; 16_000]].concat();
    let crumbs = [get("/"), field("cookie", "a").repeat(1_600)].concat();
    for head in [bomb, tiny, indexed, crumbs] {
        for _ in 0..20 {
            let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
            peer.frame(kind::HEADERS, flags::WHOLE, 1, &head).unwrap();
            assert_eq!(peer.end_of(1).unwrap(), End::Status(431));
        }
    }
    let refused = isobar.metrics().sum(
        "isobar_listener_requests_refused_total",
        &[("cause", "client_head_too_large")],
    );
    assert_eq!(refused, Some(80.0), "each is counted, as one of HTTP/1 is");
    let after = isobar.process().resident_bytes().unwrap();
    assert!(after < before + MEMORY, "{before} bytes became {after}");
    assert_eq!(origin.request_count(), 0);
}

/// Whoever asks for much and takes nothing is held up for no longer than the listener is patient.
#[test]
fn clients_that_take_nothing_are_let_go() {
    let (_origin, isobar) = fronted("timeouts: { write: 500ms, idle: 3s }");
    let before = isobar.process().resident_bytes().unwrap();
    let connections = || isobar.metrics().sum("isobar_listener_connections", &[]).unwrap();
    // By the windows of HTTP/2: the streams are reset.
    let mut closed: Vec<_> = (0..4)
        .map(|_| {
            let mut peer = FramePeer::connect(isobar.address(), &[(4, 0)]).unwrap();
            for number in 0..100 {
                peer.frame(kind::HEADERS, flags::WHOLE, 2 * number + 1, get("/bytes/1000000"))
                    .unwrap();
            }
            peer
        })
        .collect();
    for peer in &mut closed {
        let mut resets = 0;
        while resets < 100 {
            let frame = peer.next_of_note().unwrap().expect("the connection stays");
            assert_ne!(frame.kind, kind::DATA);
            resets += u32::from(frame.kind == kind::RST_STREAM);
        }
    }
    // By leaving it in the socket, with all the room there is: the connection is closed, also where the requests are long over. Where
    // the kernel has taken all of it, the connection looks idle.
    let deaf: Vec<_> = (0..4)
        .map(|_| {
            let mut peer = FramePeer::connect(isobar.address(), &[(4, 0x7fff_ffff)]).unwrap();
            peer.frame(kind::WINDOW_UPDATE, flags::NONE, 0, [0x7f, 0, 0, 0])
                .unwrap();
            for number in 0..100 {
                peer.frame(kind::HEADERS, flags::WHOLE, 2 * number + 1, get("/bytes/60000"))
                    .unwrap();
            }
            peer
        })
        .collect();
    drop(closed);
    eventually("all are closed", || connections() == 0.0);
    let after = isobar.process().resident_bytes().unwrap();
    assert!(after < before + MEMORY, "{before} bytes became {after}");
    drop(deaf);
    isobar.comes_to_rest();
}

/// A client may open no more than it is allowed, and has to go on with what it opened.
#[test]
fn half_open_requests_are_bounded_in_number_and_time() {
    let (_origin, isobar) = fronted("timeouts: { body: 700ms }");
    let before = isobar.process().resident_bytes().unwrap();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        // One more is refused, which a client that knows the limit does not try.
        for number in 0..=128 {
            peer.frame(kind::HEADERS, flags::END_HEADERS, 2 * number + 1, post())
                .unwrap();
        }
        peers.push(peer);
    }
    for peer in &mut peers {
        assert_eq!(peer.end_of(257).unwrap(), End::Reset(7));
        let (mut timed_out, mut open) = (0, 128);
        while open > 0 {
            let frame = peer.next_of_note().unwrap().expect("the connection stays");
            timed_out += u32::from(frame.kind == kind::HEADERS);
            open -= u32::from(frame.kind == kind::RST_STREAM);
        }
        assert_eq!(timed_out, 128);
    }
    let after = isobar.process().resident_bytes().unwrap();
    assert!(after < before + MEMORY, "{before} bytes became {after}");
    isobar.comes_to_rest();
}

#[test]
fn heads_have_to_come_to_an_end_in_time() {
    let (_origin, isobar) = fronted("timeouts: { head: 400ms, idle: 30s }");
    let whole = FramePeer::bytes(kind::HEADERS, flags::WHOLE, 1, get("/"));
    let pieces = [
        FramePeer::bytes(kind::HEADERS, flags::NONE, 1, get("/")),
        whole[..whole.len() - 3].to_vec(),
        whole[..5].to_vec(),
    ];
    for piece in pieces {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        peer.send(&piece).unwrap();
        assert_eq!(peer.ends().unwrap(), ENHANCE_YOUR_CALM);
    }
    eventually("all are in the log", || {
        details(&isobar, "client_head_timeout").len() == 3
    });
}

#[test]
fn connections_end_when_they_are_idle_or_old() {
    let (_origin, isobar) = fronted("timeouts: { idle: 400ms }");
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    peer.get(1, "/").unwrap();
    assert_eq!(peer.end_of(1).unwrap(), End::Status(200));
    assert_eq!(peer.ends().unwrap(), End::GoAway(0));
    // One that asks again and again does so on a new one now and then.
    let (_origin, isobar) = fronted("timeouts: { max_age: 600ms, idle: 30s }");
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    let mut number = 0;
    let leaves = loop {
        peer.get(2 * number + 1, "/").unwrap();
        let frame = loop {
            let frame = peer.next_of_note().unwrap().expect("it says goodbye");
            if frame.kind == kind::GOAWAY || frame.kind == kind::DATA {
                break frame;
            }
        };
        if frame.kind == kind::GOAWAY {
            break frame;
        }
        number += 1;
    };
    assert_eq!(leaves.number(4), 0);
    // What was asked for meanwhile is answered.
    assert_eq!(peer.end_of(2 * number + 1).unwrap(), End::Status(200));
    assert!(matches!(peer.ends().unwrap(), End::GoAway(0) | End::Closed));
}

/// Frames that cannot be are told apart, and logged.
#[test]
fn frames_that_cannot_be_end_the_connection() {
    let (_origin, isobar) = fronted("");
    for (kind, stream, payload, reason) in [
        (kind::PING, 0, vec![0; 7], 6),
        (kind::SETTINGS, 0, vec![0; 5], 6),
        (kind::WINDOW_UPDATE, 0, vec![0; 5], 6),
        (5, 1, vec![0; 4], 1),
    ] {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        peer.frame(kind, flags::NONE, stream, payload).unwrap();
        assert_eq!(peer.ends().unwrap(), End::GoAway(reason), "{kind}");
    }
    eventually("all are in the log", || details(&isobar, "client_malformed").len() == 4);
}
