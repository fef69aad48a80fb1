//! Where is the cost of a request found?

use isobar_plan::{HashPart, LimitCosts, LimitPace, Settlement};

use crate::document::{Limit, LimitAlgorithm, LimitCost, LimitSettle};
use crate::problem::{Path, Problem, Problems, Spot};

/// What says what a request costs; none: nothing but the limit.
pub(super) fn costs(
    written: &Limit,
    pace: LimitPace,
    at: Path<'_>,
    problems: &mut Problems,
) -> Option<Box<LimitCosts>> {
    let LimitCost {
        default: _,
        header,
        query,
        max,
        settle,
    } = &written.cost;
    let source = match (header, query) {
        (Some(header), None) => Some(HashPart::Header(header.as_str().into())),
        (None, Some(query)) => Some(HashPart::Query(query.as_str().into())),
        (None, None) => None,
        (Some(_), Some(_)) => {
            let problem = Problem::error(at.key("query"), "a cost is found in one place, and not in two").on_key();
            problems.push(problem.related(at.key("header"), Spot::Key, "the other"));
            None
        }
    };
    let most = match pace {
        LimitPace::Rate { rate, burst } => match written.algorithm {
            LimitAlgorithm::FixedWindow | LimitAlgorithm::SlidingWindow | LimitAlgorithm::SlidingLog => rate.units(),
            _ => burst,
        },
        LimitPace::AtOnce(most) => most,
    };
    if let Some(max) = max {
        if source.is_none() {
            let problem = Problem::error(at.key("max"), "`max` is for costs that a request says").on_key();
            problems.push(problem.help("write `header: NAME` or `query: NAME` beside it"));
        }
        if u64::from(max.value()) > most && written.delay.0.is_none() {
            let message = format!("a request that costs so much can never pass: there are never more than {most}");
            problems.push(Problem::error(at.key("max"), message));
        }
    }
    let settle = settle.as_ref().and_then(|settle| {
        if written.algorithm == LimitAlgorithm::Concurrency {
            let message = "`settle` is for algorithms that count over time";
            problems.push(Problem::error(at.key("settle"), message).on_key());
        }
        settlement(settle, at.key("settle"), problems)
    });
    let is_found = source.is_some() || settle.is_some();
    is_found.then(|| {
        Box::new(LimitCosts {
            source,
            max: max.map_or(most, |max| max.value().into()),
            settle,
        })
    })
}

fn settlement(written: &LimitSettle, at: Path<'_>, problems: &mut Problems) -> Option<Settlement> {
    let LimitSettle { header, bytes } = written;
    match (header, bytes) {
        (Some(header), None) => Some(Settlement::Header(header.as_str().into())),
        (None, Some(bytes)) => Some(Settlement::Bytes(bytes.bytes())),
        _ => {
            let problem = Problem::error(
                at,
                "a cost is settled either by a `header` of the answer or by its `bytes`",
            );
            problems.push(problem.help("settle: { header: x-actual-cost }"));
            None
        }
    }
}
