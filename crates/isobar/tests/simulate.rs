//! What the simulator says about the example scenarios, as a person and as a program reads it.

use std::fs;
use std::path::{Path, PathBuf};

use isobar_testkit::binary;
use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

fn scenario(name: &str) -> String {
    let file = workspace().join("examples/scenarios").join(name);
    file.to_str().unwrap().to_owned()
}

/// What a command prints that has to succeed.
#[track_caller]
fn prints(arguments: &[&str]) -> String {
    let outcome = binary!().outcome(arguments);
    assert!(outcome.status.success(), "{arguments:?}: {}", outcome.stderr);
    outcome.stdout
}

#[track_caller]
fn runs(arguments: &[&str]) -> Vec<Value> {
    let printed: Value = serde_json::from_str(&prints(arguments)).unwrap();
    printed["runs"].as_array().unwrap().clone()
}

/// Every scenario runs with every algorithm, no request is lost, and nothing is said against it.
#[test]
fn every_example_runs() {
    let mut count = 0;
    for entry in fs::read_dir(workspace().join("examples/scenarios")).unwrap() {
        let file = entry.unwrap().path();
        let file = file.to_str().unwrap();
        // One at a time: a hundred balancers that each build a table by key take seconds.
        for balance in isobar_balance::Balance::ALL {
            let arguments = ["--compare", balance.name(), "--json", "--requests", "1000"];
            let outcome = binary!().outcome(&[&["simulate", file], &arguments[..]].concat());
            assert!(outcome.status.success(), "{file}: {}", outcome.stderr);
            assert!(!outcome.stderr.contains("error"), "{file}: {}", outcome.stderr);
            let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
            let run = &printed["runs"][0];
            assert_eq!(run["balance"], balance.name(), "{file}");
            assert_eq!(run["little"]["holds"], true, "{file}: {run:#}");
            assert_eq!(run["ends"]["unfinished"], 0, "{file}: {run:#}");
        }
        let whole = binary!().outcome(&["simulate", file, "--json", "--requests", "10"]);
        assert!(whole.status.success(), "{file} with few requests: {}", whole.stderr);
        count += 1;
    }
    assert!(count >= 10, "only {count} scenarios found");
}

/// The examples as they stand are what their comments say, warnings included.
#[test]
fn no_example_warns() {
    for entry in fs::read_dir(workspace().join("examples/scenarios")).unwrap() {
        let path = entry.unwrap().path();
        let source = isobar_config::Source {
            name: path.display().to_string(),
            text: fs::read_to_string(&path).unwrap(),
        };
        let loaded = isobar_config::scenario::load_scenario(&source);
        let loaded =
            loaded.unwrap_or_else(|problems| panic!("{}", problems.render(&source, isobar_config::Color::Never)));
        assert!(
            loaded.warnings.is_empty(),
            "{}",
            loaded.warnings.render(&source, isobar_config::Color::Never)
        );
    }
}

#[test]
fn the_report_has_a_bar_for_each_server() {
    let printed = prints(&["simulate", &scenario("fails-fast.yaml"), "--requests", "6000"]);
    for number in 1..=10 {
        assert!(printed.contains(&format!("   server-{number} ")), "{printed}");
    }
    assert!(
        printed.contains("least_connections") && printed.contains("Little's law holds"),
        "{printed}"
    );
    assert!(!printed.contains('\x1b'), "colours outside of a terminal");
    let many = prints(&["simulate", &scenario("hundred-servers.yaml"), "--requests", "2000"]);
    assert!(many.contains("… 80 servers between …"), "{many}");
    assert!(many.contains("theory  mean"), "{many}");
}

