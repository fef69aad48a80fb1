//! Which servers stand out from the others by what they did in one interval?

use alloc::vec::Vec;

use super::conduct::Totals;
use super::{FailurePercentage, LatencyRule, SuccessRate};

/// A server with what it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) server: usize,
    pub(super) totals: Totals,
}

impl Record {
    fn success_rate(&self) -> f64 {
        self.totals.answered as f64 / self.totals.volume().max(1) as f64
    }

    /// Of its answers, in microseconds.
    fn latency(&self) -> f64 {
        self.totals.latency_us as f64 / self.totals.answered.max(1) as f64
    }
}

/// Those that had this many requests; none at all where fewer servers than that had, because nobody stands out from
/// too few.
fn judged(records: &[Record], volume: u32, hosts: u32) -> Vec<Record> {
    let enough = |record: &&Record| record.totals.volume() >= u64::from(volume.max(1));
    let judged: Vec<Record> = records.iter().filter(enough).copied().collect();
    if judged.len() < hosts as usize {
        Vec::new()
    } else {
        judged
    }
}

/// Servers whose success rate is below the mean by more than some standard deviations, the worst first.
///
/// With the deviation of the population, as in gRPC: among `n` servers of which one is bad it is at most
/// `sqrt(n - 1)` deviations away, which is why fewer than five are not judged at 1.9.
pub(super) fn by_success_rate(records: &[Record], rule: &SuccessRate) -> Vec<usize> {
    let judged = judged(records, rule.request_volume, rule.minimum_hosts);
    let count = judged.len().max(1) as f64;
    let mean = judged.iter().map(Record::success_rate).sum::<f64>() / count;
    let square = |distance: f64| distance * distance;
    let variance = judged
        .iter()
        .map(|record| square(record.success_rate() - mean))
        .sum::<f64>()
        / count;
    let factor = f64::from(rule.stdev_factor_thousandths) / 1000.0;
    // Squares are compared, because `core` has no square root.
    let stands_out = |record: &&Record| {
        let below = mean - record.success_rate();
        below > 0.0 && square(below) > square(factor) * variance
    };
    worst_first(judged.iter().filter(stands_out), Record::success_rate)
}

/// Servers that failed at least this part of their requests, the worst first.
pub(super) fn by_failure_percentage(records: &[Record], rule: &FailurePercentage) -> Vec<usize> {
    let judged = judged(records, rule.request_volume, rule.minimum_hosts);
    let failed = |record: &&Record| {
        record.totals.failed.saturating_mul(100) >= record.totals.volume().saturating_mul(u64::from(rule.threshold))
    };
    worst_first(judged.iter().filter(failed), Record::success_rate)
}

/// Servers whose mean latency is some times the median of all, the worst first.
pub(super) fn by_latency(records: &[Record], rule: &LatencyRule) -> Vec<usize> {
    let with_answers: Vec<Record> = records
        .iter()
        .filter(|record| record.totals.answered > 0)
        .copied()
        .collect();
    let judged = judged(&with_answers, rule.request_volume, rule.minimum_hosts);
    let mut latencies: Vec<f64> = judged.iter().map(Record::latency).collect();
    latencies.sort_unstable_by(f64::total_cmp);
    // The lower of the two in the middle: of two halves the faster one is taken to be well.
    let median = latencies
        .get(latencies.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0);
    let slow = |record: &&Record| record.latency() > median * f64::from(rule.factor_percent) / 100.0;
    worst_first(judged.iter().filter(slow), |record| -record.latency())
}

fn worst_first<'a>(records: impl Iterator<Item = &'a Record>, goodness: impl Fn(&Record) -> f64) -> Vec<usize> {
    let mut records: Vec<&Record> = records.collect();
    records.sort_by(|one, other| goodness(one).total_cmp(&goodness(other)));
    records.into_iter().map(|record| record.server).collect()
}
