//! Who asks for how much, and which rules hold?

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use isobar_config::document::LimitAlgorithm;
use isobar_plan::Plan;

use super::super::plan;

/// How long the server takes for an answer on average.
pub(super) const SERVICE: Duration = Duration::from_millis(80);
/// Requests that the server does at once in scene `fair-share`: a hundred a second.
const PLACES: u32 = 8;
/// The field in which a user says who it is.
pub(super) const USER_FIELD: &str = "x-user";

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// A good user and a bad one, under a limit that counts so.
    Users(LimitAlgorithm),
    /// Four customers of one server.
    FairShare(Sharing),
}

/// How the server is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    Fair,
    FirstCome,
}

/// One who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: &'static str,
    /// Requests a second.
    pub(super) rate: u32,
}

const GOOD_AND_BAD: [Person; 2] = [Person { name: "good", rate: 5 }, Person { name: "bad", rate: 50 }];

const CUSTOMERS: [Person; 4] = [
    Person { name: "anna", rate: 10 },
    Person { name: "ben", rate: 10 },
    Person { name: "cleo", rate: 10 },
    Person {
        name: "dora",
        rate: 1000,
    },
];

impl Sharing {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Fair => Self::FirstCome,
            Self::FirstCome => Self::Fair,
        }
    }
}

impl Scene {
    // tidy: allow(boolean-parameter): the parameter is the flag of the command line
    pub(super) const fn fair_share(unfair: bool) -> Self {
        Self::FairShare(if unfair { Sharing::FirstCome } else { Sharing::Fair })
    }

    pub(super) const fn people(self) -> &'static [Person] {
        match self {
            Self::Users(_) => &GOOD_AND_BAD,
            Self::FairShare(_) => &CUSTOMERS,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Users(_) => "users",
            Self::FairShare(_) => "fair-share",
        }
    }

    /// The rules, as they are written in a configuration.
    pub(super) fn rules(self) -> String {
        match self {
            Self::Users(LimitAlgorithm::Concurrency) => "algorithm: concurrency, max_requests: 2".to_owned(),
            Self::Users(algorithm) => format!("algorithm: {}, rate: 10/s", algorithm.name()),
            Self::FairShare(Sharing::Fair) => format!("fair_share: \"header:{USER_FIELD}\""),
            Self::FairShare(Sharing::FirstCome) => "fair_share: none".to_owned(),
        }
    }

    /// The plan: everything a file would need to say.
    pub(super) fn plan(self, listen: SocketAddr, server: SocketAddr) -> Result<Plan> {
        let rules = self.rules();
        plan::read(match self {
            Self::Users(_) => format!(
                "listeners: [{{ name: demonstration, address: \"{listen}\", upstream: server, request_limits: [per-user] }}]\n\
                 upstreams: {{ server: {{ servers: [{server}] }} }}\n\
                 limits: {{ per-user: {{ key: \"header:{USER_FIELD}\", {rules}, headers: true }} }}\n"
            ),
            Self::FairShare(_) => format!(
                "listeners: [{{ name: demonstration, address: \"{listen}\", upstream: server }}]\n\
                 upstreams:\n  server:\n    servers: [{{ address: \"{server}\", max_connections: {PLACES} }}]\n    \
                 queue: {{ max: 64 }}\n    {rules}\n"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_makes_a_valid_plan() {
        let [listen, server] = ["127.0.0.1:8080", "127.0.0.1:1"].map(|address| address.parse().unwrap());
        for algorithm in LimitAlgorithm::OF_REQUESTS {
            let plan = Scene::Users(algorithm).plan(listen, server).unwrap();
            assert_eq!(plan.limits.len(), 1);
        }
        for sharing in [Sharing::Fair, Sharing::FirstCome] {
            let plan = Scene::FairShare(sharing).plan(listen, server).unwrap();
            assert_eq!(plan.upstreams[0].fair_share.is_some(), sharing == Sharing::Fair);
        }
    }
}
