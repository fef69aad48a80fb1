//! Which member has least for its weight, and which of those that have the same?
//!
//! What the choices by load have in common. A member's figure is multiplied by a factor that stands for one over its
//! weight, so that members are compared as whole numbers, without a division and, for all but odd sets of weights,
//! without rounding. Members with the same least figure are told apart by how often they were picked of late, and
//! then by chance: without that, a tier with little to do would be a game of dice, and the last one to come back
//! would not be recognised as the one to fill up first.

use alloc::boxed::Box;

use crate::Chance;
use crate::policy::{Member, View};

/// Members that one choice looks at, at most.
pub(super) const MOST_COMPARED: usize = 128;

/// Members with the same least figure whose recent picks are compared. Two already even out an idle tier; comparing
/// all of them would make it the most expensive of all.
const MOST_TIED: usize = 2;

/// Members past the first with the least figure among which others with the same are looked for.
const TIE_REACH: usize = 6;

/// Members that are looked at before asking whether enough of the best were found.
const STRIDE: usize = 16;

/// Factors are at most 2^24, loads 2^20, and what else is multiplied 2^13: with the place of a member in the lowest
/// bits the product fits a word.
const LARGEST_FACTOR: u64 = 1 << 24;
const PLACE_BITS: u32 = 7;

/// A figure that no member has.
const NONE: u64 = u64::MAX;

/// For each member a factor that is in inverse proportion to its weight.
///
/// Exact when the least common multiple of the weights is at most 2^24 times the smallest; otherwise rounded by less
/// than one part in 2^24 times the ratio of the largest weight to the smallest.
#[derive(Debug)]
pub(super) struct Factors {
    factors: Box<[u32]>,
    /// The smallest figure there can be: that of the heaviest member, when what is multiplied is 1.
    smallest: u64,
    largest: u64,
}

impl Factors {
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^24")]
    pub(super) fn new(members: &[Member]) -> Self {
        let weights = || members.iter().map(|member| u64::from(member.weight.max(1)));
        let smallest = u128::from(weights().min().unwrap_or(1));
        let largest = u128::from(LARGEST_FACTOR) * smallest;
        let common = weights().try_fold(1, |multiple, weight| {
            least_common_multiple(multiple, weight).filter(|&multiple| u128::from(multiple) <= largest)
        });
        let numerator = common.map_or(largest, u128::from);
        let factor = |weight| (numerator / u128::from(weight)).max(1) as u32;
        let factors: Box<[u32]> = weights().map(factor).collect();
        let smallest = factors.iter().min().map_or(1, |&factor| u64::from(factor));
        let largest = factors.iter().max().map_or(1, |&factor| u64::from(factor));
        Self {
            factors,
            smallest,
            largest,
        }
    }

    /// Whether all weights are the same.
    pub(super) const fn are_equal(&self) -> bool {
        self.smallest == self.largest
    }

    /// The factor of the heaviest member.
    pub(super) const fn smallest(&self) -> u64 {
        self.smallest
    }

    /// The factor of the member at this position.
    pub(super) fn of(&self, position: usize) -> u64 {
        self.factors.get(position).map_or(1, |&factor| u64::from(factor))
    }
}

fn least_common_multiple(a: u64, b: u64) -> Option<u64> {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).checked_mul(b)
}

/// What is compared of a member.
///
/// A trait and not a closure, so that the loop over the members is compiled for each algorithm as a whole.
pub(super) trait Figure {
    /// The figure of a member with this load, before it is multiplied by the member's factor.
    fn of(&self, member: &Member, load: u64) -> u64;
}

/// One comparison of members.
pub(super) struct Ranking<'a, F> {
    pub(super) view: &'a View<'a>,
    pub(super) factors: &'a Factors,
    pub(super) figure: F,
}

