//! `isobar simulate`: how would this have gone?
//!
//! Runs a scenario with one algorithm or several and shows what came of it: as text with bars, as JSON, as a page with
//! plots.

mod figures;
mod json;
mod page;
mod progress;
mod terminal;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use isobar_balance::Balance;
use isobar_config::Severity;
use isobar_config::scenario::{LoadedScenario, load_scenario};
use isobar_control::LoadError;
use isobar_sim::{Expectation, Report, Scenario, Simulation};

use crate::arguments::SimulateOptions;
use crate::commands::{open, print};
use crate::{logging, picture};

pub(crate) use figures::{count, milliseconds, percent};
pub(crate) use json::report as report_json;
use progress::Progress;
pub(crate) use terminal::comparison;

/// Events between two looks at the clock.
const EVENTS_PER_LOOK: u64 = 100_000;

/// A scenario and what came of it, algorithm by algorithm.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What it is called.
    pub(crate) name: String,
    /// What was run; its algorithm is the scenario's own.
    pub(crate) scenario: Scenario,
    /// What theory says about it.
    pub(crate) expectations: Vec<Expectation>,
    /// What came of it, in the order asked for.
    pub(crate) reports: Vec<Report>,
}

/// Runs a scenario.
///
/// *Errors*: it cannot be read or makes no sense, or the page cannot be written.
pub(crate) fn run(options: &SimulateOptions) -> Result<()> {
    let (name, mut scenario) = load(&options.file)?;
    if let Some(requests) = options.requests {
        resize(&mut scenario, requests);
    }
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    let mut balances = options.balances();
    if balances.is_empty() {
        balances.push(scenario.balance);
    }
    let outcome = simulate(name, &scenario, &balances)?;
    if let Some(file) = &options.html {
        fs::write(file, page::page(&outcome)).with_context(|| format!("failed to write {}", file.display()))?;
    }
    if options.json {
        return print(&format!("{:#}\n", json::outcome(&outcome)));
    }
    let lines = terminal::lines(&outcome, options.html.as_deref());
    print(&picture::text(&lines, logging::use_colors(&io::stdout())))
}

/// Another number of requests, with the same part of them before anything is measured.
pub(crate) fn resize(scenario: &mut Scenario, requests: u64) {
    scenario.warm_up =
        u64::try_from(u128::from(scenario.warm_up) * u128::from(requests) / u128::from(scenario.requests))
            .unwrap_or_default();
    scenario.requests = requests;
}

/// Reads a scenario; warnings go to the standard error.
///
/// *Errors*: it cannot be read, or it makes no sense; then every error is in the failure.
pub(crate) fn load(file: &Path) -> Result<(String, Scenario)> {
    let source = open(file)?;
    let color = logging::diagnostics_color(&io::stderr());
    match load_scenario(&source) {
        Ok(LoadedScenario { scenario, warnings, .. }) => {
            if !warnings.is_empty() {
                let text = warnings.render(&source, color);
                // When the standard error is gone nobody wants to be warned.
                let _ = writeln!(io::stderr(), "{}", text.trim_end());
            }
            Ok((source.name, scenario))
        }
        Err(problems) => Err(LoadError::Invalid {
            count: problems.count(Severity::Error),
            rendered: format!("{}\n", problems.render(&source, color).trim_end()),
            name: source.name,
        }
        .into()),
    }
}

/// Runs a scenario with each of these algorithms, over the same requests.
pub(crate) fn simulate(name: String, scenario: &Scenario, balances: &[Balance]) -> Result<Outcome> {
    let mut progress = Progress::new(balances.len());
    let mut reports = Vec::with_capacity(balances.len());
    for &balance in balances {
        let scenario = Scenario {
            balance,
            ..scenario.clone()
        };
        let mut simulation = Simulation::new(scenario).context("failed to simulate")?;
        while simulation.advance(EVENTS_PER_LOOK) {
            progress.show(balance, simulation.progress());
        }
        progress.next();
        reports.push(simulation.finish());
    }
    progress.clear();
    let with_own_law = |&balance: &Balance| {
        let scenario = Scenario {
            balance,
            ..scenario.clone()
        };
        Expectation::of(&scenario).collect::<Vec<_>>()
    };
    let mut expectations: Vec<Expectation> = Vec::new();
    for expectation in balances.iter().flat_map(with_own_law) {
        if !expectations.contains(&expectation) {
            expectations.push(expectation);
        }
    }
    Ok(Outcome {
        name,
        scenario: scenario.clone(),
        expectations,
        reports,
    })
}
