//! What does a real Redis do: alone, behind a sentinel, and as a cluster?
//!
//! All of it is Debian's own. Nothing is kept on disk, and everything listens on loopback ports that are ours.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, Signal};
use crate::{Certified, ClosedPort, eventually, wait_for};

/// Slots of a cluster.
const SLOTS: usize = 16_384;

/// A real Redis that keeps nothing.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: ClosedPort,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Redis {
    /// Starts Redis with these arguments and waits until it listens.
    #[must_use]
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = ClosedPort::reserve().expect("a loopback port");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self {
            process: run(&directory, port.address(), &arguments),
            port,
            arguments,
            directory,
        }
    }

    /// Starts one that speaks TLS alone.
    #[must_use]
    #[track_caller]
    pub fn secured(certified: &Certified, authority: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = ClosedPort::reserve().expect("a loopback port");
        let files = [
            ("--tls-cert-file", certified.certificate.as_path()),
            ("--tls-key-file", &certified.key),
            ("--tls-ca-cert-file", authority),
        ];
        let mut arguments = ["--port", "0", "--tls-auth-clients", "no", "--tls-port"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(port.address().port().to_string());
        for (name, file) in files {
            arguments.extend([name.to_owned(), file.display().to_string()]);
        }
        Self {
            process: run(&directory, port.address(), &arguments),
            port,
            arguments,
            directory,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Stops or continues it, without closing its socket.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal).expect("redis takes a signal");
    }

    /// Kills it; its port stays ours.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let ended = self.process.wait(crate::PATIENCE).expect("its status is known");
        assert!(ended.is_some(), "redis did not end");
    }

    /// Starts it again where it was, with nothing in it.
    #[track_caller]
    pub fn revive(&mut self) {
        self.process = run(&self.directory, self.port.address(), &self.arguments);
    }

    /// What it answers to a command, as `redis-cli` prints it.
    #[must_use]
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> String {
        cli(self.address(), arguments)
    }
}

#[track_caller]
fn run(directory: &TempDir, address: SocketAddr, arguments: &[String]) -> Process {
    let mut command = Command::new("redis-server");
    command.current_dir(directory.path());
    command.args(["--bind", "127.0.0.1", "--save", "", "--port"]);
    command.arg(address.port().to_string()).args(arguments);
    let process = Process::spawn(&mut command).expect("redis-server is installed");
    wait_for("redis listens", || std::net::TcpStream::connect(address).ok());
    process
}

#[track_caller]
fn cli(address: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    let output = command.args(arguments).output().expect("redis-cli is installed");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A Redis with a replica, and a sentinel that puts the one in the place of the other.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [Redis; 2],
    port: ClosedPort,
    _sentinel: Process,
    _directory: TempDir,
}

impl RedisSentinel {
    /// What the sentinel calls it.
    pub const SERVICE: &str = "main";

    /// Starts all three, and waits until the sentinel knows the replica.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let at_once = ["--repl-diskless-sync-delay", "0"];
        let primary = Redis::start(&at_once);
        let port_of = primary.address().port().to_string();
        let replica = Redis::start(&[&at_once[..], &["--replicaof", "127.0.0.1", &port_of]].concat());
        wait_for("the replica follows", || {
            replica
                .command(&["info", "replication"])
                .contains("master_link_status:up")
                .then_some(())
        });
        let directory = tempfile::tempdir().expect("a directory");
        let port = ClosedPort::reserve().expect("a loopback port");
        let file = directory.path().join("sentinel.conf");
        let name = Self::SERVICE;
        let text = format!(
            "bind 127.0.0.1\nport {}\nsentinel monitor {name} 127.0.0.1 {port_of} 1\n\
             sentinel down-after-milliseconds {name} 3000\nsentinel failover-timeout {name} 10000\n",
            port.address().port()
        );
        fs::write(&file, text).expect("the configuration is written");
        let mut command = Command::new("redis-server");
        let sentinel = Process::spawn(command.arg(&file).arg("--sentinel").current_dir(directory.path()));
        let sentinel = sentinel.expect("redis-server is installed");
        // It asks servers often, and where the machine stood still it does not wait for half a minute before it acts again.
        eventually("the sentinel is in a hurry", || {
            let hurry = ["sentinel", "debug", "tilt-period", "1000", "info-period", "500"];
            cli(port.address(), &hurry) == "OK"
        });
        eventually("the sentinel knows the replica", || {
            cli(port.address(), &["sentinel", "replicas", name]).contains("slave-priority")
        });
        Self {
            servers: [primary, replica],
            port,
            _sentinel: sentinel,
            _directory: directory,
        }
    }

    /// Where the sentinel listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The one that was the first, and the one that was its replica.
    #[must_use]
    pub fn servers(&mut self) -> &mut [Redis; 2] {
        &mut self.servers
    }

    /// Kills the first server, and has the sentinel put the other in its place.
    ///
    /// It would do so by itself, but where the machine is busy it takes what it last heard of the other for too old, and begins again much
    /// later.
    #[track_caller]
    pub fn fail_over(&mut self) {
        let first = self.servers[0].address();
        self.servers[0].kill();
        eventually("the other server is in its place", || {
            let is_done = self.primary() != first;
            if !is_done {
                let _ = cli(self.address(), &["sentinel", "failover", Self::SERVICE]);
            }
            is_done
        });
    }

    /// Which server the sentinel says it is.
    #[must_use]
    #[track_caller]
    pub fn primary(&self) -> SocketAddr {
        wait_for("the sentinel knows who it is", || {
            let said = cli(self.address(), &["sentinel", "get-master-addr-by-name", Self::SERVICE]);
            let (host, port) = said.split_once('\n')?;
            format!("{host}:{}", port.trim()).parse().ok()
        })
    }
}

