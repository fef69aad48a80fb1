//! What is read from the head of a response, and what is refused? One table per rule.

use isobar_wire::{BodyKind, HeadError, HeadLimits, Method, Parsed, RequestKind, ResponseHead, Version};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16_384,
    max_fields: 100,
};
const GET: RequestKind = RequestKind {
    method: Method::Get,
    upgrade: false,
};
const HEAD: RequestKind = RequestKind {
    method: Method::Head,
    upgrade: false,
};
const CONNECT: RequestKind = RequestKind {
    method: Method::Connect,
    upgrade: false,
};
const UPGRADE: RequestKind = RequestKind {
    method: Method::Get,
    upgrade: true,
};

/// The facts of a response head in a line: status, reason, body, then what is true of it.
fn facts(bytes: &[u8], request: RequestKind) -> String {
    let mut head = ResponseHead::new();
    match head.parse(bytes, request, LIMITS) {
        Err(error) => format!("{error:?}"),
        Ok(Parsed::Partial) => "partial".to_owned(),
        Ok(Parsed::Complete) => {
            let mut line = format!("{} {:?}", head.status, String::from_utf8_lossy(head.reason.of(bytes)));
            match head.body {
                BodyKind::None => line += " none",
                BodyKind::Length(len) => line += &format!(" length={len}"),
                BodyKind::Chunked => line += " chunked",
                BodyKind::UntilClose => line += " until-close",
            }
            let flags = [
                (head.version == Version::Http10, " 1.0"),
                (head.keep_alive, " keep"),
                (head.upgrade, " tunnel"),
                (head.is_interim(), " interim"),
            ];
            flags.iter().filter(|(set, _)| *set).for_each(|(_, name)| line += name);
            assert_eq!(head.len, bytes.len(), "the whole input is the head");
            line
        }
    }
}

#[track_caller]
fn check(head: impl AsRef<[u8]>, request: RequestKind, expected: &str) {
    let head = head.as_ref();
    assert_eq!(facts(head, request), expected, "{}", String::from_utf8_lossy(head));
}

