//! Which plots stand on the page?

use isobar_sim::{Cell, Point, Report, What};

use super::super::Outcome;
use super::super::figures::{percent, round_time};
use crate::page::{color, legend, section};
use crate::plot::{Axis, Band, Chart, Curve, Scale, Size};

/// Servers whose curves are drawn one by one at most.
const DRAWN: usize = 12;

/// Servers that something happens to which are drawn in a colour of their own at most.
const TOLD_APART: usize = 4;

/// The least part of requests that the distribution of times shows.
const LEAST_PART: f64 = 1e-5;

/// The distribution of times, with theory's lines.
pub(super) fn latency(outcome: &Outcome) -> String {
    let least = outcome.reports.iter().map(|report| report.latency.quantile(0.05)).min();
    let most = outcome.reports.iter().map(|report| report.latency.greatest()).max();
    let (from, to) = (least.unwrap_or(1).max(1) as f64, most.unwrap_or(1).max(2) as f64);
    let from = from.max(to / 1e5).min(to / 2.0);
    let measured = outcome.reports.iter().enumerate().map(|(run, report)| Curve {
        class: color(run),
        name: report.balance.name().to_owned(),
        points: std::iter::once((from, 1.0))
            .chain(
                report
                    .latency
                    .tail()
                    .map(|(time, part)| (time as f64, part))
                    .filter(|(time, _)| *time >= from),
            )
            .filter(|(_, part)| *part > 0.0)
            .collect(),
    });
    let expected = outcome.expectations.iter().enumerate().map(|(law, expectation)| {
        let at = |step: u32| from * (to / from).powf(f64::from(step) / 200.0);
        Curve {
            class: format!("theory t{}", law % 3),
            name: format!("theory: {}", expectation.law.name()),
            points: (0..=200).map(at).map(|time| (time, expectation.tail(time))).collect(),
        }
    });
    let curves: Vec<Curve> = expected.chain(measured).collect();
    let legend = legend(curves.iter().map(|curve| (curve.class.clone(), curve.name.as_str())));
    let chart = Chart {
        title: "The part of requests that took longer than a time",
        size: Size::Wide,
        x: Axis {
            label: "time (log scale)".to_owned(),
            scale: Scale::Log,
            from,
            to,
            write: round_time,
        },
        y: Axis {
            label: "part of requests that took longer (log scale)".to_owned(),
            scale: Scale::Log,
            from: LEAST_PART,
            to: 1.0,
            write: percent_of_power,
        },
        bands: Vec::new(),
        curves,
        marks: Vec::new(),
    };
    section(
        "How long requests took",
        "For each time, the part of requests that took longer: 1 % is where p99 is. Lower and further left is better.",
        &format!("{legend}{}", chart.svg()),
    )
}

fn percent_of_power(part: f64) -> String {
    format!("{} %", (part * 1e8).round() / 1e6)
}

/// The middle of each interval, in seconds, up to the last in which requests came: how the rest drains away says
/// nothing about an algorithm.
fn middles(report: &Report) -> impl Iterator<Item = f64> {
    let interval = report.series.interval() as f64 / 1e9;
    let last = report.series.points().iter().rposition(|point| point.come > 0);
    (0..last.map_or(0, |last| last + 1)).map(move |at| (at as f64 + 0.5) * interval)
}

/// Virtual time over all runs.
fn time_axis(outcome: &Outcome) -> Axis {
    let ends = outcome.reports.iter().filter_map(|report| middles(report).last());
    Axis {
        label: "virtual time".to_owned(),
        scale: Scale::Linear,
        from: 0.0,
        to: ends.fold(f64::MIN_POSITIVE, f64::max),
        write: |seconds| format!("{} s", (seconds * 1000.0).round() / 1000.0),
    }
}

fn linear(label: &str, to: f64, write: fn(f64) -> String) -> Axis {
    Axis {
        label: label.to_owned(),
        scale: Scale::Linear,
        from: 0.0,
        to: if to > 0.0 { to * 1.05 } else { 1.0 },
        write,
    }
}

fn plain(number: f64) -> String {
    format!("{}", (number * 1000.0).round() / 1000.0)
}

/// What happens to servers, in a word each, at the time it does.
fn marks(outcome: &Outcome) -> Vec<(f64, String)> {
    let scenario = &outcome.scenario;
    let mut marks: Vec<(f64, String)> = Vec::new();
    let mut changes = scenario.changes.as_slice();
    while let Some(first) = changes.first() {
        let same = changes
            .iter()
            .take_while(|change| change.at == first.at && change.what == first.what);
        let count = same.count();
        let who = match count {
            1 => scenario
                .servers
                .get(first.server)
                .map_or_else(String::new, |server| server.name.to_string()),
            _ => format!("{count} servers"),
        };
        marks.push((first.at as f64 / 1e9, format!("{who} {}", happening(first.what))));
        changes = changes.get(count..).unwrap_or_default();
    }
    marks
}