/// Three servers that have a third of the keys each.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<Redis>,
    _buses: Vec<ClosedPort>,
}

impl RedisCluster {
    /// Starts them, and waits until each knows the others.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let buses: Vec<_> = (0..3)
            .map(|_| ClosedPort::reserve().expect("a loopback port"))
            .collect();
        let server = |bus: &ClosedPort| {
            let bus = bus.address().port().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
            ];
            Redis::start(&arguments)
        };
        let servers: Vec<_> = buses.iter().map(server).collect();
        for (index, server) in servers.iter().enumerate() {
            let (first, last) = (SLOTS * index / 3, SLOTS * (index + 1) / 3 - 1);
            let range = [first.to_string(), last.to_string()];
            assert_eq!(
                server.command(&["cluster", "addslotsrange", &range[0], &range[1]]),
                "OK"
            );
            let epoch = (index + 1).to_string();
            assert_eq!(server.command(&["cluster", "set-config-epoch", &epoch]), "OK");
        }
        for (server, bus) in servers.iter().zip(&buses).skip(1) {
            let (port, bus) = (server.address().port().to_string(), bus.address().port().to_string());
            assert_eq!(servers[0].command(&["cluster", "meet", "127.0.0.1", &port, &bus]), "OK");
        }
        let cluster = Self { servers, _buses: buses };
        cluster.is_whole();
        cluster
    }

    /// Waits until all slots are served, as all servers see it.
    #[track_caller]
    pub fn is_whole(&self) {
        eventually("the cluster is whole", || {
            self.servers.iter().all(|server| {
                let info = server.command(&["cluster", "info"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
    }

    /// Its servers.
    #[must_use]
    pub fn servers(&mut self) -> &mut [Redis] {
        &mut self.servers
    }

    /// Moves a key's slot, with all keys in it, to the next server; *returns* the two servers' indices.
    #[track_caller]
    pub fn move_slot_of(&self, key: &str) -> (usize, usize) {
        let slot = self.servers[0].command(&["cluster", "keyslot", key]);
        let has = |server: &Redis| server.command(&["cluster", "countkeysinslot", &slot]) != "0";
        let from = self.servers.iter().position(has).expect("a server has the key");
        let to = (from + 1) % self.servers.len();
        let id = |index: usize| self.servers[index].command(&["cluster", "myid"]);
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let ids = (id(from), id(to));
        assert_eq!(
            target.command(&["cluster", "setslot", &slot, "importing", &ids.0]),
            "OK"
        );
        assert_eq!(
            source.command(&["cluster", "setslot", &slot, "migrating", &ids.1]),
            "OK"
        );
        let port = target.address().port().to_string();
        for key in source.command(&["cluster", "getkeysinslot", &slot, "1000"]).lines() {
            let said = source.command(&["migrate", "127.0.0.1", &port, key, "0", "1000"]);
            assert!(matches!(said.as_str(), "OK" | "NOKEY"), "{said}");
        }
        for server in [target, source] {
            assert_eq!(server.command(&["cluster", "setslot", &slot, "node", &ids.1]), "OK");
        }
        (from, to)
    }
}