/// One seed replays a run, another does not, and algorithms that are compared run as they do alone.
#[test]
fn runs_are_replayed() {
    let file = scenario("mixed-hardware.yaml");
    let run = |more: &[&str]| runs(&[&["simulate", &file, "--json", "--requests", "3000"], more].concat());
    assert_eq!(run(&["--seed", "7"]), run(&["--seed", "7"]));
    assert_ne!(run(&["--seed", "7"]), run(&["--seed", "8"]));
    let compared = run(&["--compare", "random,round_robin,random"]);
    assert_eq!(compared.len(), 2);
    assert_eq!(compared[1..], run(&["--compare", "round_robin"]));
}

/// The page is whole: every run, nothing from elsewhere, no script.
#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html");
    let page = |name: &str, requests: &str| {
        let arguments = [
            "simulate",
            &scenario(name),
            "--compare",
            "all",
            "--requests",
            requests,
            "--html",
        ];
        let printed = prints(&[&arguments[..], &[file.to_str().unwrap()]].concat());
        assert!(printed.contains(file.to_str().unwrap()), "{printed}");
        let page = fs::read_to_string(&file).unwrap();
        for word in ["<script", "http:", "https:", "url(", "@import", "src=", "NaN", "inf"] {
            assert!(!page.contains(word), "{word} is on the page of {name}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(page.contains("random") && page.contains("round_robin"));
        let count = |word: &str| page.matches(word).count();
        assert_eq!(count("<section"), count("</section"));
        assert_eq!(count("<svg"), count("</svg"));
        page
    };
    assert!(page("cache.yaml", "4000").contains("Keys moved over time"));
    assert!(page("hundred-servers.yaml", "4000").contains("theory: M/M/n"));
    let faults = page("fails-fast.yaml", "22000");
    assert!(faults.contains("server-4 fails"));
    assert!(page("bursts.yaml", "4000").contains("Errors over time"));
}

/// One of ten servers fails in a hundredth of the time at load 0.9, from second 10 to second 90 of 120: a tenth of the
/// traffic at most is sent to it within the first second, half a percent after that, and fewer than one request in a
/// thousand ends in an error.
#[test]
fn one_of_ten_fails_and_hardly_a_client_sees_it() {
    let path = scenario("one-of-ten-fails.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let run = |text: &str, seed| {
        let source = isobar_config::Source {
            name: path.clone(),
            text: text.to_owned(),
        };
        let mut scenario = isobar_config::scenario::load_scenario(&source).unwrap().scenario;
        scenario.seed = seed;
        isobar_sim::Simulation::run(scenario).unwrap()
    };
    for seed in 1..=3 {
        let report = run(&text, seed);
        let interval = report.series.interval() as f64 / 1e9;
        assert!((interval - 1.0).abs() < 1e-6, "the seconds of the figure are intervals");
        let share = |seconds: std::ops::Range<usize>| {
            let cells = report.series.cells().skip(seconds.start).take(seconds.len());
            let sent = cells.map(|cells| (cells[3].sent, cells.iter().map(|cell| cell.sent).sum::<u32>()));
            let (failing, all) = sent.fold((0, 0), |(one, all), (more, of)| (one + more, all + of));
            f64::from(failing) / f64::from(all)
        };
        let (first, then) = (share(10..11), share(11..90));
        assert!(first > 0.0 && first <= 0.1, "seed {seed}: {first} within a second");
        assert!(then <= 0.005, "seed {seed}: {then} after that");
        assert!(report.error_rate() < 0.001, "seed {seed}: {}", report.error_rate());
        assert_eq!(report.servers[3].ejections, 2, "seed {seed}");
        assert!(report.retries > 0, "seed {seed}");
    }
    // The retry alone would do for clients; with neither they see it.
    let alone = text.replace("outlier_detection: {}", "");
    assert!(run(&alone, 1).error_rate() < 0.001);
    let neither = alone.replace("attempts: 1", "attempts: 0");
    assert!(run(&neither, 1).error_rate() > 0.001);
}

/// Five times of what the servers can do is asked for: what clients are answered in time stays within a tenth of it with
/// the limit that follows from latency, and without one nothing is answered in time.
#[test]
fn a_limit_found_from_latency_keeps_goodput_under_overload() {
    let text = fs::read_to_string(scenario("overload.yaml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("overload.yaml");
    let goodput = |text: &str, seed| {
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let run = &runs(&["simulate", file, "--json", "--seed", seed, "--requests", "30000"])[0];
        let (failed, all) = errors(run);
        (all - failed) / (all / 5.0)
    };
    for seed in ["1", "2", "3"] {
        let limited = goodput(&text, seed);
        assert!((0.9..1.05).contains(&limited), "seed {seed}: {limited}");
    }
    let free = goodput(&text.replace("adaptive_concurrency: {}", ""), "1");
    assert!(free < 0.1, "{free}");
}

/// When all servers fail for most of the time, retries are a fifth of the requests and not twice as many.
#[test]
fn a_budget_keeps_a_storm_away() {
    let text = fs::read_to_string(scenario("retry-storm.yaml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("storm.yaml");
    let part_of_requests = |text: &str| {
        fs::write(&file, text).unwrap();
        let run = &runs(&["simulate", file.to_str().unwrap(), "--json", "--requests", "15000"])[0];
        let (_, all) = errors(run);
        run["retries"].as_f64().unwrap() / all
    };
    let budgeted = part_of_requests(&text);
    assert!((0.1..=0.22).contains(&budgeted), "{budgeted}");
    let free = part_of_requests(&text.replace("{ percent: 20%, min: 3/s }", "none"));
    assert!(free > 0.9, "{free}");
}

/// How many requests ended in an error, and how many there were.
fn errors(run: &Value) -> (f64, f64) {
    let ends = run["ends"].as_object().unwrap();
    let all: f64 = ends.values().filter_map(Value::as_f64).sum();
    (all - ends["answered"].as_f64().unwrap(), all)
}

#[test]
fn a_scenario_that_makes_no_sense_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.yaml");
    fs::write(
        &file,
        "servers: [{ name: web, weight: 0 }]\narrivals: { lood: 0.5 }\nservice: { mean: -1ms }\n",
    )
    .unwrap();
    let outcome = binary!().outcome(&["simulate", file.to_str().unwrap()]);
    assert_eq!(outcome.status.code(), Some(1));
    for words in [
        "bad.yaml:1:1",
        "every server has the weight 0",
        "did you mean `load`?",
        "bad.yaml:3:18",
        "3 errors",
    ] {
        assert!(outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
    }
    let outcome = binary!().outcome(&["simulate", "/nowhere/x.yaml"]);
    assert!(
        outcome.stderr.contains("failed to read /nowhere/x.yaml"),
        "{}",
        outcome.stderr
    );
    let outcome = binary!().outcome(&["simulate", "x.yaml", "--compare", "fair"]);
    assert_eq!(outcome.status.code(), Some(2));
    assert!(outcome.stderr.contains("least_connections"), "{}", outcome.stderr);
}

#[test]
fn recommend_says_what_fits_and_why() {
    let printed = prints(&[
        "recommend",
        "--servers",
        "4",
        "--hardware",
        "mixed",
        "--load",
        "0.6",
        "--requests",
        "6000",
    ]);
    for words in [
        "as described",
        "one server is slow",
        "one server fails fast",
        " against ",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let file = scenario("trace.yaml");
    let printed: Value = serde_json::from_str(&prints(&["recommend", "--scenario", &file, "--json"])).unwrap();
    assert!(
        printed["recommended"].is_string() && printed["reasons"][0].is_string(),
        "{printed:#}"
    );
    assert_eq!(printed["trials"].as_array().unwrap().len(), 1);
    assert!(
        printed["trials"][0]["runs"].as_array().unwrap().len() > 3,
        "a trace with keys is for algorithms by key"
    );
    let outcome = binary!().outcome(&["recommend", "--scenario", &file, "--servers", "3"]);
    assert_eq!(outcome.status.code(), Some(2));
}
