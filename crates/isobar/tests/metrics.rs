//! Do metrics count what happened, in a form that Prometheus likes?

use isobar_testkit::{
    Client, ClosedPort, Configuration, Origin, answer_to, binary, eventually, get, promtool_check_metrics,
};

#[test]
fn promtool_has_nothing_to_say() {
    let origin = Origin::named("a");
    let configuration =
        Configuration::to(&[origin.address()]).upstream("health: { path: /, interval: 100ms, timeout: 50ms }");
    let isobar = binary!().run(&configuration.top("access_log: { path: access.log }"));
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..10 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    assert_eq!(answer_to(isobar.address(), "nonsense\r\n\r\n").unwrap().status(), 400);
    let metrics = isobar.metrics();
    assert_eq!(promtool_check_metrics(metrics.text()), "");
    assert!(
        metrics.text().contains("isobar_route_duration_seconds_bucket"),
        "{}",
        metrics.text()
    );
}

#[test]
fn requests_move_the_counters() {
    let origin = Origin::echo();
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let server = origin.address().to_string();
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..7 {
        assert_eq!(client.post("/", b"12345").unwrap().status, 200);
    }
    assert_eq!(
        answer_to(isobar.address(), "GET / HTTP/1.1\r\n\r\n").unwrap().status(),
        400
    );
    let check = |name: &str, labels: &[(&str, &str)], expected: f64| {
        eventually(&format!("{name}{labels:?} is {expected}"), || {
            isobar.metrics().sum(name, labels) == Some(expected)
        });
    };
    check(
        "isobar_listener_connections_accepted_total",
        &[("listener", "web")],
        2.0,
    );
    check("isobar_listener_connections", &[("listener", "web")], 1.0);
    check(
        "isobar_listener_requests_refused_total",
        &[("listener", "web"), ("cause", "client_malformed")],
        1.0,
    );
    check("isobar_route_responses_total", &[("code_class", "2xx")], 7.0);
    check("isobar_route_request_body_bytes_total", &[], 35.0);
    check("isobar_route_response_body_bytes_total", &[], 35.0);
    check("isobar_route_duration_seconds_count", &[], 7.0);
    check("isobar_server_requests_total", &[("server", &server)], 7.0);
    check("isobar_server_connections_opened_total", &[("server", &server)], 1.0);
    check("isobar_server_connections_reused_total", &[("server", &server)], 6.0);
    check("isobar_server_in_flight", &[("server", &server)], 0.0);
    check("isobar_workers", &[], 2.0);
    check("isobar_config_generation", &[], 1.0);
}

#[test]
fn failures_are_counted_where_they_happen() {
    let (closed, origin) = (ClosedPort::reserve().unwrap(), Origin::named("a"));
    let configuration = Configuration::to(&[closed.address(), origin.address()]).upstream("balance: round_robin");
    let isobar = binary!().run(&configuration);
    for _ in 0..4 {
        assert_eq!(get(isobar.address(), "/").unwrap().status, 200);
    }
    let server = closed.address().to_string();
    eventually("failed attempts are counted", || {
        isobar
            .metrics()
            .sum("isobar_server_failures_total", &[("server", &server)])
            .is_some_and(|count| count >= 1.0)
    });
}

#[test]
fn what_clients_send_makes_no_new_series() {
    let origin = Origin::named("a");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let send = |number: usize| {
        let request =
            format!("X{number} /p{number} HTTP/1.1\r\nhost: h{number}\r\nx{number}: 1\r\nconnection: close\r\n\r\n");
        assert_eq!(answer_to(isobar.address(), request).unwrap().status(), 200);
    };
    send(0);
    let counted = || {
        isobar
            .metrics()
            .sum("isobar_server_requests_total", &[])
            .unwrap_or_default()
    };
    eventually("the first is counted", || counted() >= 1.0);
    let series = isobar.metrics().text().lines().count();
    (1..30).for_each(send);
    eventually("all are counted", || counted() >= 30.0);
    assert_eq!(isobar.metrics().text().lines().count(), series);
}
