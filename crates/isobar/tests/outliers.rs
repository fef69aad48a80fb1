//! Are servers that answer badly taken out and back in, by each rule, and never more of them than may be?

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use isobar_testkit::{Configuration, Isobar, Load, LoadOptions, Origin, binary, eventually, get};

/// A server whose answer is a status that can be changed, with its name.
fn moody(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&status);
    let origin = Origin::start(move |exchange| match exchange.request.target.as_str() {
        "/health" => exchange.reply(200, &[], b""),
        _ => exchange.reply(answered.load(Ordering::SeqCst), &[], name.as_bytes()),
    });
    (origin, status)
}

fn to(servers: &[&Origin], lines: &str) -> Configuration {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    Configuration::to(&addresses).upstream(format!("balance: round_robin\nslow_start: none\n{lines}"))
}

/// Without the charge for failures, so that round robin goes on to the servers that fail.
fn texts(isobar: &Isobar, requests: usize) -> Vec<String> {
    (0..requests)
        .map(|_| get(isobar.address(), "/").unwrap().text())
        .collect()
}

fn ejected(isobar: &Isobar) -> f64 {
    isobar.metrics().sum("isobar_server_ejected", &[]).unwrap()
}

fn ejections(isobar: &Isobar, reason: &str) -> f64 {
    isobar
        .metrics()
        .sum("isobar_server_ejections_total", &[("reason", reason)])
        .unwrap()
}

fn detail(isobar: &Isobar, server: &Origin) -> (String, String) {
    let health = isobar.health();
    let name = format!("server web/{}", server.address());
    let checks = health["checks"].as_array().cloned().unwrap_or_default();
    let check = checks.into_iter().find(|check| check["name"] == name.as_str()).unwrap();
    let text = |key: &str| check[key].as_str().unwrap().to_owned();
    (text("status"), text("detail"))
}

/// Whether so many are told between two words, or one or two more: servers are looked at when it has happened, and a request may be
/// under way.
fn tells(text: &str, before: &str, least: u32, after: &str) -> bool {
    (least..=least + 2).any(|count| text.contains(&format!("{before} {count} {after}")))
}

#[test]
fn failures_in_a_row_take_a_server_out_until_its_time_is_over() {
    let [(sick, status), (b, _), (c, _)] = ["sick", "b", "c"].map(moody);
    let rules = "outlier_detection: { consecutive_errors: 3, ejection: { base: 2s }, min_servers: 3 }";
    let isobar = binary!().run(&to(&[&sick, &b, &c], rules));
    status.store(500, Ordering::SeqCst);
    let first = texts(&isobar, 60);
    let failed = first.iter().filter(|name| *name == "sick").count();
    // It is out after the third failure; a request or two may be under way before the workers know.
    assert!((3..=5).contains(&failed), "{failed} requests failed");
    let what = format!("server {} of web is ejected for 2.", sick.address());
    isobar.wait_for_log(&what);
    assert!(
        tells(&isobar.log(), "it failed", 3, "requests in a row"),
        "{}",
        isobar.log()
    );
    assert_eq!((ejected(&isobar), ejections(&isobar, "consecutive_errors")), (1.0, 1.0));
    let (state, words) = detail(&isobar, &sick);
    assert_eq!(state, "warn", "{words}");
    assert!(
        words.starts_with("ejected for ") && tells(&words, "failed", 3, "requests in a row"),
        "{words}"
    );
    status.store(200, Ordering::SeqCst);
    isobar.wait_for_log(&format!(
        "server {} of web serves again: its time was over",
        sick.address()
    ));
    eventually("it is given requests again", || {
        texts(&isobar, 3).iter().any(|name| name == "sick")
    });
    assert_eq!((ejected(&isobar), ejections(&isobar, "consecutive_errors")), (0.0, 1.0));
    assert_eq!(detail(&isobar, &sick).0, "pass");
}

#[test]
fn without_a_word_five_servers_are_judged_and_four_are_not() {
    let check = |count: usize, out: bool| {
        let servers: Vec<_> = ["0", "1", "2", "3", "4"].into_iter().take(count).map(moody).collect();
        let isobar = binary!().run(&to(&servers.iter().map(|(server, _)| server).collect::<Vec<_>>(), ""));
        servers[0].1.store(503, Ordering::SeqCst);
        let sick = texts(&isobar, 20 * count).iter().filter(|name| *name == "0").count();
        if out {
            assert!((5..=7).contains(&sick), "{sick} requests failed");
            eventually("the log says so", || {
                tells(&isobar.log(), "it failed", 5, "requests in a row")
            });
        } else {
            assert_eq!(sick, 20, "{}", isobar.log());
            assert_eq!(ejected(&isobar), 0.0);
        }
    };
    check(5, true);
    check(4, false);
}

