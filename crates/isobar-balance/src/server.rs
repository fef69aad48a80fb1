//! What is known of a server's load, and may it take one more request?

mod charge;
mod latency;
mod recent;
mod report;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use crate::board::{COUNTED, MOST_IN_FLIGHT, Seat, count_of, word_of};
use crate::{Moment, Tally};

use charge::{Charges, Phantoms};
use latency::Latency;
use recent::Recent;
use report::Reported;

pub(crate) use report::Validity;
pub use report::{Report, ReportedLoad};

/// A limit that no count reaches.
const NO_LIMIT: u32 = u32::MAX;

/// How a request at a server ended, as far as balancing is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server did what it was asked, or it was not the server's fault that it did not.
    Success,
    /// It could not be reached, broke off, or said itself that it failed (5xx, overloaded).
    Failure {
        /// For how long it asked not to be asked again.
        retry_after: Option<Duration>,
    },
}

/// The end of a request at a server.
#[derive(Debug, Clone, Copy)]
pub struct Finish {
    /// When it ended.
    pub now: Moment,
    /// How long the server took for it: to the first byte of the answer, or to the last, always the same of both.
    pub latency: Duration,
    /// [Requests in flight](ServerState::in_flight) when it was sent, itself among them.
    pub in_flight: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// What an algorithm wants to know of requests that end; of failures every algorithm hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feedback {
    /// Failures and nothing else: a success costs a comparison.
    Failures,
    /// The highest latency of late.
    Peak,
    /// The average latency.
    Average,
    /// Latency per request in flight.
    Pace,
}

/// One server's counters, seen and changed by all workers without a lock.
///
/// *Shape*: requests in flight and the charge for failures are on a board, beside those of the upstream's other servers
/// where it was made by [`Boards`](crate::Boards): a choice that looks at all of them passes over few lines of memory.
/// The limit and recent requests are on a line of its own, which no neighbour shares: 128 bytes, because x86 processors
/// fetch lines in pairs. What only some algorithms touch, and failures, is in 384 bytes elsewhere.
///
/// *Ordering*: every access to what is in flight and its limit is sequentially consistent, which lets a queue be
/// built on it without a lost wake-up: a request that announces that it waits and then looks for a place once more,
/// and a worker that gives a place back and then looks for waiters, cannot both see nothing. On x86 this costs
/// nothing over weaker orderings. The rest are estimates, each whole in one word.
#[derive(Debug)]
#[repr(align(128))]
pub struct ServerState {
    seat: Seat,
    limit: AtomicU32,
    recent: Recent,
    /// Counts the requests of all servers it belongs to.
    tally: Option<Arc<Tally>>,
    rest: Box<Rest>,
}

/// What most choices do not look at.
#[derive(Debug)]
#[repr(C, align(128))]
struct Rest {
    latency: Latency,
    reported: Reported,
    phantoms: Phantoms,
}

/// What a choice by load reads of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) in_flight: u32,
    /// More than any count when there is none.
    pub(crate) limit: u32,
    pub(crate) charge: u32,
}

impl ServerState {
    /// A server with nothing in flight and room for `limit` requests; none: any number.
    ///
    /// Its counts are on a board of their own, so that it is expensive to look at beside others.
    ///
    /// *Cost*: five allocations.
    #[must_use]
    pub fn new(limit: Option<u32>) -> Self {
        Self::seated(Seat::alone(), limit)
    }

    pub(crate) fn seated(seat: Seat, limit: Option<u32>) -> Self {
        let limit = stored(limit);
        seat.word().store(word_of(0, limit), Ordering::SeqCst);
        Self {
            seat,
            limit: AtomicU32::new(limit),
            tally: None,
            recent: Recent::new(),
            rest: Box::new(Rest {
                latency: Latency::new(),
                reported: Reported::new(),
                phantoms: Phantoms::new(),
            }),
        }
    }

    /// A server as [`new`](Self::new) makes it, whose requests are counted in a tally too.
    ///
    /// *Cost*: each take and each release write the tally's cache line as well, until it [stops](Self::stop_counting).
    #[must_use]
    pub fn counted_in(tally: Arc<Tally>, limit: Option<u32>) -> Self {
        Self::new(limit).and_in(tally)
    }

    /// The same server, whose requests are counted in a tally too; before it has any.
    ///
    /// *Cost*: as that of [`counted_in`](Self::counted_in).
    #[must_use]
    pub fn and_in(self, tally: Arc<Tally>) -> Self {
        self.seat.word().fetch_or(COUNTED, Ordering::SeqCst);
        Self {
            tally: Some(tally),
            ..self
        }
    }

