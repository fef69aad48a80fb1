//! Does everybody get what is fair, and nobody more than he wants?

use std::collections::BTreeMap;

use isobar_balance::Chance;
use proptest::prelude::*;

use super::*;

const CLASS: Priority = Priority::Normal;

/// A customer of a simulation.
#[derive(Debug, Clone, Copy)]
struct Customer {
    weight: u32,
    /// Requests in a million steps of time.
    demand: u64,
    /// How long a request takes on average: up to twice as long. Were it always the same, all places would come free at once.
    cost: u64,
}

/// What came of a customer's requests.
#[derive(Debug, Clone, Default)]
struct Served {
    wanted: u64,
    /// Requests that were served.
    served: u64,
    /// The time of places that it took.
    time: u64,
    waiting: u32,
    /// How long requests waited and were served.
    latencies: Vec<u64>,
}

impl Served {
    fn percentile(&self, hundredths: usize) -> u64 {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        latencies[latencies.len() * hundredths / 100]
    }
}

/// Customers who share places.
struct Scene {
    shares: Shares,
    customers: Vec<Customer>,
    served: Vec<Served>,
    /// Whose requests end when, and how long they took; those that did not wait are counted for nobody.
    ends: BTreeMap<u64, Vec<(usize, Option<u64>)>>,
    chance: Chance,
    came: Vec<std::collections::VecDeque<u64>>,
    free: u32,
}

impl Scene {
    fn new(customers: &[Customer], places: u32) -> Self {
        Self {
            chance: Chance::new(u64::from(places)),
            shares: Shares::default(),
            customers: customers.to_vec(),
            served: vec![Served::default(); customers.len()],
            ends: BTreeMap::new(),
            came: vec![std::collections::VecDeque::new(); customers.len()],
            free: places,
        }
    }

    fn party(&mut self, index: usize) -> Party {
        let share = Share {
            key: index as u64,
            weight: self.customers[index].weight,
        };
        self.shares.party(Some(share))
    }

    fn comes(&mut self, index: usize, now: u64, max: u32) {
        self.served[index].wanted += 1;
        let waiting: u32 = self.served.iter().map(|served| served.waiting).sum();
        if self.free > 0 && waiting == 0 {
            self.serve(index, (now, now), false);
            return;
        }
        let party = self.party(index);
        if waiting >= max {
            let Some(greedier) = self.shares.greedier(party, CLASS, Closeness::Stays) else {
                self.shares.turned_away();
                return;
            };
            let owner = self.owner(greedier);
            self.shares.leaves(greedier, CLASS);
            self.served[owner].waiting -= 1;
            self.came[owner].pop_back();
        }
        self.shares.joins(party, CLASS);
        self.served[index].waiting += 1;
        self.came[index].push_back(now);
    }

    fn owner(&self, party: Party) -> usize {
        usize::try_from(self.shares.books[&party].key.unwrap()).unwrap()
    }

    fn serve(&mut self, index: usize, (came, now): (u64, u64), is_counted: bool) {
        self.free -= 1;
        let took = 1 + self.chance.below(2 * self.customers[index].cost - 1);
        self.served[index].time += took;
        self.served[index].latencies.push(now + took - came);
        let counted = is_counted.then_some(took);
        self.ends.entry(now + took).or_default().push((index, counted));
    }

    /// Gives free places away in turn.
    fn call(&mut self, now: u64) {
        while self.free > 0 {
            let Some(turn) = self.shares.next(CLASS, Bound::Unbounded) else {
                return;
            };
            let owner = self.owner(turn.party);
            self.shares.called(turn.party, CLASS);
            self.shares.served(turn.party);
            self.served[owner].waiting -= 1;
            let came = self.came[owner].pop_front().unwrap();
            self.serve(owner, (came, now), true);
        }
    }

    fn end(&mut self, now: u64) {
        for (index, counted) in self.ends.remove(&now).unwrap_or_default() {
            self.served[index].served += 1;
            self.free += 1;
            if let Some(took) = counted {
                let party = self.party(index);
                self.shares.ended(party, Duration::from_nanos(took));
            }
        }
    }

    fn check(&self) {
        let waiting: u32 = self.served.iter().map(|served| served.waiting).sum();
        assert_eq!(self.shares.waiting, waiting);
        assert_eq!(self.shares.classes[CLASS.index()].asleep, u64::from(waiting));
        let idle = self.shares.books.values().filter(|book| !book.is_used()).count();
        assert_eq!(self.shares.idle, idle);
        assert_eq!(self.shares.books.len(), self.shares.by_key.len() + 1);
    }
}

const STEPS: u64 = 100_000;

