//! The running instance, as the control plane drives it.
//!
//! An engine and the listener for operators take a plan together or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use isobar_control::{History, Target};
use isobar_engine::{Engine, EngineOptions};
use isobar_plan::{Event, Plan, PlanDiff};
use tokio::runtime::Handle;

use crate::admin::{Admin, OperatorView};
use crate::background::ControlPlane;
use crate::failure::apply_reason;
use crate::files;

/// What serves: engine and admin listener.
pub(crate) struct Instance {
    engine: Arc<Engine>,
    view: Arc<OperatorView>,
    admin: Mutex<Option<Admin>>,
    control: Handle,
}

/// What an instance is started with.
pub(crate) struct Start {
    /// The first plan.
    pub(crate) plan: Plan,
    /// How the engine is started.
    pub(crate) options: EngineOptions,
    /// Where the engine's events go.
    pub(crate) events: Box<dyn Fn(Event) + Send + Sync>,
    /// What operators are told of the configuration.
    pub(crate) history: Arc<History>,
    /// What the configuration is called.
    pub(crate) source: String,
}

impl Instance {
    /// Opens every listener, the one for operators included. Must be called on the control plane's runtime.
    ///
    /// *Errors*: why not, in a line; nothing stays open then.
    pub(crate) fn start(start: Start) -> Result<Self, String> {
        let Start {
            mut plan,
            options,
            events,
            history,
            source,
        } = start;
        files::fill_in(&mut plan)?;
        let control = Handle::current();
        let opened = plan
            .admin
            .as_ref()
            .map(|admin| Admin::open(admin.address))
            .transpose()?;
        let background = Arc::new(ControlPlane::new(control.clone()));
        let engine = Engine::start_with(plan, options, events, background).map_err(|error| apply_reason(&error))?;
        let engine = Arc::new(engine);
        let view = Arc::new(OperatorView::new(Arc::clone(&engine), history, source));
        let admin = opened.map(|opened| opened.serve(Arc::clone(&view), &control));
        Ok(Self {
            engine,
            view,
            admin: Mutex::new(admin),
            control,
        })
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where operators ask; none: nowhere.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(Admin::address)
    }
}

impl Target for Instance {
    fn apply(&self, mut plan: Plan) -> Result<PlanDiff, String> {
        files::fill_in(&mut plan)?;
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = plan.admin.as_ref().map(|admin| admin.address);
        let asked_before = admin.as_ref().map(Admin::asked_for);
        // Opened before the engine takes the plan, so that a port in use refuses the plan as a whole.
        let opened = match wanted {
            Some(address) if asked_before != wanted => Some(Admin::open(address)?),
            _ => None,
        };
        let diff = self.engine.apply(plan).map_err(|error| apply_reason(&error))?;
        if asked_before != wanted {
            *admin = opened.map(|opened| opened.serve(Arc::clone(&self.view), &self.control));
            if let Some(admin) = &*admin {
                tracing::info!("admin on {}", admin.address());
            }
        }
        Ok(diff)
    }

    fn resolved(&self, name: &str, port: u16, outcome: Result<Vec<SocketAddr>, String>) {
        self.engine.resolved(name, port, outcome);
    }

    fn reopen_logs(&self) {
        self.engine.reopen_access_log();
    }

    fn drain(&self, deadline: Duration) -> u32 {
        self.engine.drain(deadline)
    }
}
