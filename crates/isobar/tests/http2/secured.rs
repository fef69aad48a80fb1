//! What becomes of requests that share a connection to a server over TLS, or would?

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use isobar_testkit::http2::{FramePeer, flags, headers, kind};
use isobar_testkit::{
    Authority, Certified, ClosedPort, Configuration, Nginx, Origin, TlsConduct, TlsServer, Validity, binary, get,
    wait_for,
};

use crate::scripted::counted;

/// How many requests come at once.
const MANY: usize = 16;

/// Sends many requests at once; how often each status came.
fn at_once(isobar: &isobar_testkit::Isobar) -> Vec<u16> {
    let mut peer = FramePeer::connect(isobar.address(), &[]).unwrap();
    let head = headers(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]);
    let streams = (0..MANY).map(|number| u32::try_from(2 * number + 1).unwrap());
    let frames: Vec<u8> = streams
        .flat_map(|stream| FramePeer::bytes(kind::HEADERS, flags::WHOLE, stream, &head))
        .collect();
    peer.send(frames).unwrap();
    (0..MANY)
        .map(|_| peer.next_status().unwrap().unwrap_or_default())
        .collect()
}

/// nginx that answers over TLS, with these words behind the address it listens on.
fn nginx(certified: &Certified, words: &str) -> (Nginx, ClosedPort) {
    let port = ClosedPort::reserve().unwrap();
    let nginx = Nginx::start(&format!(
        "listen {} ssl {words}; ssl_certificate {}; ssl_certificate_key {}; location / {{ return 200 fine; }}",
        port.address(),
        certified.certificate.display(),
        certified.key.display(),
    ));
    (nginx, port)
}

/// Passes bytes on, both ways.
fn pass_on(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        // Whichever side breaks, both end.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (client, server);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    back.join().map_err(|_| io::ErrorKind::Other.into())
}

/// A server may speak HTTP/2 today and HTTP/1.1 alone tomorrow. Then nobody waits for a connection that would not be shared.
#[test]
fn connections_that_turn_out_not_to_be_shared_are_made_side_by_side() {
    const TOGETHER: usize = 8;
    let authority = Authority::new();
    let certified = authority.certify("127.0.0.1", Validity::Now);
    let (_new, new) = nginx(&certified, "http2");
    let (_old, old) = nginx(&certified, "");
    let (new, old) = (new.address(), old.address());
    let (connections, here) = (AtomicUsize::new(0), Arc::new((Mutex::new(0), Condvar::new())));
    let switch = Origin::raw(move |client| {
        let number = connections.fetch_add(1, Ordering::SeqCst);
        if number > 1 {
            // Each needs the others to get on.
            let (count, changed) = &*here;
            let mut count = count.lock().unwrap();
            *count += 1;
            changed.notify_all();
            drop(changed.wait_timeout_while(count, Duration::from_secs(10), |count| *count < TOGETHER));
        }
        pass_on(client, TcpStream::connect(if number == 0 { new } else { old })?)
    });
    let upstream = format!(
        "http_version: auto\ntls: {{ ca: {} }}\ntimeouts: {{ connect: 4s }}\nretry: {{ attempts: 0 }}",
        authority.file().display()
    );
    let isobar = binary!()
        .workers(1)
        .run(&Configuration::to(&[switch.address()]).upstream(upstream));
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "fine");
    switch.close_connections();
    assert_eq!(at_once(&isobar), [200; MANY]);
    assert!(switch.connections_accepted() > TOGETHER);
}

/// In TLS 1.3 a server says what it thinks of this side's certificate when the handshake is over for this side.
#[test]
fn a_refused_certificate_is_told_once_for_each_connection() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = authority.certify("127.0.0.1", Validity::Now);
    let python = TlsServer::start(&server, TlsConduct::Answers, Some(&clients.file()));
    let configuration = Configuration::to(&[python.address()])
        .upstream(format!(
            "http_version: http2\ntls: {{ ca: {} }}",
            authority.file().display()
        ))
        .top("access_log: { path: access.log, format: \"{cause} {tls_error}\" }");
    let isobar = binary!().workers(1).run(&configuration);
    assert_eq!(at_once(&isobar), [502; MANY]);
    let refused = isobar
        .metrics()
        .sum("isobar_server_tls_failures_total", &[("reason", "refused")])
        .unwrap();
    assert_eq!(refused, counted(&isobar, "server_tls_handshakes_total"));
    assert!(refused >= 1.0 && refused <= MANY as f64, "{refused}");
    let log = wait_for("the log is written", || {
        let log = fs::read_to_string(isobar.directory().join("access.log")).ok()?;
        (log.lines().count() == MANY).then_some(log)
    });
    for line in log.lines() {
        assert!(
            line.starts_with("tls_failed") && line.contains("CertificateRequired"),
            "{line}"
        );
    }
}
