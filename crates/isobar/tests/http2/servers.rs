//! Do servers of HTTP/2 get what they allow, and do others do without them when they fail?

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use isobar_testkit::http2::{Asked, FramePeer, Http2Origin, Http2Settings, fetch, flags, kind};
use isobar_testkit::{Client, Configuration, Isobar, Origin, binary, eventually, get, noise};

fn before(servers: &[std::net::SocketAddr], more: &str) -> Isobar {
    let log = "access_log: { path: access.log, format: json }";
    binary!().workers(1).run(
        &Configuration::to(servers)
            .upstream(format!("http_version: http2\n{more}"))
            .top(log),
    )
}

/// Sends so many requests at once, each on a connection of its own; their statuses.
fn at_once(isobar: &Isobar, count: usize, path: &'static str) -> Vec<thread::JoinHandle<u16>> {
    let address = isobar.address();
    (0..count)
        .map(|_| thread::spawn(move || get(address, path).map_or(0, |answer| answer.status)))
        .collect()
}

fn all_are(statuses: Vec<thread::JoinHandle<u16>>, expected: u16) {
    for status in statuses {
        assert_eq!(status.join().unwrap(), expected);
    }
}

#[test]
fn requests_share_connections() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = before(&[origin.address()], "");
    let waiting = at_once(&isobar, 64, "/held");
    eventually("all are there", || origin.busy() == 64);
    assert_eq!(origin.connections_accepted(), 1);
    origin.release();
    all_are(waiting, 200);
    assert_eq!(origin.connections_accepted(), 1);
    isobar.comes_to_rest();
}

#[test]
fn no_server_gets_more_at_once_than_it_allows() {
    for max in [1, 4] {
        let origin = Http2Origin::start(Http2Settings {
            max_concurrent_streams: Some(max),
            ..Http2Settings::default()
        });
        let isobar = before(&[origin.address()], "");
        // What a server allows is not known before it said so.
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
        let waiting = at_once(&isobar, 16, "/held");
        eventually("all are there", || origin.busy() == 16);
        let connections = origin.connections_accepted();
        assert!(
            connections >= 16 / max as usize && connections <= 16,
            "{max}: {connections}"
        );
        origin.release();
        all_are(waiting, 200);
        all_are(at_once(&isobar, 16, "/"), 200);
        let metrics = isobar.metrics();
        assert_eq!(metrics.sum("isobar_server_failures_total", &[]), Some(0.0), "{max}");
    }
}

/// A server that says of every request, once, that it did nothing about it.
fn declining(
    say: impl Fn(&mut FramePeer, u32) -> std::io::Result<()> + Send + Sync + 'static,
) -> (Origin, Arc<AtomicUsize>) {
    let declined = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&declined);
    let origin = Origin::raw(move |stream| {
        let mut peer = FramePeer::accept(stream, &[])?;
        while let Some(frame) = peer.next_of_note()? {
            if frame.kind == kind::HEADERS {
                counted.fetch_add(1, Ordering::SeqCst);
                say(&mut peer, frame.stream)?;
            }
        }
        Ok(())
    });
    (origin, declined)
}

#[test]
fn what_a_server_did_nothing_about_goes_to_another() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let (refusing, refused) =
        declining(|peer, stream| peer.frame(kind::RST_STREAM, flags::NONE, stream, REFUSED_STREAM));
    let (leaving, left) = declining(|peer, _| peer.frame(kind::GOAWAY, flags::NONE, 0, [0; 8]));
    for (origin, count) in [(refusing, refused), (leaving, left)] {
        let good = Http2Origin::start(Http2Settings::default());
        let isobar = before(&[origin.address(), good.address()], "balance: round_robin");
        for _ in 0..4 {
            let mut client = Client::connect(isobar.address()).unwrap();
            // One that may not be sent twice, and is sent again all the same.
            let answer = client.post("/echo", b"body").unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (200, b"body".as_slice()));
        }
        assert!(count.load(Ordering::SeqCst) >= 1);
        assert_eq!(good.seen().len(), 4);
    }
}

