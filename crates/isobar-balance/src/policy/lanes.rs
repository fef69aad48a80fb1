//! Which member has least in flight for its weight, by counts that stand side by side?
//!
//! The counts of an upstream's servers are on a [`Board`]. Members are looked at in one of a few orders that were drawn
//! by chance when the group was made, from a random one on: of those that have least the first is then nearly an even
//! choice, and a look at a few more finds another to compare with. In the order of the members themselves those that
//! come behind many busy ones would be favoured; among balancers that do not know of each other that costs half a
//! service time (`docs/algorithms.md`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::Chance;
use crate::board::{Board, COUNT_SHIFT, FULL, MOST_IN_FLIGHT, PLACE_BITS, SEAT_BITS, count_of, word_of};
use crate::mix::below;
use crate::policy::ranking::{Factors, MOST_COMPARED};
use crate::policy::{Member, View};

/// Members that are looked at where there are more than can be compared at once.
const SAMPLED: usize = 32;

/// Orders in which up to [`MOST_COMPARED`] members are looked at. More members have one.
const ORDERS: usize = 8;

/// Places in the order for each of more members, on average: how fine their weights are there. A light one has one.
const PLACES_EACH: usize = 4;

/// Members that are looked at before asking whether the best there can be was found.
const STRIDE: usize = 32;

/// Members that are compared beside each other.
const ROWS: usize = 4;

/// Places behind the first member with least among which another is looked for: two already even out an idle tier, and
/// the further the second is sought the more it costs where there is none.
const TIE_REACH: usize = 6;

/// Where the counts of members are, in the orders in which they are looked at.
#[derive(Debug)]
pub(super) struct Lanes {
    boards: Box<[Arc<Board>]>,
    /// For each place the seat there, with its board in the upper bits. All orders, one after the other.
    seats: Box<[u32]>,
    /// For each place what stands for one over the member's weight.
    factors: Box<[u32]>,
    /// For each place the member's position.
    positions: Box<[u32]>,
    orders: usize,
    /// Places of each order at which a choice may begin, and those that it looks at; what it looks at from the last on is
    /// there a second time, so that its way never depends on where it began.
    starts: usize,
    reach: usize,
    weights_are_equal: bool,
    /// The key of an idle member of the largest weight: there is no smaller one.
    smallest: u64,
}

impl Lanes {
    /// *Cost*: linear in the number of members; a shuffle for each order.
    pub(super) fn new(members: &[Member], factors: &Factors, chance: &mut Chance) -> Self {
        let is_compared = members.len() <= MOST_COMPARED;
        let weights_are_equal = factors.are_equal();
        let mut order = if is_compared || weights_are_equal {
            (0..).zip(members).map(|(position, _)| position).collect()
        } else {
            by_weight(members)
        };
        let orders = if is_compared { ORDERS } else { 1 };
        let starts = order.len();
        let reach = if is_compared { starts } else { SAMPLED.min(starts) };
        let mut positions = Vec::with_capacity(orders * (starts + reach));
        for _ in 0..orders {
            shuffle(&mut order, chance);
            positions.extend_from_slice(&order);
            positions.extend_from_slice(&order[..reach]);
        }
        let (boards, seats) = seats(members);
        let factor = |&position: &u32| u32::try_from(factors.of(position as usize)).unwrap_or(u32::MAX);
        Self {
            boards,
            seats: positions.iter().map(|&position| seats[position as usize]).collect(),
            factors: positions.iter().map(factor).collect(),
            positions: positions.into(),
            orders,
            starts,
            reach,
            weights_are_equal,
            smallest: if weights_are_equal {
                0
            } else {
                factors.smallest() << COUNT_SHIFT
            },
        }
    }

    /// The member with the least `(load + 1) / weight` of those that are looked at; of two such the one with fewer recent
    /// picks for its weight. None: none of them takes the request.
    pub(super) fn least(&self, view: &View<'_>, chance: &mut Chance) -> Option<usize> {
        let is_plain = view.query().avoid.is_empty() && self.boards.iter().all(|board| board.is_uncharged());
        let start = self.start(chance)?;
        match (&*self.boards, is_plain) {
            ([board], true) => {
                // Where they begin is read once and not for each.
                let words = board.words();
                self.least_by(start, view, move |seat, _| words.of(seat as usize))
            }
            (_, true) => self.least_by(start, view, |seat, _| self.word(seat)),
            (_, false) => self.least_by(start, view, |seat, place| self.word_for(view, seat, place)),
        }
    }

