//! Who is served first, and who makes room for others?

use std::time::{Duration, Instant};

use isobar_testkit::{Configuration, Gate, Isobar, Origin, binary, eventually};

use crate::limits::{gated, is_logged, metric, nothing_is_left, send};

const ROUTES: &str = "- { match: { path: /critical* }, upstream: web, priority: critical }\n\
                      - { match: { path: /low* }, upstream: web, priority: low }\n\
                      - upstream: web";

/// An instance before a server that takes one at a time, and has one.
fn occupied(origin: &Origin, gate: &Gate, queue: &str) -> (Isobar, isobar_testkit::Client) {
    let server = format!("{{ address: \"{}\", max_connections: 1 }}", origin.address());
    let configuration = Configuration::default()
        .server(server)
        .routes(ROUTES)
        .upstream(format!("queue: {queue}"))
        .top("access_log: { path: access.log, format: \"{target} {status} {cause}\" }");
    let isobar = binary!().run(&configuration);
    let first = send(&isobar, "/first", "");
    eventually("the server is busy", || gate.waiting() == 1);
    (isobar, first)
}

/// Lets each wait before the next comes.
fn join(isobar: &Isobar, requests: &[(&str, &str)]) -> Vec<isobar_testkit::Client> {
    let mut clients = Vec::new();
    for (target, fields) in requests {
        let before = metric(isobar, "isobar_upstream_queue_entered_total");
        clients.push(send(isobar, target, fields));
        eventually("it waits", || {
            metric(isobar, "isobar_upstream_queue_entered_total") > before
        });
    }
    clients
}

fn served(origin: &Origin) -> Vec<String> {
    origin.requests().iter().map(|request| request.target.clone()).collect()
}

#[test]
fn by_priority_and_then_who_came_first() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (isobar, _first) = occupied(&origin, &gate, "{ timeout: 30s }");
    let requests = ["/low-1", "/a", "/critical-1", "/low-2", "/b", "/critical-2"].map(|target| (target, ""));
    let mut clients = join(&isobar, &requests);
    let queued = |priority| {
        let labels = [("priority", priority)];
        isobar.metrics().sum("isobar_upstream_queued_by_priority", &labels)
    };
    assert_eq!(["critical", "normal", "low"].map(queued), [Some(2.0); 3]);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    let expected = ["/first", "/critical-1", "/critical-2", "/a", "/b", "/low-1", "/low-2"];
    assert_eq!(served(&origin), expected);
    nothing_is_left(&isobar);
}

#[test]
fn a_full_queue_makes_room_for_what_matters_more() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (isobar, _first) = occupied(&origin, &gate, "{ max: 2, timeout: 30s }");
    let mut clients = join(&isobar, &[("/low-1", ""), ("/low-2", "")]);
    let mut refused = send(&isobar, "/low-3", "");
    assert_eq!(refused.receive().unwrap().status, 503);
    is_logged(&isobar, "/low-3 503 queue_full");
    clients.extend(join(&isobar, &[("/critical", "")]));
    assert_eq!(clients[1].receive().unwrap().status, 503, "the last of the low ones");
    is_logged(&isobar, "/low-2 503 displaced");
    let counted = |cause| {
        let labels = [("priority", "low"), ("cause", cause)];
        isobar.metrics().sum("isobar_upstream_refused_total", &labels)
    };
    assert_eq!(
        ["displaced", "queue_full", "queue_timeout"].map(counted),
        [Some(1.0), Some(1.0), Some(0.0)]
    );
    gate.open();
    assert_eq!(clients[0].receive().unwrap().status, 200);
    assert_eq!(clients[2].receive().unwrap().status, 200);
    assert_eq!(served(&origin), ["/first", "/critical", "/low-1"]);
    nothing_is_left(&isobar);
}

#[test]
fn by_deadline_where_asked_for() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (isobar, _first) = occupied(&origin, &gate, "{ timeout: 30s, order: deadline }");
    let requests = [
        ("/none", ""),
        ("/twenty", "x-request-timeout: 20s\r\n"),
        ("/ten", "grpc-timeout: 10S\r\n"),
        ("/fifteen", "x-request-timeout: 15000ms\r\ngrpc-timeout: 1H\r\n"),
        ("/nonsense", "x-request-timeout: soon\r\n"),
    ];
    let mut clients = join(&isobar, &requests);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    assert_eq!(
        served(&origin),
        ["/first", "/ten", "/fifteen", "/twenty", "/none", "/nonsense"]
    );
}

#[test]
fn who_cannot_be_answered_in_time_is_refused_and_not_served() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (isobar, mut first) = occupied(&origin, &gate, "{ timeout: 30s, order: deadline }");
    let start = Instant::now();
    let mut late = send(&isobar, "/late", "x-request-timeout: 200ms\r\n");
    assert_eq!(late.receive().unwrap().status, 503);
    assert!((Duration::from_millis(190)..Duration::from_secs(20)).contains(&start.elapsed()));
    is_logged(&isobar, "/late 503 too_late");
    gate.open();
    assert_eq!(first.receive().unwrap().status, 200);
    assert_eq!(served(&origin), ["/first"]);
    nothing_is_left(&isobar);
}

#[test]
fn a_listener_gives_its_routes_their_priority() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let server = format!("{{ address: \"{}\", max_connections: 1 }}", origin.address());
    let configuration = Configuration::default()
        .server(server)
        .listener("priority: low")
        .routes("- { match: { path: /normal }, upstream: web, priority: normal }\n- upstream: web")
        .upstream("queue: { timeout: 30s }");
    let isobar = binary!().run(&configuration);
    let _first = send(&isobar, "/first", "");
    eventually("the server is busy", || gate.waiting() == 1);
    let mut clients = join(&isobar, &[("/rest", ""), ("/normal", "")]);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    assert_eq!(served(&origin), ["/first", "/normal", "/rest"]);
}
