//! Do requests that are not HTTP get the right answer and nothing else?
//!
//! Every rule has its section: RFC 9112 for framing and syntax, RFC 9110 for fields. An answer must come, its status
//! must be one of those named, the connection must end, and the server must not have heard of it.

use std::cell::RefCell;

use isobar_testkit::{Client, Configuration, Isobar, Origin, answer_to, binary, eventually};

/// A proxy before an echo; every finding of a table is shown at its end, not only the first.
struct Proxied {
    origin: Origin,
    isobar: Isobar,
    findings: RefCell<Vec<String>>,
}

impl Drop for Proxied {
    fn drop(&mut self) {
        let findings = self.findings.borrow();
        assert!(findings.is_empty() || std::thread::panicking(), "{findings:#?}");
    }
}

impl Proxied {
    fn new(listener: &str) -> Self {
        let origin = Origin::echo();
        let isobar = binary!().run(&Configuration::to(&[origin.address()]).listener(listener));
        Self {
            origin,
            isobar,
            findings: RefCell::default(),
        }
    }

    fn refuses(&self, request: impl AsRef<[u8]>, statuses: &[u16]) {
        let request = request.as_ref();
        let seen = self.origin.request_count();
        let finding = match answer_to(self.isobar.address(), request) {
            Err(error) => error.to_string(),
            Ok(answer) if !statuses.contains(&answer.status()) => format!("status {}", answer.status()),
            Ok(answer) if !answer.closed => "the connection stays open".to_owned(),
            Ok(answer)
                if !answer
                    .response
                    .as_ref()
                    .is_some_and(|r| r.fields.lists("connection", "close")) =>
            {
                "closed without a word".to_owned()
            }
            Ok(_) if self.origin.request_count() != seen => "the server has seen it".to_owned(),
            Ok(_) => return,
        };
        let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
        self.findings
            .borrow_mut()
            .push(format!("{shown:?}: {finding}; expected {statuses:?}"));
    }

    fn answers(&self, request: impl AsRef<[u8]>, expected: u16) {
        let request = request.as_ref();
        let status = answer_to(self.isobar.address(), request).map(|answer| answer.status());
        if !matches!(status, Ok(status) if status == expected) {
            let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
            self.findings
                .borrow_mut()
                .push(format!("{shown:?}: {status:?}; expected {expected}"));
        }
    }
}

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n{body}")
}

#[test]
fn request_lines() {
    let proxied = Proxied::new("");
    for line in [
        "GET",
        "GET /",
        "GET / ",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/\tHTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / HTTP/1.1x",
        "GET / FTP/1.1",
        "G@T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /é HTTP/1.1",
        "GET /#fragment HTTP/1.1",
        "GET relative HTTP/1.1",
        "GET  HTTP/1.1",
        "GET * HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://user@host/ HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /%4 HTTP/1.1",
        "GET /%00 HTTP/1.1",
    ] {
        proxied.refuses(format!("{line}\r\nhost: a\r\n\r\n"), &[400]);
    }
}

#[test]
fn versions() {
    let proxied = Proxied::new("");
    proxied.refuses("GET / HTTP/2.0\r\nhost: a\r\n\r\n", &[505]);
    proxied.refuses("GET / HTTP/0.9\r\nhost: a\r\n\r\n", &[400, 505]);
    proxied.refuses("GET / HTTP/3.7\r\nhost: a\r\n\r\n", &[505]);
    proxied.answers("GET / HTTP/1.2\r\nhost: a\r\n\r\n", 200);
    let old = Proxied::new("http2: false");
    old.refuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[400, 505]);
}

