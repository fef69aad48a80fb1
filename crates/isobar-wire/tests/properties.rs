//! What holds for every input? Inputs are made from the pieces messages are made of, so that most are nearly valid.

use isobar_wire::{
    BodyDecoder, BodyKind, HeadLimits, Method, Parsed, RequestHead, RequestKind, ResponseHead, Version, write,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../../../fuzz/src/checks.rs"]
mod checks;

/// Pieces of reports of load, good and bad.
const REPORT_PIECES: [&str; 28] = [
    "TEXT ",
    "JSON ",
    "BIN ",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "=",
    ";",
    "\"",
    "cpu_utilization",
    "\"cpuUtilization\"",
    "application_utilization",
    "rps",
    "eps",
    "\"named_metrics\"",
    "named_metrics.",
    "requests_in_flight",
    "latency_ms",
    "1",
    "0.5",
    "1e-320",
    "null",
    "CQAAAAAAAOA/",
    "MQAAAAAAACRA",
    "GEY=",
];

/// Pieces of heads, good and bad.
const PIECES: [&str; 36] = [
    "GET / HTTP/1.1\r\n",
    "POST http://b/c HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.0\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 101 x\r\n",
    "HTTP/1.0 204\r\n",
    "Host: a\r\n",
    "Host: a:80\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x-a, upgrade\r\n",
    "X-A: b\r\n",
    "Upgrade: websocket\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\n",
    "A:\r\n",
    "A : b\r\n",
    " folded\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    ":",
    " ",
    "\t",
    "GET",
    "HTTP/1.",
    "Content-Length: ",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "\u{fc}",
];

fn heads() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A chunked body: sizes, extensions and trailers as they come.
fn chunked_bodies() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk = (
        vec(any::<u8>(), 1..40),
        0..4_usize,
        prop::sample::select(&["", ";a", ";a=\"b\"", "; c"][..]),
    );
    let trailers = prop::sample::select(&["", "A: b\r\n", "Content-Length: 1\r\nA: b\r\n"][..]);
    (vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        let (mut body, mut data) = (Vec::new(), Vec::new());
        for (bytes, zeros, extension) in chunks {
            body.extend(format!("{}{:x}{extension}\r\n", "0".repeat(zeros), bytes.len()).bytes());
            body.extend_from_slice(&bytes);
            body.extend_from_slice(b"\r\n");
            data.extend(bytes);
        }
        write::last_chunk(&mut body, trailers.as_bytes());
        (body, data)
    })
}

fn tokens() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    let inner = prop::sample::select((0x20..0x7f).chain(0x80..=0xff).chain([b'\t']).collect::<Vec<u8>>());
    vec(inner, 0..24).prop_map(|value| value.trim_ascii().to_vec())
}

/// Heads of more bytes than are read at once: one of their bytes is repeated.
fn long_heads() -> impl Strategy<Value = Vec<u8>> {
    (heads(), any::<prop::sample::Index>(), 2_000..2_200_usize).prop_map(|(head, position, count)| {
        let at = if head.is_empty() { 0 } else { position.index(head.len()) };
        let filling = head.get(at).copied().unwrap_or(b'a');
        [&head[..at], &[filling].repeat(count), &head[at..]].concat()
    })
}

proptest! {
    // Every prefix of a long head is looked at.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_of_the_health_protocol(pieces in vec(any::<u8>().prop_map(|byte| byte & 0x9f), 0..24)) {
        let length = u32::try_from(pieces.len()).unwrap().to_be_bytes();
        checks::grpc_health(&[&[0][..], &length, &pieces].concat());
        checks::grpc_health(&pieces);
    }

    #[test]
    fn text_of_grpc_web(cut in 0_u8..32, text in "[AQgw+/=*]{0,32}|application/[gG]rpc-web(-text)?(\\+[a-z]{0,3})?[; a]{0,3}") {
        checks::grpc_web(&[&[cut][..], text.as_bytes()].concat());
    }

    #[test]
    fn long_request_heads_of_any_bytes(head in long_heads()) {
        checks::request_head(&head);
    }

    #[test]
    fn long_response_heads_of_any_bytes(request in any::<u8>(), head in long_heads()) {
        checks::response_head(&[&[request][..], &head].concat());
    }
}

