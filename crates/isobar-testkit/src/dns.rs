//! Which DNS server and load are there to test UDP with?

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::process::Process;
use crate::wait_for;

/// Names that the zone of [`Nsd`] has, `n0.example.` and so on.
const NAMES: usize = 100;

/// Ports that are tried.
const ATTEMPTS: usize = 20;

/// A real NSD with one small zone.
#[derive(Debug)]
pub struct Nsd {
    process: Process,
    directory: TempDir,
    address: SocketAddr,
}

impl Nsd {
    /// Starts it and waits until it answers.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        // It wants a port for UDP and TCP both, which somebody may take in the moment until it has it.
        (0..ATTEMPTS)
            .find_map(|_| Self::at(free_port().expect("a port")))
            .expect("nsd finds a port")
    }

    /// Starts it at an address; none: it has ended.
    fn at(address: SocketAddr) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let records: String = (0..NAMES).map(|n| format!("n{n} IN A 10.0.0.{n}\n")).collect();
        let zone =
            format!("$ORIGIN example.\n$TTL 60\n@ IN SOA ns.example. a.example. 1 60 60 60 60\n@ IN NS ns\n{records}");
        let path = directory.path().display();
        let configuration = format!(
            "server:\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{path}\"\n pidfile: \"{path}/pid\"\n \
             database: \"\"\n xfrdfile: \"{path}/xfrd\"\n xfrdir: \"{path}\"\n zonelistfile: \"{path}/list\"\n server-count: 1\n\
             remote-control:\n control-enable: no\nzone:\n name: example.\n zonefile: example.zone\n",
            address.ip(),
            address.port()
        );
        fs::write(directory.path().join("example.zone"), zone).expect("the zone is written");
        let file = directory.path().join("nsd.conf");
        fs::write(&file, configuration).expect("the configuration is written");
        let mut process = Process::spawn(Command::new("nsd").arg("-d").arg("-c").arg(&file)).expect("nsd is installed");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.connect(address).expect("a way");
        client
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        let answers = wait_for("nsd answers", || {
            if let Ok(Some(_)) = process.wait(Duration::ZERO) {
                return Some(false);
            }
            // A question for the address of n1.example.
            client
                .send(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02n1\x07example\0\0\x01\0\x01")
                .ok()?;
            client.recv(&mut [0; 512]).ok().map(|_| true)
        });
        answers.then_some(Self {
            process,
            directory,
            address,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server, for what it costs.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Has dnsperf ask for the names of the zone.
    #[must_use]
    #[track_caller]
    pub fn dnsperf(&self, to: SocketAddr, arguments: &[&str]) -> DnsperfReport {
        let file = self.directory.path().join("queries");
        let queries: String = (0..NAMES).map(|n| format!("n{n}.example. A\n")).collect();
        fs::write(&file, queries).expect("the queries are written");
        let mut command = Command::new("dnsperf");
        command.args(["-s", &to.ip().to_string(), "-p", &to.port().to_string(), "-d"]);
        let output = command
            .arg(&file)
            .args(arguments)
            .output()
            .expect("dnsperf is installed");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{report}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        DnsperfReport { report }
    }
}

/// What dnsperf says.
#[derive(Debug, Clone)]
pub struct DnsperfReport {
    report: String,
}

impl DnsperfReport {
    /// A number by the words before it, as in `Queries lost:`; none: it is not there.
    #[must_use]
    pub fn number(&self, words: &str) -> Option<f64> {
        let line = self.report.lines().find_map(|line| line.trim().strip_prefix(words))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.report
    }
}

/// A port that neither UDP nor TCP has, not even for a connection.
fn free_port() -> io::Result<SocketAddr> {
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0")?;
        let address = datagrams.local_addr()?;
        let connections = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if connections.bind(&address.into()).is_ok() {
            return Ok(address);
        }
    }
}