#[test]
fn line_ends_and_fields() {
    let proxied = Proxied::new("");
    for fields in [
        "x: 1\n",
        "x: 1\n\r",
        "x: a\rb\r\n",
        "x: 1\r\r\n",
        "x: 1\r\n folded\r\n",
        "x: 1\r\n\tfolded\r\n",
        "x : 1\r\n",
        "x\t: 1\r\n",
        ": 1\r\n",
        "no colon\r\n",
        "x y: 1\r\n",
        "x(y): 1\r\n",
        "x: a\0b\r\n",
        "x: a\x01b\r\n",
        "x: a\x7fb\r\n",
        "\0x: 1\r\n",
        "é: 1\r\n",
    ] {
        proxied.refuses(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"), &[400]);
    }
    proxied.refuses("GET / HTTP/1.1\nhost: a\n\n", &[400]);
    proxied.refuses("GET / HTTP/1.1\r\n host: a\r\n\r\n", &[400]);
}

#[test]
fn hosts() {
    let proxied = Proxied::new("");
    for fields in [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nHost: b\r\n",
        "host: a b\r\n",
        "host: a/b\r\n",
        "host: a@b\r\n",
        "host: a:port\r\n",
        "host: a?b\r\n",
        "host: [::1\r\n",
    ] {
        proxied.refuses(format!("GET / HTTP/1.1\r\n{fields}\r\n"), &[400]);
    }
}

#[test]
fn lengths() {
    let proxied = Proxied::new("");
    for value in [
        "+1",
        "-1",
        "1 1",
        "1, 1",
        "1,1",
        "0x1",
        "1.0",
        "",
        "a",
        "1;",
        "99999999999999999999999",
        "18446744073709551616",
    ] {
        proxied.refuses(post(&format!("content-length: {value}"), "a"), &[400]);
    }
    proxied.refuses(post("content-length: 1\r\ncontent-length: 1", "a"), &[400]);
    proxied.refuses(post("content-length: 1\r\nContent-Length: 2", "ab"), &[400]);
    proxied.refuses(
        "GET / HTTP/1.0\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
        &[400],
    );
}

#[test]
fn transfer_codings() {
    let proxied = Proxied::new("");
    let chunked = "0\r\n\r\n";
    proxied.refuses(post("content-length: 5\r\ntransfer-encoding: chunked", chunked), &[400]);
    proxied.refuses(post("transfer-encoding: chunked\r\ncontent-length: 5", chunked), &[400]);
    for value in [
        "gzip",
        "identity",
        "gzip, chunked",
        "xchunked",
        "chunked-not",
        "x, chunked",
    ] {
        proxied.refuses(post(&format!("transfer-encoding: {value}"), chunked), &[400, 501]);
    }
    for value in [
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "\"chunked\"",
        "chunked;x=1",
        "",
        ",",
        "chunked\x0b",
    ] {
        proxied.refuses(post(&format!("transfer-encoding: {value}"), chunked), &[400, 501]);
    }
    proxied.refuses(
        post("transfer-encoding: chunked\r\ntransfer-encoding: chunked", chunked),
        &[400, 501],
    );
    proxied.refuses(
        post("transfer-encoding: chunked\r\ntransfer-encoding: identity", chunked),
        &[400, 501],
    );
    proxied.refuses(post("transfer-encoding : chunked", chunked), &[400]);
    proxied.refuses(post("transfer-encoding:\r\n chunked", chunked), &[400]);
    proxied.refuses(
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    );
}

#[test]
fn sizes() {
    let limits = "limits: { max_head_bytes: 4KiB, max_headers: 20, max_body_bytes: 1KiB }";
    let proxied = Proxied::new(limits);
    proxied.refuses(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(8192)), &[414]);
    proxied.refuses(
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(8192)),
        &[431],
    );
    proxied.refuses(
        format!("GET / HTTP/1.1\r\nhost: a\r\n{}: 1\r\n\r\n", "a".repeat(8192)),
        &[431],
    );
    proxied.refuses(
        format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(21)),
        &[431],
    );
    // A small body may be read to its end, so that the connection can go on.
    proxied.answers(post("content-length: 1025", &"a".repeat(1025)), 413);
    proxied.refuses(post("content-length: 1025\r\nexpect: 100-continue", ""), &[413]);
    proxied.answers(post("content-length: 1024", &"a".repeat(1024)), 200);
}

