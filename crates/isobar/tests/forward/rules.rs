//! Is a client kept from where it may not go, however it asks, and told why?

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};

use isobar_testkit::serde_json::Value;
use isobar_testkit::{ClosedPort, FullPort, Origin, Process, Signal, curl, eventually, rest, wait_for};

use crate::{HERE, ask, connect, line_with, run, socks, yaml};

/// NSD, serving a zone of its own.
struct Nsd {
    _process: Process,
    _directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Nsd {
    fn start(records: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let zone = format!("$ORIGIN test.\n$TTL 60\n@ SOA ns me 1 60 60 60 3\n@ NS ns\nns A 127.0.0.1\n{records}\n");
        fs::write(file("zone"), zone).unwrap();
        let address = ClosedPort::reserve().unwrap().address();
        let configuration = format!(
            "server:\n  ip-address: {}@{}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: {dir}\n  pidfile: \"\"\n  \
             database: \"\"\n  zonelistfile: {dir}/list\n  xfrdfile: {dir}/xfrd\n  xfrdir: {dir}\n  server-count: 1\n\
             remote-control:\n  control-enable: no\nzone:\n  name: test\n  zonefile: zone\n",
            address.ip(),
            address.port(),
            dir = directory.path().display()
        );
        fs::write(file("nsd.conf"), configuration).unwrap();
        let process = Process::spawn(Command::new("/usr/sbin/nsd").args(["-d", "-c", &file("nsd.conf")]));
        let nsd = Self {
            _process: process.expect("nsd is installed"),
            _directory: directory,
            address,
        };
        wait_for("nsd answers", || nsd.knows_its_zone().then_some(()));
        nsd
    }

    fn knows_its_zone(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_millis(50)))
            .unwrap();
        // A question for the address of `ns.test`.
        let question = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x02ns\x04test\0\0\x01\0\x01";
        let mut answer = [0; 512];
        socket.send_to(question, self.address).is_ok()
            && socket
                .recv(&mut answer)
                .is_ok_and(|count| count > question.len() && answer[3] & 15 == 0)
    }

    fn names(&self) -> String {
        format!("names: {{ servers: \"{}\" }}", self.address)
    }
}

