//! Which figures stand on the page?

use std::fmt::Write as _;

use isobar_sim::Report;

use super::super::Outcome;
use super::super::figures::{Column, count, milliseconds, percent};
use super::charts;
use crate::page::{color, legend, section};
use crate::plot::escape;

/// Servers that are listed one by one at most.
const LISTED: usize = 40;

fn columns(outcome: &Outcome) -> Vec<Column> {
    let whole = |value: f64| format!("{value:.0}");
    let mut columns: Vec<Column> = vec![
        ("mean", |report| report.mean, milliseconds),
        ("p50", |report| report.latency.quantile(0.5) as f64, milliseconds),
        ("p90", |report| report.latency.quantile(0.9) as f64, milliseconds),
        ("p99", |report| report.latency.quantile(0.99) as f64, milliseconds),
        ("p99.9", |report| report.latency.quantile(0.999) as f64, milliseconds),
        ("errors", Report::error_rate, percent),
        ("imbalance", Report::imbalance, |value| format!("{value:.2}")),
    ];
    if outcome.reports.iter().any(|report| report.retries > 0) {
        columns.push(("retries", |report| report.retries as f64, whole));
    }
    if outcome.reports.iter().any(|report| report.moved_rate().is_some()) {
        columns.push(("keys moved", |report| report.moved_rate().unwrap_or_default(), percent));
    }
    columns
}

/// The width of the longest bar, in pixels.
const BAR_PX: f64 = 110.0;

/// A row for each algorithm, and one for each law of theory.
pub(super) fn figures(outcome: &Outcome) -> String {
    let columns = columns(outcome);
    let mut table = String::from("<div class=\"scroll\"><table>\n<tr><th>algorithm</th>");
    for (name, ..) in &columns {
        // Writing to a string never fails.
        let _ = write!(table, "<th>{name}</th>");
    }
    table.push_str("</tr>\n");
    for (run, report) in outcome.reports.iter().enumerate() {
        let _ = write!(table, "<tr><td><b class=\"{}\">{}</b></td>", color(run), report.balance);
        for (name, value, write) in &columns {
            let own = write(value(report));
            let best = outcome.reports.iter().map(value).fold(f64::INFINITY, f64::min);
            let is_best = outcome.reports.len() > 1 && *name != "retries" && own == write(best);
            let class = if is_best { " class=\"best\"" } else { "" };
            let sure = if *name == "mean" && report.half_width.is_finite() {
                format!(" ± {}", milliseconds(report.half_width))
            } else {
                String::new()
            };
            let _ = write!(table, "<td{class}>{own}{sure}</td>");
        }
        table.push_str("</tr>\n");
    }
    for expectation in &outcome.expectations {
        let _ = writeln!(
            table,
            "<tr class=\"law\"><td>theory, {}</td><td>{}</td><td colspan=\"{}\"></td></tr>",
            escape(expectation.law.name()),
            milliseconds(expectation.mean()),
            columns.len() - 1
        );
    }
    table.push_str("</table></div>");
    table
}

/// What each server got: one by one where they are few, otherwise sorted.
pub(super) fn servers(outcome: &Outcome) -> String {
    let Some(first) = outcome.reports.first() else {
        return String::new();
    };
    if first.servers.len() > LISTED {
        return charts::sorted_shares(outcome);
    }
    let shares = outcome
        .reports
        .iter()
        .flat_map(|report| report.servers.iter().map(|server| server.share));
    let most = shares.fold(f64::MIN_POSITIVE, f64::max);
    let mut table = String::from("<div class=\"scroll\"><table class=\"bars\">\n");
    for (at, server) in first.servers.iter().enumerate() {
        let _ = write!(table, "<tr><td>{}</td>", escape(&server.name));
        for (run, report) in outcome.reports.iter().enumerate() {
            table.push_str(&cell(run, report, at, most));
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</table></div>");
    let names = outcome.reports.iter().enumerate();
    let legend = legend(names.map(|(run, report)| (color(run), report.balance.name())));
    section(
        "Servers",
        "The part of all requests each server was sent, retries included, and the part of its time that it was busy.",
        &format!("{legend}{table}"),
    )
}

fn cell(run: usize, report: &Report, at: usize, most: f64) -> String {
    let Some(server) = report.servers.get(at) else {
        return String::new();
    };
    let failed = match server.failed {
        0 => String::new(),
        failed => format!(" · {} failed", count(failed)),
    };
    let class = if server.failed > 0 { "bar bad" } else { "bar" };
    format!(
        "<td class=\"{class}\"><span class=\"fill {}\" style=\"width:{:.0}px\"></span>{} · busy {:.0} %{failed}</td>",
        color(run),
        server.share / most * BAR_PX,
        percent(server.share),
        server.utilisation * 100.0
    )
}
