//! Do connections persist, pipeline, expect and end as RFC 9112 section 9 and RFC 9110 section 10.1.1 say?

use std::time::Duration;

use isobar_testkit::{After, Client, Configuration, Isobar, Origin, answer_to, binary, curl, noise};

fn before(origin: &Origin) -> Isobar {
    binary!().run(&Configuration::to(&[origin.address()]))
}

fn path_echo() -> Origin {
    Origin::start(|exchange| {
        exchange.body()?;
        let path = exchange.request.target.clone();
        exchange.reply(200, &[], path.as_bytes())
    })
}

#[test]
fn a_connection_carries_many_requests_on_both_sides() {
    let origin = path_echo();
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    for number in 0..200 {
        let path = format!("/{number}");
        assert_eq!(client.get(&path).unwrap().text(), path);
    }
    assert_eq!(
        origin.connections_accepted(),
        1,
        "requests one after another need one connection to the server"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = path_echo();
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut requests = String::new();
    for number in 0..50 {
        requests.push_str(&match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"),
            _ => format!("PUT /{number} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        });
    }
    client.send(requests).unwrap();
    for number in 0..50 {
        assert_eq!(client.receive().unwrap().text(), format!("/{number}"));
    }
}

#[test]
fn the_same_bytes_in_any_pieces_get_the_same_answer() {
    let origin = Origin::echo();
    let isobar = before(&origin);
    let request = "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    for piece in [1, 2, 3, 7, 50, request.len()] {
        let mut client = Client::connect(isobar.address()).unwrap();
        client
            .send_in_pieces(request, piece, Duration::from_micros(300))
            .unwrap();
        assert_eq!(client.receive().unwrap().text(), "hello!", "in pieces of {piece}");
    }
}

#[test]
fn connection_close_is_kept() {
    let origin = path_echo();
    let isobar = before(&origin);
    let check = |request: &str, closed: bool| {
        let answer = answer_to(isobar.address(), request).unwrap();
        assert_eq!((answer.status(), answer.closed), (200, closed), "{request:?}");
        let said = answer.response.unwrap().fields.lists("connection", "close");
        assert!(
            !closed || said || request.contains("HTTP/1.0"),
            "{request:?}: closes without a word"
        );
    };
    check("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", true);
    check("GET / HTTP/1.1\r\nhost: a\r\nconnection: x, CLOSE\r\n\r\n", true);
    check("GET / HTTP/1.0\r\nhost: a\r\n\r\n", true);
    check("GET / HTTP/1.0\r\n\r\n", true);
}

#[test]
fn http_1_0_clients_may_keep_the_connection() {
    let origin = path_echo();
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    for path in ["/a", "/b"] {
        let request = format!("GET {path} HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
        let answer = client.exchange(request).unwrap();
        assert_eq!(answer.text(), path);
        assert!(answer.fields.lists("connection", "keep-alive"), "{:?}", answer.fields);
    }
}

#[test]
fn http_1_0_servers_are_understood() {
    let origin = Origin::answering("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", After::Close);
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..3 {
        let answer = client.get("/").unwrap();
        assert_eq!((answer.text().as_str(), answer.version.as_str()), ("hi", "HTTP/1.1"));
    }
    assert_eq!(origin.connections_accepted(), 3);
    assert_eq!(origin.last_request().version, "HTTP/1.1");
}

#[test]
fn one_empty_line_before_a_request_is_forgiven() {
    let origin = path_echo();
    let isobar = before(&origin);
    assert_eq!(
        answer_to(isobar.address(), "\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap()
            .status(),
        200
    );
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let origin = path_echo();
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    // It says that this is its last request: without that, the end of its side means that it has left.
    client
        .send("GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    client.finish().unwrap();
    assert_eq!(client.receive().unwrap().text(), "/last");
    assert!(client.sees_close());
}

#[test]
fn a_large_upload_waits_for_100_continue() {
    let origin = Origin::echo();
    let isobar = before(&origin);
    let body = noise(3 << 20, 1);
    let file = isobar.directory().join("upload");
    std::fs::write(&file, &body).unwrap();
    let (url, data) = (format!("http://{}/", isobar.address()), format!("@{}", file.display()));
    let answer = curl(&[
        "--expect100-timeout",
        "20",
        "-H",
        "expect: 100-continue",
        "--data-binary",
        &data,
        &url,
    ]);
    assert_eq!((answer.status, answer.exit), (200, 0));
    assert!(answer.heads.starts_with("HTTP/1.1 100"), "{}", answer.heads);
    assert!(answer.body == body);
}

#[test]
fn a_server_may_refuse_before_the_body() {
    for status in [413, 417] {
        let origin = Origin::start(move |exchange| exchange.reply(status, &[("connection", "close")], b"no"));
        let isobar = before(&origin);
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n";
        let mut client = Client::connect(isobar.address()).unwrap();
        let answer = client.exchange(head).unwrap();
        assert_eq!(
            (answer.status, answer.interim.len(), answer.text().as_str()),
            (status, 0, "no")
        );
    }
}

#[test]
fn a_server_may_answer_before_it_has_read_the_body() {
    let origin = Origin::start(|exchange| {
        exchange.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")?;
        exchange.body().map(|_| After::Close)
    });
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            1 << 20
        ))
        .unwrap();
    client.send(noise(100_000, 1)).unwrap();
    let answer = client.receive().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[test]
fn early_hints_pass() {
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n\
                  HTTP/1.1 103 Early Hints\r\nlink: </b.css>; rel=preload\r\n\r\n\
                  HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let origin = Origin::answering(answer, After::Keep);
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..2 {
        let answer = client.get("/").unwrap();
        let links = answer
            .interim
            .iter()
            .filter_map(|head| head.fields.value("link"))
            .collect::<Vec<_>>();
        assert_eq!(links, ["</a.css>; rel=preload", "</b.css>; rel=preload"]);
        assert_eq!(answer.text(), "ok");
    }
    // RFC 9110 section 15.2: HTTP/1.0 knows no 1xx.
    let mut client = Client::connect(isobar.address()).unwrap();
    let answer = client.exchange("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "ok"));
}

/// Each has some hundred bytes here and there: of a huge page it would use little, and occupy all.
#[test]
fn connections_occupy_small_pages() {
    let origin = path_echo();
    let isobar = before(&origin);
    let clients: Vec<_> = (0..300)
        .map(|number| {
            let mut client = Client::connect(isobar.address()).unwrap();
            let path = format!("/{number}");
            assert_eq!(client.get(&path).unwrap().text(), path);
            client
        })
        .collect();
    assert_eq!(isobar.process().huge_bytes().unwrap(), 0);
    drop(clients);
}
