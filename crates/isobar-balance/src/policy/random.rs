//! By chance, in proportion to the weights.
//!
//! Walker's alias method as built by Vose ("A linear algorithm for generating random numbers with a given
//! distribution", 1991), in integers, so that the shares are exact: `n` columns of equal width hold at most two
//! members each. A draw takes a column and then one of its two.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::Chance;
use crate::policy::{Member, Policy, View};

/// Chooses a member by chance.
///
/// *Cost*: constant while the member drawn is eligible; otherwise one draw among those that are, over all members.
#[derive(Debug)]
pub(super) struct Random(Draw);

impl Random {
    pub(super) fn new(members: &[Member]) -> Self {
        Self(Draw::new(members))
    }
}

impl Policy for Random {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let drawn = self.0.draw(chance) as usize;
        if view.eligible(drawn) {
            Some(drawn)
        } else {
            view.draw_by_weight(chance)
        }
    }
}

/// Draws members in proportion to their weights, eligible or not.
///
/// *Cost*: two random numbers and at most one line of a table of 16 bytes for each member.
#[derive(Debug)]
pub(super) struct Draw {
    columns: Box<[Column]>,
    /// The width of a column: the sum of the weights.
    width: u64,
}

/// A part of the draw: the first `own` of its width is for the member of its position, the rest for `alias`.
#[derive(Debug, Clone, Copy)]
struct Column {
    own: u64,
    alias: u32,
}

impl Draw {
    pub(super) fn new(members: &[Member]) -> Self {
        let count = members.len() as u64;
        let width = members.iter().map(|member| u64::from(member.weight)).sum();
        // Weights are scaled by the number of members, so that they fill the columns exactly.
        let scaled = members.iter().map(|member| u64::from(member.weight) * count);
        let mut columns: Vec<Column> = scaled.zip(0..).map(|(own, alias)| Column { own, alias }).collect();
        let (mut over, mut under): (Vec<_>, Vec<_>) = (0..columns.len()).partition(|&at| columns[at].own > width);
        while let (Some(&big), Some(small)) = (over.last(), under.pop()) {
            // The big one fills the rest of the small one's column, and then may be small itself.
            columns[small].alias = u32::try_from(big).unwrap_or(u32::MAX);
            columns[big].own -= width - columns[small].own;
            if columns[big].own <= width {
                over.pop();
                under.push(big);
            }
        }
        Self {
            columns: columns.into(),
            width,
        }
    }

    /// The position of a member.
    pub(super) fn draw(&self, chance: &mut Chance) -> u32 {
        let at = chance.below(self.columns.len() as u64);
        let toss = chance.below(self.width);
        #[expect(clippy::cast_possible_truncation, reason = "members are counted in 32 bits")]
        let (place, at) = (at as usize, at as u32);
        self.columns
            .get(place)
            .map_or(at, |column| if toss < column.own { at } else { column.alias })
    }
}

#[cfg(test)]
mod tests {
    use super::{Draw, Random};
    use crate::policy::testing::{chi_square, members, shares};
    use crate::policy::{Policy, View};
    use crate::{Chance, Query};
    use proptest::prelude::*;

    /// Counts that a fair draw would pass but once in a thousand seeds, by degrees of freedom.
    fn check(weights: &[u32], avoid: &[u32], critical: f64) {
        let seed = 20_261_121;
        let members = members(weights);
        let policy = Random::new(&members);
        let counts = shares(
            &policy,
            &View::new(&members, &Query::avoiding(avoid)),
            &mut Chance::new(seed),
            200_000,
        );
        let tried = |position: &usize| avoid.contains(&u32::try_from(*position).unwrap());
        assert!((0..weights.len()).filter(tried).all(|position| counts[position] == 0));
        let (weights, counts): (std::vec::Vec<_>, std::vec::Vec<_>) = (0..weights.len())
            .filter(|position| !tried(position))
            .map(|at| (weights[at], counts[at]))
            .unzip();
        let statistic = chi_square(&counts, &weights);
        assert!(
            statistic < critical,
            "seed {seed}: {counts:?} for {weights:?} has statistic {statistic}"
        );
    }

    #[test]
    fn shares_follow_weights() {
        check(&[1], &[], 0.1);
        check(&[1, 1], &[], 10.8);
        check(&[5, 3, 1], &[], 13.8);
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[], 27.9);
        check(&[1000, 1, 1], &[], 13.8);
    }

    #[test]
    fn the_rest_keep_their_shares() {
        check(&[5, 3, 1], &[0], 10.8);
        check(&[1, 2, 3, 4, 5, 6], &[1, 4], 16.3);
    }

    /// The largest of `n` bins after `n` balls: what a server has at once when requests are spread by chance alone. With
    /// counts nearly Poisson, the largest is below `k` with chance `P(Poisson(1) < k)^n`; the mean of that over `k`
    /// against the mean of 100 throws, whose standard error is 0.07.
    #[test]
    fn the_largest_bin_of_n_balls_in_n_bins() {
        let count = 300;
        let draw = Draw::new(&members(&[1; 300]));
        let mut chance = Chance::new(8);
        let mut largest = || {
            let mut bins = [0u32; 300];
            (0..count).for_each(|_| bins[draw.draw(&mut chance) as usize] += 1);
            f64::from(bins.into_iter().max().unwrap())
        };
        let mean = (0..100).map(|_| largest()).sum::<f64>() / 100.0;
        let poisson = |k: i32| (-1f64).exp() / (1..=k).map(f64::from).product::<f64>();
        let below = |k: i32| (0..k).map(poisson).sum::<f64>().powi(count);
        let expected: f64 = (1..20).map(|k| 1.0 - below(k)).sum();
        assert!((mean - expected).abs() < 0.3, "seed 8: {mean}, expected {expected}");
    }

    proptest! {
        /// The columns give every member exactly its weight: the shares are right by construction, not by luck.
        #[test]
        fn columns_hold_the_weights(weights in prop::collection::vec(1u32..=65_535, 1..100)) {
            let policy = Draw::new(&members(&weights));
            let mut held = std::vec![0u64; weights.len()];
            for (at, column) in policy.columns.iter().enumerate() {
                prop_assert!(column.own <= policy.width);
                held[at] += column.own;
                held[column.alias as usize] += policy.width - column.own;
            }
            let expected: std::vec::Vec<u64> = weights.iter().map(|&w| u64::from(w) * weights.len() as u64).collect();
            prop_assert_eq!(held, expected);
        }

        #[test]
        fn none_when_all_were_tried(weights in prop::collection::vec(1u32..=9, 1..9), seed: u64) {
            let members = members(&weights);
            let all: std::vec::Vec<u32> = members.iter().map(|member| member.slot).collect();
            let policy = Random::new(&members);
            prop_assert_eq!(policy.choose(&View::new(&members, &Query::avoiding(&all)), &mut Chance::new(seed)), None);
        }
    }
}
