//! Whatever happens in whatever order: does nobody sleep beside a free place, and does the line keep its order?

use std::sync::Arc;
use std::time::Duration;

use isobar_balance::Otherwise;
use isobar_plan::{Learned, LearnedFrom, Priority, Server, Sticky, StickyBy, UpstreamLimits};
use isobar_upstream::{Ask, Home, Local, Place, Refusal, Share, Upstream};
use proptest::prelude::*;

use crate::{Waiting, place, server, settings};

const NAMES: [&str; 3] = ["a", "b", "backup"];

/// To which server a request belongs, and what happens where that failed it.
type Belongs = (usize, Otherwise);

#[derive(Debug, Clone)]
enum Step {
    /// A request of a key joins that the servers of this mask failed, and that may belong to a server.
    Join(u8, Option<Belongs>, Priority, u64),
    /// One of those called looks for a place.
    Look(usize),
    /// One of those that wait, called or not, gives up.
    Leave(usize),
    /// One of those that have a place gives it back.
    Release(usize),
    /// A request that has not seen the queue takes a place.
    Steal,
    /// A reload gives a server another weight and limit, and moves it to another slot.
    Reload(usize, u32, Option<u32>),
    /// A reload gives the upstream as a whole another limit.
    Limit(Option<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    let limit = prop_oneof![4 => (0u32..3).prop_map(Some), 1 => Just(None)];
    let otherwise = prop_oneof![Just(Otherwise::Balance), Just(Otherwise::Refuse)];
    let home = prop_oneof![2 => Just(None), 1 => (0..NAMES.len(), otherwise).prop_map(Some)];
    prop_oneof![
        4 => (prop_oneof![3 => Just(0), 1 => 1u8..7], home, 0usize..3, 0u64..4)
            .prop_map(|(avoid, home, class, key)| Step::Join(avoid, home, Priority::ALL[class], key)),
        4 => any::<usize>().prop_map(Step::Look),
        1 => any::<usize>().prop_map(Step::Leave),
        3 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Steal),
        1 => prop_oneof![1 => Just(None), 3 => (1u32..4).prop_map(Some)].prop_map(Step::Limit),
        1 => (0..NAMES.len(), 0u32..2, limit).prop_map(|(index, weight, limit)| Step::Reload(index, weight, limit)),
    ]
}

/// One that waits, and what is known of it.
struct Guest {
    waiting: Waiting,
    avoid: u8,
    home: Option<Belongs>,
    /// With whom it shares; 0: with nobody.
    key: u64,
    came: usize,
    was_called: bool,
}

impl Guest {
    fn wants(&self) -> (u8, Option<Belongs>, Priority) {
        (self.avoid, self.home, self.waiting.priority)
    }
}

/// An upstream whose requests may belong to a server.
pub(crate) fn sticky(servers: Vec<Server>) -> isobar_plan::Upstream {
    let learned = Learned {
        from: LearnedFrom::Header("x-session".into()),
        ttl: Duration::from_secs(1),
        max_entries: 16,
    };
    isobar_plan::Upstream {
        sticky: Some(Sticky {
            by: StickyBy::Learned(learned),
            on_down: Otherwise::Balance,
        }),
        ..settings(servers)
    }
}

/// Whether places are divided between keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shares {
    Divided,
    Not,
}

struct Scene {
    shares: Shares,
    upstream: Arc<Upstream>,
    local: Local<()>,
    servers: Vec<Server>,
    limit: Option<u32>,
    max: u32,
    held: Vec<Place<()>>,
    guests: Vec<Guest>,
    came: usize,
}

impl Scene {
    fn new(max: u32, shares: Shares) -> Self {
        let mut servers = NAMES.map(|name| server(name, Some(1))).to_vec();
        servers[2].backup = true;
        let mut settings = sticky(servers.clone());
        settings.queue.max = max;
        let upstream = Arc::new(Upstream::new(settings, 1));
        Self {
            local: Local::new(Arc::clone(&upstream)),
            upstream,
            servers,
            limit: None,
            shares,
            max,
            held: Vec::new(),
            guests: Vec::new(),
            came: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Join(avoid, home, priority, key) => self.join((avoid, home, priority), key),
            Step::Look(which) => {
                let called: Vec<_> = (0..self.guests.len())
                    .filter(|&index| self.guests[index].was_called)
                    .collect();
                if !called.is_empty() {
                    self.look(called[which % called.len()]);
                }
            }
            Step::Leave(which) if !self.guests.is_empty() => {
                self.guests.remove(which % self.guests.len());
            }
            Step::Release(which) if !self.held.is_empty() => {
                self.held.remove(which % self.held.len());
            }
            Step::Steal => {
                self.held.extend(place(&self.local));
            }
            Step::Limit(limit) => {
                self.limit = limit;
                self.reload();
            }
            Step::Reload(index, weight, limit) => {
                let mut server = self.servers.remove(index);
                server.weight = weight;
                server.max_connections = limit;
                self.servers.push(server);
                self.reload();
            }
            Step::Leave(_) | Step::Release(_) => {}
        }
    }

    fn reload(&self) {
        let mut settings = sticky(self.servers.clone());
        settings.queue.max = self.max;
        settings.limits.max_requests = self.limit;
        self.upstream.reconfigure(settings);
    }

