//! The definitions, carried out as they read.

use crate::mix::mix;
use alloc::vec::Vec;
use std::collections::{BTreeMap, HashMap};
use std::vec;

/// The points of a ring, each with the id of its server; ids and weights.
pub(super) fn ring(servers: &[(u64, u32)], points: u64) -> BTreeMap<u64, u64> {
    let mut servers = servers.to_vec();
    // A point that two have is the lesser id's.
    servers.sort_by_key(|&(id, _)| core::cmp::Reverse(id));
    let points =
        |(id, weight): (u64, u32)| (0..u64::from(weight) * points).map(move |number| (mix(id, number) >> 32, id));
    servers.into_iter().flat_map(points).collect()
}

pub(super) fn on_ring(points: &BTreeMap<u64, u64>, key: u64) -> u64 {
    let behind = points.range(mix(key, 0) >> 32..).next();
    *behind.or(points.iter().next()).unwrap().1
}

/// The id with the greatest `-weight / ln(u)`, in doubles.
pub(super) fn rendezvous(servers: &[(u64, u32)], key: u64) -> u64 {
    let score = |&(id, weight): &(u64, u32)| -f64::from(weight) / ((mix(key, id) as f64 + 0.5) / 2f64.powi(64)).ln();
    servers.iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap().0
}

/// The paper's pseudo-code 1, "Populate Maglev hashing lookup table", for offsets and skips.
pub(super) fn maglev(orders: &[(u64, u64)], size: u64) -> Vec<usize> {
    let permutation = |&(offset, skip): &(u64, u64)| (0..size).map(move |j| (offset + j * skip) % size);
    let permutations: Vec<Vec<u64>> = orders.iter().map(|order| permutation(order).collect()).collect();
    let mut next = vec![0; orders.len()];
    let mut entry = vec![None; usize::try_from(size).unwrap()];
    let mut filled = 0;
    loop {
        for i in 0..orders.len() {
            let mut c = permutations[i][next[i]];
            while entry[usize::try_from(c).unwrap()].is_some() {
                next[i] += 1;
                c = permutations[i][next[i]];
            }
            entry[usize::try_from(c).unwrap()] = Some(i);
            next[i] += 1;
            filled += 1;
            if filled == size {
                return entry.into_iter().map(Option::unwrap).collect();
            }
        }
    }
}

/// Memento as its paper has it: a size, the last removed bucket, and a map of replacements.
pub(in super::super) struct Memento {
    size: u64,
    last: u64,
    replacements: HashMap<u64, (u64, u64)>,
}

impl Memento {
    pub(in super::super) fn new(size: u64) -> Self {
        Self {
            size,
            last: size,
            replacements: HashMap::new(),
        }
    }

    pub(in super::super) fn remove(&mut self, bucket: u64) {
        if self.replacements.is_empty() && bucket == self.size - 1 {
            self.size -= 1;
            self.last = self.size;
        } else {
            let working = self.size - self.replacements.len() as u64;
            self.replacements.insert(bucket, (working - 1, self.last));
            self.last = bucket;
        }
    }

    /// Returns the bucket that was added.
    pub(in super::super) fn add(&mut self) -> u64 {
        let bucket = self.last;
        if self.replacements.is_empty() {
            self.size += 1;
            self.last = self.size;
            return self.size - 1;
        }
        let (_, before) = self.replacements.remove(&bucket).unwrap();
        self.last = before;
        bucket
    }

    pub(in super::super) fn lookup(&self, hash: u64) -> u64 {
        let mut bucket = jump(hash, self.size);
        while let Some(&(left, _)) = self.replacements.get(&bucket) {
            let mut next = mix(hash, bucket) % left;
            while let Some(&(earlier, _)) = self.replacements.get(&next)
                && earlier >= left
            {
                next = earlier;
            }
            bucket = next;
        }
        bucket
    }
}

/// The five lines of Lamping and Veach's paper.
#[expect(clippy::cast_possible_truncation, reason = "the paper cuts it")]
fn jump(mut key: u64, buckets: u64) -> u64 {
    let (mut b, mut j) = (-1i64, 0i64);
    while j < i64::try_from(buckets).unwrap() {
        b = j;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        j = ((b + 1) as f64 * ((1i64 << 31) as f64 / ((key >> 33) + 1) as f64)) as i64;
    }
    u64::try_from(b).unwrap()
}
