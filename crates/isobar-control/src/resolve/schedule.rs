//! Which name is asked for when, and what do the answers change?
//!
//! A state machine: outcomes and `now` go in, facts come out, and [`Schedule::poll_timeout`] says when it wants to be
//! driven again. It knows no DNS, no socket and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest time for which an answer is believed, whatever its TTL.
const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest one.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between failures.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The addresses, in any order.
    pub(super) addresses: Vec<IpAddr>,
    /// How long the answer may be believed.
    pub(super) ttl: Duration,
}

/// What an outcome changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Nothing anybody needs to hear of.
    Nothing,
    /// The name stands for other addresses than before.
    Resolved,
    /// The name resolves again, to the addresses it had.
    Recovered,
    /// The name does not resolve, and never did: the addresses are unknown.
    Unresolved,
    /// The name does not resolve any more; the old addresses stay.
    Stale,
}

/// The names that are followed, and what is known of each.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    addresses: Option<Vec<IpAddr>>,
    error: Option<String>,
    failures: u32,
    next: Next,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    At(Instant),
    Asking,
}

impl Schedule {
    /// Follows these names too; new ones are due at once.
    pub(super) fn follow(&mut self, names: impl IntoIterator<Item = Arc<str>>, now: Instant) {
        for name in names {
            let new = || Entry {
                addresses: None,
                error: None,
                failures: 0,
                next: Next::At(now),
            };
            self.entries.entry(name).or_insert_with(new);
        }
    }

    /// Follows no others than these.
    pub(super) fn retain(&mut self, names: &BTreeSet<Arc<str>>) {
        self.entries.retain(|name, _| names.contains(name));
    }

    /// The name that is due the longest; it counts as being asked for until its outcome is handled.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Arc<str>> {
        let due = |entry: &Entry| match entry.next {
            Next::At(at) if at <= now => Some(at),
            _ => None,
        };
        let (_, name) = self
            .entries
            .iter()
            .filter_map(|(name, entry)| Some((due(entry)?, name)))
            .min()?;
        let name = Arc::clone(name);
        self.entries.get_mut(&name)?.next = Next::Asking;
        Some(name)
    }

    /// When the next name is due; none: not before something is handled.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter_map(|entry| match entry.next {
                Next::At(at) => Some(at),
                Next::Asking => None,
            })
            .min()
    }

    /// Takes in how asking for a name ended. A name that is followed no more changes nothing.
    pub(super) fn handle_outcome(&mut self, name: &str, outcome: Result<Answer, String>, now: Instant) -> Fact {
        let Some(entry) = self.entries.get_mut(name) else {
            return Fact::Nothing;
        };
        match outcome {
            Ok(answer) if !answer.addresses.is_empty() => entry.succeed(answer, now),
            Ok(_) => entry.fail("the name has no addresses".to_owned(), now),
            Err(error) => entry.fail(error, now),
        }
    }

    /// What is known of a name: its addresses, sorted and each once, or why there are none. None: nothing yet.
    pub(super) fn known(&self, name: &str) -> Option<Result<&[IpAddr], &str>> {
        let entry = self.entries.get(name)?;
        match (&entry.addresses, &entry.error) {
            (Some(addresses), _) => Some(Ok(addresses)),
            (None, Some(error)) => Some(Err(error)),
            (None, None) => None,
        }
    }

    /// The last failure of a name, while it lasts.
    pub(super) fn error(&self, name: &str) -> Option<&str> {
        self.entries.get(name)?.error.as_deref()
    }
}

impl Entry {
    fn succeed(&mut self, answer: Answer, now: Instant) -> Fact {
        let mut addresses = answer.addresses;
        addresses.sort_unstable();
        addresses.dedup();
        self.next = Next::At(now + answer.ttl.clamp(MIN_TTL, MAX_TTL));
        self.failures = 0;
        let failed_before = self.error.take().is_some();
        if self.addresses.as_ref() != Some(&addresses) {
            self.addresses = Some(addresses);
            return Fact::Resolved;
        }
        if failed_before { Fact::Recovered } else { Fact::Nothing }
    }

