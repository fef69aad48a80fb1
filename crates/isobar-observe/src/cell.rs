//! What can be counted, and how does it add up?

use alloc::vec::Vec;

use crate::by::Scope;
use crate::catalogue::Kind;
use crate::{ByCause, ByClass, CauseTotals, ClassTotals, Counter, Histogram, HistogramTotals, Level};

/// What a metric of one object says.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading<'a> {
    /// A count.
    Count(u64),
    /// Counts by the value of the label [`Metric::split`](crate::catalogue::Metric::split).
    Split(Vec<(&'static str, u64)>),
    /// Durations.
    Histogram(&'a HistogramTotals),
}

/// What a field of a shard can be: how workers' cells add up and what their sum says.
pub trait Cell {
    /// The sum of several cells.
    type Total;
    /// What kind of metric it is.
    const KIND: Kind = Kind::Counter;
    /// The label that splits it.
    const SPLIT: Option<&'static str> = None;

    /// Adds what the cell counted to the sum.
    fn add_to(&self, total: &mut Self::Total);

    /// Reads the sum.
    fn reading(total: &Self::Total) -> Reading<'_>;
}

impl Cell for Counter {
    type Total = u64;

    fn add_to(&self, total: &mut u64) {
        *total = total.wrapping_add(self.value());
    }

    fn reading(total: &u64) -> Reading<'_> {
        Reading::Count(*total)
    }
}

impl Cell for Level {
    type Total = u64;
    const KIND: Kind = Kind::Gauge;

    fn add_to(&self, total: &mut u64) {
        *total = total.wrapping_add(self.value());
    }

    fn reading(total: &u64) -> Reading<'_> {
        Reading::Count(*total)
    }
}

impl Cell for ByClass {
    type Total = ClassTotals;
    const SPLIT: Option<&'static str> = Some("code_class");

    fn add_to(&self, total: &mut ClassTotals) {
        total.add(self);
    }

    fn reading(total: &ClassTotals) -> Reading<'_> {
        Reading::Split(total.iter().map(|(class, count)| (class.text(), count)).collect())
    }
}

impl<S: Scope> Cell for ByCause<S> {
    type Total = CauseTotals<S>;
    const SPLIT: Option<&'static str> = Some("cause");

    fn add_to(&self, total: &mut CauseTotals<S>) {
        total.add(self);
    }

    fn reading(total: &CauseTotals<S>) -> Reading<'_> {
        Reading::Split(total.iter().map(|(cause, count)| (cause.text(), count)).collect())
    }
}

impl Cell for Histogram {
    type Total = HistogramTotals;
    const KIND: Kind = Kind::Histogram;

    fn add_to(&self, total: &mut HistogramTotals) {
        total.add(self);
    }

    fn reading(total: &HistogramTotals) -> Reading<'_> {
        Reading::Histogram(total)
    }
}
