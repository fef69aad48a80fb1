//! Do the two sides of an HTTP/2 connection understand each other, whatever the pieces in which bytes come?

use isobar_wire::http2::meter::{Budgets, Excess};
use isobar_wire::http2::{Answer, Asked, Connection, Ended, ErrorCode, Reading, Settings, StreamError, StreamKey};
use isobar_wire::{BodyDecoder, BodyKind, HeadLimits, Parsed, RequestHead, RequestKind, ResponseHead};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16_384,
    max_fields: 100,
};

const SETTINGS: Settings = Settings {
    max_concurrent_streams: 10,
    stream_window: 70_000,
    connection_window: 200_000,
    max_held: 1 << 20,
    head: LIMITS,
};

const BUDGETS: Budgets = Budgets {
    window_ms: 1_000,
    resets: 100,
    resets_sent: 100,
    pings: 100,
    settings: 100,
    empty_data: 100,
    priorities: 100,
    window_updates: 1_000,
    continuations: 8,
};

/// The two sides, and what is on its way.
struct Pair {
    client: Connection,
    server: Connection,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    piece: usize,
}

impl Pair {
    fn new(piece: usize) -> Self {
        Self::with(piece, SETTINGS)
    }

    fn with(piece: usize, settings: Settings) -> Self {
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        Self {
            client: Connection::of_client(SETTINGS, BUDGETS, &mut to_server),
            server: Connection::of_server(settings, BUDGETS, &mut to_client),
            to_client,
            to_server,
            piece,
        }
    }

    /// Moves what is on its way until nothing is.
    fn settle(&mut self) {
        while !self.to_client.is_empty() || !self.to_server.is_empty() {
            for piece in std::mem::take(&mut self.to_server).chunks(self.piece) {
                self.server.receive(piece, 0, &mut self.to_client);
            }
            for piece in std::mem::take(&mut self.to_client).chunks(self.piece) {
                self.client.receive(piece, 0, &mut self.to_server);
            }
        }
        assert_eq!((self.client.over(), self.server.over()), (None, None));
    }

    fn ask(&mut self, text: &str, ends: bool) -> StreamKey {
        let mut head = RequestHead::new();
        assert_eq!(head.parse(text.as_bytes(), LIMITS), Ok(Parsed::Complete));
        let asked = Asked {
            head: &head,
            text: text.as_bytes(),
            scheme: "http",
            accept: None,
            ends,
        };
        self.client.open(asked, &mut self.to_server).unwrap()
    }

    fn answer(&mut self, key: StreamKey, text: &str, ends: bool) {
        let mut head = ResponseHead::new();
        let request = RequestKind {
            method: isobar_wire::Method::Get,
            upgrade: false,
        };
        assert_eq!(head.parse(text.as_bytes(), request, LIMITS), Ok(Parsed::Complete));
        let answer = Answer {
            head: &head,
            text: text.as_bytes(),
            status: head.status,
            ends,
        };
        self.server.respond(key, answer, &mut self.to_client).unwrap();
    }
}

/// What is there to read, and what comes behind it.
fn read(connection: &mut Connection, key: StreamKey, out: &mut Vec<u8>) -> (String, Reading) {
    let mut all = Vec::new();
    loop {
        let mut buf = [0; 1000];
        match connection.read(key, &mut buf, out) {
            Reading::Bytes(count) => all.extend_from_slice(&buf[..count]),
            end => return (String::from_utf8(all).unwrap(), end),
        }
    }
}

/// What its sender wants in nobody's table goes on as such in both directions, whatever HTTP/1 is in between.
#[test]
fn what_shall_be_in_no_table_is_told_on() {
    let mut pair = Pair::new(1000);
    for _ in 0..3 {
        let asked = pair.ask("GET /a HTTP/1.1\r\nHost: b\r\nX-Token:  c\r\nX-Other: d\r\n\r\n", true);
        pair.settle();
        let key = pair.server.accept().unwrap();
        let (head, _) = read(&mut pair.server, key, &mut pair.to_client);
        assert_eq!(head, "GET /a HTTP/1.1\r\nhost: b\r\nx-token:  c\r\nx-other: d\r\n\r\n");
        pair.answer(
            key,
            "HTTP/1.1 200 OK\r\nX-Secret: \t e \r\nX-Open:f\r\nContent-Length: 0\r\n\r\n",
            true,
        );
        pair.settle();
        let (head, _) = read(&mut pair.client, asked, &mut pair.to_server);
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nx-secret:  e\r\nx-open: f\r\ncontent-length: 0\r\n\r\n"
        );
    }
}

