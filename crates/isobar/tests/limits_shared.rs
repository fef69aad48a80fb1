//! Do instances that share a limit keep to it together, whatever becomes of what they share it through?
//!
//! The figures in docs/limits-shared.md come from here: `cargo test -p isobar --test limits_shared -- --nocapture`.
#![expect(clippy::print_stderr, reason = "they are to be seen")]

#[path = "limits_shared/keys.rs"]
mod keys;
#[path = "limits_shared/kit.rs"]
mod kit;
#[path = "limits_shared/layouts.rs"]
mod layouts;
#[path = "limits_shared/loss.rs"]
mod loss;
#[path = "limits_shared/reloads.rs"]
mod reloads;

use std::time::Duration;

use isobar_testkit::Redis;

use kit::{Promise, Together, patient};

/// What a limit of so many a second lets pass.
const PROMISE: Promise = Promise { rate: 400, burst: 100 };

fn keep_to_it(instances: usize, algorithm: &str) {
    let redis = Redis::start(&[]);
    let limit = format!("{{ shared: true, algorithm: {algorithm}, rate: 400/s, burst: 100 }}");
    let together = Together::start(instances, &limit, &patient(&redis));
    let outcome = together.demand(2, Duration::from_secs(3));
    outcome.assert_no_failure();
    PROMISE.assert_kept(&outcome, instances, algorithm);
    // Far fewer than requests, and no more than one in five milliseconds, but for what says that the instances are there.
    let asked = together.sum("isobar_limit_store_round_trips_total");
    let most = instances as f64 * (outcome.took.as_secs_f64() * 200.0 + 20.0);
    assert!(asked <= most, "{asked} batches for {outcome:?}");
    assert_eq!(together.sum("isobar_limit_store_errors_total"), 0.0);
    let [key] = &together.keys(&redis)[..] else {
        panic!("one key is limited");
    };
    let left: i64 = redis.command(&["pttl", key]).parse().unwrap();
    assert!((1..=3_000).contains(&left), "{left} ms until the key is forgotten");
}

#[test]
fn two_keep_to_one_limit() {
    keep_to_it(2, "gcra");
}

#[test]
fn five_keep_to_one_limit() {
    keep_to_it(5, "token_bucket");
}

/// Windows are those of Redis, and all instances have the same.
fn windows(algorithm: &str, instances: usize) {
    let redis = Redis::start(&[]);
    let limit = format!("{{ shared: true, algorithm: {algorithm}, rate: 300/s }}");
    let together = Together::start(instances, &limit, &patient(&redis));
    let outcome = together.demand(2, Duration::from_secs(4));
    outcome.assert_no_failure();
    let by_window = outcome.by_second();
    // What is given out in advance, and one request of each client that is under way as the window ends.
    let slack = instances * 300 / instances / 2 + instances * 2;
    for passed in &by_window {
        assert!(*passed <= 300 + slack, "{algorithm}: {by_window:?}");
    }
    // The first and the last are not whole.
    for passed in &by_window[1..by_window.len() - 1] {
        assert!(*passed >= 285, "{algorithm}: {by_window:?}");
    }
}

#[test]
fn fixed_windows_are_the_same_for_all() {
    windows("fixed_window", 2);
    windows("fixed_window", 5);
}

#[test]
fn sliding_windows_are_the_same_for_all() {
    windows("sliding_window", 2);
    windows("sliding_window", 5);
}

#[test]
fn what_requests_cost_is_known_to_all() {
    let redis = Redis::start(&[]);
    let limit = "{ shared: true, rate: 40/day, cost: { header: x-cost } }";
    let together = Together::start(2, limit, &patient(&redis));
    let passed = together.passes(0, "x-cost: 10\r\n", 40) + together.passes(1, "x-cost: 10\r\n", 40);
    // One of each instance may pass in advance.
    assert!((4..=6).contains(&passed), "{passed} passed, of four");
    assert_eq!(together.passes(0, "", 20) + together.passes(1, "", 20), 0);
}

#[test]
fn what_one_let_pass_the_other_knows_of() {
    let redis = Redis::start(&[]);
    for algorithm in ["gcra", "fixed_window", "sliding_window"] {
        let limit = format!("{{ shared: true, algorithm: {algorithm}, rate: 40/day, key: \"header:x-user\" }}");
        let together = Together::start(
            2,
            &limit,
            &format!(
                "{{ addresses: \"{}\", prefix: \"{algorithm}:\", timeout: 5s }}",
                redis.address()
            ),
        );
        let user = format!("x-user: {algorithm}\r\n");
        let first = together.passes(0, &user, 60);
        // A quarter of the limit is an instance's advance.
        let second = together.passes(1, &user, 60);
        assert!(
            (38..=50).contains(&(first + second)),
            "{algorithm}: {first} and {second}"
        );
        assert_eq!(together.passes(0, &user, 20), 0, "{algorithm}");
        assert_eq!(together.passes(1, &user, 20), 0, "{algorithm}");
        let other = together.passes(1, "x-user: other\r\n", 5);
        assert_eq!(other, 5, "{algorithm}: keys have nothing to do with each other");
    }
}
