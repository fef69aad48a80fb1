//! How does a plan become a world that keeps what the plan does not change?

use std::collections::HashMap;
use std::sync::Arc;

use isobar_forward::Standing;
use isobar_l4::throttle::Metering;
use isobar_l4::udp::ServerIds;
use isobar_l7::{
    FairKeys, Limits, LogHandle, OpenConnections, RunningLimit, ServerTls, Site, SiteParts, SiteRoute, SiteTls, World,
};
use isobar_observe::{ListenerStats, RouteStats};
use isobar_plan::{
    AccessLog, Action, ForwardProxy, Listener, Name, Plan, Route, ServerAddress, TcpListener, UdpListener, UpstreamId,
};
use isobar_share::Store;
use isobar_upstream::{Sharded, Upstream};

use crate::certificates::Securing;
use crate::log_writer::LogWriter;
use crate::names::Names;
use crate::server_tls::SecuringServers;
use crate::{ApplyError, EventSink};

/// A plan that is ready to run.
pub(crate) struct Worlds {
    pub(crate) http: World,
    pub(crate) tcp: isobar_l4::World,
    pub(crate) forward: isobar_forward::World,
}

/// What outlives plans, by name.
pub(crate) struct Registry {
    workers: usize,
    listeners: HashMap<Name, Kept>,
    upstreams: HashMap<Name, Arc<Upstream>>,
    log: Option<Log>,
    limits: Limits,
    names: Names,
    securing: Securing,
    securing_servers: SecuringServers,
    /// Listeners that are gone, for as long as they have connections.
    leaving: Vec<Arc<OpenConnections>>,
}

/// What is kept of a listener.
struct Kept {
    stats: Arc<Sharded<ListenerStats>>,
    open: Arc<OpenConnections>,
    ids: Arc<ServerIds>,
    routes: HashMap<Name, Arc<Sharded<RouteStats>>>,
    /// What a forward proxy knows of names and users.
    standing: Option<Standing>,
}

/// With whom requests share an upstream; none: with nobody.
type Fair = Option<Arc<FairKeys>>;

/// The access log in use.
struct Log {
    settings: AccessLog,
    handle: Arc<LogHandle>,
    writer: Arc<LogWriter>,
}

