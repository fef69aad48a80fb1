//! What does a forward proxy ask of the data plane?

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use isobar_plan::{
    ForwardWaits, IdleTimeouts, NameRules, ParentLogin, ParentProxy, Priority, ProxyUsers, RequestRate, Reveals,
    Secret, ServerAddress, Speaks, UserLimits,
};
use isobar_route::destination::{
    Access, AddressRange, DestinationHost, DestinationRule, DestinationRules, special_purpose,
};

use super::limit::bytes::Place;
use super::{Bridge, listener, names};
use crate::document::{
    ForwardNames, ForwardParent, ForwardProxy, ForwardRule, ForwardTimeouts, ForwardUserLimits, Http2, Label, Listener,
    Pac,
};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;
use crate::units::{Network, Span};

/// What is counted of those for whom no rule holds.
const OTHERWISE: &str = "otherwise";

/// Bytes of a user name, and of a password, in SOCKS 5 at most.
const MAX_SOCKS_BYTES: usize = 255;

/// The plan of one listener; what only makes sense for other protocols is an error.
pub(super) fn listener(written: &Listener, index: usize, bridge: &mut Bridge<'_>) -> isobar_plan::ForwardProxy {
    let root = Path::ROOT.key("listeners");
    let at = root.index(index);
    let Listener {
        name: _,
        address,
        protocol: _,
        forward_proxy,
        proxy_protocol,
        tcp_keepalive,
        tls,
        passthrough,
        http2,
        redirect_to_https,
        udp,
        limits,
        timeouts,
        trusted_proxies,
        forwarded,
        priority,
        request_limits,
        routes,
        upstream,
    } = written;
    super::udp::refuse_elsewhere(udp, at, &mut bridge.problems);
    let of_others = [
        ("proxy_protocol", proxy_protocol.is_some()),
        ("tls", tls.is_some()),
        ("http2", *http2 != Http2::placeholder()),
        ("redirect_to_https", redirect_to_https.is_some()),
        ("trusted_proxies", !trusted_proxies.is_empty()),
        ("forwarded", *forwarded),
        ("priority", *priority != Priority::Normal),
        ("routes", !routes.is_empty()),
        ("upstream", upstream.is_some()),
    ];
    refuse(&of_others, at, &mut bridge.problems);
    super::passthrough::refuse_elsewhere(passthrough, at, &mut bridge.problems);
    refuse(
        &[("max_body_bytes", limits.max_body_bytes.0.is_some())],
        at.key("limits"),
        &mut bridge.problems,
    );
    refuse(
        &[("max_age", timeouts.max_age.0.is_some())],
        at.key("timeouts"),
        &mut bridge.problems,
    );
    // It has no routes whose limits come on top.
    bridge.shared_limits = &[];
    let usual = ForwardProxy::placeholder();
    let proxy = forward_proxy.as_ref().unwrap_or(&usual);
    warn_of_open(proxy, written, at, &mut bridge.problems);
    let base = Base {
        name: names::listener_name(written, index),
        address: address.0,
        tcp_keepalive: super::keepalive::keepalive(tcp_keepalive, at.key("tcp_keepalive"), &mut bridge.problems),
        limits: listener::limits(limits),
        timeouts: listener::timeouts(timeouts),
        byte_limits: bridge.limits_of(request_limits, at.key("request_limits")),
    };
    bridge.check_place(request_limits, Place::Forward, at.key("request_limits"));
    self::proxy(proxy, at.key("forward_proxy"), base, &mut bridge.problems)
}

/// What every listener has.
struct Base {
    name: Label,
    address: SocketAddr,
    tcp_keepalive: Option<isobar_plan::TcpKeepalive>,
    limits: isobar_plan::ListenerLimits,
    timeouts: isobar_plan::ClientTimeouts,
    byte_limits: Vec<isobar_plan::Name>,
}

