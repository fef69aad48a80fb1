//! What can be asked of the demonstration?

use std::net::{Ipv4Addr, SocketAddr};

use clap::{Args, ValueEnum};
use isobar_balance::Balance;
use isobar_config::units::{ListenAddress, Span};

use super::{Candidates, balance, candidates};

/// How the demonstration is run.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
                        isobar demo --balance round_robin --slow fast\n  \
                        isobar demo --failing fast --balance least_time --then round_robin --duration 20s\n  \
                        isobar demo --compare all")]
pub(crate) struct DemoOptions {
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
