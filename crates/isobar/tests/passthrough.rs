//! Can one port decrypt what is for some names, and pass on what is for others?
//!
//! curl and openssl are the clients, nginx a server with a certificate of its own.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use isobar_testkit::{
    Authority, Certified, ClosedPort, Configuration, Curl, Isobar, Nginx, Origin, PATIENCE, Signal, TcpServer,
    TlsConduct, TlsServer, Validity, binary, client_hello, curl, eventually, noise, openssl, rest, wait_for,
};

const LOG: &str = "access_log: { path: access.log, format: json }";

/// One port that shows this certificate, and passes on connections of these rules to the upstream `behind`.
fn divided(origin: &Origin, site: &Certified, behind: SocketAddr, matches: &[&str]) -> Configuration {
    let Certified { certificate, key, .. } = site;
    let tls = format!(
        "tls:\n  certificates: [{{ certificate: {}, key: {} }}]",
        certificate.display(),
        key.display()
    );
    let rules = matches
        .iter()
        .map(|rule| format!("  - {{ match: {{ {rule} }}, upstream: behind }}\n"));
    Configuration::to(&[origin.address()])
        .listener(tls)
        .listener(format!("passthrough:\n{}", rules.collect::<String>()))
        .another_upstream("behind", behind)
        .top(LOG)
}

/// Asks by a name, trusting one authority only.
fn https(at: SocketAddr, authority: &Authority, name: &str, more: &[&str]) -> Curl {
    let port = at.port();
    let (resolve, url) = (format!("{name}:{port}:127.0.0.1"), format!("https://{name}:{port}/who"));
    let ca = authority.file().display().to_string();
    curl(&[&["--resolve", &resolve, "--cacert", &ca, &url], more].concat())
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends a hello for a server that says who it is and then sends everything back.
fn begin(at: SocketAddr, file: &str) -> TcpStream {
    try_begin(at, file).unwrap()
}

/// As [`begin`], where the connection may be refused.
fn try_begin(at: SocketAddr, file: &str) -> std::io::Result<TcpStream> {
    let mut client = connect(at);
    client.write_all(&client_hello(file))?;
    let mut answer = vec![0; "behind:".len() + client_hello(file).len()];
    client.read_exact(&mut answer)?;
    assert!(answer == [b"behind:", &client_hello(file)[..]].concat(), "{file}");
    Ok(client)
}

fn sum(isobar: &Isobar, name: &str) -> f64 {
    isobar.metrics().sum(name, &[]).unwrap_or(0.0)
}

/// A listener in between that passes on what clients send in pieces of so many bytes.
fn in_pieces(to: SocketAddr, bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            std::thread::spawn(move || cut_up(client, connect(to), bytes));
        }
    });
    address
}

fn cut_up(mut client: TcpStream, mut server: TcpStream, bytes: usize) {
    let (mut answers, mut asker) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut asker);
        let _ = asker.shutdown(Shutdown::Write);
    });
    let mut piece = vec![0; bytes];
    while let Ok(count @ 1..) = client.read(&mut piece)
        && server.write_all(&piece[..count]).is_ok()
    {}
    let _ = server.shutdown(Shutdown::Write);
}

