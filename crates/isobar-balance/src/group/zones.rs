//! How much of a level's load stays in the balancer's own zone, and where does the rest go?
//!
//! Sees sums of weights and numbers of balancers only.

use alloc::vec::Vec;

use super::levels::WHOLE;
use crate::{Locality, Zone};

/// Shares a level's load out over its zones, given with the weight available in each.
///
/// A zone's part of the servers is held against its part of the balancers. Where there are at least as many servers as
/// balancers, in proportion, everything stays; otherwise what the servers cannot bear goes to zones that have more
/// servers than balancers, in proportion to how many more.
///
/// *Shape*: one for each zone, of [`WHOLE`] in sum; nothing where no weight is available.
pub(super) fn share_out(zones: &[(Zone, u64)], locality: &Locality) -> Vec<u64> {
    let servers = Parts::of(zones.iter().map(|&(_, weight)| weight));
    let mut around: Vec<(Zone, u64)> = zones.iter().map(|&(zone, _)| (zone, 0)).collect();
    let is_known = locality
        .balancers
        .iter()
        .any(|&(zone, count)| zone == locality.zone && count > 0);
    // A zone with balancers but without servers counts as well: its balancers send somewhere.
    let others = is_known.then_some(&locality.balancers).into_iter().flatten();
    let named = others.copied().chain((!is_known).then_some((locality.zone, 0)));
    for (zone, count) in named {
        match around.iter_mut().find(|(known, _)| *known == zone) {
            Some((_, known)) => *known += u64::from(count),
            None => around.push((zone, u64::from(count))),
        }
    }
    let balancers = Parts::of(around.iter().map(|&(_, count)| if is_known { count } else { 1 }));

    let own = zones.iter().position(|&(zone, _)| zone == locality.zone);
    let own_servers = own.map_or(0, |own| servers.at(own));
    let own_balancers = around
        .iter()
        .position(|&(zone, _)| zone == locality.zone)
        .map_or(0, |at| balancers.at(at));
    let borne = (u128::from(own_servers) * u128::from(WHOLE)).checked_div(u128::from(own_balancers));
    let stays = match borne.map(u64::try_from) {
        _ if own_servers == 0 => 0,
        Some(Ok(borne)) => borne.min(WHOLE),
        _ => WHOLE,
    };
    let spare: Vec<u64> = (0..zones.len())
        .map(|at| {
            if Some(at) == own {
                0
            } else {
                servers.at(at).saturating_sub(balancers.at(at))
            }
        })
        .collect();
    spill(stays, own, &spare, &servers)
}

/// The shares when a part stays and the rest goes to those with something to spare, or by what they have if none has.
fn spill(stays: u64, own: Option<usize>, spare: &[u64], servers: &Parts) -> Vec<u64> {
    let has_spare = spare.iter().any(|&spare| spare > 0);
    let claims: Vec<u64> = (0..spare.len())
        .map(|at| match spare.get(at) {
            _ if Some(at) == own => 0,
            Some(&spare) if has_spare => spare,
            _ => servers.at(at),
        })
        .collect();
    let claims = Parts::of(claims.into_iter());
    let mut left = WHOLE - stays;
    let mut shares: Vec<u64> = (0..spare.len())
        .map(|at| {
            if Some(at) == own {
                return stays;
            }
            let share = (u128::from(WHOLE - stays) * u128::from(claims.at(at))).div_ceil(u128::from(WHOLE));
            let share = u64::try_from(share).unwrap_or(WHOLE).min(left);
            left -= share;
            share
        })
        .collect();
    // What is lost to rounding, or has nowhere else to go, is for who has a share already.
    if let Some(largest) = shares.iter_mut().max() {
        *largest += left;
    }
    shares
}

/// Numbers as parts of [`WHOLE`] of their sum.
struct Parts {
    parts: Vec<u64>,
}

impl Parts {
    fn of(numbers: impl Iterator<Item = u64> + Clone) -> Self {
        let sum: u128 = numbers.clone().map(u128::from).sum();
        let part = |number| (u128::from(number) * u128::from(WHOLE)).checked_div(sum);
        Self {
            parts: numbers
                .map(|number| u64::try_from(part(number).unwrap_or(0)).unwrap_or(WHOLE))
                .collect(),
        }
    }

