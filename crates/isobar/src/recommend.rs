//! `isobar recommend`: which algorithm fits?
//!
//! Tries every algorithm in the simulator, on a scenario, on the requests of an access log, or on a workload in a few
//! words, the latter two also with one server that is slow and one that fails; and says which one fits and why, with the
//! figures.

mod questions;
mod recorded;
mod verdict;
mod workload;

use std::io::{self, IsTerminal};

use anyhow::Result;
use isobar_balance::Balance;
use isobar_sim::{Arrivals, Scenario};
use serde_json::{Value, json};

use crate::arguments::{RecommendOptions, Workload};
use crate::commands::print;
use crate::picture::{Line, Tone};
use crate::simulate::{self, Outcome, report_json};
use crate::{logging, picture};
use verdict::{Measure, Verdict};
use workload::Size;

/// What the algorithms are tried on.
struct Task {
    /// What it is, in a line.
    about: String,
    /// By what they are compared.
    measure: Measure,
    trials: Vec<Trial>,
}

/// One scenario that the algorithms are tried on.
struct Trial {
    name: String,
    scenario: Scenario,
}

/// Tries the algorithms and says which one fits.
///
/// *Errors*: the scenario or the log cannot be read or makes no sense, or the questions cannot be asked.
pub(crate) fn run(options: &RecommendOptions) -> Result<()> {
    let task = task(options)?;
    let mut outcomes = Vec::with_capacity(task.trials.len());
    for trial in task.trials {
        let candidates = candidates(&trial.scenario);
        outcomes.push(simulate::simulate(trial.name, &trial.scenario, &candidates)?);
    }
    let verdict = Verdict::of(&outcomes, task.measure);
    if options.json {
        return print(&format!("{:#}\n", as_json(&outcomes, &verdict)));
    }
    let lines = lines(&task.about, &outcomes, &verdict);
    print(&picture::text(&lines, logging::use_colors(&io::stdout())))
}

/// The algorithms that are tried: those by key only where requests have keys, since without they go by chance.
fn candidates(scenario: &Scenario) -> Vec<Balance> {
    let fits = |balance: &Balance| has_keys(scenario) || !balance.is_keyed();
    Balance::ALL.iter().copied().filter(fits).collect()
}

fn has_keys(scenario: &Scenario) -> bool {
    let traced =
        matches!(&scenario.arrivals, Arrivals::Trace(trace) if trace.iter().any(|traced| traced.key.is_some()));
    traced || scenario.keys.is_some()
}

fn task(options: &RecommendOptions) -> Result<Task> {
    if let Some(file) = &options.scenario {
        let (name, mut scenario) = simulate::load(file)?;
        scenario.seed = options.seed;
        if let Some(requests) = options.requests {
            simulate::resize(&mut scenario, requests);
        }
        return Ok(Task {
            measure: Measure::of(&scenario),
            about: name.clone(),
            trials: vec![Trial { name, scenario }],
        });
    }
    if let Some(file) = &options.log {
        return recorded::task(file, options);
    }
    let asks = options.workload.is_silent() && !options.json && io::stdin().is_terminal() && io::stdout().is_terminal();
    let workload: Workload = if asks {
        questions::ask(&mut io::stdin().lock(), &mut io::stdout())?
    } else {
        options.workload.clone()
    };
    workload::task(
        &workload,
        Size {
            seed: options.seed,
            requests: options.requests,
        },
    )
}

fn lines(about: &str, outcomes: &[Outcome], verdict: &Verdict) -> Vec<Line> {
    let mut lines = vec![
        vec![(Tone::Strong, " Isobar recommendation".to_owned())],
        vec![(Tone::Plain, format!(" {about}"))],
    ];
    for outcome in outcomes {
        lines.push(Line::new());
        lines.push(vec![(Tone::Strong, format!(" {}", outcome.name))]);
        lines.extend(simulate::comparison(&outcome.reports));
    }
    lines.push(Line::new());
    lines.push(vec![
        (Tone::Good, format!(" {}", verdict.balance)),
        (Tone::Strong, format!(" {}", verdict.summary)),
    ]);
    lines.extend(
        verdict
            .reasons
            .iter()
            .map(|reason| vec![(Tone::Plain, format!("   {reason}"))]),
    );
    lines
}

fn as_json(outcomes: &[Outcome], verdict: &Verdict) -> Value {
    let runs = |outcome: &Outcome| {
        let brief = |report| {
            let mut value = report_json(report);
            if let Some(members) = value.as_object_mut() {
                members.remove("series");
                members.remove("servers");
            }
            value
        };
        json!({ "trial": outcome.name, "runs": outcome.reports.iter().map(brief).collect::<Vec<_>>() })
    };
    json!({
        "recommended": verdict.balance.name(),
        "summary": verdict.summary,
        "reasons": verdict.reasons,
        "trials": outcomes.iter().map(runs).collect::<Vec<_>>(),
    })
}
