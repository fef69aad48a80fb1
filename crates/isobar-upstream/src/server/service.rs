//! Is a server in service, as far as an operator and its own answers say?
//!
//! What an operator says holds for as long as the server stays, until the configuration's own word for it changes. Who
//! is ejected is decided elsewhere; this is where it is written down.

use std::net::SocketAddr;
use std::time::Instant;

use isobar_plan::{EjectionCounts, EjectionStatus, HealthCheck, HealthProbe, Name, Reason, ServiceState};

use super::Server;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Service {
    /// What the configuration says.
    configured: ServiceState,
    state: ServiceState,
    /// Who said so; none: the configuration.
    by: Option<SocketAddr>,
    ejection: Option<Ejection>,
    ejections: EjectionCounts,
}

/// An ejection that goes on.
#[derive(Debug, Clone)]
struct Ejection {
    reason: Reason,
    since: Instant,
    until: Instant,
    /// Good probes in a row that began since, by check.
    good_probes: Vec<(Name, u32)>,
    /// Whether these were enough.
    is_recovered: bool,
}

impl Service {
    pub(super) const fn new(configured: ServiceState) -> Self {
        Self {
            configured,
            state: configured,
            by: None,
            ejection: None,
            ejections: [0; Reason::WORDS.len()],
        }
    }

    /// Whether it may be given requests.
    pub(super) fn serves(&self) -> bool {
        self.is_enabled() && self.ejection.is_none()
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.state == ServiceState::Enabled
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejection.is_some()
    }

    pub(super) fn state(&self) -> ServiceState {
        self.state
    }

    pub(super) fn state_by(&self) -> Option<SocketAddr> {
        self.by
    }

    pub(super) fn ejection(&self) -> Option<EjectionStatus> {
        let status = |ejection: &Ejection| EjectionStatus {
            reason: ejection.reason,
            left: ejection.until.saturating_duration_since(Instant::now()),
        };
        self.ejection.as_ref().map(status)
    }

    pub(super) fn ejections(&self) -> EjectionCounts {
        self.ejections
    }

    /// Takes in what the configuration says; true: that is another word than before, and what an operator said is over.
    pub(super) fn reconfigure(&mut self, configured: ServiceState) -> bool {
        let is_new = self.configured != configured;
        if is_new {
            (self.configured, self.state, self.by) = (configured, configured, None);
        }
        is_new
    }

    /// Takes in when a good probe began, or none for a bad one; true when a server that is ejected has passed enough.
    fn probed(&mut self, good: Option<Instant>, check: &HealthCheck) -> bool {
        let Some(ejection) = &mut self.ejection else {
            return false;
        };
        // That it takes connections says nothing of a server that takes them and fails.
        let says_enough = match &check.probe {
            HealthProbe::Tcp(steps) => {
                ejection.reason.is_unreachable() || steps.iter().any(|step| !step.expect.is_empty())
            }
            HealthProbe::Udp(probe) => ejection.reason.is_unreachable() || probe.expect.is_some(),
            HealthProbe::Http(_) | HealthProbe::Grpc { .. } => true,
        };
        if !says_enough {
            return ejection.is_recovered;
        }
        let known = ejection.good_probes.iter().position(|(name, _)| *name == check.name);
        let row = known.unwrap_or_else(|| {
            ejection.good_probes.push((check.name.clone(), 0));
            ejection.good_probes.len() - 1
        });
        if let Some((_, row)) = ejection.good_probes.get_mut(row) {
            *row = match good.is_some_and(|began| began >= ejection.since) {
                true => row.saturating_add(1),
                false => 0,
            };
            ejection.is_recovered |= *row >= check.rise;
        }
        ejection.is_recovered
    }
}

impl Server {
    /// Takes in what an operator wants of it; what it was before. To be followed by
    /// [`Upstream::refresh`](crate::Upstream::refresh).
    pub fn order(&self, state: ServiceState, by: SocketAddr) -> ServiceState {
        let mut record = self.record();
        let before = std::mem::replace(&mut record.service.state, state);
        if before != state {
            record.service.by = Some(by);
        }
        self.settle(&mut record);
        before
    }

    /// It is ejected for a reason until then. To be followed by [`Upstream::refresh`](crate::Upstream::refresh).
    pub fn eject(&self, reason: Reason, now: Instant, until: Instant) {
        let mut record = self.record();
        if let Some(count) = record.service.ejections.get_mut(reason.index()) {
            *count += 1;
        }
        record.service.ejection = Some(Ejection {
            reason,
            since: now,
            until,
            good_probes: Vec::new(),
            is_recovered: false,
        });
        self.settle(&mut record);
    }

