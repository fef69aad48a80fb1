//! What must hold of an HTTP/2 connection, whatever comes and in whatever pieces? Written once, for the fuzz target and for the tests.

use isobar_wire::http2::meter::Budgets;
use isobar_wire::http2::{Answer, Asked, Connection, Ended, ErrorCode, PREFACE, Reading, Settings, StreamKey};
use isobar_wire::{HeadLimits, Method, Parsed, RequestHead, RequestKind, ResponseHead};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 2_048,
    max_fields: 20,
};

const SETTINGS: Settings = Settings {
    max_concurrent_streams: 5,
    stream_window: 20_000,
    connection_window: 70_000,
    max_held: 1 << 20,
    head: LIMITS,
};

const BUDGETS: Budgets = Budgets {
    window_ms: 1_000,
    resets: 10,
    resets_sent: 10,
    pings: 10,
    settings: 10,
    empty_data: 10,
    priorities: 10,
    window_updates: 10,
    continuations: 4,
};

/// Bytes of one stream that may wait to be read: its heads, each with a field too many, and its window with the framing of chunks.
const MAX_UNREAD: usize = 40 * (2_048 + 16_384) + 65_535 + 100;

/// What a connection made of what came.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    said: Vec<u8>,
    over: Option<Ended>,
    streams: Vec<(u32, Vec<u8>, Reading)>,
    heads: u64,
    is_within_head: bool,
}

/// The first byte is the length of the pieces, the second says which side is ours, the others are what comes.
pub(crate) fn http2_connection(input: &[u8]) {
    let [piece, side, bytes @ ..] = input else { return };
    let side = if side % 2 == 0 { server } else { client };
    let whole = run(bytes, bytes.len().max(1), side);
    let pieces = run(bytes, usize::from(*piece) + 1, side);
    assert_eq!(whole, pieces);
}

/// A connection and the streams on it.
type Side = fn(&mut Vec<u8>) -> (Connection, Vec<StreamKey>);

fn server(said: &mut Vec<u8>) -> (Connection, Vec<StreamKey>) {
    let mut connection = Connection::of_server(SETTINGS, BUDGETS, said);
    connection.receive(PREFACE, 0, said);
    (connection, Vec::new())
}

fn client(said: &mut Vec<u8>) -> (Connection, Vec<StreamKey>) {
    let mut connection = Connection::of_client(SETTINGS, BUDGETS, said);
    let asks = [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true, None),
        ("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", true, None),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n", false, None),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false, Some("proof")),
    ];
    let keys = asks.map(|(text, ends, accept)| {
        let mut head = RequestHead::new();
        assert_eq!(head.parse(text.as_bytes(), LIMITS), Ok(Parsed::Complete));
        let asked = Asked {
            head: &head,
            text: text.as_bytes(),
            scheme: "http",
            accept: accept.map(Box::from),
            ends,
        };
        connection.open(asked, said).expect("the connection is new")
    });
    (connection, keys.to_vec())
}

fn run(bytes: &[u8], piece: usize, side: Side) -> Made {
    let mut said = Vec::new();
    let (mut connection, mut keys) = side(&mut said);
    for piece in bytes.chunks(piece) {
        connection.receive(piece, 0, &mut said);
    }
    while connection.next_news().is_some() {}
    keys.extend(std::iter::from_fn(|| connection.accept()));
    let made = Made {
        streams: keys.iter().map(|&key| read(&mut connection, key)).collect(),
        over: connection.over(),
        heads: connection.heads(),
        is_within_head: connection.is_within_head(),
        said,
    };
    // What follows makes no promise but that it ends.
    let mut said = Vec::new();
    for &key in &keys {
        answer(&mut connection, key, &mut said);
    }
    connection.leave(&mut said);
    for key in keys {
        connection.close(key, ErrorCode::CANCEL, &mut said);
    }
    assert!(!connection.has_streams());
    connection.lost();
    assert!(connection.over().is_some());
    made
}

fn read(connection: &mut Connection, key: StreamKey) -> (u32, Vec<u8>, Reading) {
    let mut text = Vec::new();
    loop {
        let mut buf = [0; 700];
        match connection.read(key, &mut buf, &mut Vec::new()) {
            Reading::Bytes(count) => text.extend_from_slice(&buf[..count]),
            end => {
                assert!(text.len() <= MAX_UNREAD, "{} bytes were kept", text.len());
                return (key.id(), text, end);
            }
        }
    }
}

fn answer(connection: &mut Connection, key: StreamKey, said: &mut Vec<u8>) {
    let text = b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n";
    let mut head = ResponseHead::new();
    let kind = RequestKind {
        method: Method::Get,
        upgrade: false,
    };
    assert_eq!(head.parse(text, kind, LIMITS), Ok(Parsed::Complete));
    let answer = Answer {
        head: &head,
        text,
        status: 200,
        ends: false,
    };
    if connection.is_answerable(key) && connection.respond(key, answer, said).is_ok() {
        let data = [7; 30_000];
        let sent = connection
            .send_data(key, (&data, false), 100_000, said)
            .expect("it was answered");
        assert!(sent <= data.len());
        connection.wait_for_room(key);
        connection.give_turn();
        connection
            .send_trailers(key, b"x-a: b\r\n", said)
            .expect("it was answered");
    }
}
