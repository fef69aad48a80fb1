//! How is a frame spelled? Reads and writes heads of frames, and the payloads that always look alike.
//!
//! *Source*: RFC 9113 sections 4.1 and 6.

use alloc::vec::Vec;

use super::ErrorCode;

/// Bytes of the head of a frame.
pub(super) const HEAD: usize = 9;

/// Bytes of a payload at most that peers may send us: we do not ask for more.
pub(super) const MAX_PAYLOAD: usize = 16_384;

/// `END_STREAM` of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 0x1;
/// `ACK` of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
/// `END_HEADERS` of HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 0x4;
/// `PADDED` of DATA and HEADERS.
pub(super) const PADDED: u8 = 0x8;
/// `PRIORITY` of HEADERS.
pub(super) const PRIORITY: u8 = 0x20;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::ResetStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::Priority => 0x2,
            Self::ResetStream => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::Ping => 0x6,
            Self::GoAway => 0x7,
            Self::WindowUpdate => 0x8,
            Self::Continuation => 0x9,
            Self::Unknown => 0xff,
        }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// Bytes of its payload.
    pub(super) len: usize,
    /// Its stream; 0: the connection.
    pub(super) stream: u32,
}

impl FrameHead {
    pub(super) fn read(bytes: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            kind: Kind::of(kind),
            flags,
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is wrong with it on its own, so that nothing behind it can be trusted.
    pub(super) fn fault(&self) -> Option<(ErrorCode, &'static str)> {
        let is_misshapen = match self.kind {
            _ if self.len > MAX_PAYLOAD => true,
            Kind::Priority => self.len != 5,
            Kind::ResetStream | Kind::WindowUpdate => self.len != 4,
            Kind::Settings if self.has(ACK) => self.len != 0,
            Kind::Settings => !self.len.is_multiple_of(6),
            Kind::Ping => self.len != 8,
            Kind::GoAway => self.len < 8,
            Kind::Data | Kind::Headers | Kind::PushPromise | Kind::Continuation | Kind::Unknown => false,
        };
        if is_misshapen {
            return Some((ErrorCode::FRAME_SIZE_ERROR, "a frame has a length that it cannot have"));
        }
        let is_astray = match self.kind {
            Kind::Settings | Kind::Ping | Kind::GoAway => self.stream != 0,
            Kind::WindowUpdate | Kind::Unknown => false,
            Kind::Data
            | Kind::Headers
            | Kind::Priority
            | Kind::ResetStream
            | Kind::PushPromise
            | Kind::Continuation => self.stream == 0,
        };
        is_astray.then_some((
            ErrorCode::PROTOCOL_ERROR,
            "a frame is for a stream that it cannot be for",
        ))
    }
}

/// Appends the head of a frame.
pub(super) fn head(out: &mut Vec<u8>, kind: Kind, flags: u8, (stream, len): (u32, usize)) {
    let [_, a, b, c] = u32::try_from(len).unwrap_or(0).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind.byte(), flags, d, e, f, g]);
}

/// Writes the length of a frame that begins at `start` and ends here, into its head.
pub(super) fn patch_len(out: &mut [u8], start: usize) {
    let len = out.len().saturating_sub(start + HEAD);
    let [_, a, b, c] = u32::try_from(len).unwrap_or(0).to_be_bytes();
    if let Some(room) = out.get_mut(start..start + 3) {
        room.copy_from_slice(&[a, b, c]);
    }
}

/// Appends RST_STREAM.
pub(super) fn reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    head(out, Kind::ResetStream, 0, (stream, 4));
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub(super) fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    head(out, Kind::WindowUpdate, 0, (stream, 4));
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends PING, or the answer to one.
pub(super) fn ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    head(out, Kind::Ping, flags, (0, 8));
    out.extend_from_slice(&payload);
}

/// Appends GOAWAY.
pub(super) fn go_away(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    head(out, Kind::GoAway, 0, (0, 8));
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}