    /// Where its counts are.
    pub(crate) const fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Counts its requests in its tally from now on, those in flight among them. A group that needs the count is to be
    /// built after this; for groups there are nothing changes but the cost.
    pub fn start_counting(&self) {
        let Some(tally) = &self.tally else { return };
        let mut word = self.seat.word().load(Ordering::SeqCst);
        while word & COUNTED == 0 {
            // The tally is never to be below what is in flight: they enter before they are counted there.
            tally.enter_all(count_of(word));
            match self.exchange(word, word | COUNTED) {
                Ok(_) => return,
                Err(now) => {
                    tally.leave_all(count_of(word));
                    word = now;
                }
            }
        }
    }

    /// Counts its requests in its tally no longer, those in flight among them: nobody needs the count, or the server no
    /// longer belongs to those whose requests it is.
    pub fn stop_counting(&self) {
        let Some(tally) = &self.tally else { return };
        let mut word = self.seat.word().load(Ordering::SeqCst);
        while word & COUNTED != 0 {
            match self.exchange(word, word & !COUNTED) {
                Ok(_) => return tally.leave_all(count_of(word)),
                Err(now) => word = now,
            }
        }
    }

    fn exchange(&self, from: u32, to: u32) -> Result<u32, u32> {
        self.seat
            .word()
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
    }

    /// Where its requests are counted beside here.
    pub(crate) const fn tally(&self) -> Option<&Arc<Tally>> {
        self.tally.as_ref()
    }

