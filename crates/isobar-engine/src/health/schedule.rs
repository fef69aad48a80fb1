//! When is a server probed, and what follows from the answer?

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_balance::Chance;
use isobar_plan::{Event, HealthState};
use isobar_upstream::{Findings, ProbeOutcome, Server, Transition, Upstream};
use tokio::sync::Semaphore;

use super::any;
use super::news::News;
use super::probe::{self, Question};

/// How often a server whose name does not resolve is looked at.
const UNRESOLVED_PAUSE: Duration = Duration::from_millis(50);

/// The probes of one server by one check.
pub(super) struct Schedule {
    pub(super) upstream: Arc<Upstream>,
    pub(super) server: Arc<Server>,
    pub(super) question: Question,
    /// Bounds the probes that are under way.
    pub(super) room: Rc<Semaphore>,
    pub(super) news: News,
}

impl Schedule {
    /// Probes after the delay, then at the interval, for ever.
    pub(super) async fn run(self, delay: Duration) {
        let mut chance = Chance::new(self.seed());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        loop {
            // A name that is not resolved yet says nothing about its server; without an address it gets no requests.
            while self.server.addresses().is_empty() {
                tokio::time::sleep(UNRESOLVED_PAUSE).await;
            }
            let began = {
                // The semaphore is never closed.
                let _room = self.room.acquire().await;
                let began = Instant::now();
                let result = self.probe().await;
                let good = result.is_ok().then_some(began);
                self.take(ProbeOutcome {
                    result,
                    took: began.elapsed(),
                });
                if self.server.recovers(good, &self.question.check) {
                    self.upstream.ring();
                }
                began
            };
            let interval = jittered(self.question.check.interval, &mut chance);
            tokio::time::sleep_until((began + interval).into()).await;
        }
    }

    fn seed(&self) -> u64 {
        let names = self.server.name().bytes().chain(self.question.check.name.bytes());
        names.fold(1, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()))
    }

    async fn probe(&self) -> Result<(), String> {
        let addresses = self.server.addresses();
        if addresses.is_empty() {
            // The resolver has said why.
            return Err("its name does not resolve".to_owned());
        }
        let ask = |address, progress| probe::run(self.question.clone(), address, progress);
        any::any(&addresses, self.question.check.timeout, ask).await
    }

    fn take(&self, outcome: ProbeOutcome) {
        if let Some(Findings { check, server, reason }) = self.server.probed(&self.question.check, outcome) {
            match server {
                Some(transition) => self.tell(transition, reason),
                None => self.tell_of_check(check, reason),
            }
        }
    }

    fn tell(&self, transition: Transition, reason: String) {
        let event = Event::Health {
            upstream: self.upstream.name().clone(),
            server: self.server.name().clone(),
            from: transition.from,
            to: transition.to,
            reason,
        };
        self.news.changed(&self.upstream, transition, event);
    }

    /// Tells what one of several checks says, unless it only says that what nobody doubted is well.
    fn tell_of_check(&self, transition: Transition, reason: String) {
        if (transition.from, transition.to) == (HealthState::Unknown, HealthState::Healthy) {
            return;
        }
        self.news.tell(Event::Check {
            upstream: self.upstream.name().clone(),
            server: self.server.name().clone(),
            check: self.question.check.name.clone(),
            from: transition.from,
            to: transition.to,
            reason,
        });
    }
}

/// The interval, moved by up to a tenth either way, so that many instances do not probe in step.
fn jittered(interval: Duration, chance: &mut Chance) -> Duration {
    let tenth = u64::try_from(interval.as_millis() / 10).unwrap_or(u64::MAX / 4);
    let moved = chance.below(tenth * 2 + 1);
    interval - Duration::from_millis(tenth) + Duration::from_millis(moved)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isobar_balance::Chance;

    use super::jittered;

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut chance = Chance::new(7);
        for interval in [1, 10, 200, 10_000] {
            let interval = Duration::from_millis(interval);
            let all: Vec<_> = (0..1000).map(|_| jittered(interval, &mut chance)).collect();
            assert!(
                all.iter().all(|d| *d >= interval * 9 / 10 && *d <= interval * 11 / 10),
                "{interval:?}"
            );
            assert!(
                interval < Duration::from_millis(100) || all.iter().any(|d| *d != all[0]),
                "{interval:?}"
            );
        }
    }
}