fn proxy(written: &ForwardProxy, at: Path<'_>, base: Base, problems: &mut Problems) -> isobar_plan::ForwardProxy {
    let ForwardProxy {
        speaks,
        users,
        rules,
        otherwise,
        per_user,
        via,
        forwarded_for,
        pac,
        parent,
        names,
        timeouts,
        tcp_keepalive,
    } = written;
    check_rules(written, at, problems);
    if pac.0.is_some() && *speaks == Speaks::Socks5 {
        let problem = Problem::error(
            at.key("pac"),
            "the PAC file is asked for over HTTP, which is not spoken here",
        );
        let problem = problem
            .on_key()
            .related(at.key("speaks"), Spot::Value, "what is spoken");
        problems.push(problem.help("write `speaks: both`, or remove it"));
    }
    isobar_plan::ForwardProxy {
        name: base.name.as_str().into(),
        address: base.address,
        limits: base.limits,
        timeouts: base.timeouts,
        waits: waits(timeouts),
        tcp_keepalive: base.tcp_keepalive,
        destination_keepalive: super::keepalive::keepalive(tcp_keepalive, at.key("tcp_keepalive"), problems),
        speaks: *speaks,
        users: users.as_ref().map(|file| ProxyUsers {
            file: file.as_str().into(),
            list: Arc::default(),
        }),
        rules: DestinationRules {
            rules: rules.iter().map(rule).collect(),
            otherwise: *otherwise,
        },
        rule_names: rule_names(rules).iter().map(|name| name.as_str().into()).collect(),
        byte_limits: base.byte_limits,
        per_user: self::per_user(per_user),
        reveals: Reveals {
            via: *via,
            client: *forwarded_for,
        },
        pac: pac.0.as_ref().map(|Pac { path, address }| isobar_plan::Pac {
            path: path.as_str().into(),
            address: address.as_ref().map(|address| address.to_string().into()),
        }),
        parent: parent
            .as_ref()
            .and_then(|written| self::parent(written, at.key("parent"), problems)),
        names: self::names(names, at.key("names"), problems),
    }
}

/// Reports what is written of other protocols.
fn refuse(keys: &[(&str, bool)], at: Path<'_>, problems: &mut Problems) {
    for (key, _) in keys.iter().filter(|(_, is_written)| *is_written) {
        let message = format!(
            "`{key}` is for listeners of other protocols: clients of a forward proxy say where they want to go"
        );
        let problem = Problem::error(at.key(key), message).on_key();
        problems.push(problem.help("remove it, or the `protocol: forward_proxy`"));
    }
}

/// Reports a forward proxy that is written at a listener of another protocol.
pub(super) fn refuse_elsewhere(written: &Listener, at: Path<'_>, problems: &mut Problems) {
    if written.forward_proxy.is_some() {
        let message = "`forward_proxy` is for listeners with `protocol: forward_proxy`";
        let problem = Problem::error(at.key("forward_proxy"), message).on_key();
        problems.push(problem.help("write `protocol: forward_proxy`, or remove it"));
    }
}

/// Warns of a proxy that everybody can use for everything.
fn warn_of_open(proxy: &ForwardProxy, written: &Listener, at: Path<'_>, problems: &mut Problems) {
    let is_open = proxy.users.is_none() && proxy.otherwise == Access::Allow;
    if is_open && !written.address.0.ip().to_canonical().is_loopback() {
        let message =
            "everybody who reaches this address can use the proxy, and what they do with it is done by this machine";
        let problem = Problem::warning(at.key("address"), message);
        problems.push(
            problem.help("give it `users`, `otherwise: deny` with rules, or an address that only its clients reach"),
        );
    }
}

/// The names of rules, and last of what holds where no rule does.
pub(crate) fn rule_names(rules: &[ForwardRule]) -> Vec<Label> {
    let named = rules.iter().enumerate();
    let named = named.map(|(index, rule)| {
        let made = || Label::made(format!("rule-{}", index + 1));
        rule.name.clone().unwrap_or_else(made)
    });
    named.chain([Label::made(OTHERWISE)]).collect()
}

fn rule(written: &ForwardRule) -> DestinationRule {
    let ForwardRule {
        name: _,
        action,
        domains,
        addresses,
        ports,
        users,
    } = written;
    DestinationRule {
        access: *action,
        domains: domains.0.iter().map(|domain| domain.0.clone()).collect(),
        ranges: addresses.0.iter().filter_map(|network| range(*network)).collect(),
        ports: ports.0.iter().map(|ports| ports.0).collect(),
        users: users.0.iter().map(|user| user.as_str().into()).collect(),
    }
}

fn range(network: Network) -> Option<AddressRange> {
    AddressRange::new(network.address(), network.prefix())
}

fn check_rules(proxy: &ForwardProxy, at: Path<'_>, problems: &mut Problems) {
    let at_rules = at.key("rules");
    let names = rule_names(&proxy.rules);
    let mut first: HashMap<&Label, usize> = HashMap::from([(&names[proxy.rules.len()], usize::MAX)]);
    for (index, (rule, name)) in proxy.rules.iter().zip(&names).enumerate() {
        let at = at_rules.index(index);
        match first.get(name) {
            None => drop(first.insert(name, index)),
            Some(&usize::MAX) => {
                let message = format!("`{OTHERWISE}` is what those are counted as for whom no rule holds");
                problems.push(Problem::error(at.key("name"), message));
            }
            Some(&earlier) => {
                let earlier = at_rules.index(earlier);
                let problem = Problem::error(at.key("name"), format!("another rule is called `{name}` already"));
                problems.push(problem.related(earlier, Spot::Value, "first called so here"));
            }
        }
        if !rule.users.0.is_empty() && proxy.users.is_none() {
            let message = "nobody has to say who he is, so this rule holds for nobody";
            let problem = Problem::error(at.key("users"), message).on_key();
            problems.push(problem.help("give the forward proxy `users`, a file as `htpasswd -B` writes it"));
        }
        if !rule.addresses.0.is_empty() && proxy.parent.is_some() {
            let message = "the parent looks names up, so this holds only where clients ask for an address";
            problems.push(Problem::warning(at.key("addresses"), message).on_key());
        }
        warn_of_wide(rule, at, problems);
    }
}

