//! The next of many points on a ring.
//!
//! Each member stands at many points of a ring of 2^32 places, and a key's order is that of the points from its own
//! place on. The points of a member follow from its id alone, and how many there are from its weight: a member that
//! comes takes keys from all others, each in proportion, and one that goes gives them back.
//!
//! With `v` points each, the shares vary by `1 / sqrt(v)` (the coefficient of variation of `n` members is
//! `sqrt((n - 1) / (n v + 1))`): [`POINTS`] points at weight 1 make that 8.8 %, at weight 10 2.8 %. For shares that
//! are exact take another algorithm; a ring's merit is that neither weights nor members disturb others, at the cost of
//! a search.
//!
//! *Source*: Karger et al., "Consistent hashing and random trees", 1997. Where a member is full the search goes on at
//! another place and not at the next point: otherwise a member that fills up fills the one behind it, and so on (Chen,
//! Coleman, Shrivastava, "Revisiting consistent hashing with bounded loads", 2021).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::MAX_TRIES;
use crate::mix::mix;
use crate::policy::{Fit, Member, View};

/// Points for each unit of weight.
const POINTS: u64 = 128;

/// Points on a ring at most, but for the one that each member has at least; 24 MiB with the index.
///
/// Where there would be more, every member has half as many, or a quarter, and so on. The halving depends on the sum of
/// all weights and moves keys, but only when that passes 16,384 times a power of two.
pub(super) const MAX_POINTS: u64 = 1 << 21;

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Sorted: the place in the upper 32 bits, the position of its member in the lower.
    points: Box<[u64]>,
    /// Where in `points` each of equally many parts of the ring begins, and where the last ends.
    parts: Box<[u32]>,
    /// How many of a place's upper bits say in which part it is.
    part_bits: u32,
    hashing: Hashing,
}

/// How a key becomes a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashing {
    /// It is mixed first: nothing is asked of it.
    Mixed,
    /// It is the place itself, in its upper 32 bits.
    Given,
}

impl Ring {
    /// The ring of these members.
    ///
    /// *Cost*: O(v log v) in the number of points.
    pub(crate) fn new(members: &[Member]) -> Self {
        let weights: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let halvings = halvings(weights);
        let places = |member: &Member| {
            let id = member.id;
            (0..points(member.weight, halvings)).map(move |number| place(mix(id, number)))
        };
        Self::of(members, places, Hashing::Mixed)
    }

    /// The ring on which each member stands at the places that `points` gives it. A place given twice is that of the
    /// lesser id.
    pub(super) fn of<P>(members: &[Member], points: impl Fn(&Member) -> P, hashing: Hashing) -> Self
    where
        P: Iterator<Item = u32>,
    {
        let mut by_id: Vec<(u64, u32)> = members.iter().map(|member| member.id).zip(0..).collect();
        by_id.sort_unstable();
        let mut ring: Vec<u64> = Vec::new();
        for (rank, &(_, position)) in (0u32..).zip(&by_id) {
            let member = members.get(position as usize);
            let places = member.into_iter().flat_map(&points);
            ring.extend(places.map(|place| point(place, rank)));
        }
        ring.sort_unstable();
        for at in &mut ring {
            let (place, rank) = parts(*at);
            let position = by_id.get(rank as usize).map_or(0, |&(_, position)| position);
            *at = point(place, position);
        }
        Self::indexed(ring, hashing)
    }

    fn indexed(points: Vec<u64>, hashing: Hashing) -> Self {
        let part_bits = points.len().max(2).ilog2().min(24);
        let mut parts: Vec<u32> = Vec::new();
        for (at, &point) in (0u32..).zip(&points) {
            let part = place(point).checked_shr(32 - part_bits).unwrap_or(0) as usize;
            if parts.len() <= part {
                parts.resize(part + 1, at);
            }
        }
        parts.resize((1 << part_bits) + 1, u32::try_from(points.len()).unwrap_or(u32::MAX));
        Self {
            parts: parts.into(),
            points: points.into(),
            part_bits,
            hashing,
        }
    }

    /// The first in the key's order that may be chosen, as far as it is looked at.
    ///
    /// *Cost*: constant but for members that may not be chosen: an entry of the index, about one point, and the
    /// member's counters.
    pub(super) fn choose(&self, view: &View<'_>, key: u64) -> Option<usize> {
        let mut at = self.from(self.start(key));
        let mut jumps = 0;
        for _ in 0..MAX_TRIES {
            let (_, position) = parts(*self.points.get(at).or(self.points.first())?);
            match view.fit(position as usize, key) {
                Fit::Fits => return Some(position as usize),
                Fit::Away => at = if at + 1 < self.points.len() { at + 1 } else { 0 },
                Fit::Full => {
                    jumps += 1;
                    at = self.from(place(mix(key, jumps)));
                }
            }
        }
        None
    }

    /// Where a key's order begins.
    fn start(&self, key: u64) -> u32 {
        match self.hashing {
            Hashing::Mixed => place(mix(key, 0)),
            Hashing::Given => place(key),
        }
    }

    /// The first point at or behind a place; past the last it is the number of points, which stands for the first.
    fn from(&self, place: u32) -> usize {
        let part = place.checked_shr(32 - self.part_bits).unwrap_or(0) as usize;
        let part = self.parts.get(part).zip(self.parts.get(part + 1));
        let (&begin, &end) = part.unwrap_or((&0, &0));
        let behind = |&&point: &&u64| point >> 32 < u64::from(place);
        let points = self.points.get(begin as usize..end as usize).unwrap_or(&[]);
        begin as usize + points.iter().take_while(behind).count()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }
}

/// How often the number of points is halved for weights of this sum.
pub(super) fn halvings(weights: u64) -> u32 {
    let fits = |&halvings: &u32| weights.saturating_mul(POINTS) >> halvings <= MAX_POINTS;
    (0..64).find(fits).unwrap_or(63)
}

/// How many points a member has.
pub(super) fn points(weight: u32, halvings: u32) -> u64 {
    ((u64::from(weight) * POINTS) >> halvings).max(1)
}

/// The upper half of a hash.
const fn place(hash: u64) -> u32 {
    (hash >> 32) as u32
}

const fn point(place: u32, member: u32) -> u64 {
    (place as u64) << 32 | member as u64
}

#[expect(clippy::cast_possible_truncation, reason = "both halves of 64 bits have 32")]
const fn parts(point: u64) -> (u32, u32) {
    ((point >> 32) as u32, point as u32)
}
