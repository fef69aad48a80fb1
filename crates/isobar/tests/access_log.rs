//! Does every request leave one line that says what happened?

use std::fs;

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{
    After, Client, ClosedPort, Configuration, Isobar, Load, LoadOptions, Origin, Signal, answer_to, binary, eventually,
    get, wait_for,
};

fn logging(servers: &[std::net::SocketAddr], format: &str) -> Isobar {
    binary!().run(&Configuration::to(servers).top(format!("access_log: {{ path: access.log, format: {format} }}")))
}

fn lines(isobar: &Isobar) -> Vec<String> {
    let text = fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
    // The writer may be in the middle of the last line.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[track_caller]
fn line_number(isobar: &Isobar, number: usize) -> String {
    wait_for("the line is written", || lines(isobar).get(number).cloned())
}

#[track_caller]
fn json_number(isobar: &Isobar, number: usize) -> Value {
    let line = line_number(isobar, number);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_json_line_says_what_happened() {
    let origin = Origin::echo();
    let isobar = logging(&[origin.address()], "json");
    let request = "POST /a/b?c=%20d HTTP/1.1\r\nhost: shop.example:81\r\nuser-agent: test \"1\"\r\nreferer: http://r/\r\n\
                   connection: close\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(answer_to(isobar.address(), request).unwrap().status(), 200);
    let line = json_number(&isobar, 0);
    let check = |name: &str, expected: Value| assert_eq!(line[name], expected, "{name} in {line:#}");
    check("client", "127.0.0.1".into());
    check("listener", "web".into());
    check("upstream", "web".into());
    check("server", origin.address().to_string().into());
    check("method", "POST".into());
    check("target", "/a/b?c=%20d".into());
    check("protocol", "HTTP/1.1".into());
    check("status", 200.into());
    check("bytes_in", 5.into());
    check("bytes_out", 5.into());
    check("attempts", 1.into());
    check("cause", "complete".into());
    check("fault", "nobody".into());
    check("user_agent", "test \"1\"".into());
    check("referer", "http://r/".into());
    assert!(
        line["host"]
            .as_str()
            .is_some_and(|host| host.starts_with("shop.example")),
        "{line:#}"
    );
    assert!(
        line["duration_ms"]
            .as_f64()
            .is_some_and(|ms| (0.0..15_000.0).contains(&ms)),
        "{line:#}"
    );
    assert!(line["first_byte_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{line:#}");
    assert!(
        line["time"]
            .as_str()
            .is_some_and(|time| time.len() == 24 && time.ends_with('Z')),
        "{line:#}"
    );
}

#[test]
fn the_combined_format_is_what_log_readers_expect() {
    let origin = Origin::named("abc");
    let isobar = logging(&[origin.address()], "combined");
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = "GET /x?y HTTP/1.1\r\nhost: a\r\nreferer: http://r/\r\nuser-agent: a\"b\\c\r\n\r\n";
    assert_eq!(client.exchange(request).unwrap().status, 200);
    assert_eq!(client.get("/plain").unwrap().status, 200);
    let line = line_number(&isobar, 0);
    let (before, rest) = line.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(before, "127.0.0.1 - -");
    assert_eq!((time.len(), &time[2..3], &time[20..]), (26, "/", " +0000"), "{time}");
    assert_eq!(rest, r#""GET /x?y HTTP/1.1" 200 3 "http://r/" "a\x22b\x5Cc""#);
    assert!(
        line_number(&isobar, 1).ends_with(r#""GET /plain HTTP/1.1" 200 3 "-" "-""#),
        "{:?}",
        lines(&isobar)
    );
}

#[test]
fn a_template_is_filled_in() {
    let origin = Origin::named("abc");
    let isobar = logging(&[origin.address()], "\"{{{method}}} {target} {status} {server}\"");
    assert_eq!(get(isobar.address(), "/t").unwrap().status, 200);
    assert_eq!(line_number(&isobar, 0), format!("{{GET}} /t 200 {}", origin.address()));
}

#[test]
fn no_client_can_break_a_line() {
    for format in ["json", "combined"] {
        let origin = Origin::named("a");
        let isobar = logging(&[origin.address()], format);
        let hostile = b"GET /%0a HTTP/1.1\r\nhost: a\r\nuser-agent: \x80\xff\" \\ {status} \xe2\x80\xa8 \t end\r\nconnection: close\r\n\r\n";
        assert_eq!(answer_to(isobar.address(), hostile).unwrap().status(), 200);
        assert_eq!(get(isobar.address(), "/next").unwrap().status, 200);
        // Workers hand their lines over each on its own, so that the order is not that of the requests.
        eventually("both are written", || lines(&isobar).len() >= 2);
        let written = lines(&isobar);
        assert_eq!(written.len(), 2, "{format}: {written:#?}");
        assert!(
            written.iter().any(|line| line.contains("/next")),
            "{format}: {written:#?}"
        );
        if format == "json" {
            assert!(
                written.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()),
                "{written:#?}"
            );
        }
    }
}

#[test]
fn a_line_says_whose_fault_it_was() {
    let check = |servers: &[std::net::SocketAddr], request: &str, status: u16, causes: &[&str], fault: &str| {
        let upstream = "timeouts: { connect: 300ms, read: 300ms }\nretry: { attempts: 0 }";
        let log = "access_log: { path: access.log, format: json }";
        let isobar = binary!().run(&Configuration::to(servers).upstream(upstream).top(log));
        let _ = answer_to(isobar.address(), request);
        let line = json_number(&isobar, 0);
        assert_eq!(
            (&line["status"], &line["fault"]),
            (&status.into(), &fault.into()),
            "{causes:?}: {line:#}"
        );
        assert!(
            causes.iter().any(|cause| line["cause"] == *cause),
            "{causes:?}: {line:#}"
        );
    };
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let (good, silent, closed) = (Origin::named("a"), Origin::silent(), ClosedPort::reserve().unwrap());
    let closing = Origin::answering("", After::Close);
    let garbage = Origin::answering("garbage\r\n\r\n", After::Close);
    let half = Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", After::Close);
    check(
        &[good.address()],
        "GET / HTTP/1.1\r\n\r\n",
        400,
        &["client_malformed"],
        "client",
    );
    check(&[silent.address()], get, 504, &["read_timeout"], "server");
    check(&[closed.address()], get, 502, &["connect_failed"], "server");
    check(&[closing.address()], get, 502, &["server_closed"], "server");
    check(&[garbage.address()], get, 502, &["server_malformed"], "server");
    check(&[half.address()], get, 200, &["server_aborted"], "server");
}

#[test]
fn a_client_that_leaves_is_499() {
    let origin = Origin::silent();
    let isobar = logging(&[origin.address()], "json");
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has it", || origin.connections_open() == 1);
    client.reset().unwrap();
    let line = json_number(&isobar, 0);
    assert_eq!(
        (&line["status"], &line["cause"], &line["fault"]),
        (&499.into(), &"client_closed".into(), &"client".into())
    );
}

#[test]
fn trusted_proxies_tell_the_client() {
    let origin = Origin::named("a");
    let configuration = Configuration::to(&[origin.address()]).listener("trusted_proxies: [127.0.0.1/32]");
    let isobar = binary!().run(&configuration.top("access_log: { path: access.log, format: json }"));
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6, 203.0.113.9\r\n\r\n";
    assert_eq!(client.exchange(request).unwrap().status, 200);
    assert_eq!(json_number(&isobar, 0)["client"], "203.0.113.9");
}

#[test]
fn rotation_loses_no_line() {
    let origin = Origin::named("a");
    let isobar = logging(&[origin.address()], "json");
    let (log, rotated) = (
        isobar.directory().join("access.log"),
        isobar.directory().join("access.log.1"),
    );
    let load = Load::start(
        isobar.address(),
        &LoadOptions {
            clients: 2,
            ..LoadOptions::default()
        },
    );
    load.passes(100);
    fs::rename(&log, &rotated).unwrap();
    load.passes(50);
    isobar.signal(Signal::USR1);
    eventually("the file is opened again", || log.exists());
    load.passes(100);
    let report = load.finish();
    report.assert_flawless();
    let count = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default().lines().count() as u64;
    eventually("every request has its line", || {
        count(&log) + count(&rotated) == report.succeeded
    });
    assert!(count(&log) > 0 && count(&rotated) > 0);
}

#[test]
fn standard_output_can_be_the_log() {
    let origin = Origin::named("a");
    let isobar =
        binary!().run(&Configuration::to(&[origin.address()]).top("access_log: { path: stdout, format: json }"));
    assert_eq!(get(isobar.address(), "/to-stdout").unwrap().status, 200);
    eventually("the line is on stdout", || isobar.stdout().contains("/to-stdout"));
}

/// The log of real requests is what `isobar recommend` can go by.
#[test]
fn a_recommendation_can_be_made_from_it() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let isobar = logging(&origins.each_ref().map(Origin::address), "json");
    for _ in 0..150 {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    }
    line_number(&isobar, 149);
    let file = isobar.directory().join("access.log");
    let outcome = binary!().outcome(&[
        "recommend",
        "--log",
        file.to_str().unwrap(),
        "--json",
        "--balancers",
        "3",
    ]);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(printed["recommended"].is_string(), "{printed:#}");
    assert_eq!(printed["trials"].as_array().unwrap().len(), 3, "{printed:#}");
    let other = binary!().outcome(&["recommend", "--log", file.to_str().unwrap(), "--upstream", "api"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(other.stderr.contains("only to `web`"), "{}", other.stderr);
    let both = binary!().outcome(&["recommend", "--log", "a", "--hardware", "mixed"]);
    assert_eq!(both.status.code(), Some(2));
}
