//! Which servers stand together, and how far is what is known of them believed?

use isobar_balance::{Balance, Bound, Choices};
use isobar_plan::Placement;

use crate::document::{Compared, Document, Instance, Label, Locality, OrNone, Panic, Server, SlowStart, Upstream};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Setting;

/// What a document says of where this instance is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'d> {
    /// Its zone.
    pub(super) zone: Option<&'d Label>,
    /// Which of several it is.
    pub(super) instance: Option<&'d Instance>,
}

impl<'d> Here<'d> {
    /// Takes in what a document says, and reports what makes no sense whatever the upstreams are.
    pub(super) fn of(document: &'d Document, problems: &mut Problems) -> Self {
        let (zone, instance) = (document.zone.as_ref(), document.instance.0.as_ref());
        let upstreams = || document.upstreams.iter().map(|(_, upstream)| upstream);
        if zone.is_some() && !upstreams().any(|upstream| upstream.servers.iter().any(|server| server.zone.is_some())) {
            let problem = Problem::warning(Path::ROOT.key("zone"), "`zone` has no effect: no server has a zone");
            problems.push(problem.on_key().needs(Path::ROOT.key("upstreams")));
        }
        if let Some(Instance { number, of }) = instance {
            let at = Path::ROOT.key("instance");
            if number.value() >= of.value() {
                let message = format!(
                    "of {} instances the last one is number {}, found {}",
                    of.value(),
                    of.value() - 1,
                    number.value()
                );
                problems.push(Problem::error(at.key("number"), message).help("they are counted from 0"));
            }
            if !upstreams().any(|upstream| upstream.subset.0.is_some()) {
                let problem = Problem::warning(at, "`instance` has no effect: no upstream has a `subset`");
                problems.push(problem.on_key().needs(Path::ROOT.key("upstreams")));
            }
        }
        Self { zone, instance }
    }
}

/// The algorithm, with how many servers it compares.
pub(crate) fn balance(
    (balance, choices): (Balance, Option<Compared>),
    at: Path<'_>,
    problems: &mut Problems,
) -> Balance {
    match (balance, choices) {
        (_, None) => balance,
        (Balance::LeastConnections | Balance::PowerOfTwo(_), Some(Compared::All)) => Balance::LeastConnections,
        (Balance::LeastConnections | Balance::PowerOfTwo(_), Some(Compared::Drawn(choices))) => {
            Balance::PowerOfTwo(choices)
        }
        (_, Some(_)) => {
            let message = format!("`{balance}` does not compare servers by what they have in flight");
            let problem = Problem::error(at.key("choices"), message)
                .on_key()
                .needs(at.key("balance"));
            problems.push(problem.help("`choices` is for `least_connections` and `power_of_two`; leave it out"));
            balance
        }
    }
}

/// How many servers an algorithm compares where nothing else is written; none: it cannot be said.
pub(crate) fn default_choices(balance: Balance) -> Option<Compared> {
    match balance {
        Balance::LeastConnections => Some(Compared::All),
        Balance::PowerOfTwo(_) => Some(Compared::Drawn(Choices::DEFAULT)),
        _ => None,
    }
}

pub(super) fn placement(written: &Upstream, here: Here<'_>, at: Path<'_>, problems: &mut Problems) -> Placement {
    Placement {
        bound: bound(written, at, problems),
        locality: locality(written, here, at, problems),
        panic: written.panic.0.as_ref().map(panic),
        slow_start: written.slow_start.0.as_ref().map(slow_start),
    }
}

fn bound(written: &Upstream, at: Path<'_>, problems: &mut Problems) -> Option<Bound> {
    let percent = written.bounded_load.0?;
    let balance = written.balance;
    if !balance.is_keyed() {
        let message = format!("`{balance}` does not go by keys: a request has no server that a bound could pass over");
        let problem = Problem::error(at.key("bounded_load"), message).on_key();
        let help = "did you mean `balance: ring_hash`? What one server has at once is limited by its `max_connections`";
        problems.push(problem.needs(at.key("balance")).help(help));
    }
    Some(Bound {
        percent: percent.value(),
    })
}

