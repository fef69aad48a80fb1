//! Does everybody get what is fair, and nobody more than he wants?

use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

use isobar_balance::Chance;
use proptest::prelude::*;

use super::{Arrival, FairSettings, FairShare, Finished, Key, Turn};

/// A customer of a simulation.
#[derive(Debug, Clone, Copy)]
struct Customer {
    weight: u32,
    /// Requests in a million steps of time.
    demand: u64,
    /// How long a request takes.
    cost: u64,
    /// How long it is thought to take.
    estimate: u64,
}

/// What came of a customer's requests.
#[derive(Debug, Clone, Copy, Default)]
struct Served {
    wanted: u64,
    /// Requests that were served.
    served: u64,
    /// The time it took.
    time: u64,
}

const SLOTS: u32 = 10;
const STEPS: u64 = 400_000;

/// Serves customers for a while with ten slots, requests coming by chance.
fn simulate(customers: &[Customer], max_customers: u32, seed: u64) -> Vec<Served> {
    let mut fair = FairShare::new(FairSettings {
        slots: SLOTS,
        max_queued: 400,
        max_customers,
    });
    let mut chance = Chance::new(seed);
    let mut served = std::vec![Served::default(); customers.len()];
    // By ticket: whose it is. By the time of its end: what is served.
    let mut waiting: HashMap<u64, usize> = HashMap::new();
    let mut ends: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut ticket = 0;
    for now in 0..STEPS {
        for index in ends.remove(&now).unwrap_or_default() {
            let customer = customers[index];
            served[index].served += 1;
            served[index].time += customer.cost;
            fair.complete(&Finished {
                key: Key::new(index as u64),
                cost: customer.estimate,
                actual: customer.cost,
            });
        }
        for (index, customer) in customers.iter().enumerate() {
            let mut rest = customer.demand;
            while rest > 0 {
                let comes = chance.below(1_000_000) < rest.min(1_000_000);
                rest = rest.saturating_sub(1_000_000);
                if !comes {
                    continue;
                }
                served[index].wanted += 1;
                ticket += 1;
                let arrival = Arrival {
                    key: Key::new(index as u64),
                    weight: customer.weight,
                    cost: customer.estimate,
                    ticket,
                };
                match fair.arrive(&arrival) {
                    Turn::Now => ends.entry(now + customer.cost).or_default().push(index),
                    Turn::Full => {}
                    Turn::Queued => drop(waiting.insert(ticket, index)),
                    Turn::InPlaceOf(other) => {
                        waiting.insert(ticket, index);
                        assert!(waiting.remove(&other).is_some(), "{other} was not waiting");
                    }
                }
            }
        }
        while let Some(ticket) = fair.next() {
            let index = waiting.remove(&ticket).expect("who is served has waited");
            ends.entry(now + customers[index].cost).or_default().push(index);
        }
        assert_eq!(fair.queued() as usize, waiting.len());
        assert_eq!(fair.in_flight() as usize, ends.values().map(Vec::len).sum::<usize>());
    }
    served
}

/// A customer who wants this many hundredths of what there is, with requests that take 50 steps each.
fn wants(percent: u64) -> Customer {
    Customer {
        weight: 1,
        // Ten slots serve a request in five steps.
        demand: 200_000 * percent / 100,
        cost: 50,
        estimate: 1,
    }
}

fn share(served: &Served, cost: u64) -> f64 {
    (served.served * cost) as f64 / (STEPS * u64::from(SLOTS)) as f64
}

/// What customers get of all there is, in hundredths.
#[track_caller]
fn check(customers: &[Customer], expected: &[f64]) {
    let seed = 11;
    let served = simulate(customers, 100, seed);
    for ((served, customer), expected) in served.iter().zip(customers).zip(expected) {
        let share = share(served, customer.cost) * 100.0;
        assert!(
            (share - expected).abs() < 1.5,
            "seed {seed}: {share:.1} instead of {expected}: {served:?}"
        );
    }
}

#[test]
fn three_get_all_they_want_and_the_fourth_the_rest() {
    let customers = [wants(10), wants(10), wants(10), wants(1_000)];
    check(&customers, &[10.0, 10.0, 10.0, 70.0]);
    for served in &simulate(&customers, 100, 12)[..3] {
        // But for those that are under way at the end.
        assert!(served.wanted - served.served <= 10, "{served:?}");
    }
}

