//! Which crate may see which?
//!
//! One table, checked against `cargo metadata`. It knows what `Cargo.toml` names, not what the code does with it.

use std::path::PathBuf;

use super::{Finding, Rule};
use crate::cargo::{Dependency, Metadata, Package, workspace_root};

/// A crate of the workspace and what it may see.
pub(super) struct Crate {
    name: &'static str,
    /// Where it stands.
    pub(super) layer: Layer,
    /// The crates of the workspace that it may name.
    sees: &'static [&'static str],
    /// Why it may touch sockets; none: it may not.
    pub(super) sockets: Option<&'static str>,
    /// Whether it may have `unsafe`, in one file.
    pub(super) has_unsafe: bool,
}

/// Where a crate stands; the layer decides which libraries it may bring in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// No IO, clock, randomness, threads, async or serde.
    Pure,
    /// Knows the plan and nothing of files, YAML and the admin listener.
    Data,
    /// Knows where plans come from and how status is shown.
    Control,
    /// The one crate that sees both halves.
    Binary,
    /// Never part of the product.
    Tool,
}

impl Crate {
    const fn new(name: &'static str, layer: Layer, sees: &'static [&'static str]) -> Self {
        Self {
            name,
            layer,
            sees,
            sockets: None,
            has_unsafe: false,
        }
    }

    const fn with_sockets(self, why: &'static str) -> Self {
        Self {
            sockets: Some(why),
            ..self
        }
    }

    const fn with_unsafe(self) -> Self {
        Self {
            has_unsafe: true,
            ..self
        }
    }
}

/// The architecture. A new edge is an entry here, in a commit that says why.
const CRATES: &[Crate] = &[
    Crate::new("isobar-balance", Layer::Pure, &[]),
    Crate::new("isobar-limit", Layer::Pure, &["isobar-balance"]),
    Crate::new("isobar-sim", Layer::Pure, &["isobar-balance"]),
    Crate::new("isobar-route", Layer::Pure, &[]),
    Crate::new("isobar-wire", Layer::Pure, &[]),
    Crate::new("isobar-observe", Layer::Pure, &[]),
    Crate::new(
        "isobar-plan",
        Layer::Pure,
        &["isobar-balance", "isobar-limit", "isobar-route"],
    ),
    Crate::new("isobar-net", Layer::Data, &[])
        .with_sockets("it is where sockets live")
        .with_unsafe(),
    Crate::new(
        "isobar-upstream",
        Layer::Data,
        &["isobar-balance", "isobar-plan", "isobar-observe"],
    ),
    Crate::new(
        "isobar-share",
        Layer::Data,
        &["isobar-balance", "isobar-limit", "isobar-plan"],
    ),
    Crate::new(
        "isobar-redis",
        Layer::Data,
        &["isobar-balance", "isobar-limit", "isobar-plan", "isobar-share"],
    )
    .with_sockets("it speaks to Redis"),
    Crate::new(
        "isobar-l4",
        Layer::Data,
        &[
            "isobar-balance",
            "isobar-limit",
            "isobar-route",
            "isobar-wire",
            "isobar-plan",
            "isobar-observe",
            "isobar-net",
            "isobar-upstream",
        ],
    ),
    Crate::new(
        "isobar-l7",
        Layer::Data,
        &[
            "isobar-balance",
            "isobar-limit",
            "isobar-route",
            "isobar-wire",
            "isobar-plan",
            "isobar-observe",
            "isobar-net",
            "isobar-upstream",
            "isobar-share",
            "isobar-l4",
        ],
    ),
    Crate::new(
        "isobar-forward",
        Layer::Data,
        &[
            "isobar-balance",
            "isobar-limit",
            "isobar-route",
            "isobar-wire",
            "isobar-plan",
            "isobar-observe",
            "isobar-net",
            "isobar-upstream",
            "isobar-l4",
        ],
    ),
    Crate::new(
        "isobar-engine",
        Layer::Data,
        &[
            "isobar-balance",
            "isobar-route",
            "isobar-wire",
            "isobar-plan",
            "isobar-observe",
            "isobar-net",
            "isobar-upstream",
            "isobar-l4",
            "isobar-l7",
            "isobar-forward",
            "isobar-share",
            "isobar-redis",
        ],
    ),
    Crate::new(
        "isobar-config",
        Layer::Control,
        &[
            "isobar-plan",
            "isobar-route",
            "isobar-balance",
            "isobar-observe",
            "isobar-sim",
        ],
    ),
    Crate::new("isobar-control", Layer::Control, &["isobar-plan", "isobar-config"])
        .with_sockets("it asks name servers"),
    Crate::new("isobar-admin", Layer::Control, &["isobar-plan", "isobar-observe"])
        .with_sockets("it has the listener for operators"),
    Crate::new(
        "isobar-replay",
        Layer::Control,
        &[
            "isobar-balance",
            "isobar-limit",
            "isobar-route",
            "isobar-plan",
            "isobar-observe",
            // What takes live requests through their limits takes recorded ones too.
            "isobar-l7",
        ],
    ),
    Crate::new(
        "isobar",
        Layer::Binary,
        &[
            "isobar-balance",
            "isobar-sim",
            "isobar-plan",
            "isobar-observe",
            "isobar-net",
            "isobar-engine",
            "isobar-config",
            "isobar-control",
            "isobar-admin",
            "isobar-replay",
        ],
    )
    .with_sockets("it opens the admin listener, and the demonstration has servers of its own"),
    Crate::new("isobar-testkit", Layer::Tool, &[]).with_sockets("it plays clients and servers"),
    Crate::new("xtask", Layer::Tool, &["isobar-config", "isobar-observe"]).with_sockets("it plays clients and servers"),
];

/// What a pure crate may bring in.
const PURE_LIBRARIES: &[&str] = &["memchr", "hashbrown", "thiserror", "libm"];

/// What the data plane may not bring in: it would know what it has to be walled off from.
const NOT_IN_DATA_PLANE: &[&str] = &[
    "anyhow",
    "axum",
    "clap",
    "hickory-resolver",
    "hyper",
    "notify",
    "prometheus-client",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "tracing",
];

/// What the control plane may not bring in: a library says what went wrong in an enum of its own.
const NOT_IN_CONTROL_PLANE: &[&str] = &["anyhow", "clap"];

/// The entry of a crate.
pub(super) fn crate_named(name: &str) -> Option<&'static Crate> {
    CRATES.iter().find(|entry| entry.name == name)
}

