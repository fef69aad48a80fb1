//! Does the wheel do what a list of deadlines would?

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What a test does to the wheel; an index names one of the entries there are, modulo their number.
#[derive(Debug, Clone)]
enum Step {
    Insert,
    Remove(usize),
    Set(usize, u64),
    Clear(usize),
    Advance(u64),
    AdvanceToNext,
}

/// Ticks ahead, as likely within the reach of each level as past all of them.
fn ahead() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..70_u64,
        0..5_000_u64,
        0..300_000_u64,
        0..20_000_000_u64,
        Just(HORIZON),
        Just(1 << 28)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Insert),
        1 => any::<usize>().prop_map(Step::Remove),
        6 => (any::<usize>(), ahead()).prop_map(|(index, ahead)| Step::Set(index, ahead)),
        1 => any::<usize>().prop_map(Step::Clear),
        3 => ahead().prop_map(Step::Advance),
        3 => Just(Step::AdvanceToNext),
    ]
}

/// The wheel and the list that it is measured against.
struct Pair {
    wheel: Levels<u32>,
    /// By payload: the entry, its deadline if it has one, and whether that has passed.
    list: BTreeMap<u32, (Id, Option<u64>, bool)>,
    tick: u64,
    inserted: u32,
}

impl Pair {
    fn new() -> Self {
        Self {
            wheel: Levels::new(),
            list: BTreeMap::new(),
            tick: 0,
            inserted: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Insert => self.insert(),
            Step::Advance(ticks) => self.advance(self.tick + ticks),
            Step::AdvanceToNext => self.advance(self.wheel.next_tick().unwrap_or(self.tick)),
            Step::Remove(index) => self.remove(index),
            Step::Set(index, ahead) => self.set(index, self.tick + ahead),
            Step::Clear(index) => {
                let Some((id, deadline, expired)) = self.nth(index) else {
                    return;
                };
                (*deadline, *expired) = (None, false);
                let id = *id;
                self.wheel.clear(id);
            }
        }
        for &(id, _, expired) in self.list.values() {
            assert_eq!(self.wheel.is_expired(id), expired);
        }
    }

    fn set(&mut self, index: usize, tick: u64) {
        let (now, effective) = (self.tick, tick.max(self.tick + 1));
        let Some((id, deadline, expired)) = self.nth(index) else {
            return;
        };
        (*deadline, *expired) = (Some(effective), false);
        let id = *id;
        let opens = self.wheel.set(id, tick);
        assert!(now < opens && opens <= effective);
    }

    fn nth(&mut self, index: usize) -> Option<&mut (Id, Option<u64>, bool)> {
        let count = self.list.len().max(1);
        self.list.values_mut().nth(index % count)
    }

    fn insert(&mut self) {
        let id = self.wheel.insert();
        *self.wheel.payload_mut(id) = self.inserted;
        self.list.insert(self.inserted, (id, None, false));
        self.inserted += 1;
    }

    fn remove(&mut self, index: usize) {
        let count = self.list.len().max(1);
        let Some(&payload) = self.list.keys().nth(index % count) else {
            return;
        };
        let Some((id, ..)) = self.list.remove(&payload) else {
            return;
        };
        assert_eq!(self.wheel.remove(id), payload);
    }

    fn advance(&mut self, tick: u64) {
        self.tick = tick;
        self.wheel.advance_to(tick);
        let mut due = Vec::new();
        while let Some(payload) = self.wheel.pop_due() {
            due.push(*payload);
        }
        due.sort_unstable();
        let mut expected = Vec::new();
        for (&payload, (_, deadline, expired)) in &mut self.list {
            if deadline.is_some_and(|deadline| deadline <= tick) && !*expired {
                *expired = true;
                expected.push(payload);
            }
        }
        assert_eq!(due, expected, "at tick {tick}");
        let earliest = self
            .list
            .values()
            .filter(|(_, _, expired)| !expired)
            .filter_map(|&(_, deadline, _)| deadline)
            .min();
        match (self.wheel.next_tick(), earliest) {
            (Some(next), Some(earliest)) => assert!(tick < next && next <= earliest),
            (Some(next), None) => assert!(tick < next),
            (None, earliest) => assert_eq!(earliest, None),
        }
    }
}

proptest! {
    #[test]
    fn like_a_list_of_deadlines(steps in prop::collection::vec(step(), 1..200)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.run(step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, ..ProptestConfig::default() })]
    #[test]
    fn a_thousand_entries_tick_by_tick(deadlines in prop::collection::vec(1..5_000_u64, 1_000)) {
        let mut pair = Pair::new();
        for &deadline in &deadlines {
            pair.insert();
            pair.set(pair.list.len() - 1, deadline);
        }
        for tick in 1..=5_000 {
            pair.advance(tick);
        }
        prop_assert_eq!(pair.wheel.next_tick(), None);
    }
}

#[test]
fn moving_a_deadline_later_leaves_the_entry_in_its_slot() {
    let mut wheel = Levels::<u32>::new();
    let id = wheel.insert();
    let opens = wheel.set(id, 1_000);
    for deadline in [1_001, 1_200, 40_000, 1_000] {
        assert_eq!(wheel.set(id, deadline), opens, "a store for {deadline}");
    }
    assert!(wheel.set(id, opens - 1) < opens, "an earlier one is a move");
}

#[test]
fn a_deadline_past_the_horizon_is_met() {
    let mut wheel = Levels::<u32>::new();
    let id = wheel.insert();
    wheel.set(id, 1 << 30);
    wheel.advance_to((1 << 30) - 1);
    assert!(!wheel.is_expired(id));
    wheel.advance_to(1 << 30);
    assert!(wheel.is_expired(id));
}

#[test]
fn an_entry_is_small() {
    assert!(size_of::<Entry<Option<std::task::Waker>>>() <= 48);
}
