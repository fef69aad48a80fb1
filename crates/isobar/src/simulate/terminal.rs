//! How does a simulation look as text?
//!
//! Lines with tones, as in the demonstration; knows no terminal.

use std::path::Path;

use isobar_sim::{Counters, Report, Scenario, ServerReport};

use super::Outcome;
use super::figures::{Column, count, milliseconds, percent, seconds};
use crate::picture::{Line, Tone, bar};

/// Cells of the longest bar.
const BAR: usize = 40;

/// Servers that are shown at most; of more, the busiest and the idlest.
const SHOWN: usize = 20;

/// The whole report.
pub(super) fn lines(outcome: &Outcome, page: Option<&Path>) -> Vec<Line> {
    let mut lines = heading(outcome);
    for report in &outcome.reports {
        lines.push(Line::new());
        lines.extend(run(report));
    }
    if outcome.reports.len() > 1 {
        lines.push(Line::new());
        lines.extend(comparison(&outcome.reports));
    }
    if !outcome.expectations.is_empty() {
        lines.push(Line::new());
        lines.extend(outcome.expectations.iter().map(|expectation| {
            vec![
                (Tone::Strong, " theory  ".to_owned()),
                (Tone::Plain, format!("mean {:>8}", milliseconds(expectation.mean()))),
                (Tone::Faint, format!("  {}", expectation.law.name())),
            ]
        }));
    }
    if let Some(page) = page {
        lines.push(Line::new());
        lines.push(vec![(Tone::Plain, format!(" plots   {}", page.display()))]);
    }
    lines
}

