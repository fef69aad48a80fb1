//! What is an algorithm, and what may it see?

mod first_available;
mod keyed;
mod lanes;
mod least_connections;
mod least_time;
mod orca;
mod peak_ewma;
mod power_of_two;
mod prequal;
mod random;
mod ranking;
mod round_robin;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;

use crate::mix::mix;
use crate::{Balance, Chance, Guesses, Moment, Query, ServerState, Warmth};

use first_available::FirstAvailable;
pub use keyed::ketama_key;
pub(crate) use keyed::{Cap, Keyed};
use least_connections::LeastConnections;
use least_time::LeastTime;
use orca::OrcaWeightedRoundRobin;
use peak_ewma::PeakEwma;
use power_of_two::PowerOfTwo;
use prequal::Prequal;
use random::Random;
use round_robin::RoundRobin;

/// One server as a member of a tier.
#[derive(Debug, Clone)]
pub struct Member {
    /// The caller's index of it.
    pub slot: u32,
    /// What tells it apart wherever it stands; no two members have the same.
    pub id: u64,
    /// What the points of a ketama ring are made of; none: the id.
    pub label: Option<Arc<str>>,
    /// Its share relative to the other members; never 0 within a tier.
    pub weight: u32,
    /// The part of its keys that it takes now, relative to the warmest member; all of them but for algorithms by key,
    /// the others find it in the weight.
    pub warmth: Warmth,
    /// Whether it may be picked now; always but for algorithms by key, whose members keep their places while they are
    /// away.
    pub available: bool,
    /// Its counters.
    pub state: Arc<ServerState>,
}

impl Member {
    /// Whether the key is one of those that it takes while it is new. Which these are follows from the key and the
    /// member alone: as it warms up, keys come to it and none leaves.
    fn takes(&self, key: u64) -> bool {
        self.warmth == Warmth::FULL || mix(key, !self.id) % 1000 < u64::from(self.warmth.thousandths())
    }
}

/// One algorithm, made for the weights of one tier's members; shared by all workers.
pub trait Policy: Debug + Send + Sync {
    /// Chooses a member that is [eligible](View::eligible) at the time it is looked at; none: there was none.
    ///
    /// *Shape*: a position in the members the policy was made for.
    /// *Cost*: no allocation and no lock.
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize>;

    /// Servers that should be asked for a report now, after a pick; most algorithms want none.
    ///
    /// *Cost*: no allocation and no lock.
    fn probes(&self, _: &View<'_>, _: &mut Chance) -> Probes {
        Probes::default()
    }

    /// Positions of members that it remembers as candidates, the oldest first, for the algorithm that comes after it
    /// and for whoever looks on; most remember none.
    fn candidates(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Whether there are enough reports of its members to go by; none: it goes by none.
    fn is_informed(&self, _: &[Member], _: Moment) -> Option<bool> {
        None
    }
}

/// What an algorithm is given beside its members.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Positions of members that the algorithm before it remembered as candidates, the oldest first.
    pub(crate) candidates: Vec<u32>,
    /// Where choices without reports are counted.
    pub(crate) guesses: Option<Arc<Guesses>>,
}

/// Servers to be asked for a [`Report`](crate::Report).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probes {
    slots: [u32; Self::MOST],
    len: usize,
}

impl Probes {
    /// Servers that are asked at once, at most.
    pub const MOST: usize = 8;

    /// Adds a server; past the most it is left out.
    pub(crate) fn add(&mut self, slot: u32) {
        if let Some(next) = self.slots.get_mut(self.len) {
            *next = slot;
            self.len += 1;
        }
    }

    /// Their slots, each once.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied().take(self.len)
    }
}

