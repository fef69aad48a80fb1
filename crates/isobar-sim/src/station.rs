//! What does a server do with the requests it has?
//!
//! All requests that a server works at advance at one rate, so one number, the work each has been given since the
//! start, says how far all are: a request ends when that number has grown by its work. First come, first served
//! differs from processor sharing in two things: how many are worked at, and how the rate depends on that.

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use crate::agenda::Ticket;
use crate::draws;
use crate::scenario::Discipline;

/// A request at a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Job {
    /// Which request.
    pub(crate) ticket: Ticket,
    /// How much work it is here.
    pub(crate) work: f64,
    /// Whether an error comes of it.
    pub(crate) fails: bool,
}

/// A server at work.
#[derive(Debug)]
pub(crate) struct Station {
    discipline: Discipline,
    slots: usize,
    /// Work done in a nanosecond per slot.
    speed: f64,
    /// Work each request under way would have been given since the start.
    given: f64,
    /// Until when everything is accounted for.
    since: u64,
    running: BinaryHeap<Reverse<Running>>,
    waiting: VecDeque<Job>,
    come: u64,
    /// When it is next done, as far as the agenda knows.
    planned: Option<u64>,
    plan: u32,
    /// Whether anything happened that may change the plan.
    unsettled: bool,
    /// Nanoseconds of busy slots.
    busy: u128,
    /// Nanoseconds of requests present.
    load: u128,
}

/// A request that is worked at.
#[derive(Debug, Clone, Copy)]
struct Running {
    /// What is given when it ends.
    end: f64,
    order: u64,
    job: Job,
}

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Running {}

impl PartialOrd for Running {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Running {
    fn cmp(&self, other: &Self) -> Ordering {
        self.end.total_cmp(&other.end).then(self.order.cmp(&other.order))
    }
}

impl Station {
    pub(crate) fn new(discipline: Discipline, slots: u32, speed: f64) -> Self {
        Self {
            discipline,
            slots: slots as usize,
            speed,
            given: 0.0,
            since: 0,
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
            come: 0,
            planned: None,
            plan: 0,
            unsettled: false,
            busy: 0,
            load: 0,
        }
    }

    /// Nanoseconds of busy slots so far.
    pub(crate) const fn busy(&self) -> u128 {
        self.busy
    }

    /// Nanoseconds of requests present so far; its growth over a time is the load in that time.
    pub(crate) const fn load(&self) -> u128 {
        self.load
    }

