//! Which of the available servers takes a request, and is there room for it?
//!
//! What every algorithm has in common lives here: tiers, limits, slots already tried, and workers that race for
//! the last place. Why a server is available is the caller's knowledge; a group only ever holds those that are.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::policy::{self, Member, Policy, Probes, View};
use crate::{Balance, Chance, Query, ServerState};

/// Times a pick asks the algorithm again because another worker took the place it was about to take.
const MAX_LOST_RACES: u32 = 8;

/// Which servers a server stands with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Those that normally serve.
    Primary,
    /// Those that serve only while no primary is available.
    Backup,
}

/// One available server, as given to a group.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The caller's index of it, returned by [`Group::pick`].
    pub slot: u32,
    /// Its share relative to the others of its tier; 0 takes no requests.
    pub weight: u32,
    /// Which servers it stands with.
    pub tier: Tier,
    /// Its counters, shared with every other group that holds it.
    pub state: Arc<ServerState>,
}

/// What came of a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a picked server is owed a release"]
pub enum Pick {
    /// This server; a place on it is taken and owed a [`release`](ServerState::release).
    Server {
        /// The caller's index of it.
        slot: u32,
        /// Which servers it stands with.
        tier: Tier,
    },
    /// Every server that could take the request is at its limit: it may wait for a place.
    Full,
    /// No server is available, or all were tried: to wait is of no use.
    NoneAvailable,
}

/// The servers that may be picked now, and the algorithm over them.
///
/// Immutable but for counters: when health, weights or membership change the caller builds a new one. Primaries
/// serve while there is one that was not tried; that they are full does not bring in the backups, because load
/// that fills the primaries would then run over to servers that are not meant to carry it.
#[derive(Debug)]
pub struct Group {
    primaries: Pool,
    backups: Pool,
}

impl Group {
    /// A group of the available servers; `seed` decides where round robin starts.
    ///
    /// *Cost*: linear in the number of servers, and for round robin with unequal weights a table of at most 4096
    /// steps.
    #[must_use]
    pub fn new(balance: Balance, candidates: Vec<Candidate>, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (primaries, backups): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .filter(|candidate| candidate.weight > 0)
            .partition(|candidate| candidate.tier == Tier::Primary);
        Self {
            primaries: Pool::new(balance, primaries, &mut chance),
            backups: Pool::new(balance, backups, &mut chance),
        }
    }

    /// Whether it holds no server that could ever be picked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.primaries.members.is_empty() && self.backups.members.is_empty()
    }

    /// Picks a server for a request and takes a place on it.
    ///
    /// *Cost*: that of the algorithm, times the number of races lost to other workers, at most 8; no allocation and
    /// no lock.
    pub fn pick(&self, query: &Query<'_>, chance: &mut Chance) -> Pick {
        let slot = |member: &Member| member.slot;
        let (place, tier) = match self.primaries.take_place(query, chance) {
            Place::NoneAvailable => (self.backups.take_place(query, chance), Tier::Backup),
            place => (place, Tier::Primary),
        };
        match place {
            Place::On(member) => Pick::Server {
                slot: slot(member),
                tier,
            },
            Place::Full => Pick::Full,
            Place::NoneAvailable => Pick::NoneAvailable,
        }
    }

    /// Servers of this tier, by slot, that should be asked now for a [`Report`](crate::Report): to be called after a
    /// pick, by algorithms that want reports; others answer with none.
    ///
    /// What comes back is given to [`ServerState::reported`]. That nothing comes back is nothing to report.
    /// *Cost*: no allocation and no lock; nothing for algorithms that want no reports.
    pub fn probes(&self, tier: Tier, query: &Query<'_>, chance: &mut Chance) -> Probes {
        let pool = match tier {
            Tier::Primary => &self.primaries,
            Tier::Backup => &self.backups,
        };
        pool.policy.probes(&View::new(&pool.members, query), chance)
    }
}

/// The members of one tier.
#[derive(Debug)]
struct Pool {
    members: Box<[Member]>,
    policy: Box<dyn Policy>,
}

/// What came of looking for a place in one tier.
enum Place<'a> {
    On(&'a Member),
    Full,
    NoneAvailable,
}

impl Pool {
    fn new(balance: Balance, candidates: Vec<Candidate>, chance: &mut Chance) -> Self {
        let member = |Candidate {
                          slot,
                          weight,
                          tier: _,
                          state,
                      }| Member { slot, weight, state };
        let members: Box<[Member]> = candidates.into_iter().map(member).collect();
        let policy = policy::new(balance, &members, chance);
        Self { members, policy }
    }

    fn take_place(&self, query: &Query<'_>, chance: &mut Chance) -> Place<'_> {
        if self.members.is_empty() {
            return Place::NoneAvailable;
        }
        let view = View::new(&self.members, query);
        for _ in 0..MAX_LOST_RACES {
            let Some(chosen) = self.policy.choose(&view, chance) else {
                break;
            };
            debug_assert!(
                chosen < self.members.len(),
                "{:?} chose a member that is not there",
                self.policy
            );
            match self.members.get(chosen) {
                Some(member) if member.state.try_acquire() => return Place::On(member),
                _ => {}
            }
        }
        self.take_any_place(&view, chance)
    }

    /// Tries every member once, from a random one on: the algorithm found no place, or found them gone.
    fn take_any_place(&self, view: &View<'_>, chance: &mut Chance) -> Place<'_> {
        let (before, from) = self.members.split_at(chance.index(self.members.len()));
        let mut untried = from
            .iter()
            .chain(before)
            .filter(|member| view.is_untried(member))
            .peekable();
        if untried.peek().is_none() {
            return Place::NoneAvailable;
        }
        untried
            .find(|member| member.state.try_acquire())
            .map_or(Place::Full, Place::On)
    }
}

#[cfg(test)]
mod tests;
