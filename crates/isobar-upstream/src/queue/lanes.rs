//! Who of those who wait waits for the same places?
//!
//! Those who may use the same servers stand in one lane: where there is no room for one of them there is none for the
//! others, so that one look is enough for all. A lane of those who belong to one server, which is full, is *stuck*:
//! nothing but room at that server and another state of the upstream helps it, and until then nobody looks at it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use isobar_balance::Otherwise;
use isobar_plan::Priority;

use super::line::{Seat, Waiter, seats};
use super::shares::Party;
use crate::{Ask, Members, Server};

/// What may have made room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Made<'a> {
    /// The server has a place more.
    Place(&'a Arc<Server>),
    /// The limits of the upstream, or those who wait, are others.
    Otherwise,
    /// The servers, or what holds for them, are others.
    State,
}

/// What somebody waits for. Two that are equal find the same room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wish {
    /// The server it belongs to, and whether it goes nowhere else.
    home: Option<(Id, bool)>,
    /// The servers that failed it, sorted.
    avoid: Box<[Id]>,
}

/// Tells a server apart from others for as long as somebody holds it, which who waits does.
type Id = usize;

/// All that sleep, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Wish, Lane>,
    /// Those that are not stuck.
    loose: BTreeSet<Wish>,
}

/// Those who wait for the same; somebody always does.
#[derive(Debug, Default)]
pub(super) struct Lane(BTreeMap<Seat, Arc<Waiter>>);

/// A lane with room, or one that no server is left to.
#[derive(Debug)]
pub(super) struct Open<'a> {
    pub(super) lane: &'a Lane,
    /// How much room; none: no server is left.
    pub(super) room: Option<u32>,
}

impl Wish {
    pub(super) fn of(ask: &Ask<'_>) -> Self {
        let mut avoid: Box<[Id]> = ask.avoid.iter().map(id).collect();
        avoid.sort_unstable();
        let home = ask
            .home
            .map(|home| (id(home.server), home.otherwise == Otherwise::Refuse));
        Self { home, avoid }
    }
}

fn id(server: &Arc<Server>) -> Id {
    Arc::as_ptr(server).addr()
}

impl Lanes {
    pub(super) fn insert(&mut self, waiter: &Arc<Waiter>) {
        let lane = match self.lanes.entry(waiter.wish.clone()) {
            Entry::Vacant(vacant) => {
                self.loose.insert(vacant.key().clone());
                vacant.insert(Lane::default())
            }
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        lane.0.insert(waiter.seat, Arc::clone(waiter));
    }

    pub(super) fn remove(&mut self, waiter: &Waiter) {
        let Some(lane) = self.lanes.get_mut(&waiter.wish) else {
            return;
        };
        lane.0.remove(&waiter.seat);
        if lane.0.is_empty() {
            self.lanes.remove(&waiter.wish);
            self.loose.remove(&waiter.wish);
        }
    }

    /// The lanes from which somebody might be called now.
    ///
    /// *Cost*: a look at the room for each lane that is not stuck, and for those of the server with a place more.
    pub(super) fn open(&mut self, members: &Members, made: Made<'_>) -> Vec<Open<'_>> {
        let looked_at: Vec<Wish> = match made {
            Made::State => self.lanes.keys().cloned().collect(),
            Made::Otherwise => self.loose.iter().cloned().collect(),
            Made::Place(server) => {
                let of_server = self.of_server(server).filter(|wish| !self.loose.contains(wish));
                of_server.chain(&self.loose).cloned().collect()
            }
        };
        let mut open = Vec::new();
        for wish in looked_at {
            let Some((lane, waiter)) = self.lanes.get(&wish).and_then(|lane| Some((lane, lane.any()?))) else {
                continue;
            };
            let room = members.room(&waiter.avoid, waiter.home());
            if room == Some(0) && members.is_bound(&waiter.avoid, waiter.home()) {
                self.loose.remove(&wish);
                continue;
            }
            if room != Some(0) {
                open.push(Open { lane, room });
            }
            self.loose.insert(wish);
        }
        open
    }

    /// What those wait for who belong to a server.
    fn of_server(&self, server: &Arc<Server>) -> impl Iterator<Item = &Wish> {
        let id = id(server);
        let first = Wish {
            home: Some((id, false)),
            avoid: Box::default(),
        };
        let belongs = move |wish: &&Wish| wish.home.is_some_and(|(home, _)| home == id);
        self.lanes.range(first..).map(|(wish, _)| wish).take_while(belongs)
    }
}

impl Lane {
    fn any(&self) -> Option<&Waiter> {
        self.0.values().next().map(|waiter| &**waiter)
    }

    /// The first of a party of one priority, or the first of it behind a seat.
    pub(super) fn next(&self, of: (Priority, Party), behind: Option<Seat>) -> Option<(Seat, &Arc<Waiter>)> {
        let all = seats(of.0, of.1);
        let from = behind.map_or(Bound::Included(*all.start()), Bound::Excluded);
        let mut range = self.0.range((from, Bound::Included(*all.end())));
        range.next().map(|(seat, waiter)| (*seat, waiter))
    }

    /// The last of a party of one priority, or the last of it before a seat.
    pub(super) fn previous(&self, of: (Priority, Party), before: Option<Seat>) -> Option<(Seat, &Arc<Waiter>)> {
        let all = seats(of.0, of.1);
        let to = before.map_or(Bound::Included(*all.end()), Bound::Excluded);
        let mut range = self.0.range((Bound::Included(*all.start()), to));
        range.next_back().map(|(seat, waiter)| (*seat, waiter))
    }
}
