//! Does an upstream that goes by reports have any? Says so when that changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_plan::Event;
use isobar_upstream::{Upstream, moment};

use crate::EventSink;

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks in a row at which choices were made without reports, after which this is said.
const PATIENCE: u32 = 3;

/// Looks at an upstream, for ever.
pub(super) async fn watch(upstream: Arc<Upstream>, events: EventSink) {
    let mut seen = Seen::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let members = upstream.members();
        let informed = members.group.is_informed(moment(Instant::now()));
        if let Some(informed) = informed.and_then(|informed| seen.look(informed, upstream.fallback_picks())) {
            events(Event::Reports {
                upstream: Arc::clone(upstream.name()),
                informed,
            });
        }
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    /// What was said last.
    said: Option<bool>,
    fallback_picks: u64,
    /// Looks in a row without reports.
    without: u32,
}

impl Seen {
    /// Looks; whether there are reports, if that is to be said. An upstream without requests has none, which is nothing
    /// to say.
    fn look(&mut self, informed: bool, fallback_picks: u64) -> Option<bool> {
        let guessed = std::mem::replace(&mut self.fallback_picks, fallback_picks) != fallback_picks;
        if informed {
            self.without = 0;
        } else if guessed {
            self.without += 1;
        }
        let news = match (informed, self.without) {
            (true, _) => true,
            (false, PATIENCE..) => false,
            (false, _) => return None,
        };
        (self.said.replace(news) != Some(news)).then_some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn changes_are_said_once() {
        let mut seen = Seen::default();
        let mut check =
            |informed, picks, expected| assert_eq!(seen.look(informed, picks), expected, "{informed} {picks}");
        check(false, 0, None);
        check(false, 5, None);
        check(false, 9, None);
        check(false, 12, Some(false));
        check(false, 15, None);
        check(true, 15, Some(true));
        check(true, 15, None);
        // Nobody asks for anything: reports grow old, and nobody misses them.
        (0..9).for_each(|_| check(false, 15, None));
        // Few requests, each of which brings a report.
        for picks in 16..20 {
            check(false, picks, None);
            check(true, picks, None);
        }
    }
}
