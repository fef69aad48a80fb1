//! What can be asked, and what ordered?

use std::time::SystemTime;

use isobar_observe::Snapshot;
use isobar_plan::{OrderDone, OrderRefusal, RateLimitState, ServerOrder, Status};

/// The running instance, as far as it is shown.
///
/// *Cost*: each is asked at most once per request, from any thread, and may take milliseconds but not wait.
pub trait View: Send + Sync + 'static {
    /// What is true right now.
    fn status(&self) -> Status;

    /// What was counted, summed over the workers.
    fn metrics(&self) -> Snapshot;

    /// What became of the configuration.
    fn configuration(&self) -> ConfigurationReport;
}

/// The running instance, as far as operators change what it does.
///
/// *Cost*: an order may take milliseconds but not wait.
pub trait Operations: View {
    /// Takes a server out of service, or back in.
    ///
    /// *Errors*: nothing has changed.
    fn order(&self, order: &ServerOrder) -> Result<OrderDone, OrderRefusal>;

    /// Has a limit refuse again that disarmed itself.
    ///
    /// *Returns* the state it was in; none: there is no such limit.
    fn rearm(&self, limit: &str) -> Option<RateLimitState>;
}

/// What became of the configuration; how many were taken into service is in [`Status::generation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationReport {
    /// Where it comes from: the path of a file, or words such as `command line`.
    pub source: String,
    /// When the one in service was loaded.
    pub loaded_at: SystemTime,
    /// Why a newer one was refused; none: the newest is in service.
    pub last_error: Option<String>,
}
