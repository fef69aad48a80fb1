//! How is the load shared out between levels of priority, and when is their availability not believed?
//!
//! Sees sums of weights only.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// All of something that is shared out.
pub(super) const WHOLE: u64 = 1 << 32;

/// How much of a level's weight may be lost before the next level helps: a level is whole for as long as 1.4 times what
/// is available is all of it, that is down to 71.4 %.
const OVERPROVISIONED_PERCENT: u64 = 140;

/// The weight of a level's servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Strength {
    /// Of those that are available.
    pub(super) available: u64,
    /// Of all.
    pub(super) total: u64,
    /// The part in hundredths below which it panics; 0: it never does.
    pub(super) panic_percent: u32,
}

/// What a level gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lot {
    /// Its part of the load, of [`WHOLE`].
    pub(super) share: u64,
    /// Whether its servers are used whether available or not.
    pub(super) panics: bool,
}

impl Strength {
    /// Its part of [`WHOLE`] that it can carry.
    fn health(self) -> u64 {
        let percent = u128::from(self.available) * u128::from(OVERPROVISIONED_PERCENT);
        let health = (percent * u128::from(WHOLE)).checked_div(u128::from(self.total) * 100);
        u64::try_from(health.unwrap_or(0)).unwrap_or(WHOLE).min(WHOLE)
    }

    fn is_too_little(self) -> bool {
        u128::from(self.available) * 100 < u128::from(self.total) * u128::from(self.panic_percent)
    }
}

/// Shares the load out over levels, the first coming first: each takes what it can carry of what is left, and where all
/// together cannot carry all of it, each takes in proportion.
///
/// While they can carry all of it together, no level panics; otherwise those do of which less is available than
/// they panic below. When nothing is available anywhere, every level that may panic gets its part by its weight.
///
/// *Shape*: one for each level; the shares sum up to [`WHOLE`] or all are 0. *Source*: Envoy's priority levels and panic
/// threshold (its manual, "Priority levels" and "Panic threshold"), with weights where that counts servers.
pub(super) fn share_out(levels: &[Strength]) -> Box<[Lot]> {
    let healths: Vec<u64> = levels.iter().map(|level| level.health()).collect();
    let sum = healths.iter().fold(0, |sum: u64, &health| sum.saturating_add(health));
    if sum == 0 {
        return when_nothing_is_available(levels);
    }
    let norm = sum.min(WHOLE);
    let mut left = WHOLE;
    let mut carry = healths.iter().map(|&health| {
        let share = (u128::from(health) * u128::from(WHOLE)).div_ceil(u128::from(norm));
        let share = u64::try_from(share).unwrap_or(WHOLE).min(left);
        left -= share;
        share
    });
    let lot = |level: &Strength| Lot {
        share: carry.next().unwrap_or(0),
        panics: sum < WHOLE && level.is_too_little(),
    };
    levels.iter().map(lot).collect()
}

fn when_nothing_is_available(levels: &[Strength]) -> Box<[Lot]> {
    let weight = |level: &Strength| match level.panic_percent {
        0 => 0,
        _ => level.total,
    };
    let total: u128 = levels.iter().map(|level| u128::from(weight(level))).sum();
    let mut left = WHOLE;
    let lot = |level: &Strength| {
        let weight = weight(level);
        let share = (u128::from(weight) * u128::from(WHOLE)).checked_div(total);
        let share = share.map_or(0, |share| u64::try_from(share).unwrap_or(WHOLE));
        left -= share;
        Lot {
            share,
            panics: weight > 0,
        }
    };
    let mut lots: Box<[Lot]> = levels.iter().map(lot).collect();
    // What is lost to rounding.
    if let Some(last) = lots.iter_mut().rfind(|lot| lot.panics) {
        last.share += left;
    }
    lots
}

#[cfg(test)]
mod tests {
    use super::{Lot, Strength, WHOLE, share_out};
    use proptest::prelude::*;
    use std::vec::Vec;

    fn levels(percents: &[u64], panic_percent: u32) -> Vec<Strength> {
        let level = |&available| Strength {
            available,
            total: 100,
            panic_percent,
        };
        percents.iter().map(level).collect()
    }

