//! Where are the counts of many servers, so that a choice can look at all of them?
//!
//! A choice among a hundred servers that reads a line of memory for each reads a hundred lines, and so does every
//! worker. On a board the counts of sixteen servers are on one line. A server has its *seat* for as long as anybody
//! knows it, whatever groups hold it meanwhile; what a board does not know is who the servers are.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ServerState;

/// The lowest bits of a word, which are 0: a choice puts there in which place it found the word.
pub(crate) const PLACE_BITS: u32 = 7;

/// Says of a word that all of its count is counted in the server's tally too. Of what tells words apart it is the least.
pub(crate) const COUNTED: u32 = 1 << PLACE_BITS;

/// Bits of a word below the count.
pub(crate) const COUNT_SHIFT: u32 = PLACE_BITS + 1;

/// Says of a word that the count has reached the server's limit.
pub(crate) const FULL: u32 = 1 << 31;

/// Requests that one server has in flight at most, limit or not.
pub(crate) const MOST_IN_FLIGHT: u32 = (FULL >> COUNT_SHIFT) - 1;

/// Bits of a seat's number on its board.
pub(crate) const SEAT_BITS: u32 = 16;

/// Seats of the smallest board that is for several servers.
const FEWEST_SEATS: usize = 16;

/// Seats of the largest.
const MOST_SEATS: usize = 1 << SEAT_BITS;

/// The boards of an upstream's servers: who makes servers keeps them, so that servers which come later sit beside those
/// that are there.
#[derive(Debug)]
pub struct Boards {
    boards: Vec<Arc<Board>>,
}

impl Boards {
    /// Boards with room for this many servers, and for some more. There can be more than that.
    #[must_use]
    pub fn for_servers(count: usize) -> Self {
        let seats = (count + count / 2).next_power_of_two();
        Self {
            boards: Vec::from([Arc::new(Board::new(seats.clamp(FEWEST_SEATS, MOST_SEATS)))]),
        }
    }

    /// A server with nothing in flight and room for `limit` requests, as [`ServerState::new`] makes it, beside the others
    /// of these boards.
    ///
    /// *Cost*: looks for a free seat from the first on.
    #[must_use]
    pub fn server(&mut self, limit: Option<u32>) -> ServerState {
        ServerState::seated(self.seat(), limit)
    }

    fn seat(&mut self) -> Seat {
        if let Some(seat) = self.boards.iter().find_map(Board::seat) {
            return seat;
        }
        let seats: usize = self.boards.iter().map(|board| board.counts.len()).sum();
        let board = Arc::new(Board::new(seats.clamp(FEWEST_SEATS, MOST_SEATS)));
        self.boards.push(Arc::clone(&board));
        Board::seat(&board).unwrap_or_else(Seat::alone)
    }
}

/// The counts of many servers, side by side.
#[derive(Debug)]
pub(crate) struct Board {
    /// For each seat a word: whether the server is full, the requests it has in flight, whether they are [`COUNTED`], and
    /// [`PLACE_BITS`] zeros.
    counts: Box<[AtomicU32]>,
    /// For each seat the failures it is charged for.
    charges: Box<[AtomicU32]>,
    /// What the charges add up to: while it is 0 nobody looks at them.
    charged: AtomicU32,
    /// A bit for each seat that is taken.
    taken: Box<[AtomicU64]>,
}

