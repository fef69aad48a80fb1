//! Who of those that stand together takes a request, and how does it get the place?
//!
//! Limits, bounds, slots already tried, and workers that race for the last place: what every algorithm has in common.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::levels::WHOLE;
use super::{Candidate, Pick, Standing, Tier};
use crate::mix::mix;
use crate::policy::{self, Cap, Keyed, Member, Past, Policy, Probes, View};
use crate::tally::Count;
use crate::{Arrangement, Balance, Bound, Chance, Moment, Query, Tally, Warmth};

/// Times a pick asks the algorithm again because another worker took the place it was about to take.
const MAX_LOST_RACES: u32 = 8;

/// Times a pick under a bound looks again because others came or went while it looked.
const MAX_LOOKS: u32 = 64;

/// What a bound's factor counts as at most, in hundredths: a thousand times the share.
const MAX_BOUND_PERCENT: u32 = 100_000;

/// Servers of one level, and of one zone where zones matter.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) tier: Tier,
    /// When it is asked: 0 with all that have a part of the load, the others after them.
    pub(super) round: u32,
    /// Its part of the load, of [`WHOLE`].
    pub(super) share: u64,
    members: Box<[Member]>,
    /// How many of them may be picked.
    usable: usize,
    chooser: Chooser,
    bounded: Option<Bounded>,
}

/// What a pool is made of.
pub(super) struct Parts {
    pub(super) tier: Tier,
    pub(super) round: u32,
    pub(super) share: u64,
    /// Whether servers are used that are believed not to answer.
    pub(super) panics: bool,
    pub(super) candidates: Vec<Candidate>,
}

/// The algorithm.
#[derive(Debug)]
enum Chooser {
    /// Made for the members that may be picked, anew for each group.
    Plain(Box<dyn Policy>),
    /// Made for all members; the next group takes it over when these are the same.
    Keyed(Balance, Arc<Keyed>),
}

/// A bound on the load of members.
#[derive(Debug)]
struct Bounded {
    percent: u32,
    /// The sum of the weights of those that may be picked.
    weights: u64,
    /// The part of what the tally counts that is for this pool, of [`WHOLE`].
    share: u64,
    /// Counts what the members have in flight; none: that is added up at every pick, which misses or counts twice what
    /// moves from one to another meanwhile.
    tally: Option<Arc<Tally>>,
}

/// What came of looking for a place.
pub(super) enum Place<'a> {
    On(&'a Member),
    Full,
    NoneAvailable,
}

/// A request that has entered the tally and leaves it again, unless it finds a place.
struct Arrival<'a> {
    tally: Option<&'a Tally>,
}

impl<'a> Arrival<'a> {
    /// Counts a request before it looks for a place, so that what others find is never less than what is in flight.
    fn at(tally: Option<&'a Tally>) -> Self {
        if let Some(tally) = tally {
            tally.enter();
        }
        Self { tally }
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if let Some(tally) = self.tally {
            tally.leave();
        }
    }
}

impl Pool {
    /// The pool of these servers. `last` are pools of the group before, whose tables serve again where they fit.
    pub(super) fn new(parts: Parts, arrangement: &Arrangement, last: &[Self], chance: &mut Chance) -> Self {
        let Parts {
            tier,
            round,
            share,
            panics,
            candidates,
        } = parts;
        let (balance, bound) = (arrangement.balance, arrangement.bound);
        let is_usable = |standing| match standing {
            Standing::Available => true,
            Standing::Doubtful => panics,
            Standing::Out => false,
        };
        let mut members: Vec<Member> = candidates.into_iter().map(|one| member(one, is_usable)).collect();
        tell_apart(&mut members);
        if balance.is_keyed() {
            warm_relatively(&mut members);
        } else {
            members.retain(|member| member.available);
            warm_by_weight(&mut members);
        }
        let chooser = if balance.is_keyed() {
            Chooser::Keyed(balance, keyed(balance, &members, last))
        } else {
            let past = Past {
                candidates: remembered(tier, &members, last),
                guesses: arrangement.guesses.clone(),
            };
            Chooser::Plain(policy::new(balance, &members, past, chance))
        };
        let bound = bound.filter(|_| balance.is_keyed());
        Self {
            tier,
            round,
            share,
            usable: members.iter().filter(|member| member.available).count(),
            bounded: bound.map(|bound| Bounded::new(bound, &members, share)),
            members: members.into(),
            chooser,
        }
    }

    /// Whether it holds no member that could ever be picked.
    pub(super) const fn is_empty(&self) -> bool {
        self.usable == 0
    }

    /// What is said of a member that was picked.
    pub(super) const fn picked(&self, member: &Member) -> Pick {
        Pick::Server {
            slot: member.slot,
            tier: self.tier,
        }
    }

