//! Can operators take servers out of service and back in, without a request noticing and with clear answers?

use std::time::Duration;

use isobar_testkit::serde_json::{Value, from_slice, from_str, json};
use isobar_testkit::tungstenite::Message;
use isobar_testkit::websocket::{connect, websocket_echo};
use isobar_testkit::{
    Client, Configuration, Gate, Isobar, Load, LoadOptions, Origin, Outcome, Signal, binary, eventually, get,
};

fn two() -> [Origin; 2] {
    ["a", "b"].map(Origin::named)
}

fn named(origins: &[Origin; 2]) -> Configuration {
    let [a, b] = origins.each_ref().map(Origin::address);
    Configuration::default()
        .server(format!("{{ address: \"{a}\", name: a }}"))
        .server(format!("{{ address: \"{b}\", name: b }}"))
        .upstream("balance: round_robin")
}

/// Runs `isobar server` against an instance.
fn server(isobar: &Isobar, arguments: &[&str]) -> Outcome {
    let admin = isobar.admin().to_string();
    binary!().outcome(&[&["server"], arguments, &["--admin", &admin]].concat())
}

#[track_caller]
fn done(isobar: &Isobar, arguments: &[&str]) -> String {
    let outcome = server(isobar, arguments);
    assert_eq!(
        (outcome.status.code(), outcome.stderr.as_str()),
        (Some(0), ""),
        "{arguments:?}"
    );
    outcome.stdout
}

/// What the admin listener answers to these lines and no body.
fn asked(isobar: &Isobar, lines: &str) -> (u16, Value) {
    let request = format!("{lines}\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", isobar.admin());
    let answer = Client::connect(isobar.admin()).unwrap().exchange(request).unwrap();
    assert!(
        answer.status != 405 || answer.fields.value("allow").is_some(),
        "{lines}"
    );
    (answer.status, from_slice(&answer.body).unwrap())
}

fn states(isobar: &Isobar) -> Vec<(String, String, bool)> {
    let list: Value = from_str(&done(isobar, &["list", "--json"])).unwrap();
    let text = |server: &Value, key: &str| server[key].as_str().unwrap().to_owned();
    let servers = list["servers"].as_array().unwrap().iter();
    let state = |server| {
        (
            text(server, "server"),
            text(server, "state"),
            server["takes_requests"].as_bool().unwrap(),
        )
    };
    servers.map(state).collect()
}

#[test]
fn a_drain_under_load_fails_nothing_and_ends_with_nothing_in_flight() {
    let origins = two();
    let isobar = binary!().run(&named(&origins));
    let load = Load::start(isobar.address(), &LoadOptions::default());
    load.passes(200);
    for order in ["drain", "disable"] {
        let said = done(&isobar, &[order, "web", "a", "--wait", "30s"]);
        assert!(said.ends_with("server a of web has no request in flight\n"), "{said}");
        let seen = origins[0].request_count();
        load.passes(200);
        assert_eq!(origins[0].request_count(), seen, "{order}");
        done(&isobar, &["enable", "web", "a"]);
        load.passes(100);
        assert!(origins[0].request_count() > seen, "{order}");
    }
    load.finish().assert_flawless();
}

#[test]
fn a_wait_lasts_as_long_as_requests_do_and_not_longer_than_it_may() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Origin::start(move |exchange| {
        held.pass();
        exchange.reply(200, &[], b"done")
    });
    let sockets = websocket_echo();
    let configuration = Configuration::to(&[slow.address()])
        .routes("- { upstream: web }\n- { match: { path: /socket }, upstream: sockets }")
        .another_upstream("sockets", sockets.address());
    let isobar = binary!().run(&configuration);
    let name = slow.address().to_string();
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || gate.waiting() == 1);
    let outcome = server(&isobar, &["drain", "web", &name, "--wait", "300ms"]);
    let expected = format!("isobar: server {name} of web still has 1 in flight after 300ms\n");
    assert_eq!((outcome.status.code(), outcome.stderr), (Some(1), expected));
    assert_eq!(
        get(isobar.address(), "/").unwrap().status,
        503,
        "a new one gets nothing"
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| done(&isobar, &["drain", "web", &name, "--wait", "1m"]));
        gate.open();
        assert_eq!(client.receive().unwrap().text(), "done");
        let said = waiting.join().unwrap();
        assert!(said.contains("drain (was drain)"), "{said}");
    });
    // An upgraded connection is in flight until it ends, and goes on.
    let mut tunnel = connect(isobar.address(), "/socket").unwrap();
    let sockets = sockets.address().to_string();
    let said = done(&isobar, &["disable", "sockets", &sockets]);
    assert!(said.ends_with("disabled (was enabled), 1 in flight\n"), "{said}");
    tunnel.send(Message::text("still here")).unwrap();
    assert_eq!(tunnel.read().unwrap(), Message::text("still here"));
    drop(tunnel);
    done(&isobar, &["disable", "sockets", &sockets, "--wait", "1m"]);
}