impl<F: Figure> Ranking<'_, F> {
    /// The member with the least figure of the `reach` members from a random one on.
    ///
    /// Of several with the least figure: the one with the fewest recent picks among the first two that come within
    /// 7 places. Ends early where a member is found below which no figure can be.
    pub(super) fn least_within(&self, reach: usize, chance: &mut Chance) -> Option<usize> {
        let count = self.view.members().len();
        let reach = reach.min(MOST_COMPARED).min(count);
        let span = Span {
            start: chance.index(count),
            reach,
        };
        let least = match self.scan_uncharged(span) {
            Some(least) => least,
            None => self.scan(span, |member| (self.figure_of(member), 0)).0,
        };
        if least == NONE {
            return None;
        }
        let place = (least & ((1 << PLACE_BITS) - 1)) as usize;
        let position = |place: usize| match span.start + place {
            past if past >= count => past - count,
            position => position,
        };
        let last = (place + 1 + TIE_REACH).min(reach);
        Some(self.fewest_picks(least >> PLACE_BITS, (place..last).map(position)))
    }

    /// The scan for a request that has tried no server yet while no server is charged for a failure, which is the
    /// usual; none: it is not so.
    fn scan_uncharged(&self, span: Span) -> Option<u64> {
        if !self.view.query().avoid.is_empty() {
            return None;
        }
        let (least, charge) = self.scan(span, |member| {
            let counts = member.state.counts();
            let figure = self.figure.of(member, u64::from(counts.in_flight));
            ((counts.in_flight < counts.limit).then_some(figure), counts.charge)
        });
        (charge == 0).then_some(least)
    }

    /// What [`least_in`] says of these members.
    fn scan(&self, span: Span, look: impl Fn(&Member) -> (Option<u64>, u32)) -> (u64, u32) {
        let (members_before, members_from) = span.of(self.view.members());
        let (factors_before, factors_from) = span.of(&self.factors.factors);
        let (mut least, mut charge, mut place) = (NONE, 0, 0);
        for (members, factors) in [(members_from, factors_from), (members_before, factors_before)] {
            for (members, factors) in members.chunks(STRIDE).zip(factors.chunks(STRIDE)) {
                if least >> PLACE_BITS == self.factors.smallest {
                    return (least, charge);
                }
                let (figure, charges) = least_in(members, factors, place, &look);
                least = least.min(figure);
                charge |= charges;
                place += members.len() as u64;
            }
        }
        (least, charge)
    }

    /// The member with the least figure of some, given by their positions; of several such the one with the fewest
    /// recent picks.
    pub(super) fn least_of(&self, positions: &[u32]) -> Option<usize> {
        let positions = || positions.iter().map(|&position| position as usize);
        let figure = positions().filter_map(|position| self.at(position)).min()?;
        Some(self.fewest_picks(figure, positions()))
    }

    /// Of the members with this figure the one with the fewest recent picks for its weight, the first of several such.
    fn fewest_picks(&self, figure: u64, positions: impl Iterator<Item = usize>) -> usize {
        let tied = positions
            .filter(|&position| self.at(position) == Some(figure))
            .take(MOST_TIED);
        let picks = |position: &usize| self.view.recent(*position) * self.factors.of(*position);
        tied.min_by_key(picks).unwrap_or(0)
    }

    fn at(&self, position: usize) -> Option<u64> {
        let figure = self.figure_of(self.view.members().get(position)?)?;
        Some(figure * self.factors.of(position))
    }

    fn figure_of(&self, member: &Member) -> Option<u64> {
        Some(self.figure.of(member, u64::from(self.view.load(member)?)))
    }
}

/// Some members in a row, the first after the last.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    reach: usize,
}

impl Span {
    /// Those of them at the beginning of all, which come last, and those before.
    fn of<T>(self, all: &[T]) -> (&[T], &[T]) {
        let (before, from) = all.split_at(self.start.min(all.len()));
        let from = from.get(..self.reach).unwrap_or(from);
        let rest = self.reach - from.len();
        (before.get(..rest).unwrap_or(before), from)
    }
}