    /// Looks for a place and takes it.
    #[inline]
    pub(super) fn take_place(&self, query: &Query<'_>, chance: &mut Chance) -> Place<'_> {
        if self.usable == 0 {
            return Place::NoneAvailable;
        }
        match &self.bounded {
            None => self.take_without_bound(query, chance),
            Some(bounded) => self.take_within(bounded, query, chance),
        }
    }

    #[inline]
    fn take_without_bound(&self, query: &Query<'_>, chance: &mut Chance) -> Place<'_> {
        let view = View::new(&self.members, query);
        for _ in 0..MAX_LOST_RACES {
            match self.choose(&view, chance) {
                None => break,
                Some(member) if member.state.try_acquire() => return Place::On(member),
                Some(_) => {}
            }
        }
        self.take_any_place(&view, |member| member.state.try_acquire(), chance)
    }

    /// Others come and go while this one looks, and move the bound. That all are at it is only believed when nobody did,
    /// because then it cannot be: all bounds together are at least what all have, this request included.
    fn take_within(&self, bounded: &Bounded, query: &Query<'_>, chance: &mut Chance) -> Place<'_> {
        let mut arrival = Arrival::at(bounded.tally.as_deref());
        let mut looks = 0;
        let place = loop {
            looks += 1;
            let count = bounded.count(&self.members);
            let cap = bounded.cap(count, 0);
            let view = View::new(&self.members, query).within(&cap);
            let take = |member: &Member| match &bounded.tally {
                Some(_) => member.state.take(cap.of(member.weight)),
                None => member.state.try_acquire_within(cap.of(member.weight)),
            };
            match self.choose(&view, chance) {
                Some(member) if take(member) => break Place::On(member),
                _ if looks < MAX_LOOKS && bounded.count(&self.members) != count => {}
                _ => break self.take_any_place(&view, take, chance),
            }
        };
        if let Place::On(_) = place {
            arrival.tally = None;
        }
        place
    }

    #[inline]
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<&Member> {
        let chosen = match &self.chooser {
            Chooser::Plain(policy) => policy.choose(view, chance),
            Chooser::Keyed(_, keyed) => keyed.choose(view, chance),
        }?;
        debug_assert!(
            chosen < self.members.len(),
            "{:?} chose a member that is not there",
            self.chooser
        );
        self.members.get(chosen)
    }

    /// Tries every member once, from a random one on: the algorithm found no place, or found them gone.
    #[cold]
    fn take_any_place(&self, view: &View<'_>, take: impl Fn(&Member) -> bool, chance: &mut Chance) -> Place<'_> {
        let (before, from) = self.members.split_at(chance.index(self.members.len()));
        let mut untried = from
            .iter()
            .chain(before)
            .filter(|member| member.available && view.is_untried(member))
            .peekable();
        if untried.peek().is_none() {
            return Place::NoneAvailable;
        }
        untried.find(|member| take(member)).map_or(Place::Full, Place::On)
    }

    /// Members that should be asked for a report now.
    pub(super) fn probes(&self, query: &Query<'_>, chance: &mut Chance) -> Probes {
        match &self.chooser {
            Chooser::Plain(policy) => policy.probes(&View::new(&self.members, query), chance),
            Chooser::Keyed(..) => Probes::default(),
        }
    }

    /// Members that the algorithm remembers as candidates.
    pub(super) fn candidates(&self) -> usize {
        match &self.chooser {
            Chooser::Plain(policy) => policy.candidates().len(),
            Chooser::Keyed(..) => 0,
        }
    }

    /// Whether there are enough reports to go by; none: the algorithm goes by none.
    pub(super) fn is_informed(&self, now: Moment) -> Option<bool> {
        match &self.chooser {
            Chooser::Plain(policy) => policy.is_informed(&self.members, now),
            Chooser::Keyed(..) => None,
        }
    }

    /// Whether a member is left to a request, full or not.
    pub(super) fn is_left(&self, query: &Query<'_>) -> bool {
        let view = View::new(&self.members, query);
        let is_untried = |member: &Member| member.available && view.is_untried(member);
        self.usable > query.avoid.len() || (self.usable > 0 && self.members.iter().any(is_untried))
    }

    /// How many places a request that avoids `avoid` would find; none: no member is left to it. Under a bound it is the
    /// number for as long as nothing else comes: each that is taken may raise the bound for the next.
    pub(super) fn room(&self, query: &Query<'_>) -> Option<u32> {
        let view = View::new(&self.members, query);
        let cap = self
            .bounded
            .as_ref()
            .map(|bounded| bounded.cap(bounded.count(&self.members), 1));
        let room = |member: &Member| {
            let cap = cap.as_ref().map_or(u32::MAX, |cap| cap.of(member.weight));
            let most = member.state.limit().unwrap_or(u32::MAX).min(cap);
            if most == u32::MAX {
                most
            } else {
                most.saturating_sub(member.state.in_flight())
            }
        };
        self.members
            .iter()
            .filter(|member| member.available && view.is_untried(member))
            .map(room)
            .reduce(u32::saturating_add)
    }
}

impl Bounded {
    fn new(bound: Bound, members: &[Member], share: u64) -> Self {
        let usable = || members.iter().filter(|member| member.available);
        let first = usable().next().and_then(|member| member.state.tally());
        let is_common = |tally: &&Arc<Tally>| {
            usable().all(|member| member.state.tally().is_some_and(|other| Arc::ptr_eq(other, tally)))
        };
        Self {
            percent: bound.percent.clamp(100, MAX_BOUND_PERCENT),
            weights: usable().map(|member| u64::from(member.weight)).sum(),
            // One that no load is meant for serves when others cannot, and then perhaps for all of them.
            share: if share == 0 { WHOLE } else { share },
            tally: first.filter(is_common).cloned(),
        }
    }

    /// What all have in flight; with a tally, what it counts for all pools.
    fn count(&self, members: &[Member]) -> Count {
        match &self.tally {
            Some(tally) => tally.count(),
            None => Count::added_up(members.iter().map(|member| u64::from(member.state.in_flight())).sum()),
        }
    }

    /// The bound at a count, with `more` requests beside those that are counted.
    fn cap(&self, count: Count, more: u64) -> Cap {
        let percent = u128::from(self.percent);
        match &self.tally {
            Some(_) => {
                let load = percent * u128::from(count.in_flight() + more);
                if self.share == WHOLE {
                    Cap::new(load, self.weights, 100)
                } else {
                    Cap::new(load * u128::from(self.share), self.weights, 100 * WHOLE)
                }
            }
            // This request is not in the sum.
            None => Cap::new(percent * u128::from(count.in_flight() + 1), self.weights, 100),
        }
    }
}

fn member(candidate: Candidate, is_usable: impl Fn(Standing) -> bool) -> Member {
    let Candidate {
        slot,
        id,
        label,
        weight,
        tier: _,
        zone: _,
        standing,
        warmth,
        state,
    } = candidate;
    Member {
        slot,
        id,
        label,
        weight,
        warmth,
        available: is_usable(standing),
        state,
    }
}

/// Gives members of one id others, which follow from their order: nothing could tell them apart otherwise, and all but
/// one would get no keys.
fn tell_apart(members: &mut [Member]) {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for member in members {
        loop {
            let times = seen.entry(member.id).or_default();
            *times += 1;
            if *times == 1 {
                break;
            }
            member.id = mix(member.id, *times);
        }
    }
}

/// Takes as full what is warmest: only the differences count.
fn warm_relatively(members: &mut [Member]) {
    let available = members.iter().filter(|member| member.available);
    let warmest = available
        .map(|member| member.warmth.thousandths())
        .max()
        .unwrap_or(1000);
    for member in members {
        let relative = u32::from(member.warmth.thousandths()) * 1000 / u32::from(warmest);
        member.warmth = Warmth::new(u16::try_from(relative).unwrap_or(1000));
    }
}

/// Puts warmth into the weights.
fn warm_by_weight(members: &mut [Member]) {
    if members.iter().all(|member| member.warmth == Warmth::FULL) {
        return;
    }
    // Weights keep their proportions where a thousand times the largest does not fit.
    let largest = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(1);
    let divisor = (largest * 1000).div_ceil(u64::from(u32::MAX)).max(1);
    for member in members {
        let weight = u64::from(member.weight) * u64::from(member.warmth.thousandths()) / divisor;
        member.weight = u32::try_from(weight.max(1)).unwrap_or(u32::MAX);
        member.warmth = Warmth::FULL;
    }
}

/// Where those stand now that the algorithm for this tier remembered as candidates in the group before.
fn remembered(tier: Tier, members: &[Member], last: &[Pool]) -> Vec<u32> {
    let before = last.iter().filter(|pool| pool.tier == tier);
    let found = before.flat_map(|pool| match &pool.chooser {
        Chooser::Plain(policy) => policy
            .candidates()
            .into_iter()
            .map(|old| pool.members.get(old as usize))
            .collect(),
        Chooser::Keyed(..) => Vec::new(),
    });
    let position = |old: &Member| members.iter().position(|member| Arc::ptr_eq(&member.state, &old.state));
    found
        .flatten()
        .filter_map(|old| u32::try_from(position(old)?).ok())
        .collect()
}

/// The tables for these members: those of a pool in `last` whose members are the same; or, where history counts, made
/// from one whose members are some of the same.
fn keyed(balance: Balance, members: &[Member], last: &[Pool]) -> Arc<Keyed> {
    let before = || {
        last.iter().filter_map(|pool| match &pool.chooser {
            Chooser::Keyed(other, keyed) if *other == balance => Some((keyed, &pool.members)),
            _ => None,
        })
    };
    let is_same = |a: &Member, b: &Member| a.id == b.id && a.weight == b.weight && a.label == b.label;
    let same = before()
        .find(|(_, old)| old.len() == members.len() && old.iter().zip(members).all(|(old, new)| is_same(old, new)));
    if let Some((keyed, _)) = same {
        return Arc::clone(keyed);
    }
    let ids: alloc::collections::BTreeSet<u64> = members.iter().map(|member| member.id).collect();
    let in_common = |old: &[Member]| old.iter().filter(|member| ids.contains(&member.id)).count();
    let nearest = before().max_by_key(|(_, old)| in_common(old));
    Arc::new(Keyed::new(
        balance,
        members,
        nearest.map(|(keyed, old)| (&**keyed, &**old)),
    ))
}
