//! How is the program built that serves in production?
//!
//! As `cargo build --release` does, and by a profile: which of its code runs how often, and which hardly ever. The compiler puts
//! together what runs together, so that a request takes a quarter fewer instructions. How the profile comes about is
//! [`crate::profile`]'s.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Outcome;
use crate::cargo::{cargo, metadata, workspace_root};

/// The profile, from the workspace's directory.
pub(crate) const PROFILE: &str = "bench/isobar.profdata";

/// Builds the program and says where it is.
pub(crate) fn run() -> Result<Outcome> {
    match guided()? {
        Some(program) => {
            println!("{}", program.display());
            Ok(Outcome::Passed)
        }
        None => Ok(Outcome::Failed),
    }
}

/// Builds the program by the profile; where it is, or none: cargo has said why not.
pub(crate) fn guided() -> Result<Option<PathBuf>> {
    let profile = workspace_root().join(PROFILE);
    ensure!(profile.is_file(), "{} is not there", profile.display());
    let program = build("guided", &using(&profile))?;
    if let Some(program) = &program {
        let known = known(&fs::read(&profile)?, &fs::read(program)?);
        if known < WELL_KNOWN {
            // Not on the standard output, where the path is alone for who calls this in a script.
            eprintln!(
                "\nof the functions in {PROFILE} only {:.0} % are in this program, which is built as if there was no profile of the rest: \
                 `cargo xtask profile` takes it anew\n",
                known * 100.0
            );
        }
    }
    Ok(program)
}

/// A program that has a smaller share of a profile's functions is another one than the profile was taken of. When it was new the share was
/// 0.71: the rest are inlined wherever they are called.
const WELL_KNOWN: f64 = 0.5;

/// The share of a profile's functions that are in a program, from 0 to 1. A function has another name when a dependency of its crate has
/// another version, and is not found then.
fn known(profile: &[u8], program: &[u8]) -> f64 {
    let (profile, program) = (name_hashes(profile), name_hashes(program));
    profile.intersection(&program).count() as f64 / profile.len().max(1) as f64
}

/// The hashes in the names of functions: what is between `17h` and the `E` at the end.
fn name_hashes(bytes: &[u8]) -> HashSet<&[u8]> {
    let names = bytes.windows(20);
    let hashes = names.filter_map(|name| name.strip_prefix(b"17h")?.strip_suffix(b"E"));
    hashes.filter(|hash| hash.iter().all(u8::is_ascii_hexdigit)).collect()
}

/// What makes the compiler go by a profile.
fn using(profile: &Path) -> Vec<String> {
    vec![
        format!("-Cprofile-use={}", profile.display()),
        // The code goes on while a profile stays: what it does not know is built as it would be without one.
        "-Cllvm-args=-no-pgo-warn-mismatch".to_owned(),
        // Nor is code made small that the profile has not seen: who runs the program does other things with it than a benchmark.
        "-Cllvm-args=-pgso=false".to_owned(),
    ]
}

/// Builds the program for speed with more options of the compiler, into a directory of its own; none: cargo has said why not.
pub(crate) fn build(directory: &str, options: &[String]) -> Result<Option<PathBuf>> {
    let compiler = Compiler::ask()?;
    let directory = metadata()?.target_directory.join(directory);
    let mut given = options_of_caller();
    given.extend_from_slice(options);
    let status = cargo()
        .args(["build", "--release", "--locked", "--package", "isobar"])
        // With a target named, what only runs at build time is built without these options.
        .args(["--target", &compiler.target])
        .arg("--target-dir")
        .arg(&directory)
        .env(ENCODED_OPTIONS, given.join(BETWEEN_OPTIONS))
        .status()
        .context("failed to start cargo")?;
    Ok(status
        .success()
        .then(|| directory.join(compiler.target).join("release").join("isobar")))
}

/// Where cargo finds options of the compiler, words of their own whatever a path has in it; it goes before `RUSTFLAGS`.
const ENCODED_OPTIONS: &str = "CARGO_ENCODED_RUSTFLAGS";
const BETWEEN_OPTIONS: &str = "\u{1f}";

/// What whoever calls wants the compiler to be told.
fn options_of_caller() -> Vec<String> {
    let plain = || std::env::var("RUSTFLAGS").map(|flags| words(flags.split_ascii_whitespace()));
    let encoded = std::env::var(ENCODED_OPTIONS).map(|flags| words(flags.split(BETWEEN_OPTIONS)));
    encoded.or_else(|_| plain()).unwrap_or_default()
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The compiler that cargo calls in this workspace.
pub(crate) struct Compiler {
    /// What it builds for unless it is told.
    pub(crate) target: String,
    /// The major version of LLVM in it, whose tools read its profiles.
    pub(crate) llvm: String,
    /// Where its own files are.
    pub(crate) root: PathBuf,
}

impl Compiler {
    pub(crate) fn ask() -> Result<Self> {
        let version = said(&["--version", "--verbose"])?;
        let line = |name: &str| {
            let found = version.lines().find_map(|line| line.strip_prefix(name));
            found.with_context(|| format!("rustc does not say `{name}`"))
        };
        let llvm = line("LLVM version: ")?;
        Ok(Self {
            target: line("host: ")?.to_owned(),
            llvm: llvm.split_once('.').map_or(llvm, |(major, _)| major).to_owned(),
            root: said(&["--print", "sysroot"])?.into(),
        })
    }
}

fn said(arguments: &[&str]) -> Result<String> {
    let output = rustc().args(arguments).output().context("failed to start rustc")?;
    ensure!(
        output.status.success(),
        "rustc failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn rustc() -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(workspace_root());
    command
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Stdio;

    use super::*;

    /// What the compiler says of a program with these options.
    fn compiler_says(options: &[String]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let mut compiler = rustc()
            .args(["--crate-type", "lib", "--crate-name", "any", "-Copt-level=3", "-"])
            .args(options)
            .arg("--out-dir")
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let program = b"pub fn double(number: u32) -> u32 { number << 1 }";
        compiler.stdin.take().unwrap().write_all(program).unwrap();
        let output = compiler.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// It only warns of a profile that it cannot read, and goes on without.
    #[test]
    fn the_compiler_reads_the_profile() {
        assert_eq!(compiler_says(&using(&workspace_root().join(PROFILE))), "");
        let other = compiler_says(&using(&workspace_root().join("Cargo.lock")));
        assert!(other.contains("invalid instrumentation profile"), "{other}");
    }

    #[test]
    fn functions_are_known_by_the_hashes_of_their_names() {
        let check = |profile: &str, program: &str, expected: f64| {
            let known = known(profile.as_bytes(), program.as_bytes());
            assert!((known - expected).abs() < 1e-9, "{profile}, {program}: {known}");
        };
        let (one, two) = ("_ZN1a1b17h0123456789abcdefE", "_ZN1a1c17hfedcba9876543210E");
        check(&format!("{one}{two}"), &format!("\0{two}\0{one}\0"), 1.0);
        check(&format!("{one}\0{two}"), &format!("{one}.llvm.7"), 0.5);
        check(one, two, 0.0);
        check("_ZN1a1b17h0123456789abcdegE", "", 0.0);
        check("", one, 0.0);
    }

    #[test]
    fn the_compiler_says_what_it_is() {
        let compiler = Compiler::ask().unwrap();
        assert!(compiler.llvm.parse::<u32>().is_ok(), "{}", compiler.llvm);
        assert!(compiler.target.contains("linux"), "{}", compiler.target);
        assert!(compiler.root.is_dir());
    }
}