#[test]
fn a_request_is_answered() {
    for piece in [1, 2, 3, 7, 9, 20, 1000] {
        let mut pair = Pair::new(piece);
        pair.settle();
        for _ in 0..3 {
            let asked = pair.ask(
                "GET /a HTTP/1.1\r\nHost: b\r\nX-C: d\r\nConnection: close\r\n\r\n",
                true,
            );
            pair.settle();
            let accepted = pair.server.accept().unwrap();
            assert_eq!(pair.server.accept(), None);
            assert_eq!(
                read(&mut pair.server, accepted, &mut pair.to_client),
                ("GET /a HTTP/1.1\r\nhost: b\r\nx-c: d\r\n\r\n".to_owned(), Reading::End)
            );
            assert_eq!(
                read(&mut pair.client, asked, &mut pair.to_server),
                (String::new(), Reading::Wait)
            );
            pair.answer(
                accepted,
                "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\n\r\n",
                false,
            );
            let sent = pair
                .server
                .send_data(accepted, (b"hello", true), 100, &mut pair.to_client);
            assert_eq!(sent, Ok(5));
            pair.server
                .close(accepted, ErrorCode::INTERNAL_ERROR, &mut pair.to_client);
            pair.settle();
            let expected = "HTTP/1.1 200 OK\r\nserver: s\r\ncontent-length: 5\r\n\r\nhello".to_owned();
            assert_eq!(
                read(&mut pair.client, asked, &mut pair.to_server),
                (expected, Reading::End)
            );
            pair.client.close(asked, ErrorCode::CANCEL, &mut pair.to_server);
            pair.settle();
        }
    }
}

/// What has come to be read of a stream, without what follows.
fn came(connection: &mut Connection, key: StreamKey, out: &mut Vec<u8>) -> usize {
    read(connection, key, out).0.len()
}

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

#[test]
fn bodies_come_in_chunks_with_their_trailers() {
    for piece in [1, 5, 1000] {
        let mut pair = Pair::new(piece);
        pair.settle();
        let asked = pair.ask(POST, false);
        for data in ["he", "l", "lo"] {
            let sent = pair
                .client
                .send_data(asked, (data.as_bytes(), false), 100, &mut pair.to_server);
            assert_eq!(sent, Ok(data.len()));
        }
        let trailers = b"X-Sum: 1\r\ny: 2\r\n";
        pair.client.send_trailers(asked, trailers, &mut pair.to_server).unwrap();
        pair.settle();
        let accepted = pair.server.accept().unwrap();
        let (text, end) = read(&mut pair.server, accepted, &mut pair.to_client);
        assert_eq!(end, Reading::End);
        assert_eq!(
            text,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n",
            "pieces of {piece}"
        );
    }
}

/// Nobody sends more than is read, and all of it comes when it is.
#[test]
fn windows_are_kept() {
    let mut pair = Pair::new(100_000);
    pair.settle();
    let asked = pair.ask(POST, false);
    let data = vec![7; 1_000_000];
    let mut sent = 0;
    let mut read_all = 0;
    pair.settle();
    let accepted = pair.server.accept().unwrap();
    came(&mut pair.server, accepted, &mut pair.to_client);
    while sent < data.len() {
        let count = pair
            .client
            .send_data(asked, (&data[sent..], true), usize::MAX, &mut pair.to_server)
            .unwrap();
        sent += count;
        pair.settle();
        let waiting = sent - read_all;
        assert!(waiting <= SETTINGS.stream_window as usize, "{waiting} bytes wait");
        if count == 0 {
            pair.client.wait_for_room(asked);
            let mut buf = vec![0; 50_000];
            let Reading::Bytes(_) = pair.server.read(accepted, &mut buf, &mut pair.to_client) else {
                panic!("there is something to read");
            };
            // What was read is told in the framing of chunks; what is left is not.
            read_all = sent;
            came(&mut pair.server, accepted, &mut pair.to_client);
            pair.settle();
            assert_eq!(pair.client.next_news(), Some(asked), "there is room again");
        }
    }
    came(&mut pair.server, accepted, &mut pair.to_client);
    pair.settle();
    assert_eq!(
        pair.server.read(accepted, &mut [0; 10], &mut pair.to_client),
        Reading::End
    );
}