#[test]
fn a_chunked_body_past_the_limit_is_cut() {
    let proxied = Proxied::new("limits: { max_body_bytes: 1KiB }");
    let chunks = "64\r\n".to_owned() + &"a".repeat(100) + "\r\n";
    let answer = answer_to(
        proxied.isobar.address(),
        post("transfer-encoding: chunked", &chunks.repeat(30)),
    )
    .unwrap();
    assert_eq!((answer.status(), answer.closed), (413, true));
    assert_eq!(
        proxied.origin.request_count(),
        0,
        "too large from the start: the server never saw it"
    );
}

#[test]
fn a_chunked_body_that_grows_past_the_limit_is_cut() {
    let proxied = Proxied::new("limits: { max_body_bytes: 1MiB }");
    let chunk = "10000\r\n".to_owned() + &"a".repeat(65536) + "\r\n";
    let answer = answer_to(
        proxied.isobar.address(),
        post("transfer-encoding: chunked", &chunk.repeat(17)),
    )
    .unwrap();
    assert_eq!((answer.status(), answer.closed), (413, true));
    eventually("the server is rid of it", || proxied.origin.connections_open() == 0);
}

#[test]
fn chunks() {
    let proxied = Proxied::new("");
    for body in [
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1\na\n0\n\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "\r\n",
        ";x\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\nx : 1\r\n\r\n",
        "0\r\nx: a\nb\r\n\r\n",
        "0\r\n folded\r\n\r\n",
    ] {
        proxied.answers(post("transfer-encoding: chunked", body), 400);
    }
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(20_000));
    proxied.answers(post("transfer-encoding: chunked", &long), 400);
    let whole = proxied
        .origin
        .requests()
        .iter()
        .filter(|request| !request.body.is_empty())
        .count();
    assert_eq!(whole, 0, "a server took one of these for a whole request");
}

#[test]
fn chunks_that_are_allowed() {
    let proxied = Proxied::new("");
    for body in [
        "1;a=b\r\na\r\n0\r\n\r\n",
        "001\r\na\r\n00\r\n\r\n",
        "1\r\na\r\n0\r\nx: 1\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
    ] {
        proxied.answers(post("transfer-encoding: chunked", body), 200);
    }
}

#[test]
fn other_protocols() {
    let proxied = Proxied::new("");
    proxied.refuses(
        [
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".as_slice(),
            &[0x42; 160],
            b"\r\n\r\n",
        ]
        .concat(),
        &[400],
    );
    proxied.refuses("SSH-2.0-OpenSSH_9.2\r\n\r\n", &[400]);
    proxied.refuses(
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        &[400],
    );
    proxied.refuses("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", &[400, 405, 501]);
    proxied.refuses("CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n", &[400]);
    proxied.refuses("\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", &[400]);
}

#[test]
fn nothing_after_a_bad_request_is_taken_for_another() {
    let proxied = Proxied::new("");
    let good = "GET /good HTTP/1.1\r\nhost: a\r\n\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let bad = post("content-length: 4\r\ntransfer-encoding: chunked", "0\r\n\r\n");
    let mut client = Client::connect(proxied.isobar.address()).unwrap();
    client.send(format!("{good}{bad}{smuggled}")).unwrap();
    assert_eq!(client.receive().unwrap().status, 200);
    assert_eq!(client.receive().unwrap().status, 400);
    assert!(client.sees_close());
    let targets = proxied
        .origin
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect::<Vec<_>>();
    assert_eq!(targets, ["/good"]);
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    let proxied = Proxied::new("");
    for lines in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut client = Client::connect(proxied.isobar.address()).unwrap();
        client.send(post(lines, "5\r\nhello")).unwrap();
        client.finish().unwrap();
        let answer = client.receive().map(|response| response.status);
        assert!(matches!(answer, Ok(400) | Err(_)), "{lines}: {answer:?}");
    }
    eventually("the server is rid of both", || proxied.origin.connections_open() == 0);
}
