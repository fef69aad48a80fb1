//! Does a peer make more work than it does? Counts the frames of one HTTP/2 connection that cost their sender nothing.
//!
//! What it counts is what the attacks of the last years are made of: streams that are opened and reset at once (CVE-2023-44487), or
//! made to be reset by us (CVE-2025-8671), heads in endless pieces (CVE-2024-27316), floods of PING, SETTINGS, empty DATA and PRIORITY
//! (CVE-2019-9512, -9515, -9518 and -9513). A frame that goes along with data is no overhead: implementations of gRPC measure the round
//! trip with a PING for each DATA frame. So every frame with data, in either direction, pays for one PING and two WINDOW_UPDATE.
//!
//! The counts begin anew with each window of time, so that twice a budget is the most that passes within the length of one.

use super::PREFACE;
use super::frames::{Fault, FrameHead, Frames, Kind};

/// Why streams are reset that their peer did nothing wrong on (RFC 9113 section 7).
const NO_ERROR: u32 = 0x0;
const INTERNAL_ERROR: u32 = 0x2;
const CANCEL: u32 = 0x8;

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
    /// Frames that cost more to take than they bring, as the library judges.
    Frames,
}

impl Excess {
    /// All of them, in the order declared.
    pub const ALL: [Self; 9] = [
        Self::Resets,
        Self::ResetsSent,
        Self::Pings,
        Self::Settings,
        Self::EmptyData,
        Self::Priorities,
        Self::WindowUpdates,
        Self::Continuations,
        Self::Frames,
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
            Self::Frames => "frames",
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
}

/// Counts the frames of one connection.
#[derive(Debug, Clone)]
pub struct Meter {
    budgets: Budgets,
    received: Frames,
    sent: Frames,
    counts: Counts,
    /// CONTINUATION since the last HEADERS.
    continuations: u32,
    /// Whether a head has begun and not ended.
    within_head: bool,
    /// Heads that have begun.
    heads: u64,
    /// Heads that were sent.
    heads_sent: u64,
    settings_began: bool,
    has_settings: bool,
    /// Whether the last frame that began is one with a head of a message.
    last_is_head: bool,
    window_began_ms: u64,
    excess: Option<Excess>,
    fault: Option<Fault>,
    /// Whether the peer is a client.
    is_of_client: bool,
}

impl Meter {
    /// Of a connection that a client made.
    #[must_use]
    pub fn of_client(budgets: Budgets) -> Self {
        Self::new(budgets, PREFACE.len(), 0)
    }

    /// Of a connection to a server.
    #[must_use]
    pub fn of_server(budgets: Budgets) -> Self {
        Self::new(budgets, 0, PREFACE.len())
    }

    fn new(budgets: Budgets, before_received: usize, before_sent: usize) -> Self {
        let behind = |bytes| Frames::behind(u32::try_from(bytes).unwrap_or(0));
        Self {
            budgets,
            received: behind(before_received),
            sent: behind(before_sent),
            counts: Counts::default(),
            continuations: 0,
            within_head: false,
            heads: 0,
            heads_sent: 0,
            settings_began: false,
            has_settings: false,
            last_is_head: false,
            window_began_ms: 0,
            excess: None,
            fault: None,
            is_of_client: before_received > 0,
        }
    }

    /// Takes in what the peer sent; `now_ms` counts from any fixed time and does not go back.
    ///
    /// *Cost*: per frame, not per byte.
    pub fn received(&mut self, bytes: &[u8], now_ms: u64) {
        if now_ms.saturating_sub(self.window_began_ms) >= u64::from(self.budgets.window_ms) {
            self.window_began_ms = now_ms;
            self.counts = Counts::default();
        }
        let mut frames = self.received;
        frames.pass(bytes, |head| self.count_received(head));
        self.received = frames;
        self.has_settings |= self.settings_began && self.received.is_whole();
    }

    /// Takes in what the peer is sent.
    ///
    /// *Cost*: as [`received`](Self::received).
    pub fn sent(&mut self, bytes: &[u8]) {
        let mut frames = self.sent;
        frames.pass(bytes, |head| match head.kind {
            Kind::Data if head.len > 0 => self.counts.with_data = self.counts.with_data.saturating_add(1),
            // Of these the client is no cause: the answer was whole before the request, or broke, or nobody wants it.
            Kind::ResetStream if matches!(head.error, Some(NO_ERROR | INTERNAL_ERROR | CANCEL)) => {}
            Kind::ResetStream => {
                let max = self.budgets.resets_sent;
                spend(&mut self.counts.resets_sent, max, Excess::ResetsSent, &mut self.excess);
            }
            Kind::Headers => self.heads_sent += 1,
            _ => {}
        });
        self.sent = frames;
    }

    /// What there was too much of first; none: nothing yet. It stays.
    #[must_use]
    pub fn excess(&self) -> Option<Excess> {
        self.excess
    }

    /// What is wrong with a frame that the peer sent, the first of those; none: nothing so far. It stays.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether the peer's settings have come as a whole, which it sends before anything else.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.has_settings
    }

