//! Does memory stay as it is, however much waits on either side?

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::http2::{FramePeer, Http2Origin, Http2Settings, flags, headers, kind};
use isobar_testkit::{After, Client, Configuration, Isobar, Origin, binary, eventually, get};

/// What one exchange that waits may take, with all that is allocated for the first time.
const MEMORY: u64 = 24 << 20;

fn resident(isobar: &Isobar) -> u64 {
    isobar.process().resident_bytes().unwrap()
}

/// Waits until a number has stopped growing.
fn settles(number: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (number(), Instant::now());
    eventually("it stops", || {
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    number()
}

#[test]
fn a_slow_client_holds_its_server_up() {
    const SIZE: u64 = 200 << 20;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::start(move |exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"))?;
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            exchange.send(&piece)?;
            counted.fetch_add(1 << 20, Ordering::SeqCst);
        }
        Ok(After::Keep)
    });
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let before = resident(&isobar);
    // It has room for all of it, and does not read.
    let mut peer = FramePeer::connect(isobar.address(), &[(4, 0x7fff_ffff)]).unwrap();
    peer.frame(kind::WINDOW_UPDATE, flags::NONE, 0, [0x7f, 0, 0, 0])
        .unwrap();
    peer.get(1, "/").unwrap();
    let held = settles(|| sent.load(Ordering::SeqCst));
    assert!(held < SIZE / 4, "{held} bytes were taken of the server");
    assert!(
        resident(&isobar) < before + MEMORY,
        "{before} bytes became {}",
        resident(&isobar)
    );
    // And gets all of it in the end.
    assert!(!peer.next_of_note().unwrap().unwrap().payload.is_empty());
    let (data, whole) = peer.data_of(1, usize::MAX).unwrap();
    assert_eq!((data.len() as u64, whole), (SIZE, true));
    assert!(
        resident(&isobar) < before + MEMORY,
        "{before} bytes became {}",
        resident(&isobar)
    );
}

#[test]
fn a_slow_client_of_http1_holds_a_server_of_http2_up() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream("http_version: http2"));
    let before = resident(&isobar);
    let mut slow = Client::connect(isobar.address()).unwrap();
    slow.send("GET /stream/60000000 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = slow.receive_head().unwrap();
    // Others on the same connection to the server go on.
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/bytes/100000").unwrap().body.len(), 100_000);
    }
    assert!(
        resident(&isobar) < before + MEMORY,
        "{before} bytes became {}",
        resident(&isobar)
    );
    slow.receive_body(&mut answer).unwrap();
    assert_eq!(answer.body.len(), 60_000_000);
    assert!(
        resident(&isobar) < before + MEMORY,
        "{before} bytes became {}",
        resident(&isobar)
    );
}

/// Whoever sends to a server that does not read is given no more room than there is.
#[test]
fn a_slow_server_holds_its_client_up() {
    let old = Origin::start(|_| Ok(After::Stall));
    let new = Http2Origin::start(Http2Settings::default());
    for (version, address) in [("http1", old.address()), ("http2", new.address())] {
        // One that reads nothing at all.
        let silent = Origin::raw(|stream| {
            thread::sleep(Duration::from_secs(3));
            drop(stream);
            Ok(())
        });
        let address = if version == "http1" { silent.address() } else { address };
        let isobar = binary!().run(&Configuration::to(&[address]).upstream(format!("http_version: {version}")));
        let before = resident(&isobar);
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        peer.set_patience(Duration::from_millis(500)).unwrap();
        let post = headers(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/held"),
        ]);
        peer.frame(kind::HEADERS, flags::END_HEADERS, 1, post).unwrap();
        // As the settings say that it has: the connection's window is widened at once.
        let (mut stream, mut connection, mut sent) = (65_535_i64, 65_535_i64, 0_u64);
        let piece = vec![b'x'; 16_384];
        loop {
            while stream.min(connection) >= 16_384 && sent < 256 << 20 {
                peer.frame(kind::DATA, flags::NONE, 1, &piece).unwrap();
                (stream, connection, sent) = (stream - 16_384, connection - 16_384, sent + 16_384);
            }
            let Ok(Some(frame)) = peer.next_frame() else { break };
            match (frame.kind, frame.stream) {
                (kind::WINDOW_UPDATE, 0) => connection += i64::from(frame.number(0)),
                (kind::WINDOW_UPDATE, _) => stream += i64::from(frame.number(0)),
                (kind::SETTINGS, _) => {
                    let window = frame.payload.chunks(6).find(|setting| setting.starts_with(&[0, 4]));
                    let window = window
                        .and_then(|setting| setting[2..].try_into().ok())
                        .map(u32::from_be_bytes);
                    stream += window.map_or(0, |window| i64::from(window) - 65_535);
                }
                _ => {}
            }
        }
        assert!(sent > 65_535 && sent < 64 << 20, "{version}: {sent} bytes were taken");
        assert!(
            resident(&isobar) < before + MEMORY,
            "{version}: {before} bytes became {}",
            resident(&isobar)
        );
    }
}

