//! What do people write, and is it valid?
//!
//! A text becomes a tree in which every value knows its place (`tree`), the tree becomes a [`Document`] of values
//! that are valid each by itself ([`document`]), and the document becomes a [`Plan`] in which they fit together
//! (`bridge`). Every problem of the whole text is reported at once, with its place and what to do about it.
//!
//! Each setting is declared once, in [`document`]: reading it, `check --effective`, the JSON Schema and the reference
//! page come from that declaration. This crate opens no file and no socket: a text comes in as a [`Source`].
#![forbid(unsafe_code)]

mod bridge;
mod diagnostics;
pub mod document;
mod effective;
mod needed;
mod problem;
mod quick;
mod reference;
pub mod scenario;
mod schema;
mod setting;
mod suggest;
mod tree;
pub mod units;
mod yaml;

pub use bridge::fair::{check_weights, read_weights};
pub use bridge::limit::{check_overrides, read_overrides};
pub use diagnostics::{Color, Diagnostic, Diagnostics, Position, Related, Severity};
pub use document::Document;
pub use effective::{effective, to_yaml};
pub use needed::{CertificatePaths, Look, Needed, Unusable};
pub use quick::quick;
pub use reference::{limits_markdown, reference_markdown, scenario_markdown};
pub use schema::{json_schema, scenario_schema};

use isobar_plan::Plan;

use problem::{Path, Problems};
use setting::Setting;
use tree::{Called, Other};

const CONFIGURATION: Called = Called {
    name: "configuration",
    smallest: "the smallest one has a listener and an upstream:\n\
        listeners: [{ address: 127.0.0.1:8080, upstream: web }]\n\
        upstreams: { web: { servers: [127.0.0.1:9001] } }",
    own: &["listeners", "upstreams"],
    other: Other {
        name: "scenario",
        own: &["arrivals", "service"],
        read_by: "`isobar simulate` runs it",
    },
};

/// A text and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name of the file, as shown in messages.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it asks of the data plane.
    pub plan: Plan,
    /// What was written.
    pub document: Document,
    /// What is allowed, but hardly meant.
    pub warnings: Diagnostics,
}

/// Reads a configuration; what it needs outside of itself is taken as usable.
///
/// *Errors*: everything that is wrong with it and every warning, sorted by position; the writer's fault.
pub fn load(source: &Source) -> Result<Loaded, Diagnostics> {
    load_with(source, needed::taken_as_usable)
}

/// Reads a configuration, and has looked whether the files and other things that it needs can be used.
///
/// *Errors*: as for [`load`], and what cannot be used.
pub fn load_with(source: &Source, look: Look) -> Result<Loaded, Diagnostics> {
    let judge = |document: &Document, problems: &mut Problems| judge(document, look, problems);
    let (document, plan, warnings) = read(&source.text, &CONFIGURATION, judge)?;
    Ok(Loaded {
        plan,
        document,
        warnings,
    })
}

/// Reads a text as a document and has it judged as a whole; *returns* both with the warnings.
fn read<D: Setting, P>(
    text: &str,
    called: &Called,
    judge: impl FnOnce(&D, &mut Problems) -> P,
) -> Result<(D, P, Diagnostics), Diagnostics> {
    let mut problems = Problems::default();
    let tree = match tree::parse(text, called, &mut problems) {
        Ok(tree) => tree,
        Err(problem) => {
            problems.push(*problem);
            return Err(Diagnostics::locate(problems, text, None));
        }
    };
    if let Some(problem) = called.mistaken(&tree) {
        problems.push(problem);
        return Err(Diagnostics::locate(problems, text, Some(&tree)));
    }
    let document = D::decode(&tree, Path::ROOT, &mut problems);
    let judged = judge(&document, &mut problems);
    let failed = problems.has_errors();
    let diagnostics = Diagnostics::locate(problems, text, Some(&tree));
    if failed {
        Err(diagnostics)
    } else {
        Ok((document, judged, diagnostics))
    }
}

/// Turns a document that was not read from a text into a plan.
///
/// *Errors*: everything that does not fit together and every warning, without positions.
pub fn compile(document: Document) -> Result<Loaded, Diagnostics> {
    let mut problems = Problems::default();
    let plan = judge(&document, needed::taken_as_usable, &mut problems);
    let failed = problems.has_errors();
    let diagnostics = Diagnostics::without_text(problems);
    if failed {
        Err(diagnostics)
    } else {
        Ok(Loaded {
            plan,
            document,
            warnings: diagnostics,
        })
    }
}

fn judge(document: &Document, look: Look, problems: &mut Problems) -> Plan {
    let bridge::Bridged {
        plan,
        problems: mut later,
        unused,
    } = bridge::bridge(document);
    needed::check(document, look, &mut later);
    problems.extend_with_consequences(later);
    if !problems.has_errors() {
        problems.extend_with_consequences(unused);
    }
    plan
}
