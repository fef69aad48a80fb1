//! Do requests reach servers over TLS, and only those that are who they should be?
//!
//! The servers are nginx, Python's `ssl` and what breaks the rules by hand.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::tungstenite::Message;
use isobar_testkit::websocket::{connect, websocket_echo};
use isobar_testkit::{
    After, Authority, Certified, Client, ClosedPort, Configuration, Isobar, Nginx, Origin, TlsConduct, TlsServer,
    Validity, binary, eventually, get, noise, wait_for,
};

const LOG: &str = "access_log: { path: access.log, format: json }";

/// nginx that speaks TLS at `address`, with these lines.
struct Secured {
    _nginx: Nginx,
    port: ClosedPort,
}

impl Secured {
    fn start(certified: &Certified, lines: &str) -> Self {
        let port = ClosedPort::reserve().unwrap();
        let nginx = Nginx::start(&format!(
            "listen {} ssl; ssl_certificate {}; ssl_certificate_key {}; {lines}",
            port.address(),
            certified.certificate.display(),
            certified.key.display(),
        ));
        Self { _nginx: nginx, port }
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

/// A configuration whose upstream has these servers and this `tls`, and that logs.
fn to(servers: &[SocketAddr], tls: &str) -> Configuration {
    Configuration::to(servers).upstream(format!("tls: {tls}")).top(LOG)
}

fn trusting(authority: &Authority) -> String {
    format!("{{ ca: {} }}", authority.file().display())
}

/// A line of the access log, from the first, when it is there.
fn line(isobar: &Isobar, number: usize) -> Value {
    let log = isobar.directory().join("access.log");
    wait_for("a line in the log", || {
        let text = fs::read_to_string(&log).ok()?;
        serde_json::from_str(text.lines().nth(number)?).ok()
    })
}

fn counted(isobar: &Isobar, name: &str, labels: &[(&str, &str)]) -> f64 {
    isobar
        .metrics()
        .sum(&format!("isobar_{name}"), labels)
        .unwrap_or_default()
}

/// A check of `/health/detailed`: its status and detail.
fn check_of(isobar: &Isobar, name: &str) -> (String, String) {
    let report = isobar.health();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    let text = |key: &str| check[key].as_str().unwrap().to_owned();
    (text("status"), text("detail"))
}

/// Puts a file in place of another at once, as whoever renews certificates does.
fn replace(file: &Path, contents: impl AsRef<[u8]>) {
    let staged = file.with_extension("staged");
    fs::write(&staged, contents).unwrap();
    fs::rename(staged, file).unwrap();
}

#[test]
fn requests_and_answers_of_any_size_go_over_tls() {
    let authority = Authority::new();
    let origin = Origin::echo();
    let server = authority.certify("127.0.0.1", Validity::Now);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let lines = format!(
            "ssl_protocols {version}; location /version {{ return 200 $ssl_protocol; }} location / {{ proxy_pass \
             http://{}; }}",
            origin.address()
        );
        let nginx = Secured::start(&server, &lines);
        let isobar = binary!().run(&to(&[nginx.address()], &trusting(&authority)));
        let mut client = Client::connect(isobar.address()).unwrap();
        assert_eq!(client.get("/version").unwrap().text(), version);
        for size in [0, 1, 100_000, 5_000_000] {
            let body = noise(size, 3);
            let answer = client.post("/echo", &body).unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.body == body, "{} of {size} bytes", answer.body.len());
        }
        assert_eq!(origin.last_request().fields.value("x-forwarded-proto"), Some("http"));
        let line = line(&isobar, 0);
        assert_eq!((&line["cause"], &line["tls_error"]), (&"complete".into(), &"".into()));
        assert_eq!(
            counted(&isobar, "server_tls_handshakes_total", &[]),
            1.0,
            "one connection for all"
        );
        assert_eq!(counted(&isobar, "server_tls_failures_total", &[]), 0.0);
        assert_eq!(
            check_of(&isobar, "TLS of upstream web"),
            ("pass".to_owned(), "connections to servers are secured".to_owned())
        );
    }
}

