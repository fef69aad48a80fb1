//! How does a replay look to a program?
//!
//! The shape is that of `docs/replay.md`; times are seconds since 1970, parts are from 0 to 1.

use isobar_observe::LimitOutcome;
use isobar_replay::{Care, Hits, KeyReport, LimitReport, Measured, Timeline, key_text};
use serde_json::{Map, Value, json};

use super::{Outcome, words};

/// The whole outcome.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    let report = &outcome.report;
    let mut value = json!({
        "configuration": outcome.name,
        "logs": outcome.reading.logs.iter().map(|(name, format)| json!({ "name": name, "format": format })).collect::<Vec<_>>(),
        "lines": {
            "read": outcome.reading.lines,
            "unreadable": outcome.reading.unreadable,
            "late": outcome.reading.late,
            "first_unreadable": outcome.reading.shown.iter().map(|line| json!({
                "log": line.name, "line": line.line, "why": line.why, "text": line.text,
            })).collect::<Vec<_>>(),
        },
        "requests": {
            "replayed": report.requests,
            "refused": report.refused,
            "refused_share": report.refused as f64 / report.requests.max(1) as f64,
            "shadow_refused": report.shadow_refused,
            "delayed": report.delayed,
            "no_route": report.no_route,
            "bad_path": report.bad_paths,
            "not_understood": report.not_understood,
            "other_listener": report.other_listener,
            "host_unknown": report.host_unknown,
            "first": report.between.map(|(first, _)| seconds(first)),
            "last": report.between.map(|(_, last)| seconds(last)),
        },
        "internal": hits(&report.cared_for),
        "routes": report.routes.iter().map(|route| json!({
            "listener": &*route.listener, "route": &*route.route, "upstream": &*route.upstream,
            "requests": route.requests, "refused": route.refused,
        })).collect::<Vec<_>>(),
        "moved": report.moved.iter().map(|moved| json!({
            "from": moved.from, "to": Some(&moved.to).filter(|to| !to.is_empty()), "requests": moved.requests,
        })).collect::<Vec<_>>(),
        "limits": report.limits.iter().map(limit).collect::<Vec<_>>(),
        "warnings": words::warnings(outcome),
        "remarks": words::remarks(outcome),
    });
    if !outcome.measured.is_empty()
        && let Some(object) = value.as_object_mut()
    {
        object.insert("measured".to_owned(), outcome.measured.iter().map(measured).collect());
        object.insert("suggestions".to_owned(), suggestions(outcome));
        object.insert("suggested_yaml".to_owned(), super::suggested(outcome).into());
    }
    value
}

fn limit(report: &LimitReport) -> Value {
    let outcomes = LimitOutcome::ALL.map(|outcome| (outcome.text().to_owned(), Value::from(report.of(outcome))));
    let peaks = &report.peaks;
    json!({
        "name": &*report.limit.name,
        "about": words::limit(report),
        "asked": report.asked(),
        "over": report.over(),
        "outcomes": outcomes.into_iter().collect::<Map<_, _>>(),
        "not_asked": report.not_asked,
        "unjudged": report.unjudged,
        "lacking": report.lacking,
        "first_refused": report.refused_between.map(|(first, _)| seconds(first)),
        "last_refused": report.refused_between.map(|(_, last)| seconds(last)),
        "disarmed": report.disarmed.map(seconds),
        "longest_delay_ms": report.longest_delay.as_secs_f64() * 1e3,
        "internal": hits(&report.hits),
        "timeline": timeline(&report.timeline),
        "busiest": keys(&report.busiest),
        "most_refused": keys(&report.most_refused),
        "keys": {
            "count": peaks.keys,
            "refused": peaks.refused,
            "one_of": peaks.one_of,
            "honest_peaks": { "p50": peaks.honest[0], "p90": peaks.honest[1], "p99": peaks.honest[2], "most": peaks.honest[3] },
            "peaks": peaks.steps.iter().map(|(from, count)| json!({ "from": from, "keys": count })).collect::<Vec<_>>(),
            "tightest": keys(&peaks.tightest),
        },
    })
}

fn keys(keys: &[KeyReport]) -> Value {
    let key = |key: &KeyReport| {
        json!({
            "key": key.text, "asked": key.asked, "refused": key.refused, "too_low_by": key.error, "peak": key.peak,
        })
    };
    keys.iter().map(key).collect()
}

fn hits(hits: &[Hits; 3]) -> Value {
    let of = |(care, hits): (&Care, &Hits)| {
        let value = json!({ "requests": hits.asked, "refused": hits.refused });
        (care.text().to_owned(), value)
    };
    Value::Object(Care::ALL.iter().zip(hits).map(of).collect())
}

/// Intervals in which nothing was asked are left out.
fn timeline(timeline: &Timeline) -> Value {
    let buckets = timeline.buckets().filter(|(_, bucket)| bucket.asked > 0);
    let bucket = |(start, bucket): (u64, isobar_replay::Bucket)| json!({ "from": start, "asked": bucket.asked, "refused": bucket.refused, "delayed": bucket.delayed });
    json!({ "interval": timeline.interval(), "intervals": buckets.map(bucket).collect::<Vec<_>>() })
}

fn measured(measured: &Measured) -> Value {
    let span = |span: &isobar_replay::Span| {
        let at = span
            .at
            .iter()
            .map(|(part, most)| json!({ "part": part, "requests": most }));
        json!({
            "window": span.window.as_secs(), "median": span.median, "at": at.collect::<Vec<_>>(), "most": span.most,
        })
    };
    json!({
        "key": key_text(&measured.key),
        "keys": measured.keys,
        "one_of": measured.one_of,
        "requests": measured.requests,
        "unknown": measured.unknown,
        "missing": measured.missing,
        "windows": measured.spans.iter().map(span).collect::<Vec<_>>(),
    })
}

fn suggestions(outcome: &Outcome) -> Value {
    let each = outcome.suggestions.iter().zip(&outcome.tried);
    let suggestion = each.map(|(suggestion, tried)| {
        json!({
            "name": &*suggestion.limit.name,
            "about": words::limit(tried),
            "percentile": suggestion.percentile * 100.0,
            "asked": suggestion.asked,
            "window": suggestion.window.as_secs(),
            "keys": suggestion.keys,
            "refused": tried.over(),
            "keys_refused": tried.peaks.refused,
        })
    });
    suggestion.collect()
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
