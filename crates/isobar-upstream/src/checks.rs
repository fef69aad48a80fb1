//! What do the health checks say of one server?
//!
//! It does not know whether the server has an address, nor what follows from its health.

use std::sync::Arc;
use std::time::Duration;

use isobar_balance::{Health, HealthTracker};
use isobar_plan::{CheckHealth, HealthCheck, HealthState, Name};

use crate::{ProbeOutcome, Transition};

/// The health checks of one server and what they found.
#[derive(Debug)]
pub(crate) struct Checks(Vec<Check>);

#[derive(Debug)]
struct Check {
    settings: Arc<HealthCheck>,
    tracker: HealthTracker,
    /// What was wrong the last time; empty: nothing.
    reason: String,
    last_probe: Option<Duration>,
}

/// What a probe changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// What the check said of the server, and says.
    pub check: Transition,
    /// What the server was, and is; none: other checks decide that it stays as it is.
    pub server: Option<Transition>,
    /// Why, in words; names the check where there are several.
    pub reason: String,
}

impl Check {
    fn new(settings: &Arc<HealthCheck>) -> Self {
        Self {
            settings: Arc::clone(settings),
            tracker: HealthTracker::new(settings.rise, settings.fall),
            reason: String::new(),
            last_probe: None,
        }
    }
}

impl Checks {
    /// Checks that have found nothing yet.
    pub(crate) fn new(settings: &[Arc<HealthCheck>]) -> Self {
        Self(settings.iter().map(Check::new).collect())
    }

    /// What they say of the server together.
    pub(crate) fn health(&self) -> Health {
        Health::of_all(self.0.iter().map(|check| check.tracker.health()))
    }

    /// What each of them says.
    pub(crate) fn each(&self) -> Vec<CheckHealth> {
        let one = |check: &Check| CheckHealth {
            name: Name::clone(&check.settings.name),
            health: state_of(check.tracker.health()),
        };
        self.0.iter().map(one).collect()
    }

    /// What was wrong the last time, in words; empty: nothing.
    pub(crate) fn reason(&self) -> String {
        let failed = self.0.iter().filter(|check| !check.reason.is_empty());
        let reasons: Vec<String> = failed.map(|check| self.labelled(check, &check.reason)).collect();
        reasons.join("; ")
    }

    /// How long the last probe took; of several checks, that of the slowest.
    pub(crate) fn last_probe(&self) -> Option<Duration> {
        self.0.iter().filter_map(|check| check.last_probe).max()
    }

    /// Takes in how a probe went. The outcome of a check that is no longer wanted is left out.
    pub(crate) fn take(&mut self, of: &HealthCheck, outcome: ProbeOutcome) -> Option<Findings> {
        let before = self.health();
        let same = |check: &&mut Check| check.settings.name == of.name && check.settings.asks_the_same(of);
        let check = self.0.iter_mut().find(same)?;
        let good = outcome.result.is_ok();
        check.last_probe = Some(outcome.took);
        check.reason = outcome.result.err().unwrap_or_default();
        let (from, to) = check.tracker.probe(good)?;
        let reason = if good {
            "the probe succeeded".to_owned()
        } else {
            check.reason.clone()
        };
        let name = Name::clone(&check.settings.name);
        let after = self.health();
        Some(Findings {
            check: transition(from, to),
            server: (before != after).then(|| transition(before, after)),
            reason: self.named(&name, &reason),
        })
    }

    /// Takes other checks. One that asks what an old one asked goes on from what that found, whatever it is called and
    /// however often it asks.
    pub(crate) fn reconfigure(&mut self, settings: &[Arc<HealthCheck>]) {
        let mut old = std::mem::take(&mut self.0);
        for new in settings {
            let named = |check: &Check| check.settings.name == new.name && check.settings.asks_the_same(new);
            let same = |check: &Check| check.settings.asks_the_same(new);
            let known = old.iter().position(named).or_else(|| old.iter().position(same));
            self.0.push(match known {
                Some(at) => {
                    let mut check = old.swap_remove(at);
                    check.tracker.reconfigure(new.rise, new.fall);
                    check.settings = Arc::clone(new);
                    check
                }
                None => Check::new(new),
            });
        }
    }

