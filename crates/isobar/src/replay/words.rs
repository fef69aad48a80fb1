//! How is what came of a replay said in words?
//!
//! What the terminal and the page have in common.

use std::time::Duration;

use isobar_observe::{LimitOutcome, WallTime};
use isobar_plan::{Direction, Exhausted, LimitKind, LimitMode, LimitPace};
use isobar_replay::{Care, LimitReport, Report, Unreadable, key_text, period_text, rate_text};

use super::Outcome;
use crate::simulate::{count, percent};

/// A time in nanoseconds since 1970, to the second.
pub(super) fn time(nanoseconds: u64) -> String {
    let mut text = Vec::new();
    WallTime(Duration::from_nanos(nanoseconds)).write_rfc3339(&mut text);
    let text = String::from_utf8(text).unwrap_or_default();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

/// A part of a number.
pub(super) fn share(part: u64, whole: u64) -> String {
    percent(part as f64 / whole.max(1) as f64)
}

/// What a limit is, in a line: `client_ip, gcra 100/min, burst 100, shadow`.
pub(super) fn limit(report: &LimitReport) -> String {
    let limit = &report.limit;
    let counting = &limit.counting;
    let kind = match counting.kind {
        LimitKind::Gcra { .. } => "gcra",
        LimitKind::TokenBucket => "token_bucket",
        LimitKind::FixedWindow => "fixed_window",
        LimitKind::SlidingWindow => "sliding_window",
        LimitKind::SlidingLog { .. } => "sliding_log",
        LimitKind::Concurrency => "concurrency",
        LimitKind::Bandwidth { direction, .. } => match direction {
            Direction::Download => "download",
            Direction::Upload => "upload",
            Direction::Both => "download and upload",
        },
    };
    let mut text = format!("{}, {kind}", key_text(&counting.key));
    match counting.pace {
        LimitPace::Rate { rate, .. } if matches!(counting.kind, LimitKind::Bandwidth { .. }) => {
            text += &format!(" {}/{}", size(rate.units()), period_text(rate));
        }
        LimitPace::Rate { rate, burst } => {
            text += &format!(" {}", rate_text(rate));
            let has_burst = matches!(counting.kind, LimitKind::Gcra { .. } | LimitKind::TokenBucket);
            if has_burst && burst != rate.units() {
                text += &format!(", burst {burst}");
            }
        }
        LimitPace::AtOnce(most) => text += &format!(", {most} at once"),
    }
    if let LimitKind::Gcra { delay } = counting.kind
        && !delay.is_zero()
    {
        text += &format!(", delay {} ms", delay.as_millis());
    }
    if let LimitKind::Bandwidth {
        exhausted: Exhausted::Refuse,
        ..
    } = counting.kind
    {
        text += ", then refused";
    }
    let enforcement = &limit.enforcement;
    match (enforcement.mode, enforcement.part) {
        (LimitMode::Shadow, _) => text += ", shadow",
        (LimitMode::Enforce, 10_000) => {}
        (LimitMode::Enforce, part) => text += &format!(", enforced for {} of keys", percent(f64::from(part) / 1e4)),
    }
    text
}

/// A number of bytes in the largest unit that it is a whole number of.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1_000, "KB"),
    ];
    let whole = UNITS
        .into_iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

/// What became of the requests of a limit: numbers and words, those that are none left out.
pub(super) fn outcomes(report: &LimitReport) -> Vec<(u64, &'static str)> {
    let words = |outcome| match outcome {
        LimitOutcome::Admitted => "passed",
        LimitOutcome::Delayed => "delayed",
        LimitOutcome::Refused => "refused",
        LimitOutcome::ShadowRefused => "would be refused",
        LimitOutcome::Returned => "refused by another limit",
        LimitOutcome::Exempt => "exempt",
        LimitOutcome::Denied => "denied",
        LimitOutcome::Skipped => "without a key, skipped",
        LimitOutcome::Ended => "after it had ended",
    };
    let mut outcomes: Vec<_> = LimitOutcome::ALL
        .map(|outcome| (report.of(outcome), words(outcome)))
        .into();
    outcomes.push((report.not_asked, "refused by another limit before"));
    outcomes.retain(|(number, _)| *number > 0);
    outcomes
}

/// What a reader has to be told before anything else.
pub(super) fn warnings(outcome: &Outcome) -> Vec<String> {
    let report = &outcome.report;
    let mut warnings = Vec::new();
    for limit in &report.limits {
        warnings.extend(of_limit(limit));
    }
    warnings.extend(of_traffic(report));
    if outcome.reading.late > 0 {
        warnings.push(format!(
            "{} requests came more than 65,536 lines too late in the logs; time stood still for them",
            count(outcome.reading.late)
        ));
    }
    if outcome.reading.unreadable > 0 {
        warnings.push(format!(
            "{} of {} lines could not be read",
            count(outcome.reading.unreadable),
            count(outcome.reading.lines)
        ));
        warnings.extend(outcome.reading.shown.iter().map(unreadable));
    }
    warnings
}

fn of_limit(limit: &LimitReport) -> Vec<String> {
    let name = &limit.limit.name;
    let mut warnings = Vec::new();
    if limit.unjudged > 0 {
        warnings.push(format!(
            "{name}: cannot be judged for {} requests, because the log does not say their {}",
            count(limit.unjudged),
            limit.lacking.join(", ")
        ));
    }
    for (care, hits) in Care::ALL.iter().zip(&limit.hits).filter(|(_, hits)| hits.refused > 0) {
        warnings.push(format!(
            "{name}: refuses {} of {} requests {}",
            count(hits.refused),
            count(hits.asked),
            care.words()
        ));
    }
    if let Some(at) = limit.disarmed {
        warnings.push(format!("{name}: disarms itself at {} for refusing too much", time(at)));
    }
    let ended = limit.of(LimitOutcome::Ended);
    if ended > 0 {
        warnings.push(format!("{name}: had ended for {} requests (expires)", count(ended)));
    }
    warnings
}

fn of_traffic(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.host_unknown > 0 {
        warnings.push(format!(
            "{} requests could not be told apart by host, as routes do: the log does not say it; give one with --host",
            count(report.host_unknown)
        ));
    }
    if report.other_listener > 0 {
        warnings.push(format!(
            "{} requests came to listeners that the configuration does not have, and were taken to be of another one",
            count(report.other_listener)
        ));
    }
    let private = report
        .cared_for
        .get(Care::Private as usize)
        .map_or(0, |hits| hits.asked);
    if private * 2 > report.requests && report.requests > 0 {
        warnings.push(format!(
            "{} of the clients' requests come from private addresses: is the client of the log that of a proxy in front?",
            share(private, report.requests)
        ));
    }
    warnings
}

/// Remarks on how exact all this is.
pub(super) fn remarks(outcome: &Outcome) -> Vec<String> {
    let mut remarks = Vec::new();
    if !outcome.reading.has_fractions && outcome.report.requests > 0 {
        remarks.push(
            "times are whole seconds: requests of one second count as if they had come together, so that bursts look \
             larger than they were"
                .to_owned(),
        );
    }
    let sampled = outcome.report.limits.iter().filter(|limit| limit.peaks.one_of > 1);
    remarks.extend(sampled.map(|limit| {
        let of = limit.peaks.one_of;
        format!(
            "{}: there are more keys than are kept; one of {of} was looked at for headroom",
            limit.limit.name
        )
    }));
    remarks
}

/// A line that could not be read.
pub(super) fn unreadable(line: &Unreadable) -> String {
    format!("{}:{}: {}: {}", line.name, line.line, line.why, line.text)
}
