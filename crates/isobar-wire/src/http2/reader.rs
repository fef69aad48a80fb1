//! Which frame comes next? Puts frames together from the pieces in which bytes come; of DATA nothing is kept.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::PREFACE;
use super::frame::{FrameHead, HEAD, Kind};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// The head of a frame. It is shown before anything else of it.
    Head(FrameHead),
    /// The whole payload of one that is not DATA.
    Payload(FrameHead, &'a [u8]),
    /// Some of the payload of a DATA frame; all of it where `left` is 0.
    Data {
        head: FrameHead,
        bytes: &'a [u8],
        left: usize,
    },
    /// The first bytes of a client are not those of HTTP/2.
    NoPreface,
}

/// A place in what comes.
#[derive(Debug)]
pub(super) struct Reader {
    expects: Expects,
    /// The beginning of what is expected, where it did not come as a whole.
    part: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// The first bytes of a client, of which so many have come.
    Preface(usize),
    Head,
    Payload(FrameHead),
    /// So many bytes more of a DATA frame.
    Data(FrameHead, usize),
    /// So many bytes that nobody looks at.
    Passes(usize),
}

/// More than this is not kept for the next part.
const KEPT: usize = 64;

impl Reader {
    /// Where a client is to speak first.
    pub(super) fn of_client() -> Self {
        Self::expecting(Expects::Preface(0))
    }

    pub(super) fn of_server() -> Self {
        Self::expecting(Expects::Head)
    }

    fn expecting(expects: Expects) -> Self {
        Self {
            expects,
            part: Vec::new(),
        }
    }

    /// How many bytes it holds.
    pub(super) fn held(&self) -> usize {
        self.part.len()
    }

    /// The frame whose head has come and whose end has not.
    pub(super) fn within(&self) -> Option<Kind> {
        match self.expects {
            Expects::Payload(head) | Expects::Data(head, _) => Some(head.kind),
            Expects::Preface(_) | Expects::Head | Expects::Passes(_) => None,
        }
    }

    /// Whether the head of a frame has begun to come, and its end has not.
    pub(super) fn is_within_frame_head(&self) -> bool {
        self.expects == Expects::Head && !self.part.is_empty()
    }

    /// Shows what is found, in order, until `found` breaks it off. DATA of no bytes is shown as such.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(Found<'_>) -> ControlFlow<()>) {
        loop {
            let flow = match self.expects {
                Expects::Preface(seen) => self.preface(&mut bytes, seen, &mut found),
                Expects::Passes(left) => {
                    let passed = left.min(bytes.len());
                    bytes = bytes.get(passed..).unwrap_or_default();
                    self.expects = match left - passed {
                        0 => Expects::Head,
                        left => Expects::Passes(left),
                    };
                    ControlFlow::Continue(())
                }
                Expects::Data(head, left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    bytes = rest;
                    let left = left - now.len();
                    self.expects = match left {
                        0 => Expects::Head,
                        left => Expects::Data(head, left),
                    };
                    found(Found::Data { head, bytes: now, left })
                }
                Expects::Head => match self.whole(&mut bytes, HEAD) {
                    Whole::Here(whole) => match whole.first_chunk() {
                        Some(&head) => self.begin(FrameHead::read(head), &mut found),
                        None => return,
                    },
                    Whole::Kept(part) => {
                        let flow = match part.first_chunk() {
                            Some(&head) => self.begin(FrameHead::read(head), &mut found),
                            None => return,
                        };
                        self.keep(part);
                        flow
                    }
                    Whole::Not => return,
                },
                Expects::Payload(head) => match self.whole(&mut bytes, head.len) {
                    Whole::Here(payload) => {
                        self.expects = Expects::Head;
                        found(Found::Payload(head, payload))
                    }
                    Whole::Kept(part) => {
                        self.expects = Expects::Head;
                        let flow = found(Found::Payload(head, &part));
                        self.keep(part);
                        flow
                    }
                    Whole::Not => return,
                },
            };
            // Frames without a payload are whole with their heads.
            let is_whole = matches!(self.expects, Expects::Payload(head) if head.len == 0);
            if flow.is_break() || (bytes.is_empty() && !is_whole) {
                return;
            }
        }
    }

    /// Compares the first bytes of a client.
    fn preface(
        &mut self,
        bytes: &mut &[u8],
        seen: usize,
        found: &mut impl FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let (now, rest) = bytes.split_at(expected.len().min(bytes.len()));
        if !expected.starts_with(now) {
            return match found(Found::NoPreface) {
                ControlFlow::Continue(()) | ControlFlow::Break(()) => ControlFlow::Break(()),
            };
        }
        *bytes = rest;
        self.expects = match now.len() == expected.len() {
            true => Expects::Head,
            false => Expects::Preface(seen + now.len()),
        };
        ControlFlow::Continue(())
    }

    fn begin(&mut self, head: FrameHead, found: &mut impl FnMut(Found<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.expects = match head.kind {
            Kind::Data if head.len > 0 => Expects::Data(head, head.len),
            Kind::Unknown if head.len > 0 => Expects::Passes(head.len),
            Kind::Data | Kind::Unknown => Expects::Head,
            _ => Expects::Payload(head),
        };
        found(Found::Head(head))?;
        if head.kind == Kind::Data && head.len == 0 {
            return found(Found::Data {
                head,
                bytes: &[],
                left: 0,
            });
        }
        ControlFlow::Continue(())
    }

    /// So many bytes as a whole, once they are there.
    fn whole<'a>(&mut self, bytes: &mut &'a [u8], len: usize) -> Whole<'a> {
        if self.part.is_empty()
            && let Some((whole, rest)) = bytes.split_at_checked(len)
        {
            *bytes = rest;
            return Whole::Here(whole);
        }
        let missing = len.saturating_sub(self.part.len());
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        *bytes = rest;
        self.part.extend_from_slice(now);
        match self.part.len() == len {
            true => Whole::Kept(core::mem::take(&mut self.part)),
            false => Whole::Not,
        }
    }

    fn keep(&mut self, mut part: Vec<u8>) {
        if part.capacity() <= KEPT {
            part.clear();
            self.part = part;
        }
    }
}

/// Bytes that are looked at as a whole.
enum Whole<'a> {
    Here(&'a [u8]),
    /// They were put together.
    Kept(Vec<u8>),
    Not,
}
