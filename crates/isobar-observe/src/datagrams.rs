//! Why did a datagram go nowhere?

use crate::Counter;
use crate::catalogue::{Cell, Reading};

/// Why a datagram went nowhere. There is nobody to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// There were as many flows as there may be, and none made room.
    Full,
    /// It came from port zero or from the very address it was sent to: nothing could be sent back.
    Unanswerable,
    /// It did not begin with the header of the PROXY protocol that it has to begin with, or was not from a proxy that is listed.
    ProxyHeader,
    /// There was no server for its flow.
    NoServer,
    /// It would have begun a flow while the listener finishes those it has.
    Draining,
    /// The kernel did not take it on its way to the server, or the server was said not to be there.
    ToServer,
    /// The kernel did not take it on its way to the client.
    ToClient,
    /// It came from a server after the last that was expected.
    Unexpected,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Full,
        Self::Unanswerable,
        Self::ProxyHeader,
        Self::NoServer,
        Self::Draining,
        Self::ToServer,
        Self::ToClient,
        Self::Unexpected,
    ];

    /// The word for it in metrics.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unanswerable => "unanswerable",
            Self::ProxyHeader => "proxy_header",
            Self::NoServer => "no_server",
            Self::Draining => "draining",
            Self::ToServer => "to_server",
            Self::ToClient => "to_client",
            Self::Unexpected => "unexpected",
        }
    }
}

/// Dropped datagrams counted by their reason, written by one thread.
#[derive(Debug, Default)]
pub struct ByDropReason([Counter; DropReason::ALL.len()]);

impl ByDropReason {
    /// Counts so many datagrams.
    pub fn count(&self, reason: DropReason, datagrams: u64) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.add(datagrams);
        }
    }
}

/// The sum of one or more [`ByDropReason`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropTotals([u64; DropReason::ALL.len()]);

impl Cell for ByDropReason {
    type Total = DropTotals;
    const SPLIT: Option<&'static str> = Some("reason");

    fn add_to(&self, total: &mut DropTotals) {
        for (total, count) in total.0.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(count.value());
        }
    }

    fn reading(total: &DropTotals) -> Reading<'_> {
        let reasons = DropReason::ALL.into_iter().map(DropReason::text);
        Reading::Split(reasons.zip(total.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{ByDropReason, DropReason, DropTotals, Reading};
    use crate::catalogue::Cell;

    #[test]
    fn each_reason_is_counted_apart() {
        let (shard, mut total) = (ByDropReason::default(), DropTotals::default());
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            shard.count(reason, index as u64 + 1);
        }
        shard.add_to(&mut total);
        let expected = (1..).zip(DropReason::ALL).map(|(count, reason)| (reason.text(), count));
        assert_eq!(ByDropReason::reading(&total), Reading::Split(expected.collect()));
    }
}
