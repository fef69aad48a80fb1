//! What does an upstream ask of the data plane?

use std::collections::HashMap;
use std::sync::Arc;

use isobar_balance::Balance;
use isobar_plan::{GradientRules, HealthCheck, IdleTimeouts, Outliers, ServiceState, Timeouts};

use super::placement::{self, Here};
use super::tls::to_servers;
use super::{fair, health, http2, names, outliers, overload, reports, retry, subset};
use crate::document::{
    HashPart, KeepAlive, Label, Named, OneOrMore, OrNone, OutlierDetection, Server, ServerTimeouts, Sticky, Upstream,
};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;
use crate::units::Span;

pub(super) fn upstreams(
    written: &Named<Label, Upstream>,
    here: Here<'_>,
    problems: &mut Problems,
) -> Vec<isobar_plan::Upstream> {
    let root = Path::ROOT.key("upstreams");
    let mut first: HashMap<&Label, ()> = HashMap::with_capacity(written.0.len());
    let mut planned = Vec::with_capacity(written.0.len());
    for (name, upstream) in written.iter() {
        let at = root.key(name.as_str());
        // A text cannot hold a key twice, but a document made by a program can.
        if first.insert(name, ()).is_some() {
            problems.push(Problem::error(at, format!("another upstream is called `{name}` already")).on_key());
        }
        planned.push(self::upstream((name, upstream), here, at, problems));
    }
    planned
}

fn upstream(
    (name, written): (&Label, &Upstream),
    here: Here<'_>,
    at: Path<'_>,
    problems: &mut Problems,
) -> isobar_plan::Upstream {
    let Upstream {
        balance,
        choices,
        hash,
        bounded_load: _,
        reports: _,
        prequal: _,
        orca: _,
        tls,
        servers,
        locality: _,
        panic: _,
        slow_start: _,
        subset: _,
        health: _,
        outlier_detection,
        timeouts,
        proxy_protocol,
        tcp_keepalive,
        keep_alive,
        http_version: _,
        limits,
        adaptive_concurrency: _,
        queue,
        fair_share,
        retry,
        sticky,
        hedge: _,
    } = written;
    check_retries(written, at, problems);
    check_servers(servers, at, problems);
    check_balance(*balance, &hash.0, at, problems);
    let planned = servers.iter().map(server).collect();
    let used = subset::take((name, written), here, planned, (at, problems));
    isobar_plan::Upstream {
        name: name.as_str().into(),
        balance: reports::balance(
            written,
            placement::balance((*balance, *choices), at, problems),
            at,
            problems,
        ),
        hash: key_parts(*balance, hash).0.iter().map(HashPart::part).collect(),
        placement: placement::placement(written, here, at, problems),
        reports: reports::reports(written, at, problems),
        health: checks(written, at.key("health"), problems),
        outliers: outliers(outlier_detection, used.len(), at.key("outlier_detection"), problems),
        tls: tls.as_ref().map(|tls| to_servers(tls, at.key("tls"), problems)),
        timeouts: self::timeouts(timeouts),
        proxy_protocol: proxy_protocol.0,
        tcp_keepalive: super::keepalive::keepalive(tcp_keepalive, at.key("tcp_keepalive"), problems),
        keep_alive: self::keep_alive(keep_alive),
        http_version: http2::version(written, at, problems),
        limits: overload::limits(limits),
        adaptive_concurrency: adaptive(written, at, problems),
        queue: overload::queue(queue),
        fair_share: fair::fair_share(fair_share, at.key("fair_share"), problems),
        sticky: self::sticky(sticky, at.key("sticky"), problems),
        retry_budget: retry::budget(&retry.budget),
        servers: used,
    }
}

fn sticky(written: &OrNone<Sticky>, at: Path<'_>, problems: &mut Problems) -> Option<isobar_plan::Sticky> {
    super::sticky::sticky(written.0.as_ref()?, at, problems)
}

fn adaptive(written: &Upstream, at: Path<'_>, problems: &mut Problems) -> Option<GradientRules> {
    let limits = limits_of(&written.servers);
    let rules = written.adaptive_concurrency.0.as_ref()?;
    Some(overload::adaptive(
        rules,
        limits,
        at.key("adaptive_concurrency"),
        problems,
    ))
}

fn check_retries(written: &Upstream, at: Path<'_>, problems: &mut Problems) {
    retry::check(&written.retry, at.key("retry"), problems);
    retry::check_hedge(&written.hedge, &written.servers, at, problems);
    retry::check_hedged_sessions(&written.hedge, &written.sticky, at, problems);
}

fn check_balance(balance: Balance, hash: &[HashPart], at: Path<'_>, problems: &mut Problems) {
    if !hash.is_empty() && !balance.is_keyed() {
        let problem = Problem::error(at.key("hash"), format!("`{balance}` does not go by keys")).on_key();
        problems.push(problem.help("did you mean `balance: ring_hash`?"));
    }
}

/// What requests are told apart by: as written, or what holds where nothing is.
pub(crate) fn key_parts(balance: Balance, written: &OneOrMore<HashPart>) -> OneOrMore<HashPart> {
    if balance.is_keyed() && written.0.is_empty() {
        return OneOrMore(vec![HashPart::CLIENT_IP]);
    }
    written.clone()
}

