//! A server with so many places and a service time, before which requests stand in line, behind the limit.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::{Gradient, GradientRules, exp2, log2};
use crate::{Chance, Finish, Moment, Outcome};

const RULES: GradientRules = GradientRules {
    min: 1,
    max: 1000,
    tolerance_percent: 50,
};

const MS: u64 = 1_000_000;

/// Clients always have another request: as many are at the server as the limit allows, `most` at most.
struct Model {
    gradient: Gradient,
    now: u64,
    places: usize,
    service: u64,
    most: usize,
    chance: Chance,
    /// When a place is free again, sorted.
    free: VecDeque<u64>,
    /// When each was sent, when it ends, and how many there were; by its end.
    inside: VecDeque<(u64, u64, u32)>,
    completed: u64,
}

impl Model {
    fn new(places: usize, service: u64) -> Self {
        Self {
            gradient: Gradient::new(),
            now: 0,
            places,
            service,
            most: usize::MAX,
            chance: Chance::new(7),
            free: core::iter::repeat_n(0, places).collect(),
            inside: VecDeque::new(),
            completed: 0,
        }
    }

    fn limit(&self) -> u32 {
        self.gradient.limit(&RULES)
    }

    /// A service time between half and one and a half of the average.
    fn drawn(&mut self) -> u64 {
        self.service / 2 + self.chance.bits() % self.service
    }

    fn run(&mut self, seconds: u64) -> f64 {
        let (until, before) = (self.now + seconds * 1000 * MS, self.completed);
        while self.now < until {
            while self.inside.len() < self.most.min(self.limit() as usize) {
                let start = self.free.pop_front().unwrap_or(0).max(self.now);
                let end = start + self.drawn();
                let at = self.free.partition_point(|&free| free < end);
                self.free.insert(at, end);
                let at = self.inside.partition_point(|&(_, other, _)| other < end);
                let count = u32::try_from(self.inside.len() + 1).unwrap();
                self.inside.insert(at, (self.now, end, count));
            }
            let (sent, end, in_flight) = self.inside.pop_front().unwrap();
            self.now = self.now.max(end);
            self.completed += 1;
            let finish = Finish {
                now: Moment::new(self.now),
                latency: Duration::from_nanos(self.now - sent),
                in_flight,
                outcome: Outcome::Success,
            };
            let _changed = self.gradient.finished(&RULES, &finish);
        }
        let capacity = self.places as f64 * 1000.0 * MS as f64 / self.service as f64;
        (self.completed - before) as f64 / seconds as f64 / capacity
    }
}

#[test]
fn it_settles_a_little_above_what_the_server_can_do() {
    for (places, service) in [
        (1, 20 * MS),
        (4, 40 * MS),
        (10, 20 * MS),
        (100, 50 * MS),
        (64, 500 * MS),
    ] {
        let mut model = Model::new(places, service);
        model.run(10);
        let done = model.run(240);
        let limit = model.limit() as usize;
        assert!(done > 0.96, "{places} places: {done} of the capacity");
        assert!(
            limit >= places && limit <= places * 3 + 8,
            "{places} places: limit {limit}"
        );
        let baseline = model.gradient.baseline().as_nanos() as f64 / service as f64;
        assert!((0.6..1.7).contains(&baseline), "{places} places: baseline {baseline}");
    }
}

#[test]
fn it_finds_a_server_that_became_slower_or_faster() {
    let mut model = Model::new(20, 20 * MS);
    model.run(20);
    model.service = 60 * MS;
    // Slower for whatever reason: at first it looks like a crowd, until the baseline is measured anew.
    model.run(90);
    assert!(model.run(30) > 0.95, "limit {}", model.limit());
    model.service = 10 * MS;
    model.run(5);
    assert!(model.run(30) > 0.95, "limit {}", model.limit());
    assert!(model.limit() < 80, "limit {}", model.limit());
}

#[test]
fn a_limit_that_is_not_used_up_stays() {
    let mut model = Model::new(1000, 20 * MS);
    model.run(2);
    let before = model.limit();
    model.most = (before / 4) as usize;
    model.run(120);
    assert_eq!(model.limit(), before);
    model.most = 1;
    model.service = 900 * MS;
    model.run(120);
    assert_eq!(model.limit(), before, "one slow request after the other is no crowd");
}

#[test]
fn it_opens_quickly_and_keeps_to_its_bounds() {
    let mut model = Model::new(2000, 20 * MS);
    model.run(1);
    assert!(model.limit() >= 500, "{}", model.limit());
    model.run(5);
    assert_eq!(model.limit(), RULES.max);
    let narrow = GradientRules {
        min: 7,
        max: 9,
        ..RULES
    };
    assert_eq!(model.gradient.limit(&narrow), 9);
    model.gradient.restart();
    assert_eq!((model.limit(), model.gradient.limit(&narrow)), (4, 7));
    let odd = GradientRules {
        min: 0,
        max: 0,
        ..RULES
    };
    assert_eq!(model.gradient.limit(&odd), 1);
}

#[test]
fn answers_that_never_come_shrink_it_and_quick_failures_do_not_grow_it() {
    let mut model = Model::new(100, 20 * MS);
    model.run(5);
    let before = model.limit();
    let failed = |model: &Model, latency, count| {
        for n in 0..count {
            let finish = Finish {
                now: Moment::new(model.now + n * 10 * MS),
                latency: Duration::from_nanos(latency),
                in_flight: before,
                outcome: Outcome::Failure { retry_after: None },
            };
            let _changed = model.gradient.finished(&RULES, &finish);
        }
    };
    failed(&model, 1000, 500);
    assert_eq!(model.limit(), before);
    failed(&model, 1000 * MS, 500);
    assert!(model.limit() < before / 2, "{}", model.limit());
}

#[test]
fn a_clock_that_stands_still_or_jumps_does_no_harm() {
    let gradient = Gradient::new();
    let finish = |now, latency| Finish {
        now: Moment::new(now),
        latency,
        in_flight: u32::MAX,
        outcome: Outcome::Success,
    };
    for latency in [Duration::ZERO, Duration::MAX] {
        for now in [0, 0, u64::MAX, 5, u64::MAX] {
            for _ in 0..100 {
                let _changed = gradient.finished(&RULES, &finish(now, latency));
            }
        }
        assert!((RULES.min..=RULES.max).contains(&gradient.limit(&RULES)));
    }
}

#[test]
fn logarithms_come_back() {
    for value in [1, 2, 3, 1000, 1023, 1024, 1025, 20 * MS, 123_456_789_012, u64::MAX / 2] {
        let back = exp2(log2(value));
        assert!(back <= value && value - back <= value / 1000, "{value} {back}");
    }
    assert!(log2(u64::MAX) < 1 << 16);
}