/// Makes the algorithm for these members, which keep their places for its lifetime; one [by key](Balance::is_keyed)
/// without a past.
pub(crate) fn new(balance: Balance, members: &[Member], past: Past, chance: &mut Chance) -> Box<dyn Policy> {
    match balance {
        Balance::RoundRobin => Box::new(RoundRobin::new(members, chance)),
        Balance::LeastConnections => Box::new(LeastConnections::new(members, chance)),
        Balance::Random => Box::new(Random::new(members)),
        Balance::RingHash | Balance::Ketama | Balance::Maglev | Balance::Rendezvous | Balance::Memento => {
            Box::new(Keyed::new(balance, members, None))
        }
        Balance::PowerOfTwo(choices) => Box::new(PowerOfTwo::new(members, choices.number())),
        Balance::LeastTime => Box::new(LeastTime::new(members)),
        Balance::PeakEwma => Box::new(PeakEwma::new(members)),
        Balance::OrcaWeightedRoundRobin(orca) => {
            Box::new(OrcaWeightedRoundRobin::new(members, orca, past.guesses, chance))
        }
        Balance::Prequal(prequal) => {
            Box::new(Prequal::new(members, prequal, past.guesses).resumed(&past.candidates, chance))
        }
        Balance::FirstAvailable => Box::new(FirstAvailable),
    }
}

/// A tier's members as one request sees them.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    members: &'a [Member],
    query: &'a Query<'a>,
    cap: Option<&'a Cap>,
}

/// Whether a member fits a request, as an algorithm by key sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It may be chosen.
    Fits,
    /// It takes the request neither now nor soon: it is away, was tried, or is too new for this key.
    Away,
    /// It would, but for what it has in flight.
    Full,
}

impl<'a> View<'a> {
    /// The view of a request.
    #[must_use]
    pub const fn new(members: &'a [Member], query: &'a Query<'a>) -> Self {
        Self {
            members,
            query,
            cap: None,
        }
    }

    /// The same under a bound on the load.
    pub(crate) const fn within(self, cap: &'a Cap) -> Self {
        Self { cap: Some(cap), ..self }
    }

    /// The request.
    #[must_use]
    pub const fn query(&self) -> &'a Query<'a> {
        self.query
    }

