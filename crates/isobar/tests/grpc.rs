//! Are gRPC calls carried as their clients and servers expect, whatever becomes of either?
//!
//! Client and servers are Python's grpcio.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Duration;

use isobar_testkit::serde_json::Value;
use isobar_testkit::{
    After, Authority, Certified, Client, ClosedPort, Configuration, GrpcClient, GrpcServer, Isobar, Origin, PATIENCE,
    Validity, answer_to, binary, eventually,
};

/// To these servers, which speak HTTP/2.
fn configuration(servers: &[&GrpcServer]) -> Configuration {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    Configuration::to(&addresses).upstream("http_version: http2\nbalance: round_robin")
}

fn start(servers: &[&GrpcServer]) -> Isobar {
    binary!().run(&configuration(servers))
}

/// Calls of each shape, with messages of 1 MiB, metadata and errors; reflection and health besides.
const SHAPES: &str = r#"
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

big = bytes(range(256)) * 4096
answer, call = unary().with_call(b"x", metadata=(("asked", "1"), ("asked-bin", b"\xff")))
equal(answer, b"x")
equal(call.code(), grpc.StatusCode.OK)
equal(at(call.initial_metadata())["began"], "a")
equal(at(call.trailing_metadata())["who"], "a")
equal(at(call.trailing_metadata())["who-bin"], b"\x00\xff")
equal(unary()(b""), b"")
equal(unary()(big) == big, True)

equal(list(count()(b"5 0")), [b"0", b"1", b"2", b"3", b"4"])
equal(list(count()(b"0 0")), [])
equal([len(message) for message in count("Big")(b"3")], [1 << 20] * 3)
equal(total()(iter([big, b"", big])), str(2 * len(big)).encode())
equal(total()(iter([])), b"0")

# Each message is asked for by the answer to the one before.
heard = threading.Semaphore(1)
def questions():
    for message in [b"a", b"", big, b"z"]:
        heard.acquire()
        yield message
answers = []
for message in chat()(questions()):
    answers.append(message)
    heard.release()
equal(answers == [b"a", b"", big, b"z"], True)

