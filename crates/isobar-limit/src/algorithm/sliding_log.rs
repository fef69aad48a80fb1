//! What exactly was taken in the last window?
//!
//! Remembers when each unit of it was taken. Exact, and as large as the limit: for small limits that have to hold in any window, and as
//! the measure for what estimates. Where the times stand is not known here: a [`Log`] has its own, a table lends those of a key.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use isobar_balance::Moment;

use super::{Algorithm, State};
use crate::{Decision, Quota, Rate, Receipt, Standing, Unit, Verdict};

/// So many units in any window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingLog {
    rate: Rate,
}

/// What was taken of one log in the last window. *Cost*: 8 bytes for each unit of the limit, taken when it is made.
#[derive(Debug)]
pub struct Log {
    pub(super) state: State,
    pub(super) row: Box<[AtomicU64]>,
}

/// A limit, and where the times of one key stand.
///
/// *Shape*: a time for each unit, in nanoseconds, the oldest first, in a row that goes round. What finds no room, because requests cost
/// more than they were said to, is only counted, and taken for as old as the last that passed: never for older than it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnRow<'a> {
    rate: Rate,
    row: &'a [AtomicU64],
}

/// The state of a key, taken apart.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// When the last one passed.
    latest: u64,
    /// Where in the row the oldest time is.
    first: usize,
    /// How many times there are.
    count: usize,
    /// Units beside those in the row; all of them count as taken at the latest time.
    beside: u64,
}

/// What of a state still counts.
#[derive(Debug, Clone, Copy)]
struct Live {
    /// When that is so: now, or the latest time while the clock is behind.
    present: u64,
    /// Times of the row that are a window old.
    old: usize,
    /// Units that are not.
    taken: u64,
}

/// Bits of a place in a row.
const PLACE_BITS: u32 = 16;
const MOST_PLACES: u64 = (1 << PLACE_BITS) - 1;
const MOST_BESIDE: u64 = u32::MAX as u64;

impl SlidingLog {
    /// The most units of a window, because each is 8 bytes for each key.
    pub const MOST_UNITS: u32 = 1_000;

    /// The units of the rate, at most [`MOST_UNITS`](Self::MOST_UNITS), in any window as long as its period.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate: Rate::new(rate.units().min(Self::MOST_UNITS.into()), rate.period()),
        }
    }

    /// A log with nothing in it.
    #[must_use]
    pub fn log(&self) -> Log {
        Log {
            state: [0; 2],
            row: (0..self.rate.units()).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The limit as it holds for the key whose times stand in a row. In one that is too short it is stricter than it has to be.
    pub(crate) const fn on<'a>(&self, row: &'a [AtomicU64]) -> OnRow<'a> {
        OnRow { rate: self.rate, row }
    }
}

impl Clone for Log {
    fn clone(&self) -> Self {
        let copy = |time: &AtomicU64| AtomicU64::new(time.load(Ordering::Relaxed));
        Self {
            state: self.state,
            row: self.row.iter().map(copy).collect(),
        }
    }
}

impl Algorithm for SlidingLog {
    type State = Log;

    fn ask(&self, log: &mut Log, cost: u64, now: Moment) -> Decision {
        self.on(&log.row).ask(&mut log.state, cost, now)
    }

    fn settle(&self, log: &mut Log, receipt: &Receipt, actual: u64, now: Moment) {
        self.on(&log.row).settle(&mut log.state, receipt, actual, now);
    }

    fn standing(&self, log: &Log, now: Moment) -> Standing {
        self.on(&log.row).standing(&log.state, now)
    }

    fn fresh_from(&self, log: &Log) -> Moment {
        self.on(&log.row).fresh_from(&log.state)
    }

    fn most_within(&self, time: Duration) -> u64 {
        self.on(&[]).most_within(time)
    }

    fn quota(&self) -> Quota {
        self.on(&[]).quota()
    }
}

