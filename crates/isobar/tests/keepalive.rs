//! Does the kernel ask whether clients and servers are still there, where that is wanted and nowhere else?
//!
//! The kernel itself says which timers its connections have.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{Configuration, Origin, PATIENCE, Process, TcpServer, binary, eventually, wait_for};

/// A connection, as the kernel describes it (`/proc/net/tcp`, proc(5)).
struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    /// Seconds until the kernel asks; none: it does not.
    asks_in: Option<u64>,
}

fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let host = u32::from_str_radix(host, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((Ipv4Addr::from(host.to_ne_bytes()), port).into())
}

fn connection(line: &str) -> Option<Connection> {
    const ESTABLISHED: &str = "01";
    const KEEPALIVE: &str = "02";
    const TICKS_PER_SECOND: u64 = 100;
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    if fields.next()? != ESTABLISHED {
        return None;
    }
    let (timer, ticks) = fields.nth(1)?.split_once(':')?;
    let ticks = u64::from_str_radix(ticks, 16).ok()?;
    let asks_in = (timer == KEEPALIVE).then_some(ticks / TICKS_PER_SECOND);
    Some(Connection { local, remote, asks_in })
}

fn connections() -> Vec<Connection> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().filter_map(connection).collect()
}

/// Seconds until the kernel asks at the one connection that is meant; none: it does not. A packet that waits for its acknowledgement
/// has another timer for a moment.
fn asks_in(what: &str, is_meant: impl Fn(&Connection) -> bool) -> impl Fn() -> Option<u64> {
    move || {
        let connections: Vec<_> = connections().into_iter().filter(&is_meant).collect();
        assert_eq!(connections.len(), 1, "{what}");
        connections[0].asks_in
    }
}

/// What an instance does about a client's connection, and about that to its one server.
fn at_client(isobar: SocketAddr, client: SocketAddr) -> impl Fn() -> Option<u64> {
    asks_in("the client's connection", move |connection| {
        (connection.local, connection.remote) == (isobar, client)
    })
}

fn at_server(server: SocketAddr) -> impl Fn() -> Option<u64> {
    asks_in("the server's connection", move |connection| connection.remote == server)
}

fn between(what: &str, seconds: std::ops::RangeInclusive<u64>, ask: impl Fn() -> Option<u64>) {
    eventually(what, || ask().is_some_and(|left| seconds.contains(&left)));
}

#[test]
fn connections_of_http_are_asked_as_their_listener_and_upstream_say() {
    let origin = Origin::named("one");
    let configuration = Configuration::to(&[origin.address()])
        .listener("tcp_keepalive: { idle: 1000s, user_timeout: 30s }")
        .upstream("tcp_keepalive: { idle: 2000s }");
    let isobar = binary!().run(&configuration);
    let mut client = TcpStream::connect(isobar.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 12]).unwrap();
    let local = client.local_addr().unwrap();
    between("the client is asked", 900..=1000, at_client(isobar.address(), local));
    between("the server is asked", 1900..=2000, at_server(origin.address()));
}

#[test]
fn a_reload_holds_for_connections_that_come_after_it() {
    let server = TcpServer::echo("a");
    let plain = Configuration::to(&[server.address()]).listener("protocol: tcp");
    let isobar = binary!().run(&plain);
    let connect = || {
        let mut client = TcpStream::connect(isobar.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.read_exact(&mut [0]).unwrap();
        client
    };
    let before = connect();
    let asked = plain
        .clone()
        .listener("tcp_keepalive: { idle: 500s }")
        .upstream("tcp_keepalive: { idle: 600s }");
    isobar.reload(&asked.yaml());
    let own = |client: &TcpStream| at_client(isobar.address(), client.local_addr().unwrap());
    assert_eq!(own(&before)(), None);
    assert_eq!(at_server(server.address())(), None);
    drop(before);
    eventually("the first connection is gone", || {
        !connections()
            .iter()
            .any(|connection| connection.remote == server.address())
    });
    let after = connect();
    between("the client is asked", 400..=500, own(&after));
    between("the server is asked", 500..=600, at_server(server.address()));
    isobar.reload(&plain.yaml());
    let last = connect();
    assert_eq!(own(&last)(), None);
}

#[test]
fn tunnels_of_a_forward_proxy_are_asked_at_both_ends() {
    let server = TcpServer::echo("");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("isobar.yaml");
    let text = "listeners:
  - name: web
    address: 127.0.0.1:0
    protocol: forward_proxy
    tcp_keepalive: { idle: 700s }
    forward_proxy:
      rules: [{ name: here, action: allow, addresses: 127.0.0.0/8 }]
      tcp_keepalive: { idle: 800s }
admin: { address: 127.0.0.1:0 }
";
    fs::write(&path, text).unwrap();
    let isobar = binary!().run_file(directory, &path);
    let mut client = TcpStream::connect(isobar.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", server.address());
    client.write_all(request.as_bytes()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    let local = client.local_addr().unwrap();
    between("the client is asked", 600..=700, at_client(isobar.address(), local));
    between("the destination is asked", 700..=800, at_server(server.address()));
}

/// A client whose machine is as if it were gone, once it was heard: its kernel drops whatever comes (a filter that takes no byte).
const GONE: &str = "
import ctypes, socket, struct, sys, time
SO_ATTACH_FILTER, RETURN = 26, 6
client = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
client.recv(1)
code = ctypes.create_string_buffer(struct.pack('HBBI', RETURN, 0, 0, 0))
client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack('HP', 1, ctypes.addressof(code)))
print('gone', flush=True)
time.sleep(60)
";

/// How the connection of a client ends that is gone without a word.
fn end_of_gone(keepalive: &str, server: &TcpServer) -> String {
    let configuration = Configuration::to(&[server.address()])
        .listener(format!("protocol: tcp\ntcp_keepalive: {keepalive}"))
        .upstream("timeouts: { idle: 1h }")
        .top("access_log: { path: access.log, format: json }");
    let isobar = binary!().run(&configuration);
    let mut command = Command::new("python3");
    command.args(["-c", GONE, &isobar.address().port().to_string()]);
    let client = Process::spawn(&mut command).unwrap();
    wait_for("the client is gone", || client.stdout().contains("gone").then_some(()));
    wait_for("its connection is over", || {
        let log = fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        let line: Value = serde_json::from_str(log.lines().next()?).ok()?;
        Some(line["cause"].as_str()?.to_owned())
    })
}

#[test]
fn clients_that_are_gone_without_a_word_are_found_out() {
    let silent = TcpServer::echo("a");
    let cause = end_of_gone("{ idle: 1s, interval: 1s, probes: 1 }", &silent);
    assert_eq!(cause, "client_closed");
    // What nobody acknowledges is no silence, so nobody asks; how long that may be has a limit of its own.
    let talks = TcpServer::start(|mut stream| {
        loop {
            stream.write_all(b".")?;
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let cause = end_of_gone("{ idle: 3600s, user_timeout: 1s }", &talks);
    assert_eq!(cause, "client_closed");
}