/// The least figure of some members in the upper bits, the place of the first that has it in the lower ones; and
/// whether any had a charge, which is then not 0.
///
/// *Cost*: no branch that depends on single figures: which of many servers has least cannot be foretold. A function of
/// its own, so that all it needs is in registers.
#[inline(never)]
fn least_in(
    members: &[Member],
    factors: &[u32],
    mut place: u64,
    look: &impl Fn(&Member) -> (Option<u64>, u32),
) -> (u64, u32) {
    let (mut least, mut any_charge) = (NONE, 0);
    for (member, &factor) in members.iter().zip(factors) {
        let (figure, charge) = look(member);
        any_charge |= charge;
        let ranked = figure.map_or(NONE, |figure| ((figure * u64::from(factor)) << PLACE_BITS) | place);
        least = if ranked < least { ranked } else { least };
        place += 1;
    }
    (least, any_charge)
}

#[cfg(test)]
mod tests {
    use super::{Factors, MOST_COMPARED, Ranking, Span};
    use crate::policy::testing::members;
    use crate::policy::{Member, View};
    use crate::{Chance, Query};
    use proptest::prelude::*;
    use std::vec::Vec;

    struct Load;

    impl super::Figure for Load {
        fn of(&self, _: &Member, load: u64) -> u64 {
            load + 1
        }
    }

    #[test]
    fn factors_are_exact_where_they_can_be() {
        let check = |weights: &[u32], expected: &[u64]| {
            let factors = Factors::new(&members(weights));
            let actual: Vec<u64> = (0..weights.len()).map(|position| factors.of(position)).collect();
            assert_eq!(actual, expected, "{weights:?}");
            assert_eq!(
                factors.are_equal(),
                weights.iter().all(|weight| weight == &weights[0]),
                "{weights:?}"
            );
        };
        check(&[7, 7], &[1, 1]);
        check(&[5, 3, 1], &[3, 5, 15]);
        check(&[4, 6], &[3, 2]);
        check(&[65_535, 1], &[1, 65_535]);
        check(&[65_521, 65_519, 65_497], &[16_771_070, 16_771_582, 1 << 24]);
    }

    #[test]
    fn a_span_goes_on_at_the_beginning() {
        let check = |start, reach, expected: (&[u32], &[u32])| {
            assert_eq!(Span { start, reach }.of(&[0, 1, 2, 3, 4]), expected, "{start} {reach}");
        };
        check(0, 5, (&[], &[0, 1, 2, 3, 4]));
        check(3, 5, (&[0, 1, 2], &[3, 4]));
        check(3, 3, (&[0], &[3, 4]));
        check(1, 2, (&[], &[1, 2]));
        check(0, 0, (&[], &[]));
    }

    proptest! {
        /// Whichever way the members are looked at: no eligible one has less for its weight, by exact arithmetic.
        #[test]
        fn the_least_is_the_least(
            servers in prop::collection::vec((1u32..20, 0u32..6, 0u32..7), 1..100),
            avoid in prop::collection::vec(0u32..100, 0..3),
            seed: u64,
        ) {
            let weights: Vec<u32> = servers.iter().map(|&(weight, ..)| weight).collect();
            let members = members(&weights);
            for (member, &(_, in_flight, limit)) in members.iter().zip(&servers) {
                assert!((0..in_flight).all(|_| member.state.try_acquire()));
                member.state.set_limit(Some(limit));
            }
            let query = Query::avoiding(&avoid);
            let view = View::new(&members, &query);
            let ranking = Ranking { view: &view, factors: &Factors::new(&members), figure: Load };
            let all: Vec<u32> = (0..).zip(&members).map(|(position, _)| position).collect();
            let looks = [ranking.least_within(MOST_COMPARED, &mut Chance::new(seed)), ranking.least_of(&all)];
            for least in looks {
                let Some(least) = least else {
                    prop_assert!((0..members.len()).all(|position| !view.eligible(position)));
                    continue;
                };
                prop_assert!(view.eligible(least));
                let compare = |position: usize| u64::from(servers[position].1) + 1;
                for other in (0..members.len()).filter(|&position| view.eligible(position)) {
                    let (one, two) = (compare(least) * u64::from(weights[other]), compare(other) * u64::from(weights[least]));
                    prop_assert!(one <= two, "{} and {}", least, other);
                }
            }
        }
    }
}
