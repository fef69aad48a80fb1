//! Which servers are out for how they answer?
//!
//! One task an upstream, on the thread of the probes. It sleeps until its detector has something to do, or until it is
//! called: by a failure that is one too many, by a change of the upstream, by probes that passed. What a server did and
//! whether it is out stays for as long as the server and its upstream do, whatever else a reload changes. Requests never
//! wait for it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_balance::{Chance, Change, Ejection, OutlierDetector};
use isobar_plan::{Comeback, Event, OutlierSettings, ServiceChange};
use isobar_upstream::{Members, Server, Upstream, hash, moment};

use crate::EventSink;

/// Judges the servers of an upstream, for ever.
pub(crate) async fn judge(upstream: Arc<Upstream>, events: EventSink) {
    Detection::of(&upstream, &events).run().await;
}

/// The servers of one upstream, and what they are judged by.
struct Detection {
    upstream: Arc<Upstream>,
    events: EventSink,
    chance: Chance,
    /// None: nobody is ejected.
    current: Option<Current>,
}

struct Current {
    rules: OutlierSettings,
    detector: OutlierDetector,
    /// Those that are followed.
    servers: Box<[Arc<Server>]>,
}

impl Detection {
    fn of(upstream: &Arc<Upstream>, events: &EventSink) -> Self {
        // By the clock, so that several instances do not take their servers back in step.
        let seed = hash(upstream.name().as_bytes(), moment(Instant::now()).nanoseconds());
        Self {
            upstream: Arc::clone(upstream),
            events: Arc::clone(events),
            chance: Chance::new(seed),
            current: None,
        }
    }

    async fn run(mut self) {
        loop {
            let next = self.judge(Instant::now());
            let rung = poll_fn(|cx| self.upstream.poll_rung(cx));
            match next {
                // Called or not, it looks.
                Some(pause) => drop(tokio::time::timeout(pause, rung).await),
                None => rung.await,
            }
        }
    }

    /// Looks at everything that may have changed; how long until the next look is due, none: until it is called.
    fn judge(&mut self, now: Instant) -> Option<Duration> {
        let members = self.upstream.members();
        let news = match members.outliers {
            Some(rules) => current(&mut self.current, rules, &members, now).judge(&members, now, &mut self.chance),
            None => self.current.take().map(Current::end).unwrap_or_default(),
        };
        if !news.is_empty() {
            self.upstream.refresh();
        }
        for (server, change) in news {
            (self.events)(Event::Service {
                upstream: self.upstream.name().clone(),
                server: server.name().clone(),
                change,
            });
        }
        let due = self.current.as_ref()?.detector.poll_timeout()?;
        Some(Duration::from_nanos(due.since(moment(Instant::now()))))
    }
}

/// The detector, brought up to date with rules and servers.
fn current<'c>(
    known: &'c mut Option<Current>,
    rules: OutlierSettings,
    members: &Members,
    now: Instant,
) -> &'c mut Current {
    let current = known.get_or_insert_with(|| Current {
        rules,
        detector: OutlierDetector::new(rules, moment(now)),
        servers: Box::default(),
    });
    if current.rules != rules {
        current.rules = rules;
        current.detector.reconfigure(rules, moment(now));
    }
    let is_same = |(left, right): (&Arc<Server>, &Arc<Server>)| Arc::ptr_eq(left, right);
    let same_servers =
        current.servers.len() == members.servers.len() && current.servers.iter().zip(&members.servers).all(is_same);
    if !same_servers {
        current.servers.clone_from(&members.servers);
        let conducts = members.servers.iter().map(|server| Arc::clone(server.conduct()));
        current.detector.follow(conducts);
    }
    current
}

/// What happened to which server.
type News = Vec<(Arc<Server>, ServiceChange)>;

impl Current {
    /// Has the detector look at everything, and tells the servers what follows.
    fn judge(&mut self, members: &Members, now: Instant, chance: &mut Chance) -> News {
        let with_settings = self.servers.iter().zip(&members.settings.servers).enumerate();
        let missing: Vec<usize> = with_settings
            .filter(|(_, (server, settings))| settings.weight == 0 || server.is_missing())
            .map(|(slot, _)| slot)
            .collect();
        self.detector.missing(&missing);
        let recovered =
            (0..self.servers.len()).filter(|slot| self.servers.get(*slot).is_some_and(|s| s.is_recovered()));
        let recovered: Vec<Change> = recovered.filter_map(|slot| self.detector.probe_passed(slot)).collect();
        let mut news = News::new();
        news.extend(recovered.into_iter().filter_map(|change| self.take_in(change, now)));
        let changes = self.detector.evaluate(moment(now), chance);
        news.extend(changes.into_iter().filter_map(|change| self.take_in(change, now)));
        news
    }

    fn take_in(&self, change: Change, now: Instant) -> Option<(Arc<Server>, ServiceChange)> {
        let server = self.servers.get(change.server)?;
        let told = match change.what {
            Ejection::Ejected { until, reason } => {
                let lasts = Duration::from_nanos(until.since(moment(now)));
                server.eject(reason, now, now + lasts);
                ServiceChange::Ejected { reason, lasts }
            }
            Ejection::Returned => {
                let is_recovered = server.is_recovered();
                ServiceChange::Returned(match server.return_to_service() {
                    _ if is_recovered => Comeback::ProbesPassed,
                    Some(until) if until > now => Comeback::NobodyElse,
                    _ => Comeback::TimeOver,
                })
            }
        };
        Some((Arc::clone(server), told))
    }

    /// Takes everybody back: nobody is judged any more.
    fn end(mut self) -> News {
        self.detector.follow([]);
        let returned = self
            .servers
            .iter()
            .filter(|server| server.return_to_service().is_some());
        let told = |server| (Arc::clone(server), ServiceChange::Returned(Comeback::DetectionOff));
        returned.map(told).collect()
    }
}