#[test]
fn a_server_that_is_not_who_it_should_be_gets_no_request() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let check = |certified: &Certified, tls: &str, reason: &str, words: &str| {
        let nginx = Secured::start(certified, "location / { return 200 fine; }");
        let isobar = binary!().run(&to(&[nginx.address()], tls));
        for _ in 0..3 {
            assert_eq!(get(isobar.address(), "/").unwrap().status, 502, "{reason}");
        }
        let line = line(&isobar, 2);
        assert_eq!(
            (&line["cause"], &line["fault"]),
            (&"tls_failed".into(), &"server".into()),
            "{line:#}"
        );
        assert!(line["tls_error"].as_str().unwrap().contains(words), "{line:#}");
        assert!(line["tried"].as_str().unwrap().ends_with(":tls_failed"), "{line:#}");
        assert_eq!(
            counted(&isobar, "server_tls_failures_total", &[("reason", reason)]),
            3.0
        );
        assert_eq!(counted(&isobar, "server_tls_handshakes_total", &[]), 0.0);
        isobar.comes_to_rest();
        assert_eq!(counted(&isobar, "upstream_connections", &[]), 0.0, "{reason}");
        let told = format!("failed to secure a connection to server {} of web: ", nginx.address());
        let log = isobar.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains(&told)).collect();
        assert!(matches!(&told[..], [only] if only.contains(words)), "{told:?}");
    };
    let now = |name: &str| authority.certify(name, Validity::Now);
    let ca = trusting(&authority);
    check(&now("other.test"), &ca, "wrong_name", "not valid for");
    check(
        &authority.certify("127.0.0.1", Validity::Past),
        &ca,
        "expired",
        "the certificate has expired",
    );
    check(
        &authority.certify("127.0.0.1", Validity::Future),
        &ca,
        "not_valid_yet",
        "not valid yet",
    );
    let unsigned = "not signed by an authority that is trusted";
    let other_key = "signed by another key than that of the authority of this name";
    check(
        &stranger.certify("127.0.0.1", Validity::Now),
        &ca,
        "bad_certificate",
        other_key,
    );
    check(&now("127.0.0.1"), "{}", "unknown_issuer", unsigned);
    let named = format!("{{ ca: {}, server_name: a.test }}", authority.file().display());
    check(&now("127.0.0.1"), &named, "wrong_name", "not valid for");
    let newest = format!("{{ ca: {}, min_version: 1.3 }}", authority.file().display());
    let nginx = Secured::start(&now("127.0.0.1"), "ssl_protocols TLSv1.2;");
    let isobar = binary!().run(&to(&[nginx.address()], &newest));
    assert_eq!(get(isobar.address(), "/").unwrap().status, 502);
    assert_eq!(
        counted(&isobar, "server_tls_failures_total", &[("reason", "refused")]),
        1.0
    );
    assert!(
        line(&isobar, 0)["tls_error"]
            .as_str()
            .unwrap()
            .contains("the peer refused")
    );
}

#[test]
fn nobody_is_verified_where_that_is_written() {
    let authority = Authority::new();
    let nginx = Secured::start(
        &authority.certify("other.test", Validity::Past),
        "location / { return 200 fine; }",
    );
    let isobar = binary!().run(&to(&[nginx.address()], "{ verify: none }"));
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "fine");
    assert!(isobar.log().contains("any certificate will do"), "{}", isobar.log());
}

#[test]
fn servers_are_told_the_name_that_is_wanted() {
    let authority = Authority::new();
    let name = "location / { return 200 \"name $ssl_server_name\"; }";
    let check = |server: &str, certified: &str, tls: &str, expected: &str| {
        let nginx = Secured::start(&authority.certify(certified, Validity::Now), name);
        let server = format!("\"{server}:{}\"", nginx.address().port());
        let tls = format!("tls: {{ ca: {}{tls} }}", authority.file().display());
        let isobar = binary!().run(&Configuration::default().server(server).upstream(tls));
        let answer = wait_for("the name resolves", || {
            get(isobar.address(), "/").ok().filter(|answer| answer.status != 503)
        });
        assert_eq!((answer.status, answer.text()), (200, expected.to_owned()));
    };
    check("127.0.0.1", "127.0.0.1", "", "name ");
    check("localhost", "localhost", "", "name localhost");
    check("127.0.0.1", "a.test", ", server_name: a.test", "name a.test");
    check("localhost", "127.0.0.1", ", server_name: 127.0.0.1", "name ");
}

