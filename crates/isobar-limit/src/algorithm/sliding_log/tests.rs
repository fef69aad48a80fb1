//! Is a log what a list of all that was taken would be?

use core::time::Duration;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::rate::nanoseconds;

const SECOND: u64 = 1_000_000_000;
const PERIOD: u64 = 60 * SECOND;

fn at(nanoseconds: u64) -> Moment {
    Moment::new(nanoseconds)
}

fn row(length: usize) -> Vec<AtomicU64> {
    (0..length).map(|_| AtomicU64::new(0)).collect()
}

/// All that was ever taken, with a number for each request.
#[derive(Debug)]
struct List {
    units: u64,
    latest: u64,
    /// When, how much, and which request.
    taken: Vec<(u64, u64, usize)>,
}

impl List {
    fn live_at(&self, present: u64) -> u64 {
        let is_live = |entry: &&(u64, u64, usize)| entry.0 + PERIOD > present;
        self.taken.iter().filter(is_live).map(|entry| entry.1).sum()
    }

    fn live(&self, now: u64) -> u64 {
        self.live_at(self.latest.max(now))
    }

    /// How long it takes from now on until no more than this is taken: only ever when something is a window old.
    fn until(&self, most: u64, now: u64) -> Duration {
        let ends = self.taken.iter().map(|entry| entry.0 + PERIOD);
        let free = ends.filter(|end| self.live_at(*end) <= most).min().unwrap_or(0);
        Duration::from_nanos(free.saturating_sub(now))
    }

    fn ask(&mut self, cost: u64, now: u64, request: usize) -> Verdict {
        if self.live(now) + cost > self.units {
            let room = self.units.checked_sub(cost);
            let retry_in = room.map(|room| self.until(room, now));
            return Verdict::Refused { retry_in };
        }
        self.add(cost, now, request);
        Verdict::Admitted
    }

    fn add(&mut self, cost: u64, now: u64, request: usize) {
        self.latest = self.latest.max(now);
        self.taken.push((self.latest, cost, request));
    }

    fn settle(&mut self, request: usize, actual: u64, now: u64) {
        let Some(entry) = self.taken.iter_mut().find(|entry| entry.2 == request) else {
            panic!("{request} passed");
        };
        if actual < entry.1 {
            entry.1 = actual;
        } else if actual > entry.1 {
            let more = actual - entry.1;
            self.add(more, now, usize::MAX);
        }
    }

    fn standing(&self, now: u64) -> Standing {
        let live = self.live(now);
        let most = live.saturating_sub(1).min(self.units - 1);
        Standing {
            remaining: self.units.saturating_sub(live),
            more_in: (live > 0).then(|| self.until(most, now)),
        }
    }

