//! Jump hashing that remembers who left.
//!
//! Jump hashing sends a key to one of `n` buckets in a few multiplications and without a table, exactly evenly; but only
//! the last bucket can be removed. Here a bucket that is removed out of turn leaves a note of how many were left then,
//! and a key that comes upon it is hashed once more among these. What a member needs is one entry of a list, whatever
//! the number of keys or how even it shall be: for large fleets that change.
//!
//! A weight is that many buckets, and shares are exact. Buckets belong to members by history: who comes takes the
//! bucket that was removed last, and with it exactly the keys that bucket had, or a new one at the end. Balancers that
//! are to agree must therefore have seen the same changes in the same order, or start with the same members in the same
//! order. Where that cannot be had, take another algorithm.
//!
//! *Source*: Coluzzi, Brocco, Antonucci, Leidi, "MementoHash: a stateful, minimal memory, best performing consistent
//! hash algorithm", IEEE/ACM Transactions on Networking, 2024; Lamping and Veach, "A fast, minimal memory, consistent
//! hash algorithm", 2014.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::mix::mix;
use crate::policy::Member;

/// Buckets at most, but for the one that each member has at least. Where weights would need more, every member has half
/// as many, or a quarter, and so on.
const MAX_BUCKETS: u64 = 1 << 20;

/// A bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bucket {
    /// It belongs to the member at this position; the greater the age, the later it came to a member.
    Of { position: u32, age: u32 },
    /// It was removed when `left` others were left; the one removed before it is `before`, its own number where there
    /// is none.
    Removed { left: u32, before: u32 },
}

impl Bucket {
    /// None: it is removed.
    fn age(&self) -> Option<u32> {
        match self {
            Self::Of { age, .. } => Some(*age),
            Self::Removed { .. } => None,
        }
    }
}

/// The buckets.
#[derive(Debug, Clone)]
pub(crate) struct Memento {
    buckets: Box<[Bucket]>,
}

/// Buckets that change.
struct Changing {
    buckets: Vec<Bucket>,
    /// The bucket removed last of those that are still removed.
    last: Option<u32>,
    /// How many are not.
    working: u32,
    /// The age of the next that comes to a member.
    age: u32,
}

impl Memento {
    /// Buckets for members that nobody came before, in their order.
    ///
    /// *Cost*: O(sum of the weights); 12 bytes a bucket.
    pub(crate) fn new(members: &[Member]) -> Self {
        let counts = counts(members);
        let positions = (0..)
            .zip(&counts)
            .flat_map(|(position, &count)| (0..count).map(move |_| position));
        Self {
            buckets: positions
                .zip(0..)
                .map(|(position, age)| Bucket::Of { position, age })
                .collect(),
        }
    }

    /// Buckets for `members` after those `before`, for whom this was made: who stays keeps its buckets, as far as its
    /// weight does; those that are left over are removed first, and then taken by who needs some.
    ///
    /// *Cost*: O(sum of the weights), times a logarithm.
    pub(crate) fn following(&self, before: &[Member], members: &[Member]) -> Self {
        let places = (0..).zip(members).zip(counts(members));
        let mut wanted: BTreeMap<u64, (u32, u32)> = places
            .map(|((position, member), count)| (member.id, (position, count)))
            .collect();
        let mut changing = Changing::from(&self.buckets);
        let mut left_over = Vec::new();
        for number in changing.by_age() {
            let Some(Bucket::Of { position, .. }) = changing.buckets.get_mut(number as usize) else {
                continue;
            };
            let id = before.get(*position as usize).map(|member| member.id);
            match id.and_then(|id| wanted.get_mut(&id)).filter(|(_, count)| *count > 0) {
                Some((now, count)) => {
                    *count -= 1;
                    *position = *now;
                }
                None => left_over.push(number),
            }
        }
        if left_over.len() as u64 >= u64::from(changing.working) {
            return Self::new(members);
        }
        // Who came last goes first, so that coming and going undo each other.
        left_over.into_iter().rev().for_each(|bucket| changing.remove(bucket));
        for member in members {
            if let Some((position, count)) = wanted.remove(&member.id) {
                (0..count).for_each(|_| changing.add(position));
            }
        }
        Self {
            buckets: changing.buckets.into(),
        }
    }

