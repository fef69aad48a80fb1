//! How does a replay look as text?
//!
//! Lines with tones, as in the simulator; knows no terminal.

use std::path::Path;

use isobar_replay::{KeyReport, LimitReport, Timeline};

use super::{Outcome, words};
use crate::picture::{Line, Tone};
use crate::simulate::{count, percent};

/// Keys and routes that are shown at most.
const SHOWN: usize = 8;

/// Cells of a timeline.
const CELLS: usize = 72;

/// Columns of a key at most.
const KEY: usize = 44;

/// The whole report, but for suggestions.
pub(super) fn lines(outcome: &Outcome, page: Option<&Path>) -> Vec<Line> {
    let mut lines = heading(outcome);
    for warning in words::warnings(outcome) {
        lines.push(vec![(Tone::Bad, format!(" ! {warning}"))]);
    }
    lines.extend(routes(outcome));
    for limit in &outcome.report.limits {
        lines.push(Line::new());
        lines.extend(of_limit(limit));
    }
    let remarks = words::remarks(outcome);
    if !remarks.is_empty() {
        lines.push(Line::new());
        lines.extend(
            remarks
                .into_iter()
                .map(|remark| vec![(Tone::Faint, format!(" {remark}"))]),
        );
    }
    lines.extend(measured(outcome));
    if let Some(page) = page {
        lines.push(Line::new());
        lines.push(vec![(Tone::Plain, format!(" plots   {}", page.display()))]);
    }
    lines
}

fn heading(outcome: &Outcome) -> Vec<Line> {
    let report = &outcome.report;
    let name = outcome.name.as_deref().map(|name| format!("   {name}"));
    let mut lines = vec![vec![
        (Tone::Strong, " Isobar replay".to_owned()),
        (Tone::Plain, name.unwrap_or_default()),
    ]];
    for (log, format) in &outcome.reading.logs {
        lines.push(vec![
            (Tone::Plain, format!(" {log}")),
            (Tone::Faint, format!("   {format}")),
        ]);
    }
    let Some((first, last)) = report.between else {
        lines.push(vec![(Tone::Bad, " no request".to_owned())]);
        return lines;
    };
    let span = format!(
        " {} requests, {} to {} UTC",
        count(report.requests),
        words::time(first),
        words::time(last)
    );
    lines.push(vec![(Tone::Plain, span)]);
    let part = |number| format!("{} ({})", count(number), words::share(number, report.requests));
    let tone = if report.refused > 0 { Tone::Bad } else { Tone::Good };
    let mut sums = vec![(Tone::Strong, " refused ".to_owned()), (tone, part(report.refused))];
    let others = [
        (report.shadow_refused, "further ones would be, by limits in shadow"),
        (report.delayed, "delayed"),
        (report.no_route, "without a route"),
        (report.bad_paths, "with a path that is none"),
        (report.not_understood, "lines of requests that were never understood"),
    ];
    for (number, what) in others.into_iter().filter(|(number, _)| *number > 0) {
        sums.push((Tone::Plain, format!("   {} {what}", count(number))));
    }
    lines.push(sums);
    lines
}

fn routes(outcome: &Outcome) -> Vec<Line> {
    let report = &outcome.report;
    let mut routes: Vec<_> = report.routes.iter().filter(|route| route.requests > 0).collect();
    if outcome.name.is_none() || routes.is_empty() {
        return Vec::new();
    }
    routes.sort_by_key(|route| std::cmp::Reverse(route.requests));
    let mut lines = vec![Line::new(), vec![(Tone::Strong, " routes".to_owned())]];
    for route in routes.iter().take(SHOWN) {
        let name = format!("{}/{}", route.listener, route.route);
        let to = format!("   {name:<28} to {:<16} {:>12}", route.upstream, count(route.requests));
        let mut line = vec![(Tone::Plain, to)];
        if route.refused > 0 {
            line.push((Tone::Bad, format!("   {} refused", count(route.refused))));
        }
        lines.push(line);
    }
    if routes.len() > SHOWN {
        lines.push(vec![(Tone::Faint, format!("   … and {} more", routes.len() - SHOWN))]);
    }
    for moved in report.moved.iter().take(SHOWN) {
        let to = if moved.to.is_empty() { "no route" } else { &moved.to };
        let text = format!("   {} requests of {} go to {to} now", count(moved.requests), moved.from);
        lines.push(vec![(Tone::Unsure, text)]);
    }
    lines
}

