//! Do the kinds of health checks say the truth about real servers?

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isobar_testkit::serde_json::Value;
use isobar_testkit::{
    Authority, Certified, ClosedPort, Configuration, GrpcHealth, Isobar, Nginx, Origin, Redis, Signal, Validity,
    binary, curl, eventually, get,
};

const FAST: &str = "interval: 100ms, timeout: 90ms, rise: 1, fall: 1";

/// For what takes longer than a loopback connection: handshakes on a busy machine.
const PATIENT: &str = "interval: 400ms, timeout: 390ms, rise: 1, fall: 1";

/// Whether servers are given requests, as the metric has it: one after the other.
fn healthy(isobar: &Isobar, server: &str) -> bool {
    isobar.metrics().sum("isobar_server_healthy", &[("server", server)]) == Some(1.0)
}

/// What a check says of a server.
fn says(isobar: &Isobar, check: &str, state: &str) -> bool {
    let labels = [("check", check), ("state", state)];
    isobar.metrics().sum("isobar_server_check_state", &labels) == Some(1.0)
}

#[track_caller]
fn turns(isobar: &Isobar, check: &str, state: &str) {
    eventually(&format!("{check} says {state}"), || says(isobar, check, state));
}

/// What `/health/detailed` says of a server.
fn detail(isobar: &Isobar, server: &str) -> String {
    let report = isobar.health();
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let named = |check: &&Value| {
        check["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("server ") && name.contains(server))
    };
    checks.iter().find(named).map(ToString::to_string).unwrap_or_default()
}

/// Waits until each of these is among what `/health/detailed` says of a server.
#[track_caller]
fn tells(isobar: &Isobar, server: &str, all: &[&str]) {
    for words in all {
        eventually(&format!("{words:?} in the reasons"), || {
            detail(isobar, server).contains(words)
        });
    }
}

/// nginx with a page under `/health` and a certificate of its own.
struct Secured {
    nginx: Nginx,
    port: ClosedPort,
}

impl Secured {
    fn start(certified: &Certified) -> Self {
        let port = ClosedPort::reserve().unwrap();
        let nginx = Nginx::start(&format!(
            "listen {} ssl; ssl_certificate {}; ssl_certificate_key {}; location /health {{ return 200 'all is well'; }}",
            port.address(),
            certified.certificate.display(),
            certified.key.display(),
        ));
        Self { nginx, port }
    }

    fn port(&self) -> u16 {
        self.port.address().port()
    }
}

#[test]
fn https_is_checked_with_its_certificate() {
    let authority = Authority::new();
    let good = Secured::start(&authority.certify("good.example", Validity::Now));
    let expired = Secured::start(&authority.certify("old.example", Validity::Past));
    let early = Secured::start(&authority.certify("new.example", Validity::Future));
    let by_address = Secured::start(&authority.certify("127.0.0.1", Validity::Now));
    let ca = authority.file();
    let check = |name: &str, server: &Secured, rest: &str| {
        format!(
            "  - {{ name: {name}, type: https, port: {}, path: /health, {PATIENT}, {rest} }}\n",
            server.port()
        )
    };
    let trusting = format!("ca: {}", ca.display());
    let checks = [
        check(
            "good",
            &good,
            &format!("{trusting}, server_name: good.example, body: is well"),
        ),
        check("by-host", &good, &format!("{trusting}, host: 'good.example:444'")),
        check("by-address", &by_address, &trusting),
        check("wrong-name", &good, &format!("{trusting}, server_name: other.example")),
        check("expired", &expired, &format!("{trusting}, server_name: old.example")),
        check("early", &early, &format!("{trusting}, server_name: new.example")),
        check("unknown-authority", &good, "server_name: good.example"),
        check("anyone", &expired, "verify: none, server_name: whoever.example"),
        check(
            "wrong-body",
            &good,
            &format!("{trusting}, server_name: good.example, body: is lost"),
        ),
        format!(
            "  - {{ name: plain, type: https, port: {}, {PATIENT} }}\n",
            good.nginx.address().port()
        ),
    ];
    let configuration = Configuration::to(&[good.nginx.address()]).upstream(format!("health:\n{}", checks.concat()));
    let isobar = binary!().run(&configuration);
    for name in ["good", "by-host", "by-address", "anyone"] {
        turns(&isobar, name, "healthy");
    }
    for name in [
        "wrong-name",
        "expired",
        "early",
        "unknown-authority",
        "wrong-body",
        "plain",
    ] {
        turns(&isobar, name, "unhealthy");
    }
    let reasons = [
        "check wrong-name: ",
        "not valid for name",
        "other.example",
        "check expired: ",
        "the certificate has expired",
        "the certificate is not valid yet",
        "not signed by an authority that is trusted",
        "check plain: ",
        "does not speak TLS",
        "the body is without `is lost`: `all is well`",
    ];
    tells(&isobar, "127.0.0.1", &reasons);
    eventually("nothing is said against the others", || {
        let reasons = detail(&isobar, "127.0.0.1");
        let good = ["check good", "check by-host", "check by-address", "check anyone"];
        good.iter().all(|name| !reasons.contains(name))
    });
}

#[test]
fn authorities_that_cannot_be_read_are_refused_before_anything_changes() {
    let authority = Authority::new();
    let server = Secured::start(&authority.certify("a.example", Validity::Now));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::copy(authority.file(), file.path()).unwrap();
    let health = format!(
        "health: {{ name: page, type: https, port: {}, path: /health, server_name: a.example, ca: {}, {PATIENT} }}",
        server.port(),
        file.path().display()
    );
    let configuration = Configuration::to(&[server.nginx.address()]).upstream(health);
    let isobar = binary!().run(&configuration);
    turns(&isobar, "page", "healthy");
    fs::write(file.path(), "nothing of use").unwrap();
    let log = isobar.reload(&configuration.yaml());
    let words = format!(
        "failed to read the certificate authorities in {}: it has no certificate",
        file.path().display()
    );
    assert!(log.contains("configuration refused") && log.contains(&words), "{log}");
    assert!(says(&isobar, "page", "healthy"));
    // Another authority in the same file is taken at the next reload, without another word of configuration.
    fs::copy(Authority::new().file(), file.path()).unwrap();
    let log = isobar.reload(&configuration.yaml());
    assert!(log.contains("configuration applied"), "{log}");
    turns(&isobar, "page", "unhealthy");
    fs::copy(authority.file(), file.path()).unwrap();
    let log = isobar.reload(&configuration.yaml());
    assert!(log.contains("configuration applied"), "{log}");
    turns(&isobar, "page", "healthy");
}

#[test]
fn requests_of_probes_are_as_configured() {
    let origin = Origin::start(|exchange| {
        let head = exchange.request.method == "HEAD";
        exchange.reply(
            if head { 204 } else { 200 },
            &[],
            if head { b"" } else { b"state: ok\nmore" },
        )
    });
    let configuration = Configuration::to(&[origin.address()]).upstream(format!(
        "health:\n\
         - {{ name: post, method: POST, path: /check, headers: {{ X-Probe: 'yes', user-agent: prober }}, body: 'ok\\n', {FAST} }}\n\
         - {{ name: head, method: HEAD, host: a.example, expect: 204, {FAST} }}"
    ));
    let isobar = binary!().run(&configuration);
    turns(&isobar, "post", "healthy");
    turns(&isobar, "head", "healthy");
    let requests = origin.requests();
    let post = requests.iter().find(|request| request.method == "POST").unwrap();
    let fields = ["x-probe", "user-agent", "content-length", "connection"].map(|name| post.fields.value(name));
    assert_eq!(fields, [Some("yes"), Some("prober"), Some("0"), Some("close")]);
    assert_eq!(
        (post.target.as_str(), post.fields.value("host")),
        ("/check", Some(&*origin.address().to_string()))
    );
    let head = requests.iter().find(|request| request.method == "HEAD").unwrap();
    assert_eq!(
        (head.target.as_str(), head.fields.value("host")),
        ("/", Some("a.example"))
    );
    let others = isobar.metrics().sum("isobar_server_in_flight", &[]);
    assert_eq!(others, Some(0.0), "probes are no requests");
}

#[test]
fn redis_and_a_mail_server_are_asked_in_their_own_words() {
    let redis = Redis::start(&[]);
    let locked = Redis::start(&["--requirepass", "secret"]);
    let check = |name: &str, redis: &Redis, rest: &str| {
        format!(
            "  - {{ name: {name}, type: tcp, port: {}, {PATIENT}, {rest} }}\n",
            redis.address().port()
        )
    };
    let checks = [
        check("redis", &redis, r"send: 'PING\r\n', expect: '+PONG\r\n'"),
        check("locked", &locked, r"send: 'PING\r\n', expect: +PONG"),
        check(
            "opened",
            &locked,
            r"steps: [{ send: 'AUTH secret\r\n', expect: +OK }, { send: 'PING\r\n', expect: +PONG }]",
        ),
    ];
    let mail = Origin::raw(|mut stream| {
        use std::io::{BufRead, BufReader, Write};
        stream.write_all(b"220 mail.example ESMTP\r\n")?;
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        stream.write_all(if line == "EHLO isobar\r\n" {
            b"250-hello\r\n250 8BITMIME\r\n"
        } else {
            b"500 what?\r\n"
        })
    });
    let mail_check = format!(
        "  - {{ name: mail, type: tcp, port: {}, {PATIENT}, steps: [{{ expect: '220 ' }}, {{ send: 'EHLO isobar\\r\\n', \
         expect: '250 ' }}] }}\n",
        mail.address().port()
    );
    let origin = Origin::named("a");
    let health = format!("health:\n{}{mail_check}", checks.concat());
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream(health));
    for name in ["redis", "opened", "mail"] {
        turns(&isobar, name, "healthy");
    }
    turns(&isobar, "locked", "unhealthy");
    let address = origin.address().to_string();
    eventually("what redis says is told", || {
        let detail = detail(&isobar, &address);
        detail.contains("check locked: no answer within 390ms, waiting for `+PONG`, heard `-NOAUTH")
    });
    assert!(!healthy(&isobar, &address));
    // A server that takes connections and does not answer: its socket is open, and the kernel makes the connection.
    redis.signal(Signal::STOP);
    turns(&isobar, "redis", "unhealthy");
    redis.signal(Signal::CONT);
    turns(&isobar, "redis", "healthy");
}

