//! In turn, each as often as its weight says, and evenly interleaved.
//!
//! The sequence is that of nginx's smooth weighted round robin (`ngx_http_upstream_round_robin.c` since commit
//! 52327e0, 2012): weights 5, 1, 1 give `a a b a c a a`, never `a a a a a b c`. nginx computes each step under a
//! lock from counters that every step changes; but while the weights stand the sequence repeats after the sum of
//! the weights (divided by their greatest common divisor), so here it is computed once, and a pick is one atomic
//! addition on a cursor that all workers share. The cursor starts at a random place: many instances that start
//! together do not all send their first request to the same server.
//!
//! # Weights that make a long sequence
//! A sequence of more than [`LONGEST_CYCLE`] steps is not computed. The cursor is then multiplied by the golden
//! ratio (modulo 1, in 64 bits), and the member is the one whose part of the unit interval, as wide as its share,
//! holds the product. No weight is rounded: over 2^64 picks the shares are exact to one pick, and no member is too
//! light to be reached. How far a count strays from its share on the way grows with the logarithm of the number of
//! picks; in a million picks it stayed within 4 for every set of weights tried (the cycle: within 1), and the gaps
//! between two turns of a member are of at most three lengths (Steinhaus' three-gap theorem).
//!
//! # Members that are full or were tried
//! Their turns are skipped *on the shared cursor*: what is left is the same sequence without them, so that their
//! part spreads over all others by weight, where handing the turn to the next in line would double that server's
//! load. After [`MAX_SKIPS`] turns in a row the draw is by weighted chance among those that are eligible, which
//! bounds the cost and keeps the shares, if not the order.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::Chance;
use crate::policy::{Member, Policy, View};

/// Steps of a sequence that is kept in memory; at 4 bytes each a group stays below the size of an L1 cache.
const LONGEST_CYCLE: u64 = 4096;

/// Turns of members that are not eligible that one pick goes past.
const MAX_SKIPS: usize = 16;

/// 2^64 divided by the golden ratio; odd, so that multiples of it run through every 64-bit number.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Chooses the member whose turn it is.
///
/// *Cost*: one atomic addition on a cache line that all workers write, and a division.
#[derive(Debug)]
pub(super) struct RoundRobin {
    cursor: Cursor,
    turns: Turns,
}

/// Turns given so far, on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Cursor(AtomicU64);

/// Whose turn is it at a position of the cursor?
#[derive(Debug)]
enum Turns {
    /// Equal weights: one after the other.
    Equal(u64),
    /// Nginx's sequence.
    Cycle(Box<[u32]>),
    /// The golden ratio's; for each member the sum of the weights up to and including its own.
    Golden(Box<[u64]>),
}

impl RoundRobin {
    pub(super) fn new(members: &[Member], chance: &mut Chance) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let turns = Turns::new(&weights);
        let start = match &turns {
            Turns::Equal(count) => chance.below(*count),
            Turns::Cycle(cycle) => chance.below(cycle.len() as u64),
            Turns::Golden(_) => chance.bits(),
        };
        Self {
            cursor: Cursor(AtomicU64::new(start)),
            turns,
        }
    }
}

impl Policy for RoundRobin {
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        for _ in 0..MAX_SKIPS {
            let turn = self.cursor.0.fetch_add(1, Ordering::Relaxed);
            let member = self.turns.at(turn);
            if view.eligible(member) {
                return Some(member);
            }
        }
        view.draw_by_weight(chance)
    }
}

impl Turns {
    fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let reduced: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
        if reduced.iter().all(|&weight| weight == 1) {
            return Self::Equal(weights.len() as u64);
        }
        let length: u64 = reduced.iter().map(|&weight| u64::from(weight)).sum();
        if length <= LONGEST_CYCLE {
            return Self::Cycle(smooth_cycle(&reduced).into());
        }
        let running_sum = |sum: &mut u64, &weight: &u32| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        Self::Golden(reduced.iter().scan(0, running_sum).collect())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "remainders of a usize, and the upper half of a u128"
    )]
    fn at(&self, turn: u64) -> usize {
        match self {
            Self::Equal(count) => turn.checked_rem(*count).unwrap_or(0) as usize,
            Self::Cycle(cycle) => {
                let step = turn.checked_rem(cycle.len() as u64).unwrap_or(0) as usize;
                cycle.get(step).map_or(0, |&member| member as usize)
            }
            Self::Golden(sums) => {
                let total = sums.last().copied().unwrap_or(0);
                let point = (u128::from(turn.wrapping_mul(GOLDEN)) * u128::from(total)) >> 64;
                sums.partition_point(|&sum| u128::from(sum) <= point)
            }
        }
    }
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// One cycle of nginx's sequence, which at each step adds to every member's account its weight, gives the turn to
/// the largest account (the first of equals) and takes the sum of the weights from it.
///
/// Members of one weight take their turns in order, so that only the first of each weight in line is compared.
/// *Cost*: the sum of the weights times the number of different ones, which is at most 90 below 4096.
fn smooth_cycle(weights: &[u32]) -> Vec<u32> {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut classes = Class::of(weights);
    let mut cycle = Vec::new();
    for step in 1..=total {
        let first_in_line = classes.iter_mut().max_by_key(|class| class.claim(step, total));
        cycle.extend(first_in_line.map(Class::take_turn));
    }
    cycle
}

/// The members of one weight.
struct Class {
    weight: u64,
    /// Ascending.
    members: Vec<u32>,
    /// The position in `members` of the next in line.
    next: usize,
    /// Turns that the next in line has had, and with it all behind it.
    rounds: u64,
}

impl Class {
    fn of(weights: &[u32]) -> Vec<Self> {
        let mut sorted: Vec<(u32, u32)> = weights.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let class = |same: &[(u32, u32)]| Self {
            weight: same.first().map_or(0, |&(weight, _)| u64::from(weight)),
            members: same.iter().map(|&(_, member)| member).collect(),
            next: 0,
            rounds: 0,
        };
        sorted.chunk_by(|a, b| a.0 == b.0).map(class).collect()
    }

    /// The account of the next in line, then the rule for equals.
    fn claim(&self, step: u64, total: u64) -> (i64, core::cmp::Reverse<u32>) {
        let account = (step * self.weight).cast_signed() - (self.rounds * total).cast_signed();
        (account, core::cmp::Reverse(self.members[self.next]))
    }

    fn take_turn(&mut self) -> u32 {
        let member = self.members[self.next];
        self.next += 1;
        if self.next == self.members.len() {
            self.next = 0;
            self.rounds += 1;
        }
        member
    }
}

#[cfg(test)]
mod tests;
