//! The server with the lowest latency among those that are not busy, as they said a moment ago.
//!
//! Prequal (Wydrowski, Kleinberg, Rumble, Archer, "Load is not what you should balance: introducing Prequal", NSDI
//! 2024), for many balancers that share servers and do not know of one another: what counts is not what *this*
//! balancer sent but what the server has in flight from all, and it is asked. For each request some servers, drawn at
//! random, are probed; the answers are not waited for but make a pool of candidates for the requests that come after.
//! Of the pool, those with more in flight than a quantile of it are *hot*; the cold one with the lowest latency is
//! chosen, or where all are hot the one with the fewest requests.
//!
//! # Who probes
//! Nothing here sends anything. After a pick the caller asks for [`probes`](Policy::probes), asks these servers, and
//! hands the answers to [`ServerState::reported`](crate::ServerState::reported). Where servers tell their requests in
//! flight in every answer, that is a report as well, and a server that reported just now is not probed: with enough
//! traffic no probe is sent at all.
//!
//! # Where it differs from the paper
//! - What a server reported is kept with the server and not with the pool, which holds which servers are candidates.
//!   A server is in the pool once, and its newest report counts, so that several probes of one loaded server cannot
//!   raise the quantile until it looks cold.
//! - Latency is compared *per request in flight* times what is in flight now. Taken as it was measured, a server that
//!   was loaded keeps the latency of that time, is not chosen, and so has no other: over 50 balancers and 50 servers
//!   at 90 % load the mean time was 5.6 service times then, and is 2.9 (`tests/model.rs`).
//! - A request that is sent raises the server's count until its next report, for all workers, not for one pool.
//! - The pool is of all workers together, one word an entry, without a lock: in one process all see each other's
//!   picks at once, so that sharing does not make them herd, and each probe serves all of them.
//! - With fewer than 32 servers the pool is at most half of them, because a pool of all would make the formula for
//!   reuse meaningless, and the quantile is 0: among the least busy, the fastest.
//! - With fewer than two candidates two servers are drawn, and of these the better is chosen by the same rule, not a
//!   random one. Where they did not both report, it is the less loaded of two by what this process has in flight.
//! - Failures are charged as requests in flight, and a server with a charge is hot.

mod pool;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::balance::Prequal as Settings;
use crate::policy::power_of_two::PowerOfTwo;
use crate::policy::{Member, Policy, Probes, View};
use crate::{Chance, Guesses, Moment};

use pool::{MOST_POOLED, Pool};

/// Servers from which on the paper's quantile is the default.
const MANY: usize = 32;

/// The paper's quantile, 2^-0.25, in percent.
const PAPER_QUANTILE: u8 = 84;

/// Chooses by reports, and says who should be asked for them.
///
/// *Cost*: up to 16 words of the pool, and up to two cache lines of each candidate; for the probes a draw and a
/// compare-and-swap each.
#[derive(Debug)]
pub(super) struct Prequal {
    settings: Settings,
    quantile_percent: usize,
    pool: Pool,
    fallback: PowerOfTwo,
    guesses: Option<Arc<Guesses>>,
}

/// Candidates with a report below which there is nothing to choose from.
const ENOUGH: usize = 2;

impl Prequal {
    /// The algorithm with nobody in its pool.
    pub(super) fn new(members: &[Member], settings: Settings, guesses: Option<Arc<Guesses>>) -> Self {
        let default = if members.len() < MANY { 0 } else { PAPER_QUANTILE };
        Self {
            settings,
            quantile_percent: usize::from(settings.quantile_percent.unwrap_or(default).min(100)),
            pool: Pool::new(members.len(), &settings),
            fallback: PowerOfTwo::new(members, 2),
            guesses,
        }
    }

    /// The same with these members in its pool, the oldest first: candidates of the algorithm before it.
    pub(super) fn resumed(self, candidates: &[u32], chance: &mut Chance) -> Self {
        candidates.iter().for_each(|&position| self.pool.add(position, chance));
        self
    }

    /// The better of two that are drawn, when the pool has too few; none: they did not both report.
    fn better_of_two(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let count = view.members().len();
        let one = chance.index(count);
        // Any other is as likely as the next.
        let other = (one + 1 + chance.index(count.saturating_sub(1))) % count.max(1);
        let mut drawn = Candidates::default();
        for position in [one, other] {
            drawn.add(Candidate::of(view, u32::try_from(position).ok()?, &self.settings));
        }
        drawn.chosen(self.quantile_percent).map(|best| best.position as usize)
    }

    /// What this process knows by itself decides.
    fn guess(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let chosen = self.fallback.choose(view, chance)?;
        if view.members().len() >= ENOUGH
            && let Some(guesses) = &self.guesses
        {
            guesses.count();
        }
        Some(chosen)
    }

    /// The candidates of the pool that can be compared.
    fn comparable(&self, view: &View<'_>) -> Candidates {
        let mut candidates = Candidates::default();
        for position in self.pool.positions() {
            candidates.add(Candidate::of(view, position, &self.settings));
        }
        candidates
    }
}

