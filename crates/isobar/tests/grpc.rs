//! Are gRPC calls carried as their clients and servers expect, whatever becomes of either?
//!
//! Client and servers are Python's grpcio.

use std::fs;

use isobar_testkit::{
    Authority, Certified, Configuration, GrpcClient, GrpcServer, Isobar, Signal, Validity, binary, eventually,
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
fn a_server_that_dies_within_a_call_is_told_of_and_the_next_call_goes_elsewhere() {
    let servers = ["a", "b"].map(GrpcServer::start);
    let isobar = start(&[&servers[0], &servers[1]]);
    let lethal = isobar.directory().join("lethal");
    let script = format!(
        r#"
answers = count("Die")(b"{}")
equal(next(answers), b"last words")
died = at(answers.initial_metadata())["began"]
print("began", flush=True)
fails(lambda: next(answers))
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
for thread in threads:
    thread.join()
assert not failed, failed
"#;

#[test]
fn a_server_that_leaves_loses_no_call() {
    let [mut leaving, staying] = ["a", "b"].map(GrpcServer::start);
    let isobar = start(&[&leaving, &staying]);
    let mut client = GrpcClient::start(isobar.address(), None, BUSY);
    client.says("calls 1");
    assert!(leaving.said("called") > 0);
    leaving.signal(Signal::TERM);
    assert!(leaving.ends().success());
    let before = staying.said("called");
    eventually("the calls go on", || staying.said("called") > before + 100);
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
