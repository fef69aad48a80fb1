//! How is each of the measured proxies started?
//!
//! Each has a configuration in `bench/configs`, with places for the ports and the size of its buffers.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use super::client::{Client, Load, Reuse};
use super::process::Running;
use super::workload::Tuning;
use crate::cargo::workspace_root;
use crate::packages::find;

/// The core of the measured proxy.
const PROXY_CORE: usize = 0;

/// The core of the client and of the server behind the proxy.
pub(super) const OUR_CORE: usize = 1;

/// How long a proxy may take to answer its first request.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// The distribution's HAProxy.
    Haproxy,
    /// The distribution's nginx.
    Nginx,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Floor => "floor",
            Self::Isobar => "Isobar",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        })
    }
}

impl Proxy {
    /// Whether it is one of those that Isobar is compared with.
    pub(super) const fn is_peer(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx)
    }

    /// Whether this machine has it.
    pub(super) fn is_here(self) -> bool {
        match self {
            Self::Floor | Self::Isobar => true,
            Self::Haproxy => find("haproxy").is_some(),
            Self::Nginx => find("nginx").is_some(),
        }
    }

    /// The version that it says it is.
    pub(super) fn version(self) -> String {
        let (program, flag) = match self {
            Self::Floor | Self::Isobar => return env!("CARGO_PKG_VERSION").to_owned(),
            Self::Haproxy => ("haproxy", "-v"),
            Self::Nginx => ("nginx", "-v"),
        };
        let output = find(program).and_then(|path| Command::new(path).arg(flag).output().ok());
        let said = output
            .map(|output| [output.stdout, output.stderr].concat())
            .unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let is_version = |word: &&str| word.contains('.') && word.contains(|c: char| c.is_ascii_digit());
        let word = said.split([' ', '/', '\n']).find(is_version).unwrap_or("unknown");
        word.to_owned()
    }

    /// Starts it in front of `origin`, and waits until it answers.
    pub(super) fn start(self, origin: SocketAddr, tuning: Tuning) -> Result<Started> {
        let directory = tempfile::tempdir()?;
        let address = free_address()?;
        let ports = Ports {
            listen: address.port(),
            admin: free_address()?.port(),
            origin: origin.port(),
        };
        let config = Template {
            ports,
            tuning,
            directory: directory.path(),
        };
        let mut running = match self {
            Self::Floor => {
                let program = std::env::current_exe()?;
                let mut command = Command::new(program);
                command
                    .arg("bench-floor")
                    .arg(origin.to_string())
                    .stdout(Stdio::piped());
                let mut running = Running::start(&mut command, PROXY_CORE, OUR_CORE)?;
                let address = running
                    .first_line()?
                    .parse()
                    .context("the floor did not say where it is")?;
                return Ok(Started {
                    address,
                    running,
                    _directory: directory,
                });
            }
            Self::Isobar => {
                let program = std::env::current_exe()?.with_file_name("isobar");
                let file = config.write("isobar.yaml")?;
                start(&program, &["run", &file, "--workers", "1"], config.directory)?
            }
            Self::Haproxy => {
                let file = config.write("haproxy.cfg")?;
                start(&installed("haproxy")?, &["-f", &file], config.directory)?
            }
            Self::Nginx => {
                let file = config.write("nginx.conf")?;
                let prefix = config.directory.to_string_lossy();
                start(&installed("nginx")?, &["-p", &prefix, "-c", &file], config.directory)?
            }
        };
        wait_until_it_answers(&mut running, address)
            .with_context(|| format!("{self} said: {}", said(directory.path())))?;
        Ok(Started {
            address,
            running,
            _directory: directory,
        })
    }
}

/// A proxy that answers; it ends with this value.
pub(super) struct Started {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The process.
    pub(super) running: Running,
    _directory: TempDir,
}

/// The ports that a configuration names.
struct Ports {
    listen: u16,
    admin: u16,
    origin: u16,
}

/// What is put into a configuration.
struct Template<'a> {
    ports: Ports,
    tuning: Tuning,
    directory: &'a Path,
}

impl Template<'_> {
    /// Fills the places of a file of `bench/configs`, and says where the result is.
    fn write(&self, name: &str) -> Result<String> {
        let source = workspace_root().join("bench/configs").join(name);
        let text = fs::read_to_string(&source).with_context(|| format!("failed to read {}", source.display()))?;
        let places = [
            ("@listen@", self.ports.listen.to_string()),
            ("@admin@", self.ports.admin.to_string()),
            ("@origin@", self.ports.origin.to_string()),
            (
                "@haproxy_buffer@",
                (self.tuning.haproxy_buffer_kib() * 1024).to_string(),
            ),
            ("@nginx_buffer@", format!("{}k", self.tuning.nginx_buffer_kib())),
            ("@nginx_buffering@", self.tuning.nginx_buffering().to_owned()),
            ("@directory@", self.directory.to_string_lossy().into_owned()),
        ];
        let text = places
            .iter()
            .fold(text, |text, (place, value)| text.replace(place, value));
        let file = self.directory.join(name);
        fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    }
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

fn installed(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("{program} is not installed"))
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn wait_until_it_answers(running: &mut Running, address: SocketAddr) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let load = Load {
        address,
        connections: 1,
        path: "/1k",
        reuse: Reuse::Never,
    };
    loop {
        running.ensure_running()?;
        match Client::start(load).and_then(|mut client| client.run_requests(1)) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => bail!("no answer after {} s: {error:#}", PATIENCE.as_secs()),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(name: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports {
            listen: 1001,
            admin: 1002,
            origin: 1003,
        };
        let template = Template {
            ports,
            tuning: Tuning::LargeAnswers,
            directory: directory.path(),
        };
        fs::read_to_string(template.write(name).unwrap()).unwrap()
    }

    #[test]
    fn every_place_is_filled() {
        for name in ["haproxy.cfg", "nginx.conf", "isobar.yaml"] {
            let text = filled(name);
            assert!(
                text.contains("127.0.0.1:1001") && text.contains("127.0.0.1:1003"),
                "{text}"
            );
            assert!(!text.contains('@'), "{text}");
        }
    }

    #[test]
    fn our_configuration_is_valid() {
        let source = isobar_config::Source {
            name: "isobar.yaml".into(),
            text: filled("isobar.yaml"),
        };
        assert!(isobar_config::load(&source).is_ok());
    }
}
