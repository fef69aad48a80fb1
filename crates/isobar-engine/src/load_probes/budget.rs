//! Whose turn is it to ask, when only so many may a second?

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Turns that can be saved up, as time: a burst of probes may come at once.
const BURST: Duration = Duration::from_millis(50);

/// Paces the probes of one upstream, in the order in which they come.
///
/// Each takes the next free moment, of which there are so many a second (GCRA). A server is in line once, so that the line
/// is never longer than there are servers.
pub(super) struct Budget {
    apart: Duration,
    next: Cell<Option<Instant>>,
}

impl Budget {
    /// So many turns a second.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            apart: Duration::from_secs(1) / per_second.max(1),
            next: Cell::new(None),
        }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let turn = self.take(now);
        if turn > now {
            tokio::time::sleep_until(turn.into()).await;
        }
    }

    /// The moment of the next turn.
    fn take(&self, now: Instant) -> Instant {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let turn = self.next.get().map_or(earliest, |next| next.max(earliest));
        self.next.set(Some(turn + self.apart));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use std::time::{Duration, Instant};

    #[test]
    fn turns_are_so_many_a_second() {
        let budget = Budget::new(100);
        let start = Instant::now() + Duration::from_secs(60);
        let wait = |budget: &Budget, now: Instant| budget.take(now).saturating_duration_since(now).as_millis();
        // What was saved up, the one that is due, and then each 10 ms after the last.
        let waits: Vec<_> = (0..10).map(|_| wait(&budget, start)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 10, 20, 30, 40]);
        assert_eq!(wait(&budget, start + Duration::from_millis(45)), 5);
        assert_eq!(wait(&budget, start + Duration::from_secs(1)), 0);
        let all = (0..1000).map(|_| wait(&budget, start)).max();
        assert!(all > Some(9_000), "a clock that goes back makes nobody faster");
    }
}