    /// How many heads of messages have begun.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the head of a message has begun to come, and its end has not.
    #[must_use]
    pub fn is_within_head(&self) -> bool {
        // Of a frame whose own head is not all here nobody knows what it will be.
        self.within_head || self.received.is_within_frame_head() || (self.last_is_head && !self.received.is_between())
    }

    fn count_received(&mut self, head: FrameHead) {
        self.has_settings |= self.settings_began;
        if head.is_misshapen() {
            self.fault.get_or_insert(Fault::Length);
        }
        if head.kind == Kind::PushPromise && self.is_of_client {
            // Only servers make promises (RFC 9113 section 8.4).
            self.fault.get_or_insert(Fault::Direction);
        }
        let Self {
            budgets,
            counts,
            excess,
            ..
        } = self;
        let carried = counts.with_data;
        self.last_is_head = matches!(head.kind, Kind::Headers | Kind::PushPromise | Kind::Continuation);
        match head.kind {
            Kind::Data if head.len > 0 => counts.with_data = counts.with_data.saturating_add(1),
            Kind::Data if head.ends_stream() => {}
            Kind::Data => spend(&mut counts.empty_data, budgets.empty_data, Excess::EmptyData, excess),
            Kind::Headers | Kind::PushPromise => {
                self.heads += 1;
                self.continuations = 0;
                self.within_head = !head.ends_headers();
                // The library keeps interim answers that nobody reads.
                if !self.is_of_client && self.heads > HEADS_UNASKED + self.heads_sent * HEADS_OF_ANSWER {
                    excess.get_or_insert(Excess::Frames);
                }
            }
            Kind::Continuation => {
                spend(
                    &mut self.continuations,
                    budgets.continuations,
                    Excess::Continuations,
                    excess,
                );
                self.within_head = !head.ends_headers();
            }
            Kind::ResetStream => spend(&mut counts.resets, budgets.resets, Excess::Resets, excess),
            Kind::Settings if head.answers() => {}
            Kind::Settings => {
                self.settings_began = true;
                spend(&mut counts.settings, budgets.settings, Excess::Settings, excess);
            }
            Kind::Ping if head.answers() => {}
            Kind::Ping => {
                let max = budgets.pings.saturating_add(carried);
                spend(&mut counts.pings, max, Excess::Pings, excess);
            }
            Kind::WindowUpdate => {
                let max = budgets.window_updates.saturating_add(carried.saturating_mul(2));
                spend(&mut counts.window_updates, max, Excess::WindowUpdates, excess);
            }
            Kind::Priority | Kind::Unknown => {
                spend(&mut counts.priorities, budgets.priorities, Excess::Priorities, excess);
            }
            Kind::GoAway => {}
        }
    }
}

