//! Does a request made of frames reach a server as something else than it is?

use isobar_testkit::http2::{End, FramePeer, field, flags, headers, kind};
use isobar_testkit::{Configuration, Isobar, Origin, binary};

const PROTOCOL_ERROR: u32 = 1;

/// The head of a request with other fields behind or in place of the usual ones; an empty value leaves one out.
fn head(changes: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", "/"),
    ];
    for &(name, value) in changes {
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => fields.push((name, value)),
        }
    }
    fields.retain(|(name, value)| !(name.starts_with(':') && value.is_empty()));
    headers(&fields)
}

/// What becomes of a head alone, and whether the connection still serves afterwards.
fn ask(isobar: &Isobar, head: &[u8]) -> End {
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    peer.frame(kind::HEADERS, flags::WHOLE, 1, head).unwrap();
    peer.end_of(1).unwrap()
}

fn fronted() -> (Origin, Isobar) {
    let origin = Origin::echo();
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    (origin, isobar)
}

#[test]
fn what_no_head_of_http1_can_hold_never_reaches_a_server() {
    let (origin, isobar) = fronted();
    let hostile: &[(&str, &str)] = &[
        ("x-a", "1\r\nx-b: 2"),
        ("x-a", "1\nx-b: 2"),
        ("x-a", "1\rx"),
        ("x-a", "1\0"),
        ("x-a\r\nx-b", "1"),
        ("x-a: 1\r\nx-b", "1"),
        ("x a", "1"),
        ("x:a", "1"),
        ("", "1"),
        ("X-Upper", "1"),
        (":path", "/ HTTP/1.1\r\nx: y\r\n\r\nGET /admin"),
        (":path", "/a b"),
        (":path", "/a\tb"),
        (":path", "/a\r\nb"),
        (":path", "/a\0"),
        (":path", ""),
        (":path", "a"),
        (":path", "http://evil.example/"),
        (":path", "//evil.example\u{7f}"),
        (":path", "*"),
        (":method", "GET / HTTP/1.1\r\n"),
        (":method", "GET "),
        (":method", "G\0T"),
        (":method", ""),
        (":method", "GET\n"),
        (":scheme", ""),
        (":scheme", "ht tp"),
        (":scheme", "http\r\n"),
        (":authority", "a b"),
        (":authority", "a\r\nx: y"),
        (":authority", "user@test.example"),
        (":authority", "user:password@test.example"),
        (":authority", "test.example/path"),
        (":authority", "test.example?query"),
        ("host", "evil.example"),
        ("connection", "close"),
        ("connection", "x-forwarded-for"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("content-length", "1"),
        ("content-length", "-1"),
        ("content-length", "0, 0"),
        ("content-length", " 0"),
        ("content-length", "0x0"),
        ("content-length", "99999999999999999999"),
        (":status", "200"),
        (":unknown", "1"),
        (":protocol", "websocket"),
    ];
    for &(name, value) in hostile {
        let end = ask(&isobar, &head(&[(name, value)]));
        let is_refused = matches!(
            end,
            End::Status(400..=499 | 501 | 505) | End::Reset(PROTOCOL_ERROR) | End::GoAway(_)
        );
        assert!(is_refused, "{name:?}: {value:?} ended with {end:?}");
        assert_eq!(origin.request_count(), 0, "{name:?}: {value:?}");
    }
    assert_eq!(ask(&isobar, &head(&[])), End::Status(200));
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn what_is_said_twice_or_too_late_never_reaches_a_server() {
    let (origin, isobar) = fronted();
    let twice = |name: &str, first: &str, second: &str| [head(&[]), field(name, first), field(name, second)].concat();
    let late = [head(&[("x-a", "1")]), field(":path", "/admin")].concat();
    let heads = [
        twice("host", "test.example", "evil.example"),
        twice("host", "test.example", "test.example"),
        twice("content-length", "0", "0"),
        twice("content-length", "0", "1"),
        [head(&[]), field(":path", "/admin")].concat(),
        [head(&[]), field(":authority", "evil.example")].concat(),
        [head(&[]), field(":method", "POST")].concat(),
        late,
        // Two hosts where none is said in the usual place.
        [
            head(&[(":authority", "")]),
            field("host", "test.example"),
            field("host", "evil.example"),
        ]
        .concat(),
    ];
    for head in heads {
        let end = ask(&isobar, &head);
        let is_refused = matches!(end, End::Status(400) | End::Reset(PROTOCOL_ERROR) | End::GoAway(_));
        assert!(is_refused, "{:?} ended with {end:?}", String::from_utf8_lossy(&head));
        assert_eq!(origin.request_count(), 0, "{:?}", String::from_utf8_lossy(&head));
    }
}

#[test]
fn a_host_alone_names_the_host() {
    let (origin, isobar) = fronted();
    assert_eq!(
        ask(&isobar, &head(&[(":authority", ""), ("host", "other.example")])),
        End::Status(200)
    );
    assert_eq!(origin.last_request().fields.values("host"), ["other.example"]);
    assert_eq!(ask(&isobar, &head(&[("host", "TEST.example")])), End::Status(200));
    assert_eq!(origin.last_request().fields.values("host"), ["test.example"]);
}

/// What a `Connection` field would take away in HTTP/1 stays, and unusual schemes do not get anybody anywhere.
#[test]
fn what_is_unusual_and_allowed_passes() {
    let (origin, isobar) = fronted();
    for change in [
        (":scheme", "https"),
        (":scheme", "coap"),
        (":method", "PROPFIND"),
        (":path", "/a?b=\"{}|^`"),
    ] {
        let end = ask(&isobar, &head(&[change]));
        assert!(
            matches!(end, End::Status(200 | 400) | End::Reset(PROTOCOL_ERROR)),
            "{change:?} {end:?}"
        );
    }
    assert_eq!(ask(&isobar, &head(&[(":scheme", "https")])), End::Status(200));
    assert_eq!(origin.last_request().fields.value("x-forwarded-proto"), Some("http"));
}

/// A body that is longer or shorter than its head says is no body, and nothing of it is the next request.
#[test]
fn lengths_have_to_be_true() {
    let (origin, isobar) = fronted();
    let post = head(&[(":method", "POST"), (":path", "/length"), ("content-length", "10")]);
    let smuggled = b"GET /admin HTTP/1.1\r\nhost: a\r\n\r\n";
    for (data, ends) in [
        (&b"12345"[..], flags::END_STREAM),
        (smuggled, flags::END_STREAM),
        (smuggled, flags::NONE),
        (b"", flags::END_STREAM),
    ] {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        peer.frame(kind::HEADERS, flags::END_HEADERS, 1, &post).unwrap();
        peer.frame(kind::DATA, ends, 1, data).unwrap();
        let end = peer.end_of(1).unwrap();
        assert!(
            matches!(end, End::Reset(PROTOCOL_ERROR) | End::Status(400)),
            "{data:?} {end:?}"
        );
    }
    // A head that ends its stream has no body.
    let none = head(&[(":method", "POST"), ("content-length", "10")]);
    assert!(matches!(
        ask(&isobar, &none),
        End::Reset(PROTOCOL_ERROR) | End::Status(400)
    ));
    isobar.comes_to_rest();
    assert_eq!(ask(&isobar, &head(&[(":path", "/after")])), End::Status(200));
    let seen = origin.requests();
    assert!(
        seen.iter()
            .all(|request| matches!(&*request.target, "/length" | "/after")),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .filter(|request| request.target == "/length")
            .all(|request| request.body.len() < 10),
        "{seen:?}"
    );
}

#[test]
fn trailers_cannot_frame_a_message() {
    let (origin, isobar) = fronted();
    for trailers in [
        &[("x-ok", "1"), ("content-length", "5")][..],
        &[("transfer-encoding", "chunked")],
        &[("x-a", "1\r\n\r\nGET /admin HTTP/1.1")],
        &[(":path", "/admin")],
        &[("host", "evil.example")],
    ] {
        let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
        let post = head(&[(":method", "POST")]);
        peer.frame(kind::HEADERS, flags::END_HEADERS, 1, post).unwrap();
        peer.frame(kind::DATA, flags::NONE, 1, b"body").unwrap();
        peer.frame(kind::HEADERS, flags::WHOLE, 1, headers(trailers)).unwrap();
        let end = peer.end_of(1).unwrap();
        assert!(
            matches!(end, End::Status(200 | 400) | End::Reset(_) | End::GoAway(_)),
            "{end:?}"
        );
    }
    isobar.comes_to_rest();
    for request in origin.requests() {
        assert_eq!(request.target, "/");
        for name in ["content-length", "transfer-encoding", "host"] {
            assert!(request.trailers.value(name).is_none(), "{request:?}");
        }
    }
}
