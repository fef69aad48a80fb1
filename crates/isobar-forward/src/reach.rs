//! How does a client get to where it wants to go?
//!
//! The address that is judged is the address that is connected to: nothing is looked up in between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_l4::keepalive;
use isobar_net::limits::is_shortage;
use isobar_net::stream::Stream;
use isobar_observe::Cause;
use isobar_plan::ParentProxy;
use isobar_route::destination::{Asked, Denial, DestinationHost};

use crate::connection::Client;
use crate::{LookupError, Worker, parent, race};

/// Where a client wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) host: DestinationHost,
    pub(crate) port: u16,
}

/// What the connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To carry what the client likes.
    Tunnel,
    /// To carry requests of HTTP: a parent that speaks it takes them as they are.
    Requests,
}

/// A connection to the destination, or to a parent that takes what is sent on there.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) stream: Stream,
    /// What came from the destination already.
    pub(crate) early: Vec<u8>,
}

impl Wish {
    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Connects a client to where it wants to go, if it may.
pub(crate) async fn reach(
    worker: &Worker,
    client: &mut Client,
    wish: &Wish,
    purpose: Purpose,
) -> Result<Reached, Cause> {
    client.report.host = wish.authority().into();
    let site = Arc::clone(&client.site);
    let (addresses, until) = match &site.listener.parent {
        Some(parent) => {
            let rule = judge(client, |asked| site.listener.rules.judge_unresolved(asked), wish)?;
            client.report.rule = Some(rule);
            let until = deadline(worker, site.listener.waits.connect);
            (find_parent(worker, client, parent).await?, until)
        }
        None => {
            let addresses = find(worker, client, wish).await?;
            (addresses, deadline(worker, site.listener.waits.connect))
        }
    };
    let mut reached = connect(worker, client, &addresses, until).await?;
    if let Some(parent) = &site.listener.parent
        && parent::is_told(parent, purpose)
    {
        client.timer.set(until);
        let told = parent::introduce(&mut reached.stream, parent, wish);
        match client.during(worker, Cause::ConnectTimeout, told).await? {
            Ok(early) => reached.early = early,
            Err(why) => return Err(client.report.explain(why, Cause::ParentRefused)),
        }
    }
    Ok(reached)
}

/// Whether a connection that stands, to an address that was judged before, may be used once more.
pub(crate) fn may_reuse(client: &mut Client, wish: &Wish, address: SocketAddr) -> Result<(), Cause> {
    client.report.host = wish.authority().into();
    let site = Arc::clone(&client.site);
    let rules = &site.listener.rules;
    let rule = match site.listener.parent {
        Some(_) => judge(client, |asked| rules.judge_unresolved(asked), wish)?,
        None => judge(client, |asked| rules.judge(asked, address.ip()), wish)?,
    };
    client.report.rule = Some(rule);
    client.report.address = Some(address);
    Ok(())
}

fn deadline(worker: &Worker, patience: Duration) -> Instant {
    worker.shared.wheel.now() + patience
}

/// The position of the rule that lets the client go there, among the names.
fn judge(
    client: &mut Client,
    judge: impl FnOnce(Asked<'_>) -> Result<Option<usize>, Denial>,
    wish: &Wish,
) -> Result<usize, Cause> {
    let judged = judge(Asked {
        host: &wish.host,
        port: wish.port,
        user: client.report.user.as_deref(),
    });
    match judged {
        Ok(rule) => Ok(rule.unwrap_or_else(|| client.site.otherwise())),
        Err(denial) => Err(denied(client, denial)),
    }
}

fn denied(client: &mut Client, denial: Denial) -> Cause {
    let site = &client.site;
    let (rule, why) = match denial {
        Denial::Rule(rule) => {
            let name = site.listener.rule_names.get(rule).map_or("", |name| &**name);
            (rule, format!("rule `{name}` denies it"))
        }
        other => (site.otherwise(), other.to_string()),
    };
    client.report.rule = Some(rule);
    client.report.explain(why, Cause::ForwardDenied)
}

/// The addresses at which the destination is and to which the client may go; at least one.
async fn find(worker: &Worker, client: &mut Client, wish: &Wish) -> Result<Vec<SocketAddr>, Cause> {
    let site = Arc::clone(&client.site);
    let rules = &site.listener.rules;
    judge(client, |asked| rules.before_lookup(asked).map(|()| None), wish)?;
    let addresses = match &wish.host {
        DestinationHost::Address(address) => Arc::from([*address]),
        DestinationHost::Name(name) => look_up(worker, client, name).await?,
    };
    let here = client.stream.local_addr().ok();
    let mut allowed = Vec::new();
    let mut decided = None;
    let mut denial = Cause::LookupFailed;
    for address in addresses.iter().copied() {
        match judge(client, |asked| rules.judge(asked, address), wish) {
            Ok(rule) => {
                let address = SocketAddr::new(address, wish.port);
                if here.is_some_and(|here| leads_back(here, address)) {
                    client.report.rule = Some(rule);
                    denial = client
                        .report
                        .explain("it leads back to this proxy", Cause::ForwardDenied);
                    continue;
                }
                // The rule of the first is the one that counts.
                decided.get_or_insert(rule);
                allowed.push(address);
            }
            Err(cause) => denial = cause,
        }
    }
    if allowed.is_empty() {
        return Err(denial);
    }
    client.report.rule = decided;
    // What was said of an address that is left aside is of no interest any more.
    client.report.detail.clear();
    Ok(allowed)
}

/// Whether this is where the client's own connection came in.
fn leads_back(here: SocketAddr, there: SocketAddr) -> bool {
    let (here_ip, there_ip) = (here.ip().to_canonical(), there.ip().to_canonical());
    let is_here = there_ip == here_ip || there_ip.is_unspecified() || there_ip.is_loopback() && here_ip.is_loopback();
    here.port() == there.port() && is_here
}

async fn look_up(worker: &Worker, client: &mut Client, name: &Arc<str>) -> Result<Arc<[IpAddr]>, Cause> {
    let names = Arc::clone(&client.site.standing.names);
    client.timer.set(deadline(worker, client.site.listener.waits.lookup));
    let site = Arc::clone(&client.site);
    let stats = site.stats.of(worker.id);
    stats.names_needed.increment();
    let asked = names.look_up(Arc::clone(name), Arc::clone(&worker.background), || {
        stats.names_asked.increment();
    });
    match client.during(worker, Cause::LookupTimeout, asked).await? {
        Ok(addresses) => Ok(addresses),
        Err(LookupError::NoAddress(why) | LookupError::Failed(why)) => {
            if client.report.rule.is_none() {
                client.report.rule = Some(client.site.otherwise());
            }
            Err(client.report.explain(why, Cause::LookupFailed))
        }
    }
}

async fn find_parent(worker: &Worker, client: &mut Client, parent: &ParentProxy) -> Result<Vec<SocketAddr>, Cause> {
    let addresses = match &parent.host {
        DestinationHost::Address(address) => Arc::from([*address]),
        DestinationHost::Name(name) => look_up(worker, client, name).await?,
    };
    Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, parent.port)).collect())
}

