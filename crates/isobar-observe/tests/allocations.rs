//! Counting an exchange and writing its line allocate nothing.

use std::time::Duration;

use isobar_observe::access::{Record, Template};
use isobar_observe::{Cause, RouteStats, ServerStats, WallTime};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const RECORD: Record<'_> = Record {
    time: WallTime(Duration::from_millis(971_186_136_123)),
    client: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    peer: std::net::SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 4711),
    connection: 42,
    listener: "web",
    route: Some("api"),
    upstream: Some("users"),
    server: Some("10.0.0.2:8080"),
    method: b"GET",
    host: b"api.example.com",
    target: b"/v1/users?id=7\"\xff",
    protocol: "HTTP/1.1",
    tls: None,
    referer: b"http://example.com/\xc3\xa9",
    user_agent: b"curl/8.0",
    forwarded_for: b"",
    request_id: b"abc-1",
    status: 200,
    picked: None,
    user: None,
    grpc_status: None,
    bytes_in: 0,
    bytes_out: 1_234,
    duration: Duration::from_micros(12_345),
    first_byte: Some(Duration::from_micros(11_000)),
    queue: Duration::ZERO,
    connect: None,
    attempts: 1,
    tried: b"a:connect_failed",
    tls_error: b"",
    limit: None,
    limit_shadow: None,
    limit_delay: Duration::ZERO,
    throttled: Duration::ZERO,
    limit_remaining: None,
    retry_refused: false,
    upgraded: false,
    cause: Cause::Complete,
    detail: "",
};

fn allocations(work: impl FnOnce()) -> u64 {
    let before = dhat::HeapStats::get().total_blocks;
    work();
    dhat::HeapStats::get().total_blocks - before
}

/// One test, for the profiler counts the whole process.
#[test]
fn the_request_path_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    assert_eq!(
        allocations(|| drop(std::hint::black_box(Box::new(1)))),
        1,
        "the allocator does not count"
    );

    let (route, server) = (RouteStats::default(), ServerStats::default());
    let counting = allocations(|| {
        route.exchanges.count(Cause::Complete);
        route.responses.count(200);
        route.duration.observe(Duration::from_millis(3));
        server.failures.count(Cause::ConnectFailed);
        server.first_byte.observe(Duration::from_millis(1));
    });
    assert_eq!(counting, 0, "counting an exchange");

    let mut line = Vec::with_capacity(4_096);
    let custom = Template::compile("{client} {peer} {target} {time} {duration_ms}").expect("a template");
    for template in [Template::json(), Template::combined(), custom] {
        let rendering = allocations(|| template.render(&RECORD, &mut line));
        assert_eq!(rendering, 0, "rendering with {template:?}");
    }
}
