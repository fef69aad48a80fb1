//! How does a request of a log get through a plan?
//!
//! As a live one does: its path is brought into canonical form, the listener's table finds the route, and the route's limits are asked.
//! The time is that of the log, in nanoseconds since 1970, so that windows begin with whole minutes and hours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use isobar_balance::Moment;
use isobar_l7::trial::{self, Judgement};
use isobar_l7::{Limits, RunningLimit, Today};
use isobar_observe::recorded::Told;
use isobar_plan::{Action, Limit, LimitEnforcement, Listener, Plan, Route};
use isobar_route::{Canonical, HostPattern, RouteTable};

use crate::books::Books;
use crate::measure::{Measure, MeasureSettings};
use crate::origin::{Care, care};
use crate::recorded::{Asked, Defaults, Recorded, Subject, host};
use crate::report::{LimitReport, Moved, Report, RouteReport};
use crate::tally::{Decision, Hits, Tally};
use crate::timeline::Bucket;

/// Pairs of routes that requests went from and to, at most; the rest is summed up.
const MOST_MOVED: usize = 1_000;

/// How a plan is tried.
#[derive(Debug, Clone, Default)]
pub struct ReplaySettings {
    /// The listener of requests of which the log does not say it.
    pub listener: Option<Box<str>>,
    /// What holds where the log does not say it.
    pub defaults: Defaults,
    /// Which refusals count.
    pub enforce: Enforce,
    /// What is to be found out about how much keys ask; none: nothing.
    pub measure: Option<MeasureSettings>,
    /// Further limits, each of which is asked about every request that a route takes as if it were the only one.
    pub alone: Vec<Limit>,
}

/// Which refusals of limits count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Enforce {
    /// Those that the configuration says do.
    #[default]
    AsWritten,
    /// All of them, whatever it says of shadows, parts, ends and disarming.
    All,
}

/// Why a plan cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It has no listener of HTTP.
    #[error("the configuration has no listener of HTTP, and only those have limits on requests")]
    NoListener,
    /// It has no listener of this name.
    #[error("the configuration has no listener of HTTP named `{name}`; it has {known}")]
    UnknownListener {
        /// What was asked for.
        name: Box<str>,
        /// Those that there are.
        known: String,
    },
    /// Nobody knows which one requests came to.
    #[error("the log does not say to which listener requests came; choose with `--listener` among {0}")]
    WhichListener(String),
}

/// A listener, ready to run.
struct Site {
    listener: Listener,
    table: RouteTable,
    routes: Vec<Ways>,
    has_hosts: bool,
}

/// The limits of a route, as positions and as they are asked.
struct Ways {
    places: Vec<usize>,
    limits: Vec<Arc<RunningLimit>>,
    requests: u64,
    refused: u64,
}

/// What all limits together made of a request.
#[derive(Debug, Clone, Copy)]
struct Sums {
    refused: bool,
    shadow: bool,
    delayed: bool,
}

impl Sums {
    const fn of(judgement: &Judgement) -> Self {
        let refused = judgement.refused_by.is_some();
        Self {
            refused,
            shadow: judgement.shadow.is_some() && !refused,
            delayed: !judgement.delay.is_zero(),
        }
    }
}

/// A plan that requests of a log are taken through.
pub struct Replay {
    plan: Plan,
    settings: ReplaySettings,
    fallback: Option<usize>,
    limits: Vec<Arc<RunningLimit>>,
    sites: Vec<Site>,
    books: Books,
    judgement: Judgement,
    canonical: Vec<u8>,
    moved: HashMap<(Box<str>, Box<str>), u64>,
    measure: Option<Measure>,
    /// Those that are asked as if each were the only one, and what came of them.
    alone: Vec<(Arc<RunningLimit>, Tally)>,
    report: Report,
}

impl Replay {
    /// Makes a plan ready.
    ///
    /// *Errors*: it has no listener that requests could come to.
    pub fn new(mut plan: Plan, settings: ReplaySettings) -> Result<Self, ReplayError> {
        if settings.enforce == Enforce::All {
            for limit in &mut plan.limits {
                limit.enforcement = LimitEnforcement::FULL;
            }
        }
        let fallback = fallback(&plan, settings.listener.as_deref())?;
        Ok(Self {
            books: Books::of(plan.limits.len()),
            plan,
            settings,
            fallback,
            limits: Vec::new(),
            sites: Vec::new(),
            judgement: Judgement::default(),
            canonical: Vec::new(),
            moved: HashMap::new(),
            measure: None,
            alone: Vec::new(),
            report: Report::default(),
        })
    }