/// A window that is smaller than the usual one holds, also for a stream that began before the client had heard of it.
#[test]
fn small_windows_stall_nothing() {
    for window in [16_384, 20_000, 32_768, 43_000, 65_535] {
        let settings = Settings {
            stream_window: window,
            ..SETTINGS
        };
        for first in [0, 1, 16_384, 40_000, 65_532] {
            let mut pair = Pair::with(100_000, settings);
            // The client has not heard of anything when it begins.
            let asked = pair.ask(POST, false);
            let data = vec![7; 300_000];
            let sent = pair
                .client
                .send_data(asked, (&data[..first], false), usize::MAX, &mut pair.to_server);
            assert_eq!(sent, Ok(first));
            let mut sent = first;
            pair.settle();
            let accepted = pair.server.accept().unwrap();
            for _ in 0..1_000 {
                if sent == data.len() {
                    break;
                }
                came(&mut pair.server, accepted, &mut pair.to_client);
                pair.settle();
                let count = pair
                    .client
                    .send_data(asked, (&data[sent..], true), usize::MAX, &mut pair.to_server);
                sent += count.unwrap();
                pair.settle();
            }
            assert_eq!(sent, data.len(), "a window of {window} after {first} bytes");
            came(&mut pair.server, accepted, &mut pair.to_client);
            assert_eq!(
                pair.server.read(accepted, &mut [0; 10], &mut pair.to_client),
                Reading::End
            );
        }
    }
}

/// A client that has used up more than the window it hears of may still say that this was all.
#[test]
fn an_end_needs_no_window() {
    let settings = Settings {
        stream_window: 16_384,
        ..SETTINGS
    };
    let mut pair = Pair::with(100_000, settings);
    let asked = pair.ask(POST, false);
    let data = vec![7; 65_000];
    let sent = pair
        .client
        .send_data(asked, (&data, false), usize::MAX, &mut pair.to_server);
    assert_eq!(sent, Ok(65_000));
    pair.settle();
    pair.client
        .send_data(asked, (b"", true), 0, &mut pair.to_server)
        .unwrap();
    pair.settle();
    let accepted = pair.server.accept().unwrap();
    assert_eq!(pair.server.failed(accepted), None);
    assert!(came(&mut pair.server, accepted, &mut pair.to_client) > 65_000);
}

/// Nothing is left out of a head that is taken.
#[test]
fn long_heads_are_whole_or_refused() {
    for len in (16_000..16_500).chain([30_000, 40_000]) {
        let mut pair = Pair::new(100_000);
        pair.settle();
        let path = "p".repeat(len);
        let text = format!("GET /{path} HTTP/1.1\r\nhost: a\r\nauthorization: b\r\ncookie: c\r\n\r\n");
        let mut head = RequestHead::new();
        let all = HeadLimits {
            max_bytes: 65_535,
            max_fields: 100,
        };
        assert_eq!(head.parse(text.as_bytes(), all), Ok(Parsed::Complete));
        let asked = Asked {
            head: &head,
            text: text.as_bytes(),
            scheme: "http",
            accept: None,
            ends: true,
        };
        pair.client.open(asked, &mut pair.to_server).unwrap();
        pair.settle();
        let accepted = pair.server.accept().unwrap();
        let (came, _) = read(&mut pair.server, accepted, &mut pair.to_client);
        let is_whole = came.contains("authorization:  b") && came.contains("cookie: c");
        assert!(
            is_whole || head.parse(came.as_bytes(), LIMITS).is_err(),
            "a path of {len}"
        );
    }
}