fn panic(written: &Panic) -> isobar_plan::Panic {
    let Panic { below, min_servers } = written;
    isobar_plan::Panic {
        below_percent: below.value(),
        min_servers: min_servers.value(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the aggression is from 0.1 to 10"
)]
fn slow_start(written: &SlowStart) -> isobar_plan::SlowStart {
    let SlowStart {
        window,
        aggression,
        min_weight,
    } = written;
    isobar_plan::SlowStart {
        window: window.duration(),
        floor_percent: min_weight.value(),
        aggression_percent: (aggression.value() * 100.0).round() as u32,
    }
}

/// Where this instance is among the zones of an upstream; none: zones do not matter.
fn locality(
    written: &Upstream,
    here: Here<'_>,
    at: Path<'_>,
    problems: &mut Problems,
) -> Option<isobar_plan::Locality> {
    let Upstream {
        servers,
        locality: OrNone(locality),
        ..
    } = written;
    let locality = locality.as_ref()?;
    let asks = Some(locality) != Locality::absent().as_ref();
    let zoned = servers.iter().position(|server| server.zone.is_some());
    let root = Path::ROOT;
    let (Some(own), Some(_)) = (here.zone, zoned) else {
        let missing = match (here.zone, zoned) {
            (None, _) => "this instance has no zone",
            (Some(_), _) => "no server of the upstream has a zone",
        };
        if asks {
            let problem = Problem::warning(at.key("locality"), format!("`locality` has no effect: {missing}"));
            problems.push(problem.on_key().needs(root.key("zone")));
        } else if let Some(zoned) = zoned {
            let list = at.key("servers");
            let server = list.index(zoned);
            let problem = Problem::warning(server.key("zone"), format!("zones have no effect: {missing}"));
            problems.push(problem.needs(root.key("zone")).help("write `zone: NAME` at the top"));
        }
        return None;
    };
    check_zones(servers, own, at, problems);
    check_balancers(written, locality, own, (at, problems));
    let Locality { balancers, min_servers } = locality;
    let count = |(zone, count): &(Label, crate::document::Whole<0, 65_535>)| (zone.as_str().into(), count.value());
    Some(isobar_plan::Locality {
        zone: own.as_str().into(),
        balancers: balancers.iter().map(count).collect(),
        min_servers: min_servers.value(),
    })
}

/// Whether servers are where this instance is, and each of them anywhere.
fn check_zones(servers: &[Server], own: &Label, at: Path<'_>, problems: &mut Problems) {
    let list = at.key("servers");
    let zones = || servers.iter().filter_map(|server| server.zone.as_ref());
    if !zones().any(|zone| zone == own) {
        let message = format!("no server is in the zone `{own}` of this instance: all requests leave it");
        let meant = zones().find(|zone| is_alike(zone, own));
        let problem = Problem::warning(list, message).on_key().needs(Path::ROOT.key("zone"));
        let problem = problem.related(Path::ROOT.key("zone"), Spot::Value, "this instance's zone");
        problems.push(problem.maybe_help(meant.map(|zone| crate::suggest::did_you_mean(zone.as_str()))));
    }
    if let Some(index) = servers.iter().position(|server| server.zone.is_none()) {
        let problem = Problem::warning(list.index(index), "the server has no zone, and others have");
        problems.push(problem.help("it counts as in a zone of its own, in which no instance is"));
    }
}

/// Whether two zones differ in case and signs alone. A letter more is mostly meant: zones have names that are near to one
/// another.
fn is_alike(one: &Label, other: &Label) -> bool {
    let plain = |zone: &Label| {
        let letters = zone.as_str().chars().filter(|c| c.is_alphanumeric());
        letters.collect::<String>().to_lowercase()
    };
    plain(one) == plain(other)
}

/// Whether it is known where instances are.
fn check_balancers(written: &Upstream, locality: &Locality, own: &Label, (at, problems): (Path<'_>, &mut Problems)) {
    let balancers = &locality.balancers;
    if balancers.0.is_empty() {
        return;
    }
    let section = at.key("locality");
    let list = section.key("balancers");
    if !balancers.iter().any(|(zone, count)| zone == own && count.value() > 0) {
        let message = format!("`balancers` does not count this instance, which is in the zone `{own}`");
        let help = format!("add `{own}: 1`, or as many as there are");
        let problem = Problem::error(list, message).on_key().needs(Path::ROOT.key("zone"));
        problems.push(problem.help(help));
    }
    let zones = || written.servers.iter().filter_map(|server| server.zone.as_ref());
    for (zone, _) in balancers.iter() {
        if zone == own || zones().any(|known| known == zone) {
            continue;
        }
        // Instances may well be where no servers are; only what looks like a slip is worth a word.
        if let Some(meant) = zones().find(|known| is_alike(known, zone)) {
            let message = format!("no server is in the zone `{zone}`");
            let problem = Problem::warning(list.key(zone.as_str()), message).on_key();
            problems.push(
                problem
                    .needs(at.key("servers"))
                    .help(crate::suggest::did_you_mean(meant.as_str())),
            );
        }
    }
}
