//! With whom does a request share an upstream?
//!
//! Asked only of requests that have to wait: how what there is is then divided is the upstream's business.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;

use isobar_plan::{FairShare, LimitKey};
use isobar_upstream::Share;

use super::key::{self, Prefixes, Subject};

/// The keys of a fair share, and the weights of some.
#[derive(Debug)]
pub struct FairKeys {
    key: Vec<LimitKey>,
    /// By the hash of the key; those that are not there have 1.
    weights: HashMap<u64, u32>,
}

/// A client has a whole /64 of IPv6 as a rule.
const PREFIXES: Prefixes = Prefixes { v4: 32, v6: 64 };

impl FairKeys {
    /// Those of the settings of an upstream.
    #[must_use]
    pub fn new(settings: &FairShare) -> Self {
        let mut weights = HashMap::new();
        for written in settings.weights.iter().chain(&*settings.weights_read) {
            let mut hasher = hasher().build_hasher();
            let parts = settings.key.iter().zip(&written.key);
            let mut added = parts.map(|(part, value)| key::add_written(part, value, PREFIXES, &mut hasher));
            if added.all(|is_possible| is_possible) {
                weights.insert(hasher.finish(), written.weight);
            }
        }
        Self {
            key: settings.key.clone(),
            weights,
        }
    }

    /// With whom a request shares. Those that lack the same parts of the key share with each other.
    pub(crate) fn share(&self, subject: &Subject<'_>) -> Share {
        let mut hasher = hasher().build_hasher();
        key::hash(subject, (&self.key, PREFIXES), &mut hasher);
        let key = hasher.finish();
        let weight = self.weights.get(&key).copied().unwrap_or(1);
        Share { key, weight }
    }
}

/// The same for as long as the process lives: those who wait keep their keys when the configuration changes.
fn hasher() -> &'static RandomState {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new)
}