fn check_servers(servers: &[Server], at: Path<'_>, problems: &mut Problems) {
    let list = at.key("servers");
    if servers.is_empty() {
        let problem = Problem::error(list, "the upstream has no servers").on_key();
        problems.push(problem.help("servers: [127.0.0.1:9001]"));
        return;
    }
    if servers.iter().all(|server| server.weight.value() == 0) {
        let problem = Problem::error(list, "every server has the weight 0: none would get a request");
        problems.push(problem.on_key());
    } else if servers.iter().all(|server| server.backup) {
        let problem = Problem::warning(list, "every server is a backup: they are used as if none were");
        problems.push(problem.on_key());
    } else if servers.iter().all(|server| server.state != ServiceState::Enabled) {
        let message = "every server is out of service from the start: requests are answered with 503";
        problems.push(Problem::warning(list, message).on_key());
    }
    for (index, server) in servers.iter().enumerate() {
        if server.backup && server.priority.is_some() {
            let at = list.index(index);
            let problem = Problem::error(at.key("priority"), "a backup has no priority").on_key();
            let problem = problem.related(at.key("backup"), Spot::Key, "it comes after every level");
            problems.push(problem.help("remove one of the two"));
        }
    }
    check_names(servers, list, problems);
}

fn check_names(servers: &[Server], list: Path<'_>, problems: &mut Problems) {
    let mut first: HashMap<Label, (usize, &Server)> = HashMap::with_capacity(servers.len());
    for (index, server) in servers.iter().enumerate() {
        let name = names::server_name(server);
        let Some(&(earlier, other)) = first.get(&name) else {
            first.insert(name, (index, server));
            continue;
        };
        let (at, earlier) = (list.index(index), list.index(earlier));
        let problem = Problem::error(
            at.key(naming_key(server)),
            format!("another server is called `{name}` already"),
        );
        let problem = match server.name {
            Some(_) => problem,
            None => problem.help("to send it a greater share, give it a `weight`"),
        };
        problems.push(problem.related(earlier.key(naming_key(other)), Spot::Value, "first called so here"));
    }
}

/// The key a server has its name from.
fn naming_key(server: &Server) -> &'static str {
    if server.name.is_some() { "name" } else { "address" }
}

fn server(written: &Server) -> isobar_plan::Server {
    let Server {
        address,
        name: _,
        weight,
        max_connections,
        backup,
        priority,
        zone,
        state,
    } = written;
    isobar_plan::Server {
        name: names::server_name(written).as_str().into(),
        address: address.address().clone(),
        weight: weight.value(),
        max_connections: max_connections.value(),
        backup: *backup,
        priority: priority.map_or(0, |priority| u8::try_from(priority.value()).unwrap_or(u8::MAX)),
        zone: zone.as_ref().map(|zone| zone.as_str().into()),
        state: *state,
    }
}

/// How its servers are probed. Where a server's own port is asked, the check begins as connections of clients do.
fn checks(written: &Upstream, at: Path<'_>, problems: &mut Problems) -> Vec<Arc<HealthCheck>> {
    let Some(checks) = &written.health.0 else {
        return Vec::new();
    };
    let mut checks = health::checks(checks, written.tls.as_ref(), at, problems);
    for check in checks.iter_mut().filter(|check| check.port.is_none()) {
        Arc::make_mut(check).proxy_protocol = written.proxy_protocol.0;
    }
    checks
}

/// Requests in flight that each may have.
fn limits_of(servers: &[Server]) -> impl Iterator<Item = Option<u32>> {
    servers
        .iter()
        .map(|server| server.max_connections.0.map(|limit| limit.value()))
}

/// Few servers are worth a warning where somebody asked for detection.
fn outliers(
    written: &OrNone<OutlierDetection>,
    servers: usize,
    at: Path<'_>,
    problems: &mut Problems,
) -> Option<Outliers> {
    let outliers = outliers::detection(written, at, problems)?;
    if written.0 != Some(OutlierDetection::default()) {
        outliers::warn_of_few_servers(&outliers, servers, at, problems);
    }
    Some(outliers)
}

pub(super) fn timeouts(timeouts: &ServerTimeouts) -> Timeouts {
    let ServerTimeouts {
        connect,
        send,
        read,
        idle,
        client_idle,
        server_idle,
        half_closed,
    } = timeouts;
    Timeouts {
        connect: connect.duration(),
        send: send.duration(),
        read: read.duration(),
        idle: IdleTimeouts {
            both: idle.duration(),
            client: client_idle.0.map(Span::duration),
            server: server_idle.0.map(Span::duration),
            half_closed: half_closed.0.map(Span::duration),
        },
    }
}

/// The timeouts of an upstream that has none of its own.
pub(super) fn default_timeouts() -> ServerTimeouts {
    ServerTimeouts::placeholder()
}

fn keep_alive(keep_alive: &KeepAlive) -> isobar_plan::KeepAlive {
    let KeepAlive { max_idle, idle_timeout } = keep_alive;
    isobar_plan::KeepAlive {
        max_idle: max_idle.value(),
        idle_timeout: idle_timeout.duration(),
    }
}
