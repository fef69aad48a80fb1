//! Is a tool here that comes from the registry of Rust?
//!
//! It is built once, into the target directory, so that a clean machine needs nothing but Rust and later runs find it there.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::status;
use crate::Outcome;
use crate::cargo::{cargo, metadata};

/// A tool, and the one version of it that is built.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    /// Its name in the registry.
    pub(super) name: &'static str,
    /// The program that it brings.
    pub(super) program: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// What else cargo is told.
    pub(super) options: &'static [&'static str],
}

/// Judges how HTTP/2 is spoken: the tests of h2spec, and more.
pub(super) const HTTPWG: Tool = Tool {
    name: "httpwg-cli",
    program: "httpwg",
    version: "0.2.5",
    options: &[],
};

impl Tool {
    /// Where the program is; none: it could not be built.
    pub(super) fn find_or_build(self) -> Result<Option<PathBuf>> {
        let Self {
            name, program, version, ..
        } = self;
        let root = metadata()?.target_directory.join("tools");
        let program = root.join("bin").join(program);
        // What cargo installed there, and in which version.
        let installed = fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
        let is_right = installed.contains(&format!("\"{name} {version} ("));
        if is_right && program.exists() {
            return Ok(Some(program));
        }
        println!("building {name} {version} once, into {}", root.display());
        // A debug build works in a second or two, and is built in half the time; nobody debugs it.
        let mut install = cargo();
        install.env("CARGO_PROFILE_DEV_DEBUG", "false");
        install.args([
            "install",
            "--debug",
            "--locked",
            "--force",
            "--version",
            version,
            "--root",
        ]);
        install.arg(&root).args(self.options).arg(name);
        Ok((status(&mut install)? == Outcome::Passed).then_some(program))
    }
}
