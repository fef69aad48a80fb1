//! Does every algorithm lose where the documentation says, and by as much?

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use isobar_balance::Balance;
use isobar_testkit::binary;
use serde_json::Value;

/// What a figure may differ from the one that is written, as a part of it: the seed is the same, so that only rounding to
/// two digits is left.
const ROUNDING: f64 = 0.05;

/// How much worse than the other an algorithm is at least where it loses.
const MARGIN: f64 = 1.1;

/// A row of the table.
#[derive(Debug)]
struct Row {
    algorithm: String,
    command: String,
    figure: String,
    own: f64,
    others: f64,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// The rows of the table on the page.
fn rows() -> Vec<Row> {
    let page = fs::read_to_string(workspace().join("docs/algorithms.md")).unwrap();
    let (_, section) = page.split_once("\n## Where each loses\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [algorithm, _, command, figure, own, others] = cells[..] else {
        panic!("{line} has {} cells", cells.len());
    };
    let code = |cell: &str| cell.trim_matches('`').to_owned();
    Row {
        algorithm: code(algorithm),
        command: code(command),
        figure: figure.to_owned(),
        own: value(own),
        others: value(others),
    }
}

/// Milliseconds, or a part from 0 to 1.
fn value(cell: &str) -> f64 {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let number: f64 = number.parse().unwrap();
    match unit {
        "s" => number * 1e3,
        "%" => number / 100.0,
        "ms" | "" => number,
        _ => panic!("{cell} is in no unit that is known"),
    }
}

fn check(row: &Row) {
    let arguments: Vec<&str> = row.command.split_whitespace().skip(1).chain(["--json"]).collect();
    let file = workspace().join(arguments[1]);
    let arguments: Vec<&str> = arguments
        .iter()
        .enumerate()
        .map(|(position, argument)| {
            if position == 1 {
                file.to_str().unwrap()
            } else {
                argument
            }
        })
        .collect();
    let outcome = binary!().outcome(&arguments);
    assert!(outcome.status.success(), "{}: {}", row.command, outcome.stderr);
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let runs = printed["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{}", row.command);
    assert_eq!(runs[0]["balance"], *row.algorithm, "{}", row.command);
    let key = match &*row.figure {
        "mean" => "mean_ms",
        "p99" => "p99_ms",
        "moved" => "moved_rate",
        "imbalance" => "imbalance",
        other => panic!("{other} is no figure that is known"),
    };
    let found: Vec<f64> = runs.iter().map(|run| run[key].as_f64().unwrap()).collect();
    for (found, written) in found.iter().zip([row.own, row.others]) {
        let deviation = (found / written - 1.0).abs();
        assert!(
            deviation < ROUNDING,
            "{} is {found}, not {written}: {}",
            row.figure,
            row.command
        );
    }
    assert!(
        found[0] > found[1] * MARGIN,
        "{} does not lose: {}",
        row.algorithm,
        row.command
    );
}

#[test]
fn every_algorithm_loses_where_it_is_said_to() {
    let rows = rows();
    let named: BTreeSet<&str> = rows.iter().map(|row| &*row.algorithm).collect();
    let all: BTreeSet<&str> = Balance::ALL.iter().map(|balance| balance.name()).collect();
    assert_eq!(named, all);
    rows.iter().for_each(check);
}
