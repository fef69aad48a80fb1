//! What came of a simulation, for programs.

use isobar_sim::{Ends, Report, ServerReport};
use serde_json::{Value, json};

use super::Outcome;

/// Everything: `{"scenario", "seed", "requests", "load", "theory": […], "runs": […]}`; times are in milliseconds,
/// parts are from 0 to 1.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    let theory = outcome
        .expectations
        .iter()
        .map(|expectation| json!({ "law": expectation.law.name(), "mean_ms": expectation.mean() / 1e6 }));
    json!({
        "scenario": outcome.name,
        "seed": outcome.scenario.seed,
        "requests": outcome.scenario.requests,
        "warm_up": outcome.scenario.warm_up,
        "load": outcome.scenario.load(),
        "theory": theory.collect::<Vec<_>>(),
        "runs": outcome.reports.iter().map(report).collect::<Vec<_>>(),
    })
}

/// What came of one run.
pub(crate) fn report(report: &Report) -> Value {
    let quantile = |part: f64| report.latency.quantile(part) as f64 / 1e6;
    let finite = |number: f64| number.is_finite().then_some(number);
    let Ends {
        answered,
        failed,
        timed_out,
        refused,
        unavailable,
    } = report.ends;
    json!({
        "balance": report.balance.name(),
        "mean_ms": report.mean / 1e6,
        "mean_half_width_ms": finite(report.half_width / 1e6),
        "p50_ms": quantile(0.5),
        "p90_ms": quantile(0.9),
        "p99_ms": quantile(0.99),
        "p999_ms": quantile(0.999),
        "max_ms": report.latency.greatest() as f64 / 1e6,
        "ends": {
            "answered": answered,
            "failed": failed,
            "timed_out": timed_out,
            "refused": refused,
            "unavailable": unavailable,
            "unfinished": report.unfinished,
        },
        "error_rate": report.error_rate(),
        "retries": report.retries,
        "moved_rate": report.moved_rate(),
        "imbalance": report.imbalance(),
        "little": {
            "present": report.little.present,
            "rate": report.little.rate,
            "time_s": report.little.time,
            "deviation": report.little.deviation(),
            "holds": report.little.holds(),
        },
        "events": report.events,
        "virtual_seconds": report.duration as f64 / 1e9,
        "servers": report.servers.iter().map(server).collect::<Vec<_>>(),
        "series": series(report),
    })
}

fn server(server: &ServerReport) -> Value {
    json!({
        "name": server.name,
        "sent": server.sent,
        "failed": server.failed,
        "ejections": server.ejections,
        "share": server.share,
        "utilisation": server.utilisation,
        "load": server.load,
    })
}

fn series(report: &Report) -> Value {
    let capacities = report.capacities();
    let imbalances = report.series.imbalance(&capacities);
    let point = |(point, imbalance): (&isobar_sim::Point, f64)| {
        let mean = (point.ended > 0).then(|| point.time / point.ended as f64 / 1e6);
        json!({
            "come": point.come,
            "mean_ms": mean,
            "failed": point.failed,
            "keyed": point.keyed,
            "moved": point.moved,
            "imbalance": imbalance,
        })
    };
    json!({
        "interval_s": report.series.interval() as f64 / 1e9,
        "points": report.series.points().iter().zip(imbalances).map(point).collect::<Vec<_>>(),
    })
}
