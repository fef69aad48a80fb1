//! What can be asked for on the command line?

mod demonstration;
mod replaying;
mod server;
mod simulation;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use isobar_balance::Balance;
use isobar_config::units::{ListenAddress, Target};
use isobar_engine::{EngineOptions, Io};
use isobar_net::runtime::{cores, io_uring_allowed};

use crate::failure::io_reason;

pub(crate) use demonstration::{DemoCommand, DemoOptions, LimitsDemoOptions, LimitsScene};
pub(crate) use replaying::{ReplayOptions, Times};
pub(crate) use server::{AdminAt, ListOptions, OneServer, ServerCommand};
pub(crate) use simulation::{
    Affinity, Cost, Hardware, Lifetime, RecommendOptions, SchemaOptions, SimulateOptions, Workload, load,
};

const EXAMPLES: &str = "\
Examples:
  isobar                                   # see it balance between three servers of its own
  isobar proxy --listen :8080 --to :9001,:9002
  isobar check isobar.yaml                 # every error at once, with its line
  isobar check isobar.yaml --effective     # the same configuration with every default written out
  isobar run isobar.yaml                   # SIGHUP, or a change of the file, reloads it
  isobar server drain api 10.0.0.1:8080 --wait 30s
  isobar schema > isobar.schema.json       # for completion in editors
  isobar simulate scenario.yaml --compare all --html report.html
  isobar recommend                         # which algorithm fits, by trying them
  isobar replay access.log.gz --config new.yaml --html report.html

`isobar help COMMAND` tells more of each.

Exit codes: 0 done, 1 failed, and the standard error says why, 2 wrong usage.";

/// A load balancer.
///
/// Without a command, Isobar demonstrates itself: three servers of different speed, visitors, and a live picture.
#[derive(Debug, Parser)]
#[command(name = "isobar", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

impl Arguments {
    /// What is asked for; nothing said asks for the demonstration.
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or_else(|| Command::Demo(DemoOptions::default()))
    }
}

/// One thing Isobar can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows it at work: three built-in servers, visitors, and a bar per server
    Demo(DemoOptions),
    /// Serves what a configuration file says, until SIGTERM
    Run(RunOptions),
    /// Serves one address from a few servers, without a file
    Proxy(ProxyOptions),
    /// Says whether a configuration file and the files it names are valid, with every error at once
    Check(CheckOptions),
    /// Takes servers of a running instance out of service and back in, and lists them
    #[command(subcommand)]
    Server(ServerCommand),
    /// Prints the JSON Schema of configuration files, or of scenarios
    Schema(SchemaOptions),
    /// Runs a scenario of servers, requests and mishaps in virtual time, with the real balancing
    Simulate(SimulateOptions),
    /// Runs recorded traffic through a configuration: whom its limits would refuse, when, and who has how much room
    Replay(ReplayOptions),
    /// Says which algorithm fits a workload, by trying them in the simulator
    Recommend(RecommendOptions),
}

const RUN: &str = "\
Example:
  isobar run isobar.yaml

SIGHUP, or a change of the file, reloads it; SIGUSR1 opens the access log again; SIGTERM finishes
what is under way, for `drain_timeout` at most, and a second one ends at once.";

/// How a configuration file is served.
#[derive(Debug, Args)]
#[command(after_help = RUN)]
pub(crate) struct RunOptions {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) workers: Workers,
}

/// How many threads serve, and how they move bytes.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Workers {
    /// Worker threads; without it, one per core this process may use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How bytes are moved between the kernel and the workers
    #[arg(long, value_name = "WAY", value_enum, default_value_t = IoChoice::Auto)]
    io: IoChoice,
}

/// The ways to move bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IoChoice {
    /// io_uring where this kernel and this container allow it, otherwise epoll
    Auto,
    /// A system call for each read and write
    Epoll,
    /// One system call for many of them; an error where it is not allowed (Linux 6.1 and later)
    #[value(name = "io_uring")]
    IoUring,
}

impl Workers {
    /// What the engine is to be started with.
    ///
    /// *Errors*: io_uring was asked for, and is not allowed.
    pub(crate) fn options(self) -> Result<EngineOptions> {
        let workers = self.workers.map_or_else(|| cores().len().max(1), usize::from);
        let io = match self.io {
            IoChoice::Epoll => Io::Epoll,
            IoChoice::Auto if io_uring_allowed().is_err() => Io::Epoll,
            IoChoice::Auto => Io::IoUring,
            IoChoice::IoUring => {
                io_uring_allowed().map_err(|error| anyhow!("failed to use io_uring: {}", io_reason(&error)))?;
                Io::IoUring
            }
        };
        Ok(EngineOptions { workers, io })
    }
}

/// What is served without a file.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  isobar proxy --listen :8080 --to 10.0.0.1:80,10.0.0.2:80 --balance round_robin")]
pub(crate) struct ProxyOptions {
    /// The address clients use; `:8080` is port 8080 on every IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: ListenAddress,
    /// The servers, separated by commas; `:9001` is port 9001 of this machine
    #[arg(long, value_name = "SERVER,…", value_delimiter = ',', required = true)]
    pub(crate) to: Vec<Target>,
    /// How a server is chosen
    #[arg(long, value_name = "NAME", default_value = "least_connections", value_parser = balance())]
    pub(crate) balance: Balance,
    /// Serve over TLS, for development: with a certificate for localhost that is made up at the start and nobody vouches for
    #[arg(long)]
    pub(crate) tls: bool,
    /// The address of the admin listener, with metrics, health endpoints and what `isobar server` asks; without it, there
    /// is none. `:9900` is port 9900 of this machine alone
    #[arg(long, value_name = "ADDRESS", value_parser = admin_address)]
    pub(crate) admin: Option<ListenAddress>,
    /// Write finished requests to the standard output
    #[arg(long, value_name = "FORMAT")]
    pub(crate) access_log: Option<AccessLogFormat>,
    #[command(flatten)]
    pub(crate) workers: Workers,
}