    /// Requests in flight, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        count_of(self.seat.word().load(Ordering::SeqCst))
    }

    /// The number of requests it takes at once; none: any number.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Ordering::SeqCst)).filter(|&limit| limit != NO_LIMIT)
    }

    /// Sets the number of requests it takes at once; requests in flight past a lower limit finish undisturbed.
    pub fn set_limit(&self, limit: Option<u32>) {
        self.limit.store(stored(limit), Ordering::SeqCst);
        self.mark();
    }

    /// Brings the mark of a full server in line with the limit. The limit decides who gets a place; the mark only tells
    /// choices where to look.
    #[cold]
    fn mark(&self) {
        loop {
            let limit = self.limit.load(Ordering::SeqCst);
            let marked = |word| {
                let right = word_of(count_of(word), limit) | (word & COUNTED);
                (right != word).then_some(right)
            };
            let _unless_right = self
                .seat
                .word()
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, marked);
            // Somebody else may have set another limit, and found the mark right that was changed after that.
            if self.limit.load(Ordering::SeqCst) == limit {
                return;
            }
        }
    }

    /// Whether it can take no further request now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.in_flight_with_room().is_none()
    }

    /// Requests in flight, when it can take one more.
    #[must_use]
    pub fn in_flight_with_room(&self) -> Option<u32> {
        Some(self.in_flight()).filter(|&count| count < self.limit.load(Ordering::SeqCst))
    }

    /// Takes one place if the limit allows it; each success is owed one [`release`](Self::release).
    ///
    /// Exact: however many workers call at once, no more succeed than there are places.
    #[must_use]
    pub fn try_acquire(&self) -> bool {
        self.try_acquire_within(u32::MAX)
    }

    /// Takes one place as [`try_acquire`](Self::try_acquire) does, if there are then no more than `cap` in flight.
    pub(crate) fn try_acquire_within(&self, cap: u32) -> bool {
        // A word that says counted is read as past every limit, so that nobody is counted who did not enter.
        let uncounted = |word| if word & COUNTED == 0 { count_of(word) } else { u32::MAX };
        loop {
            if self.take_place(cap, uncounted).is_some() {
                return true;
            }
            let word = self.seat.word().load(Ordering::SeqCst);
            match &self.tally {
                Some(tally) if word & COUNTED != 0 => {
                    tally.enter();
                    let taken = self.take(cap);
                    if !taken {
                        tally.leave();
                    }
                    return taken;
                }
                // It was counted a moment ago, and there is room.
                Some(_) if count_of(word) < self.most(cap) => {}
                _ => return false,
            }
        }
    }

    /// Takes one place, under the limit and a cap, for a request that has entered the tally already. It leaves that again
    /// where its place is not counted there.
    pub(crate) fn take(&self, cap: u32) -> bool {
        let taken = self.take_place(cap, count_of);
        if let (Some(before), Some(tally)) = (taken, &self.tally)
            && before & COUNTED == 0
        {
            tally.leave();
        }
        taken.is_some()
    }

    /// How many may be in flight, under the limit and a cap.
    fn most(&self, cap: u32) -> u32 {
        self.limit.load(Ordering::SeqCst).min(cap).min(MOST_IN_FLIGHT)
    }

    /// Takes one place under the limit and a cap, as `count` reads the word. What the word was.
    #[inline]
    fn take_place(&self, cap: u32, count: impl Fn(u32) -> u32) -> Option<u32> {
        let limit = self.limit.load(Ordering::SeqCst);
        let most = limit.min(cap).min(MOST_IN_FLIGHT);
        let one_more = |word: u32| (count(word) < most).then(|| word_of(count_of(word) + 1, limit) | (word & COUNTED));
        let taken = self
            .seat
            .word()
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        self.check_mark(limit);
        taken.ok()
    }

    /// Gives a place back.
    ///
    /// A release that nobody owed is a bug in the caller: the count stays at zero rather than wrapping to a server
    /// that is full for ever, and a debug build panics.
    pub fn release(&self) {
        let limit = self.limit.load(Ordering::SeqCst);
        let one_less = |word: u32| {
            let left = count_of(word).checked_sub(1)?;
            Some(word_of(left, limit) | (word & COUNTED))
        };
        let released = self
            .seat
            .word()
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        self.check_mark(limit);
        debug_assert!(released.is_ok(), "a place was released that nobody had acquired");
        if let (Ok(before), Some(tally)) = (released, &self.tally)
            && before & COUNTED != 0
        {
            tally.leave();
        }
    }

    /// Whoever sets a limit marks the server after it, and whoever marked it looks at the limit again: the later of the
    /// two sees what the other did.
    #[inline]
    fn check_mark(&self, marked_by: u32) {
        if self.limit.load(Ordering::SeqCst) != marked_by {
            self.mark();
        }
    }

    /// Requests that it counts as having besides, because it failed that many a moment ago.
    ///
    /// Each failure is charged for the server's `Retry-After` or a second, whichever is longer, ten seconds at most.
    /// A charge counts in every choice by load or latency; it never counts against the limit.
    #[must_use]
    #[inline]
    pub fn charge(&self, now: Moment) -> u32 {
        match self.counted_charge() {
            0 => 0,
            _ => self.charge_left(now),
        }
    }

    #[cold]
    fn charge_left(&self, now: Moment) -> u32 {
        self.rest.phantoms.let_go(self.charges(), now);
        self.charges().count()
    }

    /// The charge as it is; while nobody on the board has one, its own is not looked at.
    #[inline]
    fn counted_charge(&self) -> u32 {
        if self.seat.board().is_uncharged() {
            0
        } else {
            self.charges().count()
        }
    }

    fn charges(&self) -> Charges<'_> {
        let (own, all) = self.seat.charges();
        Charges { own, all }
    }

    /// Requests in flight and those it is charged for, when it can take one more.
    #[must_use]
    #[inline]
    pub fn load_with_room(&self, now: Moment) -> Option<u32> {
        let in_flight = self.in_flight_with_room()?;
        Some(in_flight.saturating_add(self.charge(now)))
    }

    /// The counts that a choice compares, as they are: a charge that is over may still be among them.
    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            in_flight: self.in_flight(),
            limit: self.limit.load(Ordering::SeqCst),
            charge: self.counted_charge(),
        }
    }

    /// Takes in how a request ended that this server was picked for; its place is released apart from that.
    ///
    /// *Cost*: nothing but a comparison for a success of which the algorithm wants to know nothing; otherwise a
    /// compare-and-swap, for a failure up to three.
    pub fn finished(&self, finish: &Finish, wanted: Feedback) {
        match finish.outcome {
            Outcome::Success => self.succeeded(finish, wanted),
            Outcome::Failure { retry_after } => {
                let time = charge::duration(retry_after);
                self.rest.phantoms.add(self.charges(), finish.now, time);
                if wanted == Feedback::Peak {
                    self.rest.latency.see_peak(finish.latency.max(time), finish.now);
                }
            }
        }
    }

    fn succeeded(&self, finish: &Finish, wanted: Feedback) {
        let latency = &self.rest.latency;
        match wanted {
            Feedback::Failures => {}
            Feedback::Peak => latency.see_peak(finish.latency, finish.now),
            Feedback::Average => latency.see_average(finish.latency),
            Feedback::Pace => {
                // Where the server tells how many it has from everybody, these are what the answer took so long for.
                let told = self.reported_in_flight(finish.now, Duration::from_secs(1));
                latency.see_pace(finish.latency, finish.in_flight.max(told.unwrap_or(0)));
            }
        }
    }

    /// Takes in what the server says of itself, in an answer or when probed.
    pub fn reported(&self, report: &Report, now: Moment) {
        self.rest.reported.take(report, now);
    }

    /// Counts a pick towards [`recent`](Self::recent). *Cost*: a compare-and-swap.
    pub(crate) fn count_pick(&self, now: Moment) {
        self.recent.count(now);
    }

    /// Picks in about the last second that were counted, times 1024.
    pub(crate) fn recent(&self, now: Moment) -> u64 {
        self.recent.rate(now)
    }

    /// The highest latency of late, in nanoseconds; 0: there is none.
    pub(crate) fn peak_latency(&self, now: Moment) -> u64 {
        self.rest.latency.peak(now)
    }

    /// The average latency, in nanoseconds; 0: there is none.
    pub(crate) fn average_latency(&self) -> u64 {
        self.rest.latency.average()
    }

    /// Remembers that it was chosen, to about a `period`.
    pub(crate) fn mark_chosen(&self, now: Moment, period: Duration) {
        self.rest.latency.choose(now, period);
    }

    /// Nanoseconds since it was [marked](Self::mark_chosen).
    pub(crate) fn unchosen(&self, now: Moment) -> u64 {
        self.rest.latency.unchosen(now)
    }

    /// Requests it says it has in flight, with those it was given since, if it said so within `age`.
    pub(crate) fn reported_in_flight(&self, now: Moment, age: Duration) -> Option<u32> {
        self.rest.reported.in_flight(now, age)
    }

    /// One more than it last said it has in flight.
    pub(crate) fn add_reported_in_flight(&self) {
        self.rest.reported.add_in_flight();
    }

    /// What a request takes it for each one in flight, in nanoseconds: by its own word where it ever gave one,
    /// otherwise as seen from here. 0: nothing is known.
    pub(crate) fn pace(&self) -> u64 {
        match self.rest.reported.pace() {
            0 => self.rest.latency.pace(),
            told => told,
        }
    }

    /// The weight that follows from the load it reports.
    pub(crate) fn reported_weight(&self, now: Moment, validity: &Validity, error_penalty: f32) -> Option<f32> {
        self.rest.reported.weight(now, validity, error_penalty)
    }
}