    /// Takes a request through the plan.
    ///
    /// *Errors*: nobody knows which listener it came to.
    pub fn take(&mut self, request: &Recorded) -> Result<(), ReplayError> {
        if self.sites.is_empty() {
            self.begin(request.at);
        }
        self.books.land(&self.limits, request.at);
        let Some(asked) = request.asked() else {
            self.report.not_understood += 1;
            return Ok(());
        };
        let site = self.site_of(request)?;
        self.report.requests += 1;
        let (first, last) = self.report.between.unwrap_or((request.at, request.at));
        self.report.between = Some((first.min(request.at), last.max(request.at)));
        let mut canonical = std::mem::take(&mut self.canonical);
        match isobar_route::canonical_target(asked.target, &mut canonical) {
            Ok(Canonical::Same) => self.route(site, request, &asked, asked.target),
            Ok(Canonical::Rewritten) => self.route(site, request, &asked, &canonical),
            Err(_) => self.report.bad_paths += 1,
        }
        self.canonical = canonical;
        Ok(())
    }

    /// Limits begin when the first request comes.
    fn begin(&mut self, at: u64) {
        let today = Today {
            now: Moment::new(at),
            wall: UNIX_EPOCH + Duration::from_nanos(at),
        };
        self.limits = Limits::default().next_at(&self.plan.limits, 1, today);
        let site = |listener: &Listener| Site {
            table: RouteTable::new(listener.routes.iter().map(|route| &route.rule)),
            routes: listener.routes.iter().map(|route| ways(route, &self.limits)).collect(),
            has_hosts: listener.routes.iter().any(|route| route.rule.host != HostPattern::Any),
            listener: listener.clone(),
        };
        self.sites = self.plan.listeners.iter().map(site).collect();
        let alone = Limits::default().next_at(&self.settings.alone, 1, today);
        self.alone = alone.into_iter().map(|limit| (limit, Tally::default())).collect();
        self.measure = self
            .settings
            .measure
            .as_ref()
            .map(|settings| Measure::new(settings, today));
    }

    fn site_of(&mut self, request: &Recorded) -> Result<usize, ReplayError> {
        if let Some(name) = request.listener() {
            let mut listeners = self.plan.listeners.iter();
            if let Some(index) = listeners.position(|listener| listener.name.as_bytes() == name) {
                return Ok(index);
            }
            self.report.other_listener += 1;
        }
        self.fallback
            .ok_or_else(|| ReplayError::WhichListener(names(&self.plan)))
    }

    /// Finds the request's route, and asks its limits.
    fn route(&mut self, site: usize, request: &Recorded, asked: &Asked<'_>, canonical: &[u8]) {
        let Some(site) = self.sites.get_mut(site) else {
            return;
        };
        let path = isobar_route::path_of(canonical);
        let host = host(request, asked, &self.settings.defaults);
        self.report.host_unknown += u64::from(site.has_hosts && host == Told::Unknown);
        let served = site.listener.redirect_to_tls.is_none();
        let found = site.table.find(host.value().unwrap_or_default(), path);
        let found = found.filter(|_| served);
        let route = found.and_then(|found| site.listener.routes.get(found));
        note_move(&mut self.moved, request, route);
        let ways = found.and_then(|found| site.routes.get_mut(found));
        let Some((route, ways)) = route.zip(ways) else {
            self.report.no_route += 1;
            return;
        };
        let address = request.client(&site.listener.forwarding);
        let subject = Subject {
            recorded: request,
            defaults: &self.settings.defaults,
            asked: *asked,
            canonical,
            address,
            listener: &site.listener.name,
            route: Some(&route.name),
            is_secured: site.listener.tls.is_some(),
        };
        let care = care(address, request.user_agent(), path);
        trial::judge(&ways.limits, &subject, Moment::new(request.at), &mut self.judgement);
        let sums = Sums::of(&self.judgement);
        ways.requests += 1;
        ways.refused += u64::from(sums.refused);
        let asked_of = ways.limits.iter().zip(ways.places.iter().copied());
        self.books.take_down(&self.judgement, asked_of, &subject, care);
        if let Some(measure) = &mut self.measure {
            measure.add(&subject, request.at);
        }
        ask_alone(&mut self.alone, &subject, care, &mut self.judgement);
        self.sum_up(request.at, care, sums);
    }

    /// Counts the request in the sums over all limits.
    fn sum_up(&mut self, at: u64, care: Option<Care>, sums: Sums) {
        let Sums {
            refused,
            shadow,
            delayed,
        } = sums;
        let report = &mut self.report;
        report.refused += u64::from(refused);
        report.shadow_refused += u64::from(shadow);
        report.delayed += u64::from(delayed);
        let one = Bucket {
            asked: 1,
            refused: u64::from(refused || shadow),
            delayed: u64::from(delayed),
        };
        report.timeline.add(at, one);
        if let Some(hits) = care.and_then(|care| report.cared_for.get_mut(care as usize)) {
            let Hits { asked, refused: over } = hits;
            *asked += 1;
            *over += u64::from(refused || shadow);
        }
    }