#[test]
fn what_is_the_clients_fault_never_takes_a_server_out() {
    let [(strict, status), (b, failing)] = ["strict", "b"].map(moody);
    let rules = "outlier_detection: { consecutive_errors: 1, failure_percentage: { threshold: 1%, min_servers: 1, \
                 min_requests: 1 }, interval: 100ms, max_ejected: 100%, min_servers: 1 }";
    let isobar = binary!().run(&to(&[&strict, &b], rules));
    for code in [400, 401, 403, 404, 408, 413, 429, 431, 451, 499, 501, 505] {
        status.store(code, Ordering::SeqCst);
        texts(&isobar, 4);
    }
    // By then the servers were judged, and that which failed is the only one.
    failing.store(500, Ordering::SeqCst);
    texts(&isobar, 4);
    isobar.wait_for_log(&format!("server {} of web is ejected", b.address()));
    assert!(
        !isobar
            .log()
            .contains(&format!("server {} of web is ejected", strict.address())),
        "{}",
        isobar.log()
    );
}

#[test]
fn no_more_are_out_than_may_be_and_never_the_last() {
    let check = |cap: &str, most: f64| {
        let servers = ["0", "1", "2", "3", "4"].map(moody);
        let rules =
            format!("panic: none\noutlier_detection: {{ consecutive_errors: 2, max_ejected: {cap}, interval: 100ms }}");
        let isobar = binary!().run(&to(&servers.each_ref().map(|(server, _)| server), &rules));
        servers
            .iter()
            .for_each(|(_, status)| status.store(500, Ordering::SeqCst));
        eventually("as many are out as may be", || {
            texts(&isobar, 10);
            ejected(&isobar) >= most
        });
        let seen = servers.each_ref().map(|(server, _)| server.request_count());
        for _ in 0..100 {
            let answer = get(isobar.address(), "/").unwrap();
            assert_eq!(
                answer.status,
                500,
                "a server answers, and not Isobar: {}",
                answer.text()
            );
        }
        assert_eq!(ejected(&isobar), most, "{cap}");
        let grown = servers
            .iter()
            .zip(seen)
            .filter(|((server, _), seen)| server.request_count() > *seen)
            .count();
        assert_eq!(grown as f64, 5.0 - most, "{cap}");
    };
    check("10%", 1.0);
    check("50%", 2.0);
    check("100%", 4.0);
}

#[test]
fn a_server_that_cannot_be_reached_is_out_without_a_failed_request() {
    let [(gone, _), (b, _)] = ["gone", "b"].map(moody);
    let rules = "outlier_detection: { consecutive_errors: none, consecutive_connect_failures: 2, min_servers: 2 }";
    let isobar = binary!().run(&to(&[&gone, &b], rules));
    gone.stop();
    assert!(texts(&isobar, 20).iter().all(|name| name == "b"));
    eventually("the log says so", || {
        tells(&isobar.log(), "it could not be reached", 2, "times in a row")
    });
    assert_eq!(ejections(&isobar, "consecutive_connect_failures"), 1.0);
    let failures = |isobar: &Isobar| {
        isobar
            .metrics()
            .sum("isobar_server_failures_total", &[("cause", "connect_failed")])
    };
    let before = failures(&isobar);
    texts(&isobar, 20);
    assert_eq!(failures(&isobar), before, "nobody tries it any more");
}

#[test]
fn servers_are_compared_by_failures() {
    let flaky = Origin::start({
        let turn = AtomicU16::new(0);
        move |exchange| {
            let status = if turn.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                500
            } else {
                200
            };
            exchange.reply(status, &[], b"flaky")
        }
    });
    let [(b, _), (c, _)] = ["b", "c"].map(moody);
    let rules = "outlier_detection: { failure_percentage: { threshold: 40%, min_servers: 3, min_requests: 10 }, \
                 success_rate: none, interval: 300ms, min_servers: 3 }";
    let isobar = binary!().run(&to(&[&flaky, &b, &c], rules));
    eventually("it is out", || {
        texts(&isobar, 30);
        ejections(&isobar, "failure_percentage") > 0.0
    });
    assert!(detail(&isobar, &flaky).1.contains("it fails most of its requests"));
}

#[test]
fn servers_are_compared_by_success_rate() {
    let [(sick, status), (b, _), (c, _)] = ["sick", "b", "c"].map(moody);
    let rules = "outlier_detection: { consecutive_errors: none, success_rate: { stdev_factor: 1, min_servers: 3, \
                 min_requests: 10 }, interval: 300ms, min_servers: 3 }";
    let isobar = binary!().run(&to(&[&sick, &b, &c], rules));
    status.store(502, Ordering::SeqCst);
    eventually("it is out", || {
        texts(&isobar, 30);
        ejections(&isobar, "success_rate") > 0.0
    });
    assert!(texts(&isobar, 20).iter().all(|name| name != "sick"));
}

#[test]
fn servers_are_compared_by_latency() {
    let slow = Origin::start(|exchange| {
        std::thread::sleep(Duration::from_millis(60));
        exchange.reply(200, &[], b"slow")
    });
    let [(b, _), (c, _)] = ["b", "c"].map(moody);
    let rules = "outlier_detection: { latency: { factor: 3, min_servers: 3, min_requests: 3 }, interval: 500ms, \
                 min_servers: 3 }";
    let isobar = binary!().run(&to(&[&slow, &b, &c], rules));
    let load = Load::start(isobar.address(), &LoadOptions::default());
    isobar.wait_for_log(&format!("server {} of web is ejected", slow.address()));
    let seen = slow.request_count();
    load.passes(100);
    load.finish().assert_flawless();
    assert!(
        slow.request_count() <= seen + 4,
        "only what was under way is answered yet"
    );
    assert!(ejections(&isobar, "latency") > 0.0);
}