    /// Hundredths as a person writes them: rounded, the last getting the rest.
    fn percents(lots: &[Lot]) -> Vec<u64> {
        let mut left = 100;
        let mut percents: Vec<u64> = lots
            .iter()
            .map(|lot| {
                let percent = ((lot.share * 100 + WHOLE / 2) / WHOLE).min(left);
                left -= percent;
                percent
            })
            .collect();
        if let Some(last) = percents.last_mut() {
            *last += left;
        }
        percents
    }

    /// The tables in Envoy's manual, "Priority levels".
    #[test]
    fn shares_are_envoys() {
        let check = |available: &[u64], expected: &[u64]| {
            assert_eq!(percents(&share_out(&levels(available, 0))), expected, "{available:?}");
        };
        check(&[100, 100], &[100, 0]);
        check(&[72, 100], &[100, 0]);
        check(&[71, 100], &[99, 1]);
        check(&[50, 100], &[70, 30]);
        check(&[25, 100], &[35, 65]);
        check(&[0, 100], &[0, 100]);
        check(&[25, 25], &[50, 50]);
        check(&[25, 25, 100], &[35, 35, 30]);
        check(&[25, 25, 20], &[36, 36, 28]);
        check(&[100], &[100]);
        check(&[1], &[100]);
    }

    /// By the formula; the rows (50, 60) and (25, 100) of Envoy's manual, "Panic threshold", give other shares (50/50 and
    /// 25/75), which contradict it.
    #[test]
    fn panic_is_for_when_all_cannot_carry_all() {
        let check = |available: &[u64], threshold, expected: &[u64], panics: &[bool]| {
            let lots = share_out(&levels(available, threshold));
            let actual: Vec<bool> = lots.iter().map(|lot| lot.panics).collect();
            assert_eq!(
                (percents(&lots), actual),
                (expected.to_vec(), panics.to_vec()),
                "{available:?}"
            );
        };
        check(&[72, 72], 50, &[100, 0], &[false, false]);
        check(&[71, 71], 50, &[99, 1], &[false, false]);
        check(&[50, 60], 50, &[70, 30], &[false, false]);
        check(&[25, 100], 50, &[35, 65], &[false, false]);
        check(&[25, 25], 50, &[50, 50], &[true, true]);
        check(&[5, 65], 50, &[7, 93], &[true, false]);
        check(&[49], 50, &[100], &[true]);
        check(&[50], 50, &[100], &[false]);
        check(&[49], 0, &[100], &[false]);
        check(&[71], 100, &[100], &[true]);
        check(&[72], 100, &[100], &[false]);
    }

    #[test]
    fn when_nothing_is_available_all_or_none_are_used() {
        let nothing = |panic: [u32; 2]| {
            let level = |(total, panic_percent)| Strength {
                available: 0,
                total,
                panic_percent,
            };
            share_out(&[(30, panic[0]), (10, panic[1])].map(level))
        };
        let lots = nothing([50, 1]);
        assert_eq!(percents(&lots), [75, 25]);
        assert!(lots.iter().all(|lot| lot.panics));
        assert_eq!(*nothing([0, 0]), [Lot::default(), Lot::default()]);
        // One that does not panic leaves everything to one that does.
        let (all, none) = (
            Lot {
                share: WHOLE,
                panics: true,
            },
            Lot::default(),
        );
        assert_eq!((*nothing([50, 0])).to_vec(), [all, none]);
        assert_eq!((*nothing([0, 50])).to_vec(), [none, all]);
        let empty = Strength {
            panic_percent: 50,
            ..Strength::default()
        };
        assert_eq!(*share_out(&[empty]), [Lot::default()]);
        assert!(share_out(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn all_of_it_is_shared_out(
            sizes in prop::collection::vec((0u64..=u64::from(u32::MAX) * 1000, 0u64..=u64::from(u32::MAX) * 1000), 1..6),
            panic_percent in 1u32..=100,
        ) {
            let levels: Vec<_> = sizes.iter().map(|&(a, b)| Strength {
                available: a.min(b),
                total: a.max(b),
                panic_percent,
            }).collect();
            let lots = share_out(&levels);
            let sum: u64 = lots.iter().map(|lot| lot.share).sum();
            let expected = if levels.iter().any(|level| level.total > 0) { WHOLE } else { 0 };
            prop_assert_eq!(sum, expected);
            for (lot, level) in lots.iter().zip(&levels) {
                prop_assert!(lot.share == 0 || level.available > 0 || lot.panics);
            }
        }
    }
}