#[test]
fn water_is_filled_in_by_weight() {
    check(&[wants(200), wants(200)], &[50.0, 50.0]);
    check(&[wants(20), wants(200), wants(300)], &[20.0, 40.0, 40.0]);
    let heavy = Customer {
        weight: 3,
        ..wants(500)
    };
    check(&[heavy, wants(500)], &[75.0, 25.0]);
    check(&[heavy, wants(500), wants(10)], &[67.5, 22.5, 10.0]);
}

#[test]
fn what_was_not_known_before_counts_afterwards() {
    // Twice as long as the other's, and thought to be alike: half of the time for each all the same.
    let slow = Customer {
        cost: 100,
        estimate: 75,
        demand: 2_000_000,
        weight: 1,
    };
    let quick = Customer { cost: 50, ..slow };
    check(&[slow, quick], &[50.0, 50.0]);
}

#[test]
fn while_there_is_room_nobody_waits_and_nothing_is_remembered() {
    let mut fair = FairShare::new(FairSettings {
        slots: 2,
        max_queued: 2,
        max_customers: 2,
    });
    for number in 0..10 {
        let arrival = Arrival {
            key: Key::new(number),
            weight: 1,
            cost: 1,
            ticket: number,
        };
        assert_eq!(fair.arrive(&arrival), Turn::Now);
        let finished = Finished {
            key: Key::new(number),
            cost: 1,
            actual: 1,
        };
        fair.complete(&finished);
    }
    assert_eq!((fair.customers.len(), fair.index.len(), fair.in_flight()), (1, 0, 0));
}

/// More customers than are told apart: none is lost, memory does not grow, and those who are known keep their share.
#[test]
fn customers_past_the_maximum_share_a_place() {
    let mut customers = std::vec![wants(30), wants(30)];
    customers.extend([wants(1); 300]);
    let served = simulate(&customers, 8, 13);
    for served in &served[..2] {
        assert!(share(served, 50) > 0.08, "{served:?}");
    }
    let others: u64 = served[2..].iter().map(|it| it.served).sum();
    assert!(others > 10_000, "{others}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Of two customers that both always have requests waiting, neither is ahead by more than a request of each, by weight.
    #[test]
    fn nobody_gets_ahead(weights in prop::collection::vec(1u32..20, 2..6), costs in prop::collection::vec(1u64..100, 6), seed: u64) {
        let mut fair = FairShare::new(FairSettings { slots: 1, max_queued: 1_000, max_customers: 10 });
        let mut chance = Chance::new(seed);
        let mut owners: HashMap<u64, (usize, u64)> = HashMap::new();
        let mut ticket = 0;
        let mut come = |fair: &mut FairShare, owners: &mut HashMap<u64, (usize, u64)>, index: usize| {
            ticket += 1;
            let cost = 1 + chance.below(costs[index]);
            owners.insert(ticket, (index, cost));
            fair.arrive(&Arrival { key: Key::new(index as u64), weight: weights[index], cost, ticket })
        };
        // Somebody else has the slot, so that all of them wait from the beginning.
        fair.arrive(&Arrival { key: Key::new(99), weight: 1, cost: 1, ticket: 0 });
        for index in (0..weights.len()).flat_map(|index| [index, index]) {
            prop_assert_eq!(come(&mut fair, &mut owners, index), Turn::Queued);
        }
        fair.complete(&Finished { key: Key::new(99), cost: 1, actual: 1 });
        let mut served = std::vec![0f64; weights.len()];
        for _ in 0..2_000 {
            let next = fair.next().expect("all of them wait");
            let (index, cost) = owners.remove(&next).unwrap();
            served[index] += cost as f64 / f64::from(weights[index]);
            prop_assert_eq!(come(&mut fair, &mut owners, index), Turn::Queued);
            fair.complete(&Finished { key: Key::new(index as u64), cost, actual: cost });
            for (one, other) in (0..weights.len()).flat_map(|one| (0..weights.len()).map(move |other| (one, other))) {
                let most = costs[one] as f64 / f64::from(weights[one]) + costs[other] as f64 / f64::from(weights[other]);
                prop_assert!(served[one] - served[other] <= most + 0.1, "{} {}: {:?}", one, other, served);
            }
        }
    }
}
