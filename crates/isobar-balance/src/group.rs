//! Which of an upstream's servers takes a request, and is there room for it?
//!
//! Sorts servers into levels of priority and into zones, shares the load out over these, and picks. Why a server is
//! available is the caller's knowledge, and so are time and what is to be done about it: it builds a new group.

mod homes;
mod levels;
mod pool;
mod zones;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::mix::{below, mix};
use crate::policy::Probes;
use crate::{Arrangement, Chance, Locality, Moment, Query, ServerState, Warmth, Zone};

use homes::Homes;
pub use homes::{Otherwise, Preference};
use levels::{Lot, Strength, WHOLE};
use pool::{Parts, Place, Pool};

/// Says which of the numbers that come from a key is wanted: the one that decides about level and zone.
const LEVEL: u64 = u64::MAX;

/// Which servers a server stands with.
///
/// *Order*: who serves first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Those of a priority; 0 comes first. As servers of a level become unavailable, the next level takes over what the
    /// level can no longer carry.
    Priority(u8),
    /// Those that serve only while no server of any priority is available. They take over nothing before that.
    Backup,
}

impl Tier {
    /// Those that normally serve.
    pub const PRIMARY: Self = Self::Priority(0);
}

/// What is believed of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It takes requests.
    Available,
    /// It is believed not to answer, and gets requests only where so few are available that this is not believed.
    Doubtful,
    /// It cannot be sent anything, or is not to be; it counts among those that are missing.
    Out,
}

/// One server, as given to a group.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The caller's index of it, returned by [`Group::pick`].
    pub slot: u32,
    /// A hash of its name or address that is the same in every process and version: algorithms by key know it by this.
    /// Of servers with the same id the second is known by another, which follows from their order.
    pub id: u64,
    /// What the points of a [ketama](crate::Balance::Ketama) ring are made of; none: the id, in 16 hexadecimal digits.
    pub label: Option<Arc<str>>,
    /// Its share relative to the others of its tier; 0 takes no requests but those that [prefer](Preference) it, and
    /// counts nowhere.
    pub weight: u32,
    /// Which servers it stands with.
    pub tier: Tier,
    /// Where it is; without effect unless the arrangement has a [`Locality`].
    pub zone: Zone,
    /// What is believed of it.
    pub standing: Standing,
    /// The part of its weight that it has now; see [`SlowStart`](crate::SlowStart).
    pub warmth: Warmth,
    /// Its counters, shared with every other group that holds it.
    pub state: Arc<ServerState>,
}

impl Candidate {
    /// An available server of weight 1 among those that normally serve.
    #[must_use]
    pub const fn new(slot: u32, id: u64, state: Arc<ServerState>) -> Self {
        Self {
            slot,
            id,
            label: None,
            weight: 1,
            tier: Tier::PRIMARY,
            zone: Zone(0),
            standing: Standing::Available,
            warmth: Warmth::FULL,
            state,
        }
    }
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
    /// Every server that could take the request is at its limit or bound: it may wait for a place.
    Full,
    /// No server is available, or all were tried: to wait is of no use.
    NoneAvailable,
}

/// The servers that may be picked now, and the algorithm over them.
///
/// Immutable but for counters: when health, weights or membership change the caller builds the [`next`](Self::next).
///
/// # Levels
/// Each priority gets the part of the load that it can carry, by what is available of it; where all priorities together
/// cannot carry everything, those of which too little is available *panic* and use all their servers that can be sent
/// something. Backups are the last level of all and stand outside of this: they get everything while no server of a
/// priority is available and nothing otherwise, and while one of them is available nobody panics.
///
/// Servers of a level that are all full do not bring in another level that has no part of the load, because load that
/// fills one level would then run over to servers that are not meant to carry it. When a request has tried all servers
/// it could have been given, it goes on to the next level.
#[derive(Debug)]
pub struct Group {
    /// By rounds; within one by tier, and within a tier the own zone first.
    pools: Box<[Pool]>,
    /// Tiers that use servers whether available or not.
    panicking: Box<[Tier]>,
    /// All servers, for requests that want to go to a certain one.
    homes: Homes,
    is_keyed: bool,
}