#[test]
fn status_lines() {
    let check = |line: &str, expected| check(format!("{line}\r\nContent-Length: 0\r\n\r\n"), GET, expected);
    check("HTTP/1.1 200 OK", r#"200 "OK" length=0 keep"#);
    check("HTTP/1.1 200 ", r#"200 "" length=0 keep"#);
    check("HTTP/1.1 200", r#"200 "" length=0 keep"#);
    check(
        "HTTP/1.1 404 Not  Found\tat all",
        "404 \"Not  Found\\tat all\" length=0 keep",
    );
    check("HTTP/1.1 200 gr\u{fc}n", "200 \"gr\u{fc}n\" length=0 keep");
    check("HTTP/1.0 200 OK", r#"200 "OK" length=0 1.0"#);
    check("HTTP/1.7 200 OK", r#"200 "OK" length=0 keep"#);
    check("HTTP/1.1 599 x", r#"599 "x" length=0 keep"#);
    check("HTTP/1.1 600 x", "BadStatusLine");
    check("HTTP/1.1 999 x", "BadStatusLine");
    check("HTTP/1.1 099 x", "BadStatusLine");
    check("HTTP/1.1 20 x", "BadStatusLine");
    check("HTTP/1.1 2000 x", "BadStatusLine");
    check("HTTP/1.1 2x0 x", "BadStatusLine");
    check("HTTP/1.1 +20 x", "BadStatusLine");
    check("HTTP/1.1  200 OK", "BadStatusLine");
    check("HTTP/1.1 200\tOK", "BadStatusLine");
    check("HTTP/1.1 200 O\0K", "BadStatusLine");
    check("HTTP/1.1 200 O\u{1b}K", "BadStatusLine");
    check("HTTP/1.1 200 O\rK", "BareCr");
    check("HTTP/1.1\t200 OK", "BadVersion");
    check("HTTP/1.1", "BadStatusLine");
    check("HTTP/2.0 200 OK", "UnsupportedVersion");
    check("HTTP/2 200 OK", "BadVersion");
    check("HTTP/0.9 200 OK", "BadVersion");
    check("http/1.1 200 OK", "BadStatusLine");
    check("ICY 200 OK", "BadStatusLine");
    check(" HTTP/1.1 200 OK", "BadStatusLine");
    check("\r\nHTTP/1.1 200 OK", "BadStatusLine");
    check("", "BadStatusLine");
}

#[test]
fn servers_that_do_not_speak_http_are_found_at_once() {
    check("SSH-2.0", GET, "BadStatusLine");
    check("HX", GET, "BadStatusLine");
    check("<html>", GET, "BadStatusLine");
    check("HT", GET, "partial");
    check("", GET, "partial");
    check("HTTP/1.1 200 OK\n", GET, "BareLf");
    check("HTTP/1.1 2OO OK\r\n", GET, "BadStatusLine");
}

#[test]
fn framing() {
    let check = |fields: &str, expected| check(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), GET, expected);
    check("", r#"200 "OK" until-close"#);
    check("Content-Length: 12\r\n", r#"200 "OK" length=12 keep"#);
    check("Transfer-Encoding: chunked\r\n", r#"200 "OK" chunked keep"#);
    check("Connection: close\r\nContent-Length: 12\r\n", r#"200 "OK" length=12"#);
    check(
        "Connection: close\r\nTransfer-Encoding: chunked\r\n",
        r#"200 "OK" chunked"#,
    );
    check("Content-Length: 12\r\nContent-Length: 12\r\n", "RepeatedContentLength");
    check("Content-Length: 12, 12\r\n", "BadContentLength");
    check(
        "Content-Length: 12\r\nTransfer-Encoding: chunked\r\n",
        "ContentLengthWithTransferEncoding",
    );
    check(
        "Transfer-Encoding: chunked\r\nContent-Length: 12\r\n",
        "ContentLengthWithTransferEncoding",
    );
    check("Transfer-Encoding: gzip\r\n", "UnknownTransferCoding");
    check("Transfer-Encoding: gzip, chunked\r\n", "UnknownTransferCoding");
    check("Transfer-Encoding: identity\r\n", "UnknownTransferCoding");
    check("Transfer-Encoding: chunked, chunked\r\n", "TransferEncodingNotChunked");
    check("A : b\r\n", "WhitespaceBeforeColon");
    check("A: b\r\n c\r\n", "ObsFold");
    check("A: b\n", "BareLf");
    check("Connection: a b\r\n", "BadConnectionOptions");
}

#[test]
fn old_servers() {
    let check = |fields: &str, expected| check(format!("HTTP/1.0 200 OK\r\n{fields}\r\n"), GET, expected);
    check("", r#"200 "OK" until-close 1.0"#);
    check("Content-Length: 3\r\n", r#"200 "OK" length=3 1.0"#);
    check(
        "Connection: keep-alive\r\nContent-Length: 3\r\n",
        r#"200 "OK" length=3 1.0 keep"#,
    );
    check("Connection: keep-alive\r\n", r#"200 "OK" until-close 1.0"#);
    check("Transfer-Encoding: chunked\r\n", "TransferEncodingOnHttp10");
}

#[test]
fn responses_without_a_body() {
    let check = |status: u16, fields: &str, request, expected: &str| {
        check(format!("HTTP/1.1 {status} x\r\n{fields}\r\n"), request, expected);
    };
    check(200, "Content-Length: 5\r\n", HEAD, r#"200 "x" none keep"#);
    check(200, "Transfer-Encoding: chunked\r\n", HEAD, r#"200 "x" none keep"#);
    check(200, "", HEAD, r#"200 "x" none keep"#);
    check(200, "Content-Length: x\r\n", HEAD, "BadContentLength");
    check(
        200,
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        HEAD,
        "ContentLengthWithTransferEncoding",
    );
    check(204, "", GET, r#"204 "x" none keep"#);
    check(204, "Content-Length: 5\r\n", GET, r#"204 "x" none keep"#);
    check(
        204,
        "Transfer-Encoding: chunked\r\n",
        GET,
        "TransferEncodingWithoutBody",
    );
    check(
        204,
        "Transfer-Encoding: chunked\r\n",
        HEAD,
        "TransferEncodingWithoutBody",
    );
    check(304, "Content-Length: 5\r\n", GET, r#"304 "x" none keep"#);
    check(304, "Transfer-Encoding: chunked\r\n", GET, r#"304 "x" none keep"#);
    check(205, "", GET, r#"205 "x" until-close"#);
    check(205, "Content-Length: 0\r\n", GET, r#"205 "x" length=0 keep"#);
    check(205, "Transfer-Encoding: chunked\r\n", GET, r#"205 "x" chunked keep"#);
    check(100, "", GET, r#"100 "x" none keep interim"#);
    check(103, "Link: a\r\n", GET, r#"103 "x" none keep interim"#);
    check(199, "Content-Length: 5\r\n", GET, r#"199 "x" none keep interim"#);
    check(
        100,
        "Transfer-Encoding: chunked\r\n",
        GET,
        "TransferEncodingWithoutBody",
    );
}

#[test]
fn switching_protocols() {
    let check = |status: &str, fields: &str, request, expected: &str| {
        check(format!("HTTP/{status} x\r\n{fields}\r\n"), request, expected);
    };
    let named = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    check("1.1 101", named, UPGRADE, r#"101 "x" none tunnel"#);
    check(
        "1.1 101",
        "Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n",
        UPGRADE,
        r#"101 "x" none tunnel"#,
    );
    check("1.1 101", named, GET, "UnexpectedUpgrade");
    check("1.1 101", named, CONNECT, "UnexpectedUpgrade");
    check("1.1 101", "Upgrade: websocket\r\n", UPGRADE, "UnexpectedUpgrade");
    check("1.1 101", "Connection: upgrade\r\n", UPGRADE, "UnexpectedUpgrade");
    check("1.0 101", named, UPGRADE, "UnexpectedUpgrade");
    check("1.1 200", "Content-Length: 1\r\n", UPGRADE, r#"200 "x" length=1 keep"#);
    check("1.1 200", "", CONNECT, r#"200 "x" none tunnel"#);
    check(
        "1.1 299",
        "Transfer-Encoding: chunked\r\n",
        CONNECT,
        r#"299 "x" none tunnel"#,
    );
    check("1.1 403", "Content-Length: 1\r\n", CONNECT, r#"403 "x" length=1 keep"#);
}

#[test]
fn limits() {
    let check = |bytes: &[u8], max_bytes, max_fields, expected| {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(
            ResponseHead::new().parse(bytes, GET, HeadLimits { max_bytes, max_fields }),
            expected,
            "{text}"
        );
    };
    let head = b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n";
    check(head, head.len(), 2, Ok(Parsed::Complete));
    check(head, head.len() - 1, 2, Err(HeadError::HeadTooLarge));
    check(head, head.len(), 1, Err(HeadError::TooManyFields));
    check(b"HTTP/1.1 200 aaaaaaa", 20, 2, Err(HeadError::HeadTooLarge));
}

#[test]
fn a_head_is_used_again() {
    let mut head = ResponseHead::new();
    let tunnel = b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n";
    assert_eq!(head.parse(tunnel, UPGRADE, LIMITS), Ok(Parsed::Complete));
    assert_eq!(
        head.parse(b"HTTP/1.1 200 OK\r\n\r\n", GET, LIMITS),
        Ok(Parsed::Complete)
    );
    let mut fresh = ResponseHead::new();
    assert_eq!(
        fresh.parse(b"HTTP/1.1 200 OK\r\n\r\n", GET, LIMITS),
        Ok(Parsed::Complete)
    );
    assert_eq!(head, fresh);
}