/// Many small messages to a server that does not read them end nobody's connection.
#[test]
fn small_pieces_may_wait() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream("http_version: http2"));
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    let post = headers(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/held"),
    ]);
    peer.frame(kind::HEADERS, flags::END_HEADERS, 1, post).unwrap();
    let message = FramePeer::bytes(kind::DATA, flags::NONE, 1, b"message\n");
    peer.send(message.repeat(8_000)).unwrap();
    peer.frame(kind::DATA, flags::END_STREAM, 1, b"last").unwrap();
    eventually("it is there", || origin.busy() == 1);
    origin.release();
    assert_eq!(peer.end_of(1).unwrap(), isobar_testkit::http2::End::Status(200));
    eventually("all is there", || origin.last_seen().body.len() == 8 * 8_000 + 4);
}

/// Answers that their clients do not take fill no room that answers of others need, however many there are.
#[test]
fn many_slow_clients_hold_up_no_other() {
    let origin = Http2Origin::start(Http2Settings::default());
    let configuration = Configuration::to(&[origin.address()]).upstream("http_version: http2");
    let isobar = binary!().workers(1).run(&configuration);
    let mut slow: Vec<_> = (0..48)
        .map(|_| {
            let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
            peer.get(1, "/stream/2000000").unwrap();
            peer
        })
        .collect();
    for peer in &mut slow {
        // It gives no more room than there is from the start.
        assert_eq!(peer.end_of(1).unwrap(), isobar_testkit::http2::End::Status(200));
    }
    for _ in 0..30 {
        assert_eq!(get(isobar.address(), "/bytes/400000").unwrap().body.len(), 400_000);
    }
    assert_eq!(origin.connections_accepted(), 1);
    assert_eq!(origin.busy(), 48);
    // And each gets all of it in the end.
    let (data, whole) = slow[0].data_of(1, usize::MAX).unwrap();
    assert_eq!((data.len(), whole), (2_000_000, true));
}

/// Reads so many bytes, more slowly than they come.
fn read_slowly(mut stream: &TcpStream, bytes: u64, mut look: impl FnMut()) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let (mut read, mut looked) = (0, 0);
    while read < bytes {
        read += stream.read(&mut buffer)? as u64;
        if read - looked > 4 << 20 {
            looked = read;
            look();
        }
        // The other side has to be ahead all the time, and is in no hurry itself.
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// What is gathered for a socket stays little, also where that is never empty.
#[test]
fn a_client_that_is_slow_all_the_time_costs_little() {
    const SIZE: u64 = 100 << 20;
    let origin = Origin::start(|exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"))?;
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            exchange.send(&piece)?;
        }
        Ok(After::Keep)
    });
    let isobar = binary!().io("epoll").run(&Configuration::to(&[origin.address()]));
    let before = resident(&isobar);
    let mut peer = FramePeer::connect(isobar.address(), &[(4, 0x7fff_ffff)]).unwrap();
    peer.frame(kind::WINDOW_UPDATE, flags::NONE, 0, [0x7f, 0, 0, 0])
        .unwrap();
    peer.get(1, "/").unwrap();
    let mut most = 0;
    read_slowly(peer.stream(), SIZE, || most = most.max(resident(&isobar))).unwrap();
    assert!(most < before + MEMORY, "{before} bytes became {most}");
}

#[test]
fn a_server_that_is_slow_all_the_time_costs_little() {
    const SIZE: u64 = 100 << 20;
    let (tell, looks) = mpsc::sync_channel(32);
    let origin = Origin::raw(move |stream| {
        let mut peer = FramePeer::accept(stream, &[(4, 0x7fff_ffff)])?;
        peer.frame(kind::WINDOW_UPDATE, flags::NONE, 0, [0x7f, 0, 0, 0])?;
        let tell = tell.clone();
        read_slowly(peer.stream(), SIZE, || {
            // Whoever has seen enough listens no more.
            let _ = tell.send(());
        })?;
        peer.frame(kind::HEADERS, flags::WHOLE, 1, [0x88])?;
        io::copy(&mut peer.stream(), &mut io::sink()).map(drop)
    });
    let isobar = binary!()
        .io("epoll")
        .run(&Configuration::to(&[origin.address()]).upstream("http_version: http2"));
    let before = resident(&isobar);
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut writer = client.stream().try_clone().unwrap();
    let upload = thread::spawn(move || {
        writer.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes())?;
        let piece = vec![b'x'; 1 << 20];
        (0..SIZE >> 20).try_for_each(|_| writer.write_all(&piece))
    });
    let mut most = 0;
    for _ in 0..(SIZE >> 22) - 2 {
        looks.recv_timeout(isobar_testkit::PATIENCE).unwrap();
        most = most.max(resident(&isobar));
    }
    assert!(most < before + MEMORY, "{before} bytes became {most}");
    assert_eq!(client.receive().unwrap().status, 200);
    upload.join().unwrap().unwrap();
}
