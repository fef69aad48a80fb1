//! Through what do instances share their limits?

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

pub use isobar_limit::{LeaseRules, SharedKind, Terms as SharedTerms};

use crate::{LimitKind, LimitPace, Name, Secret};

/// A Redis, or several of them, that holds limits for all instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Its name, unique among stores; a label in metrics.
    pub name: Name,
    /// How its servers belong together.
    pub layout: StoreLayout,
    /// Its servers, or its sentinels: host and port; not empty.
    pub addresses: Vec<(Box<str>, u16)>,
    /// Who we are to it; none: it does not ask.
    pub login: Option<StoreLogin>,
    /// What secures connections; none: nothing does.
    pub tls: Option<StoreTls>,
    /// The number of the database.
    pub database: u16,
    /// What all its keys begin with.
    pub prefix: Box<str>,
    /// How long it may take to answer; after that it is lost.
    pub timeout: Duration,
    /// From one batch to the next, at least.
    pub interval: Duration,
    /// How many instances there are, as long as it has not said.
    pub instances: u32,
    /// How leases are taken.
    pub leases: LeaseRules,
}

/// How the servers of a store belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLayout {
    /// There is one.
    Single,
    /// Sentinels know which one it is.
    Sentinel {
        /// What they call it.
        service: Box<str>,
    },
    /// Each has some of the keys.
    Cluster,
}

/// Who we are to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLogin {
    /// The user; none: the one without a name.
    pub user: Option<Box<str>>,
    /// The file with the password.
    pub file: Box<str>,
    /// What stood in it when the plan was taken into service.
    pub password: Secret,
}

/// What secures connections to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTls {
    /// The PEM file with the authorities that vouch for it; none: those that the system trusts.
    pub ca: Option<Box<str>>,
    /// What stood in it when the plan was taken into service.
    pub pem: Arc<[u8]>,
}

/// How a limit is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLimit {
    /// Through which store.
    pub store: Name,
    /// How leases are taken: those of the store.
    pub leases: LeaseRules,
    /// What happens while it is lost.
    pub on_loss: OnLoss,
}

/// What happens to requests while a store is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnLoss {
    /// Each instance keeps to its part of the limit.
    Local,
    /// All pass.
    Open,
    /// None does.
    Closed,
}

/// A store, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// Its name.
    pub name: Name,
    /// Why it is lost; none: it answers.
    pub lost: Option<String>,
    /// How many instances there are, as far as is known.
    pub instances: u32,
    /// Batches that it answered.
    pub round_trips: u64,
    /// What it was told and asked in them, one for each key.
    pub exchanges: u64,
    /// Batches and connections that failed.
    pub errors: u64,
    /// How long the last batch took.
    pub took: Option<Duration>,
    /// How long ago it answered last.
    pub age: Option<Duration>,
    /// Keys of its limits that this instance knows.
    pub keys: u64,
    /// Units that are leased and not given out.
    pub leased: u64,
}

/// What all instances together let pass; none: a limit of this kind cannot be shared.
#[must_use]
pub fn shared_terms(kind: LimitKind, pace: LimitPace) -> Option<SharedTerms> {
    let LimitPace::Rate { rate, burst } = pace else {
        return None;
    };
    let kind = match kind {
        LimitKind::Gcra { delay } if delay.is_zero() => SharedKind::Gcra,
        LimitKind::TokenBucket => SharedKind::TokenBucket,
        LimitKind::FixedWindow => SharedKind::FixedWindow,
        LimitKind::SlidingWindow => SharedKind::SlidingWindow,
        LimitKind::Gcra { .. }
        | LimitKind::SlidingLog { .. }
        | LimitKind::Concurrency
        | LimitKind::Bandwidth { .. } => {
            return None;
        }
    };
    Some(SharedTerms { kind, rate, burst })
}