    /// Its ejection is over; when that was to be, or none where it was not ejected. To be followed by
    /// [`Upstream::refresh`](crate::Upstream::refresh).
    pub fn return_to_service(&self) -> Option<Instant> {
        let mut record = self.record();
        let ejection = record.service.ejection.take()?;
        self.settle(&mut record);
        Some(ejection.until)
    }

    /// Takes in for an ejection when a good probe began, or none for a bad one: it is over after as many good ones in a
    /// row as bring an unhealthy server back. True when that is so, which is to be followed by
    /// [`Upstream::ring`](crate::Upstream::ring).
    pub fn recovers(&self, good: Option<Instant>, check: &HealthCheck) -> bool {
        let mut record = self.record();
        let is_healthy = record.is_healthy();
        record.service.probed(good.filter(|_| is_healthy), check)
    }

    /// Whether enough of its probes have passed since it was ejected.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.record()
            .service
            .ejection
            .as_ref()
            .is_some_and(|ejection| ejection.is_recovered)
    }

    /// Whether it gets no requests for other reasons than an ejection.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let record = self.record();
        !record.is_healthy() || !record.service.is_enabled() || self.addresses().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isobar_plan::TcpStep;

    use super::*;

    fn service() -> Service {
        Service::new(ServiceState::Enabled)
    }

    #[test]
    fn an_operators_word_holds_until_the_configurations_changes() {
        let mut service = service();
        service.state = ServiceState::Drain;
        assert!(!service.reconfigure(ServiceState::Enabled) && !service.serves());
        assert!(service.reconfigure(ServiceState::Disabled));
        assert_eq!((service.state(), service.serves()), (ServiceState::Disabled, false));
        assert!(service.reconfigure(ServiceState::Enabled) && service.serves());
    }

    #[test]
    fn probes_end_an_ejection_that_they_can_speak_to() {
        let grpc = || HealthProbe::Grpc {
            service: "".into(),
            host: None,
        };
        let says = |expect: &[u8]| {
            HealthProbe::Tcp(vec![TcpStep {
                send: b"PING".as_slice().into(),
                expect: expect.into(),
            }])
        };
        let asking = |probe, rise| HealthCheck {
            proxy_protocol: None,
            name: "check".into(),
            port: None,
            tls: None,
            probe,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise,
            fall: 3,
        };
        let check = |probe, rise, reason, probes: &[(i64, bool)], expected: bool| {
            let mut service = service();
            let since = Instant::now() + Duration::from_secs(100);
            service.ejection = Some(Ejection {
                reason,
                since,
                until: since + Duration::from_secs(30),
                good_probes: Vec::new(),
                is_recovered: false,
            });
            let check = asking(probe, rise);
            let at = |seconds: i64| match u64::try_from(seconds) {
                Ok(after) => since + Duration::from_secs(after),
                Err(_) => since - Duration::from_secs(seconds.unsigned_abs()),
            };
            let last = probes.iter().fold(false, |_, &(seconds, is_good)| {
                service.probed(is_good.then(|| at(seconds)), &check)
            });
            assert_eq!(last, expected, "{reason} {probes:?}");
        };
        let errors = Reason::ConsecutiveErrors(5);
        check(grpc(), 1, errors, &[(1, true)], true);
        check(grpc(), 2, errors, &[(1, true)], false);
        check(grpc(), 2, errors, &[(1, true), (2, true)], true);
        check(grpc(), 2, errors, &[(1, true), (2, false), (3, true)], false);
        check(grpc(), 1, errors, &[(-1, true)], false);
        let unreachable = Reason::ConsecutiveUnreachable(5);
        check(HealthProbe::Tcp(Vec::new()), 1, errors, &[(1, true), (2, true)], false);
        check(HealthProbe::Tcp(Vec::new()), 1, unreachable, &[(1, true)], true);
        check(says(b""), 1, errors, &[(1, true)], false);
        check(says(b"PONG"), 1, errors, &[(1, true)], true);
        // Each check counts for itself, and what says nothing does not count.
        let mut service = service();
        let since = Instant::now();
        service.ejection = Some(Ejection {
            reason: errors,
            since,
            until: since + Duration::from_secs(30),
            good_probes: Vec::new(),
            is_recovered: false,
        });
        let named = |name: &str, probe| HealthCheck {
            proxy_protocol: None,
            name: name.into(),
            ..asking(probe, 2)
        };
        let [silent, one, other] = [
            named("silent", HealthProbe::Tcp(Vec::new())),
            named("one", grpc()),
            named("other", grpc()),
        ];
        for check in [&silent, &silent, &one, &other, &silent] {
            assert!(!service.probed(Some(since), check), "{}", check.name);
        }
        assert!(service.probed(Some(since), &one));
        assert!(
            !Service::new(ServiceState::Enabled).probed(Some(Instant::now()), &asking(HealthProbe::Tcp(Vec::new()), 1)),
            "who is not ejected does not recover"
        );
    }
}