/// Judges every `Cargo.toml` of the workspace by the table.
pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    metadata.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let finding = |rule, what| Finding {
        file: manifest(package),
        line: 1,
        rule,
        what,
    };
    let Some(entry) = crate_named(&package.name) else {
        return vec![finding(Rule::Edge, format!("{} is not in the table", package.name))];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let name = &dependency.name;
        if dependency.path.is_some() {
            if !may_see(entry, dependency) {
                findings.push(finding(Rule::Edge, format!("{} may not see {name}", entry.name)));
            }
        } else if dependency.kind.as_deref() != Some("dev") && !may_bring_in(entry.layer, name) {
            findings.push(finding(
                Rule::External,
                format!("{} may not bring in {name}", entry.name),
            ));
        }
    }
    findings
}

/// Tests may see the testkit, and a pure crate's tests nothing else either.
fn may_see(entry: &Crate, dependency: &Dependency) -> bool {
    let is_for_tests = dependency.kind.as_deref() == Some("dev");
    entry.sees.contains(&dependency.name.as_str()) || (is_for_tests && dependency.name == "isobar-testkit")
}

fn may_bring_in(layer: Layer, library: &str) -> bool {
    match layer {
        Layer::Pure => PURE_LIBRARIES.contains(&library),
        Layer::Data => !NOT_IN_DATA_PLANE.contains(&library),
        Layer::Control => !NOT_IN_CONTROL_PLANE.contains(&library),
        Layer::Binary | Layer::Tool => true,
    }
}

fn manifest(package: &Package) -> PathBuf {
    let path = &package.manifest_path;
    path.strip_prefix(workspace_root()).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(package: &str, dependency: &str, kind: Option<&str>, expected: Option<Rule>) {
        let dependency = Dependency {
            name: dependency.into(),
            kind: kind.map(Into::into),
            path: dependency.starts_with("isobar").then(PathBuf::new),
        };
        let package = Package {
            name: package.into(),
            manifest_path: PathBuf::new(),
            dependencies: vec![dependency],
        };
        let found = check_package(&package);
        assert_eq!(found.first().map(|finding| finding.rule), expected, "{package:?}");
    }

    #[test]
    fn arrows_point_inward() {
        check("isobar-l7", "isobar-wire", None, None);
        check("isobar-wire", "isobar-l7", None, Some(Rule::Edge));
        check("isobar-engine", "isobar-config", None, Some(Rule::Edge));
        check("isobar-config", "isobar-net", Some("dev"), Some(Rule::Edge));
        check("isobar", "isobar-testkit", Some("dev"), None);
        check("isobar", "isobar-testkit", None, Some(Rule::Edge));
        check("isobar-unheard-of", "isobar-plan", None, Some(Rule::Edge));
    }

    #[test]
    fn libraries_stay_behind_their_wall() {
        check("isobar-wire", "memchr", None, None);
        check("isobar-wire", "serde", None, Some(Rule::External));
        check("isobar-wire", "proptest", Some("dev"), None);
        check("isobar-l7", "tokio", None, None);
        check("isobar-l7", "serde_json", None, Some(Rule::External));
        check("isobar-control", "anyhow", None, Some(Rule::External));
        check("isobar", "anyhow", None, None);
    }

    /// Following the arrows never leads back: each crate sees only crates that stand before it in the table.
    #[test]
    fn the_table_has_no_cycle() {
        for (index, entry) in CRATES.iter().enumerate() {
            for seen in entry.sees {
                assert!(
                    CRATES[..index].iter().any(|earlier| earlier.name == *seen),
                    "{} sees {seen}",
                    entry.name
                );
            }
        }
    }

    #[test]
    fn pure_crates_see_pure_crates_only() {
        for entry in CRATES.iter().filter(|entry| entry.layer == Layer::Pure) {
            assert!(
                entry
                    .sees
                    .iter()
                    .all(|name| crate_named(name).is_some_and(|it| it.layer == Layer::Pure))
            );
        }
    }
}
