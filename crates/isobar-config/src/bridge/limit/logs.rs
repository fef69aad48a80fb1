//! Do the logs of a limit fit?
//!
//! Each key has room for as many times as the largest rate of any key has units. So a rate is not too large by itself alone, but also for
//! the number of keys.

use isobar_plan::{LimitOverride, LimitPace, MOST_LOG_UNITS, MOST_LOGGED};

use crate::document::{Limit, LimitAlgorithm};
use crate::problem::{Path, Problem, Problems};
use crate::units::Pace;

/// What is wrong with a rate, and what would be right.
struct Unfit {
    message: String,
    help: String,
}

/// Reports rates that logs have no room for.
pub(super) fn check(written: &Limit, at: Path<'_>, problems: &mut Problems) {
    if written.algorithm != LimitAlgorithm::SlidingLog {
        return;
    }
    let mut judge = |rate: Option<Pace>, at_rate: Path<'_>| {
        if let Some(Unfit { message, help }) = rate.and_then(|rate| unfit(rate.units(), written.max_keys.value())) {
            problems.push(Problem::error(at_rate, message).help(help));
        }
    };
    judge(written.rate, at.key("rate"));
    for (key, other) in written.overrides.iter() {
        let at_overrides = at.key("overrides");
        judge(other.rate, at_overrides.key(key.as_str()));
    }
}

/// What stands in a line of a file, if logs have room for it.
///
/// *Errors*: why they do not.
pub(super) fn fitting(read: LimitOverride, max_keys: u32) -> Result<LimitOverride, String> {
    let unfit = match read.pace {
        LimitPace::Rate { rate, .. } => unfit(rate.units(), max_keys),
        LimitPace::AtOnce(_) => None,
    };
    match unfit {
        Some(Unfit { message, help }) => Err(format!("{message}; {help}")),
        None => Ok(read),
    }
}

fn unfit(units: u64, max_keys: u32) -> Option<Unfit> {
    if units > MOST_LOG_UNITS.into() {
        return Some(Unfit {
            message: format!("a log has room for {MOST_LOG_UNITS} requests at most, and not for {units}"),
            help: "write `algorithm: gcra` or `algorithm: sliding_window`, which take any rate".to_owned(),
        });
    }
    let most = MOST_LOGGED / units.max(1);
    (u64::from(max_keys) > most).then(|| Unfit {
        message: format!("logs of {units} requests for {max_keys} keys take more than 64 MiB"),
        help: format!("`max_keys: {most}` would fit"),
    })
}
