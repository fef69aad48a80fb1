//! What have the algorithms in common that send requests of one key to one server?
//!
//! Each gives a key an order of preference over *all* members, whether they are available or not, which follows from
//! the key and the members' ids and weights alone; the request goes to the first in it that may take it. What that
//! means is the same for all of them:
//!
//! - A member that becomes unavailable moves its own keys and no others, each to the next in its order, and gets
//!   exactly these back when it returns. Nothing is built anew for it.
//! - A retry, which avoids who was tried, goes to the next in the key's order, and with it every retry of that key.
//! - The keys of a member that is away, full or at its bound spread over all others by weight, because the next in the
//!   order is another from key to key.
//!
//! The order is looked at for [`MAX_TRIES`] steps; what comes after is the order of [`rendezvous`], which sees every
//! member. Who comes and goes in the *configuration* changes the order itself: how little is the algorithm's merit.
//!
//! A request without a key is given one by chance.

mod ketama;
mod maglev;
mod memento;
mod rendezvous;
mod ring;
#[cfg(test)]
mod tests;

use crate::mix::mix;
use crate::policy::{Fit, Member, Policy, View};
use crate::{Balance, Chance};

pub use ketama::ketama_key;
use maglev::Maglev;
use memento::Memento;
use ring::Ring;

/// Members in a key's order that are looked at before all are. With half of them away, one key in 2^64 gets there.
const MAX_TRIES: u64 = 64;

/// An algorithm by key, with what it has built for its members.
#[derive(Debug)]
pub(crate) enum Keyed {
    /// One of the two rings.
    Ring(Ring),
    /// The table of turns.
    Maglev(Maglev),
    /// Nothing to build.
    Rendezvous,
    /// The buckets and who left.
    Memento(Memento),
}

impl Keyed {
    /// Builds what the algorithm needs; what comes from members before them that it remembers, from `last`.
    ///
    /// *Cost*: that of the algorithm; see `docs/hashing.md`.
    pub(crate) fn new(balance: Balance, members: &[Member], last: Option<(&Self, &[Member])>) -> Self {
        match balance {
            Balance::Ketama => Self::Ring(ketama::ring(members)),
            Balance::Maglev => Self::Maglev(Maglev::new(members)),
            Balance::Memento => match last {
                Some((Self::Memento(last), before)) => Self::Memento(last.following(before, members)),
                _ => Self::Memento(Memento::new(members)),
            },
            Balance::RingHash => Self::Ring(Ring::new(members)),
            _ => Self::Rendezvous,
        }
    }

    /// The `attempt`th member in the key's order, for the algorithms that hash the key once more for each.
    fn rehashed(&self, key: u64, attempt: u64) -> usize {
        match self {
            Self::Maglev(maglev) => maglev.lookup(mix(key, attempt)),
            Self::Memento(memento) => memento.lookup(mix(key, attempt)),
            Self::Ring(_) | Self::Rendezvous => 0,
        }
    }
}

impl Policy for Keyed {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let key = view.query().key.unwrap_or_else(|| chance.bits());
        let found = match self {
            Self::Ring(ring) => ring.choose(view, key),
            Self::Rendezvous => None,
            Self::Maglev(_) | Self::Memento(_) => (0..MAX_TRIES)
                .map(|attempt| self.rehashed(key, attempt))
                .find(|&position| view.fit(position, key) == Fit::Fits),
        };
        found.or_else(|| rendezvous::first(view, key))
    }
}

/// The most members may have in flight under a bound on the load: their shares of what all have, times a factor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cap {
    /// What all have in flight with this request, times the factor.
    load: u128,
    /// What it is shared out by: the sum of the weights, on the scale of the load.
    weights: u128,
}

impl Cap {
    /// The bound when members of `weights` in all carry `load / scale` requests.
    pub(crate) const fn new(load: u128, weights: u64, scale: u64) -> Self {
        Self {
            load,
            weights: weights as u128 * scale as u128,
        }
    }

    /// The most a member of this weight may have in flight, the request included; at least 1.
    pub(crate) fn of(&self, weight: u32) -> u32 {
        let share = self
            .load
            .saturating_mul(u128::from(weight))
            .div_ceil(self.weights.max(1));
        u32::try_from(share.max(1)).unwrap_or(u32::MAX)
    }
}