#[test]
fn a_head_without_a_body_may_end_later() {
    for text in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n"] {
        let mut pair = Pair::new(1000);
        pair.settle();
        let asked = pair.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true);
        pair.settle();
        let accepted = pair.server.accept().unwrap();
        pair.answer(accepted, text, false);
        pair.server
            .send_data(accepted, (b"", true), 0, &mut pair.to_client)
            .unwrap();
        pair.settle();
        let came = read(&mut pair.client, asked, &mut pair.to_server);
        assert_eq!(came, (text.to_owned(), Reading::End));
    }
}

/// Heads have no window.
#[test]
fn interim_heads_that_nobody_reads_are_bounded() {
    let mut pair = Pair::new(100_000);
    pair.settle();
    let asked = pair.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true);
    pair.settle();
    let accepted = pair.server.accept().unwrap();
    let interim = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "l".repeat(4_000));
    for _ in 0..10 {
        if pair.server.failed(accepted).is_none() {
            pair.answer(accepted, &interim, false);
        }
        pair.settle();
    }
    let failed = Some(StreamError::Malformed(ErrorCode::ENHANCE_YOUR_CALM));
    assert_eq!(pair.client.failed(asked), failed);
}

/// All that waits to be read counts, and what was read no longer does.
#[test]
fn what_a_connection_holds_is_bounded() {
    let settings = Settings {
        max_held: 50_000,
        ..SETTINGS
    };
    let mut pair = Pair::with(1_000, settings);
    pair.settle();
    let long = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-a: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        "a".repeat(8_000)
    );
    // What is read is held no longer, however much it was in all.
    for _ in 0..20 {
        let asked = pair.ask(&long, false);
        pair.client
            .send_data(asked, (&[7; 30_000], true), usize::MAX, &mut pair.to_server)
            .unwrap();
        pair.settle();
        let accepted = pair.server.accept().unwrap();
        assert!(came(&mut pair.server, accepted, &mut pair.to_client) > 38_000);
        pair.answer(accepted, "HTTP/1.1 204 No Content\r\n\r\n", true);
        pair.server.close(accepted, ErrorCode::CANCEL, &mut pair.to_client);
        pair.settle();
        read(&mut pair.client, asked, &mut pair.to_server);
        pair.client.close(asked, ErrorCode::CANCEL, &mut pair.to_server);
        pair.settle();
    }
    // Heads and data together.
    for _ in 0..2 {
        let asked = pair.ask(&long, false);
        pair.client
            .send_data(asked, (&[7; 15_000], true), usize::MAX, &mut pair.to_server)
            .unwrap();
        pair.settle();
    }
    pair.ask(&long, true);
    for piece in std::mem::take(&mut pair.to_server).chunks(1_000) {
        pair.server.receive(piece, 0, &mut pair.to_client);
    }
    assert_eq!(pair.server.over(), Some(Ended::Flood(Excess::HeldBytes)));
}

/// Padding takes of the windows what it gives back.
#[test]
fn padding_alone_stalls_nothing() {
    let mut pair = Pair::new(1000);
    pair.settle();
    pair.ask(POST, false);
    pair.settle();
    let (mut granted, mut sent) = (i64::from(SETTINGS.stream_window), 0);
    for _ in 0..2_000 {
        // DATA of stream 1, all of it padding.
        let frame = [&[0, 1, 0, 0, 8, 0, 0, 0, 1, 255][..], &[0; 255]].concat();
        pair.server.receive(&frame, 0, &mut pair.to_client);
        sent += 256;
        let mut said = &std::mem::take(&mut pair.to_client)[..];
        while let [0, 0, 4, 8, 0, 0, 0, 0, stream, a, b, c, d, rest @ ..] = said {
            if *stream == 1 {
                granted += i64::from(u32::from_be_bytes([*a, *b, *c, *d]));
            }
            said = rest;
        }
        assert_eq!(pair.server.over(), None);
        assert!(granted - sent > 256, "{granted} granted, {sent} sent");
    }
}

