//! Do a million keys that somebody makes up drive out those who are known, good or bad?

use std::thread;
use std::time::Duration;

use isobar_balance::{Chance, Moment};
use isobar_limit::{Algorithm, Basis, FixedWindow, Key, Limit, Rate, Table, TableSettings};

const SECOND: u64 = 1_000_000_000;
const KEYS: usize = 1_000_000;
const MEMORY: Duration = Duration::from_secs(60);

/// A table for a tenth of the attacker's keys, a limit of 100 a minute, and who was there before.
struct Scene {
    table: Table,
    limit: Limit,
    honest: Vec<Key>,
    offenders: Vec<Key>,
    /// How often each honest key has asked.
    asked: u64,
}

const fn at(nanoseconds: u64) -> Moment {
    Moment::new(nanoseconds)
}

fn keys(seed: u64, count: usize) -> Vec<Key> {
    let mut chance = Chance::new(seed);
    (0..count).map(|_| Key::new(chance.bits())).collect()
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            table: Table::new(&TableSettings {
                max_keys: 100_000,
                memory: MEMORY,
                relax: thread::yield_now,
                advise: |_, _| (),
            }),
            limit: Limit::FixedWindow(FixedWindow::new(Rate::new(100, MEMORY))),
            honest: keys(1, 10_000),
            offenders: keys(2, 100),
            asked: 0,
        };
        for &key in &scene.offenders {
            (0..150).for_each(|_| drop_grant(scene.ask(key)));
        }
        scene.everybody_asks();
        scene.everybody_asks();
        scene
    }

    /// All within one window, so that nothing recovers.
    fn ask(&self, key: Key) -> (Basis, bool, u64) {
        let decision = self.table.ask(&self.limit, key, 1, at(61 * SECOND));
        let (verdict, standing) = (decision.decision.verdict, decision.decision.standing(&self.limit));
        (decision.basis(), verdict.passes(), standing.remaining)
    }

    /// Honest keys have exactly what they have not used, and offenders are refused.
    fn everybody_asks(&mut self) {
        self.asked += 1;
        for &key in &self.honest {
            assert_eq!(self.ask(key), (Basis::Entry, true, 100 - self.asked));
        }
        for &key in &self.offenders {
            assert_eq!(self.ask(key), (Basis::Entry, false, 0));
        }
    }
}

fn drop_grant<T>(_: T) {}

/// What newcomers who keep to the limit are told: how many of a hundred requests pass.
fn percent_passed(scene: &Scene, newcomers: &[Key]) -> usize {
    let asks = newcomers.iter().flat_map(|&key| [key; 5]);
    let passed = asks.filter(|&key| scene.ask(key).1).count();
    passed * 100 / (newcomers.len() * 5)
}

/// An offender who comes during the attack: no more than twice what the limit admits in a minute.
fn check_offender(scene: &Scene, seed: u64) {
    for key in keys(seed, 20) {
        let passed = (0..1_000).filter(|_| scene.ask(key).1).count() as u64;
        let most = scene.limit.most_within(MEMORY);
        assert!(passed <= 2 * most, "{passed} passed of an offender, seed {seed}");
    }
}

#[test]
fn a_million_keys_once_each_change_nothing_for_those_who_are_known() {
    let mut scene = Scene::new();
    for (round, attackers) in keys(3, KEYS).chunks(KEYS / 4).enumerate() {
        attackers.iter().for_each(|&key| drop_grant(scene.ask(key)));
        scene.everybody_asks();
        let newcomers = keys(10 + round as u64, 200);
        assert_eq!(percent_passed(&scene, &newcomers), 100, "round {round}");
        check_offender(&scene, 20 + round as u64);
    }
    let crowding = scene.table.crowding();
    assert!(crowding.estimated + crowding.displaced > 500_000, "{crowding:?}");
}

#[test]
fn a_million_keys_again_and_again_change_nothing_either() {
    let mut scene = Scene::new();
    let attackers = keys(4, KEYS);
    for (round, attackers) in attackers.chunks(KEYS / 4).enumerate() {
        for &key in attackers {
            drop_grant((scene.ask(key), scene.ask(key)));
        }
        scene.everybody_asks();
        check_offender(&scene, 30 + round as u64);
    }
    // Whoever is new now can only be judged by what all of them took together.
    let crowding = scene.table.crowding();
    assert!(crowding.estimated > 1_000_000, "{crowding:?}");
}

/// When the attack is over and its keys have recovered there is room again.
#[test]
fn after_an_attack_everything_is_as_before() {
    let scene = Scene::new();
    for key in keys(5, 200_000) {
        drop_grant((scene.ask(key), scene.ask(key)));
    }
    let later = at((61 + 120) * SECOND);
    for key in keys(6, 50_000) {
        let grant = scene.table.ask(&scene.limit, key, 1, later);
        assert_eq!(
            (grant.basis(), grant.decision.standing(&scene.limit).remaining),
            (Basis::Entry, 99)
        );
    }
}
