//! How long must a request be expected to take once it has a server?

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The average time to the first byte of an answer and how far it is usually from that, over all servers and workers.
///
/// *Source*: the estimator of RFC 6298 section 2, with twice the deviation instead of four times: to refuse a request that
/// would have made it is as bad as to serve one that does not.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Nanoseconds; 0: there is none yet.
    average: AtomicU64,
    /// Nanoseconds.
    deviation: AtomicU64,
}

impl Pace {
    /// Takes in one answer. Of two workers that do so at once, one may count for nothing.
    pub(crate) fn see(&self, latency: Duration) {
        let latency = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        let average = self.average.load(Ordering::Relaxed);
        if average == 0 {
            self.average.store(latency, Ordering::Relaxed);
            return;
        }
        let deviation = self.deviation.load(Ordering::Relaxed);
        let off = average.abs_diff(latency);
        self.deviation
            .store(deviation - deviation / 4 + off / 4, Ordering::Relaxed);
        self.average
            .store(average - average / 8 + latency / 8, Ordering::Relaxed);
    }

    /// The average and twice the deviation; zero: nothing is known.
    pub(crate) fn expected(&self) -> Duration {
        let deviation = self.deviation.load(Ordering::Relaxed);
        let average = self.average.load(Ordering::Relaxed);
        Duration::from_nanos(average.saturating_add(deviation.saturating_mul(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_expects_what_it_sees() {
        let pace = Pace::default();
        assert_eq!(pace.expected(), Duration::ZERO);
        (0..200).for_each(|_| pace.see(Duration::from_millis(20)));
        assert_eq!(pace.expected().as_millis(), 20);
        (0..200).for_each(|n| pace.see(Duration::from_millis(10 + 20 * (n % 2))));
        assert!(
            (35..=45).contains(&pace.expected().as_millis()),
            "{:?}",
            pace.expected()
        );
        for latency in [Duration::MAX, Duration::ZERO, Duration::MAX] {
            pace.see(latency);
        }
        assert!(pace.expected() > Duration::from_secs(1));
    }
}