impl OnRow<'_> {
    const fn period(&self) -> u64 {
        self.rate.period_nanoseconds()
    }

    /// The place so many after another; neither is more than the length.
    const fn around(&self, place: usize, further: usize) -> usize {
        let place = place + further;
        if place < self.row.len() {
            place
        } else {
            place - self.row.len()
        }
    }

    /// Where in the row the time with this number is.
    fn place(&self, written: &Written, index: usize) -> Option<&AtomicU64> {
        self.row.get(self.around(written.first, index))
    }

    /// The time of a unit; of those beside the row the latest there is.
    fn time(&self, written: &Written, index: usize) -> u64 {
        match self.place(written, index) {
            Some(time) if index < written.count => time.load(Ordering::Relaxed),
            _ => written.latest,
        }
    }

    /// How many times of the row are before this one, or also those at it.
    fn before(&self, written: &Written, is_before: impl Fn(u64) -> bool) -> usize {
        // Mostly none is. How long it takes to find the place is not foreseen by the processor, that it is at the beginning is.
        if written.count == 0 || !is_before(self.time(written, 0)) {
            return 0;
        }
        let (mut low, mut high) = (1, written.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(self.time(written, middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn live(&self, written: &Written, now: Moment) -> Live {
        let present = written.latest.max(now.nanoseconds());
        let begin = present.checked_sub(self.period());
        let old = begin.map_or(0, |begin| self.before(written, |time| time <= begin));
        let beside = match begin {
            Some(begin) if written.latest <= begin => 0,
            _ => written.beside,
        };
        Live {
            present,
            old,
            taken: beside + (written.count - old) as u64,
        }
    }

    /// Takes units as of the present, and forgets what is a window old. What is refused changes nothing: its clock may be wrong.
    fn take(&self, mut written: Written, live: Live, units: u64) -> State {
        if let Some(rest) = written.count.checked_sub(live.old)
            && !self.row.is_empty()
        {
            written.first = self.around(written.first, live.old);
            written.count = rest;
        }
        written.beside = live.taken - written.count as u64;
        // What was beside the row is older than what comes now, and so has its place before it.
        let (beside, latest) = (written.beside, written.latest);
        written.beside -= self.fill(&mut written, beside, latest);
        let filled = self.fill(&mut written, units, live.present);
        written.beside = written.beside.saturating_add(units - filled);
        written.latest = live.present;
        written.state()
    }

    /// Puts down a time for each unit, as far as there is room: *returns* for how many.
    fn fill(&self, written: &mut Written, units: u64, time: u64) -> u64 {
        let mut filled = 0;
        while filled < units
            && written.count < self.row.len()
            && let Some(place) = self.place(written, written.count)
        {
            place.store(time, Ordering::Relaxed);
            written.count += 1;
            filled += 1;
        }
        filled
    }

    /// Forgets units that were taken at a time, so many at most.
    fn give_back(&self, mut written: Written, mut units: u64, taken_at: u64) -> State {
        if taken_at == written.latest {
            let beside = units.min(written.beside);
            written.beside -= beside;
            units -= beside;
        }
        let begin = self.before(&written, |time| time < taken_at);
        let end = self.before(&written, |time| time <= taken_at);
        let gone = usize::try_from(units).unwrap_or(usize::MAX).min(end - begin);
        for index in end..written.count {
            let time = self.time(&written, index);
            if let Some(place) = self.place(&written, index - gone) {
                place.store(time, Ordering::Relaxed);
            }
        }
        written.count -= gone;
        written.state()
    }

    /// How long until no more than this is taken, which is less than what is.
    fn until(&self, (written, live): (&Written, Live), most: u64, now: Moment) -> Duration {
        let last = (live.taken - most).saturating_sub(1);
        let index = live.old.saturating_add(usize::try_from(last).unwrap_or(usize::MAX));
        let free = self.time(written, index).saturating_add(self.period());
        Duration::from_nanos(free.saturating_sub(now.nanoseconds()))
    }

    fn standing_of(&self, written: &Written, live: Live, now: Moment) -> Standing {
        let units = self.rate.units();
        let more_in = (live.taken > 0).then(|| {
            let most = (live.taken - 1).min(units - 1);
            self.until((written, live), most, now)
        });
        Standing {
            remaining: units.saturating_sub(live.taken),
            more_in,
        }
    }
}

impl Algorithm for OnRow<'_> {
    type State = State;

    /// *Cost*: logarithmic in the units of the limit, and a store for each unit that is taken.
    fn ask(&self, state: &mut State, cost: u64, now: Moment) -> Decision {
        let written = Written::of(state, self.row.len());
        let live = self.live(&written, now);
        if live.taken.saturating_add(cost) > self.rate.units() {
            let room = self.rate.units().checked_sub(cost);
            let retry_in = room.map(|room| self.until((&written, live), room, now));
            return Decision::refused(self.standing_of(&written, live, now), retry_in, now);
        }
        // The state does not say what is left, and nobody can look at the times later: others may have taken their place.
        let oldest = match live.taken {
            0 => live.present,
            _ => self.time(&written, live.old),
        };
        let taken = live.taken + cost;
        let free = oldest.saturating_add(self.period());
        let standing = Standing {
            remaining: self.rate.units() - taken,
            more_in: (taken > 0).then(|| Duration::from_nanos(free.saturating_sub(now.nanoseconds()))),
        };
        if cost > 0 {
            *state = self.take(written, live, cost);
        }
        Decision::passed(Verdict::Admitted, [live.present, 0], (cost, now)).leaving(standing)
    }

    /// *Cost*: linear in what was taken since.
    fn settle(&self, state: &mut State, receipt: &Receipt, actual: u64, now: Moment) {
        let written = Written::of(state, self.row.len());
        *state = match actual.checked_sub(receipt.cost) {
            Some(0) => return,
            Some(more) => self.take(written, self.live(&written, now), more),
            None => self.give_back(written, receipt.cost - actual, receipt.mark[0]),
        };
    }

    fn standing(&self, state: &State, now: Moment) -> Standing {
        let written = Written::of(state, self.row.len());
        self.standing_of(&written, self.live(&written, now), now)
    }

    fn fresh_from(&self, state: &State) -> Moment {
        let written = Written::of(state, self.row.len());
        let newest = match (written.beside, written.count.checked_sub(1)) {
            (0, None) => return Moment::new(0),
            (0, Some(index)) => self.time(&written, index),
            _ => written.latest,
        };
        Moment::new(newest.saturating_add(self.period()))
    }

    fn most_within(&self, time: Duration) -> u64 {
        let windows = crate::rate::nanoseconds(time) / self.period();
        windows.saturating_add(1).saturating_mul(self.rate.units())
    }

    fn quota(&self) -> Quota {
        Quota {
            units: self.rate.units(),
            window: Some(self.rate.period()),
            unit: Unit::Requests,
        }
    }
}

impl Written {
    /// A state that belongs to a row of this length.
    fn of(state: &State, length: usize) -> Self {
        let [latest, packed] = *state;
        let place = |shift: u32| (packed >> shift & MOST_PLACES) as usize;
        Self {
            latest,
            first: place(PLACE_BITS).min(length.saturating_sub(1)),
            count: place(0).min(length),
            beside: packed >> (2 * PLACE_BITS),
        }
    }

    const fn state(&self) -> State {
        let beside = if self.beside < MOST_BESIDE {
            self.beside
        } else {
            MOST_BESIDE
        };
        let packed = beside << (2 * PLACE_BITS) | (self.first as u64) << PLACE_BITS | self.count as u64;
        [self.latest, packed]
    }
}

#[cfg(test)]
mod tests;
