//! Where are requests that wait?
//!
//! In one block of memory, linked to a line for each customer. Whose turn it is does not matter here.

use alloc::vec::Vec;

/// The requests of one customer, in the order they came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    first: u32,
    last: u32,
    len: u32,
}

/// One that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    pub(super) cost: u64,
    pub(super) ticket: u64,
    before: u32,
    after: u32,
}

/// All that wait.
#[derive(Debug)]
pub(super) struct Jobs {
    places: Vec<Job>,
    most: u32,
    len: u32,
    /// The first place that is free again; the others follow by `after`.
    free: u32,
}

/// No place.
const NONE: u32 = u32::MAX;

impl Line {
    pub(super) const fn new() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Jobs {
    pub(super) fn new(most: u32) -> Self {
        let most = most.min(NONE - 1);
        Self {
            places: Vec::with_capacity(most as usize),
            most,
            len: 0,
            free: NONE,
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len >= self.most
    }

    /// Puts a request at the end of a line; nothing happens where there is no place.
    pub(super) fn push(&mut self, line: &mut Line, cost: u64, ticket: u64) {
        let job = Job {
            cost,
            ticket,
            before: line.last,
            after: NONE,
        };
        let Some(at) = self.occupy(job) else {
            return;
        };
        match self.places.get_mut(line.last as usize) {
            Some(last) => last.after = at,
            None => line.first = at,
        }
        line.last = at;
        line.len += 1;
    }

    pub(super) fn pop(&mut self, line: &mut Line) -> Option<Job> {
        let job = self.vacate(line.first)?;
        line.first = job.after;
        match self.places.get_mut(job.after as usize) {
            Some(next) => next.before = NONE,
            None => line.last = NONE,
        }
        line.len -= 1;
        Some(job)
    }

    /// Takes the last one of a line away: *returns* its ticket.
    pub(super) fn pop_last(&mut self, line: &mut Line) -> Option<u64> {
        let job = self.vacate(line.last)?;
        line.last = job.before;
        match self.places.get_mut(job.before as usize) {
            Some(last) => last.after = NONE,
            None => line.first = NONE,
        }
        line.len -= 1;
        Some(job.ticket)
    }

    fn occupy(&mut self, job: Job) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let at = self.free;
        self.len += 1;
        if let Some(place) = self.places.get_mut(at as usize) {
            self.free = place.after;
            *place = job;
            return Some(at);
        }
        self.places.push(job);
        u32::try_from(self.places.len() - 1).ok()
    }

    fn vacate(&mut self, at: u32) -> Option<Job> {
        let place = self.places.get_mut(at as usize)?;
        let job = *place;
        place.after = self.free;
        self.free = at;
        self.len -= 1;
        Some(job)
    }
}