/// Serves customers for a while, requests coming by chance, with room for so many in the queue.
fn simulate(customers: &[Customer], (places, max): (u32, u32), seed: u64) -> Vec<Served> {
    let mut scene = Scene::new(customers, places);
    let mut chance = Chance::new(seed);
    for now in 0..STEPS {
        scene.end(now);
        for (index, customer) in customers.iter().enumerate() {
            let mut rest = customer.demand;
            while rest > 0 {
                if chance.below(1_000_000) < rest.min(1_000_000) {
                    scene.comes(index, now, max);
                }
                rest = rest.saturating_sub(1_000_000);
            }
        }
        scene.call(now);
        if now % 100 == 0 {
            scene.check();
        }
    }
    scene.served
}

/// A customer who wants this many hundredths of what ten places can do, with requests that take 50 steps each.
fn wants(percent: u64) -> Customer {
    Customer {
        weight: 1,
        demand: 200_000 * percent / 100,
        cost: 50,
    }
}

/// What customers get of the time of all places, in hundredths.
#[track_caller]
fn check(customers: &[Customer], places: u32, expected: &[f64]) {
    let seed = 11;
    let served = simulate(customers, (places, 400), seed);
    for (served, expected) in served.iter().zip(expected) {
        let share = 100.0 * served.time as f64 / (STEPS * u64::from(places)) as f64;
        assert!(
            (share - expected).abs() < 2.0,
            "seed {seed}: {share:.1} instead of {expected}"
        );
    }
}

#[test]
fn three_get_all_they_want_and_the_fourth_the_rest() {
    let customers = [wants(10), wants(10), wants(10), wants(1_000)];
    check(&customers, 10, &[10.0, 10.0, 10.0, 70.0]);
    let alone = simulate(&customers[..3], (10, 400), 12);
    for (served, alone) in simulate(&customers, (10, 400), 12).iter().zip(&alone) {
        // But for those that are under way at the end.
        assert!(
            served.wanted - served.served <= 10,
            "{} of {}",
            served.served,
            served.wanted
        );
        let (alone, crowded) = (alone.percentile(99), served.percentile(99));
        assert!(crowded * 100 <= alone * 120, "{crowded} instead of {alone}");
    }
}

#[test]
fn water_is_filled_in_by_weight() {
    check(&[wants(200), wants(200)], 10, &[50.0, 50.0]);
    check(&[wants(20), wants(200), wants(300)], 10, &[20.0, 40.0, 40.0]);
    let heavy = Customer {
        weight: 3,
        ..wants(500)
    };
    check(&[heavy, wants(500)], 10, &[75.0, 25.0]);
    check(&[heavy, wants(500), wants(10)], 10, &[67.5, 22.5, 10.0]);
}

#[test]
fn few_places_are_divided_in_time() {
    for places in 1..4 {
        check(&[wants(500), wants(500)], places, &[50.0, 50.0]);
        let heavy = Customer {
            weight: 3,
            ..wants(500)
        };
        check(&[heavy, wants(500)], places, &[75.0, 25.0]);
        let all = [wants(500); 8];
        check(&all, places, &[12.5; 8]);
    }
}

#[test]
fn long_requests_get_no_more_than_short_ones() {
    let long = Customer {
        cost: 500,
        ..wants(500)
    };
    for places in [1, 3, 10] {
        check(&[long, wants(500)], places, &[50.0, 50.0]);
    }
}

#[test]
fn nobody_is_remembered_when_nobody_waits() {
    let mut scene = Scene::new(&[wants(1); 5_000], 1);
    for index in 0..5_000 {
        // The first is served at once, and each that comes later waits.
        scene.comes(index, 0, 10);
        scene.check();
    }
    assert!(
        scene.shares.books.len() <= 1 + MOST_IDLE + 10,
        "{}",
        scene.shares.books.len()
    );
    for now in 0..2_000 {
        scene.end(now);
        scene.call(now);
    }
    assert_eq!((scene.shares.books.len(), scene.shares.waiting), (1, 0));
}

#[test]
fn a_weight_changes_while_some_wait() {
    let mut scene = Scene::new(&[wants(1), wants(1)], 0);
    for _ in 0..100 {
        scene.comes(0, 0, 1_000);
        scene.comes(1, 0, 1_000);
    }
    scene.customers[0].weight = 3;
    scene.comes(0, 0, 1_000);
    scene.check();
    scene.free = 80;
    scene.call(0);
    assert_eq!([scene.served[0].waiting, scene.served[1].waiting], [101 - 60, 100 - 20]);
}