fn happening(what: What) -> String {
    match what {
        What::Speed(0.0) => "stalls".to_owned(),
        What::Speed(1.0) => "at full speed".to_owned(),
        What::Speed(speed) => format!("at speed {speed}"),
        What::Failing(Some(_)) => "fails".to_owned(),
        What::Failing(None) => "answers".to_owned(),
        What::Away => "is away".to_owned(),
        What::Back => "is back".to_owned(),
        What::Doubted => "found out".to_owned(),
        What::Trusted => "trusted again".to_owned(),
        What::Join => "joins".to_owned(),
        What::Leave => "leaves".to_owned(),
        What::Weight(weight) => format!("weighs {weight}"),
    }
}

/// The load of the servers over time, a plot for each algorithm, on one scale where that leaves all of them legible.
pub(super) fn loads(outcome: &Outcome) -> Vec<String> {
    let peak = |report: &Report| {
        let loads = report.series.cells().flatten().map(|cell| f64::from(cell.load));
        loads.fold(0.0, f64::max)
    };
    let peaks: Vec<f64> = outcome.reports.iter().map(peak).collect();
    let (least, most) = (
        peaks.iter().copied().fold(f64::INFINITY, f64::min),
        peaks.iter().copied().fold(0.0, f64::max),
    );
    let shared = most <= 6.0 * least;
    let affected = affected(outcome);
    let chart = |(run, report): (usize, &Report)| {
        let to = if shared { most } else { peaks[run] };
        let title = format!("Load over time: {}", report.balance);
        let chart = Chart {
            title: &title,
            size: Size::Half,
            x: time_axis(outcome),
            y: linear("requests at a server", to, plain),
            bands: bands(report, run),
            curves: load_curves(report, run, &affected),
            marks: marks(outcome),
        };
        let about = if shared {
            "One scale for all algorithms."
        } else {
            "Scales differ between algorithms."
        };
        let about = format!("Requests at each server: the range of all, of the middle 80 %, and the median. {about}");
        let named = affected.iter().enumerate().filter_map(|(at, &server)| {
            let server = report.servers.get(server)?;
            Some((color(run + 1 + at), &*server.name))
        });
        let entries = std::iter::once((color(run), "median")).chain(named);
        section(&title, &about, &format!("{}{}", legend(entries), chart.svg()))
    };
    outcome.reports.iter().enumerate().map(chart).collect()
}

/// The first servers that something happens to.
fn affected(outcome: &Outcome) -> Vec<usize> {
    let mut servers: Vec<usize> = outcome.scenario.changes.iter().map(|change| change.server).collect();
    servers.sort_unstable();
    servers.dedup();
    servers.truncate(TOLD_APART);
    servers
}

/// The loads in an interval, sorted, and the one that this part of them does not exceed.
fn sorted(cells: &[Cell]) -> Vec<f64> {
    let mut loads: Vec<f64> = cells.iter().map(|cell| f64::from(cell.load)).collect();
    loads.sort_by(f64::total_cmp);
    loads
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position within the loads"
)]
fn part_of(loads: &[f64], part: f64) -> f64 {
    let at = (part * (loads.len().saturating_sub(1)) as f64).round() as usize;
    loads.get(at).copied().unwrap_or_default()
}

fn bands(report: &Report, run: usize) -> Vec<Band> {
    let band = |class: &str, low: f64, high: f64| Band {
        class: format!("{class} {}", color(run)),
        points: middles(report)
            .zip(report.series.cells().map(sorted))
            .map(|(x, loads)| (x, part_of(&loads, low), part_of(&loads, high)))
            .collect(),
    };
    vec![band("area1", 0.0, 1.0), band("area2", 0.1, 0.9)]
}

fn load_curves(report: &Report, run: usize, affected: &[usize]) -> Vec<Curve> {
    let of_server = |server: usize, class: String| Curve {
        class,
        name: report
            .servers
            .get(server)
            .map_or_else(String::new, |server| server.name.to_string()),
        points: middles(report)
            .zip(
                report
                    .series
                    .cells()
                    .map(|cells| cells.get(server).map_or(0.0, |cell| f64::from(cell.load))),
            )
            .collect(),
    };
    let mut curves = Vec::new();
    if report.servers.len() <= DRAWN {
        let others = (0..report.servers.len()).filter(|server| !affected.contains(server));
        curves.extend(others.map(|server| of_server(server, format!("thin {}", color(run)))));
    }
    curves.push(Curve {
        class: color(run),
        name: "median".to_owned(),
        points: middles(report)
            .zip(report.series.cells().map(|cells| part_of(&sorted(cells), 0.5)))
            .collect(),
    });
    let told_apart = affected.iter().enumerate();
    curves.extend(told_apart.map(|(at, &server)| of_server(server, color(run + 1 + at))));
    curves
}

