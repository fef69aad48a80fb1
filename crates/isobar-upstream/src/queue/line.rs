//! In which order do those who wait stand, and for whom is there room?

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use isobar_balance::{Moment, Otherwise};
use isobar_plan::{Priority, Queue, QueueOrder};

use super::lanes::{Lane, Lanes, Made, Open, Wish};
use super::patience::Patience;
use super::shares::{Closeness, Party, Shares};
use super::{Displaced, QueueFull, lock};
use crate::gate::Gate;
use crate::{Ask, Home, Members, Server};

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those not called, by their seats.
    asleep: BTreeMap<Seat, Arc<Waiter>>,
    /// The same, by what they wait for.
    lanes: Lanes,
    /// Whose turn it is.
    shares: Shares,
    classes: [Class; 3],
    next_number: u64,
}

/// Those of one priority.
#[derive(Debug, Default)]
struct Class {
    asleep: u32,
    /// Those of them that avoid a server, or wait for a certain one.
    choosy: u32,
    /// How many were called and have not told what came of it.
    awake: u32,
    patience: Patience,
}

/// Where one stands, for as long as it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    class: Priority,
    /// With whom it shares what there is. In between parties, the order is that of their turns and not this one.
    party: Party,
    /// When it must be answered, where the order goes by that.
    due: Moment,
    number: u64,
}

impl Seat {
    /// The seat of one that must be answered when `due` says, where the order goes by that; of those that are otherwise
    /// equal the lower number goes first.
    pub(crate) fn new(class: Priority, due: Option<Moment>, number: u64) -> Self {
        Self {
            class,
            party: Party::NOBODY,
            // Behind those that a queue of before put in order of their deadlines.
            due: due.unwrap_or(Moment::new(u64::MAX)),
            number,
        }
    }

    pub(super) fn party(&self) -> Party {
        self.party
    }
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) seat: Seat,
    pub(super) wish: Wish,
    /// The servers that failed it.
    pub(super) avoid: Box<[Arc<Server>]>,
    /// The server it belongs to.
    home: Option<(Arc<Server>, Otherwise)>,
    news: AtomicU8,
    pub(super) waker: Mutex<Option<Waker>>,
}

/// What a waiter has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum News {
    Nothing,
    /// It is to look for a place.
    Called,
    /// Another that matters more, or is newer, has its place in the line.
    Displaced,
    /// Another has its place, whose party had less of the line.
    Outshared,
}

/// How somebody left the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// With a place.
    Served,
    /// It waited for longer than it could.
    GaveUp,
    /// For reasons that say nothing of its patience.
    Other,
}

/// What the line looks like from outside.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    /// All of each priority.
    pub(super) all: [u32; 3],
    /// Those that a newcomer of the priority has to let go first.
    pub(super) ahead: [u32; 3],
}

impl Line {
    pub(super) fn lengths(&self) -> Lengths {
        let mut lengths = Lengths::default();
        let mut ahead = 0;
        for (index, class) in self.classes.iter().enumerate() {
            lengths.all[index] = class.len();
            // Sleepers that avoid a server or wait for a certain one do not count, or the other servers would stand
            // idle for their sake.
            ahead += class.len() - class.choosy;
            lengths.ahead[index] = ahead;
        }
        lengths
    }

