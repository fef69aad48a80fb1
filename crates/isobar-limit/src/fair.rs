//! Whose turn is it when not everybody can be served?
//!
//! Capacity that is scarce is divided between customers by weight, as far as each of them wants it, and nobody has to say how
//! much that is: who wants less than his share gets all of it, and the rest is shared by the others. What is
//! served, and how long that takes, is not known here.

mod queue;

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use hashbrown::HashTable;

use crate::Key;
use crate::key::scramble;

use self::queue::{Jobs, Line};

/// How much there is to divide, and who may wait.
#[derive(Debug, Clone, Copy)]
pub struct FairSettings {
    /// Requests that are served at once.
    pub slots: u32,
    /// Requests that wait, over all customers.
    pub max_queued: u32,
    /// Customers that are told apart; those past it share one more place in line.
    pub max_customers: u32,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Whose it is.
    pub key: Key,
    /// The customer's share relative to the others, at least 1.
    pub weight: u32,
    /// What it is likely to cost, in whatever unit is the same for all.
    pub cost: u64,
    /// By what the caller knows it.
    pub ticket: u64,
}

/// What becomes of a request that has just come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is served now.
    Now,
    /// It waits.
    Queued,
    /// It waits in place of the one with this ticket, whose customer had more than its share of the queue and has one
    /// request fewer now, the last.
    InPlaceOf(u64),
    /// It cannot: the queue is full, and its customer has its share of it.
    Full,
}

/// A request that was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Whose it was.
    pub key: Key,
    /// What it was thought to cost.
    pub cost: u64,
    /// What it cost.
    pub actual: u64,
}

/// Divides capacity max-min fairly.
///
/// Start-time fair queueing: of requests that wait, the one with the least start tag is next. A customer's tags move on by
/// cost over weight, and begin no earlier than that of what is served now, so that nobody saves up while away.
/// Between any two customers that both have requests waiting, what they were served differs by no more than the largest cost of
/// each, by weight, however long that lasts.
///
/// *Cost*: while there are free slots, a comparison and an addition. Otherwise logarithmic in the customers that wait; where the
/// queue is full and a customer with less than its share comes, linear in the customers. No allocation after it was made.
///
/// *Source*: Goyal, Vin, Cheng, "Start-time fair queueing", 1996.
#[derive(Debug)]
pub struct FairShare {
    settings: FairSettings,
    in_flight: u32,
    /// The start tag of what is served now.
    virtual_time: u64,
    /// The latest finish tag that was given.
    latest: u64,
    customers: Vec<Customer>,
    /// Where in `customers` a key is.
    index: HashTable<u32>,
    /// Where the next place is looked for.
    hand: usize,
    /// Customers that wait, by the start tag of the first request of each.
    waiting: BinaryHeap<Reverse<(u64, u32)>>,
    jobs: Jobs,
    /// The weights of customers that wait.
    weights: u64,
}

#[derive(Debug)]
struct Customer {
    key: Key,
    weight: u32,
    /// The finish tag of the last request that was given one.
    finish: u64,
    /// By how much what was served cost more than was thought, in tags; below 0: less.
    correction: i64,
    line: Line,
}

/// Tags have so many bits below a unit of cost of a customer of weight 1.
const TAG_SHIFT: u32 = 16;

/// Where those are that are not told apart.
const OTHERS: u32 = 0;

/// Customers that are looked at for a place.
const LOOKS: usize = 8;

impl FairShare {
    /// Nobody there; memory for everybody is taken now, some 60 bytes for each customer and 40 for each request that waits.
    #[must_use]
    pub fn new(settings: FairSettings) -> Self {
        let most = settings.max_customers as usize + 1;
        let mut customers = Vec::with_capacity(most);
        customers.push(Customer::new(Key::new(0), 1));
        Self {
            settings,
            in_flight: 0,
            virtual_time: 0,
            latest: 0,
            customers,
            index: HashTable::with_capacity(most),
            hand: 0,
            waiting: BinaryHeap::with_capacity(most),
            jobs: Jobs::new(settings.max_queued),
            weights: 0,
        }
    }

    /// Takes in a request.
    pub fn arrive(&mut self, arrival: &Arrival) -> Turn {
        if self.in_flight < self.settings.slots && self.waiting.is_empty() {
            self.in_flight += 1;
            return Turn::Now;
        }
        let customer = self.customer(arrival);
        let displaced = if self.jobs.is_full() {
            match self.displaced_for(customer) {
                Some(ticket) => Some(ticket),
                None => return Turn::Full,
            }
        } else {
            None
        };
        self.enqueue(customer, arrival);
        displaced.map_or(Turn::Queued, Turn::InPlaceOf)
    }

    /// The request to be served next, by its ticket, where there is a free slot; it has the slot then.
    #[expect(clippy::should_implement_trait, reason = "what comes next depends on what has ended")]
    pub fn next(&mut self) -> Option<u64> {
        if self.in_flight >= self.settings.slots {
            return None;
        }
        let Reverse((start, index)) = self.waiting.pop()?;
        let customer = self.customers.get_mut(index as usize)?;
        let job = self.jobs.pop(&mut customer.line)?;
        self.virtual_time = start;
        let cost = tag(job.cost, customer.weight);
        customer.finish = customer.corrected(start.saturating_add(cost)).max(start);
        self.latest = self.latest.max(customer.finish);
        if customer.line.is_empty() {
            self.weights -= u64::from(customer.weight);
        } else {
            self.waiting.push(Reverse((customer.finish, index)));
        }
        if self.waiting.is_empty() {
            // Everybody has what he wanted: what was served until now is nothing to go by any more.
            self.virtual_time = self.latest;
        }
        self.in_flight += 1;
        Some(job.ticket)
    }

