//! Which servers are there, and what are they called?

use std::collections::HashMap;

use isobar_sim::{Antagonist, Discipline, Server, Wear};

use super::MAX_SERVERS;
use crate::document::{Label, OrNone};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::scenario::document::{self, AntagonistLoad, ServerGroup};

/// All servers, and the positions that each name stands for.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) servers: Vec<Server>,
    pub(super) names: HashMap<String, std::ops::Range<usize>>,
}

pub(super) fn servers(groups: &[ServerGroup], problems: &mut Problems) -> Listed {
    let at = Path::ROOT.key("servers");
    let mut listed = Listed::default();
    if groups.is_empty() {
        let problem = Problem::error(at, "there are no servers").on_key();
        problems.push(problem.help("servers: [{ name: web, count: 3 }]"));
        return listed;
    }
    let total: u32 = groups.iter().map(|group| group.count.value()).sum();
    if total > MAX_SERVERS {
        let message = format!("{total} servers are more than the {MAX_SERVERS} that can be simulated");
        problems.push(Problem::error(at, message).on_key());
        return listed;
    }
    if groups.iter().all(|group| group.weight.value() == 0) {
        let problem = Problem::error(at, "every server has the weight 0: none would get a request");
        problems.push(problem.on_key());
    }
    check_names(groups, problems);
    for group in groups {
        list(group, &mut listed);
    }
    listed
}

fn check_names(groups: &[ServerGroup], problems: &mut Problems) {
    let at = Path::ROOT.key("servers");
    let mut first: HashMap<&Label, usize> = HashMap::new();
    for (index, group) in groups.iter().enumerate() {
        let Some(&earlier) = first.get(&group.name) else {
            first.insert(&group.name, index);
            continue;
        };
        let (here, earlier) = (at.index(index), at.index(earlier));
        let message = format!("another group is called `{}` already", group.name);
        let problem = Problem::error(here.key("name"), message);
        problems.push(problem.related(earlier.key("name"), Spot::Value, "first called so here"));
    }
}

fn list(group: &ServerGroup, listed: &mut Listed) {
    let ServerGroup {
        name,
        count,
        weight,
        speed,
        slots,
        discipline,
        max_connections,
        antagonist,
        wear,
    } = group;
    let first = listed.servers.len();
    for number in 1..=count.value() {
        let name = match count.value() {
            1 => name.to_string(),
            _ => format!("{name}-{number}"),
        };
        let position = listed.servers.len();
        listed.names.entry(name.clone()).or_insert(position..position + 1);
        listed.servers.push(Server {
            name: name.into(),
            weight: weight.value(),
            speed: speed.value(),
            slots: slots.value(),
            discipline: match discipline {
                document::Discipline::Fifo => Discipline::Fifo,
                document::Discipline::Sharing => Discipline::Sharing,
            },
            limit: max_connections.value(),
            antagonist: self::antagonist(antagonist),
            wear: self::wear(wear),
            present: true,
        });
    }
    let positions = first..listed.servers.len();
    listed.names.insert(name.to_string(), positions);
}

fn antagonist(written: &OrNone<AntagonistLoad>) -> Option<Antagonist> {
    let AntagonistLoad { speed, busy, quiet } = written.0.as_ref()?;
    Some(Antagonist {
        speed: speed.value(),
        busy: busy.nanoseconds() as f64,
        quiet: quiet.nanoseconds() as f64,
    })
}

fn wear(written: &OrNone<document::Wear>) -> Option<Wear> {
    let document::Wear { per_minute, least } = written.0.as_ref()?;
    Some(Wear {
        per_second: per_minute.value() / 60.0,
        least: least.value(),
    })
}
