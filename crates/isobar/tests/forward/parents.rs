//! Does a proxy go through another one, its own kind and others?

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use isobar_testkit::{
    Authority, Client, ClosedPort, Isobar, Origin, Process, TlsConduct, TlsServer, Validity, binary, curl, wait_for,
};

use crate::{HERE, line_with, run, yaml};

/// Everything that a client can want, through `isobar`.
fn check_everything(isobar: &Isobar, origin: &Origin) {
    let authority = Authority::new();
    let secured = TlsServer::start(
        &authority.certify("localhost", Validity::Now),
        TlsConduct::Answers,
        None,
    );
    let ca = authority.file();
    for scheme in ["http", "socks5h"] {
        let proxy = format!("{scheme}://{}", isobar.address());
        let url = format!("https://localhost:{}/", secured.address().port());
        let answer = curl(&["--proxy", &proxy, "--cacert", ca.to_str().unwrap(), &url]);
        assert_eq!(
            (answer.exit, answer.body.as_slice()),
            (0, b"good".as_slice()),
            "{scheme}"
        );
        let url = format!("http://localhost:{}/a?b", origin.address().port());
        let answer = curl(&["--proxy", &proxy, "--data", "body", &url]);
        assert_eq!((answer.exit, answer.status), (0, 200), "{scheme}");
    }
    let seen = origin.last_request();
    assert_eq!(
        (seen.target.as_str(), seen.body.as_slice()),
        ("/a?b", b"body".as_slice())
    );
    assert_eq!(seen.fields.value("proxy-authorization"), None);
}

#[test]
fn another_isobar_is_a_parent() {
    let origin = Origin::echo();
    for protocol in ["http", "socks5"] {
        let parent = run(HERE);
        let isobar = run(&format!(
            "parent: {{ address: \"{}\", protocol: {protocol} }}",
            parent.address()
        ));
        check_everything(&isobar, &origin);
        let line = line_with(&isobar, "method", "CONNECT");
        assert_eq!(line["server"], parent.address().to_string(), "{line}");
        let expected = if protocol == "http" { "HTTP/1.1" } else { "SOCKS5" };
        assert!(parent.access_lines(2).iter().all(|line| line["protocol"] == expected));
    }
}

#[test]
fn a_parent_is_told_who_asks_and_what_it_says_is_passed_on() {
    let origin = Origin::echo();
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new("htpasswd")
        .arg("-bBc")
        .arg(directory.path().join("users"))
        .args(["isobar", "secret"])
        .output();
    assert!(made.expect("htpasswd is installed").status.success());
    let path = directory.path().join("isobar.yaml");
    fs::write(&path, yaml(&format!("users: users\n{HERE}"))).unwrap();
    let parent = binary!().run_file(directory, &path);
    for protocol in ["http", "socks5"] {
        let start = |password: &str| {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("password"), password).unwrap();
            let path = directory.path().join("isobar.yaml");
            let text = yaml(&format!(
                "parent: {{ address: \"{}\", protocol: {protocol}, user: isobar, password_file: password }}",
                parent.address()
            ));
            fs::write(&path, text).unwrap();
            binary!().run_file(directory, &path)
        };
        let isobar = start("secret\n");
        check_everything(&isobar, &origin);
        let isobar = start("wrong\n");
        let proxy = format!("http://{}", isobar.address());
        let url = format!("http://localhost:{}/", origin.address().port());
        for more in ["--no-progress-meter", "--proxytunnel"] {
            let answer = curl(&["--proxy", &proxy, more, &url]);
            assert!(answer.status == 502 || answer.exit == 56, "{protocol}: {answer:?}");
        }
        let line = line_with(&isobar, "cause", "parent_refused");
        assert!(line["detail"].as_str().unwrap().contains("parent proxy"), "{line}");
    }
}

#[test]
fn rules_hold_before_a_parent_is_asked() {
    let parent = run(HERE);
    let isobar = run(&format!(
        "parent: \"{}\"\nrules: [{{ name: no, action: deny, domains: no.example }}]",
        parent.address()
    ));
    let proxy = format!("http://{}", isobar.address());
    let status = |url: &str| curl(&["--proxy", &proxy, url]).status;
    assert_eq!(status("http://a.no.example/"), 403);
    assert_eq!(status("http://10.0.0.1/"), 403);
    assert_eq!(status("http://a.example:25/"), 403);
    // What the parent says of a request is its answer.
    assert_eq!(status("http://localhost:25000/"), 502);
    let text = fs::read_to_string(parent.directory().join("access.log")).unwrap_or_default();
    assert!(!text.contains("no.example") && !text.contains("10.0.0.1"), "{text}");
    // A parent that is not there.
    let closed = ClosedPort::reserve().unwrap();
    let isobar = run(&format!("parent: \"{}\"", closed.address()));
    let answer = curl(&["--proxy", &format!("http://{}", isobar.address()), "http://a.example/"]);
    assert_eq!(answer.status, 502);
}

/// A connection that was made by other rules is used no more.
#[test]
fn a_reload_brings_and_takes_a_parent() {
    let origin = Origin::echo();
    let parent = run(HERE);
    let isobar = run(HERE);
    let port = origin.address().port();
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut ask = |path: &str| {
        let head = format!("GET http://localhost:{port}{path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.exchange(head).unwrap().status, 200, "{path}");
        assert_eq!(origin.last_request().target, path);
    };
    ask("/straight");
    let through = yaml(&format!("parent: \"{}\"", parent.address()));
    assert!(isobar.reload(&through).contains("configuration applied"));
    ask("/through");
    assert_eq!(line_with(&parent, "target", "/through")["cause"], "complete");
    assert!(isobar.reload(&yaml(HERE)).contains("configuration applied"));
    ask("/straight-again");
    assert_eq!(
        line_with(&isobar, "target", "/straight-again")["server"],
        origin.address().to_string()
    );
    assert_eq!(parent.access_lines(1).len(), 1);
}

/// Tinyproxy, on a port of its own.
fn tinyproxy() -> (Process, SocketAddr, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let address = ClosedPort::reserve().unwrap().address();
    let file = directory.path().join("tinyproxy.conf");
    let text = format!(
        "Port {}\nListen {}\nTimeout 30\nMaxClients 50\nBasicAuth isobar secret\nDisableViaHeader Yes\n",
        address.port(),
        address.ip()
    );
    fs::write(&file, text).unwrap();
    let process =
        Process::spawn(Command::new("tinyproxy").arg("-d").arg("-c").arg(&file)).expect("tinyproxy is installed");
    wait_for("tinyproxy listens", || std::net::TcpStream::connect(address).ok());
    (process, address, directory)
}

#[test]
fn tinyproxy_is_a_parent() {
    let origin = Origin::echo();
    let (_process, address, _directory) = tinyproxy();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("password"), "secret").unwrap();
    let path = directory.path().join("isobar.yaml");
    let text = yaml(&format!(
        "parent: {{ address: \"{address}\", user: isobar, password_file: password }}"
    ));
    fs::write(&path, text).unwrap();
    let isobar = binary!().run_file(directory, &path);
    check_everything(&isobar, &origin);
}