impl Registry {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            listeners: HashMap::new(),
            upstreams: HashMap::new(),
            log: None,
            limits: Limits::default(),
            names: Names::default(),
            securing: Securing::default(),
            securing_servers: SecuringServers::default(),
            leaving: Vec::new(),
        }
    }

    /// Makes a plan ready to run.
    ///
    /// *Errors*: the access log cannot be had, or a listener cannot be secured; nothing has changed.
    pub(crate) fn assemble(
        &mut self,
        (plan, stores): (&Plan, Vec<Arc<Store>>),
        generation: u64,
        events: &EventSink,
    ) -> Result<Worlds, ApplyError> {
        let prepared = self.securing.prepare(plan)?;
        self.settle_log(plan.access_log.as_ref(), events)?;
        let secured = self.securing.settle(prepared, events);
        let server_tls = self.securing_servers.next(plan, events);
        let upstreams: Vec<_> = plan.upstreams.iter().map(|settings| self.upstream(settings)).collect();
        let limits = self.limits.next((&plan.limits, &stores), self.workers);
        let fair = plan.upstreams.iter().map(|settings| settings.fair_share.as_deref());
        let fair: Vec<Fair> = fair.map(|fair| Some(Arc::new(FairKeys::new(fair?)))).collect();
        let sites = plan
            .listeners
            .iter()
            .zip(secured)
            .map(|(listener, tls)| Arc::new(self.site((listener, tls), (&upstreams, &server_tls, &fair), &limits)))
            .collect();
        let tcp = plan.tcp.iter();
        let tcp = tcp
            .map(|listener| Arc::new(self.tcp_site(listener, &upstreams, &limits)))
            .collect();
        // Those that pass nothing on as well: connections that were passed on by an earlier plan find their listener there.
        let divided = plan.listeners.iter().filter(|listener| listener.tls.is_some());
        let divided = divided
            .map(|listener| Arc::new(self.tcp_site(&listener.divided(), &upstreams, &limits)))
            .collect();
        let udp = plan.udp.iter();
        let udp = udp
            .map(|listener| Arc::new(self.udp_site(listener, &upstreams)))
            .collect();
        let forward = plan.forward.iter();
        let forward = forward
            .map(|listener| Arc::new(self.forward_site(listener, &limits)))
            .collect();
        self.forget(plan);
        let log = self.log.as_ref().map(|log| Arc::clone(&log.handle));
        Ok(Worlds {
            tcp: isobar_l4::World {
                generation,
                sites: tcp,
                divided,
                udp,
                drain_timeout: plan.drain_timeout,
                log: log.clone(),
            },
            forward: isobar_forward::World {
                generation,
                sites: forward,
                drain_timeout: plan.drain_timeout,
                log: log.clone(),
            },
            http: World {
                generation,
                sites,
                upstreams,
                server_tls,
                limits,
                stores,
                log,
            },
        })
    }

    /// What is known of the names of servers.
    pub(crate) fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    /// What secures the listeners.
    pub(crate) fn securing(&self) -> &Securing {
        &self.securing
    }

    /// What secures the connections to servers.
    pub(crate) fn securing_servers(&self) -> &SecuringServers {
        &self.securing_servers
    }

    /// The writer of the access log.
    pub(crate) fn log(&self) -> Option<&LogWriter> {
        self.log.as_ref().map(|log| &*log.writer)
    }

    pub(crate) fn reopen_log(&self) {
        if let Some(log) = self.log() {
            log.reopen();
        }
    }

    /// Writes what is left, and ends the writer.
    pub(crate) fn close_log(&mut self) {
        if let Some(log) = self.log.take() {
            log.writer.close();
        }
    }

    pub(crate) fn open_connections(&self) -> u32 {
        let leaving = self.leaving.iter().map(|open| open.total());
        self.listeners
            .values()
            .map(|kept| kept.open.total())
            .chain(leaving)
            .sum()
    }

    fn settle_log(&mut self, wanted: Option<&AccessLog>, events: &EventSink) -> Result<(), ApplyError> {
        if self.log.as_ref().map(|log| &log.settings) == wanted {
            return Ok(());
        }
        let log = match wanted {
            None => None,
            Some(settings) => {
                let writer = LogWriter::open(settings, Arc::clone(events))?;
                let template = crate::log_writer::template(&settings.format).map_err(ApplyError::Template)?;
                let sink = Arc::clone(&writer);
                let handle = Arc::new(LogHandle { template, sink });
                Some(Log {
                    settings: settings.clone(),
                    handle,
                    writer,
                })
            }
        };
        // The old writer ends when the last worker has handed over its lines and let go of the old world.
        self.log = log;
        Ok(())
    }

    fn upstream(&mut self, settings: &isobar_plan::Upstream) -> Arc<Upstream> {
        let known = |address: &ServerAddress| self.names.resolution(address);
        if let Some(same) = self.upstreams.get(&settings.name) {
            if same.members().settings != *settings {
                same.reconfigure_knowing(settings.clone(), known);
            }
            return Arc::clone(same);
        }
        let upstream = Arc::new(Upstream::knowing(settings.clone(), self.workers, known));
        self.upstreams.insert(settings.name.clone(), Arc::clone(&upstream));
        upstream
    }

    fn site(
        &mut self,
        (listener, tls): (&Listener, Option<SiteTls>),
        (upstreams, server_tls, fair): (&[Arc<Upstream>], &[Option<ServerTls>], &[Fair]),
        limits: &[Arc<RunningLimit>],
    ) -> Site {
        let workers = self.workers;
        let kept = self.kept(&listener.name);
        let mut parts = |route: &Route| {
            let Action::Forward(UpstreamId(upstream)) = route.action;
            SiteRoute {
                stats: kept.route(&route.name, workers),
                upstream: Arc::clone(&upstreams[upstream]),
                tls: server_tls[upstream].clone(),
                limits: named(limits, &route.limits),
                fair: fair[upstream].clone(),
            }
        };
        let routes = listener.routes.iter().map(&mut parts).collect();
        let (stats, open) = (Arc::clone(&kept.stats), Arc::clone(&kept.open));
        Site::new(SiteParts {
            listener: listener.clone(),
            stats,
            open,
            tls,
            routes,
        })
    }

    fn tcp_site(
        &mut self,
        listener: &TcpListener,
        upstreams: &[Arc<Upstream>],
        limits: &[Arc<RunningLimit>],
    ) -> isobar_l4::Site {
        let workers = self.workers;
        let kept = self.kept(&listener.name);
        let routes = listener.routes.iter().map(|route| isobar_l4::SiteRoute {
            stats: kept.route(&route.name, workers),
            upstream: Arc::clone(&upstreams[route.upstream.0]),
            metering: metering(limits, &route.limits),
        });
        isobar_l4::Site {
            routes: routes.collect(),
            listener: listener.clone(),
            stats: Arc::clone(&kept.stats),
            open: Arc::clone(&kept.open),
        }
    }

    fn udp_site(&mut self, listener: &UdpListener, upstreams: &[Arc<Upstream>]) -> isobar_l4::UdpSite {
        let workers = self.workers;
        let kept = self.kept(&listener.name);
        isobar_l4::UdpSite {
            route: isobar_l4::SiteRoute {
                stats: kept.route(&listener.route.name, workers),
                upstream: Arc::clone(&upstreams[listener.route.upstream.0]),
                metering: Box::default(),
            },
            listener: listener.clone(),
            stats: Arc::clone(&kept.stats),
            open: Arc::clone(&kept.open),
            ids: Arc::clone(&kept.ids),
        }
    }

    fn forward_site(&mut self, listener: &ForwardProxy, limits: &[Arc<RunningLimit>]) -> isobar_forward::Site {
        let workers = self.workers;
        let kept = self.kept(&listener.name);
        let standing = Standing::next(kept.standing.as_ref(), listener);
        kept.standing = Some(standing.clone());
        let rules = listener.rule_names.iter().map(|name| kept.route(name, workers));
        isobar_forward::Site {
            rules: rules.collect(),
            listener: listener.clone(),
            stats: Arc::clone(&kept.stats),
            open: Arc::clone(&kept.open),
            metering: metering(limits, &listener.byte_limits),
            standing,
        }
    }

    fn kept(&mut self, listener: &Name) -> &mut Kept {
        let workers = self.workers;
        self.listeners.entry(listener.clone()).or_insert_with(|| Kept {
            stats: Arc::new(Sharded::new(workers)),
            open: Arc::new(OpenConnections::new(workers)),
            ids: Arc::default(),
            routes: HashMap::new(),
            standing: None,
        })
    }

    /// Lets go of what the plan no longer names.
    fn forget(&mut self, plan: &Plan) {
        let leaving = &mut self.leaving;
        leaving.retain(|open| open.total() > 0);
        self.listeners.retain(|name, kept| match routes(plan, name) {
            Some(routes) => {
                kept.routes.retain(|name, _| routes.contains(&name));
                true
            }
            None => {
                leaving.push(Arc::clone(&kept.open));
                false
            }
        });
        self.upstreams
            .retain(|name, _| plan.upstreams.iter().any(|upstream| upstream.name == *name));
    }
}