/// Connects to the address that answers first, all within one deadline.
async fn connect(
    worker: &Worker,
    client: &mut Client,
    addresses: &[SocketAddr],
    until: Instant,
) -> Result<Reached, Cause> {
    let began = worker.shared.wheel.now();
    client.timer.set(until);
    let tried = client
        .during(
            worker,
            Cause::ConnectTimeout,
            race::run(addresses, until, Stream::connect),
        )
        .await;
    let now = worker.shared.wheel.now();
    client.report.connect = Some(now.saturating_duration_since(began));
    let tried = tried.inspect_err(|_| {
        client.report.address = addresses.first().copied();
        client.report.attempts = 1;
    })?;
    client.report.address = tried.address;
    client.report.attempts = tried.attempts;
    match tried.outcome {
        Ok(stream) => {
            keepalive::ask(&stream, client.site.listener.destination_keepalive.as_ref());
            Ok(Reached {
                stream,
                early: Vec::new(),
            })
        }
        Err(error) => {
            client.report.error = Some(error.kind());
            Err(match error.kind() {
                io::ErrorKind::TimedOut => Cause::ConnectTimeout,
                _ if is_shortage(&error) => Cause::OutOfResources,
                _ => client.report.explain(reason(&error), Cause::ConnectFailed),
            })
        }
    }
}

fn reason(error: &io::Error) -> &'static str {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "it refused the connection",
        ErrorKind::NetworkUnreachable => "there is no way to its network",
        ErrorKind::HostUnreachable => "there is no way to it",
        ErrorKind::ConnectionReset => "it reset the connection",
        _ => "no connection to it could be made",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_back() {
        let check = |here: &str, there: &str, expected: bool| {
            let (here, there) = (here.parse().unwrap(), there.parse().unwrap());
            assert_eq!(leads_back(here, there), expected, "{here} {there}");
        };
        check("127.0.0.1:3128", "127.0.0.1:3128", true);
        check("127.0.0.1:3128", "127.0.0.2:3128", true);
        check("127.0.0.1:3128", "127.0.0.1:80", false);
        check("10.0.0.1:3128", "10.0.0.1:3128", true);
        check("[::ffff:10.0.0.1]:3128", "10.0.0.1:3128", true);
        check("10.0.0.1:3128", "0.0.0.0:3128", true);
        check("10.0.0.1:3128", "10.0.0.2:3128", false);
        check("10.0.0.1:3128", "127.0.0.1:3128", false);
        check("[::1]:3128", "127.0.0.1:3128", true);
    }
}