    /// The most that counted in any window, the costs as they are known in the end.
    fn most_in_a_window(&self) -> u64 {
        let from = |begin: u64| {
            let within = self
                .taken
                .iter()
                .filter(|entry| (begin..begin + PERIOD).contains(&entry.0));
            within.map(|entry| entry.1).sum()
        };
        self.taken.iter().map(|entry| from(entry.0)).max().unwrap_or(0)
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request with a cost.
    Ask(u64),
    /// One of those that passed, by a number, turns out to have cost so much of what it was taken for, in quarters.
    Settle(usize, u64),
}

/// Steps, and by how many sixteenths of a window and nanoseconds the clock goes before each; it may go back.
fn steps() -> impl Strategy<Value = Vec<(i64, i64, Step)>> {
    let pause = prop_oneof![6 => 0i64..5, 1 => 5i64..40, 1 => -12i64..0];
    let step = prop_oneof![
        3 => (1u64..5).prop_map(Step::Ask),
        1 => (any::<usize>(), 0u64..4).prop_map(|(which, quarters)| Step::Settle(which, quarters)),
    ];
    prop::collection::vec((pause, -1i64..2, step), 1..150)
}

fn moved(now: u64, sixteenths: i64, nanoseconds: i64) -> u64 {
    let by = sixteenths * i64::try_from(PERIOD / 16).unwrap() + nanoseconds;
    now.saturating_add_signed(by)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every verdict, every wait and all that is left, whatever is given back, wherever the clock goes, and wherever the row begins.
    #[test]
    fn a_log_is_a_list(
        units in 1u64..12,
        wider in 0usize..3,
        first in 0u64..20,
        begin in prop_oneof![Just(0), Just(10 * PERIOD)],
        steps in steps(),
    ) {
        let row = row(usize::try_from(units).unwrap() + wider);
        let limit = SlidingLog::new(Rate::new(units, Duration::from_nanos(PERIOD)));
        let limit = limit.on(&row);
        let mut state = [0, first << PLACE_BITS];
        let mut list = List { units, latest: 0, taken: Vec::new() };
        let mut receipts = Vec::new();
        let mut now = begin;
        for (number, (sixteenths, nanoseconds, step)) in steps.into_iter().enumerate() {
            now = moved(now, sixteenths, nanoseconds);
            match step {
                Step::Ask(cost) => {
                    let decision = limit.ask(&mut state, cost, at(now));
                    prop_assert_eq!(decision.verdict, list.ask(cost, now, number));
                    prop_assert_eq!(decision.standing(&limit), list.standing(now));
                    if decision.verdict.passes() {
                        receipts.push((number, decision.receipt));
                    }
                }
                Step::Settle(which, quarters) if !receipts.is_empty() => {
                    let (request, receipt) = receipts.swap_remove(which % receipts.len());
                    let actual = receipt.cost * quarters / 4;
                    limit.settle(&mut state, &receipt, actual, at(now));
                    list.settle(request, actual, now);
                }
                Step::Settle(..) => {}
            }
            prop_assert_eq!(limit.standing(&state, at(now)), list.standing(now));
            let fresh = list.taken.iter().filter(|entry| entry.1 > 0).map(|entry| entry.0 + PERIOD).max();
            prop_assert!(limit.fresh_from(&state) <= at(fresh.unwrap_or(0)));
            prop_assert_eq!(limit.standing(&state, limit.fresh_from(&state).max(at(list.latest))).remaining, units);
        }
        prop_assert!(list.most_in_a_window() <= units);
    }

    /// What costs more than it was said to is exact where the row has room for it, and otherwise never makes more pass than the list
    /// would.
    #[test]
    fn debts_are_never_forgotten_too_early(
        units in 1u64..12,
        has_room in any::<bool>(),
        steps in steps(),
        later in prop::collection::vec(0u64..20, 1..10),
    ) {
        let length = if has_room { 4_000 } else { units };
        let row = row(usize::try_from(length).unwrap());
        let limit = SlidingLog::new(Rate::new(units, Duration::from_nanos(PERIOD)));
        let limit = limit.on(&row);
        let (mut state, mut list) = ([0; 2], List { units, latest: 0, taken: Vec::new() });
        let mut receipts = Vec::new();
        let mut now = 10 * PERIOD;
        for (number, (sixteenths, nanoseconds, step)) in steps.into_iter().enumerate() {
            now = moved(now, sixteenths, nanoseconds);
            match step {
                Step::Ask(cost) => {
                    let decision = limit.ask(&mut state, cost, at(now));
                    if decision.verdict.passes() {
                        prop_assert_eq!(list.ask(cost, now, number), Verdict::Admitted);
                        receipts.push((number, decision.receipt));
                    }
                }
                Step::Settle(which, quarters) if !receipts.is_empty() => {
                    let (request, receipt) = receipts.swap_remove(which % receipts.len());
                    // Up to twice as much as was said, or a quarter of it.
                    let actual = receipt.cost * (quarters * 2 + 1) / 4 + quarters % 2;
                    limit.settle(&mut state, &receipt, actual, at(now));
                    list.settle(request, actual, now);
                }
                Step::Settle(..) => {}
            }
            for then in later.iter().map(|sixteenths| now + sixteenths * PERIOD / 16) {
                let (one, other) = (limit.standing(&state, at(then)), list.standing(then));
                prop_assert!(one.remaining <= other.remaining, "{:?} {:?}", one, other);
                if has_room {
                    prop_assert_eq!(one, other);
                }
            }
        }
    }

    /// Nothing overflows, whatever is asked, whatever is in the state, and however long the row is.
    #[test]
    fn nothing_overflows(
        units: u64,
        period: u64,
        row in prop::collection::vec(any::<u64>(), 0..9),
        state: State,
        costs in prop::collection::vec((any::<u64>(), 0u64..2_000, any::<u64>()), 1..20),
    ) {
        let row: Vec<AtomicU64> = row.into_iter().map(AtomicU64::new).collect();
        let limit = SlidingLog::new(Rate::new(units, Duration::from_nanos(period)));
        let limit = limit.on(&row);
        let mut state = state;
        for (now, cost, actual) in costs {
            let decision = limit.ask(&mut state, cost, at(now));
            limit.settle(&mut state, &decision.receipt, actual, at(now.wrapping_add(cost)));
            limit.fresh_from(&state);
            limit.standing(&state, at(now));
            limit.most_within(Duration::from_nanos(cost));
        }
    }
}

/// Five a minute, asked every second around the edge of a minute: where a fixed window lets ten pass, and the estimate makes room
/// evenly.
#[test]
fn no_more_than_five_in_any_minute() {
    let limit = SlidingLog::new(Rate::per_minute(5));
    let mut log = limit.log();
    let mut passed = Vec::new();
    for second in 55..200 {
        let decision = limit.ask(&mut log, 1, at(second * SECOND));
        match decision.verdict {
            Verdict::Refused { retry_in } => {
                let first = passed[passed.len() - 5];
                let wait = Duration::from_nanos((first + 60 - second) * SECOND);
                let more_in = Some(wait);
                assert_eq!(retry_in, more_in, "{second}");
                assert_eq!(decision.standing(&limit.on(&[])), Standing { remaining: 0, more_in });
            }
            _ => passed.push(second),
        }
    }
    let expected: Vec<u64> = [55, 115, 175].into_iter().flat_map(|begin| begin..begin + 5).collect();
    assert_eq!(passed, expected);
}

#[test]
fn a_log_gives_back_what_it_was_told_and_keeps_to_its_size() {
    let limit = SlidingLog::new(Rate::per_minute(3));
    let mut log = limit.log();
    let first = limit.ask(&mut log, 2, at(SECOND)).receipt;
    let second = limit.ask(&mut log, 1, at(2 * SECOND)).receipt;
    limit.settle(&mut log, &first, 0, at(3 * SECOND));
    assert_eq!(limit.standing(&log, at(3 * SECOND)).remaining, 2);
    for step in 0..100 {
        limit.settle(&mut log, &second, 2, at((4 + step) * SECOND / 2));
    }
    assert_eq!(log.row.len(), 3);
    assert!(!limit.ask(&mut log, 1, at(100 * SECOND)).verdict.passes());
    // The last of it came at 51.5 s.
    assert_eq!(limit.fresh_from(&log), at(103 * SECOND / 2 + PERIOD));
    assert!(limit.ask(&mut log, 3, at(103 * SECOND / 2 + PERIOD)).verdict.passes());
}

/// Who lends it no row is told that more is taken than there is, never less.
#[test]
fn without_a_row_it_is_strict() {
    let limit = SlidingLog::new(Rate::per_minute(2));
    let (bare, mut state) = (limit.on(&[]), [0; 2]);
    assert!(bare.ask(&mut state, 1, at(PERIOD)).verdict.passes());
    assert!(bare.ask(&mut state, 1, at(PERIOD + 30 * SECOND)).verdict.passes());
    let wait = |now| match bare.ask(&mut state.clone(), 1, at(now)).verdict {
        Verdict::Refused { retry_in } => retry_in.map(nanoseconds),
        _ => None,
    };
    assert_eq!(wait(2 * PERIOD), Some(30 * SECOND));
    assert_eq!(wait(2 * PERIOD + 30 * SECOND), None);
}
