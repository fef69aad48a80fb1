//! What may be simulated, and does it make sense?
//!
//! A scenario is a document of its own: it is read, reported on and documented by the same means as a configuration,
//! and becomes the simulator's [`Scenario`] over one bridge.

mod bridge;
mod decimal;
mod document;
mod fine;

pub use decimal::Decimal;
pub use document::{
    Action, AntagonistLoad, ArrivalKind, Arrivals, Balancers, Counters, Discipline, Event, Keys, QueueLimits, Reports,
    Retries, ScenarioDocument, ServerGroup, Service, ServiceKind, TracedRequest, Wear,
};
pub use fine::{Fine, Offset};

use isobar_sim::Scenario;

use crate::tree::{Called, Other};
use crate::{Diagnostics, Source};

const SCENARIO: Called = Called {
    name: "scenario",
    smallest: "the smallest one has servers, arrivals and a service time:\n\
        servers: [{ name: web, count: 3 }]\n\
        arrivals: { load: 0.7 }\n\
        service: { mean: 10ms }",
    own: &["arrivals", "service"],
    other: Other {
        name: "configuration",
        own: &["listeners", "upstreams"],
        read_by: "`isobar check` checks it, and `isobar run` serves it",
    },
};

/// A scenario that can be run.
#[derive(Debug, Clone)]
pub struct LoadedScenario {
    /// What it asks of the simulator.
    pub scenario: Scenario,
    /// What was written.
    pub document: ScenarioDocument,
    /// What is allowed, but hardly meant.
    pub warnings: Diagnostics,
}

/// Reads a scenario.
///
/// *Errors*: everything that is wrong with it and every warning, sorted by position; the writer's fault.
pub fn load_scenario(source: &Source) -> Result<LoadedScenario, Diagnostics> {
    let (document, scenario, warnings) = crate::read(&source.text, &SCENARIO, bridge::judge)?;
    Ok(LoadedScenario {
        scenario,
        document,
        warnings,
    })
}

/// Makes a scenario of a document that was not read from a text.
///
/// *Errors*: everything that does not fit together and every warning, without positions.
pub fn compile_scenario(document: ScenarioDocument) -> Result<LoadedScenario, Diagnostics> {
    let mut problems = crate::problem::Problems::default();
    let scenario = bridge::judge(&document, &mut problems);
    let failed = problems.has_errors();
    let warnings = Diagnostics::without_text(problems);
    if failed {
        return Err(warnings);
    }
    Ok(LoadedScenario {
        scenario,
        document,
        warnings,
    })
}

/// The scenario as a person would write it: what is not the default. Loads to the same document.
#[must_use]
pub fn scenario_to_yaml(document: &ScenarioDocument) -> String {
    use crate::setting::{Detail, Setting};
    crate::yaml::write(&document.encode(Detail::Brief))
}