    fn len(&self) -> u32 {
        self.classes.iter().map(Class::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.asleep.is_empty()
    }

    /// Takes a newcomer in, and somebody else out where the queue is full and the newcomer goes before that one.
    pub(super) fn join(
        &mut self,
        queue: &Queue,
        ask: &Ask<'_>,
    ) -> Result<(Arc<Waiter>, Option<Arc<Waiter>>), QueueFull> {
        let party = self.shares.party(ask.share);
        let victim = match self.len() >= queue.max {
            false => None,
            true => match self.victim(ask.priority, party) {
                None => return Err(self.full(ask.priority, party)),
                victim => victim,
            },
        };
        // The newcomer first: a party is forgotten when nobody waits.
        self.shares.joins(party, ask.priority);
        let displaced = victim.map(|(waiter, news)| self.displace(waiter, news));
        let due = ask.deadline.filter(|_| queue.order == QueueOrder::Deadline);
        let seat = Seat::new(ask.priority, due, self.next_number);
        let waiter = Arc::new(Waiter {
            seat: Seat { party, ..seat },
            wish: Wish::of(ask),
            avoid: ask.avoid.into(),
            home: ask.home.map(|home| (Arc::clone(home.server), home.otherwise)),
            news: AtomicU8::new(News::Nothing as u8),
            waker: Mutex::default(),
        });
        self.next_number += 1;
        self.sleep(&waiter);
        Ok((waiter, displaced))
    }

    /// Why there is no room for a newcomer.
    fn full(&mut self, class: Priority, party: Party) -> QueueFull {
        let has_its_share = self.shares.has_its_share(party, class);
        self.shares.turned_away();
        match has_its_share {
            true => QueueFull::HasItsShare,
            false => QueueFull::ForEverybody,
        }
    }

    /// Who makes room for a newcomer: of the greediest party of the lowest priority below the newcomer's, or of its own where
    /// that party has more of the queue than the newcomer's, the last one, or where the newest go first, the oldest.
    fn victim(&self, by: Priority, newcomer: Party) -> Option<(Arc<Waiter>, News)> {
        let mut lower = Priority::ALL.into_iter().rev().take_while(|class| *class > by);
        let lower = lower.find_map(|class| Some((class, self.shares.greediest(class)?)));
        let (class, party, news) = if let Some((class, party)) = lower {
            (class, party, News::Displaced)
        } else {
            let closeness = match self.is_newest_first(by) {
                true => Closeness::GivesWay,
                false => Closeness::Stays,
            };
            match self.shares.greedier(newcomer, by, closeness) {
                Some(greedier) => (by, greedier, News::Outshared),
                None if closeness == Closeness::GivesWay => (by, newcomer, News::Displaced),
                None => return None,
            }
        };
        let mut seats = self.asleep.range(seats(class, party));
        let (_, waiter) = match self.is_newest_first(class) {
            true => seats.next()?,
            false => seats.next_back()?,
        };
        Some((Arc::clone(waiter), news))
    }

    /// Takes one out of the line, who is to be told so.
    fn displace(&mut self, waiter: Arc<Waiter>, news: News) -> Arc<Waiter> {
        self.wake(&waiter);
        if self.is_newest_first(waiter.seat.class) {
            self.class(&waiter).patience.lost();
        }
        waiter.news.store(news as u8, Ordering::Release);
        waiter
    }

    fn is_newest_first(&self, class: Priority) -> bool {
        self.classes[class.index()].patience.is_over()
    }

    fn class(&mut self, waiter: &Waiter) -> &mut Class {
        &mut self.classes[waiter.seat.class.index()]
    }

    fn sleep(&mut self, waiter: &Arc<Waiter>) {
        let class = self.class(waiter);
        class.asleep += 1;
        class.choosy += u32::from(waiter.is_choosy());
        if let Some((home, _)) = &waiter.home {
            home.sleeper_comes();
        }
        self.lanes.insert(waiter);
        self.asleep.insert(waiter.seat, Arc::clone(waiter));
    }

    /// Takes one that sleeps out of the line for good; false: it does not sleep.
    fn wake(&mut self, waiter: &Waiter) -> bool {
        let slept = self.take_out(waiter);
        if slept {
            self.shares.leaves(waiter.seat.party, waiter.seat.class);
        }
        slept
    }

    fn take_out(&mut self, waiter: &Waiter) -> bool {
        if self.asleep.remove(&waiter.seat).is_none() {
            return false;
        }
        self.lanes.remove(waiter);
        let class = self.class(waiter);
        class.asleep -= 1;
        class.choosy -= u32::from(waiter.is_choosy());
        if let Some((home, _)) = &waiter.home {
            home.sleeper_goes();
        }
        true
    }

    /// One that was called has found nothing, and sleeps again.
    pub(super) fn missed(&mut self, waiter: &Arc<Waiter>) {
        self.class(waiter).awake -= 1;
        self.shares.missed(waiter.seat.party, waiter.seat.class);
        self.sleep(waiter);
    }

    /// Takes a waiter out of the line, wherever in it it is.
    pub(super) fn leave(&mut self, waiter: &Waiter, how: Departure) {
        let was_asleep = self.wake(waiter);
        let class = self.class(waiter);
        match how {
            // It was counted when it was displaced.
            _ if !was_asleep && waiter.was_displaced() => return,
            Departure::Served => class.patience.served(),
            Departure::GaveUp => class.patience.lost(),
            Departure::Other => {}
        }
        if was_asleep {
            return;
        }
        class.awake -= 1;
        match how {
            Departure::Served => self.shares.served(waiter.seat.party),
            Departure::GaveUp | Departure::Other => self.shares.gave_up(waiter.seat.party),
        }
    }

    /// One that left with a place has given it back.
    pub(super) fn ended(&mut self, party: Party, took: Duration) {
        self.shares.ended(party, took);
    }

    /// Parties that wait or hold a place, and of whichever has the most, how many wait and how many places it holds.
    pub(super) fn crowd(&self) -> (u32, [u32; 2]) {
        self.shares.crowd()
    }

    /// One that waited was served, and left before it was answered.
    pub(super) fn waited_in_vain(&mut self, class: Priority) {
        self.classes[class.index()].patience.lost();
    }

    /// Takes out, in order, those for whom there is more room than there are others awake, and those who would wait
    /// for nothing because no server is left to them.
    ///
    /// *Cost*: that of [`Lanes::open`], and a logarithm for each lane with room and each sleeper that is called; those
    /// who wait before them for other places cost nothing.
    pub(super) fn call(&mut self, now: (&Members, &Gate), made: Made<'_>) -> Vec<Arc<Waiter>> {
        if self.is_empty() {
            return Vec::new();
        }
        let called = self.callable(now, made);
        for waiter in &called {
            self.take_out(waiter);
            self.class(waiter).awake += 1;
        }
        called
    }

    /// Who is called: by turns of the parties, of each in the order of the line, of each lane for as long as there is room for it.
    fn callable(&mut self, (members, gate): (&Members, &Gate), made: Made<'_>) -> Vec<Arc<Waiter>> {
        let mut called = Vec::new();
        let awake = self.classes.iter().map(|class| class.awake).sum();
        let newest_first = Priority::ALL.map(|class| self.is_newest_first(class));
        let mut open = Openings {
            left: 0,
            lanes: self.lanes.open(members, made).into_iter().map(Some).collect(),
            awake,
            within: 0,
        };
        open.left = open.lanes.len();
        for class in Priority::ALL {
            let most = members.settings.limits.most_requests(class);
            open.within = most.map_or(u32::MAX, |most| gate.room(most));
            let mut waiting = BTreeMap::new();
            let mut from = Bound::Unbounded;
            // Who is called moves to a later turn, so that nobody before `from` has anybody left to call.
            while let Some(turn) = self.shares.next(class, from).filter(|_| open.left > 0) {
                let of = Of {
                    class,
                    party: turn.party,
                    newest_first: newest_first[class.index()],
                };
                let heads = waiting.entry(turn.party).or_insert_with(|| open.heads(&of));
                if let Some(waiter) = open.call(&of, heads) {
                    self.shares.called(turn.party, class);
                    called.push(waiter);
                    from = Bound::Included(turn);
                } else {
                    from = Bound::Excluded(turn);
                }
            }
        }
        called
    }
}

/// The lanes with room, while those are found who are called.
struct Openings<'a> {
    lanes: Vec<Option<Open<'a>>>,
    /// How many of them have room still.
    left: usize,
    /// Those who were called.
    awake: u32,
    /// What the limits of the upstream leave to the priority.
    within: u32,
}

