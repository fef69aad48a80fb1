//! How long does it take to read a head and to follow a chunked body? Prints nanoseconds a call; run with
//! `cargo bench -p isobar-wire`. It is a figure to compare with itself before and after a change, not a test.

use std::hint::black_box;

use isobar_wire::{BodyDecoder, BodyKind, HeadLimits, Method, RequestHead, RequestKind, ResponseHead};
use rounds::measure;

#[path = "measure/rounds.rs"]
mod rounds;

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16_384,
    max_fields: 100,
};

/// What curl, wrk and load generators send.
const SMALL: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n";

/// What a client library sends: 8 fields, about 300 bytes.
const TYPICAL: &[u8] = b"GET /v1/users/42?expand=orders HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\nAccept: application/json\r\n\
    Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nX-Request-Id: 7f3a9c52e1b84d06\r\n\
    Cookie: session=0123456789abcdef\r\nReferer: https://example.com/a\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 27 Jul 2009 12:28:53 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\nVary: Accept-Encoding\r\n\
    ETag: \"34aa387-d-1568eb00\"\r\nCache-Control: max-age=60\r\n\r\n";

fn main() {
    let mut request = RequestHead::new();
    measure("request, 2 fields", SMALL.len(), || {
        assert!(request.parse(black_box(SMALL), LIMITS).is_ok());
    });
    measure("request, 8 fields", TYPICAL.len(), || {
        assert!(request.parse(black_box(TYPICAL), LIMITS).is_ok());
    });
    let partial = TYPICAL.get(..TYPICAL.len() - 2).unwrap_or_default();
    measure("request, incomplete", partial.len(), || {
        assert!(request.parse(black_box(partial), LIMITS).is_ok());
    });
    let long = [TYPICAL.get(..TYPICAL.len() - 4).unwrap_or_default(), &[b'x'; 14_000]].concat();
    measure("request, incomplete and long", long.len(), || {
        assert!(request.parse(black_box(&long), LIMITS).is_ok());
    });
    let kind = RequestKind {
        method: Method::Get,
        upgrade: false,
    };
    let mut response = ResponseHead::new();
    measure("response, 8 fields", RESPONSE.len(), || {
        assert!(response.parse(black_box(RESPONSE), kind, LIMITS).is_ok());
    });
    let chunks = [b"1000\r\n".as_slice(), &[b'x'; 4_096], b"\r\n"].concat().repeat(16);
    measure("16 chunks of 4 KiB, forwarded", chunks.len(), || {
        assert!(BodyDecoder::new(BodyKind::Chunked).forward(black_box(&chunks)).is_ok());
    });
}
