//! What do the names of servers stand for, as far as the engine was told?
//!
//! It remembers, so that a server that comes with a plan can be given requests from its first moment. Nothing is asked
//! for here.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use isobar_plan::{Plan, ServerAddress};

/// What a name stands for, or why that is not known.
pub(crate) type Resolution = Result<Vec<SocketAddr>, String>;

/// What was told of names last.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashMap<ServerAddress, Resolution>,
}

impl Names {
    pub(crate) fn learn(&mut self, address: ServerAddress, outcome: Resolution) {
        self.known.insert(address, outcome);
    }

    /// What is known of an address; none: nothing, or it is no name.
    pub(crate) fn resolution(&self, address: &ServerAddress) -> Option<Resolution> {
        self.known.get(address).cloned()
    }

    /// Forgets what the plan does not name.
    pub(crate) fn retain(&mut self, plan: &Plan) {
        let servers = plan.upstreams.iter().flat_map(|upstream| &upstream.servers);
        let named: HashSet<_> = servers.map(|server| &server.address).collect();
        self.known.retain(|address, _| named.contains(address));
    }
}