impl Group {
    /// A group of these servers; `seed` decides where round robin starts.
    ///
    /// *Cost*: linear in the number of servers, for round robin with unequal weights a table of at most 4096 steps, and
    /// for algorithms by key their tables (`docs/hashing.md`).
    #[must_use]
    pub fn new(arrangement: impl Into<Arrangement>, candidates: Vec<Candidate>, seed: u64) -> Self {
        Self::build(&arrangement.into(), candidates, seed, &[])
    }

    /// The group that comes after this one. It is as a new one, but that tables of algorithms by key serve on where ids,
    /// labels and weights are the same in the same order, whoever is available of them, and that
    /// [`Memento`](crate::Balance::Memento), for which history counts, goes on from here, as does the pool of candidates of
    /// [`Prequal`](crate::Balance::Prequal).
    #[must_use]
    pub fn next(&self, arrangement: impl Into<Arrangement>, candidates: Vec<Candidate>, seed: u64) -> Self {
        Self::build(&arrangement.into(), candidates, seed, &self.pools)
    }

    fn build(arrangement: &Arrangement, candidates: Vec<Candidate>, seed: u64, last: &[Pool]) -> Self {
        let mut chance = Chance::new(seed);
        let mut homes = Homes::of(&candidates);
        let mut tiers: BTreeMap<Tier, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates.into_iter().filter(|candidate| candidate.weight > 0) {
            tiers.entry(candidate.tier).or_default().push(candidate);
        }
        let lots = lots(&tiers, arrangement);
        let panicking = tiers
            .keys()
            .zip(&lots)
            .filter(|(_, lot)| lot.panics)
            .map(|(tier, _)| *tier);
        let panicking = panicking.collect();
        homes.open_in_panic(|tier| tiers.keys().zip(&lots).any(|(other, lot)| *other == tier && lot.panics));
        let locality = arrangement.locality.as_ref();
        let parts = (1..)
            .zip(tiers)
            .zip(lots)
            .flat_map(|((number, (tier, candidates)), lot)| {
                let round = if lot.share > 0 { 0 } else { number };
                split_by_zone(Level { tier, round, lot }, candidates, locality)
            });
        let mut pools: Vec<Pool> = parts
            .map(|parts| Pool::new(parts, arrangement, last, &mut chance))
            .collect();
        pools.sort_by_key(|pool| pool.round);
        Self {
            pools: pools.into(),
            panicking,
            homes,
            is_keyed: arrangement.balance.is_keyed(),
        }
    }

