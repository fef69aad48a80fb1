//! Is the data of a real database what it should be?
//!
//! PostgreSQL is Debian's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::process::Process;
use crate::{ClosedPort, wait_for};

/// A real PostgreSQL with a database of its own, which anybody on this machine may use.
#[derive(Debug)]
pub struct Postgres {
    _process: Process,
    port: ClosedPort,
    _directory: TempDir,
}

impl Postgres {
    /// Makes a database and waits until it is served.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("the directory for data is made");
        if is_root() {
            // It refuses to run as root.
            let path = directory.path().display().to_string();
            run(Command::new("chown").args(["-R", "postgres", &path]));
        }
        let initdb = ["--no-sync", "--username=postgres", "--auth=trust", "--pgdata"];
        run(ordinary("initdb").args(initdb).arg(&data));
        let port = ClosedPort::reserve().expect("a loopback port");
        let mut command = ordinary("postgres");
        command
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-F", "-c", "max_connections=50"]);
        command.arg("-k").arg(directory.path());
        command.arg("-p").arg(port.address().port().to_string());
        let process = Process::spawn(&mut command).expect("postgres is installed");
        wait_for("postgres answers", || {
            let said = psql(port.address(), "select 1").stdout;
            (said == b"1\n").then_some(())
        });
        Self {
            _process: process,
            port,
            _directory: directory,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

/// Asks the database at an address.
#[must_use]
#[track_caller]
pub fn psql(address: SocketAddr, query: &str) -> Output {
    let mut command = to(address, "psql");
    command.args(["-X", "-A", "-t", "-c", query, "postgres"]);
    command.output().expect("psql is installed")
}

/// Runs pgbench with these arguments against the database at an address.
#[must_use]
#[track_caller]
pub fn pgbench(address: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = to(address, "pgbench");
    command.args(arguments).arg("postgres");
    command.output().expect("pgbench is installed")
}

fn to(address: SocketAddr, program: &str) -> Command {
    let mut command = Command::new(installed(program));
    command.env("PGCONNECT_TIMEOUT", "10").env("PGSSLMODE", "disable");
    command.args([
        "-h",
        &address.ip().to_string(),
        "-p",
        &address.port().to_string(),
        "-U",
        "postgres",
    ]);
    command
}

/// One of its programs, run by somebody who may.
fn ordinary(program: &str) -> Command {
    let program = installed(program);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

/// Debian keeps the programs of each version apart.
fn installed(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(program));
    found
        .filter(|path| path.exists())
        .max()
        .unwrap_or_else(|| program.into())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("the program is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
