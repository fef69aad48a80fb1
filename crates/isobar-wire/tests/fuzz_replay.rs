//! Does everything the fuzzers ever found still hold? Replays their corpora.

use std::path::Path;

#[path = "../../../fuzz/src/checks.rs"]
mod checks;
#[path = "../../../fuzz/src/flows.rs"]
mod flows;
#[path = "../../../fuzz/src/hpack.rs"]
mod hpack;
#[path = "../../../fuzz/src/http2.rs"]
mod http2;
#[path = "../../../fuzz/src/layer4.rs"]
mod layer4;

/// Runs a check on every file of its corpus; the name of the file under way is printed when it fails.
fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(
        files.len() >= 10,
        "the corpus of {target} is missing from {}",
        corpus.display()
    );
    for file in files {
        let input = std::fs::read(&file).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| check(&input)) {
            panic!("{} fails: {:?}", file.display(), panic.downcast_ref::<String>());
        }
    }
}

#[test]
fn request_heads() {
    replay("request_head", checks::request_head);
}

#[test]
fn response_heads() {
    replay("response_head", checks::response_head);
}

#[test]
fn bodies() {
    replay("body", checks::body);
}

#[test]
fn exchanges() {
    replay("exchange", checks::exchange);
}

#[test]
fn answers_of_the_health_protocol() {
    replay("grpc_health", checks::grpc_health);
}

#[test]
fn text_of_grpc_web() {
    replay("grpc_web", checks::grpc_web);
}

#[test]
fn load_reports() {
    replay("load_report", checks::load_report);
}

#[test]
fn lines_of_the_proxy_protocol() {
    replay("proxy_v1", layer4::proxy_v1);
}

#[test]
fn binary_headers_of_the_proxy_protocol() {
    replay("proxy_v2", layer4::proxy_v2);
}

#[test]
fn client_hellos() {
    replay("client_hello", layer4::client_hello);
}

#[test]
fn clients_of_a_socks_server() {
    replay("socks5", layer4::socks5);
}

#[test]
fn flows_of_udp() {
    replay("udp_flows", flows::flows);
}

#[test]
fn connections_of_http2() {
    replay("http2_connection", http2::http2_connection);
}

#[test]
fn header_blocks() {
    replay("hpack", hpack::hpack);
}