#[test]
fn servers_that_ask_for_a_certificate_are_shown_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = authority.certify("127.0.0.1", Validity::Now);
    let own = clients.certify("isobar.internal", Validity::Now);
    let ca = authority.file();
    let with = format!(
        "{{ ca: {}, certificate: {}, key: {} }}",
        ca.display(),
        own.certificate.display(),
        own.key.display()
    );
    let nginx = Secured::start(
        &server,
        &format!(
            "ssl_verify_client on; ssl_client_certificate {}; location / {{ return 200 \"$ssl_client_s_dn\"; }}",
            clients.file().display()
        ),
    );
    let isobar = binary!().run(&to(&[nginx.address()], &with));
    let answer = get(isobar.address(), "/").unwrap();
    assert!(answer.text().contains("CN=isobar.internal"), "{}", answer.text());
    let (status, detail) = check_of(&isobar, "TLS of upstream web");
    assert!(status == "pass" && detail.contains("valid for"), "{status} {detail}");
    assert!(
        counted(
            &isobar,
            "upstream_certificate_expiry_timestamp_seconds",
            &[("upstream", "web")]
        ) > 1e9
    );
    // nginx says so in an answer.
    let isobar = binary!().run(&to(&[nginx.address()], &trusting(&authority)));
    assert_eq!(get(isobar.address(), "/").unwrap().status, 400);
    // Others do within TLS, when the handshake is over as far as this side knows.
    let python = TlsServer::start(&server, TlsConduct::Answers, Some(&clients.file()));
    let isobar = binary!().run(&to(&[python.address()], &with));
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "good");
    let isobar = binary!().run(&to(&[python.address()], &trusting(&authority)));
    let mut client = Client::connect(isobar.address()).unwrap();
    assert_eq!(client.post("/", b"once").unwrap().status, 502);
    let line = line(&isobar, 0);
    assert_eq!(line["cause"], "tls_failed", "{line:#}");
    assert!(
        line["tls_error"].as_str().unwrap().contains("CertificateRequired"),
        "{line:#}"
    );
    assert_eq!(
        counted(&isobar, "server_tls_failures_total", &[("reason", "refused")]),
        1.0
    );
}

#[test]
fn sessions_go_on_at_every_worker() {
    let authority = Authority::new();
    let server = authority.certify("127.0.0.1", Validity::Now);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let nginx = Secured::start(
            &server,
            &format!("ssl_protocols {version}; location / {{ return 200 \"reused $ssl_session_reused\"; }}"),
        );
        let reused = |more: &str| {
            let tls = format!("{{ ca: {}{more} }}", authority.file().display());
            let configuration = to(&[nginx.address()], &tls).upstream("keep_alive: { max_idle: 0 }");
            let isobar = binary!().workers(3).run(&configuration);
            let answers: Vec<_> = (0..20).map(|_| get(isobar.address(), "/").unwrap().text()).collect();
            let reused = answers.iter().filter(|answer| *answer == "reused r").count();
            let counts = || {
                ["server_tls_handshakes_total", "server_tls_resumptions_total"].map(|name| counted(&isobar, name, &[]))
            };
            eventually("all handshakes are counted", || counts() == [20.0, reused as f64]);
            reused
        };
        assert_eq!(reused(""), 19, "{version}: the first alone is whole");
        assert_eq!(reused(", session_reuse: false"), 0, "{version}");
    }
}