    fn labelled(&self, check: &Check, reason: &str) -> String {
        self.named(&check.settings.name, reason)
    }

    fn named(&self, check: &Name, reason: &str) -> String {
        if self.0.len() > 1 {
            format!("check {check}: {reason}")
        } else {
            reason.to_owned()
        }
    }
}

fn transition(from: Health, to: Health) -> Transition {
    Transition {
        from: state_of(from),
        to: state_of(to),
    }
}

pub(crate) fn state_of(health: Health) -> HealthState {
    match health {
        Health::Unknown => HealthState::Unknown,
        Health::Healthy => HealthState::Healthy,
        Health::Unhealthy => HealthState::Unhealthy,
    }
}

#[cfg(test)]
mod tests {
    use isobar_plan::HealthProbe;

    use super::*;

    fn check(name: &str, port: u16) -> Arc<HealthCheck> {
        Arc::new(HealthCheck {
            proxy_protocol: None,
            name: name.into(),
            port: Some(port),
            tls: None,
            probe: HealthProbe::Tcp(Vec::new()),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 2,
        })
    }

    /// Probes are written as the check's letter and how they went: `a+ b-`.
    fn run(checks: &mut Checks, settings: &[Arc<HealthCheck>], probes: &str) -> Vec<String> {
        let mut told = Vec::new();
        for probe in probes.split_whitespace() {
            let (name, sign) = probe.split_at(1);
            let of = settings.iter().find(|check| *check.name == *name).unwrap();
            let result = if sign == "+" { Ok(()) } else { Err("refused".to_owned()) };
            let took = Duration::from_millis(1);
            let findings = checks.take(of, ProbeOutcome { result, took });
            told.extend(findings.map(|found| format!("{:?} {}", found.server.map(|server| server.to), found.reason)));
        }
        told
    }

    #[test]
    fn all_checks_have_to_pass_and_the_one_that_failed_is_named() {
        let settings = [check("a", 1), check("b", 2)];
        let mut checks = Checks::new(&settings);
        assert_eq!(run(&mut checks, &settings, "a+"), ["None check a: the probe succeeded"]);
        assert_eq!(checks.health(), Health::Unknown);
        let told = run(&mut checks, &settings, "b+");
        assert_eq!(told, ["Some(Healthy) check b: the probe succeeded"]);
        let told = run(&mut checks, &settings, "b- a+ b-");
        assert_eq!(told, ["Some(Unhealthy) check b: refused"]);
        assert_eq!(checks.reason(), "check b: refused");
        assert_eq!(run(&mut checks, &settings, "a- a-"), ["None check a: refused"]);
        assert_eq!(checks.reason(), "check a: refused; check b: refused");
        let told = run(&mut checks, &settings, "b+ b+ a+ a+");
        assert_eq!(
            told,
            [
                "None check b: the probe succeeded",
                "Some(Healthy) check a: the probe succeeded"
            ]
        );
    }

    #[test]
    fn a_changed_check_starts_anew_and_leaves_the_others() {
        let old = [check("a", 1), check("b", 2)];
        let mut checks = Checks::new(&old);
        run(&mut checks, &old, "a- b+");
        let new = [check("b", 3), check("a", 1), check("c", 4)];
        checks.reconfigure(&new);
        assert_eq!(checks.health(), Health::Unhealthy);
        let each: Vec<_> = checks.each().into_iter().map(|check| check.health).collect();
        assert_eq!(
            each,
            [HealthState::Unknown, HealthState::Unhealthy, HealthState::Unknown]
        );
        // The answer to what is no longer asked comes late.
        assert_eq!(run(&mut checks, &old, "b-"), [""; 0]);
        // Another name for the same question.
        checks.reconfigure(&[check("renamed", 1)]);
        assert_eq!(
            (checks.health(), checks.reason()),
            (Health::Unhealthy, "refused".to_owned())
        );
        checks.reconfigure(&[]);
        assert_eq!((checks.health(), checks.reason()), (Health::Unknown, String::new()));
    }
}