    fn join(&mut self, (avoid, home, priority): (u8, Option<Belongs>, Priority), key: u64) {
        let key = key * u64::from(self.shares == Shares::Divided);
        let names = NAMES.into_iter().enumerate().filter(|(bit, _)| avoid >> bit & 1 == 1);
        let names: Vec<_> = names.map(|(_, name)| name).collect();
        let servers = &self.upstream.members().servers;
        let is_avoided = |server: &&Arc<isobar_upstream::Server>| names.contains(&&**server.name());
        let tried: Vec<_> = servers.iter().filter(is_avoided).cloned().collect();
        let belongs = home.map(|(bit, otherwise)| {
            let server = servers.iter().find(|server| &**server.name() == NAMES[bit]);
            (server.unwrap(), otherwise)
        });
        let ask = Ask {
            priority,
            home: belongs.map(|(server, otherwise)| Home { server, otherwise }),
            share: (key > 0).then(|| Share {
                key,
                weight: u32::try_from(key).unwrap(),
            }),
            ..Ask::avoiding(&tried)
        };
        let Ok(waiting) = Waiting::asking(&self.upstream, &ask) else {
            let asleep = self.guests.iter().filter(|guest| !guest.was_called);
            let least = asleep.map(|guest| guest.waiting.priority).max();
            assert!(
                least.is_none_or(|least| least <= priority),
                "refused in place of {least:?}"
            );
            assert!(self.guests.len() >= self.max as usize);
            return;
        };
        self.guests.push(Guest {
            waiting,
            avoid,
            home,
            key,
            came: self.came,
            was_called: false,
        });
        self.came += 1;
    }

    fn look(&mut self, index: usize) {
        let guest = self.guests.remove(index);
        let has_server = self.room_at_servers(guest.avoid, guest.home).is_some();
        match guest.waiting.look(&self.local) {
            Ok(place) => self.held.push(place),
            Err((Refusal::NoneAvailable, _)) => assert!(!has_server),
            Err((Refusal::Full, waiting)) => {
                assert!(has_server, "it would be called for nothing again and again");
                self.guests.push(Guest {
                    waiting,
                    was_called: false,
                    ..guest
                });
            }
        }
    }

    /// The free places from which a request that avoids these and belongs there would be given one; none: it has no
    /// server.
    fn room(&self, (avoid, home, priority): (u8, Option<Belongs>, Priority)) -> Option<u32> {
        let limits = UpstreamLimits {
            max_requests: self.limit,
            max_connections: None,
        };
        let most = limits.most_requests(priority).unwrap_or(1000);
        let left = most.saturating_sub(u32::try_from(self.held.len()).unwrap());
        self.room_at_servers(avoid, home).map(|room| room.min(left))
    }

    fn room_at_servers(&self, avoid: u8, home: Option<Belongs>) -> Option<u32> {
        match home {
            Some((bit, _)) if avoid >> bit & 1 == 0 => return Some(self.free(NAMES[bit])),
            Some((_, Otherwise::Refuse)) => return None,
            _ => {}
        }
        let mut tiers = [None::<u32>; 2];
        for settings in &self.servers {
            let bit = NAMES.iter().position(|&name| name == &*settings.name).unwrap();
            if settings.weight > 0 && avoid >> bit & 1 == 0 {
                let tier = &mut tiers[usize::from(settings.backup)];
                *tier = Some(tier.unwrap_or(0) + self.free(&settings.name));
            }
        }
        tiers[0].or(tiers[1])
    }

    /// The free places at a server.
    fn free(&self, name: &str) -> u32 {
        let status = self.upstream.status().servers;
        let mut servers = self.servers.iter().zip(status);
        let (settings, status) = servers.find(|(settings, _)| &*settings.name == name).unwrap();
        let limit = settings.max_connections;
        limit.map_or(1000, |limit| limit.saturating_sub(status.in_flight))
    }

    fn check(&mut self) {
        let mut newly = Vec::new();
        self.guests.retain_mut(|guest| !guest.waiting.is_displaced());
        for guest in &mut self.guests {
            let is_called = guest.waiting.is_called();
            if is_called && !guest.was_called {
                newly.push(((guest.waiting.priority, guest.came), guest.avoid, guest.home, guest.key));
            }
            guest.was_called = is_called;
        }
        let is_anybody_awake = self.guests.iter().any(|guest| guest.was_called);
        for asleep in self.guests.iter().filter(|guest| !guest.was_called) {
            let room = self.room(asleep.wants());
            assert_ne!(room, None, "{} waits for nothing", asleep.came);
            assert!(
                room == Some(0) || is_anybody_awake,
                "{} sleeps beside a free place",
                asleep.came
            );
            for (came, avoid, home, key) in &newly {
                // In between keys of one priority there is another order.
                let is_of_other = *key != asleep.key && came.0 == asleep.waiting.priority;
                assert!(
                    (*avoid, *home) != (asleep.avoid, asleep.home)
                        || is_of_other
                        || *came < (asleep.waiting.priority, asleep.came)
                        || self.room_at_servers(*avoid, *home).is_none(),
                    "{came:?} was called before {}",
                    asleep.came
                );
            }
        }
        assert_eq!(self.upstream.status().queued as usize, self.guests.len());
    }

    /// Lets everybody have a place and give it back.
    fn finish(mut self) {
        for round in 0.. {
            self.held.clear();
            self.check();
            let Some(called) = self.guests.iter().position(|guest| guest.was_called) else {
                break;
            };
            assert!(round < 10_000, "calls without an end");
            self.look(called);
        }
        for guest in &self.guests {
            assert_eq!(self.room(guest.wants()), Some(0), "{} was forgotten", guest.came);
        }
        self.guests.clear();
        let status = self.upstream.status();
        assert_eq!(status.queued, 0);
        assert!(status.servers.iter().all(|server| server.in_flight == 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nobody_sleeps_beside_a_free_place(
        steps in prop::collection::vec(step(), 1..80),
        max in prop_oneof![Just(100u32), 1u32..6],
        shares in prop_oneof![Just(Shares::Not), Just(Shares::Divided)],
    ) {
        let mut scene = Scene::new(max, shares);
        for step in &steps {
            scene.take(step);
            scene.check();
        }
        scene.finish();
    }
}
