//! Which gRPC server and client of another make are there to talk through Isobar?
//!
//! Both are Python's grpcio, which `cargo xtask test --only packages` installs. Messages are bytes as they are: what is
//! tested is how calls are carried, and nothing generated is needed for that.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::peers::python_packages;
use crate::process::{Process, Signal};
use crate::{PATIENCE, wait_for};

/// What the server runs.
const SERVER: &str = include_str!("grpc/server.py");

/// What comes before each client's script.
const CLIENT: &str = include_str!("grpc/client.py");

/// A real gRPC server with calls of every shape, the health service and reflection.
#[derive(Debug)]
pub struct GrpcServer {
    process: Process,
    address: SocketAddr,
}

impl GrpcServer {
    /// Starts one that tells callers this name.
    #[must_use]
    #[track_caller]
    pub fn start(name: &str) -> Self {
        Self::run(&[name])
    }

    /// Starts one whose connections leave (GOAWAY) when they are about so many milliseconds old, when their calls have ended.
    #[must_use]
    #[track_caller]
    pub fn aging(name: &str, age_ms: u32) -> Self {
        Self::run(&[name, &age_ms.to_string()])
    }

    #[track_caller]
    fn run(arguments: &[&str]) -> Self {
        let mut command = python(SERVER);
        command.args(arguments);
        let mut process = Process::spawn(&mut command).expect("python3 is installed");
        let port = wait_for("the gRPC server listens", || {
            if let Ok(Some(status)) = process.wait(Duration::ZERO) {
                panic!(
                    "the gRPC server ended with {status}; `cargo xtask test --only packages` installs its packages\n{}",
                    process.stderr()
                );
            }
            process
                .stdout()
                .lines()
                .find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { process, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many of its lines begin so: `called METHOD` when a call begins, `cancelled METHOD` when one was given up.
    #[must_use]
    pub fn said(&self, words: &str) -> usize {
        let stdout = self.process.stdout();
        stdout.lines().filter(|line| line.starts_with(words)).count()
    }

    /// Waits until it has said this so often.
    #[track_caller]
    pub fn says(&self, words: &str, times: usize) {
        wait_for(&format!("the gRPC server says {words:?}"), || {
            (self.said(words) >= times).then_some(())
        });
    }
}

/// A gRPC client that runs a script.
#[derive(Debug)]
pub struct GrpcClient {
    process: Process,
}

impl GrpcClient {
    /// Starts a script that talks to an address: over TLS, as `a.test`, where there is an authority to be trusted.
    ///
    /// The script finds a `channel`, the four shapes of a call by method (`unary`, `count`, `total`, `chat`), and `fails`,
    /// which returns the error that a call ends with.
    #[must_use]
    #[track_caller]
    pub fn start(address: SocketAddr, authority: Option<&Path>, script: &str) -> Self {
        let mut command = python(&format!("{CLIENT}\n{script}\nprint('done', flush=True)"));
        command.arg(address.to_string());
        if let Some(authority) = authority {
            command.arg(authority);
        }
        Self {
            process: Process::spawn(&mut command).expect("python3 is installed"),
        }
    }

    /// Runs a script to its end; what it printed.
    ///
    /// *Panics* when it fails, or takes longer than [`PATIENCE`].
    #[track_caller]
    pub fn run(address: SocketAddr, authority: Option<&Path>, script: &str) -> String {
        Self::start(address, authority, script).finish()
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub fn says(&mut self, words: &str) {
        wait_for(&format!("the gRPC client says {words:?}"), || {
            let ended = self.process.wait(Duration::ZERO);
            let said = self.process.stdout().lines().any(|line| line.starts_with(words));
            assert!(
                said || matches!(ended, Ok(None)),
                "the gRPC client ended: {ended:?}\n{}",
                self.process.stderr()
            );
            said.then_some(())
        });
    }

    /// Tells it to come to an end (SIGTERM sets its `over`).
    #[track_caller]
    pub fn stop(&self) {
        self.process.signal(Signal::TERM).expect("the client takes a signal");
    }

    /// Waits for its end; what it printed.
    ///
    /// *Panics* when it fails, or takes longer than [`PATIENCE`].
    #[track_caller]
    pub fn finish(mut self) -> String {
        let status = self.process.wait(PATIENCE).expect("its status is known");
        let (stdout, stderr) = (self.process.stdout(), self.process.stderr());
        assert!(
            status.is_some_and(|status| status.success()),
            "the gRPC client ended with {status:?}; it wrote\n{stdout}\n{stderr}"
        );
        stdout
    }
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", script]).env("PYTHONPATH", python_packages());
    command
}
