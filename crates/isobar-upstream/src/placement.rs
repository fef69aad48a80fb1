//! What do an upstream's settings and its servers' state ask of balancing?
//!
//! Makes an arrangement and candidates out of them. Which algorithm there is and how it chooses is balancing's.

use std::sync::Arc;

use isobar_balance::{Arrangement, Candidate, Group, Guesses, Locality, Moment, SlowStart, Tier, Warmth, Zone};
use isobar_plan::{Name, Panic, ServerAddress};

use crate::server::Seen;
use crate::{Server, hash};

/// What balancing is told of the servers that have no zone: they are in one that nobody else is in.
const NOWHERE: Zone = Zone(u32::MAX);

/// What goes on from state to state.
pub(crate) struct Last<'a> {
    /// The group before; none: there is none.
    pub(crate) group: Option<&'a Group>,
    /// Counts picks that should have gone by reports and could not.
    pub(crate) guesses: &'a Arc<Guesses>,
}

/// The group of these servers, in the order of the settings', that comes after `last`.
///
/// The name's hash and the epoch move the random start of rotating algorithms from state to state.
pub(crate) fn group<'s>(
    settings: &'s isobar_plan::Upstream,
    servers: &[(Arc<Server>, Seen)],
    (epoch, now): (u64, Moment),
    last: &Last<'_>,
) -> Group {
    let mut zones = Zones::default();
    let arrangement = arrangement(settings, &mut zones, last.guesses);
    let slow_start = settings.placement.slow_start;
    let candidate =
        |((slot, (server, seen)), settings): ((u32, &(Arc<Server>, Seen)), &'s isobar_plan::Server)| Candidate {
            label: Some(ketama_label(&settings.address)),
            // Only its sessions are left to one that was taken out, and it is none of those of which too few are available.
            weight: if seen.takes_new { settings.weight } else { 0 },
            tier: tier(settings),
            zone: settings.zone.as_ref().map_or(NOWHERE, |zone| zones.number(zone)),
            standing: seen.standing,
            warmth: warmth(seen.since, slow_start, now),
            ..Candidate::new(slot, hash(settings.name.as_bytes(), 0), Arc::clone(server.state()))
        };
    let candidates = (0..).zip(servers).zip(&settings.servers).map(candidate).collect();
    let seed = hash(settings.name.as_bytes(), epoch);
    match last.group {
        Some(last) => last.next(arrangement, candidates, seed),
        None => Group::new(arrangement, candidates, seed),
    }
}

/// Which servers a server stands with.
pub(crate) fn tier(server: &isobar_plan::Server) -> Tier {
    if server.backup {
        Tier::Backup
    } else {
        Tier::Priority(server.priority)
    }
}

/// The part of its weight that a server has now which came when `since` says.
pub(crate) fn warmth(since: Option<Moment>, slow_start: Option<SlowStart>, now: Moment) -> Warmth {
    let warmth = |(start, since): (SlowStart, Moment)| start.warmth(since, now);
    slow_start.zip(since).map_or(Warmth::FULL, warmth)
}

/// Times a group is built anew within a window at most, however many servers start slowly.
const STEPS: u32 = 64;

/// When the part of its weight that one of the servers has is another, and a new group is worth it; none: all have all of
/// it.
pub(crate) fn next_step(servers: &[(Arc<Server>, Seen)], slow_start: Option<SlowStart>, now: Moment) -> Option<Moment> {
    let slow_start = slow_start?;
    let next = servers
        .iter()
        .filter_map(|(_, seen)| slow_start.next_step(seen.since?, now))
        .min()?;
    Some(next.max(now.after(slow_start.window / STEPS)))
}

fn arrangement<'a>(settings: &'a isobar_plan::Upstream, zones: &mut Zones<'a>, guesses: &Arc<Guesses>) -> Arrangement {
    let isobar_plan::Placement {
        bound,
        locality,
        panic,
        slow_start: _,
    } = &settings.placement;
    let Panic {
        below_percent,
        min_servers,
    } = panic.unwrap_or(Panic {
        below_percent: 0,
        min_servers: 0,
    });
    let locality = locality.as_ref().map(|locality| Locality {
        zone: zones.number(&locality.zone),
        balancers: locality
            .balancers
            .iter()
            .map(|(zone, count)| (zones.number(zone), *count))
            .collect(),
        min_servers: locality.min_servers as usize,
    });
    Arrangement {
        balance: settings.balance,
        bound: *bound,
        panic_percent: below_percent,
        panic_servers: min_servers as usize,
        locality,
        guesses: Some(Arc::clone(guesses)),
    }
}

/// The numbers of zones, in the order they are first named.
#[derive(Default)]
struct Zones<'a>(Vec<&'a Name>);

impl<'a> Zones<'a> {
    fn number(&mut self, name: &'a Name) -> Zone {
        let known = self.0.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            self.0.push(name);
            self.0.len() - 1
        });
        u32::try_from(number).map_or(NOWHERE, Zone)
    }
}

/// What libmemcached calls a server: it leaves out memcached's own port.
fn ketama_label(address: &ServerAddress) -> Arc<str> {
    let (host, port) = match address {
        ServerAddress::Socket(address) => (address.ip().to_string(), address.port()),
        ServerAddress::Name(name, port) => (name.to_string(), *port),
    };
    if port == 11_211 {
        host.into()
    } else {
        format!("{host}:{port}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::ketama_label;
    use isobar_plan::ServerAddress;

    #[test]
    fn labels_are_libmemcacheds() {
        let check = |address: ServerAddress, expected: &str| assert_eq!(&*ketama_label(&address), expected);
        check(ServerAddress::Socket("10.0.1.1:11211".parse().unwrap()), "10.0.1.1");
        check(ServerAddress::Socket("10.0.1.1:8080".parse().unwrap()), "10.0.1.1:8080");
        check(ServerAddress::Name("cache-a".into(), 11_211), "cache-a");
        check(ServerAddress::Name("cache-a".into(), 80), "cache-a:80");
    }
}
