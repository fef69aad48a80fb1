//! What can be asked of the simulator?

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use isobar_balance::Balance;

use super::{Candidates, candidates};

const SCHEMA: &str = "\
Examples:
  isobar schema > isobar.schema.json
  isobar schema --scenario > scenario.schema.json

An editor with a YAML language server then knows every setting of a file that begins with
`# yaml-language-server: $schema=isobar.schema.json`.";

/// Whose schema is printed.
#[derive(Debug, Args)]
#[command(after_help = SCHEMA)]
pub(crate) struct SchemaOptions {
    /// That of scenarios for `isobar simulate`, in place of that of configuration files
    #[arg(long)]
    pub(crate) scenario: bool,
}

/// How a scenario is run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  isobar simulate examples/scenarios/fails-fast.yaml\n  \
                        isobar simulate examples/scenarios/crash.yaml --compare all --html report.html")]
pub(crate) struct SimulateOptions {
    /// The scenario; `-` is the standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The algorithms to run it with, separated by commas, or `all`; without it, the scenario's own
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = candidates())]
    pub(crate) compare: Vec<Candidates>,
    /// What chance follows from, in place of the scenario's seed
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How many requests come, in place of the scenario's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=1_000_000_000))]
    pub(crate) requests: Option<u64>,
    /// Write a page with plots, which needs nothing from elsewhere, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl SimulateOptions {
    /// The algorithms that were asked for, each once; empty: the scenario's own.
    pub(crate) fn balances(&self) -> Vec<Balance> {
        Candidates::distinct(&self.compare, Balance::ALL.iter().copied())
    }
}

/// What is known of the workload that an algorithm is to be found for.
#[derive(Debug, Args)]
#[command(after_help = "Without options, it asks on a terminal.\n\nExamples:\n  \
                        isobar recommend --servers 12 --load 0.8 --cost mixed --balancers 3\n  \
                        isobar recommend --scenario examples/scenarios/mixed-hardware.yaml\n  \
                        isobar recommend --log examples/logs/access.log --load 0.6")]
pub(crate) struct RecommendOptions {
    /// A scenario to try the algorithms on, in place of a description
    #[arg(long, value_name = "FILE", conflicts_with = "Workload")]
    pub(crate) scenario: Option<PathBuf>,
    /// An access log in JSON whose requests to try the algorithms on, in place of a description; `-` is the standard
    /// input. Of a workload only --balancers and --load are taken: a log does not tell them
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["scenario", "servers", "hardware", "cost", "lifetime", "affinity"])]
    pub(crate) log: Option<PathBuf>,
    /// The upstream of the log; without it, the one with the most requests
    #[arg(long, value_name = "NAME", requires = "log")]
    pub(crate) upstream: Option<String>,
    #[command(flatten)]
    pub(crate) workload: Workload,
    /// What chance follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many requests come in each trial [default: 60000, or as many as the scenario or the log has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    pub(crate) requests: Option<u64>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A workload in few words.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Workload {
    /// How many servers there are [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) servers: Option<u32>,
    /// Whether they are equally fast [default: equal]
    #[arg(long, value_name = "KIND")]
    pub(crate) hardware: Option<Hardware>,
    /// How many instances balance, each knowing only its own requests [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) balancers: Option<u32>,
    /// How much the time varies that requests take [default: varied]
    #[arg(long, value_name = "KIND")]
    pub(crate) cost: Option<Cost>,
    /// How long requests or connections last [default: short]
    #[arg(long, value_name = "KIND")]
    pub(crate) lifetime: Option<Lifetime>,
    /// Whether a server answers what it has seen before better [default: none]
    #[arg(long, value_name = "KIND")]
    pub(crate) affinity: Option<Affinity>,
    /// How busy the servers are on average, 0.05 to 0.98 [default: 0.7]
    #[arg(long, value_name = "PART", value_parser = load)]
    pub(crate) load: Option<f64>,
}

impl Workload {
    /// Whether nothing was said.
    pub(crate) const fn is_silent(&self) -> bool {
        let Self {
            servers,
            hardware,
            balancers,
            cost,
            lifetime,
            affinity,
            load,
        } = self;
        servers.is_none()
            && hardware.is_none()
            && balancers.is_none()
            && cost.is_none()
            && lifetime.is_none()
            && affinity.is_none()
            && load.is_none()
    }
}

/// Whether servers are equally fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hardware {
    /// All the same
    Equal,
    /// Half of them half as fast, and no weights that say so
    Mixed,
    /// All the same, on machines that others use too
    Noisy,
}

/// How much the time varies that requests take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cost {
    /// Hardly
    Even,
    /// As independent work does
    Varied,
    /// One in twenty takes twenty times as long
    Mixed,
}

/// How long requests or connections last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lifetime {
    /// Milliseconds: requests
    Short,
    /// Minutes: WebSockets, database connections
    Long,
}

/// Whether a server answers what it has seen before better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Affinity {
    /// No
    None,
    /// Yes: what it has in its cache
    Cache,
}

/// A load that the servers can bear.
pub(crate) fn load(text: &str) -> Result<f64, String> {
    let load = text.parse::<f64>().ok().filter(|load| (0.05..=0.98).contains(load));
    load.ok_or_else(|| "expected a number from 0.05 to 0.98".to_owned())
}