#[test]
fn grpc_servers_say_whether_they_serve() {
    let authority = Authority::new();
    let plain = GrpcHealth::start(None);
    let secured = GrpcHealth::start(Some(&authority.certify("grpc.example", Validity::Now)));
    let without = GrpcHealth::without_health();
    plain.set("", "SERVING");
    plain.set("shop.v1.Orders", "NOT_SERVING");
    plain.set("shop.v1.Unsure", "UNKNOWN");
    plain.set("shop.v1.Later", "SERVICE_UNKNOWN");
    secured.set("", "SERVING");
    let check = |name: &str, server: &GrpcHealth, rest: &str| {
        let times = "interval: 1s, timeout: 900ms, rise: 1, fall: 1";
        format!(
            "  - {{ name: {name}, type: grpc, port: {}, {times}{rest} }}\n",
            server.address().port()
        )
    };
    let checks = [
        check("whole", &plain, ""),
        check("orders", &plain, ", service: shop.v1.Orders"),
        check("unsure", &plain, ", service: shop.v1.Unsure"),
        check("later", &plain, ", service: shop.v1.Later"),
        check("no-such", &plain, ", service: shop.v1.Nothing"),
        check(
            "secured",
            &secured,
            &format!(", tls: true, ca: {}, host: grpc.example", authority.file().display()),
        ),
        check("not-secured", &plain, ", tls: true"),
        check("not-plain", &secured, ""),
        check("without", &without, ""),
    ];
    let origin = Origin::named("a");
    let health = format!("health:\n{}", checks.concat());
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream(health));
    turns(&isobar, "whole", "healthy");
    turns(&isobar, "secured", "healthy");
    for name in [
        "orders",
        "unsure",
        "later",
        "no-such",
        "not-secured",
        "not-plain",
        "without",
    ] {
        turns(&isobar, name, "unhealthy");
    }
    let server = origin.address().to_string();
    let reasons = [
        "check orders: the service shop.v1.Orders is NOT_SERVING",
        "check unsure: the service shop.v1.Unsure is UNKNOWN",
        "check later: the service shop.v1.Later is SERVICE_UNKNOWN",
        "check no-such: the server does not know the service (NOT_FOUND)",
        "check without: the server does not have the health service of gRPC (UNIMPLEMENTED)",
        "check not-secured: TLS with",
    ];
    tells(&isobar, &server, &reasons);
    plain.set("shop.v1.Orders", "SERVING");
    turns(&isobar, "orders", "healthy");
    plain.set("", "NOT_SERVING");
    turns(&isobar, "whole", "unhealthy");
    tells(&isobar, &server, &["check whole: the server is NOT_SERVING"]);
}