#[test]
fn without_a_server_in_service_the_answer_is_503_and_it_comes_back() {
    let origins = two();
    let isobar = binary!().run(&named(&origins));
    done(&isobar, &["disable", "web", "a"]);
    done(&isobar, &["drain", "web", "b"]);
    let answer = get(isobar.address(), "/").unwrap();
    assert_eq!(answer.status, 503);
    assert!(isobar.metrics().sum("isobar_upstream_no_server_total", &[]) > Some(0.0));
    assert_eq!(get(isobar.admin(), "/health/ready").unwrap().status, 503);
    assert_eq!(get(isobar.admin(), "/health").unwrap().status, 200);
    done(&isobar, &["enable", "web", "b"]);
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "b");
    assert_eq!(get(isobar.admin(), "/health/ready").unwrap().status, 200);
}

#[test]
fn who_said_what_is_seen_everywhere() {
    let origins = two();
    let lines = "health: { type: tcp, interval: 100ms, timeout: 50ms }";
    let isobar = binary!().run(&named(&origins).upstream(lines));
    done(&isobar, &["drain", "web", "a"]);
    isobar.wait_for_log("server a of web is set to drain (was enabled) by 127.0.0.1:");
    let state = |state| {
        isobar
            .metrics()
            .sum("isobar_server_state", &[("server", "a"), ("state", state)])
    };
    assert_eq!(["enabled", "drain", "disabled"].map(state), [0.0, 1.0, 0.0].map(Some));
    done(&isobar, &["disable", "web", "a"]);
    assert_eq!(["enabled", "drain", "disabled"].map(state), [0.0, 0.0, 1.0].map(Some));
    eventually("it is probed and well all the same", || {
        isobar
            .metrics()
            .sum("isobar_server_health_state", &[("server", "a"), ("state", "healthy")])
            == Some(1.0)
    });
    let health = isobar.health();
    let check = health["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "server web/a")
        .unwrap();
    assert_eq!(check["status"], "pass");
    assert!(
        check["detail"].as_str().unwrap().starts_with("disabled by 127.0.0.1:"),
        "{check}"
    );
    let table = done(&isobar, &["status", "web"]);
    let line = table
        .lines()
        .find(|line| line.starts_with("web       a "))
        .unwrap_or_else(|| panic!("{table}"));
    assert!(
        line.contains(" disabled ") && line.contains(" set by 127.0.0.1:"),
        "{table}"
    );
    let (code, one) = asked(&isobar, "GET /servers/web/a HTTP/1.1");
    assert_eq!(
        (code, &one["state"], &one["takes_requests"]),
        (200, &json!("disabled"), &json!(false))
    );
    let log = isobar.log().lines().filter(|line| line.contains("is set to")).count();
    done(&isobar, &["disable", "web", "a"]);
    let (code, again) = asked(&isobar, "POST /servers/web/a/disable HTTP/1.1");
    let expected = json!({ "upstream": "web", "server": "a", "state": "disabled", "was": "disabled", "in_flight": 0, "sessions": null });
    assert_eq!((code, again), (200, expected));
    assert_eq!(
        isobar.log().lines().filter(|line| line.contains("is set to")).count(),
        log,
        "nothing changed"
    );
}

#[test]
fn reloads_keep_what_an_operator_said_until_the_file_says_something_else() {
    let origins = two();
    let [a, b] = origins.each_ref().map(Origin::address);
    let with = |state: &str, lines: &str| {
        let server = format!("{{ address: \"{a}\", name: a{state} }}");
        Configuration::default()
            .server(server)
            .server(format!("\"{b}\""))
            .upstream(lines)
    };
    let isobar = binary!().run(&with(", state: disabled", ""));
    let reload = |configuration: &Configuration| {
        let said = isobar.reload(&configuration.yaml());
        assert!(said.contains("configuration applied"), "{said}");
    };
    let state = || states(&isobar).remove(0).1;
    assert_eq!(state(), "disabled", "as the file says");
    assert!((0..6).all(|_| get(isobar.address(), "/").unwrap().text() == "b"));
    done(&isobar, &["enable", "web", "a"]);
    reload(&with(", state: disabled", "balance: random"));
    assert_eq!(state(), "enabled", "the file says nothing new");
    reload(&with(", state: drain", "balance: random"));
    assert_eq!(state(), "drain");
    reload(&with("", "balance: random"));
    assert_eq!(state(), "enabled");
    done(&isobar, &["disable", "web", "a"]);
    reload(&with("", "balance: round_robin"));
    assert_eq!(state(), "disabled");
    // A server that leaves takes it along.
    reload(&Configuration::default().server(format!("\"{b}\"")));
    reload(&with("", ""));
    assert_eq!(state(), "enabled");
}

#[test]
fn what_cannot_be_done_is_said() {
    let origins = two();
    let isobar = binary!().run(&named(&origins));
    let check = |lines: &str, code: u16, error: &str| {
        assert_eq!(asked(&isobar, lines), (code, json!({ "error": error })), "{lines}");
    };
    let no_upstream = "there is no upstream `api`";
    let no_server = "the upstream `web` has no server `c`";
    check("POST /servers/api/a/drain HTTP/1.1", 404, no_upstream);
    check("POST /servers/web/c/drain HTTP/1.1", 404, no_server);
    check("GET /servers/api/a HTTP/1.1", 404, no_upstream);
    check("GET /servers/web/c HTTP/1.1", 404, no_server);
    let no_order = "no such order; there are enable, drain and disable";
    check("POST /servers/web/a/stop HTTP/1.1", 404, no_order);
    check("GET /servers/web/a/drain HTTP/1.1", 405, "only POST is answered");
    check("DELETE /servers/web/a/drain HTTP/1.1", 405, "only POST is answered");
    check("POST /servers HTTP/1.1", 405, "only GET and HEAD are answered");
    let cross = "orders of pages of other sites are refused";
    check(
        "POST /servers/web/a/drain HTTP/1.1\r\norigin: http://evil.example",
        403,
        cross,
    );
    check(
        "POST /servers/web/a/drain HTTP/1.1\r\nsec-fetch-site: cross-site",
        403,
        cross,
    );
    assert!(
        states(&isobar)
            .iter()
            .all(|(_, state, takes)| state == "enabled" && *takes)
    );
    // Listeners for clients know nothing of it.
    let mut client = Client::connect(isobar.address()).unwrap();
    let answer = client.post("/servers/web/a/drain", b"").unwrap();
    assert!(["a", "b"].contains(&answer.text().as_str()));

    let failed = |arguments: &[&str], error: &str| {
        let outcome = server(&isobar, arguments);
        assert_eq!(
            (outcome.status.code(), outcome.stderr),
            (Some(1), format!("isobar: {error}\n"))
        );
    };
    let listed = |error: &str| format!("{error}; `isobar server list` shows what there is");
    failed(&["drain", "api", "a"], &listed(no_upstream));
    failed(&["enable", "web", "c"], &listed(no_server));
    failed(&["list", "api"], "there is no upstream `api`");
    let nobody = isobar_testkit::ClosedPort::reserve().unwrap().address();
    let outcome = binary!().outcome(&["server", "list", "--admin", &nobody.to_string()]);
    let expected = format!(
        "isobar: failed to connect to {nobody} (admin): connection refused; `--admin` says where an instance has its admin listener\n"
    );
    assert_eq!((outcome.status.code(), outcome.stderr), (Some(1), expected));
    let outcome = binary!().outcome(&["server", "list", "--admin", &isobar.address().to_string()]);
    assert_eq!(outcome.status.code(), Some(1), "that is no admin listener");
    assert_eq!(binary!().outcome(&["server", "drain", "web"]).status.code(), Some(2));
}

#[test]
fn an_instance_that_stops_takes_no_orders() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Origin::start(move |exchange| {
        held.pass();
        exchange.reply(200, &[], b"done")
    });
    let mut isobar = binary!().run(&Configuration::to(&[slow.address()]));
    let mut client = Client::connect(isobar.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the server has the request", || gate.waiting() == 1);
    isobar.signal(Signal::TERM);
    eventually("it drains", || {
        get(isobar.admin(), "/health").is_ok_and(|answer| answer.status == 503)
    });
    let order = format!("POST /servers/web/{}/disable HTTP/1.1", slow.address());
    let (code, answer) = asked(&isobar, &order);
    assert_eq!(
        (code, answer["error"].as_str().unwrap().contains("is being stopped")),
        (409, true),
        "{answer}"
    );
    gate.open();
    assert_eq!(client.receive().unwrap().text(), "done");
    isobar.ends(Duration::from_secs(10));
}

#[test]
fn names_of_every_kind_are_found() {
    let origin = Origin::named("a");
    for name in ["a/b", "50%", "..", "ü?x=#", "[::1]:80", "drain"] {
        let server = format!("{{ address: \"{}\", name: \"{name}\" }}", origin.address());
        let isobar = binary!().run(&Configuration::default().server(server));
        done(&isobar, &["disable", "web", name, "--wait", "10s"]);
        assert_eq!(states(&isobar), [(name.to_owned(), "disabled".to_owned(), false)]);
    }
}

#[test]
fn many_orders_at_once_leave_the_last_one() {
    let origins = two();
    let isobar = binary!().run(&named(&origins));
    let load = Load::start(isobar.address(), &LoadOptions::default());
    load.passes(50);
    std::thread::scope(|scope| {
        for order in ["drain", "disable", "enable"] {
            let isobar = &isobar;
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(asked(isobar, &format!("POST /servers/web/a/{order} HTTP/1.1")).0, 200);
                }
            });
        }
        for turn in 0..10 {
            let said = isobar.reload(
                &named(&origins)
                    .upstream(format!("retry: {{ attempts: {turn} }}"))
                    .yaml(),
            );
            assert!(said.contains("configuration applied"), "{said}");
        }
    });
    done(&isobar, &["drain", "web", "a"]);
    assert_eq!(states(&isobar)[0].1, "drain");
    load.passes(50);
    load.finish().assert_flawless();
    isobar.comes_to_rest();
}

