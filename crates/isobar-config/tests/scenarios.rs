//! Every `tests/scenarios/*.yaml` is read as a scenario and what is said about it compared with the `.txt` beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p isobar-config --test scenarios` writes the `.txt` files anew; read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use isobar_balance::{Balance, Choices};
use isobar_config::scenario::{load_scenario, scenario_to_yaml};
use isobar_config::{Color, Source};
use isobar_sim::{Arrivals, Shape, What};
use proptest::prelude::*;

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn what_is_said_about_each_case() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 15, "only {} cases found", cases.len());
    for yaml in cases {
        let name = yaml.file_name().unwrap().to_str().unwrap();
        let source = source(name, &fs::read_to_string(&yaml).unwrap());
        let (verdict, diagnostics) = match load_scenario(&source) {
            Ok(loaded) => ("valid\n", loaded.warnings),
            Err(diagnostics) => ("", diagnostics),
        };
        let found = format!("{verdict}{}", diagnostics.render(&source, Color::Never));
        let golden = yaml.with_extension("txt");
        if update {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{name}\n--- expected\n{expected}\n--- found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_scenario_becomes_what_it_says() {
    let text = "
        servers:
          - { name: web, count: 2, speed: 2, slots: 3, max_connections: 9 }
          - { name: new }
        arrivals: { type: bursts, load: 0.5, on: 1s, off: 3s }
        service: { type: bimodal, mean: 10ms }
        requests: 1000
        choices: 4
        events:
          - { at: 1s, servers: [web-2], do: away, for: 10s, detected_after: 2s }
          - { at: 2s, servers: [web-1], do: stall, for: 1s }
          - { at: 4s, servers: [new], do: join }";
    let scenario = load_scenario(&source("a.yaml", text)).unwrap().scenario;
    let names: Vec<&str> = scenario.servers.iter().map(|server| &*server.name).collect();
    assert_eq!(names, ["web-1", "web-2", "new"]);
    // Twelve slots of work are there at the start: half of it is 600 requests of 10 ms a second.
    let expected = Arrivals::Bursts {
        rate: 600.0,
        on: 1e9,
        off: 3e9,
    };
    assert_eq!(scenario.arrivals, expected);
    assert_eq!(
        scenario.service.shape,
        Shape::Bimodal {
            large: 0.1,
            factor: 10.0
        }
    );
    assert_eq!((scenario.requests, scenario.warm_up), (1000, 100));
    assert_eq!(scenario.balance, Balance::PowerOfTwo(Choices::new(4)));
    assert!(scenario.servers[0].present && !scenario.servers[2].present);
    let changes: Vec<(u64, usize, What)> = scenario
        .changes
        .iter()
        .map(|change| (change.at / 1_000_000_000, change.server, change.what))
        .collect();
    let expected = [
        (1, 1, What::Away),
        (2, 0, What::Speed(0.0)),
        (3, 1, What::Doubted),
        // The stall is over before the three seconds after which it would have been noticed.
        (3, 0, What::Speed(1.0)),
        (4, 2, What::Join),
        (11, 1, What::Back),
        (13, 1, What::Trusted),
    ];
    let sorted = |mut changes: Vec<(u64, usize, What)>| {
        changes.sort_by_key(|(at, server, _)| (*at, *server));
        changes
    };
    assert_eq!(sorted(changes), sorted(expected.to_vec()));
}

/// Every word of the example scenarios, shuffled: nothing panics, and what is valid can be simulated and written again.
#[test]
fn any_text_is_read_or_refused() {
    let pieces: Vec<&str> = [
        "servers:",
        "arrivals:",
        "service:",
        "events:",
        "balancers:",
        "keys:",
        "retry:",
        " ",
        "\n",
        "\n  ",
        "\n  - ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "name:",
        "web",
        "load:",
        "0.5",
        "-1",
        "mean:",
        "10ms",
        "0s",
        "do:",
        "away",
        "type:",
        "trace",
        "requests:",
        "at:",
        "none",
        "count:",
        "1e9",
        "weight:",
        "0",
        "99999999999999999999",
        "for:",
    ]
    .to_vec();
    let text = prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat());
    let valid = "servers: [{ name: web }]\narrivals: { load: 0.5 }\nservice: { mean: 10ms }\n";
    let text = prop_oneof![text.clone(), text.prop_map(move |text| format!("{valid}{text}"))];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runner
        .run(&text, |text| {
            if let Ok(loaded) = load_scenario(&source("any.yaml", &text)) {
                prop_assert_eq!(loaded.scenario.check(), Ok(()));
                let again = load_scenario(&source("again.yaml", &scenario_to_yaml(&loaded.document))).unwrap();
                prop_assert_eq!(again.document, loaded.document);
            }
            Ok(())
        })
        .unwrap();
}
