//! What the demonstration shows of one server that is slow and one that fails, before and after another algorithm takes over.

use isobar_testkit::binary;
use serde_json::Value;

#[track_caller]
fn prints(arguments: &[&str]) -> String {
    let outcome = binary!().outcome(&[&["demo", "--listen", "127.0.0.1:0"], arguments].concat());
    assert!(outcome.status.success(), "{arguments:?}: {}", outcome.stderr);
    outcome.stdout
}

#[test]
fn a_comparison_shows_who_goes_to_the_slow_and_to_the_failing() {
    let text = prints(&[
        "--compare",
        "round_robin,least_connections",
        "--duration",
        "3s",
        "--json",
    ]);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let [fair, clever] = rows.as_slice() else {
        panic!("{rows:#?}")
    };
    assert_eq!(
        (&fair["balance"], &clever["balance"]),
        (&"round_robin".into(), &"least_connections".into())
    );
    let number = |row: &Value, pointer: &str| row.pointer(pointer).and_then(Value::as_f64).unwrap();
    for row in &rows {
        let shares: f64 = ["well", "slow", "failing"]
            .iter()
            .map(|server| number(row, &format!("/shares/{server}")))
            .sum();
        assert!((shares - 1.0).abs() < 1e-9, "{row:#}");
        assert!(number(row, "/requests") > 50.0, "{row:#}");
        assert!(number(row, "/p50_ms") <= number(row, "/p99_ms"), "{row:#}");
    }
    // In turn means a third each; whoever looks at what is in flight, and is charged for failures, does better.
    for server in ["well", "slow", "failing"] {
        let share = number(fair, &format!("/shares/{server}"));
        assert!((share - 1.0 / 3.0).abs() < 0.05, "{server}: {fair:#}");
    }
    assert!((number(fair, "/failed") - 1.0 / 3.0).abs() < 0.05, "{fair:#}");
    assert!(number(clever, "/failed") < 0.15, "{clever:#}");
    assert!(number(clever, "/shares/well") > 0.5, "{clever:#}");
}

#[test]
fn the_end_shows_before_and_after() {
    let options = [
        "--failing",
        "fast",
        "--balance",
        "round_robin",
        "--then",
        "least_connections",
        "--duration",
        "5s",
    ];
    let text = prints(&options);
    let failed = |balance: &str| -> f64 {
        let row = text.lines().find(|line| line.trim_start().starts_with(balance));
        let row = row.unwrap_or_else(|| panic!("no row of {balance}: {text}"));
        let percents: Vec<_> = row.split(" %").collect();
        percents[3].split_whitespace().last().unwrap().parse().unwrap()
    };
    assert!(failed("round_robin") > 25.0, "{text}");
    assert!(failed("least_connections") < 15.0, "{text}");
    assert!(text.trim_end().lines().last().unwrap().contains(" failed"), "{text}");
}

/// Visitors are told apart by what they say they are, although all have one address.
#[test]
fn algorithms_by_key_use_all_servers() {
    let rows: Vec<Value> =
        serde_json::from_str(&prints(&["--compare", "maglev", "--duration", "1s", "--json"])).unwrap();
    for server in ["well", "slow", "failing"] {
        assert!(rows[0]["shares"][server].as_f64().unwrap() > 0.05, "{rows:#?}");
    }
}

#[test]
fn wrong_usage_is_said() {
    let check = |arguments: &[&str], expected: &str| {
        let outcome = binary!().outcome(&[&["demo"], arguments].concat());
        assert_eq!(outcome.status.code(), Some(2), "{arguments:?}");
        assert!(outcome.stderr.contains(expected), "{arguments:?}: {}", outcome.stderr);
    };
    check(&["--then", "random"], "--duration");
    check(&["--json"], "--compare");
    check(&["--compare", "fair"], "least_connections");
    check(&["--compare", "all", "--slow", "fast"], "--slow");
    check(&["--failing", "third"], "medium");
}
