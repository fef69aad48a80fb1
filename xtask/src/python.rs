//! Which Python packages do the tests call, and are they here?
//!
//! They go into a directory beside what cargo builds, so that nothing of the system changes and `cargo clean` takes them
//! away. The testkit looks for them there.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::Outcome;
use crate::cargo::metadata;

/// The packages with their versions: a server of another make whose health is asked after, a judge of TLS, and both ends of a
/// WebSocket.
const PACKAGES: &[&str] = &[
    "grpcio==1.85.3",
    "grpcio-health-checking==1.85.1",
    "sslyze==6.3.1",
    "websockets==17.4",
];

/// Installs the packages unless these very ones were installed before.
pub(crate) fn ensure() -> Result<Outcome> {
    let directory = metadata()?.target_directory.join("python");
    let note = directory.join("installed");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&note).is_ok_and(|installed| installed == wanted) {
        println!("all {} Python packages are here", PACKAGES.len());
        return Ok(Outcome::Passed);
    }
    println!("installing {}", PACKAGES.join(" "));
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
        .args(PACKAGES)
        .status()
        .context("failed to start python3")?;
    if !status.success() {
        println!("pip ended with {status}");
        return Ok(Outcome::Impossible);
    }
    fs::write(&note, wanted).context("failed to note what was installed")?;
    Ok(Outcome::Passed)
}
