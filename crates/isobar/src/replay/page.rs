//! How does a replay look as a page?
//!
//! One file, as that of the simulator is.

mod charts;

use std::fmt::Write as _;

use isobar_replay::{KeyReport, LimitReport};

use super::{Outcome, words};
use crate::page::{document, grid, section};
use crate::plot::escape;
use crate::simulate::{count, percent};

/// Width of the longest bar of a table.
const BAR_PX: f64 = 110.0;

/// Keys of a table.
const SHOWN: usize = 12;

/// The page.
pub(super) fn page(outcome: &Outcome) -> String {
    let name = outcome.name.as_deref().unwrap_or("suggestions");
    let mut page = header(outcome, name);
    page.push_str(&warnings(outcome));
    page.push_str(&charts::traffic(outcome));
    if !outcome.report.limits.is_empty() {
        page.push_str(&section(
            "Limits",
            "What each made of the requests that came to it. A limit in shadow refuses nobody; what it would have refused is \
             told all the same.",
            &limits(outcome),
        ));
    }
    for limit in outcome.report.limits.iter().filter(|limit| limit.asked() > 0) {
        page.push_str(&of_limit(limit));
    }
    page.push_str(&routes(outcome));
    page.push_str(&suggestions(outcome));
    page.push_str(&footer(outcome));
    document(&format!("{name} · Isobar replay"), &page)
}

fn header(outcome: &Outcome, name: &str) -> String {
    let report = &outcome.report;
    let logs: Vec<String> = outcome
        .reading
        .logs
        .iter()
        .map(|(log, format)| format!("{log} ({format})"))
        .collect();
    let mut text = format!("{} requests", count(report.requests));
    if let Some((first, last)) = report.between {
        let _ = write!(text, " from {} to {} UTC", words::time(first), words::time(last));
    }
    let _ = write!(
        text,
        ". {} refused ({})",
        count(report.refused),
        words::share(report.refused, report.requests)
    );
    if report.shadow_refused > 0 {
        let _ = write!(
            text,
            ", {} more would be by limits in shadow",
            count(report.shadow_refused)
        );
    }
    let _ = write!(text, ". Read from {}.", logs.join(", "));
    format!(
        "<header>\n<h1>{}</h1>\n<p>{}</p>\n</header>\n",
        escape(name),
        escape(&text)
    )
}

fn warnings(outcome: &Outcome) -> String {
    let warnings = words::warnings(outcome);
    if warnings.is_empty() {
        return String::new();
    }
    let items: String = warnings
        .iter()
        .map(|warning| format!("<li>{}</li>\n", escape(warning)))
        .collect();
    section(
        "To look at first",
        "",
        &format!("<ul class=\"warnings\">\n{items}</ul>"),
    )
}

fn limits(outcome: &Outcome) -> String {
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<tr><th>limit</th><th>asked</th><th>refused</th><th>would be</th><th>delayed</th>\
         <th>keys</th><th>of them refused</th><th>99 % of the others use</th></tr>\n",
    );
    for report in &outcome.report.limits {
        use isobar_observe::LimitOutcome::{Delayed, Denied, Refused, ShadowRefused};
        let refused = report.of(Refused) + report.of(Denied);
        let cell = |number: u64| {
            let class = if number > 0 { " class=\"bad\"" } else { "" };
            format!(
                "<td{class}>{} · {}</td>",
                count(number),
                words::share(number, report.asked())
            )
        };
        let _ = writeln!(
            table,
            "<tr><td><b>{}</b><br><span class=\"soft\">{}</span></td><td>{}</td>{}{}<td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&report.limit.name),
            escape(&words::limit(report)),
            if report.asked() == 0 && report.unjudged > 0 {
                "cannot be judged".to_owned()
            } else {
                count(report.asked())
            },
            cell(refused),
            cell(report.of(ShadowRefused)),
            count(report.of(Delayed)),
            count(report.peaks.keys),
            count(report.peaks.refused),
            percent(report.peaks.honest[2]),
        );
    }
    table.push_str("</table></div>");
    table
}

fn of_limit(report: &LimitReport) -> String {
    let name = &report.limit.name;
    let mut halves = vec![charts::over_time(report), charts::peaks(report)];
    if !report.most_refused.is_empty() {
        halves.push(section(
            &format!("{name}: who is refused most"),
            "Requests that were refused, and the highest use as a part of the limit if nothing were.",
            &keys(&report.most_refused, |key| key.refused),
        ));
    }
    halves.push(section(
        &format!("{name}: least headroom"),
        "Keys of which nothing was refused, by how near they came to the limit.",
        &keys(&report.peaks.tightest, |key| key.asked),
    ));
    if report.most_refused.is_empty() {
        halves.push(section(
            &format!("{name}: busiest"),
            "Keys with the most requests.",
            &keys(&report.busiest, |key| key.asked),
        ));
    }
    grid(&halves)
}

fn keys(keys: &[KeyReport], measure: fn(&KeyReport) -> u64) -> String {
    let most = keys.iter().map(measure).max().unwrap_or(1).max(1) as f64;
    let mut table = String::from("<div class=\"scroll\"><table class=\"bars\">\n");
    for key in keys.iter().take(SHOWN) {
        let class = if key.refused > 0 { "bar bad" } else { "bar" };
        let color = if key.refused > 0 { "c1" } else { "c0" };
        let of = if key.refused > 0 {
            format!(" of {}", count(key.asked))
        } else {
            String::new()
        };
        let _ = writeln!(
            table,
            "<tr><td>{}</td><td class=\"{class}\"><span class=\"fill {color}\" style=\"width:{:.0}px\"></span>{}{of} · peak {}</td></tr>",
            escape(&key.text),
            measure(key) as f64 / most * BAR_PX,
            count(measure(key)),
            percent(key.peak),
        );
    }
    table.push_str("</table></div>");
    table
}

fn routes(outcome: &Outcome) -> String {
    if outcome.name.is_none() {
        return String::new();
    }
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<tr><th>route</th><th>upstream</th><th>requests</th><th>refused</th></tr>\n",
    );
    for route in &outcome.report.routes {
        let _ = writeln!(
            table,
            "<tr><td>{}/{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&route.listener),
            escape(&route.route),
            escape(&route.upstream),
            count(route.requests),
            count(route.refused)
        );
    }
    table.push_str("</table></div>");
    for moved in outcome.report.moved.iter().take(SHOWN) {
        let to = if moved.to.is_empty() { "no route" } else { &moved.to };
        let text = format!("{} requests of {} go to {to} now.", count(moved.requests), moved.from);
        let _ = writeln!(table, "<p>{}</p>", escape(&text));
    }
    section("Routes", "Which took how many requests.", &table)
}

fn suggestions(outcome: &Outcome) -> String {
    if outcome.suggestions.is_empty() {
        return String::new();
    }
    section(
        "Suggested limits",
        "Each was replayed by itself. Begin with one of them in shadow.",
        &format!("<pre class=\"scroll\">{}</pre>", escape(&super::suggested(outcome))),
    )
}

fn footer(outcome: &Outcome) -> String {
    let mut text = String::from(
        "Every decision was made by the code that limits live traffic, at the times of the log. Peaks are what a key would use \
         if nothing were refused; clients that are refused may come again, which no log can tell.",
    );
    for remark in words::remarks(outcome) {
        let _ = write!(text, " Note: {remark}.");
    }
    format!("<footer>{}</footer>\n", escape(&text))
}