#[test]
fn a_full_queue_is_divided_too() {
    let mut scene = Scene::new(&[wants(1), wants(1), wants(1)], 0);
    let fill = |scene: &mut Scene, index, times| (0..times).for_each(|_| scene.comes(index, 0, 100));
    let waiting = |scene: &Scene| [0, 1, 2].map(|index| scene.served[index].waiting);
    fill(&mut scene, 0, 1_000);
    assert_eq!(waiting(&scene), [100, 0, 0]);
    fill(&mut scene, 1, 10);
    assert_eq!(waiting(&scene), [90, 10, 0]);
    fill(&mut scene, 1, 1_000);
    assert_eq!(waiting(&scene), [50, 50, 0]);
    fill(&mut scene, 2, 1_000);
    fill(&mut scene, 0, 1_000);
    fill(&mut scene, 1, 1_000);
    let shared = waiting(&scene);
    assert!(shared.iter().all(|waiting| (33..=34).contains(waiting)), "{shared:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Of two parties that always have requests waiting, neither is ahead of the other by more than a request of each, by weight.
    #[test]
    fn nobody_gets_ahead(
        weights in prop::collection::vec(1u32..20, 2..6),
        costs in prop::collection::vec(100u64..10_000, 6),
        seed: u64,
    ) {
        let mut shares = Shares::default();
        let mut chance = Chance::new(seed);
        let parties: Vec<_> = weights
            .iter()
            .zip(0..)
            .map(|(&weight, key)| shares.party(Some(Share { key, weight })))
            .collect();
        for party in &parties {
            shares.joins(*party, CLASS);
            shares.joins(*party, CLASS);
        }
        let mut served = vec![0f64; weights.len()];
        for _ in 0..2_000 {
            let turn = shares.next(CLASS, Bound::Unbounded).expect("all of them wait");
            let index = parties.iter().position(|party| *party == turn.party).unwrap();
            shares.called(turn.party, CLASS);
            shares.served(turn.party);
            let cost = 1 + chance.below(costs[index]);
            served[index] += cost as f64 / f64::from(weights[index]);
            shares.joins(turn.party, CLASS);
            shares.ended(turn.party, Duration::from_nanos(cost));
            for (one, other) in (0..weights.len()).flat_map(|one| (0..weights.len()).map(move |other| (one, other))) {
                let most = costs[one] as f64 / f64::from(weights[one]) + costs[other] as f64 / f64::from(weights[other]);
                // What is lost in divisions is a nanosecond a request.
                prop_assert!(served[one] - served[other] <= most + 2_000.0, "{} {}: {:?}", one, other, served);
            }
        }
    }

    /// Whatever happens in whatever order, the books agree with what is there.
    #[test]
    fn books_are_kept(steps in prop::collection::vec((0u8..6, 0u64..4, 1u32..5, 0usize..3), 1..300)) {
        let mut shares = Shares::default();
        let (mut asleep, mut awake, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for (step, key, weight, class) in steps {
            let class = Priority::ALL[class];
            match step {
                0 | 1 => {
                    let party = shares.party((key > 0).then_some(Share { key, weight }));
                    shares.joins(party, class);
                    asleep.push((party, class));
                }
                2 => {
                    if let Some(turn) = shares.next(class, Bound::Unbounded) {
                        let index = asleep.iter().position(|it| *it == (turn.party, class));
                        awake.push(asleep.swap_remove(index.expect("who is next is asleep")));
                        shares.called(turn.party, class);
                    } else {
                        prop_assert!(asleep.iter().all(|(_, other)| *other != class));
                    }
                }
                3 => if let Some((party, class)) = awake.pop() {
                    if weight > 2 {
                        shares.missed(party, class);
                        asleep.push((party, class));
                    } else {
                        shares.gave_up(party);
                    }
                },
                4 => if let Some((party, _)) = awake.pop() {
                    shares.served(party);
                    if party != Party::NOBODY {
                        held.push(party);
                    }
                },
                _ if weight > 2 && !asleep.is_empty() => {
                    let (party, class) = asleep.swap_remove(0);
                    shares.leaves(party, class);
                }
                _ => if let Some(party) = held.pop() {
                    shares.ended(party, Duration::from_nanos(key * 10));
                },
            }
            prop_assert_eq!(shares.waiting as usize, asleep.len() + awake.len());
            let held_by_books: u32 = shares.books.values().map(|book| book.held).sum();
            let called = awake.iter().filter(|(party, _)| *party != Party::NOBODY).count();
            prop_assert_eq!(held_by_books as usize, held.len() + called);
            for (class, known) in Priority::ALL.into_iter().zip(&shares.classes) {
                let of_class = asleep.iter().filter(|(_, other)| *other == class);
                prop_assert_eq!(usize::try_from(known.asleep).unwrap(), of_class.count());
                let weights: u32 = known.order.iter().map(|turn| shares.books[&turn.party].weight).sum();
                prop_assert_eq!(known.weights, u64::from(weights));
                prop_assert!(known.order.iter().all(|turn| *turn == shares.books[&turn.party].turn(turn.party)));
            }
        }
    }
}
