//! Do the values of a document fit together, and what do they ask of the data plane?
//!
//! The one way from [`Document`] to [`Plan`]. Every section is taken apart without `..`, so that a key which is
//! declared but forgotten here does not compile. What does not fit is reported with the path of the setting; the plan
//! is only used when nothing was an error.

mod certificates;
mod clash;
pub(crate) mod fair;
mod forward;
mod header;
mod health;
mod http2;
mod idle;
mod keepalive;
pub(crate) mod limit;
mod listener;
pub(crate) mod names;
mod outliers;
mod overload;
mod passthrough;
mod placement;
mod reports;
mod retry;
mod route;
mod sticky;
mod store;
mod subset;
mod tcp;
mod tls;
mod udp;
mod upstream;

use std::collections::HashMap;

pub(crate) use forward::rule_names as forward_rule_names;
pub(crate) use health::{Securing, default_expect, kind as health_kind, securing};
pub(crate) use listener::everything_to;
pub(crate) use outliers::{detection as outlier_detection, warn_of_few_servers};
pub(crate) use overload::adaptive as adaptive_concurrency;
pub(crate) use placement::{balance, default_choices};
pub(crate) use reports::fill_in as fill_in_reports;
pub(crate) use retry::{budget as retry_budget, effective_conditions, effective_retry};
pub(crate) use route::effective_timeouts;
pub(crate) use sticky::fill_in as fill_sticky;
pub(crate) use upstream::key_parts;

use isobar_plan::{LogDestination, LogFormat, Plan, Priority, UpstreamId};

use crate::document::{self, AccessLog, Admin, Document, Label, Named, OrNone};
use crate::problem::{Path, Problem, Problems};

/// What became of a document.
pub(crate) struct Bridged {
    /// The plan; valid when there was no error.
    pub(crate) plan: Plan,
    /// What does not fit together.
    pub(crate) problems: Problems,
    /// Upstreams no route leads to; worth saying only where no route was unreadable.
    pub(crate) unused: Problems,
}

/// Turns a document into a plan.
pub(crate) fn bridge(document: &Document) -> Bridged {
    let Document {
        listeners,
        upstreams,
        limits,
        stores,
        access_log,
        admin,
        zone: _,
        instance: _,
        drain_timeout,
    } = document;
    let mut bridge = Bridge::to(upstreams, limits);
    clash::check(listeners, admin.0.as_ref(), &mut bridge.problems);
    let here = placement::Here::of(document, &mut bridge.problems);
    idle::check(document, &mut bridge.problems);
    tcp::check_upstreams(document, &mut bridge.problems);
    udp::check_upstreams(document, &mut bridge.problems);
    let listener::Listeners {
        http,
        tcp,
        udp,
        forward,
    } = listener::listeners(listeners, &mut bridge);
    let plan_stores = store::stores(stores, &mut bridge.problems);
    let mut plan_limits = limit::limits(limits, &mut bridge.problems);
    let used_stores = store::share((limits, &mut plan_limits), &plan_stores, &mut bridge.problems);
    let plan = Plan {
        listeners: http,
        tcp,
        udp,
        forward,
        upstreams: upstream::upstreams(upstreams, here, &mut bridge.problems),
        limits: plan_limits,
        stores: plan_stores,
        access_log: self::access_log(access_log),
        admin: self::admin(admin, &mut bridge.problems),
        drain_timeout: drain_timeout.duration(),
    };
    let mut unused = bridge.unused();
    store::unused(stores, &used_stores, &mut unused);
    Bridged {
        plan,
        unused,
        problems: bridge.problems,
    }
}

/// What the sections of a document share while they become parts of a plan.
struct Bridge<'d> {
    problems: Problems,
    upstreams: &'d Named<Label, document::Upstream>,
    ids: HashMap<&'d str, UpstreamId>,
    /// Which upstreams a route leads to.
    used: Vec<bool>,
    limits: &'d Named<Label, document::Limit>,
    /// Which limits are named.
    used_limits: Vec<bool>,
    /// Those that hold for all routes of the listener whose routes are looked at.
    shared_limits: &'d [Label],
    /// The priority of the listener whose routes are looked at.
    priority: Priority,
}

