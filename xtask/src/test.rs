//! What does a change have to pass?
//!
//! Each step is a command that can be run alone; this file knows their order and adds up their times.

mod deny;
mod suite;
mod tool;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::Outcome;
use crate::cargo::cargo;
use crate::{r#gen, packages, python, tidy};

/// What of the test run is wanted.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test                        everything
  cargo xtask test --only fmt,clippy      two steps
  cargo xtask test -- reload              the tests whose name contains `reload`")]
pub(crate) struct TestOptions {
    /// Runs only these steps, in their usual order.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEP")]
    only: Vec<Step>,
    /// Runs only the tests whose names contain one of these; other steps are left out.
    #[arg(last = true, value_name = "NAME")]
    filter: Vec<String>,
}

/// One step of the run, in the order in which they run: cheap ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The Debian and Python packages that the tests call, and a judge of HTTP/2; those of Debian are installed where the user is root.
    Packages,
    /// rustfmt.
    Fmt,
    /// The architecture and the house style.
    Tidy,
    /// clippy, without a warning.
    Clippy,
    /// Reference pages and schema are as the code would write them.
    Gen,
    /// Licences, banned crates and sources of what comes in from outside.
    Deny,
    /// The documentation builds without a warning.
    Doc,
    /// Every test of every crate.
    Tests,
    /// The end-to-end tests once more, on epoll: where io_uring is allowed, it is what they run on before.
    Epoll,
    /// The examples in the documentation.
    Doctests,
}

/// Runs the steps; goes on after a failed one, so that one run shows all there is to mend.
pub(crate) fn run(options: &TestOptions) -> Result<Outcome> {
    let mut results = Vec::new();
    for &step in Step::value_variants() {
        if !wanted(step, options) {
            continue;
        }
        let name = name(step);
        println!("\n== {name}");
        let begin = Instant::now();
        let outcome = run_step(step, &options.filter).with_context(|| format!("failed to run the step `{name}`"))?;
        results.push((name, outcome, begin.elapsed()));
        if outcome == Outcome::Impossible {
            break;
        }
    }
    summarise(&results);
    let worst = results
        .iter()
        .map(|&(_, outcome, _)| outcome)
        .max_by_key(|outcome| *outcome as u8);
    Ok(worst.unwrap_or(Outcome::Passed))
}

fn wanted(step: Step, options: &TestOptions) -> bool {
    if !options.filter.is_empty() && options.only.is_empty() {
        return step == Step::Tests;
    }
    options.only.is_empty() || options.only.contains(&step)
}

fn name(step: Step) -> String {
    step.to_possible_value()
        .map_or_else(|| format!("{step:?}"), |value| value.get_name().to_owned())
}

fn run_step(step: Step, filter: &[String]) -> Result<Outcome> {
    match step {
        Step::Packages => match packages::ensure(packages::FOR_TESTS)? {
            Outcome::Passed => match python::ensure(&python::FOR_TESTS)? {
                Outcome::Passed => judge(),
                missing => Ok(missing),
            },
            missing => Ok(missing),
        },
        Step::Fmt => status(cargo().args(["fmt", "--all", "--check"])),
        Step::Tidy => tidy::run(&tidy::TidyOptions::default()),
        Step::Clippy => status(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])),
        Step::Gen => r#gen::run(&r#gen::GenOptions { check: true }),
        Step::Deny => deny::run(),
        Step::Doc => status(cargo().env("RUSTDOCFLAGS", "-D warnings").args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ])),
        Step::Tests => suite::everything(filter),
        Step::Epoll => suite::once_more_on_epoll(filter),
        Step::Doctests => status(cargo().args(["test", "--workspace", "--doc", "--locked"])),
    }
}

/// Builds the judge of HTTP/2 where it is missing.
fn judge() -> Result<Outcome> {
    let judge = tool::HTTPWG.find_or_build()?;
    Ok(judge.map_or(Outcome::Impossible, |_| Outcome::Passed))
}

/// Runs a command in the foreground and says how it ended.
fn status(command: &mut Command) -> Result<Outcome> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {:?}", command.get_program()))?;
    Ok(if status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

fn summarise(results: &[(String, Outcome, Duration)]) {
    println!("\n== summary");
    for (name, outcome, time) in results {
        let word = match outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Impossible => "NOT POSSIBLE",
        };
        println!("{name:<10} {word:<12} {:>7.1} s", time.as_secs_f64());
    }
    let total: Duration = results.iter().map(|&(_, _, time)| time).sum();
    println!("{:<10} {:<12} {:>7.1} s", "", "", total.as_secs_f64());
}
