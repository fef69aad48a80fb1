//! Does a proxy know its users, and give each as much as it may have?

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use isobar_testkit::serde_json::Value;
use isobar_testkit::{Client, Isobar, Origin, TcpServer, binary, curl, eventually, rest};

use crate::{HERE, connect, expect, line_with, run, run_text, tunnel, with_listener, yaml};

/// Makes a file with users, as operators do.
fn htpasswd(file: &Path, users: &[(&str, &str)]) {
    let _ = fs::remove_file(file);
    for (name, password) in users {
        let create = if file.exists() { "-bB" } else { "-bBc" };
        let made = Command::new("htpasswd")
            .arg(create)
            .arg(file)
            .args([name, password])
            .output();
        assert!(made.expect("htpasswd is installed").status.success());
    }
}

fn run_with_users(users: &[(&str, &str)], proxy: &str) -> Isobar {
    let directory = tempfile::tempdir().unwrap();
    htpasswd(&directory.path().join("users"), users);
    let path = directory.path().join("isobar.yaml");
    fs::write(&path, yaml(&format!("users: users\n{proxy}"))).unwrap();
    binary!().run_file(directory, &path)
}

#[test]
fn only_users_get_through_and_the_log_names_them() {
    let origin = Origin::named("a");
    let isobar = run_with_users(
        &[("alice", "secret"), ("bob", "p:w d")],
        &format!("{HERE}\npac: /proxy.pac"),
    );
    let url = format!("http://{}/", origin.address());
    let proxy = |scheme: &str| format!("{scheme}://{}", isobar.address());
    let tried = |scheme: &str, user: &str, more: &[&str]| {
        let proxy = proxy(scheme);
        let mut arguments = vec!["--proxy", proxy.as_str(), url.as_str()];
        if !user.is_empty() {
            arguments.extend(["--proxy-user", user]);
        }
        arguments.extend(more);
        let answer = curl(&arguments);
        (answer.exit, answer.status)
    };
    for scheme in ["http", "socks5"] {
        assert_eq!(tried(scheme, "alice:secret", &[]), (0, 200), "{scheme}");
        assert_eq!(tried(scheme, "bob:p:w d", &[]), (0, 200), "{scheme}");
    }
    assert_eq!(tried("http", "alice:secret", &["-p"]), (0, 200));
    for user in ["", "alice:wrong", "alice:", "nobody:secret", "alicee:secret"] {
        assert_eq!(tried("http", user, &[]).1, 407, "{user}");
        assert_eq!(tried("http", user, &["-p"]).0, 56, "{user}");
        assert_eq!(tried("socks5", user, &[]).0, 97, "{user}");
    }
    let seen = origin.requests();
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|request| request.fields.value("proxy-authorization").is_none())
    );
    let line = line_with(&isobar, "user", "alice");
    assert_eq!(
        (&line["cause"], &line["host"]),
        (&"complete".into(), &origin.address().to_string().into())
    );
    let line = line_with(&isobar, "cause", "proxy_authentication");
    assert_eq!((&line["status"], &line["user"]), (&407.into(), &Value::Null));
    // What is asked of a client, it is told; and the PAC file is for everybody.
    let mut client = Client::connect(isobar.address()).unwrap();
    let answer = client
        .exchange(format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .unwrap();
    assert_eq!(
        answer.fields.value("proxy-authenticate"),
        Some("Basic realm=\"web\", charset=\"UTF-8\"")
    );
    assert_eq!(client.get("/proxy.pac").unwrap().status, 200);
    // The same connection may say it better.
    let answer = client.exchange(format!(
        "GET {url} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"
    ));
    assert_eq!(answer.unwrap().status, 200);
}

/// A password takes long to be compared once, and no time after that.
#[test]
fn passwords_are_compared_once() {
    let origin = Origin::named("a");
    let isobar = run_with_users(&[("alice", "secret")], HERE);
    let to = origin.address();
    let request =
        format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n");
    let mut client = Client::connect(isobar.address()).unwrap();
    assert_eq!(client.exchange(&request).unwrap().status, 200);
    let before = Instant::now();
    for _ in 0..2000 {
        assert_eq!(client.exchange(&request).unwrap().status, 200);
    }
    // A hash of the lowest cost that htpasswd makes takes a millisecond in a release build, and 20 in this one.
    assert!(before.elapsed().as_secs() < 15, "{:?}", before.elapsed());
}

#[test]
fn a_reload_changes_users_and_passwords() {
    let origin = Origin::named("a");
    let isobar = run_with_users(&[("alice", "secret")], HERE);
    let url = format!("http://{}/", origin.address());
    let proxy = format!("http://{}", isobar.address());
    let status = |user: &str| curl(&["--proxy", &proxy, "--proxy-user", user, &url]).status;
    assert_eq!(status("alice:secret"), 200);
    let text = yaml(&format!("users: users\n{HERE}"));
    htpasswd(&isobar.directory().join("users"), &[("alice", "other"), ("carol", "x")]);
    let said = isobar.reload(&text);
    assert!(said.contains("configuration applied"), "{said}");
    assert_eq!(
        (status("alice:secret"), status("alice:other"), status("carol:x")),
        (407, 200, 200)
    );
    // A file that is of no use changes nothing.
    fs::write(isobar.directory().join("users"), "alice:$apr1$abc$def\n").unwrap();
    let said = isobar.reload(&text);
    assert!(
        said.contains("configuration refused") && said.contains("is not made by bcrypt"),
        "{said}"
    );
    assert!(!said.contains("apr1"), "{said}");
    assert_eq!(status("carol:x"), 200);
}

