//! Which of an upstream's servers does this instance use?
//!
//! The other ones are no part of its plan: nobody resolves their names, probes them or connects to them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use isobar_balance::{Aperture, Tier, random_subset};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::placement::Here;
use crate::document::{Instance, Label, Spread, Subset, Upstream};
use crate::problem::{Path, Problem, Problems};

/// Leaves the servers that this instance uses, with the weight that each has for it.
pub(super) fn take(
    (name, written): (&Label, &Upstream),
    here: Here<'_>,
    servers: Vec<isobar_plan::Server>,
    (at, problems): (Path<'_>, &mut Problems),
) -> Vec<isobar_plan::Server> {
    let Some(subset) = &written.subset.0 else {
        return servers;
    };
    let Some(instance) = here.instance else {
        let problem = Problem::error(at.key("subset"), "a subset needs to know which instance this is");
        let problem = problem.on_key().needs(Path::ROOT.key("instance"));
        problems.push(problem.help("write `instance: { number: 0, of: 10 }` at the top, with another number for each"));
        return servers;
    };
    check(written, here, at, problems);
    let mut levels: BTreeMap<Tier, Vec<Numbered>> = BTreeMap::new();
    for (number, server) in servers.into_iter().enumerate() {
        levels.entry(tier(&server)).or_default().push((number, server));
    }
    let seed = hash(name.as_str(), 0);
    let mut taken: Vec<Numbered> = levels
        .into_values()
        .flat_map(|level| of_level(level, subset, instance, seed))
        .collect();
    taken.sort_by_key(|(number, _)| *number);
    taken.into_iter().map(|(_, server)| server).collect()
}

/// A server with its position among those written.
type Numbered = (usize, isobar_plan::Server);

fn check(written: &Upstream, here: Here<'_>, at: Path<'_>, problems: &mut Problems) {
    if written.balance.is_keyed() {
        let message = "instances with different subsets send requests of one key to different servers";
        problems.push(Problem::warning(at.key("subset"), message).on_key());
    }
    let has_zones = written.servers.iter().any(|server| server.zone.is_some());
    if written.locality.0.is_some() && here.zone.is_some() && has_zones {
        let message = "with `locality`, instances use some servers more than others: a subset is not made by zones";
        let problem = Problem::warning(at.key("subset"), message).on_key();
        problems.push(problem.help("write `locality: none`, or an upstream for each zone"));
    }
}

fn tier(server: &isobar_plan::Server) -> Tier {
    if server.backup {
        Tier::Backup
    } else {
        Tier::Priority(server.priority)
    }
}

/// Those of a level. What order they are written in does not matter.
fn of_level(servers: Vec<Numbered>, subset: &Subset, instance: &Instance, seed: u64) -> Vec<Numbered> {
    let Subset { size, spread } = subset;
    let Instance { number, of } = instance;
    let ids: Vec<u64> = servers.iter().map(|(_, server)| hash(&server.name, 0)).collect();
    let weight = |at: usize| servers.get(at).map_or(0, |(_, server)| server.weight);
    let weights: Vec<(usize, u32)> = match spread {
        Spread::Even => {
            let aperture = Aperture {
                balancer: number.value(),
                balancers: NonZeroU32::new(of.value()).unwrap_or(NonZeroU32::MIN),
                size: size.value(),
                seed,
            };
            let portions = aperture.of(&ids).into_iter();
            portions
                .map(|portion| (portion.position, portion.weight(weight(portion.position))))
                .collect()
        }
        Spread::Stable => {
            let own = hash(&number.value().to_string(), seed);
            let chosen = random_subset(&ids, own, size.value() as usize).into_iter();
            chosen.map(|at| (at, weight(at))).collect()
        }
    };
    // The smallest weights of the same proportions: what they are parts of does not matter to anybody else.
    let all = weights.iter().map(|&(_, weight)| weight);
    let divisor = all.fold(0, common_divisor).max(1);
    let mut weights: BTreeMap<usize, u32> = weights.into_iter().collect();
    let with_weight = |(at, (number, server))| {
        let weight = weights.remove(&at)? / divisor;
        Some((number, isobar_plan::Server { weight, ..server }))
    };
    servers.into_iter().enumerate().filter_map(with_weight).collect()
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// The hash of a name. The same in every version, or subsets would move with an update.
fn hash(name: &str, seed: u64) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), seed)
}
