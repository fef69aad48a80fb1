//! What are those told that a limit holds for?

use std::collections::BTreeMap;

use isobar_testkit::{GrpcClient, GrpcServer, Origin, curl, eventually, serde_json};

use crate::kit::{self, ask, limited};

/// One member of a list of strings with whole numbers or strings as parameters (RFC 9651 section 4.2), strictly.
type Member = (String, BTreeMap<String, String>);

fn parse(field: &str) -> Vec<Member> {
    let mut rest = field;
    let mut members = Vec::new();
    loop {
        let (name, after) = string(rest);
        let mut parameters = BTreeMap::new();
        rest = after;
        while let Some(after) = rest.strip_prefix(';') {
            let (key, after) = after.split_once('=').unwrap();
            assert!(key.bytes().all(|byte| byte.is_ascii_lowercase()), "{field}");
            let (value, after) = match after.starts_with('"') {
                true => string(after),
                false => {
                    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                    assert!((1..=15).contains(&digits), "{field}");
                    (after[..digits].to_owned(), &after[digits..])
                }
            };
            assert!(parameters.insert(key.to_owned(), value).is_none(), "{field}");
            rest = after;
        }
        members.push((name, parameters));
        match rest.strip_prefix(',') {
            None => break,
            Some(after) => rest = after.trim_start(),
        }
    }
    assert_eq!(rest, "", "{field}");
    members
}

fn string(text: &str) -> (String, &str) {
    let (string, rest) = text.strip_prefix('"').unwrap().split_once('"').unwrap();
    assert!(!string.contains('\\'), "{text}");
    (string.to_owned(), rest)
}

fn member(name: &str, parameters: &[(&str, &str)]) -> Member {
    let parameters = parameters
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    (name.to_owned(), parameters.collect())
}

#[test]
fn those_refused_together_are_told_different_times_and_none_too_early() {
    let limited = limited("login: { rate: 1/h, burst: 1, jitter: 1h }", "[login]");
    let mut client = limited.client();
    let began = std::time::Instant::now();
    assert_eq!(client.get("/").unwrap().status, 200);
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let refused = client.get("/").unwrap();
        let passed = began.elapsed().as_secs() + 1;
        let retry_after: u64 = refused.fields.value("retry-after").unwrap().parse().unwrap();
        assert!((3600 - passed..=7200).contains(&retry_after), "{retry_after}");
        let [(_, parameters)] = &parse(refused.fields.value("ratelimit").unwrap())[..] else {
            panic!("one limit")
        };
        assert!(parameters["t"].parse::<u64>().unwrap() <= retry_after);
        told.insert(retry_after);
    }
    // Of forty times among 3,600 a few may be the same.
    assert!(told.len() > 30, "{told:?}");
}

#[test]
fn a_refusal_says_when_to_come_again() {
    let limited = limited("login: { rate: 2/min }", "[login]");
    let mut client = limited.client();
    let admitted = client.get("/").unwrap();
    assert_eq!((admitted.status, admitted.fields.value("ratelimit")), (200, None));
    client.get("/").unwrap();
    let refused = client.get("/").unwrap();
    assert_eq!(refused.status, 429);
    let retry_after: u64 = refused.fields.value("retry-after").unwrap().parse().unwrap();
    assert!(
        (29..=30).contains(&retry_after),
        "half a minute for each: {retry_after}"
    );
    let policy = parse(refused.fields.value("ratelimit-policy").unwrap());
    assert_eq!(policy, [member("login", &[("q", "2"), ("w", "60")])]);
    let [(name, parameters)] = &parse(refused.fields.value("ratelimit").unwrap())[..] else {
        panic!("one limit")
    };
    assert_eq!((name.as_str(), parameters["r"].as_str()), ("login", "0"));
    assert!(parameters["t"].parse::<u64>().unwrap() <= retry_after);
    assert!(
        refused.text().starts_with("429 Too Many Requests: "),
        "{}",
        refused.text()
    );
    assert_eq!(client.get("/").unwrap().status, 429, "the connection stays");
}

#[test]
fn those_that_pass_are_told_what_is_left_where_it_is_asked_for() {
    let limited = limited(
        "minute: { rate: 10/min, burst: 3, headers: true }\nday: { rate: 100/day, headers: true }\nquiet: { rate: 50/day }\n\
         shadow: { rate: 1/day, headers: true, mode: shadow }\nslots: { algorithm: concurrency, max_requests: 4, headers: true }",
        "[minute, day, quiet, shadow, slots]",
    );
    let mut client = limited.client();
    let first = client.get("/").unwrap();
    let policy = [
        member("minute", &[("q", "10"), ("w", "60")]),
        member("day", &[("q", "100"), ("w", "86400")]),
        member("slots", &[("q", "4"), ("qu", "concurrent-requests")]),
    ];
    assert_eq!(parse(first.fields.value("ratelimit-policy").unwrap()), policy);
    let left = parse(first.fields.value("ratelimit").unwrap());
    let left: Vec<_> = left
        .iter()
        .map(|(name, of)| (name.as_str(), of["r"].as_str()))
        .collect();
    assert_eq!(left, [("minute", "2"), ("day", "99"), ("slots", "3")]);
    client.get("/").unwrap();
    client.get("/").unwrap();
    let refused = client.get("/").unwrap();
    assert_eq!(refused.status, 429);
    let names: Vec<_> = parse(refused.fields.value("ratelimit").unwrap())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["minute"]);
}

