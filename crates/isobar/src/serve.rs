//! From a valid configuration to the end of the process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use isobar_control::{
    DnsClient, Ending, History, Reading, Reloader, Resolver, Running, Signals, Supervisor, Target, Watcher,
};
use isobar_engine::{EngineOptions, Io};
use isobar_plan::{Event, Plan};

use crate::events;
use crate::failure::io_reason;
use crate::instance::{Instance, Start};

/// Threads of the control plane: reading files, names, admin. Two, so that a slow reload holds up no health endpoint.
const CONTROL_THREADS: usize = 2;

/// How long the control plane has to let go of everything at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is served.
pub(crate) struct Service {
    /// The plan to begin with.
    pub(crate) plan: Plan,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Worker threads, and how they move bytes.
    pub(crate) workers: EngineOptions,
}

/// Where a configuration comes from.
pub(crate) enum Origin {
    /// A file, which is watched.
    File {
        /// The file.
        path: PathBuf,
        /// What it said.
        text: String,
        /// How it was read, and is again.
        reading: Reading,
    },
    /// The command line.
    Arguments,
}

/// Serves until a signal asks to stop.
///
/// *Errors*: a listener, the access log or a thread cannot be had at the start.
pub(crate) fn serve(service: Service) -> Result<()> {
    if let Err(error) = isobar_net::limits::raise_descriptor_limit() {
        tracing::warn!("failed to raise the limit of open files: {}", io_reason(&error));
    }
    if let Err(error) = isobar_net::limits::use_small_pages() {
        tracing::debug!("memory comes in large pages: {}", io_reason(&error));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("failed to start the control plane")?;
    let ending = runtime.block_on(supervised(service));
    // Ends what is still under way here; the engine goes with its last user and writes out its access log.
    runtime.shutdown_timeout(LAST_WORDS);
    match ending? {
        Ending::Drained { .. } => tracing::info!("stopped"),
        Ending::AtOnce => tracing::info!("stopped at once; open connections were cut"),
    }
    Ok(())
}

async fn supervised(service: Service) -> Result<Ending> {
    let Service { plan, origin, workers } = service;
    let signals = Signals::install().context("failed to take over signals")?;
    let watcher = match &origin {
        Origin::File { path, .. } => Some(Watcher::start(path)),
        Origin::Arguments => None,
    };
    let resolver = Resolver::start(DnsClient::system());
    resolver.prepare(&plan).await;

    let history = Arc::new(History::new(SystemTime::now()));
    let started = Arc::new(AtomicBool::new(false));
    let instance = Instance::start(Start {
        plan: plan.clone(),
        options: workers,
        events: log_events(Arc::clone(&started)),
        history: Arc::clone(&history),
        source: match &origin {
            Origin::File { path, .. } => path.display().to_string(),
            Origin::Arguments => "command line".to_owned(),
        },
    });
    let instance = Arc::new(instance.map_err(|error| anyhow!(error))?);
    let target: Arc<dyn Target> = Arc::clone(&instance) as _;
    resolver.settle(&plan, Arc::clone(&target)).await;
    announce(&instance, workers);
    started.store(true, Ordering::Release);

    let drain_timeout = plan.drain_timeout;
    let file = match (origin, watcher) {
        (Origin::File { path, text, reading }, Some(watcher)) => {
            let running = Running {
                path,
                text,
                plan,
                resolver,
                target: Arc::clone(&target),
                history,
                reading,
            };
            Some((watcher, Reloader::new(running)))
        }
        _ => None,
    };
    Ok(Supervisor {
        signals,
        file,
        target,
        drain_timeout,
    }
    .run()
    .await)
}

/// Logs what the engine tells once it is announced; what happens before is part of the announcement.
fn log_events(started: Arc<AtomicBool>) -> Box<dyn Fn(Event) + Send + Sync> {
    Box::new(move |event| {
        let of_start = matches!(event, Event::Listener { .. } | Event::Applied { .. });
        if !of_start || started.load(Ordering::Acquire) {
            events::log(&event);
        }
    })
}

/// Says where clients and operators come in. Tests and scripts wait for these lines.
fn announce(instance: &Instance, EngineOptions { workers, io }: EngineOptions) {
    let way = match io {
        Io::Epoll => "epoll",
        Io::IoUring => "io_uring",
    };
    tracing::info!("{workers} worker{} on {way}", if workers == 1 { "" } else { "s" });
    for listener in instance.engine().status().listeners {
        tracing::info!("listening on {} ({})", listener.address, listener.name);
    }
    if let Some(address) = instance.admin_address() {
        tracing::info!("admin on {address}");
    }
    tracing::info!("ready");
}