#[test]
fn new_files_are_taken_and_broken_ones_are_left() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let nginx = Secured::start(
        &authority.certify("127.0.0.1", Validity::Now),
        "location / { return 200 fine; }",
    );
    let directory = isobar_directory();
    let ca = directory.path().join("servers.pem");
    fs::write(&ca, fs::read(stranger.file()).unwrap()).unwrap();
    let isobar = binary!().run(&to(&[nginx.address()], &format!("{{ ca: {} }}", ca.display())));
    let status = || get(isobar.address(), "/").unwrap().status;
    assert_eq!(status(), 502);
    replace(&ca, fs::read(authority.file()).unwrap());
    eventually("the new authority is trusted", || status() == 200);
    isobar.wait_for_log("new files for TLS to the servers of web are in use");
    assert_eq!(counted(&isobar, "upstream_tls_usable", &[]), 1.0);
    replace(&ca, "this is no certificate");
    isobar.wait_for_log("it has no certificate; what was read before stays in use");
    assert_eq!(status(), 200);
    eventually("the metric shows it", || {
        counted(&isobar, "upstream_tls_usable", &[]) == 0.0
    });
    let (status_word, detail) = check_of(&isobar, "TLS of upstream web");
    assert!(
        status_word == "warn" && detail.contains("it has no certificate"),
        "{status_word} {detail}"
    );
    fs::remove_file(&ca).unwrap();
    isobar.wait_for_log("no such file or directory; what was read before stays in use");
    replace(&ca, fs::read(authority.file()).unwrap());
    eventually("all is well", || counted(&isobar, "upstream_tls_usable", &[]) == 1.0);
    assert_eq!(status(), 200);
}

fn isobar_directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn an_upstream_without_files_of_use_takes_no_other_with_it() {
    let authority = Authority::new();
    let nginx = Secured::start(
        &authority.certify("127.0.0.1", Validity::Now),
        "location / { return 200 fine; }",
    );
    let plain = Origin::named("plain");
    let directory = isobar_directory();
    let ca = directory.path().join("later.pem");
    let configuration = to(&[nginx.address()], &format!("{{ ca: {} }}", ca.display()))
        .routes("- { match: { path: /plain }, upstream: plain }\n- { upstream: web }")
        .another_upstream("plain", plain.address());
    let isobar = binary!().run(&configuration);
    isobar.wait_for_log("requests to it are answered with 502");
    assert_eq!(get(isobar.address(), "/").unwrap().status, 502);
    let line = line(&isobar, 0);
    assert_eq!(
        (&line["cause"], &line["fault"]),
        (&"tls_unusable".into(), &"isobar".into()),
        "{line:#}"
    );
    assert!(line["tls_error"].as_str().unwrap().contains("later.pem"), "{line:#}");
    assert_eq!(get(isobar.address(), "/plain").unwrap().status, 200);
    assert_eq!(check_of(&isobar, "TLS of upstream web").0, "fail");
    fs::copy(authority.file(), &ca).unwrap();
    eventually("it serves when the file is there", || {
        get(isobar.address(), "/").unwrap().status == 200
    });
}

#[test]
fn whatever_failed_in_the_handshake_is_sent_elsewhere() {
    let authority = Authority::new();
    let answer = "location / { return 200 fine; }";
    let good = Secured::start(&authority.certify("127.0.0.1", Validity::Now), answer);
    let bad = Secured::start(&authority.certify("127.0.0.1", Validity::Past), answer);
    let python = TlsServer::start(
        &authority.certify("127.0.0.1", Validity::Month),
        TlsConduct::Answers,
        Some(&authority.file()),
    );
    let tls = trusting(&authority);
    for bad in [bad.address(), python.address()] {
        let configuration = to(&[bad, good.address()], &tls);
        let configuration = configuration.upstream("balance: round_robin\nkeep_alive: { max_idle: 0 }");
        let isobar = binary!().run(&configuration);
        let mut client = Client::connect(isobar.address()).unwrap();
        for _ in 0..6 {
            assert_eq!(client.post("/", b"not idempotent").unwrap().status, 200);
        }
        assert!(counted(&isobar, "upstream_retries_total", &[("reason", "connect_failure")]) >= 2.0);
        let failures = [("cause", "tls_failed")];
        assert!(counted(&isobar, "server_failures_total", &failures) >= 2.0);
    }
    let configuration = to(&[bad.address(), good.address()], &tls)
        .upstream("balance: round_robin\noutlier_detection: { consecutive_connect_failures: 2, min_servers: 1 }");
    let isobar = binary!().run(&configuration);
    eventually("the server is ejected", || {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
        let labels = [("reason", "consecutive_connect_failures")];
        counted(&isobar, "server_ejections_total", &labels) >= 1.0
    });
}