#[test]
fn status_and_body_are_as_configured() {
    let limited = limited(
        "one: { rate: 1/day, status: 503, body: '{\"error\":\"slow down\"}', content_type: application/json }",
        "[one]",
    );
    let mut client = limited.client();
    client.get("/").unwrap();
    let refused = client.get("/").unwrap();
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (503, "{\"error\":\"slow down\"}")
    );
    assert_eq!(refused.fields.value("content-type"), Some("application/json"));
    assert_eq!(refused.fields.values("retry-after").len(), 1);
    let head = client.exchange("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(head.is_err() || head.unwrap().status == 503);
}

#[test]
fn the_log_and_the_metrics_name_the_limit() {
    let limited = limited("one: { rate: 1/day }\ntwo: { rate: 1/day, mode: shadow }", "[two, one]");
    assert_eq!(limited.statuses("/", "", 2), [200, 429]);
    let line = |index: usize| -> serde_json::Value { serde_json::from_str(&limited.log_lines()[index]).unwrap() };
    eventually("two lines", || limited.log_lines().len() == 2);
    let (first, second) = (line(0), line(1));
    assert_eq!(
        (&first["limit"], &first["limit_shadow"], &first["cause"]),
        (&serde_json::Value::Null, &serde_json::Value::Null, &"complete".into())
    );
    assert_eq!((&second["limit"], &second["status"]), (&"one".into(), &429.into()));
    assert_eq!(
        (&second["cause"], &second["fault"]),
        (&"rate_limited".into(), &"client".into())
    );
    let metrics = limited.metrics();
    let causes = [("cause", "rate_limited")];
    assert_eq!(metrics.sum("isobar_route_exchanges_total", &causes), Some(1.0));
    assert_eq!(metrics.sum("isobar_limit_keys", &[("limit", "one")]), Some(1.0));
    assert_eq!(
        metrics.sum("isobar_limit_keys_max", &[("limit", "one")]),
        Some(100_000.0)
    );
    let bytes = metrics.sum("isobar_limit_table_bytes", &[("limit", "one")]).unwrap();
    assert!(bytes <= 100_000.0 * 64.0 * 1.05, "{bytes}");
    assert_eq!(
        metrics.sum("isobar_limit_state", &[("limit", "two"), ("state", "shadow")]),
        Some(1.0)
    );
}

#[test]
fn what_is_left_is_in_the_log_for_those_who_ask() {
    let origin = Origin::named("a");
    let configuration = isobar_testkit::Configuration::to(&[origin.address()])
        .listener("request_limits: [many, few]")
        .top("limits: { many: { rate: 100/day }, few: { rate: 3/day } }")
        .top("access_log: { path: stdout, format: \"{status} {limit} {limit_remaining}\" }");
    let limited = kit::Limited {
        isobar: isobar_testkit::binary!().run(&configuration),
        origin,
        configuration,
    };
    limited.statuses("/", "", 4);
    let expected = ["200 - 2", "200 - 1", "200 - 0", "429 few 0"];
    eventually("four lines", || limited.log_lines() == expected);
}

#[test]
fn calls_are_told_in_words_of_grpc() {
    let server = GrpcServer::start("a");
    let configuration = isobar_testkit::Configuration::to(&[server.address()])
        .upstream("http_version: http2")
        .listener("request_limits: [calls]")
        .top("limits: { calls: { rate: 2/day } }");
    let isobar = isobar_testkit::binary!().run(&configuration);
    let script = r#"
unary()(b"1")
unary()(b"2")
try:
    unary()(b"3")
    raise SystemExit("the third call passed")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
    assert error.details().startswith("rate_limited: "), error
    told = {key: value for key, value in error.initial_metadata() or []}
    told.update({key: value for key, value in error.trailing_metadata() or []})
    assert told["ratelimit-policy"] == '"calls";q=2;w=86400', told
    assert 43_000_000 < int(told["grpc-retry-pushback-ms"]) <= 43_200_001, told
"#;
    GrpcClient::start(isobar.address(), None, script).finish();
    let labels = [("grpc_status", "resource_exhausted")];
    eventually("the call is counted", || {
        isobar.metrics().sum("isobar_route_grpc_calls_total", &labels) == Some(1.0)
    });
}

#[test]
fn a_field_of_the_server_stays() {
    let origin = Origin::start(|exchange| exchange.reply(200, &[("ratelimit", "\"inner\";r=1")], b""));
    let limited = kit::to(origin, "outer: { rate: 5/day, headers: true }", "[outer]");
    let answer = ask(&mut limited.client(), "/", "");
    let all = answer.fields.values("ratelimit").join(", ");
    let names: Vec<_> = parse(&all).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["inner", "outer"]);
}

#[test]
fn clients_of_http2_are_told_the_same() {
    let limited = limited("one: { key: \"header:x-user\", rate: 1/day }", "[one]");
    let ask = |user: &str| {
        let url = format!("http://{}/", limited.isobar.address());
        let field = format!("x-user: {user}");
        curl(&["--http2-prior-knowledge", "--header", &field, &url])
    };
    assert_eq!(ask("a").status, 200);
    let refused = ask("a");
    assert_eq!(refused.status, 429);
    let text = refused.heads.to_lowercase();
    assert!(text.contains("ratelimit-policy: \"one\";q=1;w=86400\r\n"), "{text}");
    assert!(text.contains("retry-after: 86400\r\n"), "{text}");
    assert_eq!(ask("b").status, 200);
}
