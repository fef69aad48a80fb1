//! What does the engine say of itself?

use std::sync::Arc;
use std::time::Instant;

use isobar_l7::World;
use isobar_observe::{
    LimitSnapshot, ListenerSnapshot, PrioritySnapshot, RouteSnapshot, ServerSnapshot, Snapshot, UpstreamSnapshot,
    WorkerSnapshot,
};
use isobar_plan::{EngineState, ListenerStatus, Priority, Status, UpstreamStatus};

use isobar_share::Store;
use isobar_upstream::moment;

use crate::Engine;

/// Keys and leased units of all limits that are shared through a store.
fn standing(world: &World, store: &Arc<Store>) -> (u64, u64) {
    let now = moment(Instant::now());
    let ledgers = world.limits.iter().filter_map(|limit| limit.ledger());
    let standings = ledgers
        .filter(|ledger| Arc::ptr_eq(ledger.store(), store))
        .map(|ledger| ledger.standing(now));
    standings.fold((0, 0), |(keys, leased), standing| {
        (keys + standing.0, leased + standing.1)
    })
}

impl Engine {
    /// What is true right now.
    #[must_use]
    pub fn status(&self) -> Status {
        let world = self.published.http.world();
        let state = self.state();
        let sites = self.published.sites();
        let listeners = sites.iter().filter_map(|site| {
            let name = site.name();
            let address = state.bindings.address(name)?;
            Some(ListenerStatus {
                name: name.clone(),
                address,
                connections: site.open().by_worker().collect(),
                certificates: state.registry.securing().status(name),
            })
        });
        let upstreams = world.upstreams.iter().map(|upstream| UpstreamStatus {
            tls: state.registry.securing_servers().status(upstream.name()),
            ..upstream.status()
        });
        Status {
            state: match state.drain_until {
                None => EngineState::Running,
                Some(_) => EngineState::Draining,
            },
            workers: self.workers.len(),
            uptime: self.started.elapsed(),
            generation: state.generation,
            listeners: listeners.collect(),
            upstreams: upstreams.collect(),
            limits: world.limits.iter().map(|limit| limit.status(Instant::now())).collect(),
            stores: world
                .stores
                .iter()
                .map(|store| store.status(standing(&world, store)))
                .collect(),
            access_log: state.registry.log().map(|log| log.status()),
        }
    }

    /// The counters, summed over the workers.
    #[must_use]
    pub fn metrics(&self) -> Snapshot {
        let world = self.published.http.world();
        let mut snapshot = Snapshot::default();
        for site in self.published.sites() {
            let name = site.name();
            let mut listener = ListenerSnapshot::new([Arc::clone(name)]);
            site.stats().iter().for_each(|shard| listener.add(shard));
            snapshot.listeners.push(listener);
            for (route, stats) in site.routes() {
                let mut series = RouteSnapshot::new([Arc::clone(name), Arc::clone(route)]);
                stats.iter().for_each(|shard| series.add(shard));
                snapshot.routes.push(series);
            }
        }
        for upstream in &world.upstreams {
            let mut series = UpstreamSnapshot::new([Arc::clone(upstream.name())]);
            upstream.all_stats().for_each(|shard| series.add(shard));
            snapshot.upstreams.push(series);
            for priority in Priority::ALL {
                let mut series = PrioritySnapshot::new([Arc::clone(upstream.name()), priority.name().into()]);
                upstream
                    .all_priority_stats(priority)
                    .for_each(|shard| series.add(shard));
                snapshot.priorities.push(series);
            }
            for server in &upstream.members().servers {
                let mut series = ServerSnapshot::new([Arc::clone(upstream.name()), Arc::clone(server.name())]);
                server.all_stats().for_each(|shard| series.add(shard));
                snapshot.servers.push(series);
            }
        }
        for limit in &world.limits {
            let mut series = LimitSnapshot::new([Arc::clone(limit.name())]);
            limit.stats().iter().for_each(|shard| series.add(shard));
            snapshot.limits.push(series);
        }
        for (id, shard) in self.worker_stats.iter().enumerate() {
            let mut series = WorkerSnapshot::new([id.to_string().into()]);
            series.add(shard);
            snapshot.workers.push(series);
        }
        snapshot
    }
}