/// A figure over time that all algorithms share a plot for.
struct Overlay {
    title: &'static str,
    about: &'static str,
    label: &'static str,
    write: fn(f64) -> String,
    value: fn(&Point) -> Option<f64>,
}

const OVERLAYS: [Overlay; 3] = [
    Overlay {
        title: "Mean time over time",
        about: "The mean of the requests that ended in each interval.",
        label: "mean time",
        write: round_time,
        value: |point| (point.ended > 0).then(|| point.time / point.ended as f64),
    },
    Overlay {
        title: "Errors over time",
        about: "The part of requests that ended without an answer.",
        label: "errors",
        write: percent,
        value: |point| (point.come > 0).then(|| (point.failed as f64 / point.come as f64).min(1.0)),
    },
    Overlay {
        title: "Keys moved over time",
        about: "The part of requests that another server answered than the one before with the same key.",
        label: "keys moved",
        write: percent,
        value: |point| (point.keyed > 0).then(|| point.moved as f64 / point.keyed as f64),
    },
];

/// The figures over time that have something to show.
pub(super) fn over_time(outcome: &Outcome) -> Vec<String> {
    let [mean, errors, moved] = &OVERLAYS;
    let mut sections = vec![overlay(outcome, mean, |report| values(report, mean))];
    sections.push(imbalance(outcome));
    if outcome.reports.iter().any(|report| report.ends.errors() > 0) {
        sections.push(overlay(outcome, errors, |report| values(report, errors)));
    }
    if outcome.reports.iter().any(|report| report.keyed > 0) {
        sections.push(overlay(outcome, moved, |report| values(report, moved)));
    }
    sections
}

fn values(report: &Report, overlay: &Overlay) -> Vec<(f64, f64)> {
    let points = middles(report).zip(report.series.points());
    points
        .filter_map(|(x, point)| Some((x, (overlay.value)(point)?)))
        .collect()
}

fn imbalance(outcome: &Outcome) -> String {
    let shape = Overlay {
        title: "Imbalance over time",
        about: "The deviation of the servers' loads in their mean, relative to what each can do: 0 is even.",
        label: "imbalance",
        write: plain,
        value: |_| None,
    };
    overlay(outcome, &shape, |report| {
        let capacities = report.capacities();
        middles(report).zip(report.series.imbalance(&capacities)).collect()
    })
}

fn overlay(outcome: &Outcome, shape: &Overlay, values: impl Fn(&Report) -> Vec<(f64, f64)>) -> String {
    let curve = |(run, report): (usize, &Report)| Curve {
        class: color(run),
        name: report.balance.name().to_owned(),
        points: values(report),
    };
    let curves: Vec<Curve> = outcome.reports.iter().enumerate().map(curve).collect();
    let to = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|(_, y)| *y)
        .fold(0.0, f64::max);
    let legend = legend(curves.iter().map(|curve| (curve.class.clone(), curve.name.as_str())));
    let chart = Chart {
        title: shape.title,
        size: Size::Half,
        x: time_axis(outcome),
        y: linear(shape.label, to, shape.write),
        bands: Vec::new(),
        curves,
        marks: marks(outcome),
    };
    section(shape.title, shape.about, &format!("{legend}{}", chart.svg()))
}

/// The shares of many servers, from the greatest to the least, relative to an even one.
pub(super) fn sorted_shares(outcome: &Outcome) -> String {
    let curve = |(run, report): (usize, &Report)| {
        let capacity: f64 = report.servers.iter().map(|server| server.capacity).sum();
        let mut shares: Vec<f64> = report
            .servers
            .iter()
            .map(|server| server.share * capacity / server.capacity)
            .collect();
        shares.sort_by(|one, other| other.total_cmp(one));
        Curve {
            class: color(run),
            name: report.balance.name().to_owned(),
            points: (1..)
                .zip(shares)
                .map(|(rank, share)| (f64::from(rank), share))
                .collect(),
        }
    };
    let curves: Vec<Curve> = outcome.reports.iter().enumerate().map(curve).collect();
    let to = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|(_, y)| *y)
        .fold(1.0, f64::max);
    let legend = legend(curves.iter().map(|curve| (curve.class.clone(), curve.name.as_str())));
    let chart = Chart {
        title: "Shares of the servers, sorted",
        size: Size::Wide,
        x: Axis {
            label: "servers, from the most used to the least".to_owned(),
            scale: Scale::Linear,
            from: 1.0,
            to: outcome.scenario.servers.len() as f64,
            write: plain,
        },
        y: linear("share of the requests; 1 is in proportion to what it can do", to, plain),
        bands: Vec::new(),
        curves,
        marks: Vec::new(),
    };
    section(
        "Servers",
        "What each server was sent, relative to what is in proportion to its speed and slots.",
        &format!("{legend}{}", chart.svg()),
    )
}
