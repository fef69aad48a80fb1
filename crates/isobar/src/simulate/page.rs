//! How does a simulation look as a page?
//!
//! One file with its style inside: no script and nothing from elsewhere, so that it can be mailed and kept. Light or
//! dark as the reader's system is.

mod charts;
mod tables;

use std::fmt::Write as _;

use super::Outcome;
use super::figures::{count, seconds};
use super::plot::escape;
use super::terminal::balancers;

const STYLE: &str = include_str!("page/style.css");

/// Colours that there are.
const COLORS: usize = 16;

/// The page.
pub(super) fn page(outcome: &Outcome) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{} · Isobar simulation</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&outcome.name)
    );
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
    page.push_str("</main>\n</body>\n</html>\n");
    page
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

/// A part of the page with a heading and a sentence.
fn section(title: &str, about: &str, content: &str) -> String {
    format!(
        "<section>\n<h2>{}</h2>\n<p>{}</p>\n{content}\n</section>\n",
        escape(title),
        escape(about)
    )
}

/// Parts side by side where there is room.
fn grid(sections: &[String]) -> String {
    format!("<div class=\"halves\">\n{}</div>\n", sections.concat())
}

/// The class of the colour of a run.
fn color(run: usize) -> String {
    format!("c{}", run % COLORS)
}

/// What the colours stand for: classes and words.
fn legend<'a>(entries: impl Iterator<Item = (String, &'a str)>) -> String {
    let mut legend = String::from("<div class=\"legend\">");
    for (class, name) in entries {
        // Writing to a string never fails.
        let _ = write!(legend, "<span class=\"{class}\"><b>{}</b></span>", escape(name));
    }
    legend.push_str("</div>");
    legend
}
