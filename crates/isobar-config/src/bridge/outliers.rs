//! What does outlier detection ask of the data plane?

use std::time::Duration;

use isobar_plan::{OutlierSettings, Outliers};

use crate::document::{
    Ejection, FailurePercentage, LatencyOutliers, OrNone, OutlierDetection, OutlierRules, SimpleOutliers, SuccessRate,
};
use crate::problem::{Path, Problem, Problems};
use crate::units::Percent;

/// What is asked for.
pub(crate) fn detection(written: &OrNone<OutlierDetection>, at: Path<'_>, problems: &mut Problems) -> Option<Outliers> {
    Some(match written.0.as_ref()? {
        OutlierDetection::Simple(simple) => self::simple(simple),
        OutlierDetection::Rules(rules) => self::rules(rules, at, problems),
    })
}

/// Warns where there are too few servers for any of them to be ejected.
pub(crate) fn warn_of_few_servers(outliers: &Outliers, servers: usize, at: Path<'_>, problems: &mut Problems) {
    if servers < outliers.min_servers as usize {
        let least = outliers.min_servers;
        let message = format!("no server is ever ejected: there are {servers}, and `min_servers` is {least}");
        let problem = Problem::warning(at, message).on_key();
        problems.push(problem.help("write a lower `min_servers`"));
    }
}

fn simple(written: &SimpleOutliers) -> Outliers {
    let SimpleOutliers {
        max_fails,
        fail_timeout,
    } = written;
    Outliers {
        rules: OutlierSettings::simple(max_fails.value(), fail_timeout.duration()),
        min_servers: 1,
    }
}

fn rules(written: &OutlierRules, at: Path<'_>, problems: &mut Problems) -> Outliers {
    let OutlierRules {
        consecutive_errors,
        consecutive_connect_failures,
        success_rate,
        failure_percentage,
        latency,
        interval,
        ejection,
        max_ejected,
        min_servers,
    } = written;
    let Ejection { base, max } = ejection;
    if max < base {
        let at = at.key("ejection");
        let message = format!("an ejection may last {max}, less than the first one's {base}");
        problems.push(Problem::error(at.key("max"), message).needs(at.key("base")));
    }
    let rules = OutlierSettings {
        interval: interval.duration(),
        base_ejection: base.duration(),
        max_ejection: max.duration(),
        jitter: jitter(base.duration()),
        max_ejected_percent: percent(*max_ejected),
        consecutive_errors: consecutive_errors.value(),
        consecutive_unreachable: consecutive_connect_failures.value(),
        success_rate: success_rate.0.as_ref().map(self::success_rate),
        failure_percentage: failure_percentage.0.as_ref().map(self::failure_percentage),
        latency: latency.0.as_ref().map(self::latency),
        max_fails: None,
    };
    let by_rows = rules.consecutive_errors.or(rules.consecutive_unreachable).is_some();
    let by_comparison = rules.success_rate.is_some() || rules.failure_percentage.is_some() || rules.latency.is_some();
    if !by_rows && !by_comparison {
        let problem = Problem::warning(at, "every rule of the outlier detection is off").on_key();
        problems.push(problem.help("did you mean `outlier_detection: none`?"));
    }
    Outliers {
        rules,
        min_servers: min_servers.value(),
    }
}

/// A tenth of the first ejection, as much as servers need to come back one after the other.
fn jitter(base: Duration) -> Duration {
    base / 10
}

fn success_rate(written: &SuccessRate) -> isobar_balance::SuccessRate {
    let SuccessRate {
        stdev_factor,
        min_servers,
        min_requests,
    } = written;
    isobar_balance::SuccessRate {
        stdev_factor_thousandths: whole(stdev_factor.value() * 1e3),
        minimum_hosts: min_servers.value(),
        request_volume: min_requests.value(),
    }
}

fn failure_percentage(written: &FailurePercentage) -> isobar_balance::FailurePercentage {
    let FailurePercentage {
        threshold,
        min_servers,
        min_requests,
    } = written;
    isobar_balance::FailurePercentage {
        threshold: percent(*threshold),
        minimum_hosts: min_servers.value(),
        request_volume: min_requests.value(),
    }
}

fn latency(written: &LatencyOutliers) -> isobar_balance::LatencyRule {
    let LatencyOutliers {
        factor,
        min_servers,
        min_requests,
    } = written;
    isobar_balance::LatencyRule {
        factor_percent: whole(factor.value() * 1e2),
        minimum_hosts: min_servers.value(),
        request_volume: min_requests.value(),
    }
}

/// The range of the setting fits.
fn percent<const LEAST: u32>(part: Percent<LEAST, 100>) -> u8 {
    u8::try_from(part.value()).unwrap_or(100)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the ranges of the settings are far smaller"
)]
fn whole(number: f64) -> u32 {
    number.round() as u32
}
