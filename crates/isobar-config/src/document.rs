//! What may people write?
//!
//! One declaration for each section, with its keys, defaults and help texts; everything else about a setting is made
//! from that. A document holds what was written, each value valid by itself; whether the values fit together is
//! the bridge's question ([`crate::compile`]).

mod alpn;
mod fair;
mod forward;
mod hash;
mod header;
mod health;
mod http2;
mod keepalive;
mod limit;
mod listener;
mod logging;
mod outliers;
mod overload;
mod placement;
mod proxy_protocol;
mod reports;
mod retry;
mod route;
mod sticky;
mod store;
mod tls;
mod udp;
mod upstream;
mod word;

pub use crate::setting::{Named, OneOrMore, OrNone, Whole};
pub use alpn::AlpnProtocol;
pub use fair::FairShare;
pub use forward::{
    Domain, ForwardNames, ForwardParent, ForwardProxy, ForwardRule, ForwardTimeouts, ForwardUserLimits, NameServer,
    Pac, PacPath, Ports,
};
pub use hash::HashPart;
pub use header::{HeaderChanges, HeaderName, HeaderValue};
pub use health::{
    BodyExpectation, CaFile, Expectation, HealthCheck, HealthChecks, HealthKind, HealthMethod, HealthPath, HostField,
    ServiceName, TcpStep, Text, Verify,
};
pub use http2::{Http2, Http2Budgets};
pub use keepalive::TcpKeepalive;
pub use limit::{
    Limit, LimitAlgorithm, LimitCost, LimitGuard, LimitKeyPart, LimitOverride, LimitSettle, OverrideKey, OverridesFile,
    Remark,
};
pub use listener::{ClientTimeouts, Listener, ListenerLimits, Protocol};
pub use logging::{AccessLog, LogFormat, LogPath};
pub use outliers::{
    Ejection, FailurePercentage, LatencyOutliers, OutlierDetection, OutlierRules, SimpleOutliers, SuccessRate,
};
pub use overload::{AdaptiveConcurrency, Queue, UpstreamLimits};
pub use placement::{Compared, Instance, Locality, Panic, SlowStart, Spread, Subset};
pub use proxy_protocol::ProxyProtocol;
pub use reports::{LoadProbe, Orca, Prequal, Reports};
pub use retry::{Backoff, Condition, Conditions, Hedge, HedgeAfter, Kept, Retry, RetryBudget, RouteRetry};
pub use route::{Match, Route, RouteTimeouts};
pub use sticky::{CookieDomain, CookieName, CookiePath, SameSite, SecretFile, Sticky};
pub use store::{SharedThrough, Store, StoreMode, StorePrefix, StoreTls};
pub use tls::{Certificate, ClientCertificates, Hsts, ListenerTls, TlsRedirect, UpstreamTls};
pub use udp::{QuicIds, UdpFlows};
pub use upstream::{KeepAlive, Server, ServerTimeouts, Upstream};
pub use word::Label;

use crate::setting::section::settings;
use crate::units::{ListenAddress, Span};

settings! {
    /// Everything one instance is asked to do.
    pub struct Document called "a configuration" {
        /// Where clients come in. There must be at least one.
        listeners: Vec<Listener>,
        /// Where requests go: sets of servers by name.
        upstreams: Named<Label, Upstream>,
        /// Limits on requests by name, which routes and listeners name.
        limits: Named<Label, Limit>,
        /// What instances share limits through, by name.
        stores: Named<Label, Store>,
        /// Where finished requests are written down; `none`: nowhere.
        access_log: OrNone<AccessLog>,
        /// The listener for operators, with health endpoints and metrics; `none`: there is none.
        admin: OrNone<Admin>,
        /// Where this instance is, such as a data centre's zone; servers that are there too are preferred. Without it,
        /// zones do not matter.
        zone: Option<Label>,
        /// Which of several instances this one is, for upstreams of which each uses a `subset`; `none`: nobody asks.
        instance: OrNone<Instance>,
        /// How long connections may finish their work after SIGTERM, or after their listener is gone.
        drain_timeout: Span = Span::seconds(30),
    }
}

settings! {
    /// The listener for operators, with health endpoints and metrics. Whoever reaches it can read them: keep it on
    /// an address of its own.
    pub struct Admin called "the admin listener" {
        /// The address it listens on.
        address: ListenAddress,
    }
}
