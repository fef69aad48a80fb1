//! Which servers of a very large pool does this balancer use?
//!
//! A thousand balancers that each keep connections to ten thousand servers keep ten million. A subset is taken before
//! a group is built; probes and connections then go to its servers alone. What the balancers' numbers are, and how many
//! there are, the caller knows.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use crate::mix::mix;

/// The `size` servers that `seed` gives this balancer, by chance: each balancer has a seed of its own.
///
/// A server that comes or goes changes one place at most. Evenness is that of chance: over `b` balancers a server of
/// `n` is used by `b size / n` of them, plus or minus the square root of about that.
///
/// *Shape*: positions in `ids`, ascending; all of them where there are no more than `size`. Equal ids are told apart by
/// their order. *Cost*: O(n), and no more memory than what is returned and a list of hashes. *Source*: gRPC's A68,
/// which takes the least hashes likewise; the hash is another.
#[must_use]
pub fn random_subset(ids: &[u64], seed: u64, size: usize) -> Vec<usize> {
    let mut hashed: Vec<(u64, usize)> = ids.iter().map(|&id| mix(seed, id)).zip(0..).collect();
    if size < hashed.len() {
        if let Some(last) = size.checked_sub(1) {
            hashed.select_nth_unstable(last);
        }
        hashed.truncate(size);
    }
    let mut positions: Vec<usize> = hashed.into_iter().map(|(_, position)| position).collect();
    positions.sort_unstable();
    positions
}

/// Which of several balancers this is, for a subset that is exactly even over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aperture {
    /// Which one, counted from 0; past `balancers` it counts from 0 again.
    pub balancer: u32,
    /// How many there are.
    pub balancers: NonZeroU32,
    /// Servers each is to use at least, if there are as many.
    pub size: u32,
    /// The same for all of them; decides which servers stand beside each other.
    pub seed: u64,
}

/// A server of an [`Aperture`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Portion {
    /// Its position among the servers.
    pub position: usize,
    /// How much of it is this balancer's, in parts of [`Portion::whole`]; at least 1.
    pub parts: u32,
    /// The parts that all of it is.
    pub whole: u32,
}

impl Aperture {
    /// The servers this balancer uses, in order of their positions.
    ///
    /// Servers and balancers stand on one circle, each in equal distances; a balancer uses what lies between it and a
    /// later balancer, and of a server that lies there in part only that part. Over all balancers every server is used
    /// exactly alike, and so is every part of it. What comes or goes moves everybody else a little: prefer
    /// [`random_subset`] where servers change often.
    ///
    /// *Cost*: O(n log n). *Source*: Finagle's deterministic aperture (`DeterministicAperture.scala`), in whole
    /// numbers.
    #[must_use]
    pub fn of(&self, ids: &[u64]) -> Vec<Portion> {
        let servers = ids.len() as u64;
        let balancers = u64::from(self.balancers.get());
        if servers == 0 {
            return Vec::new();
        }
        let mut circle: Vec<(u64, usize)> = ids.iter().map(|&id| mix(self.seed, id)).zip(0..).collect();
        circle.sort_unstable();
        // The circle has `servers * balancers` parts; a server is `balancers` of them long, and a balancer stands every
        // `servers` parts.
        let around = servers * balancers;
        let steps = (u64::from(self.size.max(1)) * balancers)
            .div_ceil(servers)
            .min(balancers);
        let from = u64::from(self.balancer) % balancers * servers;
        let overlap = |at: u64| {
            let start = at * balancers;
            let inside = |from: u64, to: u64| to.min(start + balancers).saturating_sub(from.max(start));
            let to = from + steps * servers;
            inside(from, to.min(around)) + inside(0, to.saturating_sub(around))
        };
        let mut portions: Vec<Portion> = (0..servers)
            .zip(circle)
            .filter_map(|(at, (_, position))| {
                let parts = u32::try_from(overlap(at)).ok().filter(|&parts| parts > 0)?;
                Some(Portion {
                    position,
                    parts,
                    whole: self.balancers.get(),
                })
            })
            .collect();
        portions.sort_unstable_by_key(|portion| portion.position);
        portions
    }
}

