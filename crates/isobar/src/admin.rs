//! The listener for operators, what it shows and what it has done.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use isobar_admin::{ConfigurationReport, Operations, View};
use isobar_control::History;
use isobar_engine::Engine;
use isobar_observe::Snapshot;
use isobar_plan::{OrderDone, OrderRefusal, RateLimitState, ServerOrder, Status};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::failure::io_reason;

/// A listener for operators that is open but not served yet.
pub(crate) struct Opened {
    asked_for: SocketAddr,
    listener: TcpListener,
}

/// A listener for operators. Closes when dropped.
pub(crate) struct Admin {
    asked_for: SocketAddr,
    address: SocketAddr,
    // Its end tells the server to stop.
    _open: oneshot::Sender<()>,
}

impl Admin {
    /// Opens the listener.
    ///
    /// *Errors*: why not, in a line.
    pub(crate) fn open(address: SocketAddr) -> Result<Opened, String> {
        let open = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Opened {
                asked_for: address,
                listener,
            })
        };
        open().map_err(|error| format!("failed to listen on {address} (admin): {}", io_reason(&error)))
    }

    /// The address in the plan.
    pub(crate) fn asked_for(&self) -> SocketAddr {
        self.asked_for
    }

    /// The address it really has.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Opened {
    /// Answers operators until the result is dropped.
    pub(crate) fn serve(self, view: Arc<OperatorView>, control: &Handle) -> Admin {
        let Self { asked_for, listener } = self;
        let address = listener.local_addr().unwrap_or(asked_for);
        let (open, closed) = oneshot::channel::<()>();
        control.spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => isobar_admin::serve(listener, view, async { drop(closed.await) }).await,
                Err(error) => tracing::error!("admin on {address} stopped: {}", io_reason(&error)),
            }
        });
        Admin {
            asked_for,
            address,
            _open: open,
        }
    }
}

/// What operators see.
pub(crate) struct OperatorView {
    engine: Arc<Engine>,
    history: Arc<History>,
    source: String,
}

impl OperatorView {
    /// A view of an engine whose configuration is called `source`.
    pub(crate) fn new(engine: Arc<Engine>, history: Arc<History>, source: String) -> Self {
        Self {
            engine,
            history,
            source,
        }
    }
}

impl View for OperatorView {
    fn status(&self) -> Status {
        self.engine.status()
    }

    fn metrics(&self) -> Snapshot {
        self.engine.metrics()
    }

    fn configuration(&self) -> ConfigurationReport {
        let past = self.history.past();
        ConfigurationReport {
            source: self.source.clone(),
            loaded_at: past.applied_at,
            last_error: past.refusal.map(|refusal| refusal.error),
        }
    }
}

impl Operations for OperatorView {
    fn order(&self, order: &ServerOrder) -> Result<OrderDone, OrderRefusal> {
        self.engine.order(order)
    }

    fn rearm(&self, limit: &str) -> Option<RateLimitState> {
        self.engine.rearm(limit)
    }
}