#[test]
fn clients_see_the_certificate_of_whom_they_ask_for() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (site, behind) = (
        ours.certify("web.test", Validity::Now),
        theirs.certify("db.test", Validity::Now),
    );
    let port = ClosedPort::reserve().unwrap();
    let Certified { certificate, key, .. } = &behind;
    let nginx = Nginx::start(&format!(
        "listen {} ssl http2; ssl_certificate {}; ssl_certificate_key {};",
        port.address(),
        certificate.display(),
        key.display()
    ));
    nginx.put("who", b"nginx");
    let origin = Origin::named("origin");
    for io in ["epoll", "auto"] {
        let program = binary!().io(io);
        let isobar = program.run(&divided(&origin, &site, port.address(), &["sni: db.test"]));
        for version in ["--http1.1", "--http2"] {
            let answer = https(isobar.address(), &theirs, "db.test", &[version]);
            assert_eq!(
                (answer.status, answer.body.as_slice()),
                (200, &b"nginx"[..]),
                "{answer:?}"
            );
            let answer = https(isobar.address(), &ours, "web.test", &[version]);
            assert_eq!((answer.status, answer.exit), (200, 0), "{answer:?}");
            assert_ne!(answer.body, b"nginx");
            let spoken = if version == "--http2" {
                "HTTP/2 200"
            } else {
                "HTTP/1.1 200"
            };
            assert!(answer.heads.starts_with(spoken), "{}", answer.heads);
        }
        let lines = isobar.access_lines(4);
        let passed_on: Vec<_> = lines.iter().filter(|line| line["protocol"] == "TCP").collect();
        assert_eq!(passed_on.len(), 2, "{lines:?}");
        for line in passed_on {
            assert_eq!(
                (&line["listener"], &line["route"]),
                (&"web".into(), &"db.test".into()),
                "{line}"
            );
            assert_eq!(
                (&line["upstream"], &line["tls_name"]),
                (&"behind".into(), &"db.test".into()),
                "{line}"
            );
            assert!(line["bytes_out"].as_u64().is_some_and(|bytes| bytes > 500), "{line}");
        }
        let decrypted: Vec<_> = lines.iter().filter(|line| line["status"] == 200).collect();
        assert_eq!(decrypted.len(), 2, "{lines:?}");
        assert!(
            decrypted
                .iter()
                .all(|line| line["tls_name"] == "web.test" && line["target"] == "/who")
        );
        let handshakes = sum(&isobar, "isobar_listener_tls_handshakes_total");
        assert!((handshakes - 2.0).abs() < 0.5, "{handshakes}");
        let exchanges = isobar
            .metrics()
            .sum("isobar_route_exchanges_total", &[("route", "db.test")]);
        assert_eq!(exchanges, Some(2.0));
        eventually("all connections are over", || {
            sum(&isobar, "isobar_listener_connections") < 0.5
        });
    }
}

#[test]
fn hellos_are_read_in_whichever_pieces() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("origin"), authority.certify("web.test", Validity::Now));
    let behind = TcpServer::echo("behind:");
    let rules = [
        "sni: \"*.example.com\", alpn: h2",
        "sni: openssl.example.com",
        "sni: fragments.example.com",
    ];
    let isobar = binary!().run(&divided(&origin, &site, behind.address(), &rules));
    for bytes in [7, 500, 100_000] {
        let through = in_pieces(isobar.address(), bytes);
        for file in [
            "rustls_post_quantum",
            "rustls_records_of_300",
            "openssl_s_client",
            "openssl_records_of_512",
        ] {
            let mut client = begin(through, file);
            // Whatever follows comes back as well, a lot of it at once.
            let sent = noise(2 << 20, 5);
            let mut writer = client.try_clone().unwrap();
            let copy = sent.clone();
            let thread = std::thread::spawn(move || {
                writer.write_all(&copy).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            assert!(rest(&mut client) == sent, "{file} in pieces of {bytes}");
            thread.join().unwrap();
        }
        let answer = https(through, &authority, "web.test", &[]);
        assert_eq!(
            (answer.status, answer.exit),
            (200, 0),
            "in pieces of {bytes}: {answer:?}"
        );
    }
}

/// Isobar's own client has a key share for post-quantum key exchange.
#[test]
fn a_large_hello_is_decrypted_as_well() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("origin"), authority.certify("web.test", Validity::Now));
    let behind = TcpServer::echo("behind:");
    let inner = binary!().run(&divided(&origin, &site, behind.address(), &["sni: db.test"]));
    let through = in_pieces(inner.address(), 300);
    let tls = format!(
        "tls: {{ server_name: web.test, ca: {} }}\nhealth: none",
        authority.file().display()
    );
    let outer = binary!().run(&Configuration::to(&[through]).upstream(tls));
    for _ in 0..3 {
        let answer = curl(&[&format!("http://{}/who", outer.address())]);
        assert_eq!((answer.status, answer.exit), (200, 0), "{answer:?}");
    }
    assert_eq!(behind.accepted(), 0);
}

