//! What does a server over TLS do that no well-behaved one does?
//!
//! It is Python's own `ssl`, on top of OpenSSL.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::Process;
use crate::{Certified, wait_for};

/// What the server runs, until it is killed.
const SERVER: &str = r#"
import socket, ssl, sys, threading
conduct, chain, key, clients = sys.argv[1:5]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)
if clients:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(clients)

def serve(raw):
    answered = 0
    try:
        connection = context.wrap_socket(raw, server_side=True)
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(65536)
                if not more:
                    return
                head += more
            if conduct == "cut":
                # The end of the connection is the end of the body, and nobody says that it is.
                connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nthe first half")
                break
            if conduct == "end":
                connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it")
                connection = connection.unwrap()
                break
            if conduct == "once" and answered:
                break
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood")
            answered += 1
        connection.close()
    except OSError:
        raw.close()

listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"#;

/// How a server over TLS behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsConduct {
    /// It answers with a body that ends with the connection, and cuts that.
    Cuts,
    /// It answers with a body that ends with the connection, and says so.
    Ends,
    /// It answers one request of a connection, and closes when there is another.
    AnswersOnce,
    /// It answers.
    Answers,
}

/// A server over TLS.
#[derive(Debug)]
pub struct TlsServer {
    _process: Process,
    address: SocketAddr,
}

impl TlsServer {
    /// Starts one with this certificate. `clients` has the authorities that vouch for clients, which then have to show a
    /// certificate.
    #[must_use]
    #[track_caller]
    pub fn start(certified: &Certified, conduct: TlsConduct, clients: Option<&Path>) -> Self {
        let word = match conduct {
            TlsConduct::Cuts => "cut",
            TlsConduct::Ends => "end",
            TlsConduct::AnswersOnce => "once",
            TlsConduct::Answers => "answer",
        };
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, word]);
        command.args([&certified.certificate, &certified.key]);
        command.arg(clients.unwrap_or(Path::new("")));
        let process = Process::spawn(&mut command).expect("python3 is installed");
        let port = wait_for("the server over TLS listens", || {
            let stdout = process.stdout();
            stdout.lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        Self {
            _process: process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