#[test]
fn what_breaks_the_handshake_is_told_and_leaves_nothing_behind() {
    let authority = Authority::new();
    let tls = trusting(&authority);
    // The beginning of a server's first message, whose end never comes.
    const HALF: &[u8] = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03";
    let raw = |bytes: &'static [u8], stays: bool| {
        Origin::raw(move |mut stream| {
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello)?;
            stream.write_all(bytes)?;
            while stays && stream.read(&mut hello)? > 0 {}
            Ok(())
        })
    };
    let check = |origin: &Origin, status: u16, cause: &str, reason: &str| {
        // A busy machine takes its time even for the first message.
        let connect = if status == 504 { "300ms" } else { "10s" };
        let more = format!("timeouts: {{ connect: {connect} }}\nretry: {{ attempts: 0 }}");
        let configuration = to(&[origin.address()], &tls).upstream(more);
        let isobar = binary!().run(&configuration);
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(get(isobar.address(), "/").unwrap().status, status, "{reason}");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let line = line(&isobar, 0);
        assert_eq!(line["cause"], cause, "{line:#}");
        assert_ne!(line["tls_error"], "", "{line:#}");
        assert_eq!(
            counted(&isobar, "server_tls_failures_total", &[("reason", reason)]),
            3.0,
            "{line:#}"
        );
        isobar.comes_to_rest();
        assert_eq!(counted(&isobar, "upstream_connections", &[]), 0.0);
        eventually("the server's connections are closed", || origin.connections_open() == 0);
    };
    check(&raw(b"garbage\r\n\r\n", true), 502, "tls_failed", "not_tls");
    check(
        &raw(b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
        502,
        "tls_failed",
        "not_tls",
    );
    check(
        &Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", After::Close),
        502,
        "tls_failed",
        "closed",
    );
    check(&raw(b"", false), 502, "tls_failed", "closed");
    check(&raw(HALF, false), 502, "tls_failed", "closed");
    check(&raw(HALF, true), 504, "connect_timeout", "timeout");
    check(&raw(b"", true), 504, "connect_timeout", "timeout");
}

#[test]
fn a_server_that_speaks_plain_http_gets_no_request() {
    let origin = Origin::named("plain");
    let configuration = to(&[origin.address()], "{ verify: none }").upstream("timeouts: { connect: 500ms }");
    let isobar = binary!().run(&configuration);
    let answer = get(isobar.address(), "/").unwrap();
    assert!(matches!(answer.status, 502 | 504), "{answer:?}");
    assert_eq!(origin.request_count(), 0);
    let nginx = Nginx::start("");
    let isobar = binary!().run(&to(&[nginx.address()], "{ verify: none }"));
    assert_eq!(get(isobar.address(), "/").unwrap().status, 502);
    assert_eq!(line(&isobar, 0)["tls_error"], "the peer does not speak TLS");
}

#[test]
fn an_answer_that_was_cut_has_no_clean_end() {
    let authority = Authority::new();
    let server = authority.certify("127.0.0.1", Validity::Now);
    let python = |conduct| TlsServer::start(&server, conduct, None);
    let (cuts, ends) = (python(TlsConduct::Cuts), python(TlsConduct::Ends));
    let isobar = binary!().run(&to(&[ends.address()], &trusting(&authority)));
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "all of it");
    let isobar = binary!().run(&to(&[cuts.address()], &trusting(&authority)));
    let answer = get(isobar.address(), "/");
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(line(&isobar, 0)["cause"], "server_aborted");
}

