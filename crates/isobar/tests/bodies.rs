//! Do bodies arrive whole, whatever their size and framing?

use std::io::Read;
use std::time::Duration;

use isobar_testkit::{After, Client, Configuration, Isobar, Origin, binary, curl, get, noise};

const SIZES: [usize; 6] = [0, 1, 16 << 10, 100_000, 1 << 20, 20 << 20];

fn before(origin: &Origin) -> Isobar {
    binary!().run(&Configuration::to(&[origin.address()]))
}

#[test]
fn every_size_arrives_whole_both_ways() {
    let origin = Origin::echo();
    let isobar = before(&origin);
    for (seed, size) in (0..).zip(SIZES) {
        let body = noise(size, seed);
        let file = isobar.directory().join("upload");
        std::fs::write(&file, &body).unwrap();
        let (url, data) = (
            format!("http://{}/echo", isobar.address()),
            format!("@{}", file.display()),
        );
        for method in ["POST", "PUT"] {
            for framing in ["x-framing: length", "transfer-encoding: chunked"] {
                let answer = curl(&["-X", method, "-H", framing, "--data-binary", &data, &url]);
                assert_eq!((answer.status, answer.exit), (200, 0), "{method} {size} {framing}");
                assert!(
                    answer.body == body,
                    "{method} {size} {framing}: the body came back changed"
                );
                assert!(
                    origin.last_request().body == body,
                    "{method} {size} {framing}: the server saw another body"
                );
            }
        }
    }
}

#[test]
fn http_1_0_clients_get_whole_bodies_without_chunks() {
    let body = noise(200_000, 1);
    let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in body.chunks(7_001) {
        chunked.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let origin = Origin::answering(chunked, After::Keep);
    let isobar = before(&origin);
    let answer = curl(&["--http1.0", &format!("http://{}/", isobar.address())]);
    assert_eq!((answer.status, answer.exit), (200, 0));
    assert!(answer.body == body);
    assert!(
        !answer.heads.to_ascii_lowercase().contains("transfer-encoding"),
        "{}",
        answer.heads
    );
}

#[test]
fn a_body_that_ends_with_the_connection_arrives_whole() {
    let body = noise(300_000, 2);
    for version in ["1.0", "1.1"] {
        let head = format!("HTTP/{version} 200 OK\r\ncontent-type: x/y\r\n\r\n");
        let origin = Origin::answering([head.as_bytes(), &body].concat(), After::Close);
        let isobar = before(&origin);
        let mut client = Client::connect(isobar.address()).unwrap();
        for _ in 0..2 {
            let answer = client.get("/").unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.body == body, "HTTP/{version}");
            if !answer.fields.lists("transfer-encoding", "chunked") {
                client = Client::connect(isobar.address()).unwrap();
            }
        }
    }
}

#[test]
fn trailers_pass_both_ways() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                  3\r\nabc\r\n0\r\nx-sum: 42\r\nx-more: a b\r\n\r\n";
    let origin = Origin::answering(answer, After::Keep);
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\nx-digest: 7\r\n\r\n";
    let answer = client.exchange(request).unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.trailers.value("x-sum")),
        ("abc", Some("42"))
    );
    assert_eq!(answer.trailers.value("x-more"), Some("a b"));
    let seen = origin.last_request();
    assert_eq!(
        (seen.body.as_slice(), seen.trailers.value("x-digest")),
        (b"hello".as_slice(), Some("7"))
    );
    assert_eq!(
        client.exchange(request).unwrap().trailers.value("x-sum"),
        Some("42"),
        "on the same connection"
    );
}

#[test]
fn trailers_cannot_carry_what_belongs_into_a_head() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 5\r\nx-ok: 1\r\n\r\n";
    let origin = Origin::answering(answer, After::Keep);
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                   0\r\nhost: evil\r\nx-forwarded-for: 1.2.3.4\r\nauthorization: x\r\nx-ok: 1\r\n\r\n";
    let answer = client.exchange(request).unwrap();
    assert_eq!((answer.status, answer.trailers.value("content-length")), (200, None));
    let seen = origin.last_request().trailers;
    for name in ["host", "x-forwarded-for", "authorization"] {
        assert_eq!(seen.value(name), None, "{name}");
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let origin = Origin::start(|exchange| {
        let head = match exchange.request.target.as_str() {
            "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n",
            "/chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 5000\r\netag: \"a\"\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        };
        exchange.send(head)?;
        Ok(After::Keep)
    });
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    for (path, length) in [("/head", Some("5000")), ("/chunked", None)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n")).unwrap();
        let answer = client.receive_head().unwrap();
        assert_eq!(
            (answer.status, answer.fields.value("content-length")),
            (200, length),
            "HEAD {path}"
        );
    }
    for (path, status) in [("/204", 204), ("/304", 304), ("/empty", 200), ("/204", 204)] {
        let answer = client.get(path).unwrap();
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
    }
    assert_eq!(origin.request_count(), 6);
}

#[test]
fn large_bodies_pass_readers_that_are_slower_than_writers() {
    const SIZE: usize = 64 << 20;
    let body = noise(SIZE, 3);
    let sent = body.clone();
    let origin = Origin::start(move |exchange| match exchange.request.method.as_str() {
        "GET" => exchange.reply(200, &[], &sent),
        _ => {
            let body = exchange.body()?;
            let verdict = if body == sent { "same" } else { "changed" };
            exchange.reply(200, &[], verdict.as_bytes())
        }
    });
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    client
        .send("GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut received = Vec::with_capacity(SIZE + 1000);
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = client.stream().read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        received.extend_from_slice(&piece[..count]);
        std::thread::sleep(Duration::from_micros(500));
    }
    let head = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(
        received[head..] == body,
        "{} bytes of body arrived, or others than were sent",
        received.len() - head
    );
    let mut client = Client::connect(isobar.address()).unwrap();
    assert_eq!(client.post("/large", &body).unwrap().text(), "same");
}

#[test]
fn a_body_in_many_small_pieces_arrives_as_it_comes() {
    let origin = Origin::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for number in 0..50 {
            exchange.send_in_pieces(format!("3\r\n{number:03}\r\n"), 2, Duration::from_micros(200))?;
        }
        exchange.send("0\r\n\r\n").map(|()| After::Keep)
    });
    let isobar = before(&origin);
    let expected = (0..50).map(|number| format!("{number:03}")).collect::<String>();
    assert_eq!(get(isobar.address(), "/").unwrap().text(), expected);
}

#[test]
fn the_first_bytes_of_an_answer_do_not_wait_for_the_last() {
    let gate = isobar_testkit::Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")?;
        held.pass();
        exchange.send("after").map(|()| After::Keep)
    });
    let isobar = before(&origin);
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(client.receive_head().unwrap().status, 200);
    assert_eq!(client.receive_bytes(5).unwrap(), b"first");
    gate.open();
    assert_eq!(client.receive_bytes(5).unwrap(), b"after");
}
