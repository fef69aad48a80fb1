//! In which order do those who wait stand, and for whom is there room?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use isobar_balance::{Moment, Otherwise};
use isobar_plan::{Priority, Queue, QueueOrder};

use super::lanes::{Lane, Lanes, Made, Open, Wish};
use super::patience::Patience;
use super::{QueueFull, lock};
use crate::gate::Gate;
use crate::{Ask, Home, Members, Server};

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those not called, by their seats.
    asleep: BTreeMap<Seat, Arc<Waiter>>,
    /// The same, by what they wait for.
    lanes: Lanes,
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
            // Behind those that a queue of before put in order of their deadlines.
            due: due.unwrap_or(Moment::new(u64::MAX)),
            number,
        }
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
    /// Another has its place in the line.
    Displaced,
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
        let displaced = if self.len() >= queue.max {
            Some(self.displace(ask.priority).ok_or(QueueFull)?)
        } else {
            None
        };
        let due = ask.deadline.filter(|_| queue.order == QueueOrder::Deadline);
        let waiter = Arc::new(Waiter {
            seat: Seat::new(ask.priority, due, self.next_number),
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

    /// Takes out the last one of the lowest priority below this one, or where the newest go first, the oldest of it.
    fn displace(&mut self, by: Priority) -> Option<Arc<Waiter>> {
        let lower = Priority::ALL.into_iter().rev().take_while(|class| *class > by);
        let last = lower
            .filter_map(|class| self.asleep.range(seats(class)).next_back())
            .next();
        let (seat, is_impatient) = match last {
            Some((seat, _)) if !self.is_newest_first(seat.class) => (*seat, false),
            Some((seat, _)) => (*self.asleep.range(seats(seat.class)).next()?.0, true),
            None if self.is_newest_first(by) => (*self.asleep.range(seats(by)).next()?.0, true),
            None => return None,
        };
        let waiter = Arc::clone(self.asleep.get(&seat)?);
        self.wake(&waiter);
        if is_impatient {
            self.class(&waiter).patience.lost();
        }
        waiter.news.store(News::Displaced as u8, Ordering::Release);
        Some(waiter)
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

    /// Takes one that sleeps out of the line; false: it does not sleep.
    fn wake(&mut self, waiter: &Waiter) -> bool {
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
        if !was_asleep {
            class.awake -= 1;
        }
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
            self.wake(waiter);
            self.class(waiter).awake += 1;
        }
        called
    }

    /// Who is called: in the order of the line as a whole, of each lane for as long as there is room for it.
    fn callable(&mut self, (members, gate): (&Members, &Gate), made: Made<'_>) -> Vec<Arc<Waiter>> {
        let mut called = Vec::new();
        let mut awake: u32 = self.classes.iter().map(|class| class.awake).sum();
        let newest_first = Priority::ALL.map(|class| self.is_newest_first(class));
        let mut open: Vec<Option<Open<'_>>> = self.lanes.open(members, made).into_iter().map(Some).collect();
        for class in Priority::ALL {
            let most = members.settings.limits.most_requests(class);
            let within = most.map_or(u32::MAX, |most| gate.room(most));
            let next = |lane: &Lane, after| match newest_first[class.index()] {
                true => lane
                    .previous(class, after)
                    .map(|(seat, waiter)| (seat, Arc::clone(waiter))),
                false => lane.next(class, after).map(|(seat, waiter)| (seat, Arc::clone(waiter))),
            };
            // The next of each lane, by seat.
            let heads = open.iter().enumerate().filter_map(|(index, open)| {
                let (seat, waiter) = next(open.as_ref()?.lane, None)?;
                Some((seat, (index, waiter)))
            });
            let mut heads: BTreeMap<Seat, (usize, Arc<Waiter>)> = heads.collect();
            while let Some((seat, (index, waiter))) = match newest_first[class.index()] {
                true => heads.pop_last(),
                false => heads.pop_first(),
            } {
                let Some(Open { lane, room }) = &open[index] else {
                    continue;
                };
                if room.is_none_or(|room| room.min(within) > awake) {
                    awake += 1;
                    called.push(waiter);
                    heads.extend(next(lane, Some(seat)).map(|(seat, waiter)| (seat, (index, waiter))));
                } else {
                    // A lower priority has no more room than this one.
                    open[index] = None;
                }
            }
        }
        called
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
        self.news.load(Ordering::Acquire) == News::Displaced as u8
    }

    /// What it is to be told; a call is told once.
    pub(super) fn news(&self) -> News {
        let called = News::Called as u8;
        if self
            .news
            .compare_exchange(called, News::Nothing as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            News::Called
        } else if self.was_displaced() {
            News::Displaced
        } else {
            News::Nothing
        }
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

/// Every seat of one priority.
pub(super) fn seats(class: Priority) -> std::ops::RangeInclusive<Seat> {
    let seat = |due, number| Seat { class, due, number };
    seat(Moment::new(0), 0)..=seat(Moment::new(u64::MAX), u64::MAX)
}
