//! What may an algorithm know of one request, and of time?

use core::time::Duration;

/// A point in time, as nanoseconds since an origin of the caller's; every worker and every probe counts from the same.
///
/// Time that goes backwards is time that stands still: [`since`](Self::since) is zero then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    nanoseconds: u64,
}

impl Moment {
    /// The point this far from the origin; 584 years at most.
    #[must_use]
    pub const fn new(nanoseconds: u64) -> Self {
        Self { nanoseconds }
    }

    /// How far it is from the origin, in nanoseconds.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        self.nanoseconds
    }

    /// Nanoseconds from `earlier` to here; zero when that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.nanoseconds.saturating_sub(earlier.nanoseconds)
    }

    /// The point that comes this much later; the last there is where it would be past that.
    #[must_use]
    pub const fn after(self, time: Duration) -> Self {
        let nanoseconds = time.as_secs().saturating_mul(1_000_000_000);
        Self {
            nanoseconds: self
                .nanoseconds
                .saturating_add(nanoseconds)
                .saturating_add(time.subsec_nanos() as u64),
        }
    }
}

/// One request, as an algorithm sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// The slots it has tried already.
    pub avoid: &'a [u32],
    /// The hash of what it is to be told apart by, for the algorithms that keep requests of one key together; none:
    /// it has none.
    pub key: Option<u64>,
    /// When it asks.
    pub now: Moment,
}

impl<'a> Query<'a> {
    /// A request without a key, at the origin of time, that has tried these slots.
    #[must_use]
    pub const fn avoiding(avoid: &'a [u32]) -> Self {
        Self {
            avoid,
            key: None,
            now: Moment::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Moment;
    use core::time::Duration;

    #[test]
    fn time_never_runs_backwards_nor_over() {
        let (early, late) = (Moment::new(5), Moment::new(7));
        assert_eq!((late.since(early), early.since(late)), (2, 0));
        assert_eq!(early.after(Duration::from_nanos(2)), late);
        assert_eq!(early.after(Duration::from_secs(3)).since(early), 3_000_000_000);
        assert_eq!(late.after(Duration::MAX), Moment::new(u64::MAX));
    }
}