    /// A request was served; its slot is free. What it cost more or less than was thought counts for its customer's next one.
    pub fn complete(&mut self, finished: &Finished) {
        debug_assert!(self.in_flight > 0, "a request ended that had no slot");
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.waiting.is_empty() {
            return;
        }
        let found = self.find(finished.key).unwrap_or(OTHERS);
        if let Some(customer) = self.customers.get_mut(found as usize) {
            let by = tag(finished.actual.abs_diff(finished.cost), customer.weight);
            let by = i64::try_from(by).unwrap_or(i64::MAX);
            let by = if finished.actual < finished.cost { -by } else { by };
            customer.correction = customer.correction.saturating_add(by);
            if customer.line.is_empty() {
                customer.finish = customer.corrected(customer.finish);
            }
            self.latest = self.latest.max(customer.finish);
        }
    }

    /// Requests that are served.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Requests that wait.
    #[must_use]
    pub const fn queued(&self) -> u32 {
        self.jobs.len()
    }

    /// The place of a customer, made for it if it is new and there is one.
    fn customer(&mut self, arrival: &Arrival) -> u32 {
        let weight = arrival.weight.max(1);
        if let Some(index) = self.find(arrival.key) {
            if let Some(customer) = self.customers.get_mut(index as usize)
                && customer.line.is_empty()
            {
                customer.weight = weight;
            }
            return index;
        }
        let new = Customer::new(arrival.key, weight);
        let index = if self.customers.len() <= self.settings.max_customers as usize {
            self.customers.push(new);
            self.customers.len() - 1
        } else {
            let Some(place) = self.idle_place() else {
                return OTHERS;
            };
            self.replace(place, new);
            place
        };
        let index = u32::try_from(index).unwrap_or(OTHERS);
        let customers = &self.customers;
        let hash_of = |index: &u32| customers.get(*index as usize).map_or(0, |it| scramble(it.key.hash()));
        self.index.insert_unique(scramble(arrival.key.hash()), index, hash_of);
        index
    }

    fn find(&self, key: Key) -> Option<u32> {
        let is_it = |index: &u32| self.customers.get(*index as usize).is_some_and(|it| it.key == key);
        self.index.find(scramble(key.hash()), is_it).copied()
    }

    /// A customer that waits for nothing and has nothing to make up for.
    fn idle_place(&mut self) -> Option<usize> {
        for _ in 0..LOOKS {
            self.hand = self.hand % (self.customers.len() - 1).max(1) + 1;
            let customer = self.customers.get(self.hand)?;
            if customer.line.is_empty() && customer.finish <= self.virtual_time {
                return Some(self.hand);
            }
        }
        None
    }

    fn replace(&mut self, place: usize, new: Customer) {
        if let Some(customer) = self.customers.get_mut(place) {
            let old = core::mem::replace(customer, new);
            let is_it = |index: &u32| *index as usize == place;
            if let Ok(entry) = self.index.find_entry(scramble(old.key.hash()), is_it) {
                entry.remove();
            }
        }
    }

    fn enqueue(&mut self, index: u32, arrival: &Arrival) {
        let Some(customer) = self.customers.get_mut(index as usize) else {
            return;
        };
        if customer.line.is_empty() {
            let start = customer.finish.max(self.virtual_time);
            self.waiting.push(Reverse((start, index)));
            self.weights += u64::from(customer.weight);
        }
        self.jobs.push(&mut customer.line, arrival.cost, arrival.ticket);
    }

    /// Makes room in a full queue for a customer that has less than its share of it.
    fn displaced_for(&mut self, newcomer: u32) -> Option<u64> {
        let newcomer = self.customers.get(newcomer as usize)?;
        let added = if newcomer.line.is_empty() {
            u64::from(newcomer.weight)
        } else {
            0
        };
        let share = u64::from(self.settings.max_queued) * u64::from(newcomer.weight) / (self.weights + added).max(1);
        if u64::from(newcomer.line.len()) >= share.max(1) {
            return None;
        }
        let (mine, my_weight) = (newcomer.line.len() + 1, newcomer.weight);
        let by_weight = |it: &&mut Customer| u64::from(it.line.len()) * TAG_ONE / u64::from(it.weight);
        let longest = self.customers.iter_mut().max_by_key(by_weight)?;
        // The first of a line has its place among those that wait, and stays.
        if longest.line.len() < 2 || by_weight(&longest) <= u64::from(mine) * TAG_ONE / u64::from(my_weight) {
            return None;
        }
        self.jobs.pop_last(&mut longest.line)
    }
}

const TAG_ONE: u64 = 1 << TAG_SHIFT;

/// By how much a cost moves tags on.
fn tag(cost: u64, weight: u32) -> u64 {
    (u128::from(cost) << TAG_SHIFT)
        .div_ceil(u128::from(weight))
        .try_into()
        .unwrap_or(u64::MAX)
}

impl Customer {
    /// A tag with the correction made.
    const fn corrected(&mut self, tag: u64) -> u64 {
        tag.saturating_add_signed(core::mem::replace(&mut self.correction, 0))
    }

    const fn new(key: Key, weight: u32) -> Self {
        Self {
            key,
            weight,
            finish: 0,
            correction: 0,
            line: Line::new(),
        }
    }
}

#[cfg(test)]
mod tests;