#[test]
fn a_drained_server_keeps_its_sessions_and_a_disabled_one_does_not() {
    let origins = two();
    let isobar = binary!().run(&named(&origins).upstream("sticky: { header: x-session }"));
    let who = |session: &str| {
        let mut client = Client::connect(isobar.address()).unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-session: {session}\r\n\r\n");
        let answer = client.exchange(request).unwrap();
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).unwrap()
    };
    let owners: Vec<_> = (0..4).map(|session| who(&session.to_string())).collect();
    assert!(owners.iter().any(|owner| owner == "a") && owners.iter().any(|owner| owner == "b"));
    let still = || (0..4).map(|session| who(&session.to_string())).collect::<Vec<_>>();
    let (admin, flow) = (isobar.admin(), "0 in flight\n");
    let kept =
        format!("requests of its sessions still come to it; `isobar server disable web a --admin {admin}` ends that\n");
    let said = done(&isobar, &["drain", "web", "a", "--wait", "10s"]);
    let waited = "server a of web has no request in flight\n";
    assert_eq!(
        said,
        format!("server a of web: drain (was enabled), {flow}{kept}{waited}")
    );
    assert_eq!(still(), owners, "sessions stay");
    for new in 10..16 {
        assert_eq!(who(&new.to_string()), "b", "new ones go elsewhere");
    }
    let said = done(&isobar, &["disable", "web", "a"]);
    let moved = "its sessions go to other servers with their next request\n";
    assert_eq!(said, format!("server a of web: disabled (was drain), {flow}{moved}"));
    assert_eq!(still(), ["b"; 4], "sessions move");
    let said = done(&isobar, &["enable", "web", "a"]);
    assert_eq!(said, format!("server a of web: enabled (was disabled), {flow}"));
}

#[test]
fn sessions_that_may_not_move_are_refused_and_everybody_is_told_why() {
    let origins = two();
    let log = "access_log: { path: access.log, format: \"{status} {cause}\" }";
    let configuration = named(&origins).upstream("sticky: { header: x-session, on_down: fail }");
    let isobar = binary!().workers(1).run(&configuration.top(log));
    let ask = |session: &str| {
        let mut client = Client::connect(isobar.address()).unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-session: {session}\r\n\r\n");
        client.exchange(request).unwrap()
    };
    let owner = ask("1").text();
    let said = done(&isobar, &["disable", "web", &owner]);
    assert!(
        said.ends_with("requests of its sessions are answered with 503 until it is back (`on_down: fail`)\n"),
        "{said}"
    );
    let refused = ask("1");
    assert_eq!(refused.status, 503);
    assert!(
        refused
            .text()
            .contains("The server of the request's session is not available"),
        "{}",
        refused.text()
    );
    assert_eq!(ask("2").status, 200, "the other server is there");
    eventually("the log says why", || {
        let log = std::fs::read_to_string(isobar.directory().join("access.log"));
        log.is_ok_and(|log| log.contains("503 session_server"))
    });
}