    /// Whether it holds no server that could ever be picked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.iter().all(Pool::is_empty)
    }

    /// Those that panic: so little of them is available that this is not believed, and all are used. In their order.
    #[must_use]
    pub fn panicking(&self) -> &[Tier] {
        &self.panicking
    }

    /// Picks a server for a request and takes a place on it.
    ///
    /// *Cost*: that of the algorithm, times the number of races lost to other workers, at most 8; no allocation and
    /// no lock.
    pub fn pick(&self, query: &Query<'_>, chance: &mut Chance) -> Pick {
        let Some(drawn) = self.pools.get(self.draw(query, chance)) else {
            return Pick::NoneAvailable;
        };
        match drawn.take_place(query, chance) {
            Place::On(member) => drawn.picked(member),
            place => self.pick_beside(drawn, &place, query, chance),
        }
    }

    /// Picks from the others in turn, when the pool that was drawn had no place: first the rest of those that carry load,
    /// then level by level.
    #[cold]
    fn pick_beside(&self, drawn: &Pool, place: &Place<'_>, query: &Query<'_>, chance: &mut Chance) -> Pick {
        let mut is_full = matches!(place, Place::Full);
        for round in self.rounds() {
            for pool in round.iter().filter(|pool| !core::ptr::eq(*pool, drawn)) {
                match pool.take_place(query, chance) {
                    Place::On(member) => return pool.picked(member),
                    Place::Full => is_full = true,
                    Place::NoneAvailable => {}
                }
            }
            if is_full {
                return Pick::Full;
            }
        }
        Pick::NoneAvailable
    }

    /// Servers of this tier, by slot, that should be asked now for a [`Report`](crate::Report): to be called after a
    /// pick, by algorithms that want reports; others answer with none.
    ///
    /// What comes back is given to [`ServerState::reported`]. That nothing comes back is nothing to report.
    /// *Cost*: no allocation and no lock; nothing for algorithms that want no reports.
    pub fn probes(&self, tier: Tier, query: &Query<'_>, chance: &mut Chance) -> Probes {
        let mut probes = Probes::default();
        for pool in self.pools.iter().filter(|pool| pool.tier == tier) {
            pool.probes(query, chance).iter().for_each(|slot| probes.add(slot));
        }
        probes
    }

    /// How many servers the algorithm remembers as candidates; most remember none.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.pools.iter().map(Pool::candidates).sum()
    }

    /// Whether the servers that normally serve report enough of themselves to be chosen by it; none: the algorithm does
    /// not go by reports.
    ///
    /// *Cost*: O(n).
    #[must_use]
    pub fn is_informed(&self, now: Moment) -> Option<bool> {
        let first = self.pools.first()?;
        self.pools
            .iter()
            .filter(|pool| pool.tier == first.tier)
            .map(|pool| pool.is_informed(now))
            .reduce(|one, other| Some(one? && other?))
            .flatten()
    }

    /// How many places are free at the servers from which a request that has tried `avoid` would be given one; none: no
    /// server is left to it. Says what a [pick](Self::pick) would find now. Under a [bound](crate::Bound) it counts what
    /// is free before the first of them is taken, which may raise the bound for the next.
    ///
    /// *Cost*: O(n).
    #[must_use]
    pub fn room(&self, avoid: &[u32]) -> Option<u32> {
        let query = Query::avoiding(avoid);
        self.rounds().find_map(|round| {
            round
                .iter()
                .filter_map(|pool| pool.room(&query))
                .reduce(u32::saturating_add)
        })
    }

    /// Whether a server is left to a request that has tried `avoid`, full or not.
    ///
    /// *Cost*: O(1) for each level and zone, unless as many servers were tried as one has.
    #[must_use]
    pub fn is_left(&self, avoid: &[u32]) -> bool {
        let query = Query::avoiding(avoid);
        self.pools.iter().any(|pool| pool.is_left(&query))
    }

    /// The pools that have a part of the load, and then those of each level that has none.
    fn rounds(&self) -> impl Iterator<Item = &[Pool]> {
        self.pools.chunk_by(|a, b| a.round == b.round)
    }

    /// Which pool a request is for, by chance or, where requests of one key are to stay together, by the key; the first
    /// when it can only be one.
    fn draw(&self, query: &Query<'_>, chance: &mut Chance) -> usize {
        if self.pools.first().is_none_or(|pool| pool.share == WHOLE) {
            return 0;
        }
        let bits = match query.key {
            Some(key) if self.is_keyed => mix(key, LEVEL),
            _ => chance.bits(),
        };
        let mut point = below(bits, WHOLE);
        let is_past = |pool: &Pool| match point.checked_sub(pool.share) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        };
        self.pools.iter().position(is_past).unwrap_or(0)
    }
}

/// What the servers of a tier get.
#[derive(Debug, Clone, Copy)]
struct Level {
    tier: Tier,
    /// When they are asked: 0 with all that have a part of the load.
    round: u32,
    lot: Lot,
}

