//! A plan becomes running listeners.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use isobar_plan::{Event, Name, Plan, PlanDiff, Status};

/// How an engine is started; unlike a plan, none of it can change while it runs.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Worker threads; at least 1.
    pub workers: usize,
}

/// The running data plane. Dropping it stops the workers at once.
pub struct Engine {}

/// Why a plan could not be taken into service. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A listener's address cannot be had.
    #[error("failed to listen on {address} ({name}): {source}")]
    Listen { /// Listener.
        name: Name, /// Address.
        address: SocketAddr, /// Why.
        source: std::io::Error },
    /// The access log cannot be opened.
    #[error("failed to open the access log {path}: {source}")]
    AccessLog { /// Path.
        path: String, /// Why.
        source: std::io::Error },
    /// A thread cannot be started.
    #[error("failed to start a worker thread: {0}")]
    Worker(std::io::Error),
}

impl Engine {
    /// Opens every listener and starts the workers. Events (health changes, …) go to `events`, from any thread; it must not block.
    pub fn start(_plan: Plan, _options: EngineOptions, _events: Box<dyn Fn(Event) + Send + Sync>) -> Result<Self, ApplyError> { Ok(Self {}) }
    /// Takes a new plan into service; on an error nothing has changed.
    pub fn apply(&self, _plan: Plan) -> Result<PlanDiff, ApplyError> { unimplemented!() }
    /// What is true right now.
    pub fn status(&self) -> Status { unimplemented!() }
    /// The counters, summed over the workers.
    pub fn metrics(&self) -> isobar_observe::Snapshot { unimplemented!() }
    /// Tells at which addresses a server is that the plan names (`ServerAddress::Name`). Empty or an error: the server is down until told better,
    /// for an error after a success the caller decides whether the old addresses stay (then it simply does not call).
    pub fn resolved(&self, _name: &str, _port: u16, _outcome: Result<Vec<SocketAddr>, String>) {}
    /// Opens the access log's file again, after it was moved away.
    pub fn reopen_access_log(&self) {}
    /// Stops taking connections, lets what is there finish for at most `deadline`, then closes the rest. Blocks; the number of connections cut.
    pub fn drain(&self, _deadline: Duration) -> u32 { 0 }
}
