//! What does a workload in a few words come to as scenarios?
//!
//! They are written as people would write them and read as any other, so that nothing holds for them that does not
//! hold for a scenario in a file.

use anyhow::{Result, anyhow};
use isobar_config::Source;
use isobar_config::scenario::load_scenario;

use super::{Measure, Task, Trial};
use crate::arguments::{Affinity, Cost, Hardware, Lifetime, Workload};

/// Requests of a trial, where nothing else is said.
const REQUESTS: u64 = 60_000;

/// How the trials are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) requests: Option<u64>,
}

/// The words of a workload, none of which is left open.
#[derive(Debug, Clone, Copy)]
struct Filled {
    servers: u32,
    hardware: Hardware,
    balancers: u32,
    cost: Cost,
    lifetime: Lifetime,
    affinity: Affinity,
    load: f64,
    requests: u64,
}

/// The trials for a workload: as it is, with a server that is slow, and with one that fails fast.
///
/// *Errors*: none that a person could cause; what is written here would have to be wrong.
pub(super) fn task(workload: &Workload, size: Size) -> Result<Task> {
    let seed = size.seed;
    let filled = fill(workload, size);
    let mut trials = vec![trial("as described", &filled, "", seed)?];
    if filled.servers > 1 && filled.lifetime == Lifetime::Short {
        let seconds = filled.requests as f64 / rate(&filled);
        let event = |what: &str| {
            let server = first_server(&filled);
            let (at, length) = (seconds * 0.25 * 1000.0, seconds * 0.5 * 1000.0);
            format!("events: [{{ at: {at:.0}ms, servers: [{server}], for: {length:.0}ms, {what} }}]\n")
        };
        trials.push(trial(
            "one server is slow for half of the time",
            &filled,
            &event("do: slow, speed: 0.3"),
            seed,
        )?);
        trials.push(trial(
            "one server fails fast for half of the time",
            &filled,
            &event("do: fail, work: 0.01"),
            seed,
        )?);
    }
    Ok(Task {
        about: about(&filled),
        measure: trials
            .first()
            .map_or(Measure::Tail, |trial| Measure::of(&trial.scenario)),
        trials,
    })
}

fn fill(workload: &Workload, size: Size) -> Filled {
    let Workload {
        servers,
        hardware,
        balancers,
        cost,
        lifetime,
        affinity,
        load,
    } = workload;
    Filled {
        servers: servers.unwrap_or(10),
        hardware: hardware.unwrap_or(Hardware::Equal),
        balancers: balancers.unwrap_or(1),
        cost: cost.unwrap_or(Cost::Varied),
        lifetime: lifetime.unwrap_or(Lifetime::Short),
        affinity: affinity.unwrap_or(Affinity::None),
        load: load.unwrap_or(0.7),
        requests: size.requests.unwrap_or(REQUESTS),
    }
}

fn about(filled: &Filled) -> String {
    let hardware = match filled.hardware {
        Hardware::Equal => "of equal speed",
        Hardware::Mixed => "of mixed speed",
        Hardware::Noisy => "on shared machines",
    };
    let cost = match filled.cost {
        Cost::Even => "even",
        Cost::Varied => "varied",
        Cost::Mixed => "mixed",
    };
    let lifetime = match filled.lifetime {
        Lifetime::Short => "requests",
        Lifetime::Long => "long-lived connections",
    };
    let affinity = match filled.affinity {
        Affinity::None => "",
        Affinity::Cache => ", with caches",
    };
    let servers = filled.servers;
    let instances = match filled.balancers {
        1 => "one instance that balances".to_owned(),
        several => format!("{several} instances that balance for themselves"),
    };
    format!(
        "{servers} servers {hardware}, {instances}, {lifetime} of {cost} cost{affinity}, load {}",
        filled.load
    )
}

/// Slots of a server, and the mean time that one is taken.
const fn capacity(lifetime: Lifetime) -> (u32, &'static str, f64) {
    match lifetime {
        Lifetime::Short => (4, "20ms", 0.02),
        Lifetime::Long => (500, "60s", 60.0),
    }
}