#[test]
fn an_http_server_is_no_grpc_server() {
    let nginx = Nginx::start("");
    let silent = Origin::silent();
    let health = format!(
        "health:\n- {{ name: nginx, type: grpc, {PATIENT} }}\n- {{ name: silent, type: grpc, port: {}, {PATIENT} }}",
        silent.address().port()
    );
    let isobar = binary!().run(&Configuration::to(&[nginx.address()]).upstream(health));
    turns(&isobar, "nginx", "unhealthy");
    turns(&isobar, "silent", "unhealthy");
    let reasons = [
        "check nginx: not HTTP/2",
        "check silent: no answer within 390ms, waiting for an answer by gRPC",
    ];
    tells(&isobar, &nginx.address().to_string(), &reasons);
}

/// A server whose `/a` and `/b` answer 200 or 500.
fn two_pages() -> (Origin, [Arc<AtomicBool>; 2]) {
    let well = [(); 2].map(|()| Arc::new(AtomicBool::new(true)));
    let asked = well.clone();
    let origin = Origin::start(move |exchange| {
        let page = match exchange.request.target.as_str() {
            "/a" => Some(0),
            "/b" => Some(1),
            _ => None,
        };
        let well = page.is_none_or(|page| asked[page].load(Ordering::SeqCst));
        exchange.reply(if well { 200 } else { 500 }, &[], b"page")
    });
    (origin, well)
}