    #[inline]
    fn least_by(&self, start: usize, view: &View<'_>, word: impl Fn(u32, usize) -> u32 + Copy) -> Option<usize> {
        let place = if self.weights_are_equal {
            self.least_place::<Alike>(start, view, word)
        } else {
            self.least_place::<ByFactor>(start, view, word)
        }?;
        self.positions.get(place).map(|&position| position as usize)
    }

    /// The place from which on a choice looks at members; none: there are none.
    fn start(&self, chance: &mut Chance) -> Option<usize> {
        if self.starts == 0 {
            return None;
        }
        // The start follows from the upper bits, which leaves the lower ones for the order.
        let bits = chance.bits();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below the number of places, and of orders"
        )]
        let (start, order) = (below(bits, self.starts as u64) as usize, bits as usize % ORDERS);
        let order = if self.orders == 1 { 0 } else { order };
        Some(order * (self.starts + self.reach) + start)
    }

    #[inline]
    fn least_place<K: Key>(
        &self,
        start: usize,
        view: &View<'_>,
        word: impl Fn(u32, usize) -> u32 + Copy,
    ) -> Option<usize> {
        let least = self.scan::<K>(start, word);
        if least & K::FULL != 0 {
            return None;
        }
        let first = start + (least & ((1 << PLACE_BITS) - 1)) as usize;
        let last = (first + 1 + TIE_REACH).min(start + self.reach);
        let has_least = |&place: &usize| {
            let key = K::of(word(self.seats[place], place), self.factors[place]);
            key >> COUNT_SHIFT == least >> COUNT_SHIFT
        };
        let Some(second) = (first + 1..last).find(has_least) else {
            return Some(first);
        };
        let picks = |place: usize| view.recent(self.positions[place] as usize) * u64::from(self.factors[place]);
        Some(if picks(second) < picks(first) { second } else { first })
    }

    /// The least key, with the number of the first place that has it in its lower bits.
    #[inline]
    fn scan<K: Key>(&self, start: usize, word: impl Fn(u32, usize) -> u32 + Copy) -> u64 {
        let (mut least, mut nth) = (u64::MAX, 0);
        let places = start..start + self.reach;
        let strides = self.seats[places.clone()].chunks(STRIDE);
        for (seats, factors) in strides.zip(self.factors[places].chunks(STRIDE)) {
            if least >> COUNT_SHIFT == self.smallest >> COUNT_SHIFT {
                return least;
            }
            least = least.min(least_in::<K>(seats, factors, (start, nth), word));
            nth += seats.len();
        }
        least
    }

    #[inline]
    fn word(&self, seat: u32) -> u32 {
        let board = self.boards.get((seat >> SEAT_BITS) as usize);
        board.map_or(FULL, |board| board.words().of((seat & ((1 << SEAT_BITS) - 1)) as usize))
    }

    /// The word as it would be if the failures it is charged for were in flight, and who was tried full.
    fn word_for(&self, view: &View<'_>, seat: u32, place: usize) -> u32 {
        let word = self.word(seat);
        let Some(member) = view.members().get(self.positions[place] as usize) else {
            return FULL;
        };
        if !view.is_untried(member) {
            return FULL;
        }
        let charge = self.charge(seat);
        if charge == 0 {
            return word;
        }
        let load = count_of(word).saturating_add(member.state.charge(view.query().now));
        word_of(load.min(MOST_IN_FLIGHT), u32::MAX) | (word & FULL)
    }

    fn charge(&self, seat: u32) -> u32 {
        let board = self.boards.get((seat >> SEAT_BITS) as usize);
        board.map_or(0, |board| board.charge((seat & ((1 << SEAT_BITS) - 1)) as usize))
    }
}