    /// What came of all requests.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let mut moved: Vec<Moved> = self
            .moved
            .drain()
            .map(|((from, to), requests)| Moved { from, to, requests })
            .collect();
        moved.sort_by(|one, other| (other.requests, &one.from, &one.to).cmp(&(one.requests, &other.from, &other.to)));
        self.report.moved = moved;
        for site in &self.sites {
            let upstream = |route: &Route| {
                let Action::Forward(upstream) = route.action;
                self.plan
                    .upstreams
                    .get(upstream.0)
                    .map(|upstream| upstream.name.clone())
            };
            let routes = site.listener.routes.iter().zip(&site.routes);
            self.report.routes.extend(routes.map(|(route, ways)| RouteReport {
                listener: site.listener.name.clone(),
                route: route.name.clone(),
                upstream: upstream(route).unwrap_or_else(|| "".into()),
                requests: ways.requests,
                refused: ways.refused,
            }));
        }
        let all = self.plan.limits.into_iter().zip(self.books.into_pages());
        self.report.limits = all
            .map(|(limit, (tally, lacking))| limit_report(limit, tally, lacking))
            .collect();
        self.report.measured = self.measure.map(Measure::finish).unwrap_or_default();
        let alone = self.alone.into_iter();
        let alone = alone.map(|(limit, tally)| limit_report(limit.settings().clone(), tally, Vec::new()));
        self.report.alone = alone.collect();
        self.report
    }
}

fn limit_report(limit: Limit, tally: Tally, lacking: Vec<String>) -> LimitReport {
    let (busiest, most_refused) = tally.keys.heaviest();
    LimitReport {
        limit,
        outcomes: tally.outcomes,
        not_asked: tally.not_asked,
        unjudged: tally.unjudged,
        lacking,
        busiest,
        most_refused,
        peaks: tally.keys.peaks(),
        timeline: tally.timeline,
        hits: tally.hits,
        refused_between: tally.refused_between,
        longest_delay: tally.longest_delay,
        disarmed: tally.disarmed,
    }
}

/// The limits of a route.
fn ways(route: &Route, all: &[Arc<RunningLimit>]) -> Ways {
    let place = |name| all.iter().position(|limit| limit.name() == name);
    let places: Vec<usize> = route.limits.iter().filter_map(place).collect();
    Ways {
        limits: { places.iter() }
            .filter_map(|place| all.get(*place))
            .map(Arc::clone)
            .collect(),
        places,
        requests: 0,
        refused: 0,
    }
}

/// The listener of requests of which the log does not say it.
fn fallback(plan: &Plan, asked: Option<&str>) -> Result<Option<usize>, ReplayError> {
    if plan.listeners.is_empty() {
        return Err(ReplayError::NoListener);
    }
    if let Some(name) = asked {
        let found = plan.listeners.iter().position(|listener| *listener.name == *name);
        return match found {
            Some(index) => Ok(Some(index)),
            None => Err(ReplayError::UnknownListener {
                name: name.into(),
                known: names(plan),
            }),
        };
    }
    // One that only sends clients on to TLS takes no requests.
    let serving = plan
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| listener.redirect_to_tls.is_none());
    let mut serving = serving.map(|(index, _)| index);
    let first = serving.next();
    Ok(first.filter(|_| serving.next().is_none()))
}

fn names(plan: &Plan) -> String {
    let names: Vec<String> = plan
        .listeners
        .iter()
        .map(|listener| format!("`{}`", listener.name))
        .collect();
    names.join(", ")
}

/// Takes down that another route takes a request than did.
fn note_move(moved: &mut HashMap<(Box<str>, Box<str>), u64>, request: &Recorded, route: Option<&Route>) {
    let Some(from) = request.route() else {
        return;
    };
    let to = route.map_or("", |route| &*route.name);
    if from == to.as_bytes() {
        return;
    }
    let from = String::from_utf8_lossy(from.get(..from.len().min(64)).unwrap_or_default());
    let mut pair: (Box<str>, Box<str>) = (from.into(), to.into());
    if moved.len() >= MOST_MOVED && !moved.contains_key(&pair) {
        pair.0 = "others".into();
    }
    *moved.entry(pair).or_insert(0) += 1;
}

/// Asks limits about the request each as if it were the only one.
fn ask_alone(
    alone: &mut [(Arc<RunningLimit>, Tally)],
    subject: &Subject<'_>,
    care: Option<Care>,
    judgement: &mut Judgement,
) {
    let at = subject.recorded.at;
    for (limit, tally) in alone {
        trial::judge(std::slice::from_ref(limit), subject, Moment::new(at), judgement);
        for decided in &judgement.limits {
            let decision = Decision {
                decided,
                care,
                delay: judgement.delay,
                at,
            };
            tally.add(limit, subject, &decision);
        }
    }
}
