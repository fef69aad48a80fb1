//! Does everything pass, whichever version each side speaks?

use std::net::SocketAddr;

use isobar_testkit::http2::{Asked, Http2Origin, Http2Settings, fetch, flags, headers, kind};
use isobar_testkit::{
    After, Authority, Client, Configuration, Curl, Exchange, Fields, Isobar, Origin, Validity, binary, curl, noise,
};

use crate::scripted::{before, scripted};

/// How curl speaks.
const CLIENTS: [&[&str]; 3] = [&["--http1.1"], &["--http2-prior-knowledge"], &["--http2", "--insecure"]];

/// A server that speaks one of the two versions; both do the same for the same path.
enum Server {
    Http1(Origin),
    Http2(Http2Origin),
}

/// What a request looked like to its server.
#[derive(Debug)]
struct Seen {
    method: String,
    fields: Fields,
    body: Vec<u8>,
    trailers: Fields,
}

impl Server {
    fn both() -> [Self; 2] {
        [
            Self::Http1(Origin::start(answer)),
            Self::Http2(Http2Origin::start(Http2Settings::default())),
        ]
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Http1(origin) => origin.address(),
            Self::Http2(origin) => origin.address(),
        }
    }

    fn last_seen(&self) -> Seen {
        match self {
            Self::Http1(origin) => {
                let request = origin.last_request();
                Seen {
                    method: request.method,
                    fields: request.fields,
                    body: request.body,
                    trailers: request.trailers,
                }
            }
            Self::Http2(origin) => {
                let seen = origin.last_seen();
                Seen {
                    method: seen.method,
                    fields: seen.fields,
                    body: seen.body,
                    trailers: seen.trailers,
                }
            }
        }
    }

    fn version(&self) -> &'static str {
        match self {
            Self::Http1(_) => "http1",
            Self::Http2(_) => "http2",
        }
    }
}

/// Does what `Http2Origin` does, for the paths used here.
fn answer(exchange: &mut Exchange<'_>) -> std::io::Result<After> {
    let path = exchange.request.target.clone();
    let body = exchange.body()?;
    let number = |prefix: &str| {
        path.strip_prefix(prefix)
            .and_then(|number| number.parse::<usize>().ok())
    };
    if let Some(len) = number("/bytes/") {
        return exchange.reply(200, &[], &vec![b'x'; len]);
    }
    if let Some(len) = number("/stream/") {
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{len:x}\r\n"
        ))?;
        exchange.send(vec![b'x'; len])?;
        exchange.send("\r\n0\r\n\r\n")?;
        return Ok(After::Keep);
    }
    if let Some(status) = number("/status/") {
        exchange.send(format!("HTTP/1.1 {status} Said\r\n\r\n"))?;
        // Where these have no length, the others end with their connection.
        return Ok(if matches!(status, 204 | 304) {
            After::Keep
        } else {
            After::Close
        });
    }
    match path.as_str() {
        "/early" => {
            exchange.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")?;
            exchange.reply(200, &[], b"late")
        }
        "/trailers" => {
            exchange.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n")?;
            Ok(After::Keep)
        }
        "/echo" => {
            exchange.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            if !body.is_empty() {
                exchange.send(format!("{:x}\r\n", body.len()))?;
                exchange.send(&body)?;
                exchange.send("\r\n")?;
            }
            exchange.send("0\r\n")?;
            for (name, value) in exchange.request.trailers.0.clone() {
                exchange.send(format!("{name}: {value}\r\n"))?;
            }
            exchange.send("\r\n")?;
            Ok(After::Keep)
        }
        _ => exchange.reply(200, &[], b"ok"),
    }
}

/// Isobar in front of a server, in clear and over TLS.
struct Front {
    isobar: Isobar,
    server: Server,
}

impl Front {
    fn all() -> Vec<Self> {
        let authority = Authority::new();
        let site = authority.certify("a.test", Validity::Now);
        let secured = |server: &Server| {
            format!(
                "  - name: secured\n    address: 127.0.0.1:0\n    upstream: web\n    tls:\n      certificates:\n        - {{ \
                 certificate: {}, key: {} }}\nupstreams:\n  web:\n    http_version: {}\n    servers:",
                site.certificate.display(),
                site.key.display(),
                server.version()
            )
        };
        Server::both()
            .into_iter()
            .map(|server| {
                let yaml = Configuration::to(&[server.address()]).yaml();
                let yaml = yaml.replace("upstreams:\n  web:\n    servers:", &secured(&server));
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join("isobar.yaml");
                std::fs::write(&file, yaml).unwrap();
                let isobar = binary!().run_file(directory, &file);
                Self { isobar, server }
            })
            .collect()
    }

