//! What does a request in flight hold of limits on how many there may be?

use std::sync::Arc;
use std::time::Instant;

use isobar_limit::{Grant, Limit};
use isobar_upstream::moment;

use super::RunningLimit;

/// A place in flight; given back when it is dropped, whichever way the exchange ends.
#[derive(Debug)]
pub(super) struct Held {
    limit: Arc<RunningLimit>,
    algorithm: Limit,
    grant: Grant,
}

impl Held {
    pub(super) fn new(limit: &Arc<RunningLimit>, algorithm: Limit, grant: Grant) -> Self {
        let limit = Arc::clone(limit);
        Self {
            limit,
            algorithm,
            grant,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = moment(Instant::now());
        self.limit.table().settle(&self.algorithm, &self.grant, 0, now);
    }
}
