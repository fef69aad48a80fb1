//! Which keys asked most, and how near did each come to its limit?
//!
//! A table with room for so many keys. As long as all fit, everything is exact. Past that two things are kept: a sample of the keys,
//! chosen by their hashes and so without regard to what they did, by which the distribution of use is told; and those that asked
//! most, whose counts may be too high by what the last one that made room had.

use std::collections::HashMap;

use isobar_l7::trial::Counted;
use isobar_limit::Key;
use isobar_plan::LimitKind;

use crate::demand::Demand;

/// Keys of a limit that are kept at most.
const MOST: usize = 131_072;

/// Bytes of a key's text that are kept.
pub(crate) const MOST_TEXT: usize = 120;

/// Keys that are told of.
const TOLD: usize = 20;

/// What is known of a key.
#[derive(Debug, Clone)]
struct Book {
    text: Box<str>,
    asked: u64,
    refused: u64,
    /// How much of `asked` it may not have asked at all.
    error: u64,
    is_sampled: bool,
    /// What it may take.
    counted: Counted,
    demand: Demand,
    /// The highest use so far, as a part of what there is.
    peak: f64,
}

/// All keys of a limit.
#[derive(Debug)]
pub(crate) struct Keys {
    books: HashMap<Key, Book>,
    most: usize,
    /// One of 2 to the power of so many keys is in the sample.
    sampling: u32,
    /// What the busiest key asked that made room.
    floor: u64,
}

/// One request of a key.
pub(crate) struct Use<'a> {
    pub(crate) counted: &'a Counted,
    pub(crate) kind: LimitKind,
    pub(crate) at: u64,
}

/// A key, as it is told of.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyReport {
    /// Its values, as an override would be written.
    pub text: Box<str>,
    /// Requests.
    pub asked: u64,
    /// Those that were refused, or would have been.
    pub refused: u64,
    /// By how much both may be too low, because the key made room before.
    pub error: u64,
    /// The most it would have used at any time if nothing had been refused, as a part of what its limit lets it.
    pub peak: f64,
}

/// How near keys came to their limit. *Shape*: of the whole distribution, not of those that are told of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Peaks {
    /// How many keys there are, about.
    pub keys: u64,
    /// How many of them had something refused, about.
    pub refused: u64,
    /// One of so many keys was looked at; 1: all were.
    pub one_of: u64,
    /// How many keys, about, had their highest use from this part of the limit to the next: 25 steps for each power of ten.
    pub steps: Vec<(f64, u64)>,
    /// The highest use that half, nine of ten, 99 of 100 and all honest keys kept to.
    pub honest: [f64; 4],
    /// Those that came nearest without being refused anything.
    pub tightest: Vec<KeyReport>,
}

impl Default for Keys {
    fn default() -> Self {
        Self::with_room(MOST)
    }
}

impl Keys {
    fn with_room(most: usize) -> Self {
        Self {
            books: HashMap::new(),
            most,
            sampling: 0,
            floor: 0,
        }
    }

    /// Takes down a request.
    pub(crate) fn ask(&mut self, of: &Use<'_>, text: impl FnOnce() -> Box<str>) {
        let key = of.counted.key;
        let (floor, is_sampled) = (self.floor, self.samples(key));
        let book = self.books.entry(key).or_insert_with(|| Book {
            text: text(),
            // A key of the sample was never forgotten.
            asked: if is_sampled { 0 } else { floor },
            refused: 0,
            error: if is_sampled { 0 } else { floor },
            is_sampled,
            counted: *of.counted,
            demand: Demand::default(),
            peak: 0.0,
        });
        book.asked += 1;
        let used = book.demand.add(of.kind, of.counted, of.counted.cost as f64, of.at);
        book.peak = book.peak.max(used);
        if self.books.len() > self.most {
            self.make_room();
        }
    }

    /// Takes down that its request was refused, or would have been.
    pub(crate) fn refuse(&mut self, key: Key) {
        if let Some(book) = self.books.get_mut(&key) {
            book.refused += 1;
        }
    }

    /// A request of the key has ended, at this time, and takes so much more than when it began.
    pub(crate) fn end(&mut self, kind: LimitKind, key: Key, (owed, at): (i64, u64)) {
        if let Some(book) = self.books.get_mut(&key) {
            let used = book.demand.add(kind, &book.counted, owed as f64, at);
            book.peak = book.peak.max(used);
        }
    }

    fn samples(&self, key: Key) -> bool {
        key.hash().trailing_zeros() >= self.sampling
    }

    /// Keeps a smaller sample, and of the others those that asked more than half of them did.
    fn make_room(&mut self) {
        while self.books.len() > self.most * 3 / 4 {
            // Half of the room is for the sample.
            let sampled = self.books.values().filter(|book| book.is_sampled).count();
            if sampled > self.most / 2 {
                self.sampling += 1;
                let sampling = self.sampling;
                for (key, book) in &mut self.books {
                    book.is_sampled = key.hash().trailing_zeros() >= sampling;
                }
            }
            let others = self.books.values().filter(|book| !book.is_sampled);
            let mut asked: Vec<u64> = others.map(|book| book.asked).collect();
            if asked.is_empty() {
                continue;
            }
            let middle = asked.len() / 2;
            let (_, &mut median, _) = asked.select_nth_unstable(middle);
            self.floor = self.floor.max(median);
            self.books.retain(|_, book| book.is_sampled || book.asked > median);
        }
    }