impl Kept {
    fn route(&mut self, name: &Name, workers: usize) -> Arc<Sharded<RouteStats>> {
        let known = self.routes.entry(name.clone());
        Arc::clone(known.or_insert_with(|| Arc::new(Sharded::new(workers))))
    }
}

/// The limits of these names, in their order.
fn named(limits: &[Arc<RunningLimit>], names: &[Name]) -> Box<[Arc<RunningLimit>]> {
    let limit = |name: &Name| limits.iter().find(|limit| limit.name() == name).map(Arc::clone);
    names.iter().filter_map(limit).collect()
}

/// The same for bytes of connections.
fn metering(limits: &[Arc<RunningLimit>], names: &[Name]) -> Box<[Arc<dyn Metering>]> {
    let limits = named(limits, names).into_iter();
    limits.map(|limit| limit as Arc<dyn Metering>).collect()
}

/// The names of a listener's routes; none: there is no such listener.
fn routes<'p>(plan: &'p Plan, listener: &Name) -> Option<Vec<&'p Name>> {
    let http = plan.listeners.iter().find(|other| other.name == *listener);
    let tcp = plan.tcp.iter().find(|other| other.name == *listener);
    let udp = plan.udp.iter().find(|other| other.name == *listener);
    let forward = plan.forward.iter().find(|other| other.name == *listener);
    let http = http.map(|http| {
        let passed_on = http.passthrough.iter().map(|route| &route.name);
        passed_on.chain(http.routes.iter().map(|route| &route.name)).collect()
    });
    let tcp = || tcp.map(|tcp| tcp.routes.iter().map(|route| &route.name).collect());
    let udp = || udp.map(|udp| vec![&udp.route.name]);
    let forward = || forward.map(|forward| forward.rule_names.iter().collect());
    http.or_else(tcp).or_else(udp).or_else(forward)
}
