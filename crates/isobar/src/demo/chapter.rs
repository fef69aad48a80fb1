//! What came of a stretch of time with one algorithm?
//!
//! Counts and a table of them; knows no terminal.

use std::time::Duration;

use isobar_balance::Balance;

use super::servers::SERVERS;
use super::statistics::{Outcome, Visit};
use crate::picture::{Line, Tone};

/// Cells of the column with the algorithm.
const NAME_WIDTH: usize = 20;
/// Cells of every other column.
const WIDTH: usize = 11;

/// What visitors saw in a stretch of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    requests: [u64; SERVERS.len()],
    /// Of those with an answer from a server and those without one.
    failures: u64,
    unanswered: u64,
    latencies: Latencies,
}

impl Totals {
    pub(super) fn add(&mut self, visit: &Visit) {
        self.requests[visit.server] += 1;
        match visit.outcome {
            Outcome::Answered => self.latencies.add(visit.took),
            Outcome::Failed => self.failures += 1,
        }
    }

    pub(super) fn add_unanswered(&mut self) {
        self.failures += 1;
        self.unanswered += 1;
    }

    /// All requests.
    pub(super) fn requests(&self) -> u64 {
        self.requests.iter().sum::<u64>() + self.unanswered
    }

    /// The part of the answered requests that each server had.
    pub(super) fn shares(&self) -> [f64; SERVERS.len()] {
        let all = self.requests.iter().sum();
        self.requests.map(|requests| part(requests, all))
    }

    /// The part of all requests that failed.
    pub(super) fn failed(&self) -> f64 {
        part(self.failures, self.requests())
    }

    /// The latency that so many percent of the good answers did not exceed, to 5 % of it; none: there was none.
    pub(super) fn percentile(&self, percent: u64) -> Option<Duration> {
        self.latencies.percentile(percent)
    }
}

fn part(some: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { some as f64 / all as f64 }
}

/// A stretch of time in which one algorithm chose.
#[derive(Debug, Clone)]
pub(super) struct Chapter {
    pub(super) balance: Balance,
    pub(super) totals: Totals,
}

/// The head of the table, with a name for each server.
pub(super) fn head(servers: [&str; SERVERS.len()]) -> Line {
    let mut text = format!(" {:<NAME_WIDTH$}", "");
    for title in servers.into_iter().chain(["p50", "p99", "failed", "requests"]) {
        text += &format!("{title:>WIDTH$}");
    }
    vec![(Tone::Faint, text)]
}

impl Chapter {
    /// Its row of the table.
    pub(super) fn row(&self) -> Line {
        let totals = &self.totals;
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        let mut shares = String::new();
        for share in totals.shares() {
            shares += &format!("{:>WIDTH$}", percent(share));
        }
        let latency = |of| super::view::latency(totals.percentile(of));
        let failed = format!("{:>WIDTH$}", percent(totals.failed()));
        let tone = if totals.failures == 0 { Tone::Good } else { Tone::Bad };
        vec![
            (Tone::Strong, format!(" {:<NAME_WIDTH$}", self.balance.name())),
            (Tone::Plain, shares),
            (Tone::Plain, format!("{:>WIDTH$}{:>WIDTH$}", latency(50), latency(99))),
            (tone, failed),
            (Tone::Faint, format!("{:>WIDTH$}", totals.requests())),
        ]
    }
}

/// How many answers took how long, in steps of 5 % from a tenth of a millisecond on.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies(Vec<u64>);

impl Latencies {
    const FIRST: f64 = 1e-4;
    const STEP: f64 = 1.05;
    /// Enough for a minute; visitors wait for less.
    const MAX: usize = 300;

    pub(super) fn add(&mut self, took: Duration) {
        let steps = (took.as_secs_f64() / Self::FIRST).max(1.0).ln() / Self::STEP.ln();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and cut off at the most there are"
        )]
        let bucket = (steps.ceil() as usize).min(Self::MAX);
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        self.0[bucket] += 1;
    }

    /// What so many percent did not exceed, to 5 % of it; none: there was none.
    pub(super) fn percentile(&self, percent: u64) -> Option<Duration> {
        let rank = (self.0.iter().sum::<u64>() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let steps = i32::try_from(bucket).unwrap_or(i32::MAX);
        Some(Duration::from_secs_f64(Self::FIRST * Self::STEP.powi(steps)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::text;

    fn visit(server: usize, millis: u64, outcome: Outcome) -> Visit {
        Visit {
            server,
            took: Duration::from_millis(millis),
            outcome,
        }
    }

    #[test]
    fn percentiles_are_right_to_a_step() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(99), None);
        for millis in 1..=100 {
            latencies.add(Duration::from_millis(millis));
        }
        for percent in [1, 50, 99, 100] {
            let found = latencies.percentile(percent).unwrap().as_secs_f64() * 1e3;
            assert!(
                (percent as f64..=percent as f64 * 1.05).contains(&found),
                "{percent}: {found}"
            );
        }
        latencies.add(Duration::from_secs(1_000_000));
        assert!(latencies.percentile(100).unwrap() > Duration::from_secs(60));
    }

    #[test]
    fn a_row_says_what_happened() {
        let mut totals = Totals::default();
        for _ in 0..6 {
            totals.add(&visit(0, 10, Outcome::Answered));
        }
        totals.add(&visit(1, 100, Outcome::Answered));
        totals.add(&visit(2, 1, Outcome::Failed));
        totals.add_unanswered();
        totals.add_unanswered();
        let chapter = Chapter {
            balance: Balance::RoundRobin,
            totals,
        };
        let lines = [head(["fast", "medium", "slow"]), chapter.row()];
        let expected = "                            fast     medium       slow        p50        p99     failed   requests\n \
                        round_robin              75.0 %     12.5 %     12.5 %    10.3 ms     102 ms     30.0 %         10\n";
        assert_eq!(text(&lines, false), expected);
    }

    #[test]
    fn nothing_seen_is_no_division_by_zero() {
        let totals = Totals::default();
        assert_eq!(totals.shares(), [0.0; 3]);
        assert_eq!((totals.failed(), totals.percentile(50)), (0.0, None));
    }
}
