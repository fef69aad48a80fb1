//! Do the framing rules hold as varnishtest's own client and server see them?
//!
//! Each `.vtc` script beside this file is one rule; it is given the proxy's address and the port its server listens on.

use std::path::Path;

use isobar_testkit::{ClosedPort, Configuration, binary, varnishtest};

#[track_caller]
fn passes(script: &str) {
    let server = ClosedPort::reserve().unwrap();
    let configuration = Configuration::to(&[server.address()])
        .upstream("retry: { attempts: 0 }\ntimeouts: { connect: 2s, read: 1s }")
        .listener("timeouts: { head: 1s, body: 1s }\nlimits: { max_head_bytes: 8KiB, max_headers: 50 }");
    // The scripts' server takes one connection, and connections to servers are kept by worker.
    let isobar = binary!().workers(1).run(&configuration);
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vtc")
        .join(script)
        .with_extension("vtc");
    let (proxy, server) = (isobar.address().to_string(), server.address().to_string());
    if let Err(log) = varnishtest(&path, &[("proxy", &proxy), ("server", &server)]) {
        let end = log.lines().rev().take(60).collect::<Vec<_>>();
        panic!("{script}:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
}

macro_rules! scripts {
    ($($script:ident)*) => {
        $(
            #[test]
            fn $script() {
                passes(stringify!($script));
            }
        )*

        #[test]
        fn every_script_is_run() {
            let run = [$(stringify!($script)),*];
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vtc");
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().and_then(|name| name.to_str()).unwrap();
                assert!(run.contains(&name), "{name} is not in the list");
            }
        }
    };
}

scripts! {
    chunked_answer
    chunked_request
    content_length_conflict
    content_length_repeated
    continue_expected
    early_hints
    head_and_no_body
    http_1_0_client
    keep_alive
    malformed_answer
    obsolete_folding
    pipelining
    transfer_encoding_and_length
    transfer_encoding_unknown
    until_close
    whitespace_before_colon
}
