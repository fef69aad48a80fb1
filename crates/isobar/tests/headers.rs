//! Which fields reach the server and the client, and which do not?

use isobar_testkit::{After, Client, Configuration, Origin, Request, Response, binary};

/// What the server saw, and what came back, for a GET with these field lines.
fn pass(configuration: impl Fn(Configuration) -> Configuration, lines: &str) -> (Request, Response) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-kept: 1\r\nx-drop: 1\r\nkeep-alive: timeout=5\r\n\
         connection: keep-alive, x-hop\r\nx-hop: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n",
        After::Keep,
    );
    let isobar = binary!().run(&configuration(Configuration::to(&[origin.address()])));
    let mut client = Client::connect(isobar.address()).unwrap();
    let answer = client
        .exchange(format!("GET /p?q=1 HTTP/1.1\r\nhost: test.example\r\n{lines}\r\n"))
        .unwrap();
    assert_eq!(answer.status, 200, "{lines:?}");
    (origin.last_request(), answer)
}

fn plain(configuration: Configuration) -> Configuration {
    configuration
}

fn trusting(configuration: Configuration) -> Configuration {
    configuration.listener("trusted_proxies: [127.0.0.0/8]\nforwarded: true")
}

#[test]
fn end_to_end_fields_pass_in_order() {
    let (seen, answer) = pass(
        plain,
        "X-One: 1\r\naccept: a\r\nx-one:  2 \r\ncookie: a=1\r\ncookie: b=2\r\n",
    );
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str(), seen.version.as_str()),
        ("GET", "/p?q=1", "HTTP/1.1")
    );
    assert_eq!(seen.fields.values("x-one"), ["1", "2"]);
    assert_eq!(seen.fields.values("host"), ["test.example"]);
    assert_eq!(seen.fields.values("cookie").join("; "), "a=1; b=2");
    assert_eq!(answer.fields.values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.fields.value("x-kept"), Some("1"));
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let lines = "connection: keep-alive, x-mine, te\r\nx-mine: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: x\r\n\
                 te: gzip\r\nupgrade: h2c\r\nhttp2-settings: AAAA\r\nx-stays: 1\r\n";
    let (seen, answer) = pass(plain, lines);
    for name in ["x-mine", "keep-alive", "proxy-connection", "upgrade", "http2-settings"] {
        assert_eq!(seen.fields.value(name), None, "{name} reached the server");
    }
    assert!(!seen.fields.lists("te", "gzip") && !seen.fields.lists("connection", "x-mine"));
    assert_eq!(seen.fields.value("x-stays"), Some("1"));
    for name in ["x-hop", "keep-alive"] {
        assert_eq!(answer.fields.value(name), None, "{name} reached the client");
    }
    assert!(!answer.fields.lists("connection", "x-hop"));
}

#[test]
fn a_client_cannot_nominate_away_what_others_rely_on() {
    // Otherwise `Connection: x-forwarded-for` takes the client's address from the server.
    let lines =
        "connection: x-forwarded-for, host, authorization, cookie, x-real-ip\r\nauthorization: a\r\ncookie: c=1\r\n";
    let (seen, _) = pass(plain, lines);
    assert_eq!(seen.fields.values("host"), ["test.example"]);
    for (name, value) in [("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1")] {
        assert_eq!(seen.fields.value(name), Some(value), "{name}");
    }
    assert_eq!(
        (seen.fields.value("authorization"), seen.fields.value("cookie")),
        (Some("a"), Some("c=1"))
    );
}

#[test]
fn servers_are_told_the_client_and_forgeries_are_removed() {
    let forged = "x-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nx-forwarded-proto: https\r\n\
                  x-forwarded-host: evil\r\nx-real-ip: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nx-forwarded-port: 1\r\n\
                  x_forwarded_for: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nx-forwarded_proto: https\r\n";
    let (seen, _) = pass(plain, forged);
    assert_eq!(seen.fields.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.fields.values("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.fields.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.fields.values("x-forwarded-host"), ["test.example"]);
    assert_eq!(seen.fields.value("forwarded"), None);
    let forgeries = seen
        .fields
        .0
        .iter()
        .filter(|(n, v)| n.contains('_') || v.contains("6.6.6.6") || v == "evil");
    assert_eq!(forgeries.collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}

#[test]
fn trusted_proxies_are_believed_and_extended() {
    let (seen, _) = pass(trusting, "x-forwarded-for: 203.0.113.7\r\nx-forwarded-proto: https\r\n");
    assert_eq!(
        seen.fields.values("x-forwarded-for").join(", "),
        "203.0.113.7, 127.0.0.1"
    );
    assert_eq!(seen.fields.values("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.fields.values("x-real-ip"), ["203.0.113.7"]);
}

#[test]
fn the_standard_field_is_written_where_asked_for() {
    let (seen, _) = pass(trusting, "");
    let forwarded = seen
        .fields
        .values("forwarded")
        .join(", ")
        .to_ascii_lowercase()
        .replace('"', "");
    for part in ["for=127.0.0.1", "proto=http", "host=test.example"] {
        assert!(forwarded.contains(part), "{part} is not in {forwarded:?}");
    }
}

#[test]
fn routes_set_add_and_remove_fields() {
    let changing = |configuration: Configuration| {
        configuration.routes(
            "- upstream: web\n  request_headers: { set: { x-env: prod }, add: { x-tag: two }, remove: [x-internal] }\n\
             \x20 response_headers: { set: { x-kept: changed }, add: { set-cookie: c=3 }, remove: [x-drop] }",
        )
    };
    let (seen, answer) = pass(
        changing,
        "X-Env: forged\r\nx-env: twice\r\nx-tag: one\r\nx-internal: 1\r\nX-INTERNAL: 2\r\n",
    );
    assert_eq!(seen.fields.values("x-env"), ["prod"]);
    assert_eq!(seen.fields.values("x-tag"), ["one", "two"]);
    assert_eq!(seen.fields.value("x-internal"), None);
    assert_eq!(answer.fields.values("x-kept"), ["changed"]);
    assert_eq!(answer.fields.value("x-drop"), None);
    assert_eq!(answer.fields.values("set-cookie"), ["a=1", "b=2", "c=3"]);
}

#[test]
fn the_target_decides_the_authority() {
    let origin = Origin::named("a");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let check = |request: &str, target: &str, host: &str| {
        let mut client = Client::connect(isobar.address()).unwrap();
        assert_eq!(client.exchange(request).unwrap().status, 200, "{request:?}");
        let seen = origin.last_request();
        assert_eq!(
            (seen.target.as_str(), seen.fields.values("host")),
            (target, vec![host]),
            "{request:?}"
        );
    };
    // RFC 9112 section 3.2.2: an absolute-form target wins over the field.
    check(
        "GET http://real.example/a?b HTTP/1.1\r\nhost: other.example\r\n\r\n",
        "/a?b",
        "real.example",
    );
    check(
        "GET http://real.example:81/a HTTP/1.1\r\nhost: real.example:81\r\n\r\n",
        "/a",
        "real.example:81",
    );
    check(
        "GET http://real.example HTTP/1.1\r\nhost: real.example\r\n\r\n",
        "/",
        "real.example",
    );
    check(
        "GET http://real.example?b HTTP/1.1\r\nhost: real.example\r\n\r\n",
        "/?b",
        "real.example",
    );
    check("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", "*", "x");
    check("GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "/a", "[::1]:80");
}
