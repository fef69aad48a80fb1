//! What is different between two plans?

use alloc::vec::Vec;

use crate::{Name, Plan};

/// What a reload changes; a listener or upstream that appears nowhere here keeps everything it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanDiff {
    /// Changed listeners, by name.
    pub listeners: Vec<(Name, ListenerChange)>,
    /// Changed upstreams, by name.
    pub upstreams: Vec<(Name, UpstreamChange)>,
    /// Changed limits, by name.
    pub limits: Vec<(Name, LimitChange)>,
    /// Whether what limits are shared through changes.
    pub stores: bool,
    /// Whether the access log changes.
    pub access_log: bool,
    /// Whether the admin listener changes.
    pub admin: bool,
}

/// What happens to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerChange {
    /// It is new.
    Added,
    /// It is gone: its socket closes, its connections finish.
    Removed,
    /// It listens elsewhere: a new socket is opened before the old one closes.
    Moved,
    /// Only its rules change: the socket and its connections stay.
    Changed,
}

/// What happens to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It stays, with other settings or servers; servers in neither list keep counters, health and connections.
    Changed {
        /// Servers that appear.
        added: Vec<Name>,
        /// Servers that leave.
        removed: Vec<Name>,
    },
}

/// What happens to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitChange {
    /// It is new.
    Added,
    /// It is gone, and what it counted with it.
    Removed,
    /// It counts otherwise, and begins anew.
    Restarted,
    /// It goes on with what it counted, by other rules.
    Changed,
}

impl PlanDiff {
    /// What changes from one plan to the next.
    #[must_use]
    pub fn between(old: &Plan, new: &Plan) -> Self {
        Self {
            listeners: listener_changes(old, new),
            upstreams: upstream_changes(old, new),
            limits: limit_changes(old, new),
            stores: old.stores != new.stores,
            access_log: old.access_log != new.access_log,
            admin: old.admin != new.admin,
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn listener_changes(old: &Plan, new: &Plan) -> Vec<(Name, ListenerChange)> {
    let mut changes = Vec::new();
    for listener in new.endpoints() {
        let change = match old.endpoints().find(|other| other.name == listener.name) {
            None => ListenerChange::Added,
            Some(other) if !other.has_sockets_of(listener) => ListenerChange::Moved,
            Some(_) if !is_same(old, new, listener.name) => ListenerChange::Changed,
            Some(_) => continue,
        };
        changes.push((listener.name.clone(), change));
    }
    for listener in old.endpoints() {
        if !new.endpoints().any(|other| other.name == listener.name) {
            changes.push((listener.name.clone(), ListenerChange::Removed));
        }
    }
    changes
}

/// Whether a listener has the same rules in both plans.
fn is_same(old: &Plan, new: &Plan, name: &Name) -> bool {
    fn http<'p>(plan: &'p Plan, name: &Name) -> Option<&'p crate::Listener> {
        plan.listeners.iter().find(|listener| listener.name == *name)
    }
    fn tcp<'p>(plan: &'p Plan, name: &Name) -> Option<&'p crate::TcpListener> {
        plan.tcp.iter().find(|listener| listener.name == *name)
    }
    fn udp<'p>(plan: &'p Plan, name: &Name) -> Option<&'p crate::UdpListener> {
        plan.udp.iter().find(|listener| listener.name == *name)
    }
    fn forward<'p>(plan: &'p Plan, name: &Name) -> Option<&'p crate::ForwardProxy> {
        plan.forward.iter().find(|listener| listener.name == *name)
    }
    http(old, name) == http(new, name)
        && tcp(old, name) == tcp(new, name)
        && udp(old, name) == udp(new, name)
        && forward(old, name) == forward(new, name)
}

fn limit_changes(old: &Plan, new: &Plan) -> Vec<(Name, LimitChange)> {
    let mut changes = Vec::new();
    for limit in &new.limits {
        let change = match old.limits.iter().find(|other| other.name == limit.name) {
            None => LimitChange::Added,
            Some(other) if other.counting != limit.counting => LimitChange::Restarted,
            Some(other) if other != limit => LimitChange::Changed,
            Some(_) => continue,
        };
        changes.push((limit.name.clone(), change));
    }
    for limit in &old.limits {
        if !new.limits.iter().any(|other| other.name == limit.name) {
            changes.push((limit.name.clone(), LimitChange::Removed));
        }
    }
    changes
}

fn upstream_changes(old: &Plan, new: &Plan) -> Vec<(Name, UpstreamChange)> {
    let mut changes = Vec::new();
    for upstream in &new.upstreams {
        match old.upstreams.iter().find(|other| other.name == upstream.name) {
            None => changes.push((upstream.name.clone(), UpstreamChange::Added)),
            Some(other) if other != upstream => {
                let missing = |from: &crate::Upstream, within: &crate::Upstream| {
                    let gone = |s: &&crate::Server| !within.servers.iter().any(|o| o.name == s.name);
                    from.servers.iter().filter(gone).map(|s| s.name.clone()).collect()
                };
                let (added, removed) = (missing(upstream, other), missing(other, upstream));
                changes.push((upstream.name.clone(), UpstreamChange::Changed { added, removed }));
            }
            Some(_) => {}
        }
    }
    for upstream in &old.upstreams {
        if !new.upstreams.iter().any(|other| other.name == upstream.name) {
            changes.push((upstream.name.clone(), UpstreamChange::Removed));
        }
    }
    changes
}