/// Those that wait for room in the connection get it one after the other.
#[test]
fn streams_take_turns() {
    let mut pair = Pair::new(100_000);
    pair.settle();
    let keys: Vec<_> = (0..5).map(|_| pair.ask(POST, false)).collect();
    pair.settle();
    let data = vec![7; 60_000];
    // Until the connection has no room.
    for key in &keys {
        let sent = pair
            .client
            .send_data(*key, (&data[..40_000], false), usize::MAX, &mut pair.to_server);
        assert_eq!(sent, Ok(40_000));
    }
    for key in &keys {
        pair.client.wait_for_room(*key);
    }
    assert!(!pair.client.give_turn(), "there is no room");
    pair.settle();
    for key in std::iter::from_fn(|| pair.server.accept()).collect::<Vec<_>>() {
        came(&mut pair.server, key, &mut pair.to_client);
    }
    pair.settle();
    let mut order = Vec::new();
    for _ in 0..6 {
        assert!(pair.client.give_turn());
        let key = pair.client.next_news().unwrap();
        order.push(keys.iter().position(|other| *other == key).unwrap());
        let other = keys.iter().find(|other| **other != key).unwrap();
        assert_eq!(
            pair.client
                .send_data(*other, (&data, false), usize::MAX, &mut pair.to_server),
            Ok(0),
            "it is not its turn"
        );
        let count = pair
            .client
            .send_data(key, (&data, false), usize::MAX, &mut pair.to_server);
        assert_eq!(count, Ok(16_384));
        pair.client.wait_for_room(key);
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 0]);
}

#[test]
fn whoever_leaves_is_let_finish() {
    let mut pair = Pair::new(1000);
    pair.settle();
    let asked = pair.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true);
    pair.settle();
    let accepted = pair.server.accept().unwrap();
    pair.server.leave(&mut pair.to_client);
    // Before the client hears of it.
    let late = pair.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true);
    pair.settle();
    let also = pair.server.accept().expect("it is served");
    assert!(!pair.client.is_open() && !pair.server.is_done());
    for (ours, theirs) in [(accepted, asked), (also, late)] {
        pair.answer(ours, "HTTP/1.1 204 No Content\r\n\r\n", true);
        pair.server.close(ours, ErrorCode::INTERNAL_ERROR, &mut pair.to_client);
        pair.settle();
        let (text, end) = read(&mut pair.client, theirs, &mut pair.to_server);
        assert_eq!((text.as_str(), end), ("HTTP/1.1 204 No Content\r\n\r\n", Reading::End));
        pair.client.close(theirs, ErrorCode::CANCEL, &mut pair.to_server);
    }
    assert!(pair.client.is_done() && pair.server.is_done());
}

/// A client that goes on all the same, because it has not heard the last word, ends nothing.
#[test]
fn what_comes_behind_the_last_word_is_passed_over() {
    let mut pair = Pair::new(1000);
    pair.settle();
    let asked = pair.ask(POST, false);
    pair.settle();
    let accepted = pair.server.accept().unwrap();
    pair.server.leave(&mut pair.to_client);
    // The client hears that it is asked to leave, and has sent more by the time of the last word.
    let asked_to = std::mem::take(&mut pair.to_client);
    let ping = asked_to.len() - 17;
    let late = pair.ask(POST, false);
    pair.client
        .send_data(late, (b"late", false), 100, &mut pair.to_server)
        .unwrap();
    let requests = std::mem::take(&mut pair.to_server);
    pair.client.receive(&asked_to[ping..], 0, &mut pair.to_server);
    pair.settle();
    pair.server.receive(&requests, 0, &mut pair.to_client);
    pair.settle();
    assert_eq!(pair.server.accept(), None);
    assert_eq!(pair.client.failed(late), Some(StreamError::Left));
    assert_eq!(pair.client.failed(asked), None);
    pair.answer(accepted, "HTTP/1.1 204 No Content\r\n\r\n", true);
    pair.server
        .close(accepted, ErrorCode::INTERNAL_ERROR, &mut pair.to_client);
    pair.settle();
    assert!(pair.server.is_done());
}

