//! What do all workers serve?

use std::sync::Arc;
use std::time::Duration;

use isobar_l4::published::{self, Generation};
use isobar_l4::throttle::Metering;
use isobar_l4::{LogHandle, OpenConnections};
use isobar_observe::{ListenerStats, RouteStats};
use isobar_plan::{ForwardProxy, Name};
use isobar_upstream::Sharded;

use crate::Standing;

/// Where the newest world is found.
pub type Published = published::Published<World>;

/// Everything the workers serve of forward proxies: one plan, made ready to run. Immutable; a reload publishes another.
#[derive(Debug)]
pub struct World {
    /// Counts the worlds, from 1.
    pub generation: u64,
    /// The listeners, in the plan's order.
    pub sites: Vec<Arc<Site>>,
    /// How long tunnels go on whose listener is gone.
    pub drain_timeout: Duration,
    /// The access log; none: nothing is written.
    pub log: Option<Arc<LogHandle>>,
}

/// The rules of one listener.
#[derive(Debug)]
pub struct Site {
    /// What was asked of it.
    pub listener: ForwardProxy,
    /// What is counted; kept across reloads by the listener's name.
    pub stats: Arc<Sharded<ListenerStats>>,
    /// Its open connections; kept likewise.
    pub open: Arc<OpenConnections>,
    /// What is counted of each rule, in the order of their names; kept by those.
    pub rules: Vec<Arc<Sharded<RouteStats>>>,
    /// The rates that bytes of its clients share.
    pub metering: Box<[Arc<dyn Metering>]>,
    /// What is known of names and users; kept as well.
    pub standing: Standing,
}

impl Generation for World {
    fn generation(&self) -> u64 {
        self.generation
    }
}

impl World {
    /// The rules of a listener; none: it is gone.
    pub(crate) fn site(&self, name: &str) -> Option<&Arc<Site>> {
        self.sites.iter().find(|site| &*site.listener.name == name)
    }
}

impl Site {
    /// The name of each rule, and what is counted of it.
    pub fn rules(&self) -> impl Iterator<Item = (&Name, &Sharded<RouteStats>)> {
        let counted = self.rules.iter().map(|stats| &**stats);
        self.listener.rule_names.iter().zip(counted)
    }

    /// The position, among the names, of what holds where no rule does.
    pub(crate) fn otherwise(&self) -> usize {
        self.listener.rule_names.len().saturating_sub(1)
    }
}
