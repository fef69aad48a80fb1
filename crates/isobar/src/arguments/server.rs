//! What can be asked of a running instance about its servers?

use clap::{Args, Subcommand};
use isobar_config::units::{ListenAddress, Span};

use super::admin_address;

const EXAMPLES: &str = "\
Examples:
  isobar server list
  isobar server drain api 10.0.0.1:8080 --wait 30s     # when it is done, the server can be stopped
  isobar server disable api 10.0.0.1:8080 --wait 30s   # the same, sessions included
  isobar server enable api 10.0.0.1:8080

The instance needs an admin listener: `admin: { address: 127.0.0.1:9900 }` in its file.";

/// What is done with servers of a running instance.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ServerCommand {
    /// Shows every server: its state, its health, its requests in flight
    #[command(visible_alias = "status")]
    List(ListOptions),
    /// Gives a server no new requests but those of its sessions; what it has, it finishes
    Drain(ChangeOptions),
    /// Gives a server no new requests at all, not even those of its sessions; what it has, it finishes
    Disable(ChangeOptions),
    /// Takes a server back into service
    Enable(OneServer),
}

/// Where the running instance is asked.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct AdminAt {
    /// The admin listener of the instance
    #[arg(long = "admin", value_name = "ADDRESS", default_value = Self::USUAL, value_parser = admin_address)]
    pub(crate) address: ListenAddress,
}

impl AdminAt {
    /// Where an instance is asked when nothing is said.
    pub(crate) const USUAL: &str = "127.0.0.1:9900";
}

/// How servers are listed.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Only the servers of this upstream
    #[arg(value_name = "UPSTREAM")]
    pub(crate) upstream: Option<String>,
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminAt,
}

/// Which server is taken out of service, and how.
#[derive(Debug, Args)]
pub(crate) struct ChangeOptions {
    #[command(flatten)]
    pub(crate) one: OneServer,
    /// Wait until the server has no request in flight, for so long at most, such as 30s; when it still has some then, the
    /// exit code is 1
    #[arg(long, value_name = "TIME")]
    pub(crate) wait: Option<Span>,
}

/// One server of a running instance.
#[derive(Debug, Args)]
pub(crate) struct OneServer {
    /// The name of its upstream
    #[arg(value_name = "UPSTREAM")]
    pub(crate) upstream: String,
    /// The server, by its name; without a name of its own that is its address as configured
    #[arg(value_name = "SERVER")]
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) admin: AdminAt,
}