#[test]
fn what_is_passed_on_to_nobody_is_answered_as_ever() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("origin"), authority.certify("web.test", Validity::Now));
    let behind = TcpServer::echo("behind:");
    let configuration =
        divided(&origin, &site, behind.address(), &["sni: db.test"]).listener("timeouts: { handshake: 400ms }");
    let text = configuration
        .yaml()
        .replacen("  certificates:", "  unknown_name: refuse\n      certificates:", 1);
    let isobar = binary!().run(&configuration);
    isobar.reload(&text);
    let answer_to = |sent: &[u8]| {
        let mut client = connect(isobar.address());
        client.write_all(sent).unwrap();
        rest(&mut client)
    };
    let plain = answer_to(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    assert!(
        plain.starts_with(b"HTTP/1.1 400 "),
        "{}",
        String::from_utf8_lossy(&plain)
    );
    let address = isobar.address().to_string();
    let said = openssl(&["s_client", "-connect", &address, "-servername", "other.test"], "");
    assert!(said.contains("access denied"), "{said}");
    let ca = authority.file().display().to_string();
    let said = openssl(
        &[
            "s_client",
            "-connect",
            &address,
            "-servername",
            "web.test",
            "-CAfile",
            &ca,
        ],
        "",
    );
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    assert!(
        !answer_to(b"\x16\x03\x01\x00\x05\x02\0\0\x01\0").is_empty(),
        "it is told what is wrong"
    );
    assert_eq!(answer_to(b"SSH-2.0-nobody\r\n"), b"");
    assert_eq!(answer_to(&client_hello("curl")[..100]), b"", "it never completes");
    assert_eq!(answer_to(b""), b"");
    drop(connect(isobar.address()));
    eventually("those without a handshake are counted", || {
        sum(&isobar, "isobar_listener_tls_abandoned_total") > 2.5
    });
    eventually("all connections are over", || {
        sum(&isobar, "isobar_listener_connections") < 0.5
    });
    assert_eq!(behind.accepted(), 0);
    let log = std::fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
    assert_eq!(log, "", "handshakes that come to nothing have no lines");
}

#[test]
fn a_proxy_in_front_speaks_for_both_kinds() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("origin"), authority.certify("web.test", Validity::Now));
    let behind = TcpServer::echo("behind:");
    let configuration = divided(&origin, &site, behind.address(), &["sni: openssl.example.com"])
        .listener("proxy_protocol: { from: [127.0.0.0/8] }");
    let isobar = binary!().run(&configuration);
    let mut client = connect(isobar.address());
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n";
    client
        .write_all(&[&header[..], &client_hello("openssl_s_client")].concat())
        .unwrap();
    client.read_exact(&mut [0; 7]).unwrap();
    drop(client);
    assert_eq!(isobar.access_lines(1)[0]["client"], "192.0.2.7");
    let answer = https(isobar.address(), &authority, "web.test", &["--haproxy-protocol"]);
    assert_eq!((answer.status, answer.exit), (200, 0), "{answer:?}");
    let answer = https(isobar.address(), &authority, "web.test", &[]);
    assert_ne!(answer.exit, 0, "without a header nobody is served");
    eventually("it is counted", || {
        let refused = isobar.metrics();
        refused.sum("isobar_listener_requests_refused_total", &[("cause", "proxy_header")]) == Some(1.0)
    });
}

