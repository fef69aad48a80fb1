//! What is a listener, whatever is spoken there?

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use isobar_l7::OpenConnections;
use isobar_net::stream::Stream;
use isobar_observe::{ListenerStats, RouteStats};
use isobar_plan::Name;
use isobar_upstream::Sharded;

/// The rules of one listener.
#[derive(Debug, Clone)]
pub(crate) enum Site {
    Http(Arc<isobar_l7::Site>),
    /// One of HTTP over TLS, some of whose connections are passed on.
    Divided(Arc<isobar_l7::Site>, Arc<isobar_l4::Site>),
    Tcp(Arc<isobar_l4::Site>),
    Udp(Arc<isobar_l4::UdpSite>),
    Forward(Arc<isobar_forward::Site>),
}

/// Who serves the connections of one worker thread.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) http: Rc<isobar_l7::Worker>,
    pub(crate) tcp: Rc<isobar_l4::Worker>,
    pub(crate) forward: Rc<isobar_forward::Worker>,
}

impl Site {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::Http(site) | Self::Divided(site, _) => &site.listener.name,
            Self::Tcp(site) => &site.listener.name,
            Self::Udp(site) => &site.listener.name,
            Self::Forward(site) => &site.listener.name,
        }
    }

    pub(crate) fn max_connections(&self) -> u32 {
        match self {
            Self::Http(site) | Self::Divided(site, _) => site.listener.limits.max_connections,
            Self::Tcp(site) => site.listener.limits.max_connections,
            Self::Udp(site) => site.listener.flows.max_flows,
            Self::Forward(site) => site.listener.limits.max_connections,
        }
    }

    pub(crate) fn backlog(&self) -> u32 {
        match self {
            Self::Http(site) | Self::Divided(site, _) => site.listener.limits.backlog,
            Self::Tcp(site) => site.listener.limits.backlog,
            Self::Udp(_) => 0,
            Self::Forward(site) => site.listener.limits.backlog,
        }
    }

    pub(crate) fn open(&self) -> &Arc<OpenConnections> {
        match self {
            Self::Http(site) | Self::Divided(site, _) => &site.open,
            Self::Tcp(site) => &site.open,
            Self::Udp(site) => &site.open,
            Self::Forward(site) => &site.open,
        }
    }

    pub(crate) fn stats(&self) -> &Arc<Sharded<ListenerStats>> {
        match self {
            Self::Http(site) | Self::Divided(site, _) => &site.stats,
            Self::Tcp(site) => &site.stats,
            Self::Udp(site) => &site.stats,
            Self::Forward(site) => &site.stats,
        }
    }

    /// The names of its routes, with what is counted of each.
    pub(crate) fn routes(&self) -> Vec<(&Name, &Sharded<RouteStats>)> {
        match self {
            Self::Http(site) => site.routes().map(|(route, of)| (&route.name, &*of.stats)).collect(),
            Self::Divided(site, passed_on) => {
                let decrypted = site.routes().map(|(route, of)| (&route.name, &*of.stats));
                let passed_on = passed_on.routes().map(|(route, of)| (&route.name, &*of.stats));
                passed_on.chain(decrypted).collect()
            }
            Self::Tcp(site) => site.routes().map(|(route, of)| (&route.name, &*of.stats)).collect(),
            Self::Udp(site) => vec![(&site.listener.route.name, &*site.route.stats)],
            Self::Forward(site) => site.rules().collect(),
        }
    }
}

impl Servers {
    /// Serves a connection on this thread, which is counted already.
    pub(crate) fn serve(&self, stream: Stream, peer: SocketAddr, site: Site) {
        match site {
            Site::Http(site) => {
                let accepted = isobar_l7::Accepted { stream, peer, site };
                tokio::task::spawn_local(isobar_l7::serve(Rc::clone(&self.http), accepted));
            }
            Site::Divided(site, passed_on) => {
                let http = Rc::clone(&self.http);
                let accepted = isobar_l4::Accepted {
                    stream,
                    peer,
                    site: passed_on,
                };
                let divided = isobar_l4::divide(Rc::clone(&self.tcp), accepted);
                tokio::task::spawn_local(async move {
                    if let Some(left) = divided.await {
                        // A task of its own: one that waits for requests is no larger than it would be otherwise.
                        tokio::task::spawn_local(isobar_l7::serve_left(http, site, *left));
                    }
                });
            }
            Site::Tcp(site) => {
                let accepted = isobar_l4::Accepted { stream, peer, site };
                tokio::task::spawn_local(isobar_l4::serve(Rc::clone(&self.tcp), accepted));
            }
            // Nobody accepts connections for it.
            Site::Udp(_) => {}
            Site::Forward(site) => {
                let accepted = isobar_forward::Accepted { stream, peer, site };
                tokio::task::spawn_local(isobar_forward::serve(Rc::clone(&self.forward), accepted));
            }
        }
    }

    /// Starts what goes on as long as the thread.
    pub(crate) fn start(&self) {
        let (wheel, http, tcp) = (self.http.wheel().clone(), Rc::clone(&self.http), Rc::clone(&self.tcp));
        let forward = Rc::clone(&self.forward);
        tokio::task::spawn_local(async move { wheel.drive().await });
        tokio::task::spawn_local(async move { http.chores().await });
        tokio::task::spawn_local(async move { tcp.chores().await });
        tokio::task::spawn_local(async move { forward.chores().await });
    }

    /// A world was published.
    pub(crate) fn look_up(&self) {
        self.http.look_up();
        self.tcp.look_up();
        self.forward.look_up();
    }

    /// Nothing more is accepted, and what there is finishes. Connections of TCP do so by themselves.
    pub(crate) fn drain(&self) {
        self.http.drain();
        self.forward.drain();
    }

    /// The time to finish is over.
    pub(crate) fn cut(&self) {
        self.http.cut();
        self.tcp.cut();
        self.forward.cut();
    }

    /// Hands over the log lines that wait.
    pub(crate) fn flush(&self) {
        self.http.flush();
        self.tcp.flush();
        self.forward.flush();
    }
}
