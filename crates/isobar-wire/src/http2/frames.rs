//! Which frames are in these bytes? Finds their heads, whatever the pieces in which the bytes come; does not keep payloads.
//!
//! *Source*: RFC 9113 section 4.1.

/// Bytes of the head of a frame.
const HEAD: usize = 9;

/// Bytes of a RST_STREAM, of which all is looked at.
const RESET: usize = HEAD + 4;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Part of a body.
    Data,
    /// The head of a message, or its trailers.
    Headers,
    /// What a stream depends on, which RFC 9113 section 5.3 retired.
    Priority,
    /// The end of a stream before its time.
    ResetStream,
    /// Settings, or the word that they are in use.
    Settings,
    /// A request that nobody made.
    PushPromise,
    /// A question whether the peer is there, or the answer.
    Ping,
    /// The end of a connection.
    GoAway,
    /// Room for more data.
    WindowUpdate,
    /// More of a head.
    Continuation,
    /// Anything else, which is passed over (section 4.1).
    Unknown,
}

/// What is wrong with a frame, so that nothing behind it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has another length than frames of its type (`FRAME_SIZE_ERROR`).
    Length,
    /// It is for the other side to send (`PROTOCOL_ERROR`).
    Direction,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// The bytes behind its head.
    pub len: u32,
    /// Why a stream is reset; of RST_STREAM of its right length only.
    pub error: Option<u32>,
}

impl FrameHead {
    /// Whether a head of a message ends with it (`END_HEADERS`); of HEADERS, PUSH_PROMISE and CONTINUATION only.
    #[must_use]
    pub fn ends_headers(&self) -> bool {
        self.flags & 0x4 != 0
    }

    /// Whether it is the last of its stream (`END_STREAM`); of DATA and HEADERS only.
    #[must_use]
    pub fn ends_stream(&self) -> bool {
        self.flags & 0x1 != 0
    }

    /// Whether it answers another one (`ACK`); of SETTINGS and PING only.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.flags & 0x1 != 0
    }

    /// Whether it has a length that no frame of its type has.
    ///
    /// *Source*: RFC 9113 sections 6.3 to 6.9.
    #[must_use]
    pub fn is_misshapen(&self) -> bool {
        match self.kind {
            Kind::Priority => self.len != 5,
            Kind::ResetStream | Kind::WindowUpdate => self.len != 4,
            Kind::Settings if self.answers() => self.len != 0,
            Kind::Settings => !self.len.is_multiple_of(6),
            Kind::Ping => self.len != 8,
            Kind::GoAway => self.len < 8,
            Kind::Data | Kind::Headers | Kind::PushPromise | Kind::Continuation | Kind::Unknown => false,
        }
    }

    fn read(bytes: [u8; RESET], held: usize) -> Self {
        let [a, b, c, kind, flags, _, _, _, _, error @ ..] = bytes;
        Self {
            kind: match kind {
                0x0 => Kind::Data,
                0x1 => Kind::Headers,
                0x2 => Kind::Priority,
                0x3 => Kind::ResetStream,
                0x4 => Kind::Settings,
                0x5 => Kind::PushPromise,
                0x6 => Kind::Ping,
                0x7 => Kind::GoAway,
                0x8 => Kind::WindowUpdate,
                0x9 => Kind::Continuation,
                _ => Kind::Unknown,
            },
            flags,
            len: u32::from_be_bytes([0, a, b, c]),
            error: (held == RESET).then(|| u32::from_be_bytes(error)),
        }
    }
}

/// A place in a sequence of frames.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    /// Bytes to pass over before the next head.
    skip: u32,
    /// The beginning of a head that came in pieces.
    part: [u8; RESET],
    held: u8,
}

impl Frames {
    /// Begins behind so many bytes that are no frames.
    #[must_use]
    pub fn behind(bytes: u32) -> Self {
        Self {
            skip: bytes,
            part: [0; RESET],
            held: 0,
        }
    }

    /// Passes over bytes, and shows the head of each frame as soon as it is whole; that of a RST_STREAM with its payload.
    ///
    /// *Cost*: per frame, not per byte.
    pub fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            // Not more than `skip`, which has 32 bits.
            self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
            bytes = bytes.get(skipped..).unwrap_or_default();
            let held = usize::from(self.held);
            let taken = bytes.len().min(self.needed().saturating_sub(held));
            if let (Some(room), Some(new)) = (self.part.get_mut(held..held + taken), bytes.get(..taken)) {
                room.copy_from_slice(new);
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            // At most `RESET`.
            self.held = u8::try_from(held + taken).unwrap_or(0);
            let held = held + taken;
            if held >= HEAD && held == self.needed() {
                let head = FrameHead::read(self.part, held);
                self.held = 0;
                self.skip = head.len.saturating_sub(u32::try_from(held - HEAD).unwrap_or(0));
                found(head);
            }
        }
    }

    /// Bytes of a frame that are looked at, as far as is known.
    fn needed(&self) -> usize {
        match self.part {
            [0, 0, 4, 0x3, ..] if usize::from(self.held) >= HEAD => RESET,
            _ => HEAD,
        }
    }

    /// Whether the head of a frame has begun to come, and its end has not.
    #[must_use]
    pub fn is_within_frame_head(&self) -> bool {
        self.held > 0
    }

    /// Whether the frame whose head was shown last is all here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.skip == 0
    }

    /// Whether the last frame is all here, and nothing of the next.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.skip == 0 && self.held == 0
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = Vec::from(&len[1..]);
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn heads_are_found() {
        let mut bytes = Vec::from(crate::http2::PREFACE);
        bytes.extend(frame(4, 0, &[0; 18]));
        bytes.extend(frame(1, 5, b"head"));
        bytes.extend(frame(0, 1, b""));
        bytes.extend(frame(0xfe, 0, b"grease"));
        let mut found = Vec::new();
        Frames::behind(24).pass(&bytes, |head| found.push((head.kind, head.flags, head.len)));
        assert_eq!(
            found,
            [
                (Kind::Settings, 0, 18),
                (Kind::Headers, 5, 4),
                (Kind::Data, 1, 0),
                (Kind::Unknown, 0, 6)
            ]
        );
    }

    #[test]
    fn a_frame_of_the_greatest_length_is_passed_over() {
        let mut frames = Frames::behind(0);
        let mut count = 0;
        frames.pass(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], |_| count += 1);
        assert!(!frames.is_between());
        for _ in 0..(1 << 24) / 65_536 {
            frames.pass(&[0; 65_536][..65_535], |_| count += 1);
        }
        frames.pass(&[0; 255], |_| count += 1);
        assert!(frames.is_between());
        assert_eq!(count, 1);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            frames in proptest::collection::vec((any::<u8>(), any::<u8>(), 0usize..40), 0..20),
            cuts in proptest::collection::vec(1usize..30, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|&(kind, flags, len)| frame(kind, flags, &std::vec![7; len])).collect();
            let mut whole = Vec::new();
            Frames::behind(0).pass(&bytes, |head| whole.push(head));
            prop_assert_eq!(whole.len(), frames.len());

            let mut pieces = Vec::new();
            let mut place = Frames::behind(0);
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at(rest.len().min(*cut));
                place.pass(piece, |head| pieces.push(head));
                rest = more;
            }
            prop_assert_eq!(whole, pieces);
            prop_assert!(place.is_between());
        }
    }
}
