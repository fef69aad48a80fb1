//! May a request go to the server where its session is?
//!
//! Every server is here, those of weight 0 and backups that are not needed included: they take no new sessions, and keep
//! those they have.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::{Candidate, Group, Pick, Standing, Tier};
use crate::{Chance, Query, ServerState};

/// The server that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    /// The caller's index of it.
    pub slot: u32,
    /// What happens where it cannot be sent anything, or was tried.
    pub otherwise: Otherwise,
}

/// What happens to a request whose server cannot be sent anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Otherwise {
    /// It goes to another, by the algorithm.
    Balance,
    /// It goes nowhere.
    Refuse,
}

/// All servers of a group.
#[derive(Debug)]
pub(super) struct Homes(Box<[Home]>);

#[derive(Debug)]
struct Home {
    slot: u32,
    tier: Tier,
    standing: Standing,
    is_open: bool,
    state: Arc<ServerState>,
}

impl Homes {
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        let home = |candidate: &Candidate| Home {
            slot: candidate.slot,
            tier: candidate.tier,
            standing: candidate.standing,
            is_open: candidate.standing == Standing::Available,
            state: Arc::clone(&candidate.state),
        };
        let mut homes: Box<[Home]> = candidates.iter().map(home).collect();
        homes.sort_by_key(|home| home.slot);
        Self(homes)
    }

    /// Opens those that are believed not to answer, in tiers where that is not believed.
    pub(super) fn open_in_panic(&mut self, panics: impl Fn(Tier) -> bool) {
        for home in &mut self.0 {
            home.is_open |= home.standing == Standing::Doubtful && panics(home.tier);
        }
    }

    /// The server at a slot, where it can be sent a request that has tried `avoid`.
    fn open(&self, slot: u32, avoid: &[u32]) -> Option<&Home> {
        // Mostly they are all there, each at the index that is its slot.
        let home = match self.0.get(slot as usize) {
            Some(home) if home.slot == slot => home,
            _ => self.0.get(self.0.binary_search_by_key(&slot, |home| home.slot).ok()?)?,
        };
        (home.is_open && !avoid.contains(&slot)).then_some(home)
    }
}

impl Group {
    /// Picks the server that a request belongs to and takes a place on it, whatever its weight and tier, under its limit.
    /// [`Pick::Full`] says that it is this one that has no place: to go elsewhere would end the session for a moment's
    /// wait. A [bound](crate::Bound) does not hold for the request, and counts it.
    ///
    /// *Cost*: no allocation and no lock.
    pub fn pick_for(&self, preference: Preference, query: &Query<'_>, chance: &mut Chance) -> Pick {
        match self.homes.open(preference.slot, query.avoid) {
            Some(home) if home.state.try_acquire() => Pick::Server {
                slot: home.slot,
                tier: home.tier,
            },
            Some(_) => Pick::Full,
            None => match preference.otherwise {
                Otherwise::Balance => self.pick(query, chance),
                Otherwise::Refuse => Pick::NoneAvailable,
            },
        }
    }

    /// How many places a request that belongs to a server would find, as [`room`](Self::room) says it of others.
    #[must_use]
    pub fn room_for(&self, preference: Preference, avoid: &[u32]) -> Option<u32> {
        match self.homes.open(preference.slot, avoid) {
            Some(home) => Some(
                home.state
                    .limit()
                    .map_or(u32::MAX, |limit| limit.saturating_sub(home.state.in_flight())),
            ),
            None => match preference.otherwise {
                Otherwise::Balance => self.room(avoid),
                Otherwise::Refuse => None,
            },
        }
    }

    /// Whether a server is left to a request that belongs to one, as [`is_left`](Self::is_left) says it of others.
    #[must_use]
    pub fn is_left_for(&self, preference: Preference, avoid: &[u32]) -> bool {
        match (self.homes.open(preference.slot, avoid), preference.otherwise) {
            (Some(_), _) => true,
            (None, Otherwise::Balance) => self.is_left(avoid),
            (None, Otherwise::Refuse) => false,
        }
    }

