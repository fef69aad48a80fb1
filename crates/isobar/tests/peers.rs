//! Does traffic between well-known programs pass?

use std::io::{BufRead, BufReader};
use std::process::Command;

use isobar_testkit::{Configuration, Nginx, Origin, Process, Wrk, binary, curl, get, noise, wrk};

#[test]
fn curl_fetches_from_nginx() {
    let nginx = Nginx::start("gzip on; gzip_types *; gzip_min_length 1;");
    let isobar = binary!().run(&Configuration::to(&[nginx.address()]));
    for size in [0, 1, 1000, 100_000, 5_000_000] {
        let body = noise(size, 5);
        nginx.put("file", &body);
        let url = format!("http://{}/file", isobar.address());
        for flags in [
            ["--http1.1", "--compressed"],
            ["--http1.0", "--raw"],
            ["--http1.1", "--raw"],
        ] {
            let answer = curl(&[flags[0], flags[1], &url]);
            assert_eq!((answer.status, answer.exit), (200, 0), "{size} {flags:?}");
            assert!(answer.body == body, "{size} {flags:?}");
        }
        let head = curl(&["--head", &url]);
        assert_eq!((head.status, head.exit), (200, 0), "HEAD {size}");
        if size > 100 {
            let part = curl(&["--range", "10-19", &url]);
            assert_eq!((part.status, part.body.as_slice()), (206, &body[10..20]), "{size}");
        }
    }
    let missing = curl(&[&format!("http://{}/missing", isobar.address())]);
    assert_eq!(missing.status, 404);
    assert_eq!(
        curl(&["-X", "DELETE", &format!("http://{}/file", isobar.address())]).status,
        405
    );
}

#[test]
fn curl_uploads_to_nginx() {
    let nginx = Nginx::start("location / { dav_methods PUT DELETE; }");
    let isobar = binary!().run(&Configuration::to(&[nginx.address()]));
    let body = noise(3 << 20, 6);
    let file = isobar.directory().join("upload");
    std::fs::write(&file, &body).unwrap();
    let url = format!("http://{}/uploaded", isobar.address());
    for framing in ["x-framing: length", "transfer-encoding: chunked"] {
        let sent = curl(&["--upload-file", file.to_str().unwrap(), "-H", framing, &url]);
        assert!(
            matches!((sent.status, sent.exit), (201 | 204, 0)),
            "{framing}: {}",
            sent.heads
        );
        assert!(curl(&[&url]).body == body, "{framing}");
    }
    assert_eq!(curl(&["-X", "DELETE", &url]).status, 204);
}

#[test]
fn wrk_sees_no_error() {
    let servers = [Nginx::start(""), Nginx::start("")];
    for server in &servers {
        server.put("small", &noise(1024, 1));
        server.put("large", &noise(200_000, 2));
    }
    let isobar = binary!().run(&Configuration::to(&servers.each_ref().map(Nginx::address)));
    for (path, connections) in [("/small", 64), ("/large", 16)] {
        let report = wrk(
            isobar.address(),
            path,
            Wrk {
                connections,
                seconds: 2,
            },
        );
        assert!(report.requests > 100, "{path}: {report:?}");
        assert_eq!((report.refused, report.socket_errors), (0, 0), "{path}: {report:?}");
    }
    isobar.comes_to_rest();
}

#[test]
fn a_proxy_on_the_command_line_balances() {
    let origins = ["a", "b"].map(Origin::named);
    let [a, b] = origins.each_ref().map(|origin| origin.address().to_string());
    let mut command = binary!().command();
    command.args([
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &format!("{a},{b}"),
        "--balance",
        "round_robin",
    ]);
    let process = Process::spawn(&mut command).unwrap();
    let address = isobar_testkit::wait_for("it listens", || {
        let log = process.stderr();
        if !log.lines().any(|line| line.trim_end().ends_with("ready")) {
            return None;
        }
        log.split_once("listening on ")?
            .1
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    for _ in 0..10 {
        assert_eq!(get(address, "/").unwrap().status, 200);
    }
    assert_eq!(origins.each_ref().map(Origin::request_count), [5, 5]);
}

#[test]
fn curl_reuses_its_connection() {
    let origin = Origin::named("a");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let url = format!("http://{}/", isobar.address());
    let output = Command::new("curl")
        .args(["-sv", "--max-time", "10", &url, &url, &url])
        .output()
        .unwrap();
    let reused = BufReader::new(output.stderr.as_slice()).lines();
    let reused = reused
        .map_while(Result::ok)
        .filter(|line| line.contains("Re-using existing connection"))
        .count();
    assert_eq!(reused, 2, "{}", String::from_utf8_lossy(&output.stderr));
}