    /// Requests present.
    pub(crate) fn present(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Requests it works at at full speed.
    pub(crate) const fn slots(&self) -> usize {
        self.slots
    }

    fn rate(&self) -> f64 {
        match self.discipline {
            Discipline::Fifo => self.speed,
            Discipline::Sharing if self.running.len() <= self.slots => self.speed,
            Discipline::Sharing => self.speed * self.slots as f64 / self.running.len() as f64,
        }
    }

    /// Accounts for everything until now.
    pub(crate) fn advance(&mut self, now: u64) {
        let passed = now - self.since;
        if passed == 0 {
            return;
        }
        self.since = now;
        if self.running.is_empty() {
            // Between busy times nothing is compared with what was given: the number may start small again.
            self.given = 0.0;
            self.load += u128::from(passed) * self.waiting.len() as u128;
            return;
        }
        self.given += self.rate() * passed as f64;
        self.busy += u128::from(passed) * self.running.len().min(self.slots) as u128;
        self.load += u128::from(passed) * (self.running.len() + self.waiting.len()) as u128;
    }

    /// Takes in a request.
    pub(crate) fn take(&mut self, now: u64, job: Job) {
        self.advance(now);
        if self.discipline == Discipline::Fifo && self.running.len() >= self.slots {
            self.waiting.push_back(job);
        } else {
            self.run(job);
        }
    }

    fn run(&mut self, job: Job) {
        let running = Running {
            end: self.given + job.work,
            order: self.come,
            job,
        };
        self.come += 1;
        self.unsettled = true;
        self.running.push(Reverse(running));
    }

    /// Ends the request nearest its end, when this is still the plan; begins with the next.
    pub(crate) fn done(&mut self, now: u64, plan: u32) -> Option<Job> {
        if plan != self.plan || self.planned.is_none() {
            return None;
        }
        self.advance(now);
        self.planned = None;
        self.unsettled = true;
        let Reverse(ended) = self.running.pop()?;
        if let Some(next) = self.waiting.pop_front() {
            self.run(next);
        }
        Some(ended.job)
    }

    /// Works at this speed from now on; 0: not at all.
    pub(crate) fn set_speed(&mut self, now: u64, speed: f64) {
        self.advance(now);
        self.speed = speed;
        self.unsettled = true;
    }

    /// Loses everything it has.
    pub(crate) fn lose(&mut self, now: u64) -> Vec<Job> {
        self.advance(now);
        self.unsettled = true;
        let mut running: Vec<Running> = self.running.drain().map(|Reverse(running)| running).collect();
        running.sort_unstable();
        let lost = running.iter().map(|running| running.job);
        lost.chain(self.waiting.drain(..)).collect()
    }

    /// When it is next done, where that is not what was planned, with the number of the new plan.
    ///
    /// To be asked after each change; the event of an older plan means nothing from then on.
    pub(crate) fn replan(&mut self) -> Option<(u64, u32)> {
        if !core::mem::take(&mut self.unsettled) {
            return None;
        }
        let next = self.next();
        if next == self.planned {
            return None;
        }
        self.planned = next;
        self.plan = self.plan.wrapping_add(1);
        next.map(|at| (at, self.plan))
    }

    fn next(&self) -> Option<u64> {
        let Reverse(first) = self.running.peek()?;
        let rate = self.rate();
        if rate <= 0.0 {
            return None;
        }
        let left = (first.end - self.given).max(0.0);
        Some(self.since.saturating_add(draws::nanoseconds(left / rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Discipline, Job, Station};
    use crate::agenda::Ticket;
    use std::vec;
    use std::vec::Vec;

    fn job(place: u32, work: f64) -> Job {
        Job {
            ticket: Ticket { place, stamp: 0 },
            work,
            fails: false,
        }
    }

    /// Runs jobs `(at, work)` and tells when each ended, in the order of their ends.
    fn run(discipline: Discipline, slots: u32, jobs: &[(u64, f64)], speeds: &[(u64, f64)]) -> Vec<(u32, u64)> {
        let mut station = Station::new(discipline, slots, 1.0);
        let (mut ends, mut due) = (vec![], None);
        let mut jobs = (0..).zip(jobs).peekable();
        let mut speeds = speeds.iter().peekable();
        loop {
            let times = [
                due.map(|(at, _)| at),
                jobs.peek().map(|(_, (at, _))| *at),
                speeds.peek().map(|(at, _)| *at),
            ];
            let Some(now) = times.iter().flatten().min().copied() else {
                return ends;
            };
            if let Some((_, plan)) = due.filter(|&(at, _)| at == now) {
                due = None;
                ends.extend(station.done(now, plan).map(|job| (job.ticket.place, now)));
            } else if times[1] == Some(now) {
                let (place, &(_, work)) = jobs.next().unwrap();
                station.take(now, job(place, work));
            } else {
                station.set_speed(now, speeds.next().unwrap().1);
            }
            let planned = station.planned;
            let replanned = station.replan();
            if replanned.is_some() || station.planned != planned {
                due = replanned;
            }
        }
    }

    #[test]
    fn fifo_serves_in_order() {
        let check = |slots, jobs: &[(u64, f64)], expected: &[(u32, u64)]| {
            assert_eq!(run(Discipline::Fifo, slots, jobs, &[]), expected);
        };
        check(1, &[(0, 10.0), (1, 10.0), (30, 5.0)], &[(0, 10), (1, 20), (2, 35)]);
        check(2, &[(0, 10.0), (1, 4.0), (2, 3.0)], &[(1, 5), (2, 8), (0, 10)]);
        check(1, &[(7, 0.0)], &[(0, 7)]);
    }

    #[test]
    fn sharing_slows_everybody() {
        let check = |slots, jobs: &[(u64, f64)], expected: &[(u32, u64)]| {
            assert_eq!(run(Discipline::Sharing, slots, jobs, &[]), expected);
        };
        // Two share from 4 on: the second needs 2 of its 6 more when the first is done at 12.
        check(1, &[(0, 8.0), (4, 6.0)], &[(0, 12), (1, 14)]);
        check(2, &[(0, 8.0), (4, 6.0)], &[(0, 8), (1, 10)]);
        check(1, &[(0, 5.0), (0, 5.0)], &[(0, 10), (1, 10)]);
    }

    #[test]
    fn speed_changes_what_is_under_way() {
        let check = |discipline, speeds: &[(u64, f64)], expected| {
            assert_eq!(run(discipline, 1, &[(0, 10.0)], speeds), [(0, expected)]);
        };
        for discipline in [Discipline::Fifo, Discipline::Sharing] {
            check(discipline, &[(5, 0.5)], 15);
            check(discipline, &[(5, 2.0)], 8);
            check(discipline, &[(5, 0.0), (105, 1.0)], 110);
        }
    }

    #[test]
    fn what_is_lost_is_named_in_order() {
        let mut station = Station::new(Discipline::Fifo, 2, 1.0);
        (0..4).for_each(|place| station.take(0, job(place, 10.0 - f64::from(place))));
        let lost: Vec<u32> = station.lose(3).iter().map(|job| job.ticket.place).collect();
        assert_eq!(lost, [1, 0, 2, 3]);
        assert_eq!((station.busy(), station.load()), (6, 12));
        assert!(station.lose(9).is_empty());
    }
}