/// The lot of each tier, in their order.
fn lots(tiers: &BTreeMap<Tier, Vec<Candidate>>, arrangement: &Arrangement) -> Vec<Lot> {
    let weight = |candidates: &[Candidate], counts: fn(Standing) -> bool| -> u64 {
        let counted = candidates.iter().filter(|candidate| counts(candidate.standing));
        counted.map(|candidate| u64::from(candidate.weight)).sum()
    };
    let available = |candidates: &[Candidate]| weight(candidates, |standing| standing == Standing::Available);
    let possible = |candidates: &[Candidate]| weight(candidates, |standing| standing != Standing::Out);
    let is_backup = |tier: &Tier| *tier == Tier::Backup;

    let priorities = || {
        tiers
            .iter()
            .filter(|&(tier, _)| !is_backup(tier))
            .map(|(_, candidates)| candidates)
    };
    let backups = tiers.get(&Tier::Backup).map_or(&[][..], Vec::as_slice);
    let nothing_is_available = priorities().all(|candidates| available(candidates) == 0);
    let backups_help = available(backups) > 0;
    let panic_percent = |candidates: &[Candidate]| match candidates.len() {
        _ if backups_help => 0,
        few if few < arrangement.panic_servers => 0,
        _ => arrangement.panic_percent,
    };

    let strength = |candidates: &Vec<Candidate>| {
        let panic_percent = panic_percent(candidates);
        let (available, total) = match nothing_is_available {
            true => (0, possible(candidates)),
            false => (available(candidates), weight(candidates, |_| true)),
        };
        Strength {
            available,
            total,
            panic_percent,
        }
    };
    let strengths: Vec<Strength> = priorities().map(strength).collect();
    let mut lots = levels::share_out(&strengths).into_vec();
    if tiers.contains_key(&Tier::Backup) {
        let is_needed = lots.iter().all(|lot| lot.share == 0);
        let panics = panic_percent(backups) > 0;
        let helps = is_needed && (backups_help || (panics && possible(backups) > 0));
        lots.push(Lot {
            share: if helps { WHOLE } else { 0 },
            panics: helps && panics,
        });
    }
    lots
}

/// The pools of a level: one, or one for each zone where zones matter.
fn split_by_zone(level: Level, candidates: Vec<Candidate>, locality: Option<&Locality>) -> Vec<Parts> {
    let Level { tier, round, lot } = level;
    let parts = |share, candidates| Parts {
        tier,
        round,
        share,
        panics: lot.panics,
        candidates,
    };
    let is_usable = |candidate: &Candidate| match candidate.standing {
        Standing::Available => true,
        Standing::Doubtful => lot.panics,
        Standing::Out => false,
    };
    let usable = candidates.iter().filter(|candidate| is_usable(candidate)).count();
    let Some(locality) = locality.filter(|locality| usable >= locality.min_servers) else {
        return Vec::from([parts(lot.share, candidates)]);
    };
    // The own zone sorts first.
    let mut zones: BTreeMap<(bool, Zone), Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let place = (candidate.zone != locality.zone, candidate.zone);
        zones.entry(place).or_default().push(candidate);
    }
    let weight = |candidates: &[Candidate]| -> u64 {
        let usable = candidates.iter().filter(|candidate| is_usable(candidate));
        usable.map(|candidate| u64::from(candidate.weight)).sum()
    };
    let weights: Vec<(Zone, u64)> = zones
        .iter()
        .map(|((_, zone), candidates)| (*zone, weight(candidates)))
        .collect();
    let shares = zones::share_out(&weights, locality);
    let mut left = lot.share;
    let share = |part: u64| {
        let share = u128::from(lot.share) * u128::from(part);
        let share = u64::try_from(share.div_ceil(u128::from(WHOLE)))
            .unwrap_or(WHOLE)
            .min(left);
        left -= share;
        share
    };
    let shares = shares.into_iter().map(share);
    zones
        .into_values()
        .zip(shares)
        .map(|(candidates, share)| parts(share, candidates))
        .collect()
}

#[cfg(test)]
mod tests;