proptest! {
    #[test]
    fn request_heads_of_any_bytes(head in heads()) {
        checks::request_head(&head);
    }

    #[test]
    fn response_heads_of_any_bytes(request in any::<u8>(), head in heads()) {
        checks::response_head(&[&[request][..], &head].concat());
    }

    #[test]
    fn bodies_of_any_bytes(first in any::<[u8; 2]>(), body in heads()) {
        checks::body(&[&first[..], &body].concat());
    }

    #[test]
    fn exchanges_of_any_bytes(request in heads(), response in heads()) {
        let len = u16::try_from(request.len()).unwrap().to_be_bytes();
        checks::exchange(&[&len[..], &request, &response].concat());
    }

    #[test]
    fn load_reports_of_any_bytes(pieces in vec(prop::sample::select(REPORT_PIECES.to_vec()), 0..16)) {
        checks::load_report(pieces.concat().as_bytes());
    }

    #[test]
    fn chunked_bodies_give_their_data(split in any::<u8>(), (body, data) in chunked_bodies()) {
        checks::body(&[&[2, split][..], &body].concat());
        let mut decoder = BodyDecoder::new(BodyKind::Chunked);
        let (mut at, mut decoded) = (0, Vec::new());
        while !decoder.is_done() {
            let found = decoder.decode(&body[at..]).unwrap();
            decoded.extend_from_slice(&body[at..][found.data]);
            at += found.consumed;
        }
        prop_assert_eq!((at, decoded), (body.len(), data));
    }

    #[test]
    fn any_byte_in_place_of_another(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut head = *b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: x-a\r\nX-A: b\r\nContent-Length: 5\r\n\r\n";
        head[position.index(head.len())] = byte;
        checks::request_head(&head);
        let mut body = *b"\x02\x025;a=b\r\nhello\r\n0a\r\n0123456789\r\n0\r\nA: b\r\n\r\n";
        body[2 + position.index(body.len() - 2)] = byte;
        checks::body(&body);
    }

    #[test]
    fn what_is_written_is_read(
        method in tokens(),
        target in "/[!-\"$-~]{0,30}",
        fields in vec((tokens().prop_map(|name| format!("X-{name}")), values()), 0..20),
        status in 200..600_u16,
    ) {
        let limits = HeadLimits { max_bytes: 65_535, max_fields: 256 };
        let mut request = Vec::new();
        write::request_line(&mut request, method.as_bytes(), target.as_bytes());
        write::field(&mut request, b"Host", b"a");
        let mut response = Vec::new();
        write::status_line(&mut response, Version::Http11, status, write::reason_phrase(status).as_bytes());
        for (name, value) in &fields {
            write::field(&mut request, name.as_bytes(), value);
            write::field(&mut response, name.as_bytes(), value);
        }
        write::end(&mut request);
        write::end(&mut response);

        let mut head = RequestHead::new();
        prop_assume!(Method::from_bytes(method.as_bytes()) != Method::Connect);
        prop_assert_eq!(head.parse(&request, limits), Ok(Parsed::Complete));
        prop_assert_eq!((head.method_name.of(&request), head.path.of(&request)), (method.as_bytes(), target.as_bytes()));
        let asked = RequestKind { method: Method::Get, upgrade: false };
        let mut answer = ResponseHead::new();
        prop_assert_eq!(answer.parse(&response, asked, limits), Ok(Parsed::Complete));
        prop_assert_eq!((answer.status, answer.reason.of(&response)), (status, write::reason_phrase(status).as_bytes()));
        prop_assert_eq!(answer.fields.len(), fields.len());
        for (field, (name, value)) in answer.fields.iter().zip(&fields) {
            prop_assert_eq!((field.name.of(&response), field.value.of(&response)), (name.as_bytes(), value.as_slice()));
        }
    }
}
