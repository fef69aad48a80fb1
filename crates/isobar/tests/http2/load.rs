//! Does much at once come through, also while the configuration changes and when it ends?

use std::fs;
use std::time::Duration;

use isobar_testkit::http2::{Http2Origin, Http2Settings, Nghttpd, h2load, nghttp};
use isobar_testkit::{Configuration, Isobar, Nginx, Signal, binary, curl, eventually, noise};

fn url(isobar: &Isobar, path: &str) -> String {
    format!("http://{}{path}", isobar.address())
}

#[test]
fn nothing_fails_between_well_known_programs() {
    let (nginx, nghttpd) = (Nginx::start("large_client_header_buffers 8 64k;"), Nghttpd::start());
    let body = noise(100_000, 3);
    nginx.put("file", &body);
    nghttpd.put("file", &body);
    for (version, server) in [("http1", nginx.address()), ("http2", nghttpd.address())] {
        let isobar = binary!().run(&Configuration::to(&[server]).upstream(format!("http_version: {version}")));
        for client in ["--http1.1", "--http2-prior-knowledge"] {
            let answer = curl(&[client, &url(&isobar, "/file")]);
            assert!(
                answer.status == 200 && answer.body == body,
                "{client} to {version}: {}",
                answer.heads
            );
            assert_eq!(
                curl(&[client, &url(&isobar, "/missing")]).status,
                404,
                "{client} to {version}"
            );
        }
        let said = nghttp(&["-ns", "-m3", &url(&isobar, "/file")]);
        assert_eq!(said.matches("  200  ").count(), 3, "{said}");
        // Windows that begin with nothing, padding, and a head in pieces.
        let said = nghttp(&["-ns", "-w16", "-b200", "--continuation", &url(&isobar, "/file")]);
        assert!(said.contains("  200  "), "{said}");
        for (requests, more) in [("4000", &["-c8", "-m32"][..]), ("500", &["-c4", "-m100", "-w14"])] {
            let report = h2load(&[&["-n", requests], more, &[&url(&isobar, "/file")]].concat());
            assert_eq!(
                (report.succeeded.to_string().as_str(), report.failed),
                (requests, 0),
                "{version} {more:?}"
            );
        }
        isobar.comes_to_rest();
    }
}

#[test]
fn uploads_come_through() {
    let nghttpd = Nghttpd::start();
    let origin = Http2Origin::start(Http2Settings::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), noise(50_000, 1)).unwrap();
    for server in [nghttpd.address(), origin.address()] {
        let isobar = binary!().run(&Configuration::to(&[server]).upstream("http_version: http2"));
        let data = format!("--data={}", file.path().display());
        let report = h2load(&["-n400", "-c4", "-m16", &data, &url(&isobar, "/echo")]);
        assert_eq!((report.succeeded, report.failed), (400, 0), "{report:?}");
        isobar.comes_to_rest();
    }
}

#[test]
fn reloads_lose_nothing() {
    let origin = Http2Origin::start(Http2Settings::default());
    let configuration = Configuration::to(&[origin.address()]).upstream("http_version: http2");
    let isobar = binary!().run(&configuration);
    let target = url(&isobar, "/bytes/2000");
    let load = std::thread::spawn(move || h2load(&["-D5", "-c8", "-m8", &target]));
    for number in 0..20 {
        let changed = configuration
            .clone()
            .listener(format!("limits: {{ max_headers: {} }}", 100 + number));
        let log = isobar.reload(&changed.yaml());
        assert!(log.contains("configuration applied"), "{log}");
    }
    let report = load.join().unwrap();
    assert!(report.succeeded > 100, "{report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    isobar.comes_to_rest();
}

/// A client that is told to leave has all it asked for by then answered, and asks for the rest elsewhere.
#[test]
fn a_drain_answers_what_was_asked() {
    let origin = Http2Origin::start(Http2Settings::default());
    let configuration = Configuration::to(&[origin.address()]).upstream("http_version: http2");
    let mut isobar = binary!().run(&configuration);
    let mut peers: Vec<_> = (0..4)
        .map(|_| {
            let mut peer = isobar_testkit::http2::FramePeer::connect(isobar.address(), &[]).unwrap();
            for number in 0..16 {
                peer.get(2 * number + 1, "/held").unwrap();
            }
            peer
        })
        .collect();
    eventually("all are there", || origin.busy() == 64);
    isobar.signal(Signal::TERM);
    isobar.wait_for_log("drain");
    origin.release();
    for peer in &mut peers {
        let (mut answered, mut told) = (0, false);
        while let Some(frame) = peer.next_of_note().unwrap() {
            match frame.kind {
                isobar_testkit::http2::kind::HEADERS => answered += 1,
                isobar_testkit::http2::kind::GOAWAY => told |= frame.number(4) == 0,
                _ => {}
            }
        }
        assert_eq!((answered, told), (16, true));
    }
    assert!(isobar.ends(Duration::from_secs(10)).success());
}

/// Clients that are killed at any time leave nothing behind.
#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let origin = Http2Origin::start(Http2Settings::default());
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream("http_version: http2"));
    assert_eq!(h2load(&["-n200", "-c8", "-m8", &url(&isobar, "/")]).failed, 0);
    eventually("all are closed", || {
        isobar.metrics().sum("isobar_listener_connections", &[]) == Some(0.0)
    });
    let before = isobar.process().descriptors().unwrap();
    for round in 0..12 {
        let target = url(
            &isobar,
            if round % 2 == 0 {
                "/stream/3000000"
            } else {
                "/bytes/100"
            },
        );
        let mut command = std::process::Command::new("h2load");
        command.args(["-D20", "-c8", "-m16", &target]);
        let process = isobar_testkit::Process::spawn(&mut command).unwrap();
        let asked = origin.seen().len();
        eventually("it is at work", || origin.seen().len() > asked + 20);
        drop(process);
    }
    isobar.comes_to_rest();
    eventually("all are closed", || {
        isobar.metrics().sum("isobar_listener_connections", &[]) == Some(0.0)
    });
    eventually("no descriptor is left", || {
        isobar.process().descriptors().unwrap() <= before + 2
    });
    eventually("the server is at rest", || origin.busy() == 0);
}
