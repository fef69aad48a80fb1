//! Does a peer make more work than it does? Counts the frames of one HTTP/2 connection that cost their sender nothing.
//!
//! What it counts is what the attacks of the last years are made of: streams that are opened and reset at once (CVE-2023-44487), or
//! made to be reset by us (CVE-2025-8671), heads in endless pieces (CVE-2024-27316), floods of PING, SETTINGS, empty DATA and PRIORITY
//! (CVE-2019-9512, -9515, -9518 and -9513). A frame that goes along with data is no overhead: implementations of gRPC measure the round
//! trip with a PING for each DATA frame. So every frame with data, in either direction, pays for one PING, and for two WINDOW_UPDATE unless
//! it is tiny: a peer that grants room byte by byte makes us send as many frames (CVE-2019-9511).
//!
//! The counts begin anew with each window of time, so that twice a budget is the most that passes within the length of one.

use super::ErrorCode;

/// Bytes of a frame with data that is worth a WINDOW_UPDATE: those of the shortest message of gRPC, whose implementations say so much
/// for each of them.
pub(super) const LARGE: usize = 5;

/// How much of each kind may come within a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// The length of a window in milliseconds.
    pub window_ms: u32,
    /// Streams that the peer resets.
    pub resets: u32,
    /// Streams that we reset for what the peer sent.
    pub resets_sent: u32,
    /// PING, beyond one for each frame with data.
    pub pings: u32,
    /// SETTINGS.
    pub settings: u32,
    /// DATA without data that does not end its stream.
    pub empty_data: u32,
    /// PRIORITY, and frames of unknown types.
    pub priorities: u32,
    /// WINDOW_UPDATE, beyond two for each frame with data.
    pub window_updates: u32,
    /// CONTINUATION of one head, whatever the time.
    pub continuations: u32,
}

/// Heads of one answer at most, interim ones and trailers included, and what a server may send beyond that.
const HEADS_OF_ANSWER: u64 = 18;
const HEADS_UNASKED: u64 = 16;

/// What there was too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Excess {
    /// Streams that the peer reset.
    Resets,
    /// Streams that we reset for what the peer sent.
    ResetsSent,
    /// PING.
    Pings,
    /// SETTINGS.
    Settings,
    /// DATA without data.
    EmptyData,
    /// PRIORITY, and frames of unknown types.
    Priorities,
    /// WINDOW_UPDATE.
    WindowUpdates,
    /// CONTINUATION.
    Continuations,
    /// Heads that answer nothing.
    Heads,
    /// Bytes that have to be held for it.
    HeldBytes,
}

impl Excess {
    /// All of them, in the order declared.
    pub const ALL: [Self; 10] = [
        Self::Resets,
        Self::ResetsSent,
        Self::Pings,
        Self::Settings,
        Self::EmptyData,
        Self::Priorities,
        Self::WindowUpdates,
        Self::Continuations,
        Self::Heads,
        Self::HeldBytes,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::ResetsSent => "resets_sent",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::EmptyData => "empty_data",
            Self::Priorities => "priorities",
            Self::WindowUpdates => "window_updates",
            Self::Continuations => "continuations",
            Self::Heads => "heads",
            Self::HeldBytes => "held_bytes",
        }
    }
}

/// What has come within this window.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    resets: u32,
    resets_sent: u32,
    pings: u32,
    settings: u32,
    empty_data: u32,
    priorities: u32,
    window_updates: u32,
    /// Frames with data, in either direction.
    with_data: u32,
    /// Those of them with some data.
    with_large_data: u32,
}

/// A frame of the peer's, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// DATA with data.
    Data,
    /// DATA with [`LARGE`] or more bytes of payload.
    LargeData,
    /// DATA without, that does not end its stream.
    EmptyData,
    /// What begins a head.
    Headers,
    /// CONTINUATION.
    Continuation,
    /// RST_STREAM.
    Reset,
    /// SETTINGS that do not answer ours.
    Settings,
    /// PING that does not answer ours.
    Ping,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// PRIORITY, or a frame of an unknown type.
    Priority,
    /// Anything else, which costs nothing or what it brings.
    Free,
}