/// The least key of members at places in a row, with the number of the first that has it. They begin at a start, and the
/// first of them has this number from there.
///
/// *Cost*: no branch that depends on single members, because which of many servers has least cannot be foretold; and four
/// rows of comparisons beside each other, none of which waits for another. A function of its own, so that all it needs is
/// in registers.
#[inline(never)]
fn least_in<K: Key>(
    seats: &[u32],
    factors: &[u32],
    (start, mut nth): (usize, usize),
    word: impl Fn(u32, usize) -> u32 + Copy,
) -> u64 {
    let mut least = [u64::MAX; ROWS];
    let key = |seat, factor, nth: usize| K::of(word(seat, start + nth), factor) + nth as u64;
    let (seats, last_seats) = seats.as_chunks::<ROWS>();
    let (factors, last_factors) = factors.as_chunks::<ROWS>();
    for (seats, factors) in seats.iter().zip(factors) {
        for row in 0..ROWS {
            let key = key(seats[row], factors[row], nth + row);
            least[row] = if key < least[row] { key } else { least[row] };
        }
        nth += ROWS;
    }
    for (row, (&seat, &factor)) in last_seats.iter().zip(last_factors).enumerate() {
        least[row] = least[row].min(key(seat, factor, nth + row));
    }
    least.into_iter().fold(u64::MAX, u64::min)
}

/// What is compared of members.
///
/// A trait and not a closure, so that the loop over the members is compiled for each as a whole.
trait Key {
    /// Set in the key of a member that takes nothing.
    const FULL: u64;

    /// The key of a member with this word, its lowest [`PLACE_BITS`] 0.
    fn of(word: u32, factor: u32) -> u64;
}

/// The word itself: all weights are the same.
struct Alike;

impl Key for Alike {
    const FULL: u64 = FULL as u64;

    #[inline(always)]
    fn of(word: u32, _: u32) -> u64 {
        u64::from(word)
    }
}

/// What a member would carry for its weight with this request. Counts have 23 bits and factors 25: nothing is cut off.
struct ByFactor;

impl Key for ByFactor {
    const FULL: u64 = 1 << 63;

    #[inline(always)]
    fn of(word: u32, factor: u32) -> u64 {
        let carried = (u64::from(count_of(word)) + 1) * u64::from(factor);
        (carried << COUNT_SHIFT) | (u64::from(word & FULL) << 32)
    }
}

/// The boards of these members, and for each its seat with the board's number above it.
fn seats(members: &[Member]) -> (Box<[Arc<Board>]>, Vec<u32>) {
    let mut boards: Vec<Arc<Board>> = Vec::new();
    let mut seats = Vec::with_capacity(members.len());
    for member in members {
        let seat = member.state.seat();
        // Neighbours are on the same board, as a rule on the last that was found.
        let board = boards.iter().rposition(|board| Arc::ptr_eq(board, seat.board()));
        let board = board.unwrap_or_else(|| {
            boards.push(Arc::clone(seat.board()));
            boards.len() - 1
        });
        seats.push(u32::try_from((board << SEAT_BITS) | seat.number()).unwrap_or(u32::MAX));
    }
    (boards.into(), seats)
}

/// Positions of members, each at least once and otherwise in proportion to its weight: the members in a row of them, when
/// they are shuffled, are drawn by weight.
fn by_weight(members: &[Member]) -> Vec<u32> {
    let weights: u128 = members.iter().map(|member| u128::from(member.weight)).sum();
    let places = (members.len() * PLACES_EACH) as u128;
    let times = |member: &Member| {
        let times = (u128::from(member.weight) * places + weights / 2) / weights.max(1);
        usize::try_from(times).unwrap_or(1).max(1)
    };
    let each = (0..).zip(members);
    each.flat_map(|(position, member)| core::iter::repeat_n(position, times(member)))
        .collect()
}

