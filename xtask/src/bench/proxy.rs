//! How is each of the measured proxies started?

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use super::client::{Client, Load, Reuse, Speech};
use super::config::{Origins, Ports, Template};
use super::http2::Call;
use super::identity::Identity;
use super::origin;
use super::process::Running;
use super::workload::{Listener, Protocol, Row, Workload};
use crate::packages::find;
use crate::python;

/// The core of the measured proxy.
const PROXY_CORE: usize = 0;

/// The core of the client and of the server behind the proxy.
pub(super) const OUR_CORE: usize = 1;

/// How long a proxy may take to answer its first request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to answer, once it is up, as a row asks.
const PATIENCE_ONCE_UP: Duration = Duration::from_secs(1);

/// The file that takes what a proxy says, for when it does not start.
const SAID: &str = "stderr";

/// A measured proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Proxy {
    /// Forwards bytes, parses nothing.
    Floor,
    /// This project.
    Isobar,
    /// This project without the limit that the row is about.
    Unlimited,
    /// The distribution's HAProxy.
    Haproxy,
    /// The distribution's nginx.
    Nginx,
    /// Envoy, from PyPI; where HTTP/2 goes on to the server, and in the other rows if it is named.
    Envoy,
    /// The distribution's dnsdist; in the rows of DNS.
    Dnsdist,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Floor => "floor",
            Self::Isobar => "Isobar",
            Self::Unlimited => "Isobar without a limit",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Dnsdist => "dnsdist",
        })
    }
}

/// What all proxies are measured with.
pub(super) struct Setting {
    /// The servers behind them.
    pub(super) origins: Origins,
    /// What they show under TLS.
    pub(super) identity: Identity,
    /// The program of Isobar.
    pub(super) isobar: PathBuf,
}

impl Setting {
    /// What a row asks for, at one address.
    fn load(&self, workload: &Workload, address: SocketAddr) -> Result<Load> {
        let get = |path| -> Result<Call> {
            let length = origin::length(path).with_context(|| format!("nothing is served under {path}"))?;
            Ok(Call::Get { path, length })
        };
        let (speech, alpn) = match workload.protocol {
            Protocol::Http1 => (Speech::Http1(workload.path), "http/1.1"),
            Protocol::Http2 { streams } => (Speech::Http2(get(workload.path)?, streams), "h2"),
            Protocol::Grpc { streams } => (Speech::Http2(Call::Grpc, streams), "h2"),
            Protocol::Dns => (Speech::Dns, ""),
        };
        let within_tls = workload.listener == Listener::Tls;
        let tls = within_tls.then(|| self.identity.client(workload.key_exchange, alpn));
        Ok(Load {
            address,
            tls: tls.transpose()?,
            connections: workload.connections,
            speech,
            reuse: workload.reuse,
        })
    }
}