const fn stored(limit: Option<u32>) -> u32 {
    match limit {
        Some(limit) => limit,
        None => NO_LIMIT,
    }
}

#[cfg(test)]
mod tests {
    use super::{Feedback, Finish, Outcome, Report, ServerState};
    use crate::{Moment, Tally};
    use alloc::sync::Arc;
    use core::time::Duration;

    #[test]
    fn takes_as_many_as_the_limit_allows() {
        let check = |limit, attempts, expected| {
            let server = ServerState::new(limit);
            let taken = (0..attempts).filter(|_| server.try_acquire()).count();
            assert_eq!(taken, expected, "limit {limit:?}");
            assert_eq!(server.in_flight() as usize, expected);
            assert_eq!(server.is_full(), limit == Some(server.in_flight()));
        };
        check(None, 1000, 1000);
        check(Some(0), 3, 0);
        check(Some(1), 3, 1);
        check(Some(5), 3, 3);
        check(Some(5), 9, 5);
    }

    #[test]
    fn a_changed_limit_holds_from_the_next_request() {
        let server = ServerState::new(None);
        assert!(server.try_acquire() && server.try_acquire());
        server.set_limit(Some(1));
        assert_eq!(server.limit(), Some(1));
        assert!(server.is_full() && !server.try_acquire());
        server.release();
        assert!(!server.try_acquire(), "one is still in flight");
        server.release();
        assert!(server.try_acquire());
        server.set_limit(None);
        assert_eq!(server.limit(), None);
        assert!(server.try_acquire());
    }

    #[test]
    fn a_tally_counts_what_its_servers_count() {
        let tally = Arc::new(Tally::new());
        let servers = [Some(1), None].map(|limit| ServerState::counted_in(Arc::clone(&tally), limit));
        assert!(servers[0].try_acquire() && servers[1].try_acquire());
        assert!(!servers[0].try_acquire(), "it is full");
        assert!(!servers[1].try_acquire_within(1), "it is at the cap");
        assert!(servers[1].try_acquire_within(2));
        assert_eq!(tally.in_flight(), 3);
        servers[0].release();
        servers[1].release();
        assert_eq!(tally.in_flight(), 1);
    }

