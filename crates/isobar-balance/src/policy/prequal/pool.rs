//! Which servers are candidates, and how often may each still be chosen?

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Chance;
use crate::balance::Prequal as Settings;

/// Candidates that are remembered at most, the paper's number.
pub(super) const MOST_POOLED: usize = 16;

/// Times that a candidate may be chosen, at most: the formula has no bound.
const MOST_USES: u64 = 16;

/// No candidate.
const EMPTY: u64 = 0;

/// The candidates of all workers.
///
/// *Shape*: an entry is one word, with the position of a server in the upper half, when it came in the 24 bits below
/// and how often it may be chosen in the lowest 8, which are never 0 in an entry.
///
/// *Ordering*: what two workers do at once may put a server into the pool twice or take an entry out that was made a
/// moment ago. Either is one candidate more or less, and never a wrong one.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Pool {
    entries: [AtomicU64; MOST_POOLED],
    /// Counts the candidates that came.
    came: AtomicU32,
    /// Counts the removals.
    removed: AtomicU32,
    /// Entries in use.
    len: usize,
    /// How often a candidate may be chosen, in 1/256.
    uses: u64,
}

impl Pool {
    pub(super) fn new(members: usize, settings: &Settings) -> Self {
        let wanted = usize::from(settings.pool).clamp(2, MOST_POOLED);
        let len = wanted.min((members / 2).max(2));
        Self {
            entries: [const { AtomicU64::new(EMPTY) }; MOST_POOLED],
            came: AtomicU32::new(0),
            removed: AtomicU32::new(0),
            len,
            uses: match settings.reuse {
                Some(reuse) => u64::from(reuse).clamp(1, MOST_USES) * 256,
                None => uses(len, members, settings.probes),
            },
        }
    }

    fn entries(&self) -> impl Iterator<Item = &AtomicU64> {
        self.entries.iter().take(self.len)
    }

    /// The candidates.
    pub(super) fn positions(&self) -> impl Iterator<Item = u32> {
        let words = self.entries().map(|entry| entry.load(Ordering::Relaxed));
        words
            .filter(|&word| word != EMPTY)
            .map(|word| Entry::from_word(word).position)
    }

    /// The candidates in the order in which they came.
    pub(super) fn oldest_first(&self) -> Vec<u32> {
        let came = self.came.load(Ordering::Relaxed);
        let words = self.entries().map(|entry| entry.load(Ordering::Relaxed));
        let mut entries: Vec<Entry> = words.filter(|&word| word != EMPTY).map(Entry::from_word).collect();
        entries.sort_by_key(|entry| core::cmp::Reverse(entry.age(came)));
        entries.iter().map(|entry| entry.position).collect()
    }

