//! An entry of a table in which the members take turns.
//!
//! Each member has an order of its own over all entries, which follows from its id; they take turns, and each takes the
//! next entry in its order that is free, until none is. So all have equally many entries to one, or with unequal weights
//! in proportion to them to about one, which no ring comes near. The price is that a member which comes or goes in the
//! configuration moves a few entries between others too: at a hundred entries a member about 1 % of them. (While a
//! member is merely away none of this happens: its keys are hashed again.)
//!
//! *Source*: Eisenbud et al., "Maglev: A fast and reliable software network load balancer", NSDI 2016, section 3.4. The
//! paper leaves weights open; here a member's `k`th turn is at the time `k / weight`, so that each has at least one.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::mix::{below, mix};
use crate::policy::Member;

/// Sizes of a table, each a prime: the paper's smaller one (and Envoy's default), and the first prime above 2^20, which
/// is also the cap. The first that is a hundred times the number of members is taken; from 10,485 members on each has
/// fewer than a hundred entries, and past a million some have none.
const SIZES: [u32; 2] = [65_537, 1_048_583];

/// An entry that is free while the table is made.
const FREE: u32 = u32::MAX;

/// Says which of the numbers that come from an id is wanted.
const OFFSET: u64 = 1;
const SKIP: u64 = 2;

/// The table.
#[derive(Debug)]
pub(crate) struct Maglev {
    /// Positions of members.
    table: Box<[u32]>,
}

/// A member's order over the entries: from one on, always skipping as many.
struct Order {
    position: u32,
    weight: u32,
    next: u64,
    skip: u64,
}

impl Maglev {
    /// The table for these members; empty for none.
    ///
    /// *Cost*: for `m` entries O(m log m) steps, with unequal weights times log n; 4 bytes an entry.
    pub(crate) fn new(members: &[Member]) -> Self {
        if members.is_empty() {
            return Self { table: Box::default() };
        }
        let [small, large] = SIZES;
        let size = if members.len() as u64 * 100 < u64::from(small) {
            small
        } else {
            large
        };
        let mut by_id: Vec<(u64, u32)> = members.iter().map(|member| member.id).zip(0..).collect();
        by_id.sort_unstable();
        let weight = |position: u32| members.get(position as usize).map_or(1, |member| member.weight);
        let orders = by_id.into_iter().map(|(id, position)| Order {
            position,
            weight: weight(position),
            next: mix(id, OFFSET) % u64::from(size),
            skip: mix(id, SKIP) % u64::from(size - 1) + 1,
        });
        let orders: Vec<Order> = orders.collect();
        let mut table = vec![FREE; size as usize];
        if orders.iter().all(|order| order.weight == orders[0].weight) {
            fill_in_turn(&mut table, orders);
        } else {
            fill_by_weight(&mut table, orders);
        }
        Self { table: table.into() }
    }

    /// The member of a hash.
    #[expect(clippy::cast_possible_truncation, reason = "below the length of a table")]
    pub(super) fn lookup(&self, hash: u64) -> usize {
        let entry = below(hash, self.table.len() as u64) as usize;
        self.table.get(entry).map_or(0, |&position| position as usize)
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &[u32] {
        &self.table
    }
}

fn fill_in_turn(table: &mut [u32], mut orders: Vec<Order>) {
    let mut free = table.len();
    loop {
        for order in &mut orders {
            if free == 0 {
                return;
            }
            order.take_next(table);
            free -= 1;
        }
    }
}

/// The next turn is the earliest; of equal ones that of the lesser id. All have their first at time 0.
fn fill_by_weight(table: &mut [u32], mut orders: Vec<Order>) {
    let mut turns: BinaryHeap<Reverse<(u64, usize, u64)>> = (0..orders.len()).map(|at| Reverse((0, at, 0))).collect();
    for _ in 0..table.len() {
        let Some(mut turn) = turns.peek_mut() else { return };
        let Reverse((time, at, taken)) = &mut *turn;
        let Some(order) = orders.get_mut(*at) else { return };
        order.take_next(table);
        *taken += 1;
        *time = (*taken << 32) / u64::from(order.weight);
    }
}

impl Order {
    /// Takes the first entry in its order that is free; there must be one. A skip and a prime size have no common
    /// divisor, so that the order reaches every entry.
    #[expect(clippy::cast_possible_truncation, reason = "below the length of a table")]
    fn take_next(&mut self, table: &mut [u32]) {
        let size = table.len() as u64;
        for _ in 0..size {
            let entry = self.next as usize;
            self.next += self.skip;
            if self.next >= size {
                self.next -= size;
            }
            if let Some(free) = table.get_mut(entry).filter(|entry| **entry == FREE) {
                *free = self.position;
                return;
            }
        }
    }
}