/// The speeds of all servers, summed up.
fn speeds(filled: &Filled) -> f64 {
    let servers = f64::from(filled.servers);
    match filled.hardware {
        Hardware::Equal => servers,
        Hardware::Mixed => f64::from(filled.servers / 2) * 0.5 + f64::from(filled.servers.div_ceil(2)),
        Hardware::Noisy => servers * (1.0 - 0.25 * 0.6),
    }
}

fn rate(filled: &Filled) -> f64 {
    let (slots, _, mean) = capacity(filled.lifetime);
    filled.load * speeds(filled) * f64::from(slots) / mean
}

/// The name of the first server, as its group is written.
fn first_server(filled: &Filled) -> &'static str {
    let count = match filled.hardware {
        Hardware::Mixed => filled.servers.div_ceil(2),
        Hardware::Equal | Hardware::Noisy => filled.servers,
    };
    if count == 1 { "server" } else { "server-1" }
}

fn trial(name: &str, filled: &Filled, events: &str, seed: u64) -> Result<Trial> {
    let source = Source {
        name: name.to_owned(),
        text: format!("{}{events}", text(filled)),
    };
    let loaded = load_scenario(&source);
    let loaded = loaded.map_err(|problems| {
        let problems: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        anyhow!("failed to make a scenario of the workload: {}", problems.join("; "))
    })?;
    let mut scenario = loaded.scenario;
    scenario.seed = seed;
    Ok(Trial {
        name: name.to_owned(),
        scenario,
    })
}

/// The scenario as YAML.
fn text(filled: &Filled) -> String {
    let (slots, mean, _) = capacity(filled.lifetime);
    let group =
        |name: &str, count: u32, more: &str| format!("  - {{ name: {name}, count: {count}, slots: {slots}{more} }}\n");
    let servers = match filled.hardware {
        Hardware::Equal => group("server", filled.servers, ""),
        Hardware::Noisy => {
            let antagonist = ", antagonist: { speed: 0.4, busy: 2s, quiet: 6s }";
            group("server", filled.servers, antagonist)
        }
        Hardware::Mixed => {
            let old = match filled.servers / 2 {
                0 => String::new(),
                count => group("old", count, ", speed: 0.5"),
            };
            group("server", filled.servers.div_ceil(2), "") + &old
        }
    };
    let service = match filled.cost {
        Cost::Even => "type: lognormal, variation: 0.2",
        Cost::Varied => "type: exponential",
        Cost::Mixed => "type: bimodal, large: 0.05, factor: 20",
    };
    let keys = match filled.affinity {
        Affinity::None => "",
        Affinity::Cache => "keys: { count: 2000, skew: 0.8 }\n",
    };
    // Long enough that only what waits far too long is given up.
    let timeout = match filled.lifetime {
        Lifetime::Short => "timeout: 2s\n",
        Lifetime::Long => "",
    };
    format!(
        "servers:\n{servers}arrivals: {{ load: {} }}\nservice: {{ {service}, mean: {mean} }}\n\
         balancers: {{ count: {}, counters: own }}\nretry: {{ attempts: 1 }}\nrequests: {}\n\
         {keys}{timeout}",
        filled.load, filled.balancers, filled.requests
    )
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    /// Every combination of words is a scenario that makes sense and has the load that was said.
    #[test]
    fn every_workload_is_a_scenario() {
        let mut count = 0;
        for &hardware in Hardware::value_variants() {
            for &cost in Cost::value_variants() {
                for &lifetime in Lifetime::value_variants() {
                    for &affinity in Affinity::value_variants() {
                        for servers in [1, 2, 3, 50] {
                            let workload = Workload {
                                servers: Some(servers),
                                hardware: Some(hardware),
                                balancers: Some(3),
                                cost: Some(cost),
                                lifetime: Some(lifetime),
                                affinity: Some(affinity),
                                load: Some(0.8),
                            };
                            let task = task(
                                &workload,
                                Size {
                                    seed: 1,
                                    requests: None,
                                },
                            )
                            .unwrap();
                            for trial in task.trials {
                                assert_eq!(trial.scenario.check(), Ok(()));
                                assert!((trial.scenario.load() - 0.8).abs() < 1e-6, "{workload:?}");
                                count += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(count > 144);
    }
}
