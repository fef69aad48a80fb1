//! What do all workers' counts come to?
//!
//! Plain data, built by whoever holds the shards and read by whoever shows them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{
    LimitStats, LimitTotals, ListenerStats, ListenerTotals, PriorityStats, PriorityTotals, RouteStats, RouteTotals,
    ServerStats, ServerTotals, UpstreamStats, UpstreamTotals, WorkerStats, WorkerTotals,
};

/// Everything counted since the start, summed over the workers.
///
/// Counters are read one after the other while workers write them: each is right, but two that belong together may
/// differ by the exchanges that end in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The listeners.
    pub listeners: Vec<ListenerSnapshot>,
    /// The routes of all listeners.
    pub routes: Vec<RouteSnapshot>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamSnapshot>,
    /// The priorities of all upstreams.
    pub priorities: Vec<PrioritySnapshot>,
    /// The limits.
    pub limits: Vec<LimitSnapshot>,
    /// The servers of all upstreams.
    pub servers: Vec<ServerSnapshot>,
    /// The workers.
    pub workers: Vec<WorkerSnapshot>,
}

/// The counts of one object.
///
/// *Shape*: the values of the labels that the metrics of this kind of object have, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series<T, const LABELS: usize> {
    /// Which object it is.
    pub labels: [Arc<str>; LABELS],
    /// What was counted.
    pub totals: T,
}

/// A listener's counts; labelled by its name.
pub type ListenerSnapshot = Series<ListenerTotals, 1>;
/// A route's counts; labelled by its listener's and its own name.
pub type RouteSnapshot = Series<RouteTotals, 2>;
/// An upstream's counts; labelled by its name.
pub type UpstreamSnapshot = Series<UpstreamTotals, 1>;
/// A priority's counts; labelled by its upstream's name and its own.
pub type PrioritySnapshot = Series<PriorityTotals, 2>;
/// A limit's counts; labelled by its name.
pub type LimitSnapshot = Series<LimitTotals, 1>;
/// A server's counts; labelled by its upstream's and its own name.
pub type ServerSnapshot = Series<ServerTotals, 2>;
/// A worker's counts; labelled by its number, from 0.
pub type WorkerSnapshot = Series<WorkerTotals, 1>;

impl<T: Default, const LABELS: usize> Series<T, LABELS> {
    /// An object nothing of which was counted yet.
    #[must_use]
    pub fn new(labels: [Arc<str>; LABELS]) -> Self {
        Self {
            labels,
            totals: T::default(),
        }
    }
}

macro_rules! add {
    ($($series:ident adds $stats:ident;)*) => {$(
        impl $series {
            /// Adds what one worker counted.
            pub fn add(&mut self, shard: &$stats) {
                self.totals.add(shard);
            }
        }
    )*};
}

add! {
    ListenerSnapshot adds ListenerStats;
    RouteSnapshot adds RouteStats;
    UpstreamSnapshot adds UpstreamStats;
    PrioritySnapshot adds PriorityStats;
    LimitSnapshot adds LimitStats;
    ServerSnapshot adds ServerStats;
    WorkerSnapshot adds WorkerStats;
}

#[cfg(test)]
mod tests {
    use super::{ListenerSnapshot, RouteSnapshot};
    use crate::{ListenerStats, RouteStats};

    #[test]
    fn a_series_sums_the_workers() {
        let mut web = ListenerSnapshot::new(["web".into()]);
        let shards = [ListenerStats::default(), ListenerStats::default()];
        shards[0].connections_accepted.add(2);
        shards[1].connections_accepted.add(3);
        shards.iter().for_each(|shard| web.add(shard));
        assert_eq!(web.totals.connections_accepted, 5);

        let mut route = RouteSnapshot::new(["web".into(), "api".into()]);
        route.add(&RouteStats::default());
        assert_eq!(route, RouteSnapshot::new(["web".into(), "api".into()]));
    }
}