#[test]
fn all_checks_have_to_pass_and_the_log_names_the_one_that_does_not() {
    let (origin, [a, b]) = two_pages();
    let health = format!("health:\n- {{ name: first, path: /a, {FAST} }}\n- {{ name: second, path: /b, {FAST} }}");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream(health));
    turns(&isobar, "first", "healthy");
    turns(&isobar, "second", "healthy");
    let server = origin.address();
    b.store(false, Ordering::SeqCst);
    isobar.wait_for_log(&format!(
        "{server} of web is unhealthy (was healthy): check second: GET /b answered 500"
    ));
    assert_eq!(get(isobar.address(), "/").unwrap().status, 503);
    assert!(says(&isobar, "first", "healthy"));
    a.store(false, Ordering::SeqCst);
    isobar.wait_for_log("by one of its checks, is unhealthy (was healthy): check first: GET /a answered 500");
    b.store(true, Ordering::SeqCst);
    isobar.wait_for_log("by one of its checks, is healthy (was unhealthy): check second: the probe succeeded");
    assert_eq!(get(isobar.address(), "/").unwrap().status, 503);
    assert!(detail(&isobar, &server.to_string()).contains("check first: GET /a answered 500"));
    a.store(true, Ordering::SeqCst);
    isobar.wait_for_log(&format!(
        "{server} of web is healthy (was unhealthy): check first: the probe succeeded"
    ));
    eventually("it serves again", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_reload_that_changes_one_check_keeps_what_the_others_know() {
    let (origin, [a, _]) = two_pages();
    let configuration = |second: &str| {
        // The first check is made once and not again while this test runs.
        let health =
            format!("health:\n- {{ name: first, path: /a, interval: 1h }}\n- {{ name: second, {second}, {FAST} }}");
        Configuration::to(&[origin.address()]).upstream(health).yaml()
    };
    a.store(false, Ordering::SeqCst);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    fs::write(&file, configuration("path: /b")).unwrap();
    let isobar = binary!().run_file(directory, &file);
    turns(&isobar, "first", "unhealthy");
    turns(&isobar, "second", "healthy");
    let asked = || {
        origin
            .requests()
            .iter()
            .filter(|request| request.target == "/a")
            .count()
    };
    assert_eq!(asked(), 1);
    a.store(true, Ordering::SeqCst);
    for second in ["path: /", "type: tcp", "path: /b, expect: 200"] {
        let log = isobar.reload(&configuration(second));
        assert!(log.contains("configuration applied"), "{log}");
        turns(&isobar, "second", "healthy");
        assert!(says(&isobar, "first", "unhealthy"), "{second}");
        assert_eq!(get(isobar.address(), "/").unwrap().status, 503, "{second}");
    }
    assert_eq!(asked(), 1, "the schedule of the other check goes on as it was");
    // Without the check that failed the server is as well as the rest say.
    let rest = Configuration::to(&[origin.address()]).upstream(format!("health: {{ path: /b, {FAST} }}"));
    isobar.reload(&rest.yaml());
    eventually("it serves", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn probes_and_requests_do_not_count_each_other() {
    let nginx = Nginx::start("");
    nginx.put("page", b"page");
    let health = format!(
        "health:\n- {{ path: /page, {FAST} }}\n- {{ type: tcp, {FAST} }}\n- {{ type: tcp, send: 'x\\r\\n\\r\\n', expect: HTTP, {FAST} }}"
    );
    let server = format!("{{ address: \"{}\", max_connections: 1 }}", nginx.address());
    let isobar = binary!().run(&Configuration::to(&[]).server(server).upstream(health));
    for check in ["http", "tcp", "tcp-2"] {
        turns(&isobar, check, "healthy");
    }
    for _ in 0..50 {
        // One place, and no probe ever takes it.
        let answer = curl(&[&format!("http://{}/page", isobar.address())]);
        assert_eq!(answer.status, 200);
        assert_eq!(isobar.metrics().sum("isobar_server_in_flight", &[]), Some(0.0));
    }
}
