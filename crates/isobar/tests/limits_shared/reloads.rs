//! What stays of leases when the configuration changes, and when an instance leaves?

use isobar_testkit::{Redis, Signal, eventually};

use crate::kit::{Together, patient};

#[test]
fn what_a_reload_does_not_change_keeps_its_leases() {
    let (redis, other) = (Redis::start(&[]), Redis::start(&[]));
    let together = Together::start(1, "{ shared: true, rate: 20/day }", &patient(&redis));
    let isobar = &together.instances[0];
    assert_eq!(together.passes(0, "", 12), 12);
    let text = together.configuration.yaml();
    let answered = text.replace("rate: 20/day }", "rate: 20/day, status: 503 }");
    assert!(!isobar.reload(&answered).contains("counts anew"));
    assert!(!isobar.log().contains("is lost"), "the connection stays");
    // The books are those of Redis, also for a limit that counts anew here.
    let slower = text.replace("20/day", "14/day");
    assert!(isobar.reload(&slower).contains("counts anew"));
    eventually("what was leased is given back", || {
        together.sum("isobar_limit_store_leased") == 0.0
    });
    let passed = together.passes(0, "", 20);
    assert!((2..=9).contains(&passed), "{passed} of two, and the advance");
    // Another store has other books.
    let moved = text.replace(&redis.address().to_string(), &other.address().to_string());
    assert!(isobar.reload(&moved).contains("stores changed"));
    eventually("it is the other one", || {
        other.command(&["zcard", "isobar:instances"]) == "1"
    });
    eventually("it left the first", || {
        redis.command(&["zcard", "isobar:instances"]) == "0"
    });
    together.have_store(1.0);
    assert!(together.passes(0, "", 15) >= 13, "of twenty");
    // And without one, the instance counts alone.
    let alone = text.replace("shared: true, ", "");
    isobar.reload(&alone);
    eventually("it left the other", || {
        other.command(&["zcard", "isobar:instances"]) == "0"
    });
    assert_eq!(together.passes(0, "", 25), 20);
}

#[test]
fn who_leaves_gives_back() {
    let redis = Redis::start(&[]);
    let mut together = Together::start(2, "{ shared: true, rate: 40/day }", &patient(&redis));
    assert_eq!(together.passes(0, "", 6), 6);
    eventually("some are leased", || together.sum("isobar_limit_store_leased") > 0.0);
    let left = together.instances.remove(0);
    left.signal(Signal::TERM);
    eventually("there is one less", || {
        redis.command(&["zcard", "isobar:instances"]) == "1"
    });
    drop(left);
    let passed = together.passes(0, "", 60);
    assert!(
        (33..=37).contains(&passed),
        "{passed} of the 34 that are left, and what flows in"
    );
}
