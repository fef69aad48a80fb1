//! How does a proxy fare under requests that never stop?

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{Client, eventually};

const MAX_KEPT_FAILURES: usize = 20;

/// What a load consists of.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Clients, each with one request at a time.
    pub clients: usize,
    /// Requests a client sends on one connection; 1: a new connection for each.
    pub per_connection: usize,
    /// The bytes of each request, which must not be HEAD.
    pub request: Vec<u8>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        let request = b"GET /load HTTP/1.1\r\nhost: test.example\r\n\r\n".to_vec();
        Self {
            clients: 4,
            per_connection: 50,
            request,
        }
    }
}

/// Requests that are being sent in a closed loop until [`finish`](Self::finish).
///
/// A client keeps its connection until the answer says otherwise; everything else that ends one is a failure.
#[derive(Debug)]
pub struct Load {
    state: Arc<State>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    stopping: AtomicBool,
    succeeded: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What became of a load.
#[derive(Debug)]
pub struct LoadReport {
    /// Requests answered with 200 and a whole body.
    pub succeeded: u64,
    /// All others.
    pub failed: u64,
    /// What happened to the first of those.
    pub failures: Vec<String>,
}

impl Load {
    /// Starts the clients.
    #[must_use]
    pub fn start(address: SocketAddr, options: &LoadOptions) -> Self {
        let state = Arc::<State>::default();
        let client = |_| {
            let (state, options) = (Arc::clone(&state), options.clone());
            thread::spawn(move || drive(address, &options, &state))
        };
        let clients = (0..options.clients).map(client).collect();
        Self { state, clients }
    }

    /// How many requests have been answered well so far.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.state.succeeded.load(Ordering::Relaxed)
    }

    /// Waits for so many more good answers, as proof that the load goes on.
    #[track_caller]
    pub fn passes(&self, count: u64) {
        let target = self.succeeded() + count;
        eventually("the load goes on", || self.succeeded() >= target);
    }

    /// Stops the clients after their current request.
    #[must_use]
    pub fn finish(mut self) -> LoadReport {
        self.stop();
        let failures = self
            .state
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        LoadReport {
            succeeded: self.succeeded(),
            failed: self.state.failed.load(Ordering::Relaxed),
            failures,
        }
    }

    fn stop(&mut self) {
        self.state.stopping.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl LoadReport {
    /// Checks that there was traffic and that none of it failed.
    #[track_caller]
    pub fn assert_flawless(&self) {
        assert!(self.succeeded > 0, "the load had no traffic");
        assert!(
            self.failed == 0,
            "{} of {} failed: {:#?}",
            self.failed,
            self.succeeded + self.failed,
            self.failures
        );
    }
}

fn drive(address: SocketAddr, options: &LoadOptions, state: &State) {
    while !state.stopping.load(Ordering::Relaxed) {
        if let Err(error) = drive_connection(address, options, state) {
            state.failed.fetch_add(1, Ordering::Relaxed);
            let mut failures = state.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.len() < MAX_KEPT_FAILURES {
                failures.push(error.to_string());
            }
        }
    }
}

fn drive_connection(address: SocketAddr, options: &LoadOptions, state: &State) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    for sent in 0..options.per_connection {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("request {sent} of a connection: {error}"));
        let answer = client.exchange(&options.request).map_err(named)?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("status {}: {}", answer.status, answer.text())));
        }
        state.succeeded.fetch_add(1, Ordering::Relaxed);
        if answer.fields.lists("connection", "close") || state.stopping.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