#[test]
fn streams_are_given_up_by_either_side() {
    let mut pair = Pair::new(1000);
    pair.settle();
    // By the client.
    let asked = pair.ask(POST, false);
    pair.settle();
    let accepted = pair.server.accept().unwrap();
    pair.client.close(asked, ErrorCode::CANCEL, &mut pair.to_server);
    pair.settle();
    let failed = Some(StreamError::Reset(ErrorCode::CANCEL));
    assert_eq!(
        (pair.server.next_news(), pair.server.failed(accepted)),
        (Some(accepted), failed)
    );
    pair.server
        .close(accepted, ErrorCode::INTERNAL_ERROR, &mut pair.to_client);
    assert!(pair.to_client.is_empty(), "nobody is told what both know");
    // By the server, while data is on its way.
    let asked = pair.ask(POST, false);
    pair.settle();
    let accepted = pair.server.accept().unwrap();
    pair.client
        .send_data(asked, (b"abc", false), 100, &mut pair.to_server)
        .unwrap();
    pair.server
        .close(accepted, ErrorCode::INTERNAL_ERROR, &mut pair.to_client);
    pair.settle();
    assert_eq!(
        pair.client.failed(asked),
        Some(StreamError::Reset(ErrorCode::INTERNAL_ERROR))
    );
    pair.client.close(asked, ErrorCode::CANCEL, &mut pair.to_server);
    pair.settle();
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut pair = Pair::new(1000);
    pair.settle();
    let keys: Vec<_> = (0..12).map(|_| pair.ask(POST, false)).collect();
    pair.settle();
    assert_eq!(std::iter::from_fn(|| pair.server.accept()).count(), 10);
    for (number, key) in keys.iter().enumerate() {
        let refused = Some(StreamError::Reset(ErrorCode::REFUSED_STREAM)).filter(|_| number >= 10);
        assert_eq!(pair.client.failed(*key), refused, "{number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever is sent comes, in whatever pieces and whatever the other side reads at once.
    #[test]
    fn what_is_sent_comes(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 1..9),
        piece in 100usize..50_000,
        at_once in 100usize..40_000,
        limit in 100usize..70_000,
    ) {
        let mut pair = Pair::new(piece);
        pair.settle();
        let mut streams: Vec<_> = bodies.iter().map(|body| (pair.ask(POST, false), &body[..], None, Vec::new())).collect();
        pair.settle();
        for (_, _, accepted, _) in &mut streams {
            *accepted = pair.server.accept();
            // The head goes ahead.
            let head = pair.server.read(accepted.unwrap(), &mut [0; 56], &mut pair.to_client);
            prop_assert_eq!(head, Reading::Bytes(56));
        }
        for turn in 0.. {
            prop_assert!(turn < 100_000, "nothing moves");
            pair.client.give_turn();
            while pair.client.next_news().is_some() {}
            let mut is_over = true;
            for (asked, rest, accepted, text) in &mut streams {
                if !rest.is_empty() {
                    let sent = pair.client.send_data(*asked, (rest, false), limit, &mut pair.to_server).unwrap();
                    *rest = &rest[sent..];
                    if rest.is_empty() {
                        pair.client.send_data(*asked, (&[], true), 0, &mut pair.to_server).unwrap();
                    } else {
                        pair.client.wait_for_room(*asked);
                    }
                } else if turn == 0 {
                    pair.client.send_data(*asked, (&[], true), 0, &mut pair.to_server).unwrap();
                }
                pair.settle();
                let mut buf = vec![0; at_once];
                match pair.server.read(accepted.unwrap(), &mut buf, &mut pair.to_client) {
                    Reading::Bytes(count) => text.extend_from_slice(&buf[..count]),
                    Reading::Wait => {}
                    Reading::End => continue,
                    Reading::Failed(error) => prop_assert!(false, "{error:?}"),
                }
                is_over = false;
            }
            if is_over {
                break;
            }
        }
        for ((_, _, _, text), body) in streams.iter().zip(&bodies) {
            let mut decoder = BodyDecoder::new(BodyKind::Chunked);
            let (mut rest, mut data) = (&text[..], Vec::new());
            while !rest.is_empty() {
                let decoded = decoder.decode(rest).unwrap();
                data.extend_from_slice(&rest[decoded.data]);
                rest = &rest[decoded.consumed..];
            }
            prop_assert!(decoder.is_done());
            prop_assert_eq!(&data, body);
        }
    }
}