#[test]
fn a_server_that_leaves_loses_nothing() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = before(&[origin.address()], "");
    let waiting = at_once(&isobar, 8, "/held");
    eventually("all are there", || origin.busy() == 8);
    assert_eq!(get(isobar.address(), "/goaway").unwrap().status, 200);
    // Whoever comes now goes to a connection that stays.
    for _ in 0..5 {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    }
    assert_eq!(origin.busy(), 8);
    origin.release();
    all_are(waiting, 200);
    assert!(origin.connections_accepted() >= 2);
    eventually("the old one is closed", || origin.connections_open() == 1);
    let metrics = isobar.metrics();
    assert_eq!(metrics.sum("isobar_server_failures_total", &[]), Some(0.0));
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_its_client_alone() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = before(&[origin.address()], "");
    let waiting = at_once(&isobar, 4, "/held");
    eventually("all are there", || origin.busy() == 4);
    for _ in 0..3 {
        assert!(get(isobar.address(), "/cut").is_err());
        let cut = fetch(
            isobar.address(),
            &Asked {
                path: "/cut",
                ..Asked::default()
            },
        );
        assert!(cut.is_err(), "{cut:?}");
    }
    origin.release();
    all_are(waiting, 200);
    assert_eq!(origin.connections_accepted(), 1);
}

#[test]
fn a_server_that_stalls_gets_no_more_and_others_on_its_connection_go_on() {
    let origin = Http2Origin::start(Http2Settings::default());
    let routes = "- { match: { path: /held }, upstream: web, timeouts: { read: 1500ms } }\n- upstream: web";
    let configuration = Configuration::to(&[origin.address()])
        .upstream("http_version: http2\nretry: { attempts: 0 }")
        .routes(routes);
    let isobar = binary!().workers(1).run(&configuration);
    let mut slow = Client::connect(isobar.address()).unwrap();
    // An answer that is under way while another one times out.
    slow.send("GET /stream/3000000 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut begun = slow.receive_head().unwrap();
    assert_eq!(get(isobar.address(), "/held").unwrap().status, 504);
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    assert_eq!(
        origin.connections_accepted(),
        2,
        "nothing was heard for more than a second"
    );
    slow.receive_body(&mut begun).unwrap();
    assert_eq!(begun.body.len(), 3_000_000);
}

#[test]
fn a_server_that_answers_early_is_heard() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = before(&[origin.address()], "");
    let body = noise(4 << 20, 1);
    for _ in 0..3 {
        let got = fetch(
            isobar.address(),
            &Asked {
                method: "POST",
                path: "/hasty",
                body: &body,
                ..Asked::default()
            },
        );
        assert_eq!(got.map(|got| got.status).ok(), Some(413));
    }
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    isobar.comes_to_rest();
}

#[test]
fn servers_that_speak_something_else_fail_and_nothing_else_does() {
    let garbage: [&'static [u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        b"\0\0\0\x04\0\0\0\0\0garbage garbage garbage garbage",
        b"\xff\xff\xff\x04\0\0\0\0\0",
        // Settings, and a head that cannot be decompressed.
        b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff",
        // Settings, and an answer with the status 101.
        b"\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x08\x03101\0",
        // Settings, and a request that nobody made.
        b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x05\x04\0\0\0\x01\0\0\0\x02",
    ];
    for bytes in garbage {
        let origin = Origin::raw(move |mut stream| {
            stream.write_all(bytes)?;
            std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
        });
        let isobar = before(&[origin.address()], "timeouts: { read: 2s }");
        for request in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ] {
            let mut client = Client::connect(isobar.address()).unwrap();
            let answer = client.exchange(request).unwrap();
            assert!(matches!(answer.status, 501 | 502 | 504), "{bytes:?} {answer:?}");
        }
        isobar.comes_to_rest();
    }
}

#[test]
fn idle_connections_to_servers_are_closed() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = before(&[origin.address()], "keep_alive: { idle_timeout: 300ms }");
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    eventually("it is closed", || origin.connections_open() == 0);
    assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
}