impl Portion {
    /// A weight for the part: all parts of one server together weigh `balancers` times what the server does, so that
    /// no fraction is lost. The largest weight where it would be past that.
    #[must_use]
    pub const fn weight(&self, of_server: u32) -> u32 {
        self.parts.saturating_mul(of_server)
    }
}

#[cfg(test)]
mod tests {
    use super::{Aperture, random_subset};
    use core::num::NonZeroU32;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn ids(count: u64) -> Vec<u64> {
        (0..count).map(|id| id * 3 + 1).collect()
    }

    #[test]
    fn ends_of_random_subsets() {
        assert!(random_subset(&[], 1, 5).is_empty());
        assert!(random_subset(&ids(5), 1, 0).is_empty());
        assert_eq!(random_subset(&ids(3), 1, 3), [0, 1, 2]);
        assert_eq!(random_subset(&ids(3), 1, 9), [0, 1, 2]);
        assert_eq!(random_subset(&[7, 7, 7], 1, 2).len(), 2);
    }

    /// A server that leaves takes one place with it, and its return restores the subset.
    #[test]
    fn a_random_subset_changes_in_one_place() {
        let all = ids(200);
        for seed in 0..50 {
            let named =
                |ids: &[u64]| -> BTreeSet<u64> { random_subset(ids, seed, 20).into_iter().map(|at| ids[at]).collect() };
            let before = named(&all);
            for gone in [0, 17, 199] {
                let mut rest = all.clone();
                let gone = rest.remove(gone);
                let after = named(&rest);
                let moved = before.difference(&after).count();
                assert_eq!(moved, usize::from(before.contains(&gone)), "seed {seed}, {gone}");
            }
        }
    }

    /// 1000 balancers with 20 of 200 servers each: 100 a server, with a deviation of about the square root of 90.
    #[test]
    fn random_subsets_are_even_as_chance_is() {
        let all = ids(200);
        let mut used = std::vec![0u32; 200];
        for seed in 0..1000 {
            random_subset(&all, seed, 20).into_iter().for_each(|at| used[at] += 1);
        }
        let squares: f64 = used.iter().map(|&count| (f64::from(count) - 100.0).powi(2)).sum();
        let deviation = (squares / 200.0).sqrt();
        assert!((7.5..11.5).contains(&deviation), "deviation {deviation}, expected 9.5");
    }

    fn aperture(balancer: u32, balancers: u32, size: u32) -> Aperture {
        Aperture {
            balancer,
            balancers: NonZeroU32::new(balancers).unwrap(),
            size,
            seed: 5,
        }
    }

    #[test]
    fn ends_of_apertures() {
        assert!(aperture(0, 3, 2).of(&[]).is_empty());
        let all = aperture(0, 1, 2).of(&ids(4));
        assert_eq!(all.len(), 4, "one balancer uses every server");
        assert!(all.iter().all(|portion| portion.parts == portion.whole));
        assert_eq!(aperture(1, 2, 0).of(&ids(4)).len(), 2, "a size of 0 counts as 1");
        assert_eq!(aperture(5, 2, 1).of(&ids(4)), aperture(1, 2, 1).of(&ids(4)));
    }

    proptest! {
        /// Over all balancers every server is used exactly alike; each balancer uses at least the size, the same sum of
        /// parts, and as few servers as that takes.
        #[test]
        fn apertures_are_exactly_even(servers in 1u64..60, balancers in 1u32..40, size in 1u32..30) {
            let ids = ids(servers);
            let mut used = std::vec![0u64; ids.len()];
            let mut sums = BTreeSet::new();
            for balancer in 0..balancers {
                let portions = aperture(balancer, balancers, size).of(&ids);
                prop_assert!(portions.len() as u64 >= u64::from(size).min(servers));
                sums.insert(portions.iter().map(|portion| u64::from(portion.parts)).sum::<u64>());
                prop_assert!(portions.iter().all(|portion| portion.parts <= portion.whole));
                prop_assert!(portions.is_sorted_by(|a, b| a.position < b.position));
                portions.iter().for_each(|portion| used[portion.position] += u64::from(portion.parts));
            }
            prop_assert!(used.iter().all(|&parts| parts == used[0]), "{:?}", used);
            prop_assert_eq!(sums.len(), 1);
        }
    }
}
