//! How do the tests run beside each other, and which of them twice?
//!
//! What computes is run by as many as there are CPUs. What is run from end to end waits for most of its time, for windows
//! and timeouts to pass, so that a CPU has several of these; those that need one for themselves say so in
//! `.config/nextest.toml`.

use std::process::Command;
use std::thread;

use anyhow::Result;

use super::status;
use crate::Outcome;
use crate::cargo::cargo;

/// The tests that run the program, in the language of nextest.
const END_TO_END: &str = "package(isobar)";

/// The files of them in which no Isobar moves bytes in the way that `ISOBAR_TEST_IO` names: nothing in them changes on epoll.
const WITHOUT_TRAFFIC: [&str; 4] = ["demo", "demo_limits", "simulate", "where_each_loses"];

/// How many end-to-end tests share a CPU.
const WAITING_FOR_EACH_CPU: usize = 2;

/// Runs every test of every crate, or those whose names are given.
pub(super) fn everything(names: &[String]) -> Result<Outcome> {
    if !has_nextest() {
        return status(plain("--workspace").args(names));
    }
    let computing = status(nextest(&format!("not {END_TO_END}")).args(names))?;
    let waiting = status(side_by_side(END_TO_END).args(names))?;
    Ok([computing, waiting]
        .into_iter()
        .find(|outcome| *outcome != Outcome::Passed)
        .unwrap_or(Outcome::Passed))
}

/// Runs the end-to-end tests in which bytes move, and moves them by way of epoll.
pub(super) fn once_more_on_epoll(names: &[String]) -> Result<Outcome> {
    let mut command = if has_nextest() {
        let files = WITHOUT_TRAFFIC.join("|");
        side_by_side(&format!("{END_TO_END} and not (kind(bin) or binary(/^({files})$/))"))
    } else {
        plain("--package=isobar")
    };
    status(command.args(names).env("ISOBAR_TEST_IO", "epoll"))
}

fn has_nextest() -> bool {
    cargo()
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// nextest, for some of the tests.
fn nextest(tests: &str) -> Command {
    let mut command = cargo();
    // Always of the whole workspace: a package alone may have other features, and all would be built once more. Examples
    // have no tests, and clippy has seen them.
    command
        .args(["nextest", "run", "--workspace", "--lib", "--bins", "--tests"])
        .args(["--locked", "--no-fail-fast", "--no-tests", "warn"])
        .args(["--filterset", tests]);
    command
}

/// The same for tests that wait.
fn side_by_side(tests: &str) -> Command {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let mut command = nextest(tests);
    command.args(["--test-threads", &(cpus * WAITING_FOR_EACH_CPU).to_string()]);
    command
}

/// What every Rust has instead of nextest.
fn plain(packages: &str) -> Command {
    let mut command = cargo();
    command
        .args(["test", packages, "--lib", "--bins", "--tests"])
        .args(["--locked", "--no-fail-fast", "--"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::workspace_root;

    #[test]
    fn what_is_left_out_is_there() {
        for file in WITHOUT_TRAFFIC {
            let file = workspace_root().join(format!("crates/isobar/tests/{file}.rs"));
            assert!(file.exists(), "{}", file.display());
        }
    }
}
