//! The least loaded of a few servers that are drawn by chance.
//!
//! With two draws the longest of `n` queues grows with log log n instead of log n (Azar, Broder, Karlin, Upfal,
//! "Balanced allocations", 1994; Mitzenmacher, 2001), and because hardly any two choices look at the same servers,
//! many balancers that do not know of each other do not all rush to the one that looks best. That is what it is for:
//! within one process the counts are shared, and [`LeastConnections`](super::least_connections::LeastConnections) is
//! better.
//!
//! The draws are by weight and of different members: with few members it matters that a draw is not wasted (at two
//! servers and 70 % load the mean time is 2.11 service times and not 2.35, simulated). Compared is `load / weight`,
//! without the request itself, so that idle members are equal whatever their weight, and then the picks of the last
//! second for the weight: a tier with little to do is used in proportion to the weights, where drawing two of three
//! members by weight and taking one by chance would not keep them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::Chance;
use crate::policy::random::Draw;
use crate::policy::ranking::{Factors, Figure, Ranking};
use crate::policy::{Member, Policy, View};

/// Members that one choice draws at most; more asks for least connections.
pub(super) const MOST_CHOICES: usize = 16;

/// Draws for each member of a sample: with very unequal weights the same one is drawn again and again.
const DRAWS_EACH: usize = 4;

/// Chooses the least loaded of a sample.
///
/// *Cost*: some draws and a cache line for each, and a compare-and-swap; the same however many members there are.
#[derive(Debug)]
pub(super) struct PowerOfTwo {
    factors: Factors,
    sampler: Sampler,
}

impl PowerOfTwo {
    pub(super) fn new(members: &[Member], choices: u8) -> Self {
        Self {
            factors: Factors::new(members),
            sampler: Sampler::new(members, usize::from(choices)),
        }
    }
}

impl Policy for PowerOfTwo {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let ranking = Ranking {
            view,
            factors: &self.factors,
            figure: Load,
        };
        let mut sample = Sample::default();
        self.sampler.sample(&mut sample, chance);
        let least = ranking.least_of(sample.positions());
        let chosen = least.or_else(|| view.draw_by_weight(chance));
        chosen.inspect(|&chosen| view.count_pick(chosen))
    }
}

/// What a member carries.
struct Load;

impl Figure for Load {
    #[inline(always)]
    fn of(&self, _: &Member, load: u64) -> u64 {
        load
    }
}

/// Draws different members by weight.
#[derive(Debug)]
pub(super) struct Sampler {
    draw: Draw,
    choices: usize,
    /// All members, where they are no more than the choices.
    all: Box<[u32]>,
}

/// Positions of different members, in random order.
#[derive(Debug, Default)]
pub(super) struct Sample {
    positions: [u32; MOST_CHOICES],
    len: usize,
}

impl Sample {
    pub(super) fn positions(&self) -> &[u32] {
        self.positions.get(..self.len).unwrap_or(&self.positions)
    }

    fn add(&mut self, position: u32) {
        if self.positions().contains(&position) {
            return;
        }
        if let Some(next) = self.positions.get_mut(self.len) {
            *next = position;
            self.len += 1;
        }
    }
}

impl Sampler {
    pub(super) fn new(members: &[Member], choices: usize) -> Self {
        let choices = choices.clamp(1, MOST_CHOICES);
        let all: Vec<u32> = (0..).zip(members).map(|(position, _)| position).collect();
        Self {
            draw: Draw::new(members),
            choices,
            all: if all.len() <= choices {
                all.into()
            } else {
                Box::default()
            },
        }
    }

    /// Fills the sample; with fewer members than choices, when a few draws give no others.
    pub(super) fn sample(&self, sample: &mut Sample, chance: &mut Chance) {
        if !self.all.is_empty() {
            let (before, from) = self.all.split_at(chance.index(self.all.len()));
            from.iter().chain(before).for_each(|&position| sample.add(position));
            return;
        }
        for _ in 0..self.choices * DRAWS_EACH {
            sample.add(self.draw.draw(chance));
            if sample.len == self.choices {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PowerOfTwo, Sample, Sampler};
    use crate::policy::View;
    use crate::policy::testing::{chi_square, members, shares};
    use crate::{Chance, Query};
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Idle members share by weight, exactly so but for the last round: whoever is behind its weight is preferred.
    #[test]
    fn an_idle_tier_is_used_by_weight() {
        for weights in [
            &[5, 1][..],
            &[1, 1, 1],
            &[2, 1, 1],
            &[10, 1, 1, 1, 1, 1],
            &[3, 2, 1, 3, 2, 1],
        ] {
            let members = members(weights);
            let policy = PowerOfTwo::new(&members, 2);
            let total: u32 = weights.iter().sum();
            let mut chance = Chance::new(5);
            let counts = shares(
                &policy,
                &View::new(&members, &Query::default()),
                &mut chance,
                total * 1000,
            );
            for (&count, &weight) in counts.iter().zip(weights) {
                let expected = f64::from(weight) * 1000.0;
                assert!(
                    (f64::from(count) - expected).abs() < expected * 0.03,
                    "seed 5: {counts:?} for {weights:?}"
                );
            }
        }
    }

    #[test]
    fn the_less_loaded_of_two_is_taken() {
        let members = members(&[1, 1]);
        assert!(members[0].state.try_acquire());
        let policy = PowerOfTwo::new(&members, 2);
        let mut chance = Chance::new(1);
        let counts = shares(&policy, &View::new(&members, &Query::default()), &mut chance, 100);
        assert_eq!(counts, [0, 100]);
    }

    /// The most loaded is only taken when both draws are the same, which never happens.
    #[test]
    fn the_worst_is_never_taken() {
        let members = members(&[1; 10]);
        for (member, load) in members.iter().zip(0..) {
            assert!((0..load).all(|_| member.state.try_acquire()));
        }
        let mut chance = Chance::new(2);
        let view_of = Query::default();
        let counts = shares(
            &PowerOfTwo::new(&members, 2),
            &View::new(&members, &view_of),
            &mut chance,
            45_000,
        );
        assert_eq!(counts[9], 0);
        // Of 45 pairs, member i is the better of the 9 - i whose other is worse; 26.1 is passed once in a thousand seeds.
        let statistic = chi_square(&counts[..9], &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert!(statistic < 26.1, "seed 2: {counts:?} has statistic {statistic}");
    }

    proptest! {
        #[test]
        fn a_sample_has_no_member_twice(
            weights in prop::collection::vec(1u32..1000, 1..40),
            choices in 0usize..20,
            seed: u64,
        ) {
            let sampler = Sampler::new(&members(&weights), choices);
            let mut sample = Sample::default();
            sampler.sample(&mut sample, &mut Chance::new(seed));
            let mut positions: Vec<u32> = sample.positions().to_vec();
            prop_assert!(!positions.is_empty() && positions.len() <= choices.clamp(1, 16));
            positions.sort_unstable();
            positions.dedup();
            prop_assert_eq!(positions.len(), sample.positions().len());
            prop_assert!(positions.iter().all(|&position| (position as usize) < weights.len()));
        }
    }
}
