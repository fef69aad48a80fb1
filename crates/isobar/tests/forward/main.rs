//! Do clients of a forward proxy get to where they want to go, and nowhere else?

mod clients;
mod parents;
mod rules;
mod tunnels;
mod users;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use isobar_testkit::serde_json::Value;
use isobar_testkit::{Isobar, PATIENCE, Response, binary, wait_for};

/// What lets tests go to their own servers.
pub(crate) const HERE: &str = "rules: [{ name: here, action: allow, addresses: 127.0.0.0/8 }]";

/// A configuration with one listener `web`; `proxy` is what stands in its `forward_proxy`, a key a line.
pub(crate) fn yaml(proxy: &str) -> String {
    with_listener("", proxy)
}

/// The same with more keys of the listener.
pub(crate) fn with_listener(listener: &str, proxy: &str) -> String {
    let indented = |text: &str, by: &str| -> String { text.lines().map(|line| format!("{by}{line}\n")).collect() };
    format!(
        "listeners:\n  - name: web\n    address: 127.0.0.1:0\n    protocol: forward_proxy\n{}    forward_proxy:\n{}\
         admin: {{ address: 127.0.0.1:0 }}\naccess_log: {{ path: access.log, format: json }}\n",
        indented(listener, "    "),
        indented(proxy, "      ")
    )
}

pub(crate) fn run(proxy: &str) -> Isobar {
    run_text(&yaml(proxy))
}

pub(crate) fn run_text(text: &str) -> Isobar {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("isobar.yaml");
    fs::write(&path, text).unwrap();
    binary!().run_file(directory, &path)
}

/// The one line in which this key has this value.
pub(crate) fn line_with(isobar: &Isobar, key: &str, value: &str) -> Value {
    wait_for(&format!("a line with {key} = {value} in the access log"), || {
        let all = isobar.access_lines(1);
        all.into_iter().find(|line| line[key] == value)
    })
}

/// The answer to a request on a connection of its own, which says that it is the last one.
pub(crate) fn ask(proxy: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    let answer = isobar_testkit::answer_to(proxy, request).unwrap();
    answer.response.expect("there is an answer")
}

pub(crate) fn connect(isobar: &Isobar) -> TcpStream {
    let stream = TcpStream::connect(isobar.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn expect(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    let expected = bytes.as_ref();
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).unwrap();
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(expected));
}

/// A tunnel to a server, by CONNECT.
pub(crate) fn tunnel(isobar: &Isobar, to: SocketAddr) -> TcpStream {
    let mut stream = connect(isobar);
    write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
    expect(&mut stream, "HTTP/1.1 200 Connection established\r\n\r\n");
    stream
}

/// What a client of SOCKS 5 sends to go to an address, the greeting included.
pub(crate) fn socks(to: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 5, 1, 0, 1];
    match to {
        SocketAddr::V4(to) => bytes.extend_from_slice(&to.ip().octets()),
        SocketAddr::V6(_) => unreachable!("servers of tests have IPv4 addresses"),
    }
    bytes.extend_from_slice(&to.port().to_be_bytes());
    bytes
}