    /// Asks as one of [`CLIENTS`].
    fn curl(&self, client: &[&str], path: &str, more: &[&str]) -> Curl {
        let url = match client.contains(&"--insecure") {
            true => format!("https://{}{path}", self.isobar.listener("secured")),
            false => format!("http://{}{path}", self.isobar.address()),
        };
        let answer = curl(&[client, more, &[&url]].concat());
        let version = if client.contains(&"--http1.1") {
            "HTTP/1.1 "
        } else {
            "HTTP/2 "
        };
        assert!(
            answer.heads.starts_with(version),
            "{client:?} {path} {more:?}: {answer:?}"
        );
        answer
    }

    /// Runs a check for every client and every server.
    fn each(check: impl Fn(&Self, &[&str], &str)) {
        for front in Self::all() {
            for client in CLIENTS {
                check(&front, client, &format!("{client:?} to {}", front.server.version()));
            }
            front.isobar.comes_to_rest();
        }
    }
}

#[test]
fn answers_of_every_kind_pass() {
    Front::each(|front, client, what| {
        for (path, len) in [
            ("/", 2),
            ("/bytes/0", 0),
            ("/bytes/1048576", 1 << 20),
            ("/stream/1048576", 1 << 20),
        ] {
            let answer = front.curl(client, path, &[]);
            assert_eq!(
                (answer.status, answer.exit, answer.body.len()),
                (200, 0, len),
                "{what} {path}"
            );
        }
        let answer = front.curl(client, "/bytes/1048576", &["--head"]);
        assert_eq!((answer.status, answer.exit), (200, 0), "{what}");
        assert!(
            answer
                .heads
                .to_ascii_lowercase()
                .contains("content-length: 1048576\r\n"),
            "{what} {}",
            answer.heads
        );
        for status in ["204", "304", "404", "503"] {
            let answer = front.curl(client, &format!("/status/{status}"), &[]);
            assert_eq!((answer.status.to_string().as_str(), answer.exit), (status, 0), "{what}");
        }
    });
}

#[test]
fn bodies_of_every_kind_pass() {
    let directory = tempfile::tempdir().unwrap();
    Front::each(|front, client, what| {
        for len in [0, 1, 1000, 1 << 20] {
            let body = noise(len, 5);
            let file = directory.path().join("body");
            std::fs::write(&file, &body).unwrap();
            let data = format!("@{}", file.display());
            for more in [
                &[][..],
                &["-H", "transfer-encoding: chunked"],
                &["-H", "expect: 100-continue"],
            ] {
                let answer = front.curl(client, "/echo", &[&["--data-binary", &data], more].concat());
                assert_eq!(
                    (answer.status, answer.exit),
                    (200, 0),
                    "{what} {len} {more:?}: {}",
                    answer.heads
                );
                assert!(answer.body == body, "{what} {len} {more:?}");
                let seen = front.server.last_seen();
                assert!(seen.method == "POST" && seen.body == body, "{what} {len} {more:?}");
            }
        }
    });
}

#[test]
fn trailers_pass_both_ways() {
    for front in Front::all() {
        let asked = Asked {
            method: "POST",
            path: "/echo",
            body: b"body",
            trailers: &[("x-sum", "77")],
            fields: &[("te", "trailers"), ("trailer", "x-sum")],
        };
        let what = front.server.version();
        let got = fetch(front.isobar.address(), &asked).unwrap();
        assert_eq!((got.status, got.body.as_slice()), (200, b"body".as_slice()), "{what}");
        assert_eq!(got.trailers.value("x-sum"), Some("77"), "{what} {got:?}");
        let seen = front.server.last_seen();
        assert_eq!(seen.trailers.value("x-sum"), Some("77"), "{what} {seen:?}");
        assert_eq!(seen.fields.value("te"), Some("trailers"), "{what} {seen:?}");
        // Trailers without a body before them.
        let asked = Asked { body: b"", ..asked };
        let got = fetch(front.isobar.address(), &asked).unwrap();
        assert_eq!(
            (got.status, got.trailers.value("x-sum")),
            (200, Some("77")),
            "{what} {got:?}"
        );
    }
    Front::each(|front, client, what| {
        let answer = front.curl(client, "/trailers", &[]);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"body".as_slice()),
            "{what}"
        );
        assert!(answer.heads.contains("x-sum: 1\r\n"), "{what} {}", answer.heads);
    });
}