    fn fail(&mut self, error: String, now: Instant) -> Fact {
        // 2^5 s is past the longest pause already, so the shift never overflows.
        let pause = (FIRST_PAUSE * (1 << self.failures.min(5))).min(MAX_PAUSE);
        self.next = Next::At(now + pause);
        self.failures = self.failures.saturating_add(1);
        if self.error.as_ref() == Some(&error) {
            return Fact::Nothing;
        }
        self.error = Some(error);
        if self.addresses.is_some() {
            Fact::Stale
        } else {
            Fact::Unresolved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(names: &[&str], now: Instant) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.follow(names.iter().map(|&name| name.into()), now);
        schedule
    }

    fn answer(addresses: &[&str], ttl_s: u64) -> Result<Answer, String> {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Ok(Answer {
            addresses,
            ttl: Duration::from_secs(ttl_s),
        })
    }

    fn seconds(schedule: &Schedule, now: Instant) -> u64 {
        schedule.poll_timeout().unwrap().duration_since(now).as_secs()
    }

    #[test]
    fn an_answer_is_believed_for_its_ttl_within_bounds() {
        let check = |ttl, expected| {
            let now = Instant::now();
            let mut schedule = followed(&["a"], now);
            assert_eq!(schedule.take_due(now).as_deref(), Some("a"));
            assert_eq!(schedule.poll_timeout(), None, "a name being asked for is not due");
            assert_eq!(
                schedule.handle_outcome("a", answer(&["10.0.0.1"], ttl), now),
                Fact::Resolved
            );
            assert_eq!(seconds(&schedule, now), expected);
        };
        check(0, 1);
        check(1, 1);
        check(60, 60);
        check(86_400, 3600);
    }

    #[test]
    fn addresses_are_sorted_and_only_a_change_is_a_fact() {
        let now = Instant::now();
        let mut schedule = followed(&["a"], now);
        let mut check = |addresses: &[&str], expected| {
            assert_eq!(
                schedule.handle_outcome("a", answer(addresses, 5), now),
                expected,
                "{addresses:?}"
            );
        };
        check(&["10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"], Fact::Resolved);
        check(&["::1", "10.0.0.1", "10.0.0.2"], Fact::Nothing);
        check(&["10.0.0.1"], Fact::Resolved);
        assert_eq!(schedule.known("a"), Some(Ok(&["10.0.0.1".parse().unwrap()][..])));
    }

    #[test]
    fn failures_back_off_and_are_told_once() {
        let now = Instant::now();
        let mut schedule = followed(&["a"], now);
        let mut pauses = Vec::new();
        let mut facts = Vec::new();
        for _ in 0..8 {
            facts.push(schedule.handle_outcome("a", Err("timed out".into()), now));
            pauses.push(seconds(&schedule, now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(facts[0], Fact::Unresolved);
        assert!(facts[1..].iter().all(|fact| *fact == Fact::Nothing));
        assert_eq!(
            schedule.handle_outcome("a", Err("no such name".into()), now),
            Fact::Unresolved
        );
        assert_eq!(
            schedule.handle_outcome("a", answer(&["10.0.0.1"], 60), now),
            Fact::Resolved
        );
        schedule.handle_outcome("a", Err("timed out".into()), now);
        assert_eq!(seconds(&schedule, now), 1, "a success resets the pause");
    }

    #[test]
    fn old_addresses_stay_when_the_name_fails() {
        let now = Instant::now();
        let mut schedule = followed(&["a"], now);
        schedule.handle_outcome("a", answer(&["10.0.0.1"], 60), now);
        assert_eq!(
            schedule.handle_outcome("a", Err("no such name".into()), now),
            Fact::Stale
        );
        assert_eq!(
            schedule.handle_outcome("a", answer(&[], 60), now),
            Fact::Stale,
            "no address is a failure"
        );
        assert!(schedule.known("a").unwrap().is_ok());
        assert_eq!(
            schedule.handle_outcome("a", answer(&["10.0.0.1"], 60), now),
            Fact::Recovered
        );
    }

    #[test]
    fn names_that_are_gone_are_neither_due_nor_known() {
        let now = Instant::now();
        let mut schedule = followed(&["a", "b"], now);
        assert_eq!(schedule.take_due(now).as_deref(), Some("a"));
        schedule.retain(&BTreeSet::from(["b".into()]));
        assert_eq!(
            schedule.handle_outcome("a", answer(&["10.0.0.1"], 60), now),
            Fact::Nothing
        );
        assert_eq!(schedule.known("a"), None);
        assert_eq!(schedule.take_due(now).as_deref(), Some("b"));
        assert_eq!(schedule.take_due(now), None);
    }

    #[test]
    fn the_longest_due_comes_first() {
        let now = Instant::now();
        let mut schedule = followed(&["a", "b"], now);
        schedule.handle_outcome("a", answer(&["10.0.0.1"], 20), now);
        schedule.handle_outcome("b", answer(&["10.0.0.1"], 10), now);
        assert_eq!(schedule.take_due(now + Duration::from_secs(9)), None);
        let later = now + Duration::from_secs(60);
        assert_eq!(schedule.take_due(later).as_deref(), Some("b"));
        assert_eq!(schedule.take_due(later).as_deref(), Some("a"));
    }
}