/// Those of a party of one priority.
#[derive(Clone, Copy)]
struct Of {
    class: Priority,
    party: Party,
    newest_first: bool,
}

/// The next of each lane, by seat.
type Heads = BTreeMap<Seat, (usize, Arc<Waiter>)>;

impl Openings<'_> {
    fn heads(&self, of: &Of) -> Heads {
        let heads = self.lanes.iter().enumerate().filter_map(|(index, open)| {
            let (seat, waiter) = of.next(open.as_ref()?.lane, None)?;
            Some((seat, (index, waiter)))
        });
        heads.collect()
    }

    /// The next one for whom there is room.
    fn call(&mut self, of: &Of, heads: &mut Heads) -> Option<Arc<Waiter>> {
        while let Some((seat, (index, waiter))) = match of.newest_first {
            true => heads.pop_last(),
            false => heads.pop_first(),
        } {
            let Some(place) = self.lanes.get_mut(index) else {
                continue;
            };
            let Some(Open { lane, room }) = place else { continue };
            if room.is_none_or(|room| room.min(self.within) > self.awake) {
                self.awake += 1;
                heads.extend(of.next(lane, Some(seat)).map(|(seat, waiter)| (seat, (index, waiter))));
                return Some(waiter);
            }
            // Nobody of another party or of a lower priority has more room than this one.
            *place = None;
            self.left -= 1;
        }
        None
    }
}

