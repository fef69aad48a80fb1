//! Which QUIC server and clients of another make are there to talk through Isobar?
//!
//! Both are Python's aioquic, which `cargo xtask test --only packages` installs.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::peers::python_packages;
use crate::process::Process;
use crate::{Certified, PATIENCE, wait_for};

const SERVER: &str = include_str!("quic/server.py");

const CLIENT: &str = include_str!("quic/client.py");

/// A real QUIC server that answers each stream with its name and what it was sent.
#[derive(Debug)]
pub struct QuicServer {
    _process: Process,
    address: SocketAddr,
}

impl QuicServer {
    /// Starts one with a name and a certificate.
    #[must_use]
    #[track_caller]
    pub fn start(name: &str, certified: &Certified) -> Self {
        let mut command = python(SERVER);
        command.arg(name).arg(&certified.certificate).arg(&certified.key);
        let mut process = Process::spawn(&mut command).expect("python3 is installed");
        let port = wait_for("the QUIC server listens", || {
            if let Ok(Some(status)) = process.wait(Duration::ZERO) {
                panic!(
                    "the QUIC server ended with {status}; `cargo xtask test --only packages` installs its packages\n{}",
                    process.stderr()
                );
            }
            let stdout = process.stdout();
            stdout.lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        Self {
            _process: process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Has so many clients of QUIC ask once, and then three times more, each from another port: what each heard.
#[must_use]
#[track_caller]
pub fn quic_clients_that_move(to: SocketAddr, clients: usize) -> Vec<Vec<String>> {
    let mut command = python(CLIENT);
    command.args([to.port().to_string(), clients.to_string()]);
    let mut process = Process::spawn(&mut command).expect("python3 is installed");
    let status = process.wait(PATIENCE * 2).expect("its status is known");
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{}{}",
        process.stdout(),
        process.stderr()
    );
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    process.stdout().lines().map(words).collect()
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", script]).env("PYTHONPATH", python_packages());
    command
}