    /// Those that asked most, and those that were refused most, each the most first.
    pub(crate) fn heaviest(&self) -> (Vec<KeyReport>, Vec<KeyReport>) {
        let by = |measure: fn(&Book) -> u64| {
            let mut books: Vec<&Book> = self.books.values().filter(|book| measure(book) > 0).collect();
            books.sort_by(|one, other| {
                measure(other)
                    .cmp(&measure(one))
                    .then_with(|| one.text.cmp(&other.text))
            });
            books.into_iter().take(TOLD).map(Book::report).collect()
        };
        (by(|book| book.asked - book.error), by(|book| book.refused))
    }

    pub(crate) fn peaks(&self) -> Peaks {
        let one_of = 1u64 << self.sampling;
        let sampled: Vec<&Book> = self.books.values().filter(|book| book.is_sampled).collect();
        let is_honest = |book: &&&Book| book.refused == 0;
        let mut honest: Vec<&Book> = sampled.iter().filter(is_honest).copied().collect();
        honest.sort_by(|one, other| one.peak.total_cmp(&other.peak).then_with(|| other.text.cmp(&one.text)));
        let at = |part: f64| {
            let place = ((honest.len() as f64 * part).ceil().max(1.0) - 1.0).min(honest.len() as f64);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in the list"
            )]
            honest.get(place as usize).map_or(0.0, |book| book.peak)
        };
        Peaks {
            keys: sampled.len() as u64 * one_of,
            refused: (sampled.len() - honest.len()) as u64 * one_of,
            one_of,
            steps: steps(sampled.iter().map(|book| book.peak), one_of),
            honest: [0.5, 0.9, 0.99, 1.0].map(at),
            tightest: honest.iter().rev().take(TOLD).map(|book| book.report()).collect(),
        }
    }
}

/// Steps of the distribution for each power of ten.
const STEPS: f64 = 25.0;

/// How many values lie in each step, each standing for so many.
fn steps(peaks: impl Iterator<Item = f64>, each: u64) -> Vec<(f64, u64)> {
    let mut counts = std::collections::BTreeMap::new();
    for peak in peaks.filter(|peak| *peak > 0.0) {
        // What is exactly the limit is not past it.
        let step = (peak.log10() * STEPS - 1e-9).floor().clamp(-100.0, 200.0);
        #[expect(clippy::cast_possible_truncation, reason = "clamped")]
        let step = step as i32;
        *counts.entry(step).or_insert(0) += each;
    }
    let from = |step: i32| 10f64.powf(f64::from(step) / STEPS);
    counts.into_iter().map(|(step, count)| (from(step), count)).collect()
}

impl Book {
    fn report(&self) -> KeyReport {
        KeyReport {
            text: self.text.clone(),
            asked: self.asked - self.error,
            refused: self.refused,
            error: self.error,
            peak: self.peak,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isobar_limit::{Quota, Unit};

    use super::{Counted, Key, Keys, LimitKind, Use};

    fn ask(keys: &mut Keys, hash: u64, at: u64) {
        let window = Some(Duration::from_secs(1));
        let counted = Counted {
            key: Key::new(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            capacity: 10,
            quota: Quota {
                units: 10,
                window,
                unit: Unit::Requests,
            },
            cost: 1,
        };
        let of = Use {
            counted: &counted,
            kind: LimitKind::FixedWindow,
            at,
        };
        keys.ask(&of, || hash.to_string().into());
        if at.is_multiple_of(3) {
            keys.refuse(counted.key);
        }
    }

    #[test]
    fn few_keys_are_exact() {
        let mut keys = Keys::with_room(100);
        for key in 1..=50u64 {
            (0..key).for_each(|at| ask(&mut keys, key, at));
        }
        let (asked, refused) = keys.heaviest();
        assert_eq!((asked[0].asked, &*asked[0].text, asked[0].error), (50, "50", 0));
        assert_eq!((refused[0].refused, &*refused[0].text), (17, "49"));
        let peaks = keys.peaks();
        assert_eq!((peaks.keys, peaks.one_of, peaks.refused), (50, 1, 50));
        assert_eq!(peaks.steps.iter().map(|(_, count)| count).sum::<u64>(), 50);
        let over = peaks
            .steps
            .iter()
            .filter(|(from, _)| *from > 0.999)
            .map(|(_, count)| count);
        assert_eq!(over.sum::<u64>(), 40, "{:?}", peaks.steps);
    }

    /// Of 100,000 keys the busy ones are known and the distribution is nearly right, with room for 1,000.
    #[test]
    fn many_keys_are_bounded() {
        let mut keys = Keys::with_room(1_000);
        for round in 0..5u64 {
            for key in 0..100_000u64 {
                ask(&mut keys, key, 1 + 3 * round);
                if key % 10 == 0 {
                    ask(&mut keys, 1_000_000 + key % 50 / 10, 1 + 3 * round);
                }
            }
        }
        assert!(keys.books.len() <= 1_000);
        let (asked, _) = keys.heaviest();
        let busy: Vec<u64> = asked.iter().take(5).map(|key| key.asked).collect();
        assert!(busy.iter().all(|count| (9_000..=10_000).contains(count)), "{busy:?}");
        assert!(asked[5].asked < 1_000, "{:?}", asked[5]);
        assert!(busy.iter().zip(&asked).all(|(count, key)| count + key.error >= 10_000));
        let peaks = keys.peaks();
        assert!(peaks.one_of > 32, "{}", peaks.one_of);
        assert!((80_000..120_000).contains(&peaks.keys), "{}", peaks.keys);
    }
}
