//! Which algorithm did best, and what says so?

use isobar_balance::Balance;
use isobar_sim::{Report, Scenario};

use crate::simulate::{Outcome, milliseconds, percent};

/// Errors above those of the best that rule an algorithm out.
const ERRORS_ALLOWED: f64 = 0.001;

/// Keys that move beyond those of the best that rule an algorithm out where keys matter.
const MOVES_ALLOWED: f64 = 0.05;

/// Part of keys that move past which nobody can speak of keeping them together.
const SCATTERED: f64 = 0.3;

/// How near two algorithms are when neither is better: a simulation of another workload would turn them round.
const NEAR: f64 = 1.05;

/// Other algorithms whose figures are told in a sentence.
const TOLD: usize = 4;

/// A mean service time in nanoseconds from which on what counts is how many connections each server has.
const LONG: f64 = 1e10;

/// An imbalance below which nobody could tell the difference.
const EVEN: f64 = 0.01;

/// By what algorithms are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// The time that one in a hundred requests exceeds.
    Tail,
    /// How unevenly connections are spread.
    Imbalance,
}

impl Measure {
    /// The measure that fits a scenario.
    pub(super) fn of(scenario: &Scenario) -> Self {
        if scenario.service.mean >= LONG {
            Self::Imbalance
        } else {
            Self::Tail
        }
    }

    fn value(self, report: &Report) -> f64 {
        match self {
            Self::Tail => report.latency.quantile(0.99) as f64,
            Self::Imbalance => report.imbalance().max(EVEN),
        }
    }

    fn write(self, value: f64) -> String {
        match self {
            Self::Tail => format!("p99 {}", milliseconds(value)),
            Self::Imbalance => format!("imbalance {value:.2}"),
        }
    }
}

/// What is recommended.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) balance: Balance,
    /// The rest of the sentence that begins with its name.
    pub(super) summary: String,
    /// A sentence for each trial, and for what rules others out.
    pub(super) reasons: Vec<String>,
}

/// An algorithm over all trials.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Its position in each trial's reports.
    at: usize,
    balance: Balance,
    /// How many times the best it took, in the trial where that was most.
    worst: f64,
    is_out: bool,
}

impl Verdict {
    /// The algorithm that is nearest to the best of each trial in the trial where it is furthest from it, among those
    /// that keep keys together as well as any and, of these, make no more errors; of those that are near it, the
    /// default.
    ///
    /// *Shape*: every trial has the same algorithms in the same order, at least one.
    pub(super) fn of(outcomes: &[Outcome], measure: Measure) -> Self {
        let balances: Vec<Balance> = outcomes
            .first()
            .map(|outcome| outcome.reports.iter().map(|report| report.balance).collect())
            .unwrap_or_default();
        let together: Vec<usize> = (0..balances.len()).filter(|&at| keeps_together(outcomes, at)).collect();
        let candidate = |(at, &balance): (usize, &Balance)| Candidate {
            at,
            balance,
            worst: worst(outcomes, measure, at),
            is_out: outcomes.iter().any(|outcome| errs(outcome, at, &together)),
        };
        let candidates = balances.iter().enumerate().filter(|(at, _)| together.contains(at));
        let candidates: Vec<Candidate> = candidates.map(candidate).collect();
        let everybody_is_out = candidates.iter().all(|candidate| candidate.is_out);
        let left = || {
            candidates
                .iter()
                .filter(|candidate| everybody_is_out || !candidate.is_out)
        };
        let best = left().map(|candidate| candidate.worst).fold(f64::INFINITY, f64::min);
        let near: Vec<&Candidate> = left().filter(|candidate| candidate.worst <= best * NEAR).collect();
        let default = near
            .iter()
            .find(|candidate| candidate.balance == Balance::LeastConnections);
        let chosen = default.or(near.first()).map_or(
            Candidate {
                at: 0,
                balance: Balance::LeastConnections,
                worst: 1.0,
                is_out: false,
            },
            |candidate| **candidate,
        );
        let mut reasons: Vec<String> = outcomes
            .iter()
            .map(|outcome| reason(outcome, measure, chosen.at))
            .collect();
        reasons.extend(outcomes.iter().flat_map(|outcome| errors(outcome, chosen.at)));
        reasons.extend(outcomes.first().and_then(|outcome| keys(outcome, chosen.at)));
        Self {
            balance: chosen.balance,
            summary: summary(&near, everybody_is_out),
            reasons,
        }
    }
}

fn summary(near: &[&Candidate], everybody_is_out: bool) -> String {
    match near {
        _ if everybody_is_out => "fits best, but each has a fault that another has not".to_owned(),
        [] | [_] => "fits best".to_owned(),
        _ => {
            let others: Vec<&str> = near.iter().map(|candidate| candidate.balance.name()).collect();
            format!(
                "fits; within {:.0} % of each other: {}",
                (NEAR - 1.0) * 100.0,
                others.join(", ")
            )
        }
    }
}

/// How many times the best of a trial an algorithm took, where that is most.
fn worst(outcomes: &[Outcome], measure: Measure, at: usize) -> f64 {
    let times = |outcome: &Outcome| {
        let best = outcome
            .reports
            .iter()
            .map(|report| measure.value(report))
            .fold(f64::INFINITY, f64::min);
        let own = outcome
            .reports
            .get(at)
            .map_or(f64::INFINITY, |report| measure.value(report));
        own.max(f64::MIN_POSITIVE) / best.max(f64::MIN_POSITIVE)
    };
    outcomes.iter().map(times).fold(1.0, f64::max)
}