impl Proxy {
    /// Whether it is one of those that Isobar is compared with.
    pub(super) const fn is_peer(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx | Self::Envoy | Self::Dnsdist)
    }

    /// Whether this machine has it.
    pub(super) fn is_here(self) -> bool {
        match self {
            Self::Floor | Self::Isobar | Self::Unlimited => true,
            Self::Haproxy | Self::Nginx | Self::Envoy | Self::Dnsdist => self.program().is_some(),
        }
    }

    /// The version that it says it is.
    pub(super) fn version(self) -> String {
        let flag = match self {
            Self::Floor | Self::Isobar | Self::Unlimited => return env!("CARGO_PKG_VERSION").to_owned(),
            Self::Haproxy | Self::Nginx => "-v",
            Self::Envoy | Self::Dnsdist => "--version",
        };
        let output = self
            .program()
            .and_then(|path| Command::new(path).arg(flag).output().ok());
        let said = output
            .map(|output| [output.stdout, output.stderr].concat())
            .unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let is_version = |word: &&str| word.contains('.') && word.contains(|c: char| c.is_ascii_digit());
        let word = said.split([' ', '/', '\n']).find(is_version).unwrap_or("unknown");
        word.to_owned()
    }

    /// The program of a peer, where it is installed.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Floor | Self::Isobar | Self::Unlimited => None,
            Self::Haproxy => find("haproxy"),
            Self::Nginx => find("nginx"),
            Self::Envoy => python::envoy(),
            Self::Dnsdist => find("dnsdist"),
        }
    }

    /// Starts it as a row asks, and waits until it answers so.
    pub(super) fn start(self, setting: &Setting, row: Row) -> Result<Started> {
        let workload = row.workload();
        let directory = tempfile::tempdir()?;
        if self == Self::Floor {
            return start_floor(setting, &workload, directory);
        }
        let ports = Ports::free()?;
        let config = Template {
            ports,
            origins: setting.origins,
            listener: workload.listener,
            tuning: workload.tuning,
            certificate: setting.identity.file(),
            directory: directory.path(),
        };
        let mut running = self.start_with(setting, &config)?;
        let listener = match self {
            Self::Unlimited => Listener::Plain,
            _ => workload.listener,
        };
        let load = setting.load(&workload, ports.address(listener))?;
        let plain = Load {
            address: ports.address(Listener::Plain),
            tls: None,
            connections: 1,
            speech: Speech::Http1("/1k"),
            reuse: Reuse::Never,
        };
        let once = Load {
            connections: 1,
            ..load.clone()
        };
        let first = if workload.listener.is_udp() { &once } else { &plain };
        wait_until_it_answers(&mut running, first, PATIENCE)
            .with_context(|| format!("{self} said `{}`", said(directory.path())))?;
        wait_until_it_answers(&mut running, &once, PATIENCE_ONCE_UP)?;
        Ok(Started {
            load,
            running,
            _directory: directory,
        })
    }

    fn start_with(self, setting: &Setting, config: &Template<'_>) -> Result<Running> {
        let installed = || {
            self.program()
                .with_context(|| format!("the program of {self} is not installed"))
        };
        let is_udp = config.listener.is_udp();
        match self {
            Self::Floor => bail!("the floor has no configuration"),
            Self::Isobar | Self::Unlimited => {
                let file = config.write(match config.listener {
                    Listener::Limited => "isobar-limit.yaml",
                    _ if is_udp => "isobar-udp.yaml",
                    _ => "isobar.yaml",
                })?;
                start(&setting.isobar, &["run", &file, "--workers", "1"], config.directory)
            }
            Self::Haproxy => {
                let file = config.write("haproxy.cfg")?;
                start(&installed()?, &["-f", &file], config.directory)
            }
            Self::Nginx => {
                let file = config.write(if is_udp { "nginx-udp.conf" } else { "nginx.conf" })?;
                let prefix = config.directory.to_string_lossy();
                start(&installed()?, &["-p", &prefix, "-c", &file], config.directory)
            }
            Self::Envoy => {
                let file = config.write("envoy.yaml")?;
                let mut arguments = vec!["-c", &file, "--concurrency", "1"];
                arguments.extend(["--disable-hot-restart", "--log-level", "error"]);
                start(&installed()?, &arguments, config.directory)
            }
            Self::Dnsdist => {
                let file = config.write("dnsdist.conf")?;
                let arguments = ["--supervised", "--disable-syslog", "-C", &file];
                start(&installed()?, &arguments, config.directory)
            }
        }
    }
}

/// A proxy that answers; it ends with this value.
pub(super) struct Started {
    /// What the row asks of it.
    pub(super) load: Load,
    /// The process.
    pub(super) running: Running,
    _directory: TempDir,
}

fn start_floor(setting: &Setting, workload: &Workload, directory: TempDir) -> Result<Started> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("bench-floor")
        .arg(setting.origins.http1.to_string())
        .stdout(Stdio::piped());
    let mut running = Running::start(&mut command, PROXY_CORE, OUR_CORE)?;
    let address = running
        .first_line()?
        .parse()
        .context("the floor did not say where it is")?;
    Ok(Started {
        load: setting.load(workload, address)?,
        running,
        _directory: directory,
    })
}

/// Starts a program that ends when this one does, however that happens; without setpriv(1), when it ends well.
fn start(program: &Path, arguments: &[&str], directory: &Path) -> Result<Running> {
    let mut command = match find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let said = fs::File::create(directory.join(SAID))?;
    command.args(arguments).stdout(Stdio::null()).stderr(said);
    Running::start(&mut command, PROXY_CORE, OUR_CORE)
}

/// What a proxy said, on one line.
fn said(directory: &Path) -> String {
    let text = fs::read_to_string(directory.join(SAID)).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn wait_until_it_answers(running: &mut Running, load: &Load, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    loop {
        running.ensure_running()?;
        match Client::start(load.clone()).and_then(|mut client| client.run_requests(1)) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("no good answer for {} s", patience.as_secs_f64())));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