/// Counts the frames of one connection.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    budgets: Budgets,
    counts: Counts,
    /// CONTINUATION since the last HEADERS.
    continuations: u32,
    /// Heads that have begun.
    heads: u64,
    /// Heads that were sent.
    heads_sent: u64,
    window_began_ms: u64,
    /// Whether the peer is a client.
    is_of_client: bool,
}

impl Meter {
    /// Of a connection that a client made.
    pub(super) fn of_client(budgets: Budgets) -> Self {
        Self::new(budgets, true)
    }

    /// Of a connection to a server.
    pub(super) fn of_server(budgets: Budgets) -> Self {
        Self::new(budgets, false)
    }

    fn new(budgets: Budgets, is_of_client: bool) -> Self {
        Self {
            budgets,
            counts: Counts::default(),
            continuations: 0,
            heads: 0,
            heads_sent: 0,
            window_began_ms: 0,
            is_of_client,
        }
    }

    /// What comes from here on comes at `now_ms`, which counts from any fixed time and does not go back.
    pub(super) fn turn(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.window_began_ms) >= u64::from(self.budgets.window_ms) {
            self.window_began_ms = now_ms;
            self.counts = Counts::default();
        }
    }

    /// A frame with so much data was sent.
    pub(super) fn sent_data(&mut self, bytes: usize) {
        self.counts.with_data = self.counts.with_data.saturating_add(u32::from(bytes > 0));
        self.counts.with_large_data = self.counts.with_large_data.saturating_add(u32::from(bytes >= LARGE));
    }

    /// A head was sent.
    pub(super) fn sent_head(&mut self) {
        self.heads_sent += 1;
    }

    /// A stream was reset.
    pub(super) fn sent_reset(&mut self, code: ErrorCode) -> Option<Excess> {
        // Of these the peer is no cause: the answer was whole before the request, or broke, or nobody wants it.
        if matches!(
            code,
            ErrorCode::NO_ERROR | ErrorCode::INTERNAL_ERROR | ErrorCode::CANCEL
        ) {
            return None;
        }
        spend(&mut self.counts.resets_sent, self.budgets.resets_sent).then_some(Excess::ResetsSent)
    }

    /// How many heads of messages have begun.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Takes in a frame of the peer's; what there is too much of with it.
    pub(super) fn received(&mut self, frame: Counted) -> Option<Excess> {
        let Self { budgets, counts, .. } = self;
        let (count, max, excess) = match frame {
            Counted::Free => return None,
            Counted::Data | Counted::LargeData => {
                counts.with_data = counts.with_data.saturating_add(1);
                let is_large = u32::from(frame == Counted::LargeData);
                counts.with_large_data = counts.with_large_data.saturating_add(is_large);
                return None;
            }
            Counted::Headers => {
                self.heads += 1;
                self.continuations = 0;
                // Interim answers are kept until somebody reads them.
                let is_too_many = !self.is_of_client && self.heads > HEADS_UNASKED + self.heads_sent * HEADS_OF_ANSWER;
                return is_too_many.then_some(Excess::Heads);
            }
            Counted::EmptyData => (&mut counts.empty_data, budgets.empty_data, Excess::EmptyData),
            Counted::Continuation => (&mut self.continuations, budgets.continuations, Excess::Continuations),
            Counted::Reset => (&mut counts.resets, budgets.resets, Excess::Resets),
            Counted::Settings => (&mut counts.settings, budgets.settings, Excess::Settings),
            Counted::Ping => {
                let max = budgets.pings.saturating_add(counts.with_data);
                (&mut counts.pings, max, Excess::Pings)
            }
            Counted::WindowUpdate => {
                let max = budgets
                    .window_updates
                    .saturating_add(counts.with_large_data.saturating_mul(2));
                (&mut counts.window_updates, max, Excess::WindowUpdates)
            }
            Counted::Priority => (&mut counts.priorities, budgets.priorities, Excess::Priorities),
        };
        spend(count, max).then_some(excess)
    }
}

