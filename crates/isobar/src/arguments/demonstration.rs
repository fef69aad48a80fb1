//! What can be asked of the demonstration?

use std::net::{Ipv4Addr, SocketAddr};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use isobar_balance::Balance;
use isobar_config::document::LimitAlgorithm;
use isobar_config::units::{ListenAddress, Span};

use super::{Candidates, balance, candidates};

/// How the demonstration is run.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  \
                        isobar demo --balance round_robin --slow fast\n  \
                        isobar demo --failing fast --balance least_time --then round_robin --duration 20s\n  \
                        isobar demo --compare all\n  \
                        isobar demo limits",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct DemoOptions {
    #[command(subcommand)]
    pub(crate) command: Option<DemoCommand>,
    /// How a server is chosen
    #[arg(long, value_name = "NAME", default_value = "least_connections", value_parser = balance())]
    pub(crate) balance: Balance,
    /// How a server is chosen in the second half of the duration; the end shows both halves side by side
    #[arg(long, value_name = "NAME", value_parser = balance(), hide_possible_values = true,
          requires = "duration")]
    pub(crate) then: Option<Balance>,
    /// Begin with this server ten times slower
    #[arg(long, value_name = "SERVER", value_enum)]
    pub(crate) slow: Option<Builtin>,
    /// Begin with this server failing every request at once, while its health check succeeds
    #[arg(long, value_name = "SERVER", value_enum)]
    pub(crate) failing: Option<Builtin>,
    /// Try these algorithms, separated by commas, or `all`, one after the other on three equal servers of which one is
    /// slow and one fails, and show them in a table; `--duration` is for each of them [default: 5s]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = candidates(), hide_possible_values = true,
          conflicts_with_all = ["balance", "then", "slow", "failing", "servers_only"])]
    pub(crate) compare: Vec<Candidates>,
    /// Print the comparison as JSON
    #[arg(long, requires = "compare")]
    pub(crate) json: bool,
    /// End after this long, e.g. 10s; without it, `q` or Ctrl-C ends it
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// The address visitors use; when its port is taken, the next free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: ListenAddress,
    /// Only the three servers, on 127.0.0.1:9001 to 9003, for a configuration of your own
    #[arg(long)]
    pub(crate) servers_only: bool,
}

/// Another thing to see.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DemoCommand {
    /// Shows limits at work: a good user and a bad one, and fair share between four customers
    Limits(LimitsDemoOptions),
}

const LIMITS: &str = "\
Scenes:
  users       A good user asks five times a second, a bad one fifty times, and a
              limit allows each ten. The good one is answered 200 always, the bad
              one has what the limit gives, and 429 for the rest. Key `a` takes
              the next algorithm while both go on; counting begins anew then.
  fair-share  A server can do a hundred requests a second. Three customers ask
              for a tenth of that each, a fourth for a hundred times as much as
              any of them. Nobody has configured a number: the three have all
              they ask for, the fourth has the rest. Key `f` takes fair share
              away, and gives it back.

Examples:
  isobar demo limits --algorithm fixed_window
  isobar demo limits --scene fair-share
  isobar demo limits --scene fair-share --duration 10s --json | tail -1

Without a terminal there is a line a second. In JSON each line is an object with
what was counted since the beginning, and the last one has `\"end\": true`.";

/// How the demonstration of limits is run.
#[derive(Debug, Clone, Args)]
#[command(after_help = LIMITS)]
pub(crate) struct LimitsDemoOptions {
    /// Which scene comes first; key `n` shows the next one
    #[arg(long, value_enum, default_value_t = LimitsScene::Users)]
    pub(crate) scene: LimitsScene,
    /// How the limit of scene `users` counts
    #[arg(long, value_name = "NAME", default_value = "gcra", value_parser = limit_algorithm())]
    pub(crate) algorithm: LimitAlgorithm,
    /// Divide nothing in scene `fair-share` at first
    #[arg(long)]
    pub(crate) unfair: bool,
    /// End after this long, e.g. 10s; without it, `q` or Ctrl-C ends it
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// Print an object a second in place of the picture
    #[arg(long)]
    pub(crate) json: bool,
    /// The address that is asked; when its port is taken, the next free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: ListenAddress,
}

/// What is shown of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LimitsScene {
    /// A good user and a bad one under one limit
    Users,
    /// Four customers who share a server
    FairShare,
}

/// The name of an algorithm of limits.
fn limit_algorithm() -> impl TypedValueParser<Value = LimitAlgorithm> {
    let named = |name: String| LimitAlgorithm::OF_REQUESTS.into_iter().find(|it| it.name() == name);
    PossibleValuesParser::new(LimitAlgorithm::OF_REQUESTS.map(LimitAlgorithm::name))
        .try_map(move |name| named(name).ok_or("there is no such algorithm"))
}

/// A server of the demonstration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Builtin {
    /// The one of about 12 ms.
    Fast,
    /// The one of about 35 ms.
    Medium,
    /// The one of about 90 ms.
    Slow,
}

impl Builtin {
    /// Its position among the servers.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Fast => 0,
            Self::Medium => 1,
            Self::Slow => 2,
        }
    }
}

impl DemoOptions {
    /// The algorithms to compare, each once; empty: none are compared.
    pub(crate) fn compared(&self) -> Vec<Balance> {
        Candidates::distinct(&self.compare, Balance::ALL.iter().copied())
    }
}

impl Default for DemoOptions {
    fn default() -> Self {
        let listen = ListenAddress(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        Self {
            command: None,
            balance: Balance::LeastConnections,
            then: None,
            slow: None,
            failing: None,
            compare: Vec::new(),
            json: false,
            duration: None,
            listen,
            servers_only: false,
        }
    }
}