fn heading(outcome: &Outcome) -> Vec<Line> {
    let scenario = &outcome.scenario;
    let requests = format!(
        " {}, {}, load {:.2}, {} requests, seed {}",
        plural(scenario.servers.len(), "server"),
        balancers(scenario),
        scenario.load(),
        count(scenario.requests),
        scenario.seed
    );
    vec![
        vec![
            (Tone::Strong, " Isobar simulation".to_owned()),
            (Tone::Plain, format!("   {}", outcome.name)),
        ],
        vec![(Tone::Plain, requests)],
    ]
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// Who chooses, in words.
pub(super) fn balancers(scenario: &Scenario) -> String {
    let text = plural(scenario.balancers.count as usize, "balancer");
    match (scenario.balancers.count, scenario.balancers.counters) {
        (1, _) => text,
        (_, Counters::Shared) => format!("{text} with shared counters"),
        (_, Counters::Own) => format!("{text} with counters of their own"),
    }
}

fn run(report: &Report) -> Vec<Line> {
    let took = format!(
        "   {} of virtual time, {} events",
        seconds(report.duration as f64),
        count(report.events)
    );
    let mut lines = vec![vec![
        (Tone::Strong, format!(" {}", report.balance)),
        (Tone::Faint, took),
    ]];
    lines.extend(servers(report));
    lines.push(times(report));
    lines.push(ends(report));
    lines.push(laws(report));
    lines
}

fn servers(report: &Report) -> Vec<Line> {
    let width = report.servers.iter().map(|server| server.name.chars().count());
    let width = width.max().unwrap_or_default().clamp(8, 24);
    let most = report.servers.iter().map(|server| server.share).fold(0.0, f64::max);
    let line = |server: &ServerReport| server_line(server, most, width);
    if report.servers.len() <= SHOWN {
        return report.servers.iter().map(line).collect();
    }
    let mut sorted: Vec<&ServerReport> = report.servers.iter().collect();
    sorted.sort_by(|one, other| other.share.total_cmp(&one.share));
    let (most_busy, rest) = sorted.split_at(SHOWN / 2);
    let (between, least_busy) = rest.split_at(rest.len() - SHOWN / 2);
    let mut lines: Vec<Line> = most_busy.iter().map(|server| line(server)).collect();
    lines.push(vec![(
        Tone::Faint,
        format!("   … {} between …", plural(between.len(), "server")),
    )]);
    lines.extend(least_busy.iter().map(|server| line(server)));
    lines
}

fn server_line(server: &ServerReport, most: f64, width: usize) -> Line {
    let (filled, rest) = bar(server.share / f64::max(most, f64::MIN_POSITIVE), BAR);
    let failing = server.failed > 0;
    let tone = if failing { Tone::Bad } else { Tone::Good };
    let name: String = server.name.chars().take(width).collect();
    let mut line = vec![
        (Tone::Plain, format!("   {name:<width$} ")),
        (tone, filled),
        (Tone::Faint, rest),
        (Tone::Strong, format!(" {:>7}", percent(server.share))),
        (
            Tone::Plain,
            format!(
                "  busy {:>3.0} %  in flight {:>6.2}",
                server.utilisation * 100.0,
                server.load
            ),
        ),
    ];
    if failing {
        line.push((Tone::Bad, format!("  {} failed", count(server.failed))));
    }
    if server.ejections > 0 {
        line.push((Tone::Bad, format!("  {} × ejected", count(server.ejections))));
    }
    line
}

fn times(report: &Report) -> Line {
    let quantile = |part| milliseconds(report.latency.quantile(part) as f64);
    let mean = match report.half_width.is_finite() {
        true => format!(
            "mean {} ± {}",
            milliseconds(report.mean),
            milliseconds(report.half_width)
        ),
        false => format!("mean {}", milliseconds(report.mean)),
    };
    vec![
        (Tone::Strong, " time    ".to_owned()),
        (
            Tone::Plain,
            format!(
                "{mean}   p50 {}   p90 {}   p99 {}   p99.9 {}   most {}",
                quantile(0.5),
                quantile(0.9),
                quantile(0.99),
                quantile(0.999),
                milliseconds(report.latency.greatest() as f64)
            ),
        ),
    ]
}

fn ends(report: &Report) -> Line {
    let ends = report.ends;
    let mut line = vec![
        (Tone::Strong, " ends    ".to_owned()),
        (Tone::Plain, format!("{} answered", count(ends.answered))),
    ];
    let bad = [
        (ends.failed, "failed"),
        (ends.timed_out, "left by their client"),
        (ends.refused, "refused by the queue"),
        (ends.unavailable, "without a server"),
        (report.unfinished, "open at the end"),
    ];
    let bad = bad.iter().filter(|(number, _)| *number > 0);
    line.extend(bad.map(|(number, what)| (Tone::Bad, format!("   {} {what}", count(*number)))));
    if ends.errors() > 0 {
        line.push((Tone::Bad, format!(" ({} errors)", percent(report.error_rate()))));
    }
    if report.retries > 0 {
        line.push((Tone::Plain, format!("   {} retries", count(report.retries))));
    }
    line
}

fn laws(report: &Report) -> Line {
    let mut line = vec![
        (Tone::Strong, " even    ".to_owned()),
        (Tone::Plain, format!("imbalance {:.2}", report.imbalance())),
    ];
    if let Some(moved) = report.moved_rate() {
        line.push((
            Tone::Plain,
            format!("   {} of keys elsewhere than before", percent(moved)),
        ));
    }
    let (tone, word) = match report.little.holds() {
        true => (Tone::Good, "holds"),
        false => (Tone::Bad, "is broken: a request was lost or counted twice"),
    };
    line.push((Tone::Plain, "   Little's law ".to_owned()));
    line.push((tone, word.to_owned()));
    line
}

/// A table of all runs, with the best of each column marked.
pub(crate) fn comparison(reports: &[Report]) -> Vec<Line> {
    let columns: [Column; 7] = [
        ("mean", |report| report.mean, milliseconds),
        ("p50", |report| report.latency.quantile(0.5) as f64, milliseconds),
        ("p99", |report| report.latency.quantile(0.99) as f64, milliseconds),
        ("p99.9", |report| report.latency.quantile(0.999) as f64, milliseconds),
        ("errors", Report::error_rate, percent),
        ("imbalance", Report::imbalance, |value| format!("{value:.2}")),
        (
            "moved",
            |report| report.moved_rate().unwrap_or(f64::NAN),
            |value| {
                if value.is_nan() { "-".to_owned() } else { percent(value) }
            },
        ),
    ];
    let width = reports.iter().map(|report| report.balance.name().len()).max();
    let width = width.unwrap_or_default();
    let mut lines = vec![vec![(Tone::Strong, format!(" {:<width$}", "algorithm"))]];
    lines[0].extend(columns.iter().map(|(name, ..)| (Tone::Strong, format!(" {name:>10}"))));
    for report in reports {
        let mut line = vec![(Tone::Plain, format!(" {:<width$}", report.balance.name()))];
        for (_, value, write) in &columns {
            let best = reports.iter().map(value).fold(f64::INFINITY, f64::min);
            let own = write(value(report));
            let tone = if own == write(best) { Tone::Good } else { Tone::Plain };
            line.push((tone, format!(" {own:>10}")));
        }
        lines.push(line);
    }
    lines
}