/// Whether no other keeps more keys together, over all trials.
fn keeps_together(outcomes: &[Outcome], at: usize) -> bool {
    let moved = |outcome: &Outcome, at: usize| outcome.reports.get(at).and_then(Report::moved_rate).unwrap_or_default();
    outcomes.iter().all(|outcome| {
        let least = (0..outcome.reports.len())
            .map(|at| moved(outcome, at))
            .fold(f64::INFINITY, f64::min);
        moved(outcome, at) <= least + MOVES_ALLOWED
    })
}

/// Whether one of these makes fewer errors.
fn errs(outcome: &Outcome, at: usize, others: &[usize]) -> bool {
    let errors = |at: usize| outcome.reports.get(at).map_or(1.0, Report::error_rate);
    let least = others.iter().map(|&other| errors(other)).fold(f64::INFINITY, f64::min);
    errors(at) > least + ERRORS_ALLOWED
}

/// The figures of a trial, the chosen one's first.
fn reason(outcome: &Outcome, measure: Measure, chosen: usize) -> String {
    let Some(own) = outcome.reports.get(chosen) else {
        return String::new();
    };
    let mut others: Vec<&Report> = outcome
        .reports
        .iter()
        .filter(|report| report.balance != own.balance)
        .collect();
    others.sort_by(|one, other| measure.value(one).total_cmp(&measure.value(other)));
    let other = |report: &&Report| {
        let value = measure.write(measure.value(report));
        let value = value.split_once(' ').map_or(value.as_str(), |(_, value)| value);
        format!("{value} ({})", report.balance)
    };
    let mut others: Vec<String> = others.iter().map(other).collect();
    if others.len() > TOLD {
        // The nearest and the furthest say enough; all are in the table.
        let furthest = others.len() - 1;
        others.drain(TOLD - 1..furthest);
        others.insert(TOLD - 1, "…".to_owned());
    }
    let own = measure.write(measure.value(own));
    if others.is_empty() {
        return format!("{}: {own}", outcome.name);
    }
    format!("{}: {own} against {}", outcome.name, others.join(", "))
}

/// Whose errors speak against them.
fn errors(outcome: &Outcome, chosen: usize) -> Option<String> {
    let own = outcome.reports.get(chosen)?.error_rate();
    let more = outcome
        .reports
        .iter()
        .filter(|report| report.error_rate() > own + ERRORS_ALLOWED);
    let more: Vec<String> = more
        .map(|report| format!("{} ({})", percent(report.error_rate()), report.balance))
        .collect();
    (!more.is_empty()).then(|| format!("{}: {} errors against {}", outcome.name, percent(own), more.join(", ")))
}

/// Whether keys stay where they are.
fn keys(outcome: &Outcome, chosen: usize) -> Option<String> {
    let moved = outcome.reports.get(chosen)?.moved_rate()?;
    Some(if moved > SCATTERED {
        format!(
            "{} of requests go elsewhere than the one before with the same key: none of these keeps keys together",
            percent(moved)
        )
    } else {
        format!(
            "{} of requests go elsewhere than the one before with the same key",
            percent(moved)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Hardware, Lifetime, Workload};
    use crate::recommend::workload;
    use crate::simulate::simulate;

    fn verdict(workload: &Workload) -> (Verdict, Measure) {
        let size = workload::Size {
            seed: 1,
            requests: Some(12_000),
        };
        let task = workload::task(workload, size).unwrap();
        let run = |trial: crate::recommend::Trial| {
            let candidates = crate::recommend::candidates(&trial.scenario);
            simulate(trial.name, &trial.scenario, &candidates).unwrap()
        };
        let outcomes: Vec<Outcome> = task.trials.into_iter().map(run).collect();
        (Verdict::of(&outcomes, task.measure), task.measure)
    }

    #[test]
    fn one_instance_wants_least_connections() {
        let (verdict, measure) = verdict(&Workload {
            hardware: Some(Hardware::Equal),
            ..Workload::default()
        });
        assert_eq!((verdict.balance, measure), (Balance::LeastConnections, Measure::Tail));
        assert!(
            verdict.reasons[0].starts_with("as described: p99 "),
            "{:?}",
            verdict.reasons
        );
        assert!(verdict.reasons[0].contains(" against "), "{:?}", verdict.reasons);
        let slow = |reason: &&String| reason.contains("is slow") && reason.contains("p99");
        assert_eq!(verdict.reasons.iter().filter(slow).count(), 1);
    }

    #[test]
    fn caches_want_an_algorithm_by_key() {
        let (verdict, _) = verdict(&Workload {
            affinity: Some(crate::arguments::Affinity::Cache),
            servers: Some(4),
            load: Some(0.4),
            ..Workload::default()
        });
        assert!(verdict.balance.is_keyed(), "{verdict:?}");
        assert!(
            verdict.reasons.iter().any(|reason| reason.contains("go elsewhere")),
            "{verdict:?}"
        );
    }

    #[test]
    fn connections_that_stay_are_judged_by_how_they_are_spread() {
        let (verdict, measure) = verdict(&Workload {
            lifetime: Some(Lifetime::Long),
            servers: Some(4),
            ..Workload::default()
        });
        assert_eq!(
            (verdict.balance, measure),
            (Balance::LeastConnections, Measure::Imbalance)
        );
        assert!(verdict.reasons[0].contains("imbalance "), "{:?}", verdict.reasons);
    }

    #[test]
    fn a_single_server_leaves_the_default() {
        let (verdict, _) = verdict(&Workload {
            servers: Some(1),
            ..Workload::default()
        });
        assert_eq!(verdict.balance, Balance::LeastConnections);
        assert!(verdict.summary.contains("within 5 %"), "{}", verdict.summary);
    }
}
