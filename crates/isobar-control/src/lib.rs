//! Where do plans come from, and what keeps them true?
//!
//! Reads the configuration file, watches it, resolves the names in it and reacts to signals. What all that is for is
//! a [`Target`]; this crate knows no engine, no listener and no request, and a target goes on serving when everything
//! here stands still.
#![forbid(unsafe_code)]

mod files;
mod reload;
mod resolve;
mod signals;
mod source;
mod stamp;
mod supervise;
mod watch;

pub use reload::{Configuration, Disposition, History, LoadError, Past, Reading, Refusal, Reloader, Running, load};
pub use resolve::{DnsClient, Resolution, Resolver, Unknown};
pub use signals::{Signal, Signals};
pub use source::{MAX_BYTES, ReadError, read, read_from};
pub use supervise::{Ending, Supervisor};
pub use watch::Watcher;

use std::net::SocketAddr;
use std::time::Duration;

use isobar_plan::{Plan, PlanDiff};

/// What is kept true: the running instance, as the control plane sees it.
pub trait Target: Send + Sync + 'static {
    /// Takes a plan into service.
    ///
    /// *Cost*: may block for as long as sockets take to open; called on a thread that may wait.
    /// *Errors*: why not, in words; then nothing has changed.
    fn apply(&self, plan: Plan) -> Result<PlanDiff, String>;

    /// Tells where a server is that the plan names, or the plan that is about to be applied. An error comes only when the name was never resolved before.
    fn resolved(&self, name: &str, port: u16, outcome: Result<Vec<SocketAddr>, String>);

    /// Opens log files again, after they were moved away.
    fn reopen_logs(&self);

    /// Stops taking connections and returns when the last one is done, or at the deadline.
    ///
    /// A further call while it drains brings the deadline forward, and returns at once.
    ///
    /// *Cost*: blocks that long. *Returns* the connections that were cut.
    fn drain(&self, deadline: Duration) -> u32;
}
