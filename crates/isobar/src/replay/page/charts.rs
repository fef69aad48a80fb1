//! Which plots stand on the page of a replay?

use isobar_replay::{LimitReport, Timeline};

use super::super::{Outcome, words};
use crate::page::{legend, section};
use crate::plot::{Axis, Band, Chart, Curve, Scale, Size};
use crate::simulate::percent;

/// All requests over time.
pub(super) fn traffic(outcome: &Outcome) -> String {
    let timeline = &outcome.report.timeline;
    let entries = [
        ("c0".to_owned(), "requests"),
        ("c1".to_owned(), "refused, or would be in shadow"),
    ];
    let chart = requests("Requests and refusals over time", Size::Wide, timeline);
    section(
        "Traffic",
        "All requests and those that limits refuse, as a rate over each interval.",
        &format!(
            "{}<div class=\"scroll wide\">{}</div>",
            legend(entries.into_iter()),
            chart.svg()
        ),
    )
}

/// The requests of one limit over time.
pub(super) fn over_time(report: &LimitReport) -> String {
    let entries = [("c0".to_owned(), "asked"), ("c1".to_owned(), "refused, or would be")];
    let chart = requests("Requests of a limit over time", Size::Half, &report.timeline);
    section(
        &format!("{}: over time", report.limit.name),
        "Requests that came to the limit, and those that it refuses.",
        &format!("{}{}", legend(entries.into_iter()), chart.svg()),
    )
}

fn requests<'a>(title: &'a str, size: Size, timeline: &Timeline) -> Chart<'a> {
    let interval = timeline.interval() as f64;
    let (unit, per) = match interval {
        interval if interval < 60.0 => ("requests per second", 1.0),
        interval if interval < 3_600.0 => ("requests per minute", 60.0),
        _ => ("requests per hour", 3_600.0),
    };
    let buckets: Vec<_> = timeline.buckets().collect();
    let first = buckets.first().map_or(0, |(start, _)| *start);
    let length = buckets.len() as f64 * interval;
    let (write, of_axis): (fn(f64) -> String, f64) = match length {
        length if length > 2.0 * 86_400.0 => (|number| format!("{} d", rounded(number)), 86_400.0),
        length if length > 7_200.0 => (|number| format!("{} h", rounded(number)), 3_600.0),
        length if length > 300.0 => (|number| format!("{} min", rounded(number)), 60.0),
        _ => (|number| format!("{} s", rounded(number)), 1.0),
    };
    let rate = |number: u64| number as f64 / interval * per;
    let most = buckets.iter().map(|(_, bucket)| rate(bucket.asked)).fold(0.0, f64::max);
    let steps = |measure: &dyn Fn(usize) -> u64| {
        let mut points = Vec::new();
        for place in 0..buckets.len() {
            let from = place as f64 * interval / of_axis;
            let height = rate(measure(place));
            points.extend([(from, 0.0, height), (from + interval / of_axis, 0.0, height)]);
        }
        points
    };
    let asked = steps(&|place| buckets.get(place).map_or(0, |(_, bucket)| bucket.asked));
    let refused = steps(&|place| buckets.get(place).map_or(0, |(_, bucket)| bucket.refused));
    let line = |class: &str, name: &str, points: &[(f64, f64, f64)]| Curve {
        class: format!("thinner {class}"),
        name: name.to_owned(),
        points: points.iter().map(|&(x, _, y)| (x, y)).collect(),
    };
    Chart {
        title,
        size,
        x: Axis {
            label: format!("time since {} UTC", words::time(first * 1_000_000_000)),
            scale: Scale::Linear,
            from: 0.0,
            to: length.max(1.0) / of_axis,
            write,
        },
        y: Axis {
            label: unit.to_owned(),
            scale: Scale::Linear,
            from: 0.0,
            to: if most > 0.0 { most * 1.05 } else { 1.0 },
            write: |number| rounded(number).to_string(),
        },
        curves: vec![line("c0", "requests", &asked), line("c1", "refused", &refused)],
        bands: vec![
            Band {
                class: "area1 c0".to_owned(),
                points: asked,
            },
            Band {
                class: "area2 c1".to_owned(),
                points: refused,
            },
        ],
        marks: Vec::new(),
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// How near keys came to the limit.
pub(super) fn peaks(report: &LimitReport) -> String {
    let steps = &report.peaks.steps;
    let width = 10f64.powf(1.0 / 25.0);
    let from = steps.first().map_or(0.1, |(from, _)| *from).min(0.5);
    let to = steps.last().map_or(1.0, |(from, _)| from * width).max(2.0);
    let most = steps.iter().map(|(_, keys)| *keys).max().unwrap_or(1) as f64;
    let (within, over): (Vec<_>, Vec<_>) = steps.iter().partition(|(from, _)| *from < 0.999);
    let bars = |class: &str, steps: &[&(f64, u64)]| -> Vec<Band> {
        let bar = |&&(from, keys): &&(f64, u64)| Band {
            class: format!("bar {class}"),
            points: vec![(from, 0.5, keys as f64), (from * width * 0.985, 0.5, keys as f64)],
        };
        steps.iter().map(bar).collect()
    };
    let mut bands = bars("c0", &within);
    bands.extend(bars("c1", &over));
    let chart = Chart {
        title: "How many keys came how near to the limit",
        size: Size::Half,
        x: Axis {
            label: "peak use, as a part of the limit (log scale)".to_owned(),
            scale: Scale::Log,
            from,
            to,
            write: |part| percent(part).replace(".0 %", " %"),
        },
        y: Axis {
            label: "keys (log scale)".to_owned(),
            scale: Scale::Log,
            from: 0.5,
            to: (most * 1.4).max(2.0),
            write: |number| {
                if number < 1.0 {
                    String::new()
                } else {
                    format!("{number:.0}")
                }
            },
        },
        bands,
        curves: Vec::new(),
        marks: vec![(1.0, "the limit".to_owned())],
    };
    let entries = [
        ("area c0".to_owned(), "keys within the limit"),
        ("area c1".to_owned(), "keys over it"),
    ];
    section(
        &format!("{}: headroom of keys", report.limit.name),
        "Each key once, by the most it would have used at any time if nothing were refused. Far left of the line is headroom.",
        &format!("{}{}", legend(entries.into_iter()), chart.svg()),
    )
}
