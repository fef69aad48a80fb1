//! What becomes of requests while Redis is gone, slow, or cannot do what it is asked, and afterwards?

use std::fs;
use std::time::Duration;

use isobar_testkit::{Redis, Signal, eventually};

use crate::kit::{Promise, Together, patient};

const PROMISE: Promise = Promise { rate: 400, burst: 100 };
const LIMIT: &str = "{ shared: true, rate: 400/s, burst: 100 }";

fn store(redis: &Redis) -> String {
    format!("\"{}\"", redis.address())
}

/// Has Redis taken away and given back while two instances are asked as fast as they can.
#[track_caller]
fn without_redis_for_a_while(redis: &mut Redis, take: impl FnOnce(&mut Redis), give: impl FnOnce(&mut Redis)) {
    let together = Together::start(2, LIMIT, &store(redis));
    let outcome = together.demand_while(2, Duration::from_secs(5), || {
        eventually("the limit is used", || {
            together.sum("isobar_limit_store_exchanges_total") > 20.0
        });
        take(redis);
        together.have_store(0.0);
        let health = together.health(0);
        assert_eq!(health["status"], "warn", "{health}");
        assert!(health["detail"].as_str().unwrap().starts_with("lost: "), "{health}");
        give(redis);
        together.have_store(1.0);
    });
    outcome.assert_no_failure();
    // Each instance had its part meanwhile. What was in the books may be lost, and each part has a burst of its own.
    let most = PROMISE.most(outcome.took, 2) + 2 * PROMISE.burst;
    let passed = outcome.passed.len();
    assert!(passed <= most, "{passed} of {most}");
    let due = PROMISE.rate as f64 * outcome.took.as_secs_f64();
    assert!(
        passed as f64 >= 0.85 * due,
        "{passed} of {due}, the slowest took {:?}",
        outcome.slowest
    );
    for isobar in &together.instances {
        isobar.wait_for_log("the limit store main is lost: ");
        isobar.wait_for_log("the limit store main answers");
    }
    eventually("it is told that all is well", || together.health(0)["status"] == "pass");
}

#[test]
fn redis_is_killed_and_comes_back() {
    let mut redis = Redis::start(&[]);
    without_redis_for_a_while(&mut redis, Redis::kill, Redis::revive);
}

#[test]
fn redis_stops_to_answer_for_a_while() {
    let mut redis = Redis::start(&[]);
    let stop = |redis: &mut Redis| redis.signal(Signal::STOP);
    without_redis_for_a_while(&mut redis, stop, |redis| redis.signal(Signal::CONT));
}

#[test]
fn redis_has_no_memory_left() {
    let mut redis = Redis::start(&[]);
    let memory = |bytes: &'static str| {
        move |redis: &mut Redis| assert_eq!(redis.command(&["config", "set", "maxmemory", bytes]), "OK")
    };
    without_redis_for_a_while(&mut redis, memory("1"), memory("0"));
}

#[test]
fn redis_may_only_be_read() {
    let mut redis = Redis::start(&[]);
    let other = Redis::start(&[]);
    let port = other.address().port().to_string();
    let follow = |redis: &mut Redis| assert_eq!(redis.command(&["replicaof", "127.0.0.1", &port]), "OK");
    without_redis_for_a_while(&mut redis, follow, |redis| {
        assert_eq!(redis.command(&["replicaof", "no", "one"]), "OK");
    });
}

#[test]
fn redis_is_still_loading() {
    // A thousand keys a second, and a look at clients after each few.
    let slow = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut redis = Redis::start(&[&slow[..], &["--enable-debug-command", "local"]].concat());
    assert_eq!(redis.command(&["debug", "populate", "4000"]), "OK");
    assert_eq!(redis.command(&["save"]), "OK");
    let together = Together::start(1, LIMIT, &store(&redis));
    redis.kill();
    redis.revive();
    eventually("it is told why", || {
        together.health(0)["detail"].as_str().unwrap().contains("LOADING")
    });
    assert_eq!(together.passes(0, "", 5), 5, "the instance has the limit for itself");
    together.have_store(1.0);
}

#[test]
fn what_redis_forgets_is_no_loss() {
    let redis = Redis::start(&[]);
    let together = Together::start(2, LIMIT, &patient(&redis));
    let outcome = together.demand_while(2, Duration::from_secs(3), || {
        for command in [["flushall"].as_slice(), &["script", "flush"], &["flushall"]] {
            let before = together.sum("isobar_limit_store_exchanges_total");
            assert_eq!(redis.command(command), "OK");
            eventually("it goes on", || {
                together.sum("isobar_limit_store_exchanges_total") > before + 50.0
            });
        }
    });
    outcome.assert_no_failure();
    assert_eq!(together.sum("isobar_limit_store_errors_total"), 0.0);
    let most = PROMISE.most(outcome.took, 2) + 2 * PROMISE.burst;
    assert!(outcome.passed.len() <= most, "{} of {most}", outcome.passed.len());
}

#[test]
fn without_a_store_the_policy_decides() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let check = |policy: &str, passes: usize| {
        let limit = format!("{{ shared: true, rate: 10/day, on_loss: {policy} }}");
        let store = format!("{{ addresses: \"{}\", instances: 2 }}", redis.address());
        let together = Together::apart(1, &limit, &store);
        together.have_store(0.0);
        assert_eq!(together.passes(0, "", 20), passes, "{policy}");
    };
    check("local", 5);
    check("open", 20);
    check("closed", 0);
}

#[test]
fn who_may_not_ask_is_told_why() {
    let redis = Redis::start(&["--requirepass", "what a secret"]);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right", "what a secret\n"), file("wrong", "no secret\n"));
    let address = redis.address();
    let together = Together::start(
        1,
        LIMIT,
        &format!("{{ addresses: \"{address}\", password_file: {right} }}"),
    );
    assert_eq!(together.passes(0, "", 5), 5);
    for (store, why) in [
        (
            format!("{{ addresses: \"{address}\", password_file: {wrong} }}"),
            "uthentication failed",
        ),
        (format!("\"{address}\""), "NOAUTH"),
    ] {
        let together = Together::apart(1, LIMIT, &store);
        eventually("it is told why", || {
            together.health(0)["detail"].as_str().unwrap().contains(why)
        });
        assert!(
            !together.instances[0].log().contains("secret"),
            "passwords are not told"
        );
        assert_eq!(together.passes(0, "", 5), 5, "the instance has the limit for itself");
    }
}
