//! Whose turn is it when not everybody can be served?
//!
//! Places are divided between *parties* by weight, as far as each of them wants any, and nobody has to say how many that is:
//! who wants less than his share gets all of it, and the rest is shared by the others. A place that comes free is for the party
//! that holds fewest for its weight. Where that is the same for several, because there are fewer places than parties or
//! weights do not divide them, it is for the one that had least of their time.
//!
//! Nothing is known here of requests, servers and room. While nobody waits nobody is counted, and what was served by then is
//! nothing to go by any more.
//!
//! *Source*: max-min fairness over places; among equals, the virtual time of Goyal, Vin, Cheng, "Start-time fair queueing", 1996,
//! with what a request cost known when it ends.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use isobar_plan::Priority;

use crate::ask::Share;

/// Tells a party apart for as long as it waits or holds a place; those that came later have the higher ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Party(u64);

/// How places are divided.
#[derive(Debug)]
pub(super) struct Shares {
    by_key: HashMap<u64, Party>,
    books: HashMap<Party, Book>,
    classes: [Class; 3],
    /// Requests that wait, asleep or called.
    waiting: u32,
    /// The virtual time: the latest of whom was called.
    now: u64,
    /// The latest time of any party.
    latest: u64,
    last: u64,
    /// Books of those who neither wait nor hold anything.
    idle: usize,
}

/// Those of one priority who have requests asleep.
#[derive(Debug, Default)]
struct Class {
    /// In the order of their turns.
    order: BTreeSet<Turn>,
    weights: u64,
    asleep: u64,
}

/// What is known of one party.
#[derive(Debug)]
struct Book {
    /// None: all who share with nobody.
    key: Option<u64>,
    weight: u32,
    /// Places that it was called for or holds.
    held: u32,
    /// The time of places that it had, for its weight.
    time: u64,
    asleep: [u32; 3],
    awake: u32,
}

/// When a party's turn is: the least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Places that it holds for its weight.
    held: u32,
    time: u64,
    /// Whose it is.
    pub(super) party: Party,
}

/// What becomes of two who would have as much of a full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closeness {
    /// The one in the queue stays.
    Stays,
    /// It makes room, because the newest go first.
    GivesWay,
}

/// Idle parties that are remembered.
const MOST_IDLE: usize = 1024;

impl Party {
    /// All who share with nobody. What they hold is not counted.
    pub(crate) const NOBODY: Self = Self(0);
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            books: HashMap::from([(Party::NOBODY, Book::new(None, 1))]),
            classes: Default::default(),
            waiting: 0,
            now: 0,
            latest: 0,
            last: 0,
            idle: 0,
        }
    }
}

impl Shares {
    /// The party of a request that joins.
    ///
    /// *Cost*: a hash; where its weight is another one than before, a logarithm.
    pub(super) fn party(&mut self, share: Option<Share>) -> Party {
        let Some(Share { key, weight }) = share else {
            return Party::NOBODY;
        };
        let weight = weight.max(1);
        if let Some(&party) = self.by_key.get(&key) {
            self.change(party, |book| book.weight = weight);
            return party;
        }
        self.last += 1;
        let party = Party(self.last);
        self.by_key.insert(key, party);
        self.books.insert(party, Book::new(Some(key), weight));
        self.idle += 1;
        party
    }

    /// A request begins to wait.
    ///
    /// *Cost*: a hash, and for the first of its party the logarithm of how many parties wait.
    pub(super) fn joins(&mut self, party: Party, class: Priority) {
        let now = self.now;
        self.waiting += 1;
        self.change(party, |book| {
            if !book.waits() {
                // Nobody saves up while away.
                book.time = book.time.max(now);
            }
            book.asleep[class.index()] += 1;
        });
    }

    /// One that sleeps leaves.
    pub(super) fn leaves(&mut self, party: Party, class: Priority) {
        self.waiting -= 1;
        self.change(party, |book| book.asleep[class.index()] -= 1);
        self.settle();
    }

    /// One that sleeps is called for a place, which counts as its party's from now on.
    pub(super) fn called(&mut self, party: Party, class: Priority) {
        let mut time = 0;
        self.change(party, |book| {
            book.asleep[class.index()] -= 1;
            book.awake += 1;
            book.hold();
            time = book.time;
        });
        self.now = self.now.max(time);
    }

    /// One that was called found nothing, and sleeps again.
    pub(super) fn missed(&mut self, party: Party, class: Priority) {
        self.change(party, |book| {
            book.asleep[class.index()] += 1;
            book.awake -= 1;
            book.let_go();
        });
    }

    /// One that was called leaves without a place.
    pub(super) fn gave_up(&mut self, party: Party) {
        self.waiting -= 1;
        self.change(party, |book| {
            book.awake -= 1;
            book.let_go();
        });
        self.settle();
    }

    /// One that was called leaves with its place.
    pub(super) fn served(&mut self, party: Party) {
        self.waiting -= 1;
        self.change(party, |book| book.awake -= 1);
        self.settle();
    }

    /// A place was given back that a party held for so long.
    pub(super) fn ended(&mut self, party: Party, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut time = 0;
        self.change(party, |book| {
            book.let_go();
            book.time = book.time.saturating_add(took / u64::from(book.weight));
            time = book.time;
        });
        self.latest = self.latest.max(time);
        self.settle();
    }

    /// One that would have joined found no room.
    pub(super) fn turned_away(&mut self) {
        self.settle();
    }

