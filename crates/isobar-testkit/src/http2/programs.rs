//! What do nghttp2's programs and httpwg say about a proxy?

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::{ClosedPort, wait_for};

/// What h2load counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct H2loadReport {
    /// Requests that came to an end.
    pub done: u64,
    /// Requests answered with 2xx or 3xx.
    pub succeeded: u64,
    /// Requests that failed in any way.
    pub failed: u64,
}

/// Runs h2load with these arguments; the URL is among them.
#[must_use]
#[track_caller]
pub fn h2load(arguments: &[&str]) -> H2loadReport {
    let output = Command::new("h2load")
        .args(arguments)
        .output()
        .expect("h2load is installed");
    h2load_report(&String::from_utf8_lossy(&output.stdout))
}

fn h2load_report(text: &str) -> H2loadReport {
    let line = text
        .lines()
        .find(|line| line.starts_with("requests:"))
        .unwrap_or_default();
    let number = |word: &str| {
        let before = line.split(", ").find_map(|part| part.strip_suffix(word));
        before.and_then(|part| part.trim().parse().ok()).unwrap_or(0)
    };
    H2loadReport {
        done: number(" done"),
        succeeded: number(" succeeded"),
        failed: number(" failed") + number(" errored") + number(" timeout"),
    }
}

/// Runs nghttp with these arguments, the URL among them; all that it says.
#[must_use]
#[track_caller]
pub fn nghttp(arguments: &[&str]) -> String {
    let output = Command::new("nghttp")
        .args(["--timeout=20"])
        .args(arguments)
        .output()
        .expect("nghttp is installed");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A real nghttpd, in clear, that serves files from a directory of its own.
#[derive(Debug)]
pub struct Nghttpd {
    _process: Process,
    directory: TempDir,
    port: ClosedPort,
}

impl Nghttpd {
    /// Starts it and waits until it listens.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = ClosedPort::reserve().expect("a loopback port");
        let number = port.address().port().to_string();
        let mut command = Command::new("nghttpd");
        command
            .args(["--no-tls", "--address=127.0.0.1", "--echo-upload", "-d"])
            .arg(directory.path())
            .arg(number);
        let process = Process::spawn(&mut command).expect("nghttpd is installed");
        wait_for("nghttpd listens", || TcpStream::connect(port.address()).ok());
        Self {
            _process: process,
            directory,
            port,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Puts a file where `/name` finds it.
    #[track_caller]
    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.directory.path().join(name), bytes).expect("the file is written");
    }
}

/// A real HAProxy that speaks HTTP/2 without asking, in front of one server.
#[derive(Debug)]
pub struct Haproxy {
    _process: Process,
    _directory: TempDir,
    port: ClosedPort,
}

impl Haproxy {
    /// Starts it and waits until it listens.
    #[must_use]
    #[track_caller]
    pub fn start(server: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = ClosedPort::reserve().expect("a loopback port");
        let file = directory.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode http\n timeout client 10s\n timeout server 10s\n timeout connect 5s\nfrontend front\n bind {} proto \
             h2\n default_backend back\nbackend back\n server one {server}\n",
            port.address()
        );
        std::fs::write(&file, text).expect("the configuration is written");
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        let process = Process::spawn(&mut command).expect("haproxy is installed");
        wait_for("haproxy listens", || TcpStream::connect(port.address()).ok());
        Self {
            _process: process,
            _directory: directory,
            port,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

/// What httpwg found.
#[derive(Debug, Clone, Default)]
pub struct Httpwg {
    /// How many tests passed.
    pub passed: usize,
    /// The tests that did not, with what was found in place of what was expected.
    pub failed: Vec<(String, String)>,
}

/// Runs the tests of httpwg, which are those of h2spec, against a server that speaks HTTP/2 without asking.
#[must_use]
#[track_caller]
pub fn httpwg(address: SocketAddr) -> Httpwg {
    let program = crate::peers::target().join("tools/bin/httpwg");
    let mut command = Command::new(program);
    command
        .args(["--address", &address.to_string(), "--frame-timeout", "2000"])
        .env("SEQUENTIAL", "1")
        .env("NO_COLOR", "1");
    let output = command
        .output()
        .expect("httpwg is here; `cargo xtask test --only packages` builds it");
    httpwg_report(&String::from_utf8_lossy(&output.stderr))
}

fn httpwg_report(text: &str) -> Httpwg {
    let mut report = Httpwg::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.contains("Test passed: ") {
            report.passed += 1;
        } else if let Some((_, name)) = line.split_once("Test failed: ") {
            let why = lines.by_ref().find(|line| line.contains("0: ")).unwrap_or_default();
            report.failed.push((name.trim().to_owned(), why.trim().to_owned()));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::{H2loadReport, h2load_report, httpwg_report};

    #[test]
    fn reports_are_read() {
        let text =
            "finished in 1s\nrequests: 100 total, 99 started, 98 done, 90 succeeded, 8 failed, 1 errored, 2 timeout\n";
        let expected = H2loadReport {
            done: 98,
            succeeded: 90,
            failed: 11,
        };
        assert_eq!(h2load_report(text), expected);
        let text = "✅ Test passed: a\n❌ Test failed: RFC :: b\n\n   0: Expected X\n\n✅ Test passed: c\n";
        let report = httpwg_report(text);
        assert_eq!(report.passed, 2);
        assert_eq!(report.failed, [("RFC :: b".to_owned(), "0: Expected X".to_owned())]);
    }
}
