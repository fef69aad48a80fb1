//! What is written down about every limit while requests go by?

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use isobar_balance::Moment;
use isobar_l7::RunningLimit;
use isobar_l7::trial::{Came, Carried, Judgement, Taken};
use isobar_limit::Key;

use crate::origin::Care;
use crate::recorded::{Lacking, Subject};
use crate::suggestion::part_name;
use crate::tally::{Decision, Tally};

/// Requests in flight at most; past that, the one that ends next counts as ended.
const MOST_IN_FLIGHT: usize = 1 << 20;

/// A request in flight.
#[derive(Debug, Clone, Copy)]
struct Flight {
    /// When it ends, in nanoseconds since 1970.
    end: u64,
    limit: usize,
    /// What it has of the limit; none: it was refused.
    taken: Option<Taken>,
    key: Key,
    carried: Carried,
    /// What it takes beside what it took when it began.
    owed: i64,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    /// The one that ends first is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.end.cmp(&self.end)
    }
}

/// The books of all limits, by their position in the plan.
#[derive(Debug)]
pub(crate) struct Books {
    tallies: Vec<Tally>,
    /// What the log does not say that a limit goes by.
    lacking: Vec<Vec<String>>,
    in_flight: BinaryHeap<Flight>,
}

impl Books {
    /// Those of so many limits.
    pub(crate) fn of(limits: usize) -> Self {
        Self {
            tallies: (0..limits).map(|_| Tally::default()).collect(),
            lacking: vec![Vec::new(); limits],
            in_flight: BinaryHeap::new(),
        }
    }

    /// Ends what ended until now.
    pub(crate) fn land(&mut self, limits: &[Arc<RunningLimit>], now: u64) {
        while let Some(flight) = self.in_flight.peek().copied()
            && (flight.end <= now || self.in_flight.len() > MOST_IN_FLIGHT)
        {
            self.in_flight.pop();
            if let (Some(limit), Some(tally)) = (limits.get(flight.limit), self.tallies.get_mut(flight.limit)) {
                if let Some(taken) = &flight.taken {
                    limit.end(taken, flight.carried, Moment::new(flight.end));
                }
                tally
                    .keys
                    .end(limit.settings().counting.kind, flight.key, (flight.owed, flight.end));
            }
        }
    }

    /// Writes down what the limits of a request made of it; each comes with its position.
    pub(crate) fn take_down<'l>(
        &mut self,
        judgement: &Judgement,
        limits: impl Iterator<Item = (&'l Arc<RunningLimit>, usize)>,
        subject: &Subject<'_>,
        care: Option<Care>,
    ) {
        let request = subject.recorded;
        for (decided, (limit, place)) in judgement.limits.iter().zip(limits) {
            let (Some(tally), Some(lacking)) = (self.tallies.get_mut(place), self.lacking.get_mut(place)) else {
                continue;
            };
            let decision = Decision {
                decided,
                care,
                delay: judgement.delay,
                at: request.at,
            };
            tally.add(limit, subject, &decision);
            let counting = &limit.settings().counting;
            if decided.came == Came::Unjudged {
                subject.lacking(counting).for_each(|unknown| match unknown {
                    Lacking::Part(part) => add_once(lacking, &part_name(&part)),
                    Lacking::Column(name) => add_once(lacking, name),
                });
            }
            let Some(counted) = decided.counted else {
                continue;
            };
            let carried = request.carried();
            if let Some(owed) = limit.owed(counted.cost, carried) {
                // Where nobody knows how long it took, it ends at once.
                let took = request.took.unwrap_or_default().as_nanos();
                self.in_flight.push(Flight {
                    end: request.at.saturating_add(u64::try_from(took).unwrap_or(0)),
                    limit: place,
                    taken: decided.taken,
                    key: counted.key,
                    carried,
                    owed,
                });
            }
        }
    }

    /// What came of each limit, and what the log does not say that it goes by.
    pub(crate) fn into_pages(self) -> impl Iterator<Item = (Tally, Vec<String>)> {
        self.tallies.into_iter().zip(self.lacking)
    }
}

fn add_once(lacking: &mut Vec<String>, name: &str) {
    if !lacking.iter().any(|known| known == name) {
        lacking.push(name.to_owned());
    }
}