    /// The first whose turn it is among those with requests of a priority asleep, from here on.
    pub(super) fn next(&self, class: Priority, from: Bound<Turn>) -> Option<Turn> {
        let order = &self.classes[class.index()].order;
        order.range((from, Bound::Unbounded)).next().copied()
    }

    /// The party that makes room in a full queue for one more of another; none: nobody has so much more of it.
    ///
    /// *Cost*: linear in the parties that wait, unless the other has its share of the queue already.
    pub(super) fn greedier(&self, than: Party, class: Priority, closeness: Closeness) -> Option<Party> {
        if self.has_its_share(than, class) {
            return None;
        }
        let greediest = self.greediest(class)?;
        let ((mine, weight), (its, its_weight)) = (self.asleep(than, class), self.asleep(greediest, class));
        let (with_one, most) = ((mine + 1) * its_weight, its * weight);
        let gives_way = with_one < most || (with_one == most && closeness == Closeness::GivesWay);
        (greediest != than && gives_way).then_some(greediest)
    }

    /// Whether of those of a priority who sleep as large a part are a party's as it has a share, or a larger one, and there
    /// are others who wait or hold places.
    pub(super) fn has_its_share(&self, party: Party, class: Priority) -> bool {
        let (mine, weight) = self.asleep(party, class);
        let all = &self.classes[class.index()];
        // One book is that of nobody, and one the party's own.
        let are_others = all.order.len() > 1 || self.books.len() - self.idle > 2;
        are_others && mine > 0 && mine * all.weights >= all.asleep * weight
    }

    /// The party of which most sleep for its weight.
    pub(super) fn greediest(&self, class: Priority) -> Option<Party> {
        let parties = self.classes[class.index()].order.iter().map(|turn| turn.party);
        parties.max_by_key(|party| {
            let (asleep, weight) = self.asleep(*party, class);
            (asleep << u32::BITS) / weight
        })
    }

    /// How many of a party sleep, and its weight.
    fn asleep(&self, party: Party, class: Priority) -> (u64, u64) {
        let book = self.books.get(&party);
        book.map_or((0, 1), |book| (book.asleep[class.index()].into(), book.weight.into()))
    }

    /// Parties that wait or hold a place, and of whichever has the most, how many wait and how many places it holds.
    ///
    /// *Cost*: linear in the parties.
    pub(super) fn crowd(&self) -> (u32, [u32; 2]) {
        let parties = self.books.values().filter(|book| book.key.is_some() && book.is_used());
        parties.fold((0, [0; 2]), |(count, [waiting, held]), book| {
            let its = book.asleep.iter().sum::<u32>() + book.awake;
            (count + 1, [waiting.max(its), held.max(book.held)])
        })
    }

    /// Changes a book, and when its party's turn is.
    fn change(&mut self, party: Party, change: impl FnOnce(&mut Book)) {
        let Some(book) = self.books.get_mut(&party) else {
            debug_assert!(false, "{party:?} is known for as long as it waits or holds a place");
            return;
        };
        let (asleep, turn, weight, was_used) = (book.asleep, book.turn(party), book.weight, book.is_used());
        change(book);
        let is_same = turn == book.turn(party) && weight == book.weight;
        for (class, (before, after)) in self.classes.iter_mut().zip(asleep.into_iter().zip(book.asleep)) {
            class.asleep = class.asleep + u64::from(after) - u64::from(before);
            if is_same && (before > 0) == (after > 0) {
                continue;
            }
            if before > 0 {
                class.order.remove(&turn);
                class.weights -= u64::from(weight);
            }
            if after > 0 {
                class.order.insert(book.turn(party));
                class.weights += u64::from(book.weight);
            }
        }
        match (was_used, book.is_used()) {
            (true, false) => self.idle += 1,
            (false, true) => self.idle -= 1,
            _ => {}
        }
    }

    /// Forgets those who have nothing to make up for.
    fn settle(&mut self) {
        if self.waiting == 0 {
            // Everybody has what he wanted.
            self.now = self.now.max(self.latest);
        }
        if self.idle > MOST_IDLE || (self.waiting == 0 && self.idle > 0) {
            let now = self.now;
            self.forget(|book| book.time <= now);
            if self.idle > MOST_IDLE / 2 {
                self.forget(|_| true);
            }
        }
    }

    fn forget(&mut self, whom: impl Fn(&Book) -> bool) {
        let Self {
            books, by_key, idle, ..
        } = self;
        books.retain(|_, book| {
            let stays = book.is_used() || !whom(book);
            if let Some(key) = book.key.filter(|_| !stays) {
                by_key.remove(&key);
                *idle -= 1;
            }
            stays
        });
    }
}

impl Book {
    const fn new(key: Option<u64>, weight: u32) -> Self {
        Self {
            key,
            weight,
            held: 0,
            time: 0,
            asleep: [0; 3],
            awake: 0,
        }
    }

    fn turn(&self, party: Party) -> Turn {
        Turn {
            held: self.held / self.weight,
            time: self.time,
            party,
        }
    }

    fn waits(&self) -> bool {
        self.awake > 0 || self.asleep.iter().any(|&asleep| asleep > 0)
    }

    fn is_used(&self) -> bool {
        self.key.is_none() || self.held > 0 || self.waits()
    }

    fn hold(&mut self) {
        self.held += u32::from(self.key.is_some());
    }

    fn let_go(&mut self) {
        self.held -= u32::from(self.key.is_some());
    }
}

#[cfg(test)]
mod tests;