/// A name whose address is somewhere else than its owner says leads nowhere: the address that is connected to is judged.
#[test]
fn names_that_stand_for_addresses_within_are_denied() {
    let nsd = Nsd::start(
        "evil A 127.0.0.1\nmapped AAAA ::ffff:127.0.0.1\nsix AAAA ::1\nprivate A 10.0.0.1\nmetadata A 169.254.169.254\n\
         nat AAAA 64:ff9b::7f00:1\nalias CNAME evil\nboth A 10.0.0.1\nboth A 127.0.0.1\nin A 127.0.0.1",
    );
    let origin = Origin::named("inside");
    let port = origin.address().port();
    let isobar = run(&format!(
        "{}\nrules: [{{ name: in, action: allow, domains: in.test, addresses: 127.0.0.0/8 }}]",
        nsd.names()
    ));
    let proxy = isobar.address();
    let special =
        |purpose: &str| format!("its address is for a special purpose ({purpose}), and no rule names that range");
    let check = |host: &str, status: u16, why: &str| {
        let target = format!("{host}:{port}");
        for request in [
            format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"),
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"),
        ] {
            let answer = ask(proxy, &request);
            let text = answer.text();
            assert_eq!(answer.status, status, "{request}: {text}");
            assert!(text.contains(&format!("reason: {why}\n")), "{request}: {text}");
            assert!(
                text.contains(&format!("destination: {}\n", target.to_lowercase())),
                "{request}: {text}"
            );
        }
    };
    check("evil.test", 403, &special("loopback"));
    check("EVIL.test", 403, &special("loopback"));
    check("mapped.test", 403, &special("loopback"));
    check("six.test", 403, &special("loopback"));
    check("alias.test", 403, &special("loopback"));
    check("private.test", 403, &special("private"));
    check("metadata.test", 403, &special("metadata of a cloud"));
    check("nat.test", 403, &special("translation to a special IPv4 address"));
    check("missing.test", 502, "no such name");
    assert_eq!(origin.connections_accepted(), 0);
    for name in ["in.test", "IN.test."] {
        let answer = ask(
            proxy,
            format!("GET http://{name}:{port}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.body, b"inside", "{name}");
    }
    // SOCKS 5 is told in its own words.
    let reply = |name: &str| {
        let mut client = connect(&isobar);
        let mut request = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(name.len()).unwrap()];
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(&port.to_be_bytes());
        client.write_all(&request).unwrap();
        rest(&mut client).get(3).copied()
    };
    assert_eq!(reply("evil.test"), Some(2));
    assert_eq!(reply("missing.test"), Some(4));
    let line = line_with(&isobar, "host", &format!("private.test:{port}"));
    assert_eq!(
        (&line["cause"], &line["server"]),
        (&"forward_denied".into(), &Value::Null)
    );
}

/// Of a name with several addresses those are tried to which the client may go.
#[test]
fn allowed_addresses_of_a_name_are_used() {
    let nsd = Nsd::start("both A 10.0.0.1\nboth A 127.0.0.1\ndead A 127.0.0.9\ndead A 127.0.0.1");
    let origin = Origin::named("here");
    let port = origin.address().port();
    let isobar = run(&format!("{}\n{HERE}", nsd.names()));
    for name in ["both.test", "dead.test"] {
        let answer = ask(
            isobar.address(),
            format!("GET http://{name}:{port}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.body, b"here", "{name}");
    }
}

/// An address that takes no connection has a moment, and not its share of the deadline.
#[test]
fn an_address_that_does_not_answer_costs_a_moment() {
    let full = FullPort::new().unwrap();
    let port = full.address().port();
    let listener = TcpListener::bind(("127.0.0.2", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"here").unwrap();
        }
    });
    let nsd = Nsd::start("both A 127.0.0.1\nboth A 127.0.0.2");
    let isobar = run(&format!("{}\n{HERE}\ntimeouts: {{ connect: 60s }}", nsd.names()));
    for _ in 0..4 {
        let mut client = connect(&isobar);
        write!(client, "CONNECT both.test:{port} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(rest(&mut client).ends_with(b"\r\n\r\nhere"));
    }
    for line in isobar.access_lines(4) {
        assert!(
            line["connect_ms"].as_f64().is_some_and(|took| took < 10_000.0),
            "{line}"
        );
        assert_eq!(line["cause"], "complete", "{line}");
    }
}

/// Whatever `inet_aton` would take for an address is one in its usual spelling, or refused.
#[test]
fn odd_spellings_lead_nowhere() {
    let origin = Origin::named("inside");
    let port = origin.address().port();
    let isobar = run("otherwise: allow");
    for host in [
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.1%2e",
        "%6cocalhost",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:0:0:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "127.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST.",
    ] {
        for request in [
            format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        ] {
            let answer = ask(isobar.address(), &request);
            assert!(matches!(answer.status, 400 | 403), "{request}: {}", answer.status);
        }
    }
    assert_eq!(origin.connections_accepted(), 0);
}

#[test]
fn rules_decide_in_their_order_and_say_so() {
    let origin = Origin::named("a");
    let to = origin.address();
    let isobar = run(
        "rules:\n  - { name: ads, action: deny, domains: [ads.example, \"*.tracker.example\"] }\n  \
         - { name: own, action: allow, addresses: 127.0.0.0/8, ports: [1024-65535] }\n  \
         - { name: range, action: deny, addresses: 192.0.2.0/24 }\notherwise: deny",
    );
    let check = |target: &str, status: u16, cause: &str, route: &str, why: &str| {
        let before = lines_or_none(&isobar);
        let answer = ask(
            isobar.address(),
            format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.status, status, "{target}");
        let all = isobar.access_lines(before + 1);
        let line = all.iter().rfind(|line| line["host"] == target).unwrap();
        assert_eq!(
            (&line["cause"], &line["route"], &line["detail"]),
            (&cause.into(), &route.into(), &why.into()),
            "{line}"
        );
    };
    check("ads.example:443", 403, "forward_denied", "ads", "rule `ads` denies it");
    check(
        "x.ads.example:443",
        403,
        "forward_denied",
        "ads",
        "rule `ads` denies it",
    );
    check(
        "x.tracker.example:443",
        403,
        "forward_denied",
        "ads",
        "rule `ads` denies it",
    );
    check(
        "192.0.2.7:443",
        403,
        "forward_denied",
        "range",
        "rule `range` denies it",
    );
    check(
        "badads.example:443",
        403,
        "forward_denied",
        "otherwise",
        "no rule allows it",
    );
    check("127.0.0.1:25", 403, "forward_denied", "otherwise", "no rule allows it");
    let loops = isobar.address().to_string();
    check(&loops, 403, "forward_denied", "own", "it leads back to this proxy");
    let closed = ClosedPort::reserve().unwrap();
    check(
        &closed.address().to_string(),
        502,
        "connect_failed",
        "own",
        "it refused the connection",
    );
    let answer = ask(
        isobar.address(),
        format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    assert_eq!(answer.body, b"a");
    let metrics = isobar.metrics();
    let count = |route: &str, cause: &str| {
        let labels = [("route", route), ("cause", cause)];
        metrics.sum("isobar_route_exchanges_total", &labels)
    };
    assert_eq!(count("ads", "forward_denied"), Some(3.0));
    assert_eq!(count("own", "complete"), Some(1.0));
    assert_eq!(count("otherwise", "forward_denied"), Some(2.0));
}

fn lines_or_none(isobar: &isobar_testkit::Isobar) -> usize {
    let text = fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
    text.lines().count()
}

/// People get a page, programs a text, and neither anything that a client could have put there.
#[test]
fn refusals_say_why() {
    let isobar = run("");
    let told = |head: &str| {
        let last = ask(isobar.address(), format!("{head}\r\nConnection: close\r\n\r\n"));
        (
            last.status,
            last.fields.value("content-type").unwrap_or_default().to_owned(),
            last.text(),
        )
    };
    let (status, kind, text) = told("GET http://10.0.0.1/ HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*");
    assert_eq!((status, kind.as_str()), (403, "text/html; charset=utf-8"));
    assert!(
        text.contains("<h1>403 Forbidden</h1>") && text.contains("<dd>10.0.0.1:80</dd>"),
        "{text}"
    );
    let (status, kind, text) = told("GET http://10.0.0.1/ HTTP/1.1\r\nHost: a");
    assert_eq!((status, kind.as_str()), (403, "text/plain; charset=utf-8"));
    assert!(text.contains("cause: forward_denied"), "{text}");
    let check = |head: &str, expected: u16, words: &str| {
        let (status, _, text) = told(head);
        assert_eq!(status, expected, "{head}: {text}");
        assert!(text.contains(words), "{head}: {text}");
    };
    check(
        "GET https://example.com/ HTTP/1.1\r\nHost: a",
        400,
        "is reached with CONNECT",
    );
    check("GET ftp://example.com/ HTTP/1.1\r\nHost: a", 400, "");
    check("GET http://'>&/ HTTP/1.1\r\nHost: a\r\nAccept: text/html", 400, "");
    check(
        "GET http://a'&b:80/ HTTP/1.1\r\nHost: a\r\nAccept: text/html",
        400,
        "<dd>a&#39;&amp;b:80</dd>",
    );
    check("CONNECT example.com HTTP/1.1\r\nHost: a", 400, "");
    check("OPTIONS * HTTP/1.1\r\nHost: a", 400, "nothing of where to go");
    check("GET / HTTP/1.1\r\nHost: a", 404, "this is a proxy");
    check(
        "GET http://example.com:25/ HTTP/1.1\r\nHost: a",
        403,
        "no rule names port 25",
    );
    check("GET http://a@10.0.0.1/ HTTP/1.1\r\nHost: a", 400, "");
    // One that was refused may ask for something else on the same connection.
    let mut client = isobar_testkit::Client::connect(isobar.address()).unwrap();
    for _ in 0..3 {
        let answer = client
            .exchange("GET http://10.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert_eq!(answer.status, 403);
    }
    client
        .send("GET http://10.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\nGET http://10.0.0.2/ HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    for host in ["10.0.0.1", "10.0.0.2"] {
        assert!(client.receive().unwrap().text().contains(host));
    }
}

#[test]
fn socks_clients_get_the_right_answer() {
    let origin = Origin::named("a");
    let closed = ClosedPort::reserve().unwrap();
    let isobar = run(HERE);
    let told = |bytes: &[u8]| {
        let mut client = connect(&isobar);
        client.write_all(bytes).unwrap();
        let mut answer = [0; 32];
        let mut count = 0;
        // A tunnel does not end by itself.
        while !(count == 12 && answer.starts_with(&[5, 0, 5, 0])) {
            match client.read(&mut answer[count..]).unwrap() {
                0 => break,
                more => count += more,
            }
        }
        answer[..count].to_vec()
    };
    let replied = |bytes: &[u8]| told(bytes).get(3).copied();
    assert_eq!(replied(&socks(origin.address())), Some(0));
    assert_eq!(replied(&socks(closed.address())), Some(5));
    assert_eq!(replied(&socks("10.0.0.1:80".parse().unwrap())), Some(2));
    assert_eq!(replied(&socks("127.0.0.1:25".parse().unwrap())), Some(2));
    assert_eq!(replied(&socks(isobar.address())), Some(2));
    // BIND and UDP ASSOCIATE.
    for command in [2, 3] {
        let mut request = socks(origin.address());
        request[4] = command;
        assert_eq!(replied(&request), Some(7));
    }
    let mut request = socks(origin.address());
    request[6] = 9;
    assert_eq!(replied(&request), Some(8), "a type of address that nobody knows");
    let odd = [&[5, 1, 0, 5, 1, 0, 3, 6][..], b"0x7f.1", &[0, 80]].concat();
    assert_eq!(replied(&odd), Some(1));
    assert_eq!(told(&[5, 1, 2]), [5, 0xff], "only with a password");
    assert_eq!(
        told(&[4, 1, 0, 80, 127, 0, 0, 1, 0]).get(..12),
        Some(&b"HTTP/1.1 400"[..]),
        "SOCKS 4"
    );
    assert_eq!(line_with(&isobar, "cause", "socks_malformed")["protocol"], "SOCKS5");
}

/// Who is asked once is believed for its time, by all workers.
#[test]
fn answers_are_remembered() {
    let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let server = dns(Arc::clone(&counts));
    let origin = Origin::named("a");
    let port = origin.address().port();
    let isobar = run(&format!(
        "names: {{ servers: \"{server}\", negative_ttl: 60s, min_ttl: 60s }}\n{HERE}"
    ));
    for _ in 0..20 {
        for (name, status) in [("a.test", 200), ("none.test", 502)] {
            let request = format!("GET http://{name}:{port}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert_eq!(ask(isobar.address(), request).status, status, "{name}");
        }
    }
    let metrics = isobar.metrics();
    assert_eq!(metrics.sum("isobar_listener_names_needed_total", &[]), Some(40.0));
    assert_eq!(metrics.sum("isobar_listener_names_asked_total", &[]), Some(2.0));
    let counts = counts.lock().unwrap();
    // One for each family of addresses.
    assert!(counts["a.test"] <= 2 && counts["none.test"] <= 2, "{counts:?}");
}

/// A name server that knows one name, with an answer that lives for a second, and counts.
fn dns(counts: Arc<Mutex<HashMap<String, usize>>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let question = &buffer[..count];
            let mut name = String::new();
            let mut at = 12;
            while question[at] > 0 {
                let label = &question[at + 1..at + 1 + usize::from(question[at])];
                name.push_str(&String::from_utf8_lossy(label).to_lowercase());
                name.push('.');
                at += 1 + label.len();
            }
            let name = name.trim_end_matches('.').to_owned();
            let end = at + 5;
            let is_a = question[at + 1..at + 3] == [0, 1];
            let (code, answers) = match name.as_str() {
                "a.test" => (0, u8::from(is_a)),
                _ => (3, 0),
            };
            *counts.lock().unwrap().entry(name).or_default() += 1;
            let mut answer = question[..2].to_vec();
            answer.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
            answer.extend_from_slice(&question[12..end]);
            if answers > 0 {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

/// New rules hold for new requests, of connections that were there before as well.
#[test]
fn a_reload_changes_the_rules() {
    let origin = Origin::named("a");
    let to = origin.address();
    let isobar = run(HERE);
    let mut client = isobar_testkit::Client::connect(isobar.address()).unwrap();
    let mut status = || {
        let answer = client
            .exchange(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n"))
            .unwrap();
        answer.status
    };
    assert_eq!(status(), 200);
    isobar.reload(&yaml("otherwise: allow"));
    eventually("the new rules hold", || status() == 403);
    isobar.reload(&yaml(HERE));
    eventually("the old rules hold", || status() == 200);
}

/// A name service that says nothing holds up nobody else, and who asked is told.
#[test]
fn silent_name_services_are_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let origin = Origin::named("a");
    let to = origin.address();
    let isobar = run(&format!(
        "names: {{ servers: \"{}\" }}\ntimeouts: {{ lookup: 500ms }}\n{HERE}",
        silent.local_addr().unwrap()
    ));
    let waiting = std::thread::scope(|scope| {
        let waits = scope.spawn(|| curl(&["-x", &format!("http://{}", isobar.address()), "http://slow.test/"]).status);
        let answer = ask(
            isobar.address(),
            format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.status, 200);
        waits.join().unwrap()
    });
    assert_eq!(waiting, 504);
    // A client that leaves meanwhile is not waited for.
    let mut client = connect(&isobar);
    client
        .write_all(b"CONNECT gone.test:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    drop(client);
    assert_eq!(line_with(&isobar, "host", "gone.test:443")["cause"], "client_closed");
    isobar.signal(Signal::TERM);
}