    /// The members, eligible or not.
    #[must_use]
    pub const fn members(&self) -> &'a [Member] {
        self.members
    }

    /// Whether the request has not tried this member yet.
    #[must_use]
    #[inline]
    pub fn is_untried(&self, member: &Member) -> bool {
        self.query.avoid.is_empty() || !self.query.avoid.contains(&member.slot)
    }

    /// Whether this member may be chosen: available, not tried yet, and not at its limit or under its bound.
    #[must_use]
    pub fn eligible(&self, position: usize) -> bool {
        self.members
            .get(position)
            .is_some_and(|member| member.available && self.is_untried(member) && self.has_room(member))
    }

    /// Whether this member fits a request with this key.
    pub(crate) fn fit(&self, position: usize, key: u64) -> Fit {
        match self.members.get(position) {
            Some(member) if member.available && self.is_untried(member) && member.takes(key) => {
                if self.has_room(member) { Fit::Fits } else { Fit::Full }
            }
            _ => Fit::Away,
        }
    }

    fn has_room(&self, member: &Member) -> bool {
        match self.cap {
            None => !member.state.is_full(),
            Some(cap) => {
                let most = cap.of(member.weight);
                member.state.in_flight_with_room().is_some_and(|count| count < most)
            }
        }
    }

    /// What a member carries, failures that it is charged for among it; none: it may not be chosen.
    #[must_use]
    #[inline]
    pub fn load(&self, member: &Member) -> Option<u32> {
        if self.is_untried(member) {
            member.state.load_with_room(self.query.now)
        } else {
            None
        }
    }

    /// Failures that this member is charged for.
    pub(crate) fn charge(&self, position: usize) -> u32 {
        let member = self.members.get(position);
        member.map_or(0, |member| member.state.charge(self.query.now))
    }

    /// Picks of this member in about the last second that were [counted](Self::count_pick), times 1024.
    pub(crate) fn recent(&self, position: usize) -> u64 {
        let member = self.members.get(position);
        member.map_or(0, |member| member.state.recent(self.query.now))
    }

    /// Counts a pick of this member, for algorithms that go by [`recent`](Self::recent).
    pub(crate) fn count_pick(&self, position: usize) {
        if let Some(member) = self.members.get(position) {
            member.state.count_pick(self.query.now);
        }
    }

    /// Draws among the eligible members in proportion to their weights; none: there is none.
    ///
    /// The way out for an algorithm whose own choice is not eligible: those that are keep their shares relative to
    /// one another. *Cost*: two passes over the members.
    #[must_use]
    pub fn draw_by_weight(&self, chance: &mut Chance) -> Option<usize> {
        self.draw_by(chance, |_, member| u64::from(member.weight))
    }

    /// Draws among the eligible members in proportion to other weights, below 2^32 on average.
    fn draw_by(&self, chance: &mut Chance, weight: impl Fn(usize, &Member) -> u64) -> Option<usize> {
        let eligible = || {
            self.members
                .iter()
                .enumerate()
                .filter(|&(position, _)| self.eligible(position))
        };
        let total = eligible().map(|(position, member)| weight(position, member)).sum();
        let mut ticket = chance.below(total);
        let mut last = None;
        for (position, member) in eligible() {
            last = Some(position);
            match ticket.checked_sub(weight(position, member)) {
                Some(rest) => ticket = rest,
                None => break,
            }
        }
        // Members that filled up between the passes can leave a ticket over; it goes to the last one seen.
        last
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod testing {
    //! Members, and the runs of picks that the tests of the algorithms look at.

    use super::{Chance, Member, Policy, View};
    use crate::{Feedback, Finish, Moment, Outcome, ServerState, Warmth};
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::time::Duration;
    use std::string::String;

    /// Members with these weights, without a limit; slots are positions.
    pub(crate) fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(slot, &weight)| Member {
            slot,
            id: u64::from(slot) + 1000,
            label: None,
            weight,
            warmth: Warmth::FULL,
            available: true,
            state: Arc::new(ServerState::new(None)),
        };
        (0..).zip(weights).map(member).collect()
    }

    /// Lets a member answer a request that it had to itself.
    pub(crate) fn answered(member: &Member, wanted: Feedback, latency: Duration, now: Moment) {
        finish(member, wanted, latency, now, Outcome::Success);
    }

    /// Lets it fail one in no time.
    pub(crate) fn failed(member: &Member, wanted: Feedback, now: Moment) {
        finish(
            member,
            wanted,
            Duration::ZERO,
            now,
            Outcome::Failure { retry_after: None },
        );
    }

    fn finish(member: &Member, wanted: Feedback, latency: Duration, now: Moment, outcome: Outcome) {
        let finish = Finish {
            now,
            latency,
            in_flight: 1,
            outcome,
        };
        member.state.finished(&finish, wanted);
    }

    /// How often each member is chosen in `picks` picks that are released at once.
    pub(crate) fn shares(policy: &dyn Policy, view: &View<'_>, chance: &mut Chance, picks: u32) -> Vec<u32> {
        let mut counts = std::vec![0; view.members().len()];
        for _ in 0..picks {
            counts[policy.choose(view, chance).unwrap()] += 1;
        }
        counts
    }

    /// Positions written as letters.
    pub(crate) fn letters(positions: impl IntoIterator<Item = usize>) -> String {
        positions
            .into_iter()
            .map(|position| char::from(b'a' + u8::try_from(position).unwrap()))
            .collect()
    }

    /// Pearson's statistic of counts against weights.
    pub(crate) fn chi_square(counts: &[u32], weights: &[u32]) -> f64 {
        let picks: f64 = counts.iter().map(|&count| f64::from(count)).sum();
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let cell = |(&count, &weight)| {
            let expected = picks * f64::from(weight) / total;
            (f64::from(count) - expected).powi(2) / expected
        };
        counts.iter().zip(weights).map(cell).sum()
    }
}