/// Warns where a rule allows very many addresses, and somebody could think that private ones are among them.
fn warn_of_wide(rule: &ForwardRule, at: Path<'_>, problems: &mut Problems) {
    if rule.action == Access::Deny {
        return;
    }
    let at = at.key("addresses");
    for (index, network) in rule.addresses.0.iter().enumerate() {
        let Some(range) = range(*network) else { continue };
        let first = special_purpose(network.address());
        let has_more = first.is_some_and(|(special, _)| special.is_within(range) && special != range);
        if has_more {
            let message =
                format!("`{network}` names no special-purpose range (private, loopback…), so those stay denied");
            let problem = Problem::warning(at.index(index), message);
            problems.push(problem.help("name each that is meant, as in `10.0.0.0/8`"));
        }
    }
}

fn per_user(written: &ForwardUserLimits) -> UserLimits {
    let ForwardUserLimits {
        max_connections,
        requests,
        burst,
    } = written;
    UserLimits {
        max_connections: max_connections.0.map(|max| max.value()),
        requests: requests.0.map(|rate| RequestRate {
            per_second: rate.value().max(1),
            burst: burst.value(),
        }),
    }
}

fn parent(written: &ForwardParent, at: Path<'_>, problems: &mut Problems) -> Option<ParentProxy> {
    let ForwardParent {
        address,
        protocol,
        user,
        password_file,
    } = written;
    let login = match (user, password_file) {
        (None, None) => None,
        (Some(user), Some(file)) => {
            if user.as_str().contains(':') || user.as_str().len() > MAX_SOCKS_BYTES {
                let message = "a user name has no `:`, and 255 bytes at most";
                problems.push(Problem::error(at.key("user"), message));
            }
            Some(ParentLogin {
                user: user.as_str().into(),
                file: file.as_str().into(),
                password: Secret(Box::default()),
            })
        }
        (Some(_), None) => {
            let problem = Problem::error(at.key("user"), "there is no password for this user");
            problems.push(problem.help("write `password_file` with the file in which it is"));
            None
        }
        (None, Some(_)) => {
            let problem = Problem::error(at.key("password_file"), "nobody has this password");
            problems.push(problem.help("write `user` with the name it is for"));
            None
        }
    };
    let (host, port) = match address.address() {
        ServerAddress::Socket(address) => (DestinationHost::from(address.ip()), address.port()),
        ServerAddress::Name(name, port) => match DestinationHost::parse(name.as_bytes()) {
            Ok(host) => (host, *port),
            Err(error) => {
                problems.push(Problem::error(at.key("address"), error.to_string()));
                return None;
            }
        },
    };
    Some(ParentProxy {
        host,
        port,
        protocol: *protocol,
        login,
    })
}

fn names(written: &ForwardNames, at: Path<'_>, problems: &mut Problems) -> NameRules {
    let ForwardNames {
        servers,
        min_ttl,
        max_ttl,
        negative_ttl,
        max_names,
    } = written;
    if min_ttl > max_ttl {
        let problem = Problem::error(
            at.key("min_ttl"),
            "answers cannot be believed for longer at least than at most",
        );
        problems.push(problem.related(at.key("max_ttl"), Spot::Value, "at most"));
    }
    NameRules {
        servers: servers.0.iter().map(|server| server.0).collect(),
        min_ttl: min_ttl.duration().min(max_ttl.duration()),
        max_ttl: max_ttl.duration(),
        negative_ttl: negative_ttl.duration(),
        max_names: max_names.value(),
    }
}

fn waits(written: &ForwardTimeouts) -> ForwardWaits {
    let ForwardTimeouts {
        lookup,
        connect,
        read,
        idle,
        client_idle,
        server_idle,
        half_closed,
    } = written;
    ForwardWaits {
        lookup: lookup.duration(),
        connect: connect.duration(),
        read: read.duration(),
        idle: IdleTimeouts {
            both: idle.duration(),
            client: client_idle.0.map(Span::duration),
            server: server_idle.0.map(Span::duration),
            half_closed: half_closed.0.map(Span::duration),
        },
    }
}
