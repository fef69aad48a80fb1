//! How does a simulation look as a page?
//!
//! One file with its style inside: no script and nothing from elsewhere, so that it can be mailed and kept. Light or
//! dark as the reader's system is.

mod charts;
mod tables;

use super::Outcome;
use super::figures::{count, seconds};
use super::terminal::balancers;
use crate::page::{document, grid, section};
use crate::plot::escape;

/// The page.
pub(super) fn page(outcome: &Outcome) -> String {
    let mut page = String::new();
    page.push_str(&header(outcome));
    page.push_str(&section(
        "Figures",
        "Times from a request's coming to its answer, or until its client left; ± is 95 % confidence. The best of each \
         column is green.",
        &tables::figures(outcome),
    ));
    page.push_str(&charts::latency(outcome));
    let mut halves = charts::loads(outcome);
    halves.extend(charts::over_time(outcome));
    page.push_str(&grid(&halves));
    page.push_str(&tables::servers(outcome));
    page.push_str(&footer(outcome));
    document(&format!("{} · Isobar simulation", outcome.name), &page)
}

fn header(outcome: &Outcome) -> String {
    let scenario = &outcome.scenario;
    let longest = outcome.reports.iter().map(|report| report.duration).max();
    let text = format!(
        "{} servers, {}, load {:.2}: {} requests of {} on average, in {} of virtual time. Seed {}.",
        scenario.servers.len(),
        balancers(scenario),
        scenario.load(),
        count(scenario.requests),
        seconds(scenario.service.mean),
        seconds(longest.unwrap_or_default() as f64),
        scenario.seed
    );
    format!(
        "<header>\n<h1>{}</h1>\n<p>{}</p>\n</header>\n",
        escape(&outcome.name),
        escape(&text)
    )
}

fn footer(outcome: &Outcome) -> String {
    let holds = outcome.reports.iter().all(|report| report.little.holds());
    let law = if holds {
        "Little's law holds for every run: the mean number of requests present is their rate times their mean time."
    } else {
        "Little's law is broken: a request was lost or counted twice, and no figure here is to be trusted."
    };
    format!(
        "<footer>{law} Every choice was made by the code that balances live traffic; servers and requests are models. \
         The same scenario and seed give this page again.</footer>\n"
    )
}