impl Of {
    fn next(&self, lane: &Lane, after: Option<Seat>) -> Option<(Seat, Arc<Waiter>)> {
        let (class, party) = (self.class, self.party);
        let next = match self.newest_first {
            true => lane.previous((class, party), after),
            false => lane.next((class, party), after),
        };
        next.map(|(seat, waiter)| (seat, Arc::clone(waiter)))
    }
}

impl Class {
    fn len(&self) -> u32 {
        self.asleep.saturating_add(self.awake)
    }
}

impl Waiter {
    fn is_choosy(&self) -> bool {
        !self.avoid.is_empty() || self.home.is_some()
    }

    pub(super) fn home(&self) -> Option<Home<'_>> {
        let (server, otherwise) = self.home.as_ref()?;
        Some(Home {
            server,
            otherwise: *otherwise,
        })
    }

    fn was_displaced(&self) -> bool {
        self.displaced().is_some()
    }

    /// Why another has its place in the line; none: it has it.
    fn displaced(&self) -> Option<Displaced> {
        match self.news.load(Ordering::Acquire) {
            news if news == News::Displaced as u8 => Some(Displaced::ByPrecedence),
            news if news == News::Outshared as u8 => Some(Displaced::ByShare),
            _ => None,
        }
    }

    /// What it is to be told; a call is told once.
    ///
    /// *Errors*: another has its place in the line.
    pub(super) fn news(&self) -> Result<News, Displaced> {
        let called = News::Called as u8;
        if self
            .news
            .compare_exchange(called, News::Nothing as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            return Ok(News::Called);
        }
        self.displaced().map_or(Ok(News::Nothing), Err)
    }

    pub(super) fn call(&self) {
        self.news.store(News::Called as u8, Ordering::Release);
        self.wake();
    }

    pub(super) fn wake(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Every seat of a party of one priority.
pub(super) fn seats(class: Priority, party: Party) -> std::ops::RangeInclusive<Seat> {
    let seat = |due, number| Seat {
        class,
        party,
        due,
        number,
    };
    seat(Moment::new(0), 0)..=seat(Moment::new(u64::MAX), u64::MAX)
}