/// One source has so many connections of a listener, whatever becomes of them.
#[test]
fn limits_hold_for_both_kinds_together() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("origin"), authority.certify("web.test", Validity::Now));
    let behind = TcpServer::echo("behind:");
    let configuration = divided(&origin, &site, behind.address(), &["sni: openssl.example.com"])
        .listener("limits: { max_connections_per_source: 2 }");
    let isobar = binary!().run(&configuration);
    let asked = || https(isobar.address(), &authority, "web.test", &[]).exit == 0;
    let first = begin(isobar.address(), "openssl_s_client");
    for _ in 0..3 {
        eventually("there is room for one", asked);
    }
    // curl has left; that its connection no longer counts is known a moment later.
    let mut second = None;
    eventually("the last one has made room", || {
        second = try_begin(isobar.address(), "openssl_s_client").ok();
        second.is_some()
    });
    assert!(!asked(), "there is no room for a third");
    assert!((sum(&isobar, "isobar_listener_connections") - 2.0).abs() < 0.5);
    drop(first);
    eventually("there is room again", asked);
    drop(second);
    eventually("all connections are over", || {
        sum(&isobar, "isobar_listener_connections") < 0.5
    });
    let refused = isobar.metrics().sum(
        "isobar_listener_requests_refused_total",
        &[("cause", "source_connections")],
    );
    assert!(refused.is_some_and(|refused| refused > 0.5), "{refused:?}");
}

/// A name moves from one side to the other while connections of both kinds live.
#[test]
fn names_move_while_connections_live() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("origin"), authority.certify("web.test", Validity::Now));
    let behind = TcpServer::echo("behind:");
    let theirs = Authority::new();
    let other = TlsServer::start(&theirs.certify("web.test", Validity::Now), TlsConduct::Answers, None);
    let with = |rules: &[&str]| {
        divided(&origin, &site, behind.address(), rules)
            .another_upstream("other", other.address())
            .top("drain_timeout: 500ms")
            .yaml()
    };
    let moved = with(&["sni: openssl.example.com"]).replacen(
        "passthrough:\n",
        "passthrough:\n      - { match: { sni: web.test }, upstream: other }\n",
        1,
    );
    let isobar = binary!().run(&divided(
        &origin,
        &site,
        behind.address(),
        &["sni: openssl.example.com"],
    ));
    let mut tunnel = begin(isobar.address(), "openssl_s_client");
    assert_eq!(https(isobar.address(), &authority, "web.test", &[]).exit, 0);
    isobar.reload(&moved);
    assert_ne!(
        https(isobar.address(), &authority, "web.test", &[]).exit,
        0,
        "it is no longer decrypted here"
    );
    assert_eq!(https(isobar.address(), &theirs, "web.test", &[]).body, b"good");
    tunnel.write_all(b"still here").unwrap();
    tunnel.read_exact(&mut [0; 10]).unwrap();
    // Nothing is passed on any more: what was has the time to finish that others have.
    let nothing = with(&["sni: openssl.example.com"]);
    let begins = nothing.find("    passthrough:\n").unwrap();
    let ends = nothing[begins..].find("upstream: behind }\n").unwrap() + begins + "upstream: behind }\n".len();
    isobar.reload(&[&nothing[..begins], &nothing[ends..]].concat());
    assert_eq!(
        https(isobar.address(), &authority, "web.test", &[]).exit,
        0,
        "it is decrypted again"
    );
    assert_eq!(rest(&mut tunnel), b"");
    let line = wait_for("its line", || {
        isobar
            .access_lines(1)
            .into_iter()
            .find(|line| line["tls_name"] == "openssl.example.com")
    });
    assert_eq!(line["cause"], "drained", "{line}");
    eventually("all connections are over", || {
        sum(&isobar, "isobar_listener_connections") < 0.5
    });
}

#[test]
fn a_drain_lets_what_is_passed_on_finish() {
    let authority = Authority::new();
    let (origin, site) = (Origin::named("origin"), authority.certify("web.test", Validity::Now));
    let behind = TcpServer::echo("behind:");
    let configuration =
        divided(&origin, &site, behind.address(), &["sni: openssl.example.com"]).top("drain_timeout: 20s");
    let mut isobar = binary!().run(&configuration);
    let mut tunnel = begin(isobar.address(), "openssl_s_client");
    isobar.signal(Signal::TERM);
    eventually("new connections are refused", || {
        TcpStream::connect(isobar.address()).is_err()
    });
    tunnel.write_all(b"last words").unwrap();
    tunnel.read_exact(&mut [0; 10]).unwrap();
    drop(tunnel);
    assert!(isobar.ends(Duration::from_secs(15)).success());
}