/// Whether it is too much.
fn spend(count: &mut u32, max: u32) -> bool {
    *count = count.saturating_add(1);
    *count > max
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGETS: Budgets = Budgets {
        window_ms: 10_000,
        resets: 3,
        resets_sent: 3,
        pings: 3,
        settings: 3,
        empty_data: 3,
        priorities: 3,
        window_updates: 3,
        continuations: 3,
    };

    /// What is sent or received more often than its budget allows is found with the frame that is one too many.
    #[test]
    fn every_budget_ends() {
        let check = |frame, expected| {
            let mut meter = Meter::of_client(BUDGETS);
            for _ in 0..3 {
                assert_eq!(meter.received(frame), None, "{frame:?}");
            }
            assert_eq!(meter.received(frame), Some(expected), "{frame:?}");
        };
        check(Counted::EmptyData, Excess::EmptyData);
        check(Counted::Priority, Excess::Priorities);
        check(Counted::Reset, Excess::Resets);
        check(Counted::Settings, Excess::Settings);
        check(Counted::Ping, Excess::Pings);
        check(Counted::WindowUpdate, Excess::WindowUpdates);
        check(Counted::Continuation, Excess::Continuations);

        let mut meter = Meter::of_client(BUDGETS);
        for _ in 0..3 {
            assert_eq!(meter.sent_reset(ErrorCode::PROTOCOL_ERROR), None);
        }
        assert_eq!(meter.sent_reset(ErrorCode::PROTOCOL_ERROR), Some(Excess::ResetsSent));
    }

    #[test]
    fn what_brings_something_is_free() {
        let mut meter = Meter::of_client(BUDGETS);
        for _ in 0..100 {
            for frame in [Counted::Free, Counted::Data, Counted::LargeData, Counted::Headers] {
                assert_eq!(meter.received(frame), None);
            }
        }
    }

    /// A server that breaks its answers off does not make a flood of its client.
    #[test]
    fn resets_that_the_peer_did_not_cause_are_free() {
        let mut meter = Meter::of_client(BUDGETS);
        for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR, ErrorCode::CANCEL] {
            for _ in 0..100 {
                assert_eq!(meter.sent_reset(code), None);
            }
        }
    }

    #[test]
    fn data_pays_for_what_goes_with_it() {
        let mut meter = Meter::of_client(BUDGETS);
        for _ in 0..100 {
            meter.sent_data(LARGE);
            for frame in [Counted::Ping, Counted::WindowUpdate, Counted::WindowUpdate] {
                assert_eq!(meter.received(frame), None);
            }
        }
        for _ in 0..3 {
            assert_eq!(meter.received(Counted::Ping), None);
        }
        assert_eq!(meter.received(Counted::Ping), Some(Excess::Pings));
    }

    #[test]
    fn servers_answer_what_they_were_asked() {
        let mut meter = Meter::of_server(BUDGETS);
        meter.sent_head();
        for _ in 0..HEADS_OF_ANSWER + HEADS_UNASKED {
            assert_eq!(meter.received(Counted::Headers), None);
        }
        assert_eq!(meter.received(Counted::Headers), Some(Excess::Heads));
    }

    #[test]
    fn a_window_begins_anew() {
        let mut meter = Meter::of_client(BUDGETS);
        for window in 0..10 {
            meter.turn(window * 10_000);
            for _ in 0..3 {
                assert_eq!(meter.received(Counted::Reset), None);
            }
        }
        // A clock that goes back begins nothing.
        meter.turn(0);
        assert_eq!(meter.received(Counted::Reset), Some(Excess::Resets));
    }

    #[test]
    fn pieces_of_one_head_are_counted_whatever_the_time() {
        let mut meter = Meter::of_client(BUDGETS);
        meter.received(Counted::Headers);
        for time in 1..=3 {
            meter.turn(time * 20_000);
            assert_eq!(meter.received(Counted::Continuation), None);
        }
        assert_eq!(meter.received(Counted::Continuation), Some(Excess::Continuations));
        for _ in 0..50 {
            assert_eq!(meter.received(Counted::Headers), None);
            assert_eq!(meter.received(Counted::Continuation), None);
        }
    }
}