/// The formats of an access log that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLogFormat {
    /// One JSON object a line
    Json,
    /// The combined format of Apache and nginx
    Combined,
}

const CHECK: &str = "\
Examples:
  isobar check isobar.yaml
  isobar check isobar.yaml --effective
  isobar check isobar.yaml --json

Files with secrets and certificates that it names are read as `isobar run` reads them.
Scenarios are for `isobar simulate`.";

/// How a configuration file is checked.
#[derive(Debug, Args)]
#[command(after_help = CHECK)]
pub(crate) struct CheckOptions {
    /// The configuration file; `-` is the standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print the configuration with every default written out
    #[arg(long, conflicts_with = "json")]
    pub(crate) effective: bool,
    /// Print errors and warnings as JSON; the exit code is 1 where there are errors
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads the name of an algorithm.
fn balance() -> impl TypedValueParser<Value = Balance> {
    let named = |name: String| Balance::ALL.iter().copied().find(|balance| balance.name() == name);
    PossibleValuesParser::new(Balance::ALL.iter().map(|balance| balance.name()))
        .try_map(move |name| named(name).ok_or("there is no such algorithm"))
}

/// Reads the name of an algorithm, or `all`.
fn candidates() -> impl TypedValueParser<Value = Candidates> {
    let named = |name: String| Balance::ALL.iter().copied().find(|balance| balance.name() == name);
    let names = Balance::ALL.iter().map(|balance| balance.name());
    PossibleValuesParser::new(names.chain(["all"]))
        .map(move |name| named(name).map_or(Candidates::All, Candidates::One))
}

/// One algorithm, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidates {
    /// Every algorithm there is.
    All,
    /// This one.
    One(Balance),
}

impl Candidates {
    /// The algorithms that were asked for, each once, where `all` are all.
    fn distinct(asked: &[Self], all: impl Iterator<Item = Balance> + Clone) -> Vec<Balance> {
        let mut balances = Vec::new();
        let asked = asked.iter().flat_map(|candidates| match *candidates {
            Self::All => all.clone().collect(),
            Self::One(balance) => vec![balance],
        });
        for balance in asked {
            if !balances.contains(&balance) {
                balances.push(balance);
            }
        }
        balances
    }
}

/// An address for operators; one without a host is of this machine only, because the endpoints ask for no password.
fn admin_address(text: &str) -> Result<ListenAddress, String> {
    let read = match text.strip_prefix(':') {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST).parse(),
        None => text.parse(),
    };
    read.map_err(|_| {
        let expected = "expected the address of an admin listener, such as `127.0.0.1:9900` or `:9900`";
        let port = text
            .strip_prefix("localhost:")
            .filter(|port| port.parse::<u16>().is_ok());
        match port {
            Some(port) => format!("{expected}; did you mean `127.0.0.1:{port}`?"),
            None => expected.to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command_of_clap().debug_assert();
    }

    impl Arguments {
        fn command_of_clap() -> clap::Command {
            <Self as CommandFactory>::command()
        }
    }

    /// What help shows can be typed, and is not broken into lines where nobody says how wide a line is.
    #[test]
    fn every_example_in_a_help_text_is_understood() {
        let mut commands = vec![Arguments::command_of_clap()];
        let mut count = 0;
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let Some(after) = command.get_after_help() else {
                continue;
            };
            for line in after.to_string().lines() {
                assert!(line.chars().count() <= 100, "{line}");
                let Some(example) = line.strip_prefix("  isobar") else {
                    continue;
                };
                let words = example.split_whitespace().take_while(|word| !["#", ">"].contains(word));
                let parsed = Arguments::try_parse_from(std::iter::once("isobar").chain(words));
                assert!(parsed.is_ok(), "{example}: {parsed:?}");
                count += 1;
            }
        }
        assert!(count >= 20, "only {count} examples were found");
    }

    #[test]
    fn nothing_said_is_the_demonstration() {
        let command = Arguments::parse_from(["isobar"]).command();
        let Command::Demo(options) = command else {
            panic!("{command:?}")
        };
        assert_eq!(options.listen.0.port(), 8080);
        let Command::Demo(said) = Arguments::parse_from(["isobar", "demo"]).command() else {
            panic!()
        };
        assert_eq!(
            format!("{said:?}"),
            format!("{options:?}"),
            "the defaults stand in two places"
        );
    }

    #[test]
    fn wrong_usage_is_said() {
        let check = |arguments: &[&str], expected: &str| {
            let error = Arguments::try_parse_from([&["isobar"], arguments].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&["run"], "<FILE>");
        check(&["proxy", "--listen", ":8080"], "--to");
        check(
            &["proxy", "--listen", ":8080", "--to", ":1", "--balance", "fair"],
            "round_robin, least_connections, random",
        );
        check(&["run", "a.yaml", "--workers", "0"], "1..=1024");
        for wrong in ["foo", "foo:9900", "127.0.0.1", ":x", "http://127.0.0.1:9900"] {
            let list: &[&str] = &["server", "list", "--admin", wrong];
            check(
                list,
                "expected the address of an admin listener, such as `127.0.0.1:9900`",
            );
        }
        check(
            &["server", "enable", "api", "a", "--admin", "localhost:9900"],
            "did you mean `127.0.0.1:9900`?",
        );
    }
}
