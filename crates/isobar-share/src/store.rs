//! Is what instances share their limits through there, and how well does it do?

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use isobar_plan::{Name, StoreStatus};
use tokio::sync::Notify;

/// What all limits of one store know of it. One task writes it, workers read.
#[derive(Debug)]
pub struct Store {
    name: Name,
    is_lost: AtomicBool,
    instances: AtomicU32,
    /// Somebody has something to tell the store, and nobody was told yet.
    rung: AtomicBool,
    bell: Notify,
    round_trips: AtomicU64,
    exchanges: AtomicU64,
    errors: AtomicU64,
    said: Mutex<Said>,
}

/// Whether it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// It answered.
    Up,
    /// It did not, or cannot do what is asked; why.
    Lost(String),
}

/// What is known of the last time it was asked.
#[derive(Debug)]
struct Said {
    /// None: it was not asked yet.
    contact: Option<Contact>,
    answered: Option<Instant>,
    took: Option<Duration>,
}

impl Store {
    /// One that was not asked yet, and of so many instances as long as it does not say otherwise.
    #[must_use]
    pub fn new(name: Name, instances: u32) -> Self {
        Self {
            name,
            is_lost: AtomicBool::new(true),
            instances: AtomicU32::new(instances.max(1)),
            rung: AtomicBool::new(false),
            bell: Notify::new(),
            round_trips: AtomicU64::new(0),
            exchanges: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            said: Mutex::new(Said {
                contact: None,
                answered: None,
                took: None,
            }),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Whether it cannot be reached.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// How many instances there are, as far as is known.
    #[must_use]
    pub fn instances(&self) -> u32 {
        self.instances.load(Ordering::Relaxed)
    }

    /// The store counted so many instances.
    pub fn counted(&self, instances: u32) {
        self.instances.store(instances.max(1), Ordering::Relaxed);
    }

    /// It answered a batch with so many exchanges.
    pub fn answered(&self, exchanges: usize, took: Duration) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.exchanges.fetch_add(exchanges as u64, Ordering::Relaxed);
        let mut said = self.said();
        (said.answered, said.took) = (Some(Instant::now()), Some(took));
    }

    /// Something went wrong.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// It can be reached, or cannot; *returns* whether that is news.
    pub fn set(&self, contact: Contact) -> bool {
        let is_up = contact == Contact::Up;
        self.is_lost.store(!is_up, Ordering::Relaxed);
        let before = self.said().contact.replace(contact);
        before.is_none_or(|before| (before == Contact::Up) != is_up)
    }

    /// There is something to tell it.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }

    /// Waits until there is something to tell it.
    pub async fn rung(&self) {
        while !self.rung.swap(false, Ordering::AcqRel) {
            self.bell.notified().await;
        }
    }

    /// How it does; keys and leases are those of its limits.
    #[must_use]
    pub fn status(&self, (keys, leased): (u64, u64)) -> StoreStatus {
        let said = self.said();
        StoreStatus {
            name: self.name.clone(),
            lost: match &said.contact {
                Some(Contact::Up) => None,
                Some(Contact::Lost(why)) => Some(why.clone()),
                None => Some("not connected yet".to_owned()),
            },
            instances: self.instances(),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            exchanges: self.exchanges.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            took: said.took,
            age: said.answered.map(|at| at.elapsed()),
            keys,
            leased,
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