fn of_limit(report: &LimitReport) -> Vec<Line> {
    let mut lines = vec![vec![
        (Tone::Strong, format!(" {}", report.limit.name)),
        (Tone::Faint, format!("   {}", words::limit(report))),
    ]];
    if report.asked() == 0 {
        let why = if report.unjudged > 0 {
            "it cannot be judged"
        } else {
            "no request came to it"
        };
        lines.push(vec![(Tone::Unsure, format!("   {why}"))]);
        return lines;
    }
    let mut sums = vec![(Tone::Plain, format!("   asked {}", count(report.asked())))];
    for (number, what) in words::outcomes(report) {
        let tone = if what.ends_with("refused") || what == "denied" {
            Tone::Bad
        } else {
            Tone::Plain
        };
        let share = words::share(number, report.asked());
        sums.push((tone, format!("   {} {what} ({share})", count(number))));
    }
    lines.push(sums);
    if !report.longest_delay.is_zero() {
        let text = format!("   the longest delay is {} ms", report.longest_delay.as_millis());
        lines.push(vec![(Tone::Plain, text)]);
    }
    if let Some((first, last)) = report.refused_between {
        lines.extend(timeline(&report.timeline));
        let mut text = format!("   first {}, last {}", words::time(first), words::time(last));
        if let Some((start, bucket)) = report.timeline.worst() {
            let start = words::time(start * 1_000_000_000);
            let length = interval(report.timeline.interval());
            text += &format!(", most {} in the {length} from {start}", count(bucket.refused));
        }
        lines.push(vec![(Tone::Plain, text)]);
        lines.extend(keys("most refused", &report.most_refused));
    }
    lines.extend(headroom(report));
    lines
}

/// Refusals over time in one line.
fn timeline(timeline: &Timeline) -> Vec<Line> {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let buckets: Vec<_> = timeline.buckets().collect();
    let each = buckets.len().div_ceil(CELLS).max(1);
    let sums: Vec<u64> = buckets
        .chunks(each)
        .map(|chunk| chunk.iter().map(|(_, bucket)| bucket.refused).sum())
        .collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let level = |sum: &u64| {
        let level = sum.saturating_mul(8).div_ceil(most);
        usize::try_from(level)
            .ok()
            .and_then(|level| LEVELS.get(level))
            .copied()
            .unwrap_or('█')
    };
    let length = interval(timeline.interval() * each as u64);
    vec![vec![
        (Tone::Bad, format!("   {}", sums.iter().map(level).collect::<String>())),
        (
            Tone::Faint,
            format!("  refusals, {length} a cell, {} at most", count(most)),
        ),
    ]]
}

fn interval(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{:.0} min", seconds as f64 / 60.0),
        _ => format!("{:.1} h", seconds as f64 / 3_600.0),
    }
}

fn keys(title: &str, keys: &[KeyReport]) -> Vec<Line> {
    let mut lines = vec![vec![(
        Tone::Plain,
        format!("   {title:<KEY$} {:>10} {:>10} {:>9}", "asked", "refused", "peak"),
    )]];
    for key in keys.iter().take(SHOWN) {
        let text: String = key.text.chars().take(KEY - 2).collect();
        let tone = if key.refused > 0 { Tone::Bad } else { Tone::Plain };
        let more = if key.error > 0 { "+" } else { "" };
        lines.push(vec![
            (
                Tone::Plain,
                format!(
                    "     {text:<width$} {:>10}",
                    format!("{}{more}", count(key.asked)),
                    width = KEY - 2
                ),
            ),
            (tone, format!(" {:>10}", count(key.refused))),
            (Tone::Plain, format!(" {:>9}", of_limit_text(key.peak))),
        ]);
    }
    lines
}

/// A use as a percentage of the limit.
fn of_limit_text(peak: f64) -> String {
    match peak {
        peak if peak >= 10.0 => format!("{:.0} ×", peak),
        peak => percent(peak),
    }
}

fn headroom(report: &LimitReport) -> Vec<Line> {
    let peaks = &report.peaks;
    if peaks.keys == 0 {
        return Vec::new();
    }
    let [half, nine, most, all] = peaks.honest.map(of_limit_text);
    let keys_text = format!(
        "   {} keys, {} of them refused something",
        count(peaks.keys),
        count(peaks.refused)
    );
    let use_text =
        format!("   peak use of the others: half of them {half} or less, 90 % {nine}, 99 % {most}, all {all}");
    let mut lines = vec![vec![(Tone::Plain, keys_text)], vec![(Tone::Plain, use_text)]];
    lines.extend(keys("least headroom of those never refused", &peaks.tightest));
    lines
}

/// What keys ask, where limits are to be proposed.
fn measured(outcome: &Outcome) -> Vec<Line> {
    let mut lines = Vec::new();
    for measured in &outcome.measured {
        lines.push(Line::new());
        let key = isobar_replay::key_text(&measured.key);
        let about = format!(
            "   {} keys, {} requests",
            count(measured.keys),
            count(measured.requests)
        );
        lines.push(vec![(Tone::Strong, format!(" by {key}")), (Tone::Plain, about)]);
        for (number, what) in [
            (measured.unknown, "that the log does not say"),
            (measured.missing, "that have none"),
        ] {
            if number > 0 {
                lines.push(vec![(Tone::Unsure, format!("   {} requests {what}", count(number)))]);
            }
        }
        let Some(first) = measured.spans.first() else {
            continue;
        };
        let mut head = format!("   {:<26} {:>9}", "most requests of a key in", "half");
        for (part, _) in &first.at {
            head += &format!(" {:>9}", format!("{} %", (part * 1e8).round() / 1e6));
        }
        lines.push(vec![(Tone::Faint, format!("{head} {:>9}", "any"))]);
        for span in &measured.spans {
            let mut text = format!("   {:<26} {:>9}", interval(span.window.as_secs()), count(span.median));
            for (_, most) in &span.at {
                text += &format!(" {:>9}", count(*most));
            }
            lines.push(vec![(Tone::Plain, format!("{text} {:>9}", count(span.most)))]);
        }
    }
    lines
}