impl<'d> Bridge<'d> {
    fn to(upstreams: &'d Named<Label, document::Upstream>, limits: &'d Named<Label, document::Limit>) -> Self {
        let mut ids = HashMap::with_capacity(upstreams.0.len());
        for (index, (name, _)) in upstreams.iter().enumerate() {
            ids.entry(name.as_str()).or_insert(UpstreamId(index));
        }
        Self {
            problems: Problems::default(),
            upstreams,
            ids,
            priority: Priority::Normal,
            used: vec![false; upstreams.0.len()],
            limits,
            used_limits: vec![false; limits.0.len()],
            shared_limits: &[],
        }
    }

    /// The upstream of a name, which counts as used from now on; reports one that does not exist.
    fn upstream(&mut self, name: &Label, at: Path<'_>) -> Option<(UpstreamId, &'d document::Upstream)> {
        let id = self.ids.get(name.as_str()).copied();
        let Some((id, (_, upstream))) = id.and_then(|id| Some((id, self.upstreams.0.get(id.0)?))) else {
            let problem = self.no_upstream(name, at);
            self.problems.push(problem);
            return None;
        };
        if let Some(used) = self.used.get_mut(id.0) {
            *used = true;
        }
        Some((id, upstream))
    }

    fn no_upstream(&self, name: &Label, at: Path<'_>) -> Problem {
        let problem = Problem::error(at, format!("there is no upstream `{name}`"));
        let problem = problem.needs(Path::ROOT.key("upstreams"));
        if !self.problems.deserve_help() {
            return problem;
        }
        if self.upstreams.0.is_empty() {
            return problem.help(format!("upstreams: {{ {name}: {{ servers: [127.0.0.1:9001] }} }}"));
        }
        let names = self.upstreams.iter().map(|(name, _)| name.as_str());
        problem.help(crate::setting::help_for_word(name.as_str(), "upstreams", names))
    }

    fn unused(&self) -> Problems {
        let mut problems = Problems::default();
        let root = Path::ROOT.key("upstreams");
        for ((name, _), _) in self.upstreams.iter().zip(&self.used).filter(|(_, used)| !**used) {
            let problem = Problem::warning(
                root.key(name.as_str()),
                format!("no route leads to the upstream `{name}`"),
            );
            problems.push(problem.on_key());
        }
        self.unused_limits(&mut problems);
        problems
    }
}

fn access_log(log: &OrNone<AccessLog>) -> Option<isobar_plan::AccessLog> {
    let AccessLog { path, format, queue } = log.0.as_ref()?;
    Some(isobar_plan::AccessLog {
        destination: match path {
            document::LogPath::Stdout => LogDestination::Stdout,
            document::LogPath::File(path) => LogDestination::File(path.clone()),
        },
        format: match format {
            document::LogFormat::Json => LogFormat::Json,
            document::LogFormat::Combined => LogFormat::Combined,
            document::LogFormat::Template(template) => LogFormat::Template(template.clone()),
        },
        queue: queue.value(),
    })
}

fn admin(admin: &OrNone<Admin>, problems: &mut Problems) -> Option<isobar_plan::Admin> {
    let Admin { address } = admin.0.as_ref()?;
    if !address.0.ip().to_canonical().is_loopback() {
        let root = Path::ROOT.key("admin");
        let message = "the admin listener can be reached from other machines, and asks nobody who they are";
        let help = format!(
            "use `127.0.0.1:{}`, or see that only operators reach it",
            address.0.port()
        );
        problems.push(Problem::warning(root.key("address"), message).help(help));
    }
    Some(isobar_plan::Admin { address: address.0 })
}
