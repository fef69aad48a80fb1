//! At which addresses are the servers that the plan names?
//!
//! Every name is asked for when it appears and again when its answer expires, in the background and never for a
//! request. Old addresses outlive failures; the target hears of changes only.

mod client;
mod schedule;

pub use client::{DnsClient, Unknown};

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_plan::{Plan, ServerAddress};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::schedule::{Answer, Fact, Schedule};
use crate::Target;

/// How long a start or a reload waits for names it did not know: a slow name service must not hold it up.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions under way at most; further names wait their turn.
const MAX_CONCURRENT: usize = 64;

/// What is known of the servers of one name and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Their name.
    pub name: Arc<str>,
    /// Their port.
    pub port: u16,
    /// Their addresses, sorted, or why there are none.
    pub outcome: Result<Vec<SocketAddr>, String>,
}

/// Keeps the addresses of named servers true. Ends when dropped.
#[derive(Debug)]
pub struct Resolver {
    commands: mpsc::Sender<Command>,
}

enum Command {
    Prepare {
        names: BTreeSet<Arc<str>>,
        known: oneshot::Sender<()>,
    },
    Recall {
        endpoints: Endpoints,
        recalled: oneshot::Sender<Vec<Resolution>>,
    },
    Settle {
        endpoints: Endpoints,
        target: Arc<dyn Target>,
        told: oneshot::Sender<()>,
    },
}

/// The name and port of every server that has a name.
type Endpoints = BTreeSet<(Arc<str>, u16)>;

impl Resolver {
    /// Begins without any name. Needs a tokio runtime.
    #[must_use]
    pub fn start(client: DnsClient) -> Self {
        let (commands, inbox) = mpsc::channel(16);
        let worker = Worker {
            client: Arc::new(client),
            schedule: Schedule::default(),
            questions: JoinSet::new(),
            waiting: Vec::new(),
            endpoints: Endpoints::new(),
            target: None,
        };
        tokio::spawn(worker.run(inbox));
        Self { commands }
    }

    /// Asks for the names of a plan that is about to be applied, beside those that are followed already. Returns when
    /// each has an outcome, after a second at the latest, with those outcomes there are: who tells a [`Target`] of them
    /// before it takes the plan has no server in it that waits for its address.
    pub async fn prepare(&self, plan: &Plan) -> Vec<Resolution> {
        let endpoints = endpoints(plan);
        if endpoints.is_empty() {
            return Vec::new();
        }
        let names = names(&endpoints);
        let (known, all_known) = oneshot::channel();
        // The worker ends only with this handle, so neither the sending nor the answer can fail.
        let _ = self.commands.send(Command::Prepare { names, known }).await;
        let _ = tokio::time::timeout(PATIENCE, all_known).await;
        let (recalled, all_recalled) = oneshot::channel();
        let _ = self.commands.send(Command::Recall { endpoints, recalled }).await;
        all_recalled.await.unwrap_or_default()
    }

    /// Follows the names of the plan that runs now and no others, and tells the target what is known of each: before
    /// this returns, and whenever it changes.
    pub async fn settle(&self, plan: &Plan, target: Arc<dyn Target>) {
        let (told, all_told) = oneshot::channel();
        let endpoints = endpoints(plan);
        let _ = self
            .commands
            .send(Command::Settle {
                endpoints,
                target,
                told,
            })
            .await;
        let _ = all_told.await;
    }
}

fn endpoints(plan: &Plan) -> Endpoints {
    let servers = plan.upstreams.iter().flat_map(|upstream| &upstream.servers);
    servers
        .filter_map(|server| match &server.address {
            ServerAddress::Name(name, port) => Some((Arc::from(&**name), *port)),
            ServerAddress::Socket(_) => None,
        })
        .collect()
}

fn names(endpoints: &Endpoints) -> BTreeSet<Arc<str>> {
    endpoints.iter().map(|(name, _)| Arc::clone(name)).collect()
}

