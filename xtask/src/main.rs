//! The project's chores, one command each; `cargo xtask --help` lists them.
//!
//! It knows the workspace and its tools; no crate of the product knows it.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks through its terminal"
)]

mod bench;
mod cargo;
mod r#gen;
mod packages;
mod profile;
mod python;
mod release;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the Isobar project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything a change has to pass, after it has seen to the packages that the tests need.
    Test(test::TestOptions),
    /// Proves the architecture and the house style from the sources and `cargo metadata`.
    Tidy(tidy::TidyOptions),
    /// Writes the reference pages and the JSON Schema from the code.
    Gen(r#gen::GenOptions),
    /// Builds the program that serves in production, by a profile of what runs how often, and prints where it is.
    Release,
    /// Takes that profile anew; needs llvm-profdata.
    Profile,
    /// Measures CPU per request of Isobar, of a byte-forwarding floor, of HAProxy, nginx and Envoy.
    Bench(bench::BenchOptions),
    /// The server behind the measured proxies.
    #[command(hide = true)]
    BenchOrigin,
    /// The same for gRPC.
    #[command(hide = true)]
    BenchGrpcOrigin,
    /// The same for DNS.
    #[command(hide = true)]
    BenchDnsOrigin,
    /// The proxy that parses nothing.
    #[command(hide = true)]
    BenchFloor(bench::FloorOptions),
}

/// How a chore ended; its number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is as it should be.
    Passed,
    /// Something was found, and printed.
    Failed,
    /// The chore could not begin; what is missing was printed.
    Impossible,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => ExitCode::SUCCESS,
            Outcome::Failed => ExitCode::from(1),
            Outcome::Impossible => ExitCode::from(2),
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Tidy(options) => tidy::run(&options),
        Command::Gen(options) => r#gen::run(&options),
        Command::Release => release::run(),
        Command::Profile => profile::run(),
        Command::Bench(options) => bench::run(&options),
        Command::BenchOrigin => bench::run_origin(),
        Command::BenchGrpcOrigin => bench::run_grpc_origin(),
        Command::BenchDnsOrigin => bench::run_dns_origin(),
        Command::BenchFloor(options) => bench::run_floor(&options),
    };
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            Outcome::Failed.into()
        }
    }
}