fn spend(count: &mut u32, max: u32, what: Excess, excess: &mut Option<Excess>) {
    *count = count.saturating_add(1);
    if *count > max {
        excess.get_or_insert(what);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

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

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = std::vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, 1];
        bytes.extend(payload);
        bytes
    }

    fn meter() -> Meter {
        let mut meter = Meter::of_client(BUDGETS);
        meter.received(PREFACE, 0);
        meter
    }

    /// What is sent or received more often than its budget allows is found with the frame that is one too many.
    #[test]
    fn every_budget_ends() {
        let check = |kind, flags, payload: &[u8], expected| {
            let mut meter = meter();
            for _ in 0..3 {
                meter.received(&frame(kind, flags, payload), 5);
                assert_eq!(meter.excess(), None, "{kind}");
            }
            meter.received(&frame(kind, flags, payload), 6);
            assert_eq!(meter.excess(), Some(expected), "{kind}");
        };
        check(0x0, 0, b"", Excess::EmptyData);
        check(0x2, 0, &[0; 5], Excess::Priorities);
        check(0x3, 0, &[0; 4], Excess::Resets);
        check(0x4, 0, b"", Excess::Settings);
        check(0x6, 0, &[0; 8], Excess::Pings);
        check(0x8, 0, &[0; 4], Excess::WindowUpdates);
        check(0x9, 0, b"x", Excess::Continuations);
        check(0xbe, 0, b"grease", Excess::Priorities);

        let mut meter = meter();
        for _ in 0..3 {
            meter.sent(&frame(0x3, 0, &[0, 0, 0, 1]));
        }
        assert_eq!(meter.excess(), None);
        meter.sent(&frame(0x3, 0, &[0, 0, 0, 1]));
        assert_eq!(meter.excess(), Some(Excess::ResetsSent));
    }

    #[test]
    fn what_ends_or_answers_is_free() {
        let mut meter = meter();
        for _ in 0..100 {
            meter.received(&frame(0x0, 1, b""), 0);
            meter.received(&frame(0x4, 1, b""), 0);
            meter.received(&frame(0x6, 1, &[0; 8]), 0);
            meter.received(&frame(0x1, 5, b"x"), 0);
            meter.received(&frame(0x7, 0, &[0; 8]), 0);
        }
        assert_eq!(meter.excess(), None);
    }

    /// A server that breaks its answers off does not make a flood of its client.
    #[test]
    fn resets_that_the_peer_did_not_cause_are_free() {
        let mut meter = Meter::of_client(BUDGETS);
        for error in [0, 2, 8] {
            for _ in 0..100 {
                meter.sent(&frame(0x3, 0, &[0, 0, 0, error]));
            }
        }
        assert_eq!(meter.excess(), None);
    }

    #[test]
    fn data_pays_for_what_goes_with_it() {
        let mut meter = meter();
        for _ in 0..100 {
            meter.sent(&frame(0x0, 0, b"data"));
            meter.received(&frame(0x6, 0, &[0; 8]), 0);
            meter.received(&frame(0x8, 0, &[0; 4]), 0);
            meter.received(&frame(0x8, 0, &[0; 4]), 0);
        }
        assert_eq!(meter.excess(), None);
        for _ in 0..4 {
            meter.received(&frame(0x6, 0, &[0; 8]), 0);
        }
        assert_eq!(meter.excess(), Some(Excess::Pings));
    }

    #[test]
    fn servers_answer_what_they_were_asked() {
        let mut meter = Meter::of_server(BUDGETS);
        meter.sent(PREFACE);
        meter.sent(&frame(0x1, 5, b"x"));
        for _ in 0..HEADS_OF_ANSWER + HEADS_UNASKED {
            meter.received(&frame(0x1, 4, b"x"), 0);
        }
        assert_eq!(meter.excess(), None);
        meter.received(&frame(0x1, 4, b"x"), 0);
        assert_eq!(meter.excess(), Some(Excess::Frames));
    }

    #[test]
    fn a_window_begins_anew() {
        let mut meter = meter();
        for window in 0..10 {
            for _ in 0..3 {
                meter.received(&frame(0x3, 0, &[0; 4]), window * 10_000);
            }
        }
        assert_eq!(meter.excess(), None);
        // A clock that goes back begins nothing.
        meter.received(&frame(0x3, 0, &[0; 4]), 0);
        assert_eq!(meter.excess(), Some(Excess::Resets));
    }

    #[test]
    fn pieces_of_one_head_are_counted_whatever_the_time() {
        let mut meter = meter();
        meter.received(&frame(0x1, 0, b"x"), 0);
        assert!(meter.is_within_head());
        for time in 1..=4 {
            meter.received(&frame(0x9, 0, b"x"), time * 20_000);
        }
        assert_eq!(meter.excess(), Some(Excess::Continuations));

        let mut meter = Meter::of_client(BUDGETS);
        meter.received(PREFACE, 0);
        for _ in 0..50 {
            meter.received(&frame(0x1, 0, b"x"), 0);
            meter.received(&frame(0x9, 4, b"x"), 0);
            assert!(!meter.is_within_head());
        }
        assert_eq!(meter.excess(), None);
    }

    #[test]
    fn frames_have_their_lengths() {
        let check = |kind, flags, lengths: &[usize]| {
            for len in 0..20 {
                let mut meter = meter();
                meter.received(&frame(kind, flags, &std::vec![0; len]), 0);
                let expected = (!lengths.contains(&len)).then_some(Fault::Length);
                assert_eq!(meter.fault(), expected, "{kind} {flags} {len}");
            }
        };
        check(0x2, 0, &[5]);
        check(0x3, 0, &[4]);
        check(0x4, 0, &[0, 6, 12, 18]);
        check(0x4, 1, &[0]);
        check(0x6, 0, &[8]);
        check(0x7, 0, &[8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        check(0x8, 0, &[4]);
        let any: Vec<usize> = (0..20).collect();
        for kind in [0x0, 0x1, 0x9, 0xbe] {
            check(kind, 0, &any);
        }
    }

    #[test]
    fn clients_promise_nothing() {
        let mut meter = meter();
        meter.received(&frame(0x5, 4, &[0, 0, 0, 2]), 0);
        assert_eq!(meter.fault(), Some(Fault::Direction));
        let mut meter = Meter::of_server(BUDGETS);
        meter.received(&frame(0x5, 4, &[0, 0, 0, 2]), 0);
        assert_eq!(meter.fault(), None);
    }

    #[test]
    fn settings_are_there_when_they_are_whole() {
        let mut meter = Meter::of_server(BUDGETS);
        let settings = frame(0x4, 0, &[0; 6]);
        meter.received(&settings[..14], 0);
        assert!(!meter.has_settings());
        meter.received(&settings[14..], 0);
        assert!(meter.has_settings());
        let mut meter = Meter::of_server(BUDGETS);
        meter.received(&[&settings[..], &[0]].concat(), 0);
        assert!(meter.has_settings());
    }

    #[test]
    fn a_head_that_has_begun_is_known() {
        let mut meter = meter();
        assert!(!meter.is_within_head());
        let head = frame(0x1, 4, b"abcdef");
        for end in 1..head.len() {
            let mut meter = meter.clone();
            meter.received(&head[..end], 0);
            assert!(meter.is_within_head(), "{end}");
        }
        meter.received(&head, 0);
        assert!(!meter.is_within_head());
        // Data that comes slowly is for others to judge.
        meter.received(&frame(0x0, 0, b"abcdef")[..12], 0);
        assert!(!meter.is_within_head());
    }
}
