//! Where is the workspace, and how is cargo asked about it?

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The directory of the workspace's own `Cargo.toml`.
pub(crate) fn workspace_root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// A cargo command in the workspace's directory; the same cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    command
}

/// The part of `cargo metadata` that the chores read.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// The members of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Where cargo builds.
    pub(crate) target_directory: PathBuf,
}

/// One crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// What it names in its `Cargo.toml`.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency as a crate names it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The name of the package, also where the crate renames it.
    pub(crate) name: String,
    /// None for an ordinary dependency, otherwise `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// The directory of a dependency that is not from a registry.
    pub(crate) path: Option<PathBuf>,
}

/// Asks cargo for the members of the workspace; without the graph below them, so that no network is touched.
pub(crate) fn metadata() -> Result<Metadata> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .context("failed to start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("failed to read the output of cargo metadata")
}