#[test]
fn a_kept_connection_that_turns_out_to_be_closed_is_no_failure() {
    let authority = Authority::new();
    let server = TlsServer::start(
        &authority.certify("127.0.0.1", Validity::Now),
        TlsConduct::AnswersOnce,
        None,
    );
    let isobar = binary!().run(&to(&[server.address()], &trusting(&authority)).upstream("retry: { attempts: 0 }"));
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..5 {
        assert_eq!(client.get("/").unwrap().text(), "good");
    }
    assert_eq!(counted(&isobar, "server_tls_handshakes_total", &[]), 5.0);
}

#[test]
fn websockets_pass_over_tls() {
    let authority = Authority::new();
    let origin = websocket_echo();
    let nginx = Secured::start(
        &authority.certify("127.0.0.1", Validity::Now),
        &format!(
            "location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
             proxy_set_header Connection upgrade; }}",
            origin.address()
        ),
    );
    let isobar = binary!().run(&to(&[nginx.address()], &trusting(&authority)));
    let mut socket = connect(isobar.address(), "/chat").unwrap();
    for message in [
        Message::text("grüße"),
        Message::binary(noise(3 << 20, 1)),
        Message::text("last"),
    ] {
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "another message came back");
    }
    drop(socket);
    eventually("the server sees its client go", || origin.connections_open() == 0);
    isobar.comes_to_rest();
    eventually("no connection is left", || {
        counted(&isobar, "upstream_connections", &[]) == 0.0
    });
}

#[test]
fn health_checks_speak_as_requests_do() {
    let authority = Authority::new();
    let page = "location /health { return 200 'all is well'; }";
    let good = Secured::start(&authority.certify("127.0.0.1", Validity::Now), page);
    let old = Secured::start(&authority.certify("127.0.0.1", Validity::Past), page);
    let fast = "interval: 400ms, timeout: 390ms, rise: 1, fall: 1";
    let checks = format!(
        "health:\n- {{ name: page, path: /health, {fast} }}\n- {{ name: shake, type: tcp, {fast} }}\n\
         - {{ name: open, type: tcp, tls: false, {fast} }}"
    );
    let configuration = to(&[good.address(), old.address()], &trusting(&authority)).upstream(checks);
    let isobar = binary!().run(&configuration);
    let says = |server: &Secured, check: &str, state: &str| {
        let server = server.address().to_string();
        let labels = [("server", &*server), ("check", check), ("state", state)];
        counted(&isobar, "server_check_state", &labels) == 1.0
    };
    for check in ["page", "shake", "open"] {
        eventually(check, || says(&good, check, "healthy"));
    }
    eventually("the page of the old one", || says(&old, "page", "unhealthy"));
    eventually("its handshake", || says(&old, "shake", "unhealthy"));
    eventually("its port", || says(&old, "open", "healthy"));
    let name = format!("server web/{}", old.address());
    assert!(check_of(&isobar, &name).1.contains("the certificate has expired"));
}

#[test]
fn servers_are_asked_for_their_load_over_tls() {
    let authority = Authority::new();
    let nginx = Secured::start(
        &authority.certify("127.0.0.1", Validity::Now),
        "location / { return 200 fine; } location /load { add_header x-requests-in-flight 1; return 200; }",
    );
    let configuration = to(&[nginx.address()], &trusting(&authority));
    let isobar = binary!().run(&configuration.upstream("balance: prequal\nprequal: { probe: /load }"));
    eventually("a report is there", || {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
        counted(&isobar, "server_reports_total", &[]) > 0.0
    });
    assert_eq!(counted(&isobar, "server_load_probes_failed_total", &[]), 0.0);
}

#[test]
fn a_hedged_request_goes_to_the_server_that_can_be_believed() {
    let authority = Authority::new();
    let answer = "location / { return 200 fine; }";
    let good = Secured::start(&authority.certify("127.0.0.1", Validity::Now), answer);
    let stalls = Origin::raw(|mut stream| {
        let mut hello = [0; 4096];
        while stream.read(&mut hello)? > 0 {}
        Ok(())
    });
    let configuration = to(&[stalls.address(), good.address()], &trusting(&authority));
    let isobar = binary!().run(&configuration.upstream("balance: round_robin\nhedge: { after: 50ms, max: 1 }"));
    for _ in 0..4 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "fine");
    }
    assert!(counted(&isobar, "upstream_hedges_won_total", &[]) >= 2.0);
    eventually("the handshake that lost is given up", || stalls.connections_open() == 0);
    isobar.comes_to_rest();
}

