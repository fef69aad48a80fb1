//! What is read from the head of a request, and what is refused? One table per rule.

use isobar_wire::{BodyKind, HeadError, HeadLimits, Known, Method, Parsed, RequestHead, Version, is_hop_by_hop};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16_384,
    max_fields: 100,
};

/// The facts of a request head in a line: method, form, authority, path, body, then what is true of it.
fn facts(bytes: &[u8]) -> String {
    let mut head = RequestHead::new();
    match head.parse(bytes, LIMITS) {
        Err(error) => format!("{error:?}"),
        Ok(Parsed::Partial) => "partial".to_owned(),
        Ok(Parsed::Complete) => {
            let text = |span: isobar_wire::Span| String::from_utf8_lossy(span.of(bytes)).into_owned();
            let mut line = format!(
                "{:?} {:?} {:?} {:?}",
                head.method,
                head.form,
                text(head.authority),
                text(head.path)
            );
            match head.body {
                BodyKind::None => {}
                BodyKind::Length(len) => line += &format!(" length={len}"),
                BodyKind::Chunked => line += " chunked",
                BodyKind::UntilClose => line += " until-close",
            }
            let flags = [
                (head.version == Version::Http10, " 1.0"),
                (!head.keep_alive, " close"),
                (head.expect_continue, " continue"),
                (head.upgrade, " upgrade"),
                (head.te_trailers, " trailers"),
            ];
            flags.iter().filter(|(set, _)| *set).for_each(|(_, name)| line += name);
            assert_eq!(head.len, bytes.len(), "the whole input is the head");
            line
        }
    }
}

#[track_caller]
fn check(head: impl AsRef<[u8]>, expected: &str) {
    let head = head.as_ref();
    assert_eq!(facts(head), expected, "{}", String::from_utf8_lossy(head));
}