    /// Makes a server a candidate, in place of the oldest when there are enough; one that is in the pool is renewed.
    pub(super) fn add(&self, position: u32, chance: &mut Chance) {
        let (whole, part) = (self.uses / 256, self.uses % 256);
        let entry = Entry {
            position,
            came: self.came.fetch_add(1, Ordering::Relaxed) & Entry::CAME,
            uses: whole + u64::from(chance.below(256) < part),
        };
        let Some((place, word)) = self.place_for(position) else {
            return;
        };
        let _lost = place.compare_exchange(word, entry.word(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The server's own entry, otherwise an empty one, otherwise the oldest.
    fn place_for(&self, position: u32) -> Option<(&AtomicU64, u64)> {
        let came = self.came.load(Ordering::Relaxed);
        let rank = |word: u64| match word {
            EMPTY => (1, 0),
            _ if Entry::from_word(word).position == position => (2, 0),
            _ => (0, Entry::from_word(word).age(came)),
        };
        let words = self.entries().map(|entry| (entry, entry.load(Ordering::Relaxed)));
        words.max_by_key(|&(_, word)| rank(word))
    }

    /// A candidate was chosen.
    pub(super) fn used(&self, position: u32) {
        if let Some((place, word)) = self.find(position) {
            let left = match Entry::from_word(word).uses {
                ..=1 => EMPTY,
                _ => word - 1,
            };
            let _lost = place.compare_exchange(word, left, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes a candidate out.
    pub(super) fn remove(&self, position: Option<u32>) {
        if let Some((place, word)) = position.and_then(|position| self.find(position)) {
            let _lost = place.compare_exchange(word, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes the oldest out.
    pub(super) fn remove_oldest(&self) {
        let came = self.came.load(Ordering::Relaxed);
        let words = self.entries().map(|entry| (entry, entry.load(Ordering::Relaxed)));
        let oldest = words
            .filter(|&(_, word)| word != EMPTY)
            .max_by_key(|&(_, word)| Entry::from_word(word).age(came));
        if let Some((place, word)) = oldest {
            let _lost = place.compare_exchange(word, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether the removal that is due takes the worst, and not the oldest: every second one does.
    pub(super) fn removes_worst_next(&self) -> bool {
        self.removed.fetch_add(1, Ordering::Relaxed) % 2 == 1
    }

    fn find(&self, position: u32) -> Option<(&AtomicU64, u64)> {
        self.entries()
            .map(|entry| (entry, entry.load(Ordering::Relaxed)))
            .find(|&(_, word)| word != EMPTY && Entry::from_word(word).position == position)
    }
}

/// How often a candidate may be chosen, in 1/256: equation 1 of the paper with delta = 1 and one removal a request,
/// `2 / ((1 - m/n) * probes - 1)`, at least 1.
///
/// As many as come must go. Where fewer come than are removed, the formula has no answer, and a candidate may be
/// chosen until something better replaces it.
#[expect(clippy::cast_possible_truncation, reason = "held to 16")]
fn uses(pooled: usize, members: usize, probes: u8) -> u64 {
    let kept = 1.0 - pooled as f64 / members.max(1) as f64;
    let rate = kept * f64::from(probes) - 1.0;
    if rate <= 0.0 {
        return MOST_USES * 256;
    }
    ((2.0 / rate).clamp(1.0, MOST_USES as f64) * 256.0) as u64
}

/// A candidate as it is kept.
#[derive(Debug, Clone, Copy)]
struct Entry {
    position: u32,
    came: u32,
    uses: u64,
}

impl Entry {
    /// The bits in which its coming is counted.
    const CAME: u32 = (1 << 24) - 1;

    #[expect(clippy::cast_possible_truncation, reason = "fields of a word")]
    const fn from_word(word: u64) -> Self {
        Self {
            position: (word >> 32) as u32,
            came: (word >> 8) as u32 & Self::CAME,
            uses: word & 0xff,
        }
    }

    const fn word(self) -> u64 {
        ((self.position as u64) << 32) | ((self.came as u64) << 8) | self.uses
    }

    /// How many came after it.
    const fn age(self, came: u32) -> u32 {
        came.wrapping_sub(self.came) & Self::CAME
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_USES, Pool, uses};
    use crate::Chance;
    use crate::balance::Prequal;
    use std::vec::Vec;

    fn sorted(pool: &Pool) -> Vec<u32> {
        let mut positions: Vec<u32> = pool.positions().collect();
        positions.sort_unstable();
        positions
    }

    /// The paper's setting gives 1.32 uses; as many members as the pool has, or few probes, give no answer.
    #[test]
    fn reuse_is_equation_one() {
        let check = |pooled, members, probes, expected: f64| {
            let actual = uses(pooled, members, probes) as f64 / 256.0;
            assert!(
                (actual - expected).abs() < 0.01,
                "{pooled} {members} {probes}: {actual}"
            );
        };
        check(16, 100, 3, 2.0 / 1.52);
        check(16, 1_000_000, 3, 1.0);
        check(16, 32, 3, 4.0);
        check(2, 2, 3, MOST_USES as f64);
        check(16, 100, 1, MOST_USES as f64);
        check(16, 100, 0, MOST_USES as f64);
        check(16, 100, 8, 1.0);
    }

    #[test]
    fn reuse_can_be_set() {
        for (reuse, expected) in [(1, 1), (5, 5), (0, 1), (200, 16)] {
            let reuse = Some(reuse);
            let pool = Pool::new(
                100,
                &Prequal {
                    reuse,
                    ..Prequal::DEFAULT
                },
            );
            pool.add(3, &mut Chance::new(1));
            let used = (1..).find(|_| {
                pool.used(3);
                pool.positions().count() == 0
            });
            assert_eq!(used, Some(expected), "{reuse:?}");
        }
    }

    #[test]
    fn the_pool_is_at_most_half_of_all() {
        let check = |members, expected| {
            let pool = Pool::new(members, &Prequal::DEFAULT);
            (0..100).for_each(|position| pool.add(position, &mut Chance::new(1)));
            assert_eq!(pool.positions().count(), expected, "{members} members");
        };
        check(0, 2);
        check(3, 2);
        check(8, 4);
        check(31, 15);
        check(100, 16);
    }

    #[test]
    fn candidates_come_once_and_leave_in_their_order() {
        let pool = Pool::new(8, &Prequal::DEFAULT);
        let mut chance = Chance::new(1);
        (0..4).for_each(|position| pool.add(position, &mut chance));
        pool.add(0, &mut chance);
        assert_eq!(sorted(&pool), [0, 1, 2, 3]);
        pool.add(7, &mut chance);
        assert_eq!(sorted(&pool), [0, 2, 3, 7], "1 was the oldest, because 0 was renewed");
        assert_eq!(pool.oldest_first(), [2, 3, 0, 7]);
        pool.remove_oldest();
        assert_eq!(sorted(&pool), [0, 3, 7]);
        pool.remove(Some(3));
        pool.remove(Some(5));
        pool.remove(None);
        assert_eq!(sorted(&pool), [0, 7]);
    }

    /// In the mean as often as the formula says, by chance where that is no whole number.
    #[test]
    fn candidates_are_used_up() {
        let pool = Pool::new(100, &Prequal::DEFAULT);
        let mut chance = Chance::new(6);
        let mut used = 0;
        for _ in 0..10_000 {
            pool.add(5, &mut chance);
            while sorted(&pool) == [5] {
                pool.used(5);
                used += 1;
            }
        }
        assert!((12_900..13_400).contains(&used), "seed 6: {used}");
    }
}
