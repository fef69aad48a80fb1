//! Do probes take servers out and back in, and does the log say so?

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use isobar_testkit::serde_json::Value;
use isobar_testkit::{Configuration, Origin, binary, eventually, get};

const FAST: &str = "interval: 100ms, timeout: 100ms, rise: 2, fall: 2";

/// A server whose `/health` answers with a status that can be changed.
fn with_health(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&status);
    let origin = Origin::start(move |exchange| match exchange.request.target.as_str() {
        "/health" => exchange.reply(answered.load(Ordering::SeqCst), &[], b""),
        _ => exchange.reply(200, &[], name.as_bytes()),
    });
    (origin, status)
}

fn probes(origin: &Origin) -> usize {
    origin
        .requests()
        .iter()
        .filter(|request| request.target == "/health")
        .count()
}

#[test]
fn an_unhealthy_server_gets_nothing_until_it_is_well() {
    let ((sick, status), (well, _)) = (with_health("sick"), with_health("well"));
    let configuration = Configuration::to(&[sick.address(), well.address()])
        .upstream(format!("balance: round_robin\nhealth: {{ path: /health, {FAST} }}"));
    let isobar = binary!().run(&configuration);
    eventually("both are probed", || probes(&sick) > 0 && probes(&well) > 0);
    let answers = |wanted: &str| get(isobar.address(), "/").is_ok_and(|answer| answer.text() == wanted);
    eventually("both serve", || answers("sick"));
    status.store(500, Ordering::SeqCst);
    isobar.wait_for_log(&format!("{} of web is unhealthy", sick.address()));
    for _ in 0..20 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "well");
    }
    let sick_address = sick.address().to_string();
    let healthy = || {
        isobar
            .metrics()
            .sum("isobar_server_healthy", &[("server", &sick_address)])
    };
    assert_eq!(healthy(), Some(0.0));
    status.store(204, Ordering::SeqCst);
    eventually("it serves again", || answers("sick"));
    isobar.wait_for_log(&format!("{} of web is healthy", sick.address()));
    assert_eq!(healthy(), Some(1.0));
}

#[test]
fn expected_statuses_and_the_host_are_as_configured() {
    let (origin, status) = with_health("a");
    status.store(418, Ordering::SeqCst);
    let health = format!("health: {{ path: /health, host: probe.example, expect: 418, {FAST} }}");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream(health));
    eventually("it is probed", || probes(&origin) > 3);
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "a");
    let requests = origin.requests();
    let probe = requests.iter().find(|request| request.target == "/health").unwrap();
    assert_eq!(
        (probe.method.as_str(), probe.fields.value("host")),
        ("GET", Some("probe.example"))
    );
    status.store(200, Ordering::SeqCst);
    eventually("200 is not what is expected", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.status == 503)
    });
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_is_unhealthy() {
    let (silent, well) = (Origin::silent(), Origin::named("well"));
    let configuration = Configuration::to(&[silent.address(), well.address()])
        .upstream(format!("balance: round_robin\nhealth: {{ path: /, {FAST} }}"));
    let isobar = binary!().run(&configuration);
    isobar.wait_for_log(&format!("{} of web is unhealthy", silent.address()));
    for _ in 0..10 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "well");
    }
    eventually("given-up probes are closed", || silent.connections_open() <= 1);
}

#[test]
fn tcp_probes_notice_who_listens() {
    let origins = ["a", "b"].map(Origin::named);
    let configuration = Configuration::to(&[origins[0].address(), origins[1].address()])
        .upstream(format!("balance: round_robin\nhealth: {{ type: tcp, {FAST} }}"));
    let isobar = binary!().run(&configuration);
    origins[0].stop();
    isobar.wait_for_log(&format!("{} of web is unhealthy", origins[0].address()));
    for _ in 0..10 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "b");
    }
    origins[0].resume();
    eventually("it serves again", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.text() == "a")
    });
}

#[test]
fn without_a_healthy_server_the_answer_is_503_at_once() {
    let (origin, status) = with_health("a");
    status.store(500, Ordering::SeqCst);
    let health = format!("health: {{ path: /health, {FAST} }}");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream(health));
    eventually("it is out", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.status == 503)
    });
    status.store(200, Ordering::SeqCst);
    eventually("it is in", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn health_pages_say_what_is_true() {
    let (origin, _) = with_health("a");
    let health = format!("health: {{ path: /health, {FAST} }}");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream(health));
    eventually("it is probed", || probes(&origin) > 0);
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(get(isobar.admin(), path).unwrap().status, 200, "{path}");
    }
    let address = origin.address().to_string();
    let named = |detail: &Value, part: &str| {
        let checks = detail["checks"].as_array().cloned().unwrap_or_default();
        checks
            .into_iter()
            .find(|check| check["name"].as_str().is_some_and(|name| name.contains(part)))
    };
    eventually("every dependency passes", || {
        let detail = isobar.health();
        ["listener web", "upstream web", &address].iter().all(|part| {
            let check = named(&detail, part).unwrap_or_else(|| panic!("no check names {part:?}: {detail:#}"));
            assert!(check["time_ms"].is_number(), "{check:#}");
            check["status"] == "pass"
        })
    });
    origin.stop();
    eventually("the server's check does not pass", || {
        named(&isobar.health(), &address).is_some_and(|check| check["status"] != "pass")
    });
    assert_eq!(get(isobar.admin(), "/health/live").unwrap().status, 200);
}
