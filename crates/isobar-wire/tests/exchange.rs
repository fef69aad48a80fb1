//! What may the connections of an exchange be used for, and how is the response framed? One table per question.

use isobar_wire::exchange::{Exchange, MAX_INTERIM_RESPONSES, ResponseFraming, ResponseStep};
use isobar_wire::{HeadLimits, Parsed, RequestHead, ResponseHead, Version};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 4_096,
    max_fields: 16,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const GET_OLD: &str = "GET / HTTP/1.0\r\n\r\n";
const GET_OLD_KEEP: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
const EXPECT: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
const SOCKET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
const LENGTH_CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Something that happens to an exchange.
#[derive(Debug, Clone, Copy)]
enum Event {
    Response(&'static str, ResponseStep),
    RequestDone,
    RequestDrained,
    ResponseDone,
    ServerEof,
    ClientEof,
    CloseClient,
    Retried,
    AnsweredHere,
    Continued,
}

use Event::*;
use ResponseStep::{Final, Interim, Refused, Swallowed, Tunnel};

fn after(request: &str, events: &[Event]) -> Exchange {
    let mut head = RequestHead::new();
    assert_eq!(
        head.parse(request.as_bytes(), LIMITS),
        Ok(Parsed::Complete),
        "{request}"
    );
    let mut exchange = Exchange::new(&head);
    for &event in events {
        match event {
            Response(bytes, expected) => {
                let mut response = ResponseHead::new();
                assert_eq!(
                    response.parse(bytes.as_bytes(), head.kind(), LIMITS),
                    Ok(Parsed::Complete),
                    "{bytes}"
                );
                assert_eq!(exchange.response_head(&response), expected, "{request}{bytes}");
            }
            RequestDone => exchange.request_body_done(),
            RequestDrained => exchange.request_body_drained(),
            ResponseDone => exchange.response_body_done(),
            ServerEof => exchange.server_eof(),
            ClientEof => exchange.client_eof(),
            CloseClient => exchange.close_client(),
            Retried => exchange.retried(),
            AnsweredHere => exchange.answered_here(),
            Continued => exchange.continued(),
        }
    }
    exchange
}

/// Which connections are kept: `client`, `server`, `both` or `none`.
#[track_caller]
fn check_kept(request: &str, events: &[Event], expected: &str) {
    let exchange = after(request, events);
    let kept = match (exchange.client_keeps(), exchange.server_keeps()) {
        (true, true) => "both",
        (true, false) => "client",
        (false, true) => "server",
        (false, false) => "none",
    };
    assert_eq!(kept, expected, "{request}{events:?}");
}

#[test]
fn connections_are_kept_once_both_messages_are_done() {
    check_kept(GET, &[], "none");
    check_kept(GET, &[Response(EMPTY, Final)], "both");
    check_kept(GET, &[Response(LENGTH, Final)], "none");
    check_kept(GET, &[Response(LENGTH, Final), ResponseDone], "both");
    check_kept(GET, &[Response(CHUNKED, Final), ResponseDone], "both");
    check_kept(HEAD, &[Response(LENGTH, Final)], "both");
    check_kept(HEAD, &[Response(UNTIL_CLOSE, Final)], "both");
    check_kept(POST, &[Response(EMPTY, Final)], "none");
    check_kept(POST, &[Response(EMPTY, Final), RequestDone], "both");
    check_kept(POST, &[RequestDone, Response(LENGTH, Final), ResponseDone], "both");
    check_kept(POST, &[RequestDone, ResponseDone], "none");
    check_kept(GET, &[Response(HINTS, Interim)], "none");
    check_kept(GET, &[Response(HINTS, Interim), Response(EMPTY, Final)], "both");
}

#[test]
fn each_side_decides_about_its_own_connection() {
    check_kept(GET_CLOSE, &[Response(EMPTY, Final)], "server");
    check_kept(GET_OLD, &[Response(EMPTY, Final)], "server");
    check_kept(GET_OLD_KEEP, &[Response(EMPTY, Final)], "both");
    check_kept(GET, &[Response(LENGTH_CLOSE, Final), ResponseDone], "client");
    check_kept(GET, &[CloseClient, Response(EMPTY, Final)], "server");
    check_kept(GET_OLD_KEEP, &[Response(CHUNKED, Final), ResponseDone], "server");
    check_kept(GET_OLD_KEEP, &[Response(UNTIL_CLOSE, Final), ServerEof], "none");
    check_kept(GET, &[Response(UNTIL_CLOSE, Final), ServerEof], "client");
    check_kept(GET, &[Response(EMPTY, Final), ServerEof], "client");
    check_kept(GET, &[ClientEof, Response(EMPTY, Final)], "server");
}

#[test]
fn what_is_cut_is_not_kept() {
    check_kept(GET, &[Response(LENGTH, Final), ServerEof], "none");
    check_kept(GET, &[Response(LENGTH, Final), ServerEof, ResponseDone], "none");
    check_kept(GET, &[Response(CHUNKED, Final), ServerEof], "none");
    check_kept(GET, &[ServerEof], "none");
    check_kept(POST, &[ClientEof, RequestDone, Response(EMPTY, Final)], "none");
    check_kept(POST, &[RequestDrained, Response(EMPTY, Final)], "client");
    check_kept(SOCKET, &[Response(SWITCH, Tunnel)], "none");
    check_kept(SOCKET, &[Response(SWITCH, Tunnel), ServerEof, ResponseDone], "none");
    check_kept(SOCKET, &[Response(EMPTY, Final)], "both");
}

#[test]
fn lost_servers() {
    check_kept(GET, &[ServerEof, Retried, Response(EMPTY, Final)], "both");
    check_kept(GET, &[ServerEof, AnsweredHere], "client");
    check_kept(GET, &[AnsweredHere], "client");
    check_kept(POST, &[AnsweredHere], "none");
    check_kept(POST, &[AnsweredHere, RequestDrained], "client");
    check_kept(GET, &[ServerEof, Response(EMPTY, Refused)], "none");
    check_kept(
        GET,
        &[Response(LENGTH, Final), ServerEof, Retried, AnsweredHere],
        "none",
    );
    check_kept(GET, &[Response(EMPTY, Final), Response(EMPTY, Refused)], "client");
}

#[test]
fn interim_responses() {
    check_kept(GET_OLD, &[Response(HINTS, Swallowed), Response(EMPTY, Final)], "server");
    check_kept(
        POST,
        &[Response(CONTINUE, Interim), RequestDone, Response(EMPTY, Final)],
        "both",
    );
    check_kept(
        EXPECT,
        &[Response(CONTINUE, Interim), Response(CONTINUE, Swallowed)],
        "none",
    );
    check_kept(
        EXPECT,
        &[Continued, Response(CONTINUE, Swallowed), Response(HINTS, Interim)],
        "none",
    );
    let mut many = vec![Response(HINTS, Interim); usize::from(MAX_INTERIM_RESPONSES)];
    many.push(Response(EMPTY, Final));
    check_kept(GET, &many, "both");
    many.pop();
    many.extend([Response(HINTS, Refused), AnsweredHere]);
    check_kept(GET, &many, "client");
}

#[test]
fn continues() {
    let check = |request, events: &[Event], expected| {
        assert_eq!(after(request, events).needs_continue(), expected, "{request}{events:?}");
    };
    check(EXPECT, &[], true);
    check(POST, &[], false);
    check(EXPECT, &[Response(HINTS, Interim)], true);
    check(EXPECT, &[Response(CONTINUE, Interim)], false);
    check(EXPECT, &[Response(EMPTY, Final)], false);
    check(EXPECT, &[Continued], false);
    check(EXPECT, &[RequestDone], false);
    check(EXPECT, &[ClientEof], false);
    check(EXPECT, &[ServerEof], false);
    check(EXPECT, &[ServerEof, Retried], true);
}

#[test]
fn announcements() {
    let check = |request, events: &[Event], expected| {
        assert_eq!(
            after(request, events).announces_keep_alive(),
            expected,
            "{request}{events:?}"
        );
    };
    check(GET, &[], true);
    check(GET, &[Response(LENGTH, Final)], true);
    check(GET, &[Response(LENGTH_CLOSE, Final)], true);
    check(GET, &[Response(UNTIL_CLOSE, Final)], true);
    check(GET, &[ServerEof], true);
    check(GET_OLD_KEEP, &[Response(LENGTH, Final)], true);
    check(GET_OLD_KEEP, &[Response(CHUNKED, Final)], false);
    check(GET_OLD, &[Response(LENGTH, Final)], false);
    check(GET_CLOSE, &[Response(LENGTH, Final)], false);
    check(GET, &[CloseClient, Response(LENGTH, Final)], false);
    check(POST, &[ClientEof], false);
    check(SOCKET, &[Response(SWITCH, Tunnel)], false);
    check(GET, &[Response(LENGTH, Final), ServerEof], false);
}

#[test]
fn response_framing() {
    let check = |request, response, version, expected| {
        let exchange = after(request, &[Response(response, Final)]);
        assert_eq!(
            exchange.response_framing(version),
            expected,
            "{request}{response}{version:?}"
        );
    };
    check(GET, LENGTH, Version::Http11, ResponseFraming::Length(5));
    check(GET, LENGTH, Version::Http10, ResponseFraming::Length(5));
    check(GET, EMPTY, Version::Http11, ResponseFraming::Length(0));
    check(GET, CHUNKED, Version::Http11, ResponseFraming::Chunked);
    check(GET, CHUNKED, Version::Http10, ResponseFraming::UntilClose);
    check(GET, UNTIL_CLOSE, Version::Http11, ResponseFraming::IntoChunks);
    check(GET, UNTIL_CLOSE, Version::Http10, ResponseFraming::UntilClose);
    check(HEAD, LENGTH, Version::Http11, ResponseFraming::None);
    check(HEAD, UNTIL_CLOSE, Version::Http10, ResponseFraming::None);
    assert_eq!(after(GET, &[]).response_framing(Version::Http11), ResponseFraming::None);
}
