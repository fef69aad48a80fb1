//! The member that draws highest for the key.
//!
//! For each member the key and its id make a fraction `u` that looks random, and the member with the greatest
//! `-weight / ln(u)` is first: then each is first for exactly its share of all keys, whatever the weights. A new member
//! takes its share from all others and nothing else moves; nor does anything when weights of others change.
//!
//! *Source*: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998 (highest random weight);
//! the score is that of Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005, section 4. It is compared
//! as `-log2(u) / weight`, the least of which wins, in integers that are the same everywhere; see `fixed.rs`.

use crate::fixed::halvings;
use crate::mix::mix;
use crate::policy::{Fit, View};

/// What a member draws for a key; less is better.
#[derive(Debug, Clone, Copy)]
struct Draw {
    /// How many halvings its fraction is away from 1.
    halvings: u64,
    weight: u32,
    /// The numerator of the fraction, which decides where the logarithms are equal.
    fraction: u64,
}

impl Draw {
    const fn cannot_beat(fraction: u64, weight: u32, best: &Self) -> bool {
        // 1 - u is less than -log2(u), of which 128 may be the logarithm's error.
        let least = (!fraction >> 8).saturating_sub(128);
        least as u128 * best.weight as u128 > best.halvings as u128 * weight as u128
    }

    /// Both products are below 2^63 times 2^32 and fit.
    fn is_better_than(&self, other: &Self) -> bool {
        let own = u128::from(self.halvings) * u128::from(other.weight);
        let others = u128::from(other.halvings) * u128::from(self.weight);
        own < others || (own == others && self.fraction > other.fraction)
    }
}

/// The first in the key's order that may be chosen; none: there is none.
///
/// Members that are too new for the key come after all others. *Cost*: O(n), one mixture and one multiplication a
/// member: 3 ns, by `examples/hashing.rs`. Logarithms are only worked out for those that may be the best so far, and
/// counters looked at for those that are, which happens about ln(n) times.
pub(super) fn first(view: &View<'_>, key: u64) -> Option<usize> {
    best(view, key, |position| view.fit(position, key) == Fit::Fits)
        .or_else(|| best(view, key, |position| view.eligible(position)))
}

fn best(view: &View<'_>, key: u64, may_be_chosen: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best: Option<(usize, Draw)> = None;
    for (position, member) in view.members().iter().enumerate() {
        let (fraction, weight) = (mix(key, member.id), member.weight);
        if best
            .as_ref()
            .is_some_and(|(_, best)| Draw::cannot_beat(fraction, weight, best))
        {
            continue;
        }
        let draw = Draw {
            halvings: halvings(fraction),
            weight,
            fraction,
        };
        let is_better = best.as_ref().is_none_or(|(_, best)| draw.is_better_than(best));
        if is_better && may_be_chosen(position) {
            best = Some((position, draw));
        }
    }
    best.map(|(position, _)| position)
}