    /// Whether a request that belongs to a server can be sent to that one and no other.
    #[must_use]
    pub fn is_bound(&self, preference: Preference, avoid: &[u32]) -> bool {
        self.homes.open(preference.slot, avoid).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Otherwise, Preference};
    use crate::{Arrangement, Balance, Candidate, Chance, Group, Pick, Query, ServerState, Standing, Tier};
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    fn candidate(slot: u32, limit: Option<u32>) -> Candidate {
        Candidate::new(slot, u64::from(slot), Arc::new(ServerState::new(limit)))
    }

    fn group(candidates: &[Candidate], panic_percent: u32) -> Group {
        let arrangement = Arrangement {
            panic_percent,
            ..Arrangement::new(Balance::RoundRobin)
        };
        Group::new(arrangement, candidates.to_vec(), 1)
    }

    fn picks(group: &Group, slot: u32, otherwise: Otherwise, avoid: &[u32]) -> Option<u32> {
        let preference = Preference { slot, otherwise };
        match group.pick_for(preference, &Query::avoiding(avoid), &mut Chance::new(1)) {
            Pick::Server { slot, .. } => Some(slot),
            Pick::Full | Pick::NoneAvailable => None,
        }
    }

    #[test]
    fn a_server_keeps_its_sessions_while_it_can_be_sent_something() {
        use Otherwise::{Balance, Refuse};
        let drained = Candidate {
            weight: 0,
            ..candidate(1, None)
        };
        let backup = Candidate {
            tier: Tier::Backup,
            ..candidate(2, None)
        };
        let dead = Candidate {
            standing: Standing::Doubtful,
            ..candidate(3, None)
        };
        let group = group(&[candidate(0, None), drained, backup, dead], 0);
        for slot in 0..3 {
            assert_eq!(picks(&group, slot, Refuse, &[]), Some(slot));
        }
        // What is dead, tried or unknown is not picked: another is, or none.
        for (slot, avoid) in [(3, &[][..]), (1, &[1]), (9, &[])] {
            assert_eq!(picks(&group, slot, Balance, avoid), Some(0), "slot {slot}");
            assert_eq!(picks(&group, slot, Refuse, avoid), None, "slot {slot}");
        }
    }

    #[test]
    fn in_panic_a_doubtful_server_keeps_its_sessions() {
        let doubtful = |slot| Candidate {
            standing: Standing::Doubtful,
            ..candidate(slot, None)
        };
        let out = Candidate {
            standing: Standing::Out,
            ..candidate(2, None)
        };
        let servers: Vec<_> = [doubtful(0), doubtful(1), out].into();
        assert_eq!(picks(&group(&servers, 50), 1, Otherwise::Refuse, &[]), Some(1));
        assert_eq!(picks(&group(&servers, 50), 2, Otherwise::Refuse, &[]), None);
        assert_eq!(picks(&group(&servers, 0), 1, Otherwise::Refuse, &[]), None);
    }

    #[test]
    fn room_is_what_a_pick_finds() {
        let servers: Vec<_> = [candidate(0, Some(1)), candidate(1, Some(2)), candidate(2, None)].into();
        let group = group(&servers, 0);
        let to = |slot| Preference {
            slot,
            otherwise: Otherwise::Balance,
        };
        let mut chance = Chance::new(1);
        assert_eq!(group.room_for(to(1), &[]), Some(2));
        for left in [1, 0] {
            let pick = group.pick_for(to(1), &Query::default(), &mut chance);
            assert!(matches!(pick, Pick::Server { slot: 1, .. }));
            assert_eq!(group.room_for(to(1), &[]), Some(left));
        }
        assert_eq!(group.pick_for(to(1), &Query::default(), &mut chance), Pick::Full);
        assert_eq!(group.room_for(to(2), &[]), Some(u32::MAX));
        assert_eq!(group.room_for(to(7), &[2]), group.room(&[2]));
        let strict = Preference {
            slot: 7,
            otherwise: Otherwise::Refuse,
        };
        assert_eq!(group.room_for(strict, &[]), None);
        assert_eq!(servers[1].state.in_flight(), 2);
    }

    #[test]
    fn slots_need_not_be_indices() {
        let servers: Vec<_> = [candidate(40, None), candidate(7, None)].into();
        let group = group(&servers, 0);
        assert_eq!(picks(&group, 7, Otherwise::Refuse, &[]), Some(7));
        assert_eq!(picks(&group, 40, Otherwise::Refuse, &[]), Some(40));
        assert_eq!(picks(&group, 0, Otherwise::Refuse, &[]), None);
    }
}