#[test]
fn rules_may_be_for_some_users() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rules = format!(
        "rules:\n  - {{ name: hers, action: allow, users: alice, addresses: 127.0.0.0/8, ports: {} }}\n  \
         - {{ name: all, action: allow, addresses: 127.0.0.0/8, ports: {} }}\notherwise: deny",
        a.address().port(),
        b.address().port()
    );
    let isobar = run_with_users(&[("alice", "x"), ("bob", "x")], &rules);
    let proxy = format!("http://{}", isobar.address());
    let status = |user: &str, origin: &Origin| {
        curl(&[
            "--proxy",
            &proxy,
            "--proxy-user",
            user,
            &format!("http://{}/", origin.address()),
        ])
        .status
    };
    assert_eq!((status("alice:x", &a), status("alice:x", &b)), (200, 200));
    assert_eq!((status("bob:x", &a), status("bob:x", &b)), (403, 200));
}

#[test]
fn each_user_has_as_many_connections_as_it_may() {
    let server = TcpServer::echo("");
    let isobar = run_with_users(
        &[("alice", "x"), ("bob", "x")],
        &format!("{HERE}\nper_user: {{ max_connections: 2 }}"),
    );
    let to = server.address();
    let open = |claim: &str, status: &str| {
        let mut client = connect(&isobar);
        write!(
            client,
            "CONNECT {to} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic {claim}\r\n\r\n"
        )
        .unwrap();
        expect(&mut client, format!("HTTP/1.1 {status}"));
        client
    };
    let (alice, bob) = ("YWxpY2U6eA==", "Ym9iOng=");
    let (first, _second) = (open(alice, "200"), open(alice, "200"));
    drop(open(alice, "429"));
    let _other = open(bob, "200");
    drop(first);
    eventually("there is room again", || {
        let mut client = connect(&isobar);
        write!(
            client,
            "CONNECT {to} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic {alice}\r\n\r\n"
        )
        .unwrap();
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut client, &mut head).unwrap();
        head == *b"HTTP/1.1 200"
    });
    assert_eq!(
        line_with(&isobar, "cause", "forward_user_limit")["detail"],
        "too many connections"
    );
}

/// Where nobody has to say who he is, an address is a user.
#[test]
fn each_user_has_as_many_requests_as_it_may() {
    let origin = Origin::named("a");
    let isobar = run(&format!("{HERE}\nper_user: {{ requests: 1/s, burst: 5 }}"));
    let to = origin.address();
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut statuses: Vec<_> = Vec::new();
    for _ in 0..10 {
        let answer = client
            .exchange(format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\n\r\n"))
            .unwrap();
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..5], [200; 5]);
    assert!(
        statuses[5..].iter().filter(|status| **status == 429).count() >= 3,
        "{statuses:?}"
    );
}

/// Names and passwords as long as they can be, and longer, are wrong and nothing else; so is garbage in their place.
#[test]
fn monstrous_claims_are_wrong() {
    let isobar = run_with_users(&[("alice", "x")], HERE);
    let mut client = Client::connect(isobar.address()).unwrap();
    for claim in [
        "Basic ".to_owned() + &"QUFB".repeat(6000),
        "Basic %%%%".to_owned(),
        "Negotiate abc".to_owned(),
        "Basic".to_owned(),
    ] {
        let answer = client.exchange(format!(
            "GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: {claim}\r\n\r\n"
        ));
        assert_eq!(answer.unwrap().status, 407);
    }
    let mut socks = connect(&isobar);
    let claim = [&[5, 1, 2, 1, 255][..], &[b'a'; 255], &[255], &[b'b'; 255]].concat();
    socks.write_all(&claim).unwrap();
    assert_eq!(rest(&mut socks), [5, 2, 1, 1]);
    let text = with_listener("limits: { max_head_bytes: 4KiB }", &format!("users: users\n{HERE}"));
    assert!(isobar.reload(&text).contains("configuration applied"));
    let answer = Client::connect(isobar.address()).unwrap().exchange(format!(
        "GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic {}\r\n\r\n",
        "QUFB".repeat(2000)
    ));
    assert_eq!(answer.unwrap().status, 431);
}

/// Whoever has as many connections as one source may have gets no more, and what is given back is there again.
#[test]
fn one_source_has_so_many_connections() {
    let server = TcpServer::echo("");
    let isobar = run_text(&with_listener("limits: { max_connections_per_source: 2 }", HERE));
    let held = [tunnel(&isobar, server.address()), tunnel(&isobar, server.address())];
    assert_eq!(rest(&mut connect(&isobar)), b"");
    line_with(&isobar, "cause", "source_connections");
    drop(held);
    eventually("there is room again", || {
        isobar.metrics().sum("isobar_listener_connections", &[]) == Some(0.0)
    });
    tunnel(&isobar, server.address());
}
