//! Is what comes in from outside allowed in?
//!
//! `cargo-deny` answers, after `deny.toml`. Where it is missing it is built once, into the target directory, so that a
//! clean machine needs nothing but Rust and later runs find it there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::status;
use super::tool::Tool;
use crate::Outcome;
use crate::cargo::workspace_root;

/// Checks bans, licences and sources.
///
/// Advisories are left out: their database comes over the network, and a change must not fail because of the day.
pub(super) fn run() -> Result<Outcome> {
    let Some(program) = find_or_build()? else {
        return Ok(Outcome::Failed);
    };
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    command.args([
        "--workspace",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    status(&mut command)
}

fn find_or_build() -> Result<Option<PathBuf>> {
    if Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Ok(Some("cargo-deny".into()));
    }
    Tool {
        name: "cargo-deny",
        program: "cargo-deny",
        version: "0.20.2",
        options: &["--no-default-features"],
    }
    .find_or_build()
}
