//! Which code of the program runs how often?
//!
//! It is built so that it counts, serves every kind of traffic that the benchmark has, and what it counted becomes the profile that
//! [`crate::release`] builds by.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Outcome;
use crate::cargo::workspace_root;
use crate::release::{self, Compiler};
use crate::{bench, packages};

/// How the program runs while it counts: what has code of its own that the benchmark alone would not show.
struct Manner {
    name: &'static str,
    /// How bytes are moved.
    io: &'static str,
    /// What is added to its configuration.
    more: &'static str,
}

const MANNERS: [Manner; 3] = [
    Manner {
        name: "io_uring",
        io: "io_uring",
        more: "",
    },
    Manner {
        name: "epoll",
        io: "epoll",
        more: "",
    },
    Manner {
        name: "log",
        io: "io_uring",
        more: "access_log: { path: /dev/null, format: json }",
    },
];

/// Builds, has it serve and writes the profile.
pub(crate) fn run() -> Result<Outcome> {
    let compiler = Compiler::ask()?;
    let Some(merge) = llvm_profdata(&compiler) else {
        println!(
            "llvm-profdata of LLVM {} is not here:\n\n    rustup component add llvm-tools\n\nor Debian's package llvm-{0}",
            compiler.llvm
        );
        return Ok(Outcome::Impossible);
    };
    let Some(program) = release::build("counting", &["-Cprofile-generate".to_owned()])? else {
        return Ok(Outcome::Failed);
    };
    let directory = tempfile::tempdir()?;
    for manner in &MANNERS {
        println!("\n== {}", manner.name);
        serve(&manner.wrap(&program, directory.path())?, directory.path())?;
    }
    merge_counts(&merge, directory.path())?;
    Ok(Outcome::Passed)
}

/// Where the tool is that reads the counts: beside the compiler, or of the distribution.
fn llvm_profdata(compiler: &Compiler) -> Option<PathBuf> {
    let beside = compiler.root.join("lib/rustlib").join(&compiler.target);
    let beside = beside.join("bin/llvm-profdata");
    match beside.is_file() {
        true => Some(beside),
        false => packages::find(&format!("llvm-profdata-{}", compiler.llvm)),
    }
}

impl Manner {
    /// A program that is the one that counts, run in this manner; it is called as the benchmark does: `run FILE`, and options.
    fn wrap(&self, program: &Path, directory: &Path) -> Result<PathBuf> {
        let Self { name, io, more } = self;
        let file = directory.join(name);
        let program = program.display();
        let script = format!("#!/bin/sh\necho '{more}' >> \"$2\"\nexec '{program}' \"$@\" --io {io}\n");
        fs::write(&file, script)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(file)
    }
}

/// Has it serve what the benchmark asks for; it leaves its counts in the directory when it ends.
fn serve(program: &Path, counts: &Path) -> Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .args(["bench", "--proxies", "isobar", "--rounds", "1", "--seconds", "2"])
        .args(["--only", &bench::rows_under_load(), "--isobar"])
        .arg(program)
        .env("LLVM_PROFILE_FILE", counts.join("%p.profraw"))
        .status()
        .context("failed to start the benchmark")?;
    ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}

fn merge_counts(merge: &Path, directory: &Path) -> Result<()> {
    let mut counts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "profraw") {
            counts.push(file);
        }
    }
    ensure!(!counts.is_empty(), "nothing was counted");
    let profile = workspace_root().join(release::PROFILE);
    let status = Command::new(merge)
        .args(["merge", "--sparse", "--output"])
        .arg(&profile)
        .args(&counts)
        .status()
        .with_context(|| format!("failed to start {}", merge.display()))?;
    ensure!(status.success(), "{} ended with {status}", merge.display());
    println!("\n{}: {} runs", release::PROFILE, counts.len());
    Ok(())
}