# Nothing but trailers, and trailers behind a beginning.
for method in ["Unary", "Late"]:
    error = fails(lambda: unary(method)(b"fail FAILED_PRECONDITION"))
    equal(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
    equal(error.details(), "100 % failed: na\u00efve")
    equal(at(error.trailing_metadata())["who"], "a")
error = fails(lambda: unary("Nothing")(b""))
equal(error.code(), grpc.StatusCode.UNIMPLEMENTED)
error = fails(lambda: list(chat()(iter([b"1", b"fail DATA_LOSS"]))))
equal(error.code(), grpc.StatusCode.DATA_LOSS)

health = health_pb2_grpc.HealthStub(channel)
equal(health.Check(health_pb2.HealthCheckRequest()).status, health_pb2.HealthCheckResponse.SERVING)
watch = health.Watch(health_pb2.HealthCheckRequest())
equal(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
watch.cancel()
reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
ask = reflection_pb2.ServerReflectionRequest(list_services="")
listed = [service.name for service in next(reflection.ServerReflectionInfo(iter([ask]))).list_services_response.service]
equal("grpc.health.v1.Health" in listed, True)
"#;

#[test]
fn every_shape_of_call_is_carried() {
    let server = GrpcServer::start("a");
    let isobar = start(&[&server]);
    GrpcClient::run(isobar.address(), None, SHAPES);
    isobar.comes_to_rest();
}

#[test]
fn every_shape_of_call_is_carried_over_tls() {
    let (authority, server) = (Authority::new(), GrpcServer::start("a"));
    let Certified { certificate, key, .. } = authority.certify("a.test", Validity::Now);
    let shown = format!(
        "tls: {{ certificates: [ {{ certificate: {}, key: {} }} ] }}",
        certificate.display(),
        key.display()
    );
    let isobar = binary!().run(&configuration(&[&server]).listener(shown));
    GrpcClient::run(isobar.address(), Some(&authority.file()), SHAPES);
    isobar.comes_to_rest();
}

#[test]
fn who_gives_up_is_heard_by_the_server() {
    let server = GrpcServer::start("a");
    let isobar = start(&[&server]);
    let script = r#"
call = unary("Hang").future(b"")
while not over.is_set():
    time.sleep(0.01)
call.cancel()
over.clear()
error = fails(lambda: unary("Hang")(b"", timeout=0.3))
equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
answers = count()(b"1000 0.05")
equal(next(answers), b"0")
answers.cancel()
"#;
    let client = GrpcClient::start(isobar.address(), None, script);
    server.says("called Hang", 1);
    client.stop();
    server.says("cancelled Hang", 1);
    client.finish();
    server.says("cancelled Hang", 2);
    isobar.comes_to_rest();
}

#[test]
fn a_server_that_dies_within_a_call_is_unavailable_and_the_next_call_goes_elsewhere() {
    let servers = ["a", "b"].map(GrpcServer::start);
    let isobar = start(&[&servers[0], &servers[1]]);
    let lethal = isobar.directory().join("lethal");
    let script = format!(
        r#"
answers = count("Die")(b"{}")
equal(next(answers), b"last words")
died = at(answers.initial_metadata())["began"]
print("began", flush=True)
error = fails(lambda: next(answers))
equal(error.code(), grpc.StatusCode.UNAVAILABLE)
equal(error.details().split(":")[0], "server_aborted")
for _ in range(6):
    _, call = unary().with_call(b"x")
    assert at(call.trailing_metadata())["who"] != died
"#,
        lethal.display()
    );
    let mut client = GrpcClient::start(isobar.address(), None, &script);
    client.says("began");
    fs::write(&lethal, "").unwrap();
    client.finish();
}

/// Calls of all shapes by eight threads until it is told to stop.
const BUSY: &str = r#"
failed, done, lock = [], [0], threading.Lock()
def work():
    while not over.is_set():
        try:
            equal(unary()(b"x" * 2000), b"x" * 2000)
            equal(list(count()(b"3 0.001")), [b"0", b"1", b"2"])
            equal(total()(iter([b"12", b"345"])), b"5")
            equal(list(chat()(iter([b"1", b"2"]))), [b"1", b"2"])
        except BaseException as error:
            failed.append(error)
            return
        with lock:
            done[0] += 1
            if done[0] % 50 == 0:
                print("calls", done[0] // 50, flush=True)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
# A signal is handled by this thread, which has to wake for that.
while any(thread.is_alive() for thread in threads):
    time.sleep(0.01)
assert not failed, failed
"#;

#[test]
fn connections_that_leave_lose_no_call() {
    // Between each of its connections' first and last words, calls of all shapes come and go.
    let server = GrpcServer::aging("a", 150);
    let isobar = start(&[&server]);
    let mut client = GrpcClient::start(isobar.address(), None, BUSY);
    client.says("calls 1");
    eventually("connections have left", || {
        isobar.metrics().sum("isobar_server_connections_opened_total", &[]) > Some(12.0)
    });
    client.stop();
    client.finish();
    isobar.comes_to_rest();
}

#[test]
fn many_calls_at_once_share_a_connection() {
    let server = GrpcServer::start("a");
    let isobar = start(&[&server]);
    let script = r#"
calls = [unary().future(str(index).encode() * 5000) for index in range(500)]
equal([call.result() for call in calls] == [str(index).encode() * 5000 for index in range(500)], True)
hanging = [unary("Hang").future(b"") for _ in range(40)]
while not over.is_set():
    time.sleep(0.01)
equal(unary()(b"in between"), b"in between")
for call in hanging:
    call.cancel()
"#;
    let client = GrpcClient::start(isobar.address(), None, script);
    server.says("called Hang", 40);
    let connections = isobar.metrics().sum("isobar_listener_connections", &[]);
    assert_eq!(connections, Some(1.0));
    client.stop();
    client.finish();
    server.says("cancelled Hang", 40);
    isobar.comes_to_rest();
}

#[test]
fn isobars_own_errors_are_told_in_words_of_grpc() {
    let (server, nobody) = (GrpcServer::start("a"), ClosedPort::reserve().unwrap());
    let configuration = Configuration::to(&[server.address()])
        .upstream("http_version: http2")
        .listener("limits: { max_body_bytes: 1KiB }")
        .top("access_log: { path: access.log, format: json }")
        .routes(
            "- match: { path: /test.Calls/* }\n  upstream: web\n- match: { path: /nobody.Here/* }\n  upstream: nobody",
        )
        .another_upstream("nobody", nobody.address());
    let isobar = binary!().run(&configuration);
    let script = r#"
def told(call, code, cause):
    error = fails(call)
    equal((error.code(), error.details().split(":")[0]), (code, cause))
    assert "  " not in error.details() and error.details().endswith("."), error.details()
told(lambda: channel.unary_unary("/else.Where/Who")(b""), grpc.StatusCode.UNIMPLEMENTED, "no_route")
told(lambda: channel.unary_unary("/nobody.Here/Who")(b""), grpc.StatusCode.UNAVAILABLE, "connect_failed")
told(lambda: unary()(b"x" * 5000), grpc.StatusCode.RESOURCE_EXHAUSTED, "client_body_too_large")
# Within a call: a message too many.
answers = chat()(iter([b"x" * 500, b"y" * 5000]))
told(lambda: list(answers), grpc.StatusCode.RESOURCE_EXHAUSTED, "client_body_too_large")
equal(unary()(b"x" * 500), b"x" * 500)
"#;
    GrpcClient::run(isobar.address(), None, script);
    let lines = isobar.access_lines(5);
    let statuses: Vec<_> = lines.iter().map(|line| line["grpc_status"].as_str().unwrap()).collect();
    let expected = [
        "unimplemented",
        "unavailable",
        "resource_exhausted",
        "resource_exhausted",
        "ok",
    ];
    assert_eq!(statuses, expected);
    // What is nothing but trailers has no body, whoever reads it; other requests are answered as ever.
    let call = |content_type: &str| {
        let head = "POST /else.Where/Who HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n";
        let head = format!("{head}Content-Type: {content_type}\r\n\r\n");
        answer_to(isobar.address(), head).unwrap().response.unwrap()
    };
    let answer = call("application/grpc+proto");
    let field = |name| answer.fields.value(name).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(
        (field("content-type"), field("grpc-status")),
        ("application/grpc", "12")
    );
    assert!(field("grpc-message").starts_with("no_route: "), "{answer:?}");
    for other in ["application/grpc-web", "text/plain"] {
        assert_eq!(call(other).status, 404, "{other}");
    }
}

#[test]
fn statuses_are_counted_by_route_and_by_server() {
    let server = GrpcServer::start("a");
    let isobar = start(&[&server]);
    let none = |name| isobar.metrics().values(name, &[]).is_empty();
    assert!(none("isobar_route_grpc_calls_total") && none("isobar_server_grpc_calls_total"));
    let script = r#"
unary()(b"x")
list(count()(b"3 0"))
for method in ["Unary", "Late", "Late"]:
    fails(lambda: unary(method)(b"fail NOT_FOUND"))
answers = count()(b"1000 0.05")
next(answers)
answers.cancel()
"#;
    GrpcClient::run(isobar.address(), None, script);
    server.says("called Count", 2);
    isobar.comes_to_rest();
    let counted = |name, status| isobar.metrics().sum(name, &[("grpc_status", status)]);
    for (status, of_the_route, of_the_server) in [
        ("ok", 2.0, 2.0),
        ("not_found", 3.0, 3.0),
        ("cancelled", 1.0, 0.0),
        ("missing", 0.0, 0.0),
    ] {
        eventually(status, || {
            counted("isobar_route_grpc_calls_total", status) == Some(of_the_route)
        });
        assert_eq!(
            counted("isobar_server_grpc_calls_total", status),
            Some(of_the_server),
            "{status}"
        );
    }
}

#[test]
fn servers_are_ejected_for_what_they_are_to_blame_for() {
    let servers = ["a", "b"].map(GrpcServer::start);
    let rules =
        "retry: { attempts: 0 }\nslow_start: none\noutlier_detection: { consecutive_errors: 3, min_servers: 2 }";
    let isobar = binary!().run(&configuration(&[&servers[0], &servers[1]]).upstream(rules));
    let ejected = || isobar.metrics().sum("isobar_server_ejected", &[]);
    let fail = |status: &str, method: &str| {
        let script = format!(
            "for _ in range(20):\n    try:\n        unary('{method}')(b'fail {status} a')\n    except grpc.RpcError:\n        pass"
        );
        GrpcClient::run(isobar.address(), None, &script);
    };
    // What a client could bring about by itself says nothing of a server.
    for status in ["NOT_FOUND", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"] {
        fail(status, "Unary");
        assert_eq!(ejected(), Some(0.0), "{status}");
    }
    fail("UNAVAILABLE", "Late");
    eventually("a server is out", || ejected() == Some(1.0));
}

#[test]
fn streams_may_be_silent_for_longer_than_requests() {
    let server = GrpcServer::start("a");
    let configuration = configuration(&[&server])
        .upstream("timeouts: { read: 200ms, idle: 5s }")
        .listener("timeouts: { body: 200ms }");
    let isobar = binary!().run(&configuration);
    let script = r#"
equal(list(count()(b"3 0.6")), [b"0", b"1", b"2"])
def slowly():
    for message in [b"a", b"b"]:
        time.sleep(0.6)
        yield message
equal(list(chat()(slowly())), [b"a", b"b"])
equal(total()(slowly()), b"2")
"#;
    GrpcClient::run(isobar.address(), None, script);
}

#[test]
fn streams_end_when_nothing_moves_either_way() {
    let server = GrpcServer::start("a");
    let isobar = binary!().run(
        &configuration(&[&server])
            .upstream("timeouts: { idle: 500ms }")
            .top("access_log: { path: access.log, format: json }"),
    );
    let script = r#"
error = fails(lambda: list(count()(b"2 20")))
equal((error.code(), error.details().split(":")[0]), (grpc.StatusCode.UNAVAILABLE, "idle_timeout"))
error = fails(lambda: unary("Hang")(b""))
equal((error.code(), error.details().split(":")[0]), (grpc.StatusCode.UNAVAILABLE, "idle_timeout"))
# One side's messages keep the other side's silence from being too long.
def often():
    for _ in range(8):
        time.sleep(0.2)
        yield b"x"
equal(total()(often()), b"8")
"#;
    GrpcClient::run(isobar.address(), None, script);
    server.says("cancelled Hang", 1);
    let lines = isobar.access_lines(3);
    let causes: Vec<_> = lines.iter().map(|line| line["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["idle_timeout", "idle_timeout", "complete"]);
}

/// Of any protocol: once the answer has begun, the request may take as long as a stream does.
#[test]
fn a_request_that_goes_on_while_its_answer_does_is_a_stream() {
    let origin = Origin::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        let body = exchange.body()?;
        exchange.send(format!("{:x}\r\n", body.len()))?;
        exchange.send(body)?;
        exchange.send("\r\n0\r\n\r\n")?;
        Ok(After::Keep)
    });
    let run = |idle: &str| {
        let timeouts = format!("timeouts: {{ read: 200ms, idle: {idle} }}");
        let configuration = Configuration::to(&[origin.address()]).upstream(timeouts);
        binary!().run(&configuration.listener("timeouts: { body: 200ms }"))
    };
    let begin = |address: SocketAddr| {
        let mut client = Client::connect(address).unwrap();
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            .unwrap();
        let response = client.receive_head().unwrap();
        assert_eq!(client.receive_bytes(10).unwrap(), b"5\r\nfirst\r\n");
        (client, response)
    };
    let patient = run("10s");
    let (mut client, mut response) = begin(patient.address());
    // Longer than a body's deadline and the ticks of its wheel.
    assert!(is_silent(&client, 500));
    client.send("1\r\ny\r\n0\r\n\r\n").unwrap();
    client.receive_body(&mut response).unwrap();
    assert_eq!(response.text(), "xy");

    let hasty = run("300ms");
    let (mut client, mut response) = begin(hasty.address());
    assert!(client.receive_body(&mut response).is_err());
}

/// Whether nothing comes for so long, not even the end.
fn is_silent(client: &Client, ms: u64) -> bool {
    let stream = client.stream();
    stream.set_read_timeout(Some(Duration::from_millis(ms))).unwrap();
    let mut stream = stream;
    let silent = stream
        .read(&mut [0])
        .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    silent
}

/// A call in the form of HTTP/1, whose client leaves its deadline to others.
fn raw_call(isobar: &Isobar, method: &str, timeout: &str, message: &str) -> Client {
    let mut client = Client::connect(isobar.address()).unwrap();
    let head = format!(
        "POST /test.Calls/{method} HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTE: trailers\r\nConnection: TE\r\n\
         grpc-timeout: {timeout}\r\nContent-Length: {}\r\n\r\n",
        5 + message.len()
    );
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[0], &length[..], message.as_bytes()].concat();
    client.send([head.as_bytes(), &frame].concat()).unwrap();
    client
}

#[test]
fn the_clients_deadline_is_kept_for_it() {
    let server = GrpcServer::start("a");
    // The server would keep it as well, if it was told.
    let isobar = binary!().run(
        &Configuration::to(&[server.address()])
            .upstream("http_version: http2")
            .routes("- { upstream: web, request_headers: { remove: [grpc-timeout] } }")
            .top("access_log: { path: access.log, format: json }"),
    );
    let answer = raw_call(&isobar, "Hang", "300m", "").receive().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields.value("grpc-status"), Some("4"), "{answer:?}");
    server.says("cancelled Hang", 1);
    // Within an answer, whether it stands still or not.
    for message in ["2 20", "10000 0.01"] {
        let answer = raw_call(&isobar, "Count", "500000u", message).receive().unwrap();
        assert!(!answer.body.is_empty());
        assert_eq!(answer.trailers.value("grpc-status"), Some("4"), "{answer:?}");
        let told = answer.trailers.value("grpc-message").unwrap();
        assert!(told.starts_with("client_deadline: "), "{told}");
    }
    // One that has passed reaches no server, and one that makes no sense is none.
    let calls = server.said("called");
    let answer = raw_call(&isobar, "Unary", "0S", "x").receive().unwrap();
    assert_eq!(answer.fields.value("grpc-status"), Some("4"), "{answer:?}");
    assert_eq!(server.said("called"), calls);
    let answer = raw_call(&isobar, "Unary", "soon", "x").receive().unwrap();
    assert_eq!(answer.trailers.value("grpc-status"), Some("0"), "{answer:?}");
    // Each worker writes its own lines, in whichever order.
    let lines = isobar.access_lines(5);
    let late = |line: &&Value| line["cause"] == "client_deadline" && line["fault"] == "client";
    let late = lines.iter().filter(late);
    assert_eq!(
        late.filter(|line| line["grpc_status"] == "deadline_exceeded").count(),
        4
    );
    assert_eq!(lines.iter().filter(|line| line["grpc_status"] == "ok").count(), 1);
}

#[test]
fn servers_are_told_of_the_time_that_is_left() {
    let server = GrpcServer::start("a");
    let configuration = Configuration::default()
        .server(format!("{{ address: \"{}\", max_connections: 1 }}", server.address()))
        .upstream("http_version: http2");
    let isobar = binary!().run(&configuration);
    let script = r#"
equal(unary("Left")(b""), b"none")
left = float(unary("Left")(b"", timeout=20))
assert 19 < left < 20.5, left
holds = unary("Hang").future(b"", timeout=1.5)
began = time.monotonic()
left = float(unary("Left")(b"", timeout=20))
waited = time.monotonic() - began
assert waited > 1, waited
assert 15 < left < 19.5, (left, waited)
"#;
    GrpcClient::run(isobar.address(), None, script);
}

/// Asks server `a` to fail, among two; how often each was called, by whom calls were answered, and what they came to.
fn retried(lines: &str, script: &str) -> (Isobar, [usize; 2]) {
    let servers = ["a", "b"].map(GrpcServer::start);
    let isobar = binary!().run(
        &configuration(&[&servers[0], &servers[1]])
            .upstream(lines)
            .top("access_log: { path: access.log, format: json }"),
    );
    GrpcClient::run(isobar.address(), None, script);
    let failed = servers.each_ref().map(|server| server.said("failed"));
    (isobar, failed)
}

#[test]
fn calls_are_sent_again_for_the_statuses_that_are_written_down() {
    let script = r#"
for _ in range(6):
    equal(unary()(b"fail UNAVAILABLE a"), b"fail UNAVAILABLE a")
    equal(total()(iter([b"12", b"345"])), b"5")
"#;
    let (isobar, failed) = retried("retry: { on: [unavailable], budget: none }", script);
    assert!(failed[0] > 0, "{failed:?}");
    let retries = [("reason", "status")];
    let retries = isobar.metrics().sum("isobar_upstream_retries_total", &retries).unwrap();
    assert!(
        (retries - f64::from(u32::try_from(failed[0]).unwrap())).abs() < 0.5,
        "{retries}"
    );
    let tried = isobar
        .access_lines(12)
        .iter()
        .filter(|line| {
            let tried = line["tried"].as_str().unwrap_or_default();
            tried.ends_with(":unavailable") && line["grpc_status"] == "ok" && line["attempts"] == 2
        })
        .count();
    assert_eq!(tried, failed[0]);
}

#[test]
fn calls_are_not_sent_again_for_other_statuses_nor_behind_the_beginning_of_an_answer() {
    let check = |lines: &str, status: &str, method: &str| {
        let script = format!(
            r#"
codes = []
for _ in range(4):
    try:
        unary("{method}")(b"fail {status} a")
    except grpc.RpcError as error:
        codes.append(error.code().name)
equal(codes, ["{status}"] * 2)
"#
        );
        let (_, failed) = retried(lines, &script);
        assert_eq!(failed[0], 2, "{lines} {status} {method}");
    };
    let with = |on: &str| format!("retry: {{ on: {on}, budget: none }}\noutlier_detection: none\nslow_start: none");
    check(&with("[closed, 5xx]"), "NOT_FOUND", "Unary");
    check(&with("[unavailable]"), "INVALID_ARGUMENT", "Unary");
    check(&with("[not_found]"), "NOT_FOUND", "Late");
}

#[test]
fn servers_say_whether_their_calls_may_be_sent_again() {
    let check = |pushback: &str, expected: &str| {
        let script = format!(
            r#"
codes = []
for _ in range(4):
    try:
        unary()(b"fail UNAVAILABLE a {pushback}")
    except grpc.RpcError as error:
        codes.append(error.code().name)
equal(codes, {expected})
"#
        );
        let lines = "retry: { on: [unavailable], budget: none }\noutlier_detection: none\nslow_start: none";
        retried(lines, &script);
    };
    check("10", "[]");
    check("-1", "['UNAVAILABLE'] * 2");
}

#[test]
fn a_call_that_fails_everywhere_ends_as_the_last_server_says() {
    let script = r#"
error = fails(lambda: unary()(b"fail RESOURCE_EXHAUSTED"))
equal((error.code(), error.details()), (grpc.StatusCode.RESOURCE_EXHAUSTED, "100 % failed: na\u00efve"))
"#;
    let (_, failed) = retried("retry: { on: resource_exhausted, attempts: 5 }", script);
    assert_eq!(failed, [1, 1]);
}
