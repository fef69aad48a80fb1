//! Do keys that have a rate of their own have it?

use std::fs;

use isobar_testkit::{Configuration, binary, eventually};

use crate::kit::{self, limited};

#[test]
fn keys_have_rates_of_their_own() {
    let limited = limited(
        "user:\n  key: \"header:x-user\"\n  rate: 2/day\n  overrides:\n    partner: 5/day\n    slow: { rate: 100/day, burst: 1 }",
        "[user]",
    );
    let passes = |user: &str| limited.passes(&format!("x-user: {user}\r\n"), 8);
    assert_eq!(passes("anybody"), 2);
    assert_eq!(passes("partner"), 5);
    assert_eq!(passes("slow"), 1);
}

#[test]
fn keys_of_several_parts_and_addresses_have_rates_too() {
    let limits = "\
        pair:\n  key: [client_ip, \"header:x-user\"]\n  rate: 1/day\n  overrides: { \"127.0.0.1|bob\": 4/day }\n\
        slots:\n  algorithm: concurrency\n  max_requests: 1\n  overrides: { \"127.0.0.1\": { max_requests: 2 } }";
    let limited = limited(limits, "[pair, slots]");
    assert_eq!(limited.passes("x-user: bob\r\n", 8), 4);
    assert_eq!(limited.passes("x-user: eve\r\n", 8), 1);
}

#[test]
fn a_file_of_rates_is_read_again_when_it_changes() {
    let limit = "key: \"header:x-user\", algorithm: fixed_window, rate: 2/day, overrides: { other: 3/day }";
    let (limited, rates) = kit::with_file(limit, "# partners\npartner 5/day\n");
    let passes = |user: &str, times| limited.passes(&format!("x-user: {user}\r\n"), times);
    assert_eq!(
        [passes("partner", 4), passes("other", 8), passes("anybody", 8)],
        [4, 3, 2]
    );

    fs::write(&rates, "partner 6/day\nanybody 4/day\n").unwrap();
    limited.isobar.wait_for_log("limit user changed");
    // What was taken stays taken: four of six, and two of four.
    assert_eq!(
        [passes("partner", 8), passes("anybody", 8), passes("other", 8)],
        [2, 2, 0]
    );

    fs::write(&rates, "partner 6 an hour\n").unwrap();
    limited
        .isobar
        .wait_for_log("failed to read the rates in rates: line 1:");
    fs::write(&rates, "partner 20/day\n").unwrap();
    eventually("the file is of use again", || {
        limited.isobar.log().matches("limit user changed").count() == 2
    });
    assert_eq!(passes("partner", 20), 14);
}

#[test]
fn a_file_that_is_of_no_use_is_told_of_before_it_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("isobar.yaml");
    let rates = directory.path().join("rates");
    let configuration = Configuration::default()
        .server("127.0.0.1:9")
        .listener("request_limits: [one]")
        .top(format!(
            "limits: {{ one: {{ rate: 5/s, overrides_file: \"{}\" }} }}",
            rates.display()
        ));
    fs::write(&file, configuration.yaml()).unwrap();
    let check = |text: Option<&str>, expected: &str| {
        if let Some(text) = text {
            fs::write(&rates, text).unwrap();
        }
        let outcome = binary!().outcome(&["check", file.to_str().unwrap()]);
        assert_eq!(outcome.status.success(), expected.is_empty(), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    };
    check(None, "no such file");
    check(
        Some("10.0.0.1 5/s\nbob 5/s\n"),
        "line 2: `bob` is no address of a client",
    );
    check(Some("10.0.0.1 5/s\n"), "");
}