#[test]
fn the_simple_mode_is_nginxs() {
    let [(sick, status), (b, _)] = ["sick", "b"].map(moody);
    let rules = "outlier_detection: { max_fails: 2, fail_timeout: 2s }";
    let isobar = binary!().run(&to(&[&sick, &b], rules));
    status.store(500, Ordering::SeqCst);
    texts(&isobar, 8);
    let out = format!("server {} of web is ejected for 2.0 s: it failed", sick.address());
    eventually("the log says so", || tells(&isobar.log(), &out, 2, "requests"));
    assert!(texts(&isobar, 10).iter().all(|name| name == "b"));
    isobar.wait_for_log("serves again: its time was over");
    // While it is the only one left it serves, however it fails.
    let alone = binary!().run(&to(&[&sick], rules));
    assert!(texts(&alone, 20).iter().all(|name| name == "sick"));
    assert_eq!(ejected(&alone), 0.0);
}

#[test]
fn reloads_keep_who_is_out_and_a_word_takes_everybody_back() {
    let [(sick, status), (b, _), (c, _)] = ["sick", "b", "c"].map(moody);
    let rules = "outlier_detection: { consecutive_errors: 2, ejection: { base: 5m }, min_servers: 2 }";
    let isobar = binary!().run(&to(&[&sick, &b, &c], rules));
    status.store(500, Ordering::SeqCst);
    texts(&isobar, 12);
    isobar.wait_for_log("is ejected");
    status.store(200, Ordering::SeqCst);
    let still_out = |what: &str| {
        assert_eq!(ejected(&isobar), 1.0, "{what}");
        assert!(texts(&isobar, 20).iter().all(|name| name != "sick"), "{what}");
    };
    let reload = |configuration: &Configuration| {
        let said = isobar.reload(&configuration.yaml());
        assert!(said.contains("configuration applied"), "{said}");
    };
    reload(&to(&[&c, &sick, &b], &format!("{rules}\nretry: {{ attempts: 1 }}")));
    still_out("another order and other settings");
    reload(&to(&[&sick, &b], rules));
    still_out("another server is gone");
    reload(&to(
        &[&sick, &b],
        "outlier_detection: { consecutive_errors: 7, min_servers: 2 }",
    ));
    still_out("other rules");
    reload(&to(&[&sick, &b], "outlier_detection: none"));
    isobar.wait_for_log("serves again: outlier detection was turned off");
    eventually("it serves", || texts(&isobar, 4).iter().any(|name| name == "sick"));
    assert_eq!(ejected(&isobar), 0.0);
    // A server that left and came back is a new one.
    reload(&to(&[&sick, &b, &c], rules));
    status.store(500, Ordering::SeqCst);
    eventually("it is out again", || {
        texts(&isobar, 3);
        ejected(&isobar) == 1.0
    });
    status.store(200, Ordering::SeqCst);
    reload(&to(&[&b, &c], rules));
    reload(&to(&[&sick, &b, &c], rules));
    assert_eq!(ejected(&isobar), 0.0);
    assert!(texts(&isobar, 6).iter().any(|name| name == "sick"));
}

#[test]
fn probes_that_pass_end_an_ejection() {
    let [(sick, status), (b, _)] = ["sick", "b"].map(moody);
    let lines = "health: { path: /health, interval: 200ms, timeout: 100ms, rise: 2 }\n\
                 outlier_detection: { consecutive_errors: 2, ejection: { base: 5m }, min_servers: 2 }";
    let isobar = binary!().run(&to(&[&sick, &b], lines));
    status.store(500, Ordering::SeqCst);
    texts(&isobar, 8);
    isobar.wait_for_log("is ejected");
    status.store(200, Ordering::SeqCst);
    isobar.wait_for_log(&format!(
        "server {} of web serves again: its probes passed",
        sick.address()
    ));
    eventually("it serves", || texts(&isobar, 4).iter().any(|name| name == "sick"));
}

#[test]
fn when_nobody_else_is_left_who_is_out_serves() {
    let [(sick, status), (b, _)] = ["sick", "b"].map(moody);
    let lines = "health: { type: tcp, interval: 100ms, timeout: 50ms, fall: 1, rise: 1 }\n\
                 outlier_detection: { consecutive_errors: 2, ejection: { base: 5m }, min_servers: 2 }";
    let isobar = binary!().run(&to(&[&sick, &b], lines));
    status.store(500, Ordering::SeqCst);
    texts(&isobar, 8);
    isobar.wait_for_log("is ejected");
    b.stop();
    isobar.wait_for_log(&format!(
        "server {} of web serves again: no other server was left",
        sick.address()
    ));
    status.store(200, Ordering::SeqCst);
    eventually("it serves", || {
        get(isobar.address(), "/").is_ok_and(|answer| answer.text() == "sick")
    });
}
