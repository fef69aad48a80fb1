//! What does a person want of Isobar?
//!
//! The only crate that sees both halves: it puts the control plane's wishes and the data plane's engine together, and
//! speaks with people: arguments, the log, errors, and a demonstration.
#![forbid(unsafe_code)]

mod admin;
mod arguments;
mod background;
mod commands;
mod demo;
mod events;
mod failure;
mod files;
mod instance;
mod logging;
mod page;
mod passwords;
mod picture;
mod plot;
mod recommend;
mod replay;
mod serve;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

// Workers allocate and free on different threads when connections move; mimalloc does that without a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command() {
        Command::Demo(options) => demo::run(&options),
        Command::Run(options) => commands::run(&options),
        Command::Proxy(options) => commands::proxy(&options),
        Command::Check(options) => commands::check(&options),
        Command::Server(command) => commands::server(&command),
        Command::Schema(options) => commands::schema(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Recommend(options) => recommend::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