    /// The member of a hash.
    ///
    /// *Cost*: about ln(n) divisions; each removed bucket that is come upon adds one.
    pub(super) fn lookup(&self, hash: u64) -> usize {
        let mut number = jump(hash, self.buckets.len());
        loop {
            match self.buckets.get(number) {
                None => return 0,
                Some(Bucket::Of { position, .. }) => return *position as usize,
                Some(Bucket::Removed { left, .. }) => number = self.replacement(hash, number, *left),
            }
        }
    }

    /// The bucket that stands in for a removed one, or another removed one that was removed earlier.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder of a u32")]
    fn replacement(&self, hash: u64, removed: usize, left: u32) -> usize {
        let mut number = (mix(hash, removed as u64) % u64::from(left.max(1))) as usize;
        // Those removed before hold the place of a bucket that was still there when this one was removed.
        while let Some(Bucket::Removed { left: earlier, .. }) = self.buckets.get(number)
            && *earlier >= left
        {
            number = *earlier as usize;
        }
        number
    }
}

impl Changing {
    fn from(buckets: &[Bucket]) -> Self {
        let removed = (0u32..).zip(buckets).filter_map(|(number, bucket)| match bucket {
            Bucket::Of { .. } => None,
            Bucket::Removed { left, .. } => Some((*left, number)),
        });
        let ages = buckets.iter().filter_map(Bucket::age);
        Self {
            // The later one was removed, the fewer were left.
            last: removed.min().map(|(_, number)| number),
            working: u32::try_from(ages.clone().count()).unwrap_or(u32::MAX),
            age: ages.max().map_or(0, |age| age.saturating_add(1)),
            buckets: buckets.to_vec(),
        }
    }

    /// The buckets that are not removed, those first that came first.
    fn by_age(&self) -> Vec<u32> {
        let aged = (0..)
            .zip(&self.buckets)
            .filter_map(|(number, bucket)| Some((bucket.age()?, number)));
        let mut aged: Vec<(u32, u32)> = aged.collect();
        aged.sort_unstable();
        aged.into_iter().map(|(_, number)| number).collect()
    }

    fn remove(&mut self, number: u32) {
        self.working -= 1;
        if self.last.is_none() && number as usize + 1 == self.buckets.len() {
            self.buckets.pop();
            return;
        }
        if let Some(bucket) = self.buckets.get_mut(number as usize) {
            *bucket = Bucket::Removed {
                left: self.working,
                before: self.last.unwrap_or(number),
            };
            self.last = Some(number);
        }
    }

    fn add(&mut self, position: u32) {
        self.working += 1;
        let age = self.age;
        self.age = age.saturating_add(1);
        let restored = self
            .last
            .and_then(|number| Some((number, self.buckets.get_mut(number as usize)?)));
        match restored {
            Some((number, bucket)) => {
                if let Bucket::Removed { before, .. } = *bucket {
                    self.last = Some(before).filter(|&before| before != number);
                }
                *bucket = Bucket::Of { position, age };
            }
            None => self.buckets.push(Bucket::Of { position, age }),
        }
    }
}

/// How many buckets each member has.
fn counts(members: &[Member]) -> Vec<u32> {
    let weights: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let halvings = (0..32)
        .find(|&halvings| weights >> halvings <= MAX_BUCKETS)
        .unwrap_or(31);
    members
        .iter()
        .map(|member| (member.weight >> halvings).max(1))
        .collect()
}

/// The bucket of a hash among `count`, 0 for none: of a hash's jumps to ever higher buckets the last that is below.
///
/// Doubles are exact enough and the same everywhere: it is one division and one multiplication.
#[expect(clippy::cast_possible_truncation, reason = "compared before it is cut")]
fn jump(mut hash: u64, count: usize) -> usize {
    const RANGE: f64 = (1u64 << 31) as f64;
    let count = count as u64;
    let (mut bucket, mut next) = (0, 0);
    while next < count {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * (RANGE / ((hash >> 33) + 1) as f64)) as u64;
    }
    bucket as usize
}

#[cfg(test)]
mod tests;