impl Board {
    fn new(seats: usize) -> Self {
        let words = || (0..seats).map(|_| AtomicU32::new(0)).collect();
        Self {
            counts: words(),
            charges: words(),
            charged: AtomicU32::new(0),
            taken: (0..seats.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Takes the first free seat; none: there is none.
    fn seat(self: &Arc<Self>) -> Option<Seat> {
        let seats = self.counts.len();
        self.taken.iter().enumerate().find_map(|(word, bits)| {
            loop {
                let free = (!bits.load(Ordering::Relaxed)).trailing_zeros() as usize;
                let at = word * 64 + free;
                if free == 64 || at >= seats {
                    return None;
                }
                // Whoever had the seat before left it as it was in the beginning.
                let bit = 1 << free;
                if bits.fetch_or(bit, Ordering::Acquire) & bit == 0 {
                    let board = Arc::clone(self);
                    return Some(Seat { board, at });
                }
            }
        })
    }

    /// The words of all seats.
    #[inline]
    pub(crate) fn words(&self) -> Words<'_> {
        Words(&self.counts)
    }

    /// The failures that a seat is charged for; those whose time is over may still be among them.
    pub(crate) fn charge(&self, at: usize) -> u32 {
        self.charges.get(at).map_or(0, |charge| charge.load(Ordering::Relaxed))
    }

    /// Whether no server on it is charged for a failure.
    #[inline]
    pub(crate) fn is_uncharged(&self) -> bool {
        self.charged.load(Ordering::Relaxed) == 0
    }
}

/// The words of a board's seats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a>(&'a [AtomicU32]);

impl Words<'_> {
    /// The word of a seat. A [`Seat`] has its number from its board, so that there is a word for it.
    #[inline]
    pub(crate) fn of(self, seat: usize) -> u32 {
        self.0[seat].load(Ordering::SeqCst)
    }
}

/// The requests in flight that a word counts.
#[inline]
pub(crate) const fn count_of(word: u32) -> u32 {
    (word & !FULL) >> COUNT_SHIFT
}

/// The word of a server with this many in flight, not counted elsewhere.
#[inline]
pub(crate) const fn word_of(count: u32, limit: u32) -> u32 {
    let full = if count >= limit { FULL } else { 0 };
    (count << COUNT_SHIFT) | full
}

/// Where one server's counts are.
///
/// *Ordering*: every access to the count is sequentially consistent; see [`ServerState`].
#[derive(Debug)]
pub(crate) struct Seat {
    board: Arc<Board>,
    at: usize,
}

impl Seat {
    /// The only seat of a board.
    pub(crate) fn alone() -> Self {
        let board = Board::new(1);
        board.taken[0].store(1, Ordering::Relaxed);
        Self {
            board: Arc::new(board),
            at: 0,
        }
    }

    pub(crate) const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Its number on the board, below 2^[`SEAT_BITS`].
    pub(crate) const fn number(&self) -> usize {
        self.at
    }

    /// The word with the requests in flight.
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.board.counts[self.at]
    }

    /// The failures it is charged for, and what all on the board are.
    #[inline]
    pub(crate) fn charges(&self) -> (&AtomicU32, &AtomicU32) {
        (&self.board.charges[self.at], &self.board.charged)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (own, all) = self.charges();
        all.fetch_sub(own.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.word().store(0, Ordering::SeqCst);
        self.board.taken[self.at / 64].fetch_and(!(1 << (self.at % 64)), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Boards, FULL, MOST_IN_FLIGHT, count_of, word_of};
    use crate::{Feedback, Finish, Moment, Outcome, ServerState};
    use alloc::sync::Arc;
    use core::time::Duration;
    use std::vec::Vec;

    fn place(server: &ServerState) -> (usize, usize) {
        let seat = server.seat();
        (Arc::as_ptr(seat.board()) as usize, seat.number())
    }

    #[test]
    fn seats_are_kept_and_given_again() {
        let mut boards = Boards::for_servers(3);
        let mut servers: Vec<ServerState> = (0..40).map(|_| boards.server(None)).collect();
        let places: Vec<_> = servers.iter().map(place).collect();
        let different: std::collections::BTreeSet<_> = places.iter().copied().collect();
        assert_eq!(different.len(), servers.len(), "two on one seat");
        assert!(servers[7].try_acquire() && servers[8].try_acquire());
        let failure = Finish {
            now: Moment::default(),
            latency: Duration::ZERO,
            in_flight: 1,
            outcome: Outcome::Failure { retry_after: None },
        };
        servers[7].finished(&failure, Feedback::Failures);
        assert!(!servers[8].seat().board().is_uncharged());
        drop(servers.remove(7));
        assert!(servers[7].seat().board().is_uncharged(), "a charge outlived its server");
        let next = boards.server(Some(0));
        assert_eq!(place(&next), places[7]);
        assert_eq!((next.in_flight(), next.charge(Moment::default())), (0, 0));
        assert_eq!(servers[7].in_flight(), 1, "a neighbour is as it was");
    }

    #[test]
    fn words_tell_counts_and_who_is_full() {
        for (count, limit, full) in [
            (0, 0, true),
            (0, 1, false),
            (3, 3, true),
            (4, 3, true),
            (MOST_IN_FLIGHT, u32::MAX, false),
        ] {
            let word = word_of(count, limit);
            assert_eq!((count_of(word), word & FULL != 0, word & 127), (count, full, 0));
        }
    }
}
