//! What do clients' values look like in Redis, and how much do they take?

use isobar_testkit::{Client, Redis};

use crate::kit::{Together, ask, patient};

#[test]
fn values_of_any_bytes_are_hashes_in_redis() {
    let redis = Redis::start(&[]);
    let limit = "{ shared: true, key: \"header:x-user\", rate: 1000/day }";
    let together = Together::start(2, limit, &patient(&redis));
    let long = "x".repeat(8_000);
    let values = [
        "",
        "a",
        "A",
        "{a}",
        "a b*?[c]",
        "é\u{80}",
        "%00",
        "isobar:instances",
        &long,
    ];
    for isobar in &together.instances {
        let mut client = Client::connect(isobar.address()).unwrap();
        for value in values {
            assert_eq!(ask(&mut client, &format!("x-user: {value}\r\n")), 200, "{value:?}");
        }
        // None at all is another one.
        assert_eq!(ask(&mut client, ""), 200);
    }
    isobar_testkit::eventually("all keys are there", || together.keys(&redis).len() == values.len() + 1);
    for key in together.keys(&redis) {
        let hash = key.strip_prefix("isobar:shared:b:").unwrap_or_else(|| panic!("{key}"));
        assert!(
            hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{key}"
        );
        let bytes: u64 = redis.command(&["memory", "usage", &key]).parse().unwrap();
        assert!(bytes <= 200, "{bytes} bytes for {key}");
        assert_ne!(redis.command(&["pttl", &key]), "-1", "every key expires");
    }
    assert_ne!(redis.command(&["pttl", "isobar:instances"]), "-1");
}

#[test]
fn a_full_ledger_leaves_others_to_their_part() {
    let redis = Redis::start(&[]);
    let limit = "{ shared: true, key: \"header:x-user\", rate: 4/day, max_keys: 1000 }";
    let together = Together::start(1, limit, &patient(&redis));
    let mut client = Client::connect(together.instances[0].address()).unwrap();
    for user in 0..3_000 {
        assert_eq!(ask(&mut client, &format!("x-user: {user}\r\n")), 200, "{user}");
    }
    let keys = together.sum("isobar_limit_store_keys");
    assert!(keys <= 1_024.0, "{keys} keys are known");
    let passed = together.passes(0, "x-user: one more\r\n", 10);
    assert!((1..=8).contains(&passed), "{passed} passed");
}