#[test]
fn a_certificate_that_is_renewed_is_shown() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let nginx = Secured::start(
        &authority.certify("127.0.0.1", Validity::Now),
        &format!(
            "ssl_verify_client on; ssl_client_certificate {}; location / {{ return 200 \"$ssl_client_s_dn\"; }}",
            clients.file().display()
        ),
    );
    let [old, new] = ["old.internal", "new.internal"].map(|name| clients.certify(name, Validity::Now));
    let directory = isobar_directory();
    let both = directory.path().join("own.pem");
    let text = |own: &Certified| {
        let (certificate, key) = (fs::read(&own.certificate).unwrap(), fs::read(&own.key).unwrap());
        [certificate, key].concat()
    };
    fs::write(&both, text(&old)).unwrap();
    let tls = format!(
        "{{ ca: {}, certificate: {} }}",
        authority.file().display(),
        both.display()
    );
    let isobar = binary!().run(&to(&[nginx.address()], &tls));
    let shown = || get(isobar.address(), "/").unwrap().text();
    assert_eq!(shown(), "CN=old.internal");
    replace(&both, text(&new));
    eventually("the new one is shown", || shown() == "CN=new.internal");
}

#[test]
fn a_reload_keeps_connections_until_what_secures_them_changes() {
    let authority = Authority::new();
    let nginx = Secured::start(
        &authority.certify("127.0.0.1", Validity::Now),
        "location / { return 200 $connection; }",
    );
    let isobar = binary!().workers(1).run(&to(&[nginx.address()], &trusting(&authority)));
    let connection = || get(isobar.address(), "/").unwrap().text();
    let first = connection();
    assert_eq!(connection(), first);
    let changed = |more: &str| to(&[nginx.address()], &trusting(&authority)).upstream(more).yaml();
    isobar.reload(&changed("queue: { max: 7 }"));
    assert_eq!(connection(), first, "nothing of TLS has changed");
    let tls = format!("{{ ca: {}, min_version: 1.3 }}", authority.file().display());
    isobar.reload(&to(&[nginx.address()], &tls).yaml());
    let second = connection();
    assert_ne!(second, first);
    assert_eq!(connection(), second);
    isobar.reload(&to(&[nginx.address()], &tls).upstream("queue: { max: 8 }").yaml());
    assert_eq!(connection(), second);
}

#[test]
fn check_tells_what_cannot_be_used_and_serving_goes_on() {
    let authority = Authority::new();
    let [own, other] = ["a.test", "b.test"].map(|name| authority.certify(name, Validity::Now));
    let old = authority.certify("old.test", Validity::Past);
    let directory = isobar_directory();
    let file = directory.path().join("isobar.yaml");
    let check = |tls: &str, expected: &str| {
        fs::write(&file, to(&["127.0.0.1:1".parse().unwrap()], tls).yaml()).unwrap();
        let outcome = binary!().outcome(&["check", file.to_str().unwrap()]);
        assert!(outcome.status.success(), "{tls}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{tls}: {}", outcome.stderr);
        assert!(
            !expected.is_empty() || outcome.stderr.is_empty(),
            "{tls}: {}",
            outcome.stderr
        );
    };
    let pair = |certificate: &Certified, key: &Certified| {
        format!(
            "{{ ca: {}, certificate: {}, key: {} }}",
            authority.file().display(),
            certificate.certificate.display(),
            key.key.display()
        )
    };
    check(&pair(&own, &own), "");
    check(&pair(&own, &other), "the key does not belong to the certificate");
    check(&pair(&old, &old), "has expired");
    check(
        "{ ca: /nowhere/ca.pem }",
        "failed to read the certificate authorities in /nowhere/ca.pem",
    );
    check("{ verify: none }", "any certificate will do");
}