    #[test]
    fn counting_begins_and_ends_with_what_is_in_flight() {
        let tally = Arc::new(Tally::new());
        let server = ServerState::counted_in(Arc::clone(&tally), Some(3));
        let both = || (server.in_flight(), tally.in_flight());
        server.stop_counting();
        assert!(server.try_acquire() && server.try_acquire());
        assert_eq!(both(), (2, 0));
        server.start_counting();
        server.start_counting();
        assert_eq!(both(), (2, 2));
        assert!(server.try_acquire() && !server.try_acquire());
        server.release();
        assert_eq!(both(), (2, 2));
        server.stop_counting();
        server.stop_counting();
        assert_eq!(both(), (2, 0));
        // One that had entered for a group of before leaves again.
        tally.enter();
        assert!(server.take(u32::MAX));
        assert_eq!(both(), (3, 0));
        (0..3).for_each(|_| server.release());
        assert_eq!(both(), (0, 0));
    }

    #[test]
    fn neighbours_share_no_cache_line() {
        assert_eq!(align_of::<ServerState>(), 128);
        assert_eq!(size_of::<ServerState>(), 128);
        assert_eq!(size_of::<super::Rest>(), 384);
    }

    const fn finish(now: Moment, outcome: Outcome) -> Finish {
        Finish {
            now,
            latency: Duration::from_millis(1),
            in_flight: 1,
            outcome,
        }
    }

    #[test]
    fn a_failure_is_in_flight_for_a_while_and_takes_no_place() {
        let server = ServerState::new(Some(1));
        let at = |ms| Moment::default().after(Duration::from_millis(ms));
        let load = |ms| server.load_with_room(at(ms));
        server.finished(&finish(at(0), Outcome::Success), Feedback::Failures);
        assert_eq!(load(0), Some(0));
        server.finished(
            &finish(at(0), Outcome::Failure { retry_after: None }),
            Feedback::Failures,
        );
        let retry_after = Some(Duration::from_secs(4));
        server.finished(&finish(at(0), Outcome::Failure { retry_after }), Feedback::Failures);
        assert_eq!((load(0), load(999), load(3_999)), (Some(2), Some(2), Some(1)));
        assert!(server.try_acquire(), "a charge takes no place");
        assert_eq!(load(3_999), None);
        server.release();
        assert_eq!(load(4_300), Some(0));
    }

    /// A failure that comes fast never makes the latency better.
    #[test]
    fn what_failed_was_not_fast() {
        let now = Moment::new(1);
        for (wanted, expected) in [
            (Feedback::Peak, 900_000_000..=1_000_000_000),
            (Feedback::Average, 0..=0),
            (Feedback::Pace, 0..=0),
            (Feedback::Failures, 0..=0),
        ] {
            let server = ServerState::new(None);
            server.finished(&finish(now, Outcome::Failure { retry_after: None }), wanted);
            let latency = server.peak_latency(now) + server.average_latency() + server.pace();
            assert!(expected.contains(&latency), "{wanted:?}: {latency}");
        }
    }

    /// What is not wanted is not kept, and what is has its own meaning.
    #[test]
    fn an_answer_is_taken_in_as_it_is_wanted() {
        let now = Moment::new(1);
        let check = |wanted, expected| {
            let server = ServerState::new(None);
            let answer = Finish {
                latency: Duration::from_nanos(6_400),
                in_flight: 4,
                ..finish(now, Outcome::Success)
            };
            server.finished(&answer, wanted);
            let latency = [server.peak_latency(now), server.average_latency(), server.pace()];
            assert_eq!(latency, expected, "{wanted:?}");
        };
        check(Feedback::Failures, [0, 0, 0]);
        check(Feedback::Peak, [6_400, 0, 0]);
        check(Feedback::Average, [0, 6_400, 0]);
        check(Feedback::Pace, [0, 0, 1_600]);
    }

    /// The server's own count and estimate come before what is seen from here.
    #[test]
    fn the_pace_is_by_all_that_is_in_flight() {
        let now = Moment::new(1);
        let server = ServerState::new(None);
        let in_flight = Some(8);
        server.reported(
            &Report {
                in_flight,
                ..Report::default()
            },
            now,
        );
        let answer = Finish {
            latency: Duration::from_nanos(800),
            ..finish(now, Outcome::Success)
        };
        server.finished(&answer, Feedback::Pace);
        assert_eq!(server.pace(), 100);
        let latency = Some(Duration::from_nanos(9_000));
        server.reported(
            &Report {
                in_flight,
                latency,
                load: None,
            },
            now,
        );
        assert_eq!(server.pace(), 1_000);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "nobody had acquired")]
    fn releasing_what_nobody_acquired_is_a_bug() {
        ServerState::new(None).release();
    }
}