impl Policy for Prequal {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let candidates = self.comparable(view);
        let chosen = match candidates.chosen(self.quantile_percent) {
            Some(best) => {
                self.pool.used(best.position);
                Some(best.position as usize)
            }
            None => self.better_of_two(view, chance).or_else(|| self.guess(view, chance)),
        };
        chosen.inspect(|&position| {
            if let Some(member) = view.members().get(position) {
                member.state.add_reported_in_flight();
            }
        })
    }

    /// Draws the next candidates; those that have not reported just now are to be probed.
    ///
    /// One candidate leaves besides, the oldest and the worst in turn, so that the pool does not come to consist of
    /// those that are never chosen.
    fn probes(&self, view: &View<'_>, chance: &mut Chance) -> Probes {
        if self.pool.removes_worst_next() {
            let worst = self.comparable(view).worst(self.quantile_percent);
            self.pool.remove(worst);
        } else {
            self.pool.remove_oldest();
        }
        let mut probes = Probes::default();
        let count = view.members().len() as u64;
        let wanted = u64::from(self.settings.probes).min(count);
        let mut drawn = [u32::MAX; Probes::MOST];
        for draw in drawn.iter_mut().take(usize::try_from(wanted).unwrap_or(0)) {
            *draw = u32::try_from(chance.below(count)).unwrap_or(0);
        }
        for (nth, &position) in drawn.iter().enumerate() {
            let before = drawn.get(..nth).unwrap_or_default();
            let Some(member) = view.members().get(position as usize) else {
                continue;
            };
            if before.contains(&position) {
                continue;
            }
            self.pool.add(position, chance);
            let now: Moment = view.query().now;
            if member.state.reported_in_flight(now, self.settings.fresh).is_none() {
                probes.add(member.slot);
            }
        }
        probes
    }

    fn candidates(&self) -> Vec<u32> {
        self.pool.oldest_first()
    }

    fn is_informed(&self, members: &[Member], now: Moment) -> Option<bool> {
        let reports = |member: &&Member| member.state.reported_in_flight(now, self.settings.max_age).is_some();
        Some(members.iter().filter(reports).take(ENOUGH).count() == ENOUGH.min(members.len()))
    }
}

/// A candidate with a report that is young enough.
#[derive(Debug, Clone, Copy, Default)]
struct Candidate {
    position: u32,
    /// For the weight.
    load: f64,
    /// For the weight, with what is in flight now; 0: none is known.
    latency: f64,
    is_charged: bool,
}

impl Candidate {
    fn of(view: &View<'_>, position: u32, settings: &Settings) -> Option<Self> {
        let member = view.members().get(position as usize)?;
        let now = view.query().now;
        let reported = member.state.reported_in_flight(now, settings.max_age)?;
        let charge = member.state.charge(now);
        // What this process has at it is among what it has.
        let seen = view.load(member)?;
        let in_flight = reported.saturating_add(charge).max(seen);
        let weight = f64::from(member.weight);
        Some(Self {
            position,
            load: (f64::from(in_flight) + 1.0) / weight,
            latency: member.state.pace() as f64 * (f64::from(in_flight) + 1.0) / weight,
            is_charged: charge > 0,
        })
    }
}

/// The pool as one request sees it.
#[derive(Debug, Default)]
struct Candidates {
    all: [Candidate; MOST_POOLED],
    len: usize,
}

impl Candidates {
    /// A server is a candidate once.
    fn add(&mut self, candidate: Option<Candidate>) {
        let Some(candidate) = candidate else {
            return;
        };
        if self.iter().any(|other| other.position == candidate.position) {
            return;
        }
        if let Some(next) = self.all.get_mut(self.len) {
            *next = candidate;
            self.len += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.all.iter().take(self.len)
    }

    /// The load above which a candidate is hot: the quantile of those without a charge.
    fn threshold(&self, quantile_percent: usize) -> f64 {
        let mut loads = [f64::INFINITY; MOST_POOLED];
        let mut count: usize = 0;
        let uncharged = self.iter().filter(|candidate| !candidate.is_charged);
        for (load, candidate) in loads.iter_mut().zip(uncharged) {
            *load = candidate.load;
            count += 1;
        }
        loads.sort_unstable_by(f64::total_cmp);
        let last = count.saturating_sub(1);
        loads
            .get(last * quantile_percent / 100)
            .copied()
            .unwrap_or(f64::INFINITY)
    }

    /// The cold one with the lowest latency, otherwise the one with the least load; none: there are fewer than two.
    fn chosen(&self, quantile_percent: usize) -> Option<Candidate> {
        if self.len < ENOUGH {
            return None;
        }
        let threshold = self.threshold(quantile_percent);
        let is_cold = |candidate: &&Candidate| !candidate.is_charged && candidate.load <= threshold;
        // Of those that are equally fast, the one with less to do.
        let by_latency = |one: &&Candidate, other: &&Candidate| {
            one.latency
                .total_cmp(&other.latency)
                .then(one.load.total_cmp(&other.load))
        };
        let by_load = |one: &&Candidate, other: &&Candidate| one.load.total_cmp(&other.load);
        let coldest = self.iter().filter(is_cold).min_by(by_latency);
        coldest.or_else(|| self.iter().min_by(by_load)).copied()
    }

    /// The hottest, otherwise the slowest: what the pool is better without.
    fn worst(&self, quantile_percent: usize) -> Option<u32> {
        let threshold = self.threshold(quantile_percent);
        let hot = self
            .iter()
            .filter(|candidate| candidate.is_charged || candidate.load > threshold);
        let hottest = hot.max_by(|one, other| one.load.total_cmp(&other.load));
        let slowest = || self.iter().max_by(|one, other| one.latency.total_cmp(&other.latency));
        hottest.or_else(slowest).map(|candidate| candidate.position)
    }
}

#[cfg(test)]
mod tests;