/// Fisher and Yates.
fn shuffle(order: &mut [u32], chance: &mut Chance) {
    for last in (1..order.len()).rev() {
        order.swap(last, chance.index(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::Lanes;
    use crate::policy::ranking::Factors;
    use crate::policy::testing::{failed, members};
    use crate::policy::{Member, View};
    use crate::{Boards, Chance, Feedback, Query};
    use alloc::sync::Arc;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Members whose counts are on `boards` boards.
    fn seated(weights: &[u32], boards: usize) -> Vec<Member> {
        let mut members = members(weights);
        let mut boards: Vec<Boards> = (0..boards).map(|_| Boards::for_servers(weights.len())).collect();
        let count = boards.len();
        for (at, member) in members.iter_mut().enumerate() {
            member.state = Arc::new(boards[at % count].server(None));
        }
        members
    }

    proptest! {
        /// Whatever is in flight, charged, tried or full, and on however many boards: no eligible member has less for its
        /// weight, by exact arithmetic.
        #[test]
        fn the_least_is_the_least(
            servers in prop::collection::vec((1u32..20, 0u32..6, 0u32..7, 0u32..3), 1..=128),
            equal: bool,
            charged: bool,
            boards in 1usize..4,
            avoid in prop::collection::vec(0u32..100, 0..3),
            seed: u64,
        ) {
            let weight = |weight| if equal { 3 } else { weight };
            let weights: Vec<u32> = servers.iter().map(|&(one, ..)| weight(one)).collect();
            let members = seated(&weights, boards);
            let query = Query::avoiding(&avoid);
            for (member, &(_, in_flight, limit, charge)) in members.iter().zip(&servers) {
                assert!((0..in_flight).all(|_| member.state.try_acquire()));
                member.state.set_limit(Some(limit));
                let failures = if charged { charge } else { 0 };
                (0..failures).for_each(|_| failed(member, Feedback::Failures, query.now));
            }
            let view = View::new(&members, &query);
            let mut chance = Chance::new(seed);
            let lanes = Lanes::new(&members, &Factors::new(&members), &mut chance);
            let Some(least) = lanes.least(&view, &mut chance) else {
                prop_assert!((0..members.len()).all(|position| !view.eligible(position)));
                return Ok(());
            };
            prop_assert!(view.eligible(least));
            let carried = |position: usize| u64::from(view.load(&members[position]).unwrap()) + 1;
            for other in (0..members.len()).filter(|&position| view.eligible(position)) {
                let (one, two) = (carried(least) * u64::from(weights[other]), carried(other) * u64::from(weights[least]));
                prop_assert!(one <= two, "{least} and {other}");
            }
        }
    }

    /// Those with least are chosen alike, whoever stands before them: 34.5 is passed by chance once in a hundred thousand
    /// seeds at 5 degrees of freedom; orders are drawn anew, because those of one group favour some a little.
    #[test]
    fn who_stands_behind_the_busy_is_not_favoured() {
        let members = seated(&[1; 40], 1);
        for member in &members[5..39] {
            assert!(member.state.try_acquire());
        }
        let mut chance = Chance::new(3);
        let mut counts = [0u32; 40];
        for _ in 0..3_000 {
            let lanes = Lanes::new(&members, &Factors::new(&members), &mut chance);
            let query = Query::default();
            counts[lanes.least(&View::new(&members, &query), &mut chance).unwrap()] += 1;
        }
        let idle = [counts[0], counts[1], counts[2], counts[3], counts[4], counts[39]];
        assert_eq!(idle.iter().sum::<u32>(), 3_000);
        let statistic = crate::policy::testing::chi_square(&idle, &[1; 6]);
        assert!(statistic < 34.5, "seed 3: {idle:?} has statistic {statistic}");
    }

    /// Of more members than are compared, each is looked at in proportion to its weight, and a light one at all.
    #[test]
    fn many_are_looked_at_by_weight() {
        let weights: Vec<u32> = (0..1000).map(|at| if at == 7 { 1000 } else { 1 }).collect();
        let members = seated(&weights, 2);
        let mut chance = Chance::new(5);
        let lanes = Lanes::new(&members, &Factors::new(&members), &mut chance);
        let places = |position| {
            lanes.positions[..lanes.starts]
                .iter()
                .filter(|&&at| at == position)
                .count()
        };
        assert!((1..1000).filter(|&at| at != 7).all(|at| places(at) >= 1));
        assert!(places(7).abs_diff(2_000) < 10, "{}", places(7));
        // It has room for as much as all others together, and takes about that.
        let query = Query::default();
        for _ in 0..20_000 {
            let chosen = lanes.least(&View::new(&members, &query), &mut chance).unwrap();
            assert!(members[chosen].state.try_acquire());
        }
        let heavy = members[7].state.in_flight();
        assert!((9_000..11_000).contains(&heavy), "{heavy}");
        assert!(
            members
                .iter()
                .enumerate()
                .all(|(at, member)| at == 7 || member.state.in_flight() < 20)
        );
    }
}
