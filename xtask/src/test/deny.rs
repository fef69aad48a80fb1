//! Is what comes in from outside allowed in?
//!
//! `cargo-deny` answers, after `deny.toml`. Where it is missing it is built once, into the target directory, so that a
//! clean machine needs nothing but Rust and later runs find it there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::status;
use crate::Outcome;
use crate::cargo::{cargo, metadata, workspace_root};

/// The version that is built where none is found.
const VERSION: &str = "0.20.2";

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
    let root = metadata()?.target_directory.join("tools");
    let program = root.join("bin").join("cargo-deny");
    if program.exists() {
        return Ok(Some(program));
    }
    println!("building cargo-deny {VERSION} once, into {}", root.display());
    // A debug build checks our few hundred crates in a second or two and is built in half the time.
    let mut install = cargo();
    install.args([
        "install",
        "--debug",
        "--locked",
        "--no-default-features",
        "--version",
        VERSION,
        "--root",
    ]);
    install.arg(&root).arg("cargo-deny");
    Ok((status(&mut install)? == Outcome::Passed).then_some(program))
}