    fn at(&self, at: usize) -> u64 {
        self.parts.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{WHOLE, share_out};
    use crate::{Locality, Zone};
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Zones are numbered from 0; the balancer is in zone 0. Shares in hundredths, rounded.
    fn check(servers: &[u64], balancers: &[u32], expected: &[u64]) {
        let zones: Vec<(Zone, u64)> = (0..).map(Zone).zip(servers.iter().copied()).collect();
        let locality = Locality {
            balancers: (0..).map(Zone).zip(balancers.iter().copied()).collect(),
            ..Locality::new(Zone(0))
        };
        let shares = share_out(&zones, &locality);
        assert_eq!(shares.iter().sum::<u64>(), WHOLE);
        let percents: Vec<u64> = shares.iter().map(|share| (share * 100 + WHOLE / 2) / WHOLE).collect();
        assert_eq!(percents, expected, "servers {servers:?}, balancers {balancers:?}");
    }

    #[test]
    fn as_much_stays_as_can_be_borne() {
        // As many servers as balancers, or more: all stays.
        check(&[10, 10], &[1, 1], &[100, 0]);
        check(&[20, 10], &[1, 1], &[100, 0]);
        check(&[10, 10, 10], &[], &[100, 0, 0]);
        // A third of the servers for half of the balancers: two thirds stay.
        check(&[10, 20], &[1, 1], &[67, 33]);
        check(&[10, 20, 30], &[], &[50, 0, 50]);
        // 20 % of the servers, 40 % of the balancers; the others have 10 and 10 too many.
        check(&[20, 40, 40], &[4, 3, 3], &[50, 25, 25]);
        check(&[20, 50, 30], &[4, 3, 3], &[50, 50, 0]);
    }

    #[test]
    fn zones_without_servers_or_without_balancers() {
        check(&[0, 10, 30], &[1, 1, 1], &[0, 0, 100]);
        check(&[10, 0], &[1, 1], &[100, 0]);
        check(&[10], &[5], &[100]);
        // A zone with balancers only: they too send somewhere, so that less is borne here.
        check(&[10, 10], &[2, 1, 1], &[100, 0]);
        check(&[10, 30], &[2, 1, 1], &[50, 50]);
        // It is not known of this zone that it has a balancer, though one is here: then nothing is known.
        check(&[10, 10], &[0, 7], &[100, 0]);
    }

    #[test]
    fn a_balancer_far_from_all_servers() {
        let far = Locality::new(Zone(9));
        let shares = share_out(&[(Zone(1), 30), (Zone(2), 10)], &far);
        // Each zone has a third of the balancers; only the first has more of the servers.
        assert_eq!(shares, [WHOLE, 0]);
        assert_eq!(share_out(&[], &far), []);
    }

    proptest! {
        /// When every balancer does this, no zone's servers get more than their part of what all balancers get.
        #[test]
        fn together_they_are_even(
            zones in prop::collection::vec((1u64..100, 1u32..20), 1..6),
        ) {
            let servers: Vec<(Zone, u64)> = (0..).map(Zone).zip(zones.iter().map(|&(servers, _)| servers)).collect();
            let balancers: Vec<(Zone, u32)> = (0..).map(Zone).zip(zones.iter().map(|&(_, count)| count)).collect();
            let mut got = std::vec![0.0; zones.len()];
            for &(zone, count) in &balancers {
                let locality = Locality { balancers: balancers.clone(), ..Locality::new(zone) };
                for (got, share) in got.iter_mut().zip(share_out(&servers, &locality)) {
                    *got += f64::from(count) * share as f64 / WHOLE as f64;
                }
            }
            let all: f64 = got.iter().sum();
            let weights: u64 = servers.iter().map(|&(_, weight)| weight).sum();
            for (got, (_, weight)) in got.iter().zip(&servers) {
                prop_assert!((got / all - *weight as f64 / weights as f64).abs() < 1e-6, "{:?}: {:?}", zones, got);
            }
        }
    }
}