struct Worker {
    client: Arc<DnsClient>,
    schedule: Schedule,
    questions: JoinSet<(Arc<str>, Result<Answer, String>)>,
    waiting: Vec<(BTreeSet<Arc<str>>, oneshot::Sender<()>)>,
    endpoints: Endpoints,
    target: Option<Arc<dyn Target>>,
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            self.ask();
            let timeout = self.timeout();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => return,
                },
                // A question that panicked stays unanswered until the plan changes; the process lives on.
                Some(Ok((name, outcome))) = self.questions.join_next() => self.handle_outcome(&name, outcome),
                () = sleep_until(timeout) => {}
            }
        }
    }

    fn ask(&mut self) {
        while self.questions.len() < MAX_CONCURRENT
            && let Some(name) = self.schedule.take_due(Instant::now())
        {
            let client = Arc::clone(&self.client);
            self.questions.spawn(async move {
                let outcome = client.lookup(&name).await;
                (name, outcome)
            });
        }
    }

    /// When to ask again; at the limit only an answer makes room.
    fn timeout(&self) -> Option<Instant> {
        if self.questions.len() < MAX_CONCURRENT {
            self.schedule.poll_timeout()
        } else {
            None
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Prepare { names, known } => {
                self.schedule.follow(names.iter().cloned(), Instant::now());
                self.waiting.push((names, known));
                self.release_waiting();
            }
            Command::Recall { endpoints, recalled } => {
                let known = endpoints.iter().filter_map(|(name, port)| self.resolution(name, *port));
                // Whoever asked may have gone on.
                let _ = recalled.send(known.collect());
            }
            Command::Settle {
                endpoints,
                target,
                told,
            } => {
                let names = names(&endpoints);
                self.schedule.follow(names.iter().cloned(), Instant::now());
                self.schedule.retain(&names);
                self.target = Some(target);
                self.endpoints = endpoints;
                names.iter().for_each(|name| self.tell(name));
                // Whoever asked may have gone on.
                let _ = told.send(());
            }
        }
    }

    fn handle_outcome(&mut self, name: &str, outcome: Result<Answer, String>) {
        let fact = self.schedule.handle_outcome(name, outcome, Instant::now());
        let error = self.schedule.error(name).unwrap_or_default();
        match fact {
            Fact::Nothing => {}
            Fact::Resolved => {
                let addresses = self.schedule.known(name).and_then(Result::ok).unwrap_or_default();
                tracing::info!("{name} is at {}", list(addresses));
            }
            Fact::Recovered => tracing::info!("{name} resolves again, to the same addresses"),
            Fact::Unresolved => tracing::warn!("{name} does not resolve: {error}; servers of this name are down"),
            Fact::Stale => tracing::warn!("{name} does not resolve any more: {error}; its last addresses stay in use"),
        }
        if matches!(fact, Fact::Resolved | Fact::Unresolved) {
            self.tell(name);
        }
        self.release_waiting();
    }

    fn tell(&self, name: &str) {
        let Some(target) = &self.target else {
            return;
        };
        for (name, port) in self.endpoints.iter().filter(|(other, _)| **other == *name) {
            if let Some(Resolution { name, port, outcome }) = self.resolution(name, *port) {
                target.resolved(&name, port, outcome);
            }
        }
    }

    fn resolution(&self, name: &Arc<str>, port: u16) -> Option<Resolution> {
        let at_port = |address: &IpAddr| SocketAddr::new(*address, port);
        Some(Resolution {
            name: Arc::clone(name),
            port,
            outcome: match self.schedule.known(name)? {
                Ok(addresses) => Ok(addresses.iter().map(at_port).collect()),
                Err(error) => Err(error.to_owned()),
            },
        })
    }

    fn release_waiting(&mut self) {
        let schedule = &self.schedule;
        for (_, known) in self
            .waiting
            .extract_if(.., |(names, _)| names.iter().all(|name| schedule.known(name).is_some()))
        {
            // Nobody waits any more when the patience was shorter.
            let _ = known.send(());
        }
        self.waiting.retain(|(_, known)| !known.is_closed());
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