/// Checks the fields of an otherwise good request.
#[track_caller]
fn check_fields(fields: impl AsRef<[u8]>, expected: &str) {
    let head = [b"POST / HTTP/1.1\r\nHost: a\r\n", fields.as_ref(), b"\r\n"].concat();
    let expected = match expected {
        "" => r#"Post Origin "a" "/""#.to_owned(),
        flags if flags.starts_with(' ') => format!(r#"Post Origin "a" "/"{flags}"#),
        other => other.to_owned(),
    };
    check(head, &expected);
}

#[test]
fn request_lines() {
    let check = |line: &str, expected| check(format!("{line}\r\nHost: a\r\n\r\n"), expected);
    check("GET / HTTP/1.1", r#"Get Origin "a" "/""#);
    check("GET /a%20b?c=d&e HTTP/1.1", r#"Get Origin "a" "/a%20b?c=d&e""#);
    check("M-SEARCH //x/../y HTTP/1.1", r#"Other Origin "a" "//x/../y""#);
    check("GET / HTTP/1.0", r#"Get Origin "a" "/" 1.0 close"#);
    check("GET / HTTP/1.2", r#"Get Origin "a" "/""#);
    check("GET / HTTP/1.9", r#"Get Origin "a" "/""#);
    check("GET / HTTP/0.9", "BadVersion");
    check("GET / HTTP/2.0", "UnsupportedVersion");
    check("GET / HTTP/3.0", "UnsupportedVersion");
    check("GET / http/1.1", "BadVersion");
    check("GET / HTTP/1.1.1", "BadVersion");
    check("GET / HTTP/11", "BadVersion");
    check("GET / HTTP/1.x", "BadVersion");
    check("GET / HTTP/1", "BadVersion");
    check("GET / ", "BadVersion");
    check("GET / ICAP/1.0", "BadVersion");
    check("GET /", "BadRequestLine");
    check("GET", "BadRequestLine");
    check("", "BadRequestLine");
    check(" GET / HTTP/1.1", "BadRequestLine");
    check("GET  / HTTP/1.1", "BadRequestLine");
    check("GET /  HTTP/1.1", "BadRequestLine");
    check("GET / HTTP/1.1 ", "BadRequestLine");
    check("GET /a b HTTP/1.1", "BadRequestLine");
    check("GET\t/ HTTP/1.1", "BadRequestLine");
    check("GE(T / HTTP/1.1", "BadRequestLine");
    check("GÉT / HTTP/1.1", "BadRequestLine");
    check("GET / HTTP/1.1\r", "BareCr");
    check("GET /\r HTTP/1.1", "BareCr");
    check("\rGET / HTTP/1.1", "BareCr");
    check("\nGET / HTTP/1.1", "BareLf");
    check(&format!("{} / HTTP/1.1", "M".repeat(32)), r#"Other Origin "a" "/""#);
    check(&format!("{} / HTTP/1.1", "M".repeat(33)), "MethodTooLong");
}

#[test]
fn an_empty_line_before_the_request_is_tolerated_once() {
    check("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", r#"Get Origin "a" "/""#);
    check("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "BadRequestLine");
    check("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "BareLf");
    check("\r", "partial");
    check("\r\n", "partial");
    check("", "partial");
}

#[test]
fn peers_that_do_not_speak_http_are_told_at_once() {
    check(b"\x16\x03\x01\x02\x00\x01", "BadRequestLine");
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "UnsupportedVersion");
    check("PRI * HTTP/2.0\r\n", "UnsupportedVersion");
    check("GET / HTTP/1.1\n", "BareLf");
    check("GET /\r\n", "BadRequestLine");
    check(" ", "BadRequestLine");
    check("M".repeat(33), "MethodTooLong");
    check("GET /#", "partial");
}

#[test]
fn origin_and_asterisk_form() {
    let check = |line: &str, expected| check(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), expected);
    check("OPTIONS *", r#"Options Asterisk "a" "*""#);
    check("GET *", "BadTarget");
    check("OPTIONS **", "BadTarget");
    check("GET a", "BadTarget");
    check("GET ?a", "BadTarget");
    check("GET /#a", "BadTarget");
    check("GET /ä", "BadTarget");
    check("GET /\u{1}", "BadTarget");
    check("GET /\t", "BadTarget");
    check("GET /\u{7f}", "BadTarget");
    check("GET /\0", "BadTarget");
    check("GET /{}|\\^`\"<>", r#"Get Origin "a" "/{}|\\^`\"<>""#);
}

#[test]
fn absolute_form() {
    let check = |line: &str, expected| check(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), expected);
    check("GET http://b/c?d", r#"Get Absolute "b" "/c?d""#);
    check("GET HTTPS://b:8443/", r#"Get Absolute "b:8443" "/""#);
    check("GET http://b", r#"Get Absolute "b" """#);
    check("GET http://b?c", r#"Get Absolute "b" "?c""#);
    check("GET http://[::1]:80/x", r#"Get Absolute "[::1]:80" "/x""#);
    check("OPTIONS http://b", r#"Options Absolute "b" """#);
    check("GET http://user@b/", "BadTarget");
    check("GET http://user:pass@b/", "BadTarget");
    check("GET http:///c", "BadTarget");
    check("GET http://:80/c", "BadTarget");
    check("GET http://b:x/", "BadTarget");
    check("GET http://b/#c", "BadTarget");
    check("GET http:/b/", "BadTarget");
    check("GET http:b", "BadTarget");
    check("GET ftp://b/", "BadTarget");
    check("GET b:80", "BadTarget");
    check("GET http://b\\c", "BadTarget");
}

#[test]
fn authority_form() {
    let check = |line: &str, expected| check(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), expected);
    check("CONNECT b:443", r#"Connect Authority "b:443" """#);
    check("CONNECT [::1]:443", r#"Connect Authority "[::1]:443" """#);
    check("CONNECT b", "BadTarget");
    check("CONNECT b:", "BadTarget");
    check("CONNECT user@b:443", "BadTarget");
    check("CONNECT http://b:443/", "BadTarget");
    check("CONNECT /", "BadTarget");
    check("CONNECT *", "BadTarget");
}

#[test]
fn hosts() {
    let check = |head: &str, expected| check(format!("{head}\r\n\r\n"), expected);
    check(
        "GET / HTTP/1.1\r\nHost: a.example:8080",
        r#"Get Origin "a.example:8080" "/""#,
    );
    check(
        "GET / HTTP/1.1\r\nhOST:[2001:db8::1]:80",
        r#"Get Origin "[2001:db8::1]:80" "/""#,
    );
    check("GET / HTTP/1.1\r\nHost:", r#"Get Origin "" "/""#);
    check("OPTIONS * HTTP/1.1\r\nHost:", r#"Options Asterisk "" "*""#);
    check("GET http://b/ HTTP/1.1\r\nHost: a", r#"Get Absolute "b" "/""#);
    check("GET http://b/ HTTP/1.1\r\nHost:", "BadHost");
    check("GET http://b/ HTTP/1.1\r\nHost: a/b", "BadHost");
    check("GET http://b/ HTTP/1.1\r\nA: b", "MissingHost");
    check("GET / HTTP/1.1", "MissingHost");
    check("GET / HTTP/1.2", "MissingHost");
    check("CONNECT a:1 HTTP/1.1", "MissingHost");
    check("GET / HTTP/1.0", r#"Get Origin "" "/" 1.0 close"#);
    check("GET http://b/ HTTP/1.0", r#"Get Absolute "b" "/" 1.0 close"#);
    check("GET / HTTP/1.0\r\nHost: a", r#"Get Origin "a" "/" 1.0 close"#);
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a", "RepeatedHost");
    check("GET / HTTP/1.1\r\nHost: a\r\nhost: b", "RepeatedHost");
    check("GET / HTTP/1.0\r\nHost: a\r\nHost: b", "RepeatedHost");
    check("GET / HTTP/1.1\r\nHost: a, b", "BadHost");
    check("GET / HTTP/1.1\r\nHost: a b", "BadHost");
    check("GET / HTTP/1.1\r\nHost: user@a", "BadHost");
    check("GET / HTTP/1.1\r\nHost: http://a", "BadHost");
    check("GET / HTTP/1.1\r\nHost: a:99999", "BadHost");
    check("GET / HTTP/1.1\r\nHost: a?b", "BadHost");
    check("GET / HTTP/1.1\r\nHost: a#b", "BadHost");
    check("GET / HTTP/1.1\r\nHost: ä", "BadHost");
}

#[test]
fn content_lengths() {
    let length = |value: &str, expected: &str| check_fields(format!("Content-Length:{value}\r\n"), expected);
    length(" 0", " length=0");
    length(" 5", " length=5");
    length("\t5 \t", " length=5");
    length(" 007", " length=7");
    length(" 18446744073709551615", " length=18446744073709551615");
    length(" 18446744073709551616", "BadContentLength");
    length(" 99999999999999999999", "BadContentLength");
    length("", "BadContentLength");
    length(" +1", "BadContentLength");
    length(" -1", "BadContentLength");
    length(" 1 1", "BadContentLength");
    length(" 1, 1", "BadContentLength");
    length(" 1,", "BadContentLength");
    length(" 0x1", "BadContentLength");
    length(" 1_000", "BadContentLength");
    length(" 1.0", "BadContentLength");
    length(" ١", "BadContentLength");
    length(" 1\r\nContent-Length: 1", "RepeatedContentLength");
    length(" 1\r\ncontent-length: 2", "RepeatedContentLength");
    length(" 1\r\nTransfer-Encoding: chunked", "ContentLengthWithTransferEncoding");
    check(
        "GET / HTTP/1.0\r\nContent-Length: 3\r\n\r\n",
        r#"Get Origin "" "/" length=3 1.0 close"#,
    );
}

#[test]
fn transfer_encodings() {
    let coding = |value: &str, expected: &str| check_fields(format!("Transfer-Encoding:{value}\r\n"), expected);
    coding(" chunked", " chunked");
    coding(" CHUNKED", " chunked");
    coding("\tchunked\t ", " chunked");
    coding(" chunked\r\nContent-Length: 1", "ContentLengthWithTransferEncoding");
    coding(" identity", "UnknownTransferCoding");
    coding(" gzip", "UnknownTransferCoding");
    coding(" gzip, chunked", "UnknownTransferCoding");
    coding(" gzip;q=1, chunked", "UnknownTransferCoding");
    coding(" xchunked", "UnknownTransferCoding");
    coding(" chunked-not", "UnknownTransferCoding");
    coding(" gzip\r\nTransfer-Encoding: chunked", "UnknownTransferCoding");
    coding("", "TransferEncodingNotChunked");
    coding(" chunked, gzip", "TransferEncodingNotChunked");
    coding(" chunked, chunked", "TransferEncodingNotChunked");
    coding(" chunked\r\nTransfer-Encoding: chunked", "TransferEncodingNotChunked");
    coding(" chunked\r\nTransfer-Encoding: identity", "UnknownTransferCoding");
    coding(" chunked;a=b", "TransferEncodingNotChunked");
    coding(" ,chunked", "TransferEncodingNotChunked");
    coding(" chunked,", "TransferEncodingNotChunked");
    coding(" \"chunked\"", "TransferEncodingNotChunked");
    coding(" chunked\u{b}", "BadFieldValue");
    coding(" \u{b}chunked", "BadFieldValue");
    coding("\r\n chunked", "ObsFold");
    check(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "TransferEncodingOnHttp10",
    );
    check(
        "POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n",
        "UnknownTransferCoding",
    );
}

#[test]
fn field_lines() {
    check_fields("A: b\r\n", "");
    check_fields("A:\r\n", "");
    check_fields("A: \t \r\n", "");
    check_fields("!#$%&'*+-.^_`|~09azAZ: x\r\n", "");
    check_fields("A: \u{e4}\u{80}\r\n", "");
    check_fields(b"A: \xff\xfe\t\"\\\r\n", "");
    check_fields("A:b:c\r\n", "");
    check_fields("A : b\r\n", "WhitespaceBeforeColon");
    check_fields("A\t: b\r\n", "WhitespaceBeforeColon");
    check_fields("Content-Length : 5\r\n", "WhitespaceBeforeColon");
    check_fields(" A: b\r\n", "ObsFold");
    check_fields("A: b\r\n c\r\n", "ObsFold");
    check_fields("A: b\r\n\tc: d\r\n", "ObsFold");
    check_fields("A\r\n", "BadFieldName");
    check_fields(": b\r\n", "BadFieldName");
    check_fields("A B: c\r\n", "BadFieldName");
    check_fields("A(: b\r\n", "BadFieldName");
    check_fields("\u{e4}: b\r\n", "BadFieldName");
    check_fields("A\0: b\r\n", "BadFieldName");
    check_fields("A: b\0\r\n", "BadFieldValue");
    check_fields("A: b\u{1b}c\r\n", "BadFieldValue");
    check_fields("A: \u{7f}\r\n", "BadFieldValue");
    check_fields("A: b\n", "BareLf");
    check_fields("A: b\nC: d\r\n", "BareLf");
    check_fields("\n", "BareLf");
    check_fields("A: b\rC: d\r\n", "BareCr");
    check_fields("A: b\r\r\n", "BareCr");
    check_fields("A\r: b\r\n", "BareCr");
    check("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "ObsFold");
    check("GET / HTTP/1.1\r\nHost: a\r\n\n", "BareLf");
    check("GET / HTTP/1.1\r\nHost: a\n\r\n", "BareLf");
    check("GET / HTTP/1.1\r\nHost: a\r\n\r", "partial");
}

#[test]
fn keep_alive() {
    let check = |version: &str, fields: &str, expected: &str| {
        let host = if version == "1.1" { "Host: a\r\n" } else { "" };
        let mut head = RequestHead::new();
        let bytes = format!("GET / HTTP/{version}\r\n{host}{fields}\r\n");
        assert_eq!(head.parse(bytes.as_bytes(), LIMITS), Ok(Parsed::Complete), "{bytes}");
        assert_eq!(if head.keep_alive { "keep" } else { "close" }, expected, "{bytes}");
    };
    check("1.1", "", "keep");
    check("1.1", "Connection: close\r\n", "close");
    check("1.1", "Connection: CLOSE\r\n", "close");
    check("1.1", "Connection: a,\tclose ,b\r\n", "close");
    check("1.1", "Connection: a\r\nConnection: close\r\n", "close");
    check("1.1", "Connection: keep-alive, close\r\n", "close");
    check("1.1", "Connection: closed\r\n", "keep");
    check("1.1", "Proxy-Connection: close\r\n", "keep");
    check("1.0", "", "close");
    check("1.0", "Connection: keep-alive\r\n", "keep");
    check("1.0", "Connection: Keep-Alive\r\nConnection: close\r\n", "close");
    check("1.0", "Proxy-Connection: keep-alive\r\n", "close");
    check("1.0", "Keep-Alive: timeout=5\r\n", "close");
}

#[test]
fn connection_options() {
    check_fields("Connection:\r\n", "");
    check_fields("Connection: ,,\r\n", "");
    check_fields(format!("Connection: {}\r\n", ["a"; 32].join(",")), "");
    check_fields(
        format!("Connection: {}\r\n", ["a"; 33].join(",")),
        "BadConnectionOptions",
    );
    check_fields(format!("Connection: {}\r\n", ",".repeat(33)), "BadConnectionOptions");
    check_fields("Connection: a\r\n".repeat(33), "BadConnectionOptions");
    check_fields("Connection: a b\r\n", "BadConnectionOptions");
    check_fields("Connection: \"close\"\r\n", "BadConnectionOptions");
    check_fields("Connection: close;q=1\r\n", "BadConnectionOptions");
}

#[test]
fn upgrades() {
    check_fields("Connection: upgrade\r\nUpgrade: websocket\r\n", " upgrade");
    check_fields("Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", " upgrade");
    check_fields("Connection: close, upgrade\r\nUpgrade: websocket\r\n", " close upgrade");
    check_fields("Connection: upgrade\r\n", "");
    check_fields("Connection: upgrade\r\nUpgrade:\r\n", "");
    check_fields("Connection: upgrade\r\nUpgrade: ,\r\n", "");
    check_fields("Upgrade: websocket\r\n", "");
    check_fields("Connection: upgrade\r\nUpgrade: h2c\r\n", "");
    check_fields("Connection: upgrade\r\nUpgrade: websocket, H2C\r\n", "");
    check_fields("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", "");
    let old = "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    check(old, r#"Get Origin "" "/" 1.0 close"#);
}

#[test]
fn expectations_and_trailers() {
    check_fields("Expect: 100-continue\r\nContent-Length: 1\r\n", " length=1 continue");
    check_fields(
        "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n",
        " chunked continue",
    );
    check_fields(
        "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n",
        " length=1 continue",
    );
    check_fields("Expect: 100-continue\r\n", "");
    check_fields("Expect: 100-continue\r\nContent-Length: 0\r\n", " length=0");
    check_fields("Expect: a\r\n", "UnknownExpectation");
    check_fields("Expect:\r\n", "UnknownExpectation");
    check_fields("Expect: 100-continue, a\r\n", "UnknownExpectation");
    check_fields("Expect: a\r\nExpect: 100-continue\r\n", "UnknownExpectation");
    let old = |expect: &str| format!("POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: {expect}\r\n\r\n");
    check(old("100-continue"), r#"Post Origin "" "/" length=1 1.0 close"#);
    check(old("a"), r#"Post Origin "" "/" length=1 1.0 close"#);
    check_fields("TE: trailers\r\n", " trailers");
    check_fields("TE: gzip;q=0.5, Trailers\r\n", " trailers");
    check_fields("TE: gzip\r\n", "");
    check_fields("TE:\r\n", "");
}

/// The names of the fields that are not sent on.
fn dropped(fields: &str) -> Vec<String> {
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut head = RequestHead::new();
    assert_eq!(head.parse(bytes.as_bytes(), LIMITS), Ok(Parsed::Complete), "{bytes}");
    let name = |field: &isobar_wire::Field| String::from_utf8_lossy(field.name.of(bytes.as_bytes())).into_owned();
    head.fields
        .iter()
        .filter(|field| is_hop_by_hop(field))
        .map(name)
        .collect()
}

#[test]
fn hop_by_hop_fields() {
    let check = |fields: &str, expected: &[&str]| assert_eq!(dropped(fields), expected, "{fields}");
    check("A: 1\r\nTrailer: b\r\nVia: c\r\n", &[]);
    check(
        "Connection: close\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nTE: trailers\r\n",
        &["Connection", "Keep-Alive", "Proxy-Connection", "TE"],
    );
    check(
        "Upgrade: a\r\nHTTP2-Settings: b\r\nTransfer-Encoding: chunked\r\n",
        &["Upgrade", "HTTP2-Settings", "Transfer-Encoding"],
    );
    check(
        "X-A: 1\r\nConnection: x-a\r\nx-A: 2\r\nX-AB: 3\r\n",
        &["X-A", "Connection", "x-A"],
    );
    check("Connection: X-A, X-B\r\nX-B: 1\r\n", &["Connection", "X-B"]);
    check(
        "Connection: Host, Content-Length, Cookie, Authorization, Via\r\nCookie: a\r\nAuthorization: b\r\nVia: c\r\n",
        &["Connection"],
    );
    check(
        "Connection: X-Forwarded-For, X-Real-IP, Forwarded\r\nX-Forwarded-For: a\r\nX-Real-IP: b\r\nForwarded: c\r\n",
        &["Connection"],
    );
    check(
        "Connection: Cache-Control, Range\r\nCache-Control: a\r\nRange: b\r\n",
        &["Connection"],
    );
    check("Connection: X_Forwarded_For\r\nX_Forwarded_For: a\r\n", &["Connection"]);
}

#[test]
fn fields_are_found_in_order_with_their_places() {
    let bytes = b"\r\nGET /x HTTP/1.1\r\nHost:  a \r\nX-Y:\r\nUser_Agent: u\r\n\r\nrest";
    let mut head = RequestHead::new();
    assert_eq!(head.parse(bytes, LIMITS), Ok(Parsed::Complete));
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.known, field.name.of(bytes), field.value.of(bytes)))
        .collect();
    let expected: [(_, &[u8], &[u8]); 3] = [
        (Known::Host, b"Host", b"a"),
        (Known::Other, b"X-Y", b""),
        (Known::Lookalike, b"User_Agent", b"u"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(
        (head.method_name.of(bytes), head.target.of(bytes)),
        (&b"GET"[..], &b"/x"[..])
    );
    assert_eq!(head.len, bytes.len() - "rest".len());
    assert_eq!(head.field(Known::Host).map(|field| field.value), Some(head.authority));
    assert_eq!(head.field(Known::Via), None);
}

#[test]
fn a_head_is_used_again() {
    let mut head = RequestHead::new();
    let rich =
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n";
    assert_eq!(head.parse(rich, LIMITS), Ok(Parsed::Complete));
    assert_eq!(head.parse(b"GET / HTTP/1.1\r\n", LIMITS), Ok(Parsed::Partial));
    assert_eq!(
        head.parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS),
        Ok(Parsed::Complete)
    );
    let mut fresh = RequestHead::new();
    assert_eq!(
        fresh.parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS),
        Ok(Parsed::Complete)
    );
    assert_eq!(head, fresh);
}

#[test]
fn limits() {
    let check = |bytes: &[u8], max_bytes, max_fields, expected| {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(
            RequestHead::new().parse(bytes, HeadLimits { max_bytes, max_fields }),
            expected,
            "{text}"
        );
    };
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n";
    check(head, head.len(), 2, Ok(Parsed::Complete));
    check(head, head.len() - 1, 2, Err(HeadError::HeadTooLarge));
    check(head, head.len(), 1, Err(HeadError::TooManyFields));
    check(&head[..head.len() - 2], head.len(), 2, Ok(Parsed::Partial));
    check(&head[..head.len() - 3], head.len(), 1, Ok(Parsed::Partial));
    check(&head[..head.len() - 2], head.len(), 1, Err(HeadError::TooManyFields));
    check(b"GET /aaaaaaaaaaaaaaa", 20, 2, Err(HeadError::TargetTooLong));
    check(b"GET /aaaaaaaaaaaaaaa", 21, 2, Ok(Parsed::Partial));
    check(b"GET /aaaaa HTTP/1.1\r\n", 21, 2, Err(HeadError::HeadTooLarge));
    check(b"\r", 1, 2, Err(HeadError::HeadTooLarge));
    check(b"", 0, 2, Err(HeadError::TargetTooLong));
}

#[test]
fn limits_have_limits() {
    let generous = HeadLimits {
        max_bytes: usize::MAX,
        max_fields: usize::MAX,
    };
    let check = |fields: usize, padding: usize, expected| {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        bytes.extend(b"A: b\r\n".repeat(fields - 1));
        bytes.extend_from_slice(b"\r\n");
        let at = bytes.len() - 4;
        bytes.splice(at..at, std::iter::repeat_n(b'x', padding));
        let mut head = RequestHead::new();
        assert_eq!(
            head.parse(&bytes, generous),
            expected,
            "{fields} fields, {} bytes",
            bytes.len()
        );
        (head, bytes)
    };
    check(17, 0, Ok(Parsed::Complete));
    check(65, 0, Ok(Parsed::Complete));
    check(256, 0, Ok(Parsed::Complete));
    check(257, 0, Err(HeadError::TooManyFields));
    let overhead = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n".len();
    let (head, bytes) = check(2, 65_535 - overhead, Ok(Parsed::Complete));
    assert_eq!(
        head.fields.last().map(|field| field.value.of(&bytes).len()),
        Some(65_536 - overhead)
    );
    check(2, 65_536 - overhead, Err(HeadError::HeadTooLarge));
}

/// Heads of more bytes than are read at once, and what is there of them at any time.
#[test]
fn long_heads() {
    let limits = HeadLimits {
        max_bytes: 65_535,
        max_fields: 256,
    };
    let check = |start: &str, filling: &str, count: usize, end: &str, expected| {
        let bytes = [start, &filling.repeat(count), end].concat().into_bytes();
        assert!(bytes.len() > 2_048, "it is long");
        let outcome = RequestHead::new().parse(&bytes, limits);
        assert_eq!(outcome, expected, "{start:?} {filling:?} {end:?}");
        let mut decided = false;
        for len in (0..bytes.len()).filter(|len| len % 61 == 0 || bytes.len() - len < 9 || len.abs_diff(2_048) < 9) {
            let part = RequestHead::new().parse(&bytes[..len], limits);
            decided |= part != Ok(Parsed::Partial);
            assert_eq!(
                part,
                if decided { expected } else { Ok(Parsed::Partial) },
                "after {len} bytes"
            );
        }
    };
    let end = "\r\n\r\n";
    let head = "GET / HTTP/1.1\r\nHost: a";
    check("GET /", "x", 3_000, " HTTP/1.0\r\n\r\n", Ok(Parsed::Complete));
    check(
        "GET /",
        "x",
        3_000,
        " HTTP/1.1\r\nHost: a\r\n\r\n",
        Ok(Parsed::Complete),
    );
    check("GET /", "x", 3_000, " HTTP/1.1\r\n\r\n", Err(HeadError::MissingHost));
    check("GET /", "x", 3_000, "", Ok(Parsed::Partial));
    check("GET /", "\t", 3_000, " HTTP/1.0\r\n\r\n", Err(HeadError::BadTarget));
    check("GET / HTTP/1.0\r\nA:", "\t", 3_000, end, Ok(Parsed::Complete));
    check(
        "GET / HTTP/1.0\r\nA: b",
        " ",
        3_000,
        "\u{1}\r\n\r\n",
        Err(HeadError::BadFieldValue),
    );
    check("GET / HTTP/1.0\r\nA", "_", 3_000, ": b\r\n\r\n", Ok(Parsed::Complete));
    check(
        "GET / HTTP/1.0\r\nA",
        "_",
        3_000,
        " : b\r\n\r\n",
        Err(HeadError::WhitespaceBeforeColon),
    );
    check("GET / HTTP/1.0\r\nA: b", "c", 3_000, "\n\r\n", Err(HeadError::BareLf));
    check(head, "\r\nA: bcdefghi", 255, end, Ok(Parsed::Complete));
    check(head, "\r\nA: bcdefghi", 255, "\r\n", Ok(Parsed::Partial));
    check(head, "\r\nA: bcdefghi", 256, end, Err(HeadError::TooManyFields));
    check(head, "\r\nA: bcdefghi", 255, "\r\nB\r\n", Err(HeadError::TooManyFields));
}

#[test]
fn every_error_has_an_answer() {
    let check = |error: HeadError, status| assert_eq!(error.status(), status, "{error}");
    check(HeadError::BareLf, 400);
    check(HeadError::MissingHost, 400);
    check(HeadError::TargetTooLong, 414);
    check(HeadError::UnknownExpectation, 417);
    check(HeadError::HeadTooLarge, 431);
    check(HeadError::TooManyFields, 431);
    check(HeadError::UnknownTransferCoding, 501);
    check(HeadError::MethodTooLong, 501);
    check(HeadError::BadStatusLine, 502);
    check(HeadError::UnsupportedVersion, 505);
}

#[test]
fn requests_are_forwarded_with_the_right_target() {
    let check = |line: &str, expected: &str| {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = RequestHead::new();
        assert_eq!(head.parse(bytes.as_bytes(), LIMITS), Ok(Parsed::Complete), "{line}");
        let mut out = Vec::new();
        isobar_wire::write::forwarded_request_line(&mut out, &head, bytes.as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), format!("{expected} HTTP/1.1\r\n"));
    };
    check("GET /a?b", "GET /a?b");
    check("GET http://b/a?b", "GET /a?b");
    check("GET http://b", "GET /");
    check("GET http://b?c", "GET /?c");
    check("OPTIONS http://b", "OPTIONS *");
    check("OPTIONS http://b/", "OPTIONS /");
    check("OPTIONS http://b?c", "OPTIONS /?c");
    check("OPTIONS *", "OPTIONS *");
    check("CONNECT b:1", "CONNECT b:1");
    check("BREW /pot", "BREW /pot");
    assert_eq!(Method::from_bytes(b"BREW"), Method::Other);
}