/// In HTTP/2 a length and trailers may both be there; where one has to go, it is not the trailers.
#[test]
fn announced_trailers_pass_behind_a_length() {
    for front in Front::all() {
        let what = front.server.version();
        let asked = Asked {
            method: "POST",
            path: "/echo",
            body: b"body",
            trailers: &[("x-sum", "77")],
            fields: &[("te", "trailers"), ("trailer", "x-sum"), ("content-length", "4")],
        };
        let got = fetch(front.isobar.address(), &asked).unwrap();
        assert_eq!((got.status, got.body.as_slice()), (200, b"body".as_slice()), "{what}");
        assert_eq!(got.trailers.value("x-sum"), Some("77"), "{what} {got:?}");
        let seen = front.server.last_seen();
        assert_eq!(seen.body, b"body", "{what} {seen:?}");
        assert_eq!(seen.trailers.value("x-sum"), Some("77"), "{what} {seen:?}");
        assert_eq!(seen.fields.value("trailer"), Some("x-sum"), "{what} {seen:?}");
    }
    let head = headers(&[("content-length", "4"), ("trailer", "x-sum")]);
    let server = scripted(move |peer, asked| {
        let stream = asked.stream;
        peer.frame(
            kind::HEADERS,
            flags::END_HEADERS,
            stream,
            [&[0x88], head.as_slice()].concat(),
        )?;
        peer.frame(kind::DATA, flags::NONE, stream, b"body")?;
        peer.frame(kind::HEADERS, flags::WHOLE, stream, headers(&[("x-sum", "77")]))
    });
    let isobar = before(&[server.address()], "retry: { attempts: 0 }");
    for te in [&[("te", "trailers")][..], &[]] {
        let asked = Asked {
            fields: te,
            path: "/",
            ..Asked::default()
        };
        let got = fetch(isobar.address(), &asked).unwrap();
        assert_eq!((got.status, got.body.as_slice()), (200, b"body".as_slice()), "{got:?}");
        assert_eq!(got.trailers.value("x-sum"), Some("77"), "{got:?}");
    }
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..2 {
        let answer = client
            .exchange("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n")
            .unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"body".as_slice()),
            "{answer:?}"
        );
        assert_eq!(answer.trailers.value("x-sum"), Some("77"), "{answer:?}");
        assert!(answer.fields.lists("transfer-encoding", "chunked"), "{answer:?}");
        assert_eq!(answer.fields.value("content-length"), None, "{answer:?}");
    }
}

#[test]
fn interim_answers_pass() {
    Front::each(|front, client, what| {
        let answer = front.curl(client, "/early", &[]);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"late".as_slice()),
            "{what}"
        );
        assert!(
            answer.heads.contains(" 103") && answer.heads.contains("link: </a>"),
            "{what} {}",
            answer.heads
        );
    });
}

#[test]
fn fields_pass_and_crumbs_of_cookies_are_joined() {
    Front::each(|front, client, what| {
        let mut more = Vec::new();
        for number in 0..60 {
            more.extend(["-H".to_owned(), format!("x-field-{number}: value {number}")]);
        }
        let more: Vec<_> = more.iter().map(String::as_str).collect();
        assert_eq!(front.curl(client, "/", &more).status, 200, "{what}");
        let seen = front.server.last_seen().fields;
        for number in 0..60 {
            let value = format!("value {number}");
            assert_eq!(seen.value(&format!("x-field-{number}")), Some(&*value), "{what}");
        }
        assert!(seen.value("x-forwarded-for").is_some(), "{what} {seen:?}");
    });
    for front in Front::all() {
        let fields = [("cookie", "a=1"), ("cookie", "b=2"), ("x-twice", "1"), ("x-twice", "2")];
        let asked = Asked {
            path: "/",
            fields: &fields,
            ..Asked::default()
        };
        assert_eq!(fetch(front.isobar.address(), &asked).unwrap().status, 200);
        let seen = front.server.last_seen().fields;
        assert_eq!(seen.values("cookie"), ["a=1; b=2"]);
        assert_eq!(seen.values("x-twice"), ["1", "2"]);
    }
}

/// What servers that speak HTTP/2 cannot be asked is no failure of theirs: one request of that kind would have them ejected.
#[test]
fn every_target_that_http1_takes_reaches_servers_of_http2() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream("http_version: http2"));
    let ask = |request: String| {
        let mut client = Client::connect(isobar.address()).unwrap();
        let answer = client.exchange(&request).unwrap();
        assert!(matches!(answer.status, 200 | 400), "{request}: {answer:?}");
        answer.status
    };
    for character in ('!'..='~').chain(['\u{e4}']) {
        for target in [format!("/a{character}b"), format!("/a?b={character}c")] {
            ask(format!("GET {target} HTTP/1.1\r\nhost: test.example\r\n\r\n"));
        }
        ask(format!("GET / HTTP/1.1\r\nhost: a{character}b\r\n\r\n"));
    }
    for host in ["a", "a:80", "[::1]", "[::1]:8080", "a_b", "1.2.3.4", "a.b.", "a%20b"] {
        ask(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    }
    assert_eq!(ask("GET / HTTP/1.0\r\n\r\n".to_owned()), 200);
    assert_eq!(ask("OPTIONS * HTTP/1.1\r\nhost: test.example\r\n\r\n".to_owned()), 200);
    assert_eq!(origin.last_seen().method, "OPTIONS");
    // One that HTTP/2 does not know is not asked for.
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
    assert_eq!(ask(upgrade.to_owned()), 200);
    let metrics = isobar.metrics();
    assert_eq!(
        metrics.sum("isobar_server_failures_total", &[]),
        Some(0.0),
        "{}",
        metrics.text()
    );
}
