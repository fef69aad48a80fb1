//! How are bytes of HTTP/2 divided into frames (RFC 9113 section 4), and how are the few made that we need?
//!
//! For a client and a server that only ever see what we measure. It knows no header compression: fields are written
//! without Huffman's code, by number where the table of the other side has them.

use anyhow::{Result, ensure};

/// What a client says first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The size of the table of fields, from which on ours fit in (RFC 9113 section 6.5.2).
pub(super) const TABLE_SIZE: u16 = 1;
/// Whether a server may push.
pub(super) const ENABLE_PUSH: u16 = 2;
/// The window of each stream.
pub(super) const STREAM_WINDOW: u16 = 4;

/// The last frame of a stream.
pub(super) const END_STREAM: u8 = 1;
/// The answer to SETTINGS or PING.
pub(super) const ACK: u8 = 1;
/// The last frame of a block of fields.
pub(super) const END_HEADERS: u8 = 4;

/// The window of a connection until it is raised (RFC 9113 section 6.9.2).
pub(super) const INITIAL_WINDOW: i64 = 65_535;

/// What is added to the window of a connection at its beginning.
const WIDE: u32 = 1 << 30;

/// The greatest length of a payload unless something else was agreed on.
const PAYLOAD: usize = 16_384;

/// Bytes before a payload.
const HEAD: usize = 9;

/// What a frame is (RFC 9113 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    Reset = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
    /// One that this table does not have, to be ignored.
    Other = 255,
}

impl Kind {
    const KNOWN: [Self; 10] = [
        Self::Data,
        Self::Headers,
        Self::Priority,
        Self::Reset,
        Self::Settings,
        Self::PushPromise,
        Self::Ping,
        Self::GoAway,
        Self::WindowUpdate,
        Self::Continuation,
    ];
}

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// What its bits mean depends on the kind.
    pub(super) flags: u8,
    /// 0: the connection.
    pub(super) stream: u32,
    /// Without the nine bytes before it.
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether a flag is set.
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// By how much a WINDOW_UPDATE widens.
    pub(super) fn increment(&self) -> i64 {
        i64::from(number(self.payload) & 0x7fff_ffff)
    }

    /// The settings of a SETTINGS frame.
    pub(super) fn settings(&self) -> impl Iterator<Item = (u16, u32)> {
        let pairs = self.payload.chunks_exact(6);
        pairs.map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), number(&pair[2..])))
    }
}

/// The first four bytes as a number; 0 of fewer.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Takes the frame at the front of `bytes`; none: it is not complete.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Result<Option<Frame<'a>>> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    ensure!(length <= PAYLOAD, "a frame of {length} bytes: this is not HTTP/2");
    let Some((payload, rest)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    *bytes = rest;
    Ok(Some(Frame {
        kind: Kind::KNOWN.get(usize::from(head[3])).copied().unwrap_or(Kind::Other),
        flags: head[4],
        stream: number(&head[5..]) & 0x7fff_ffff,
        payload,
    }))
}

/// Adds a frame to `out`.
pub(super) fn put(out: &mut Vec<u8>, frame: Frame<'_>) {
    let length = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend([frame.kind as u8, frame.flags]);
    out.extend_from_slice(&frame.stream.to_be_bytes());
    out.extend_from_slice(frame.payload);
}

/// Adds SETTINGS, and a window of the connection that is wide.
pub(super) fn put_opening(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::new();
    for (setting, value) in settings {
        payload.extend_from_slice(&setting.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    put(
        out,
        Frame {
            kind: Kind::Settings,
            flags: 0,
            stream: 0,
            payload: &payload,
        },
    );
    put_window(out, WIDE);
}

fn put_window(out: &mut Vec<u8>, increment: u32) {
    put(
        out,
        Frame {
            kind: Kind::WindowUpdate,
            flags: 0,
            stream: 0,
            payload: &increment.to_be_bytes(),
        },
    );
}

/// What both sides owe the other on a connection: acknowledgements, and a window that stays wide.
#[derive(Debug, Default)]
pub(super) struct Duties {
    received: u32,
}

impl Duties {
    /// Adds to `out` what a frame asks for.
    pub(super) fn answer(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        match frame.kind {
            Kind::Settings | Kind::Ping if !frame.has(ACK) => {
                let payload = if frame.kind == Kind::Ping { frame.payload } else { &[] };
                put(
                    out,
                    Frame {
                        flags: ACK,
                        payload,
                        ..*frame
                    },
                );
            }
            Kind::Data => {
                self.received += u32::try_from(frame.payload.len()).unwrap_or(0);
                if self.received >= WIDE / 2 {
                    put_window(out, self.received);
                    self.received = 0;
                }
            }
            _ => {}
        }
    }
}

/// Adds a field that the static table has, by its number (RFC 7541 section 6.1).
pub(super) fn put_indexed(out: &mut Vec<u8>, index: u8) {
    out.push(0x80 | index);
}

/// Adds a text of at most 126 bytes (RFC 7541 section 5.2).
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() < 127, "longer texts have longer lengths");
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_made() {
        let ping = Frame {
            kind: Kind::Ping,
            flags: 0,
            stream: 0,
            payload: b"12345678",
        };
        let mut bytes = Vec::new();
        put(&mut bytes, ping);
        let mut rest = &bytes[..16];
        assert_eq!(take(&mut rest).unwrap(), None);
        let mut rest = &bytes[..];
        assert_eq!(take(&mut rest).unwrap(), Some(ping));
        assert!(rest.is_empty());
    }

    #[test]
    fn an_answer_of_http_1_is_none_of_http_2() {
        assert!(take(&mut &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]).is_err());
    }

    #[test]
    fn settings_and_pings_are_acknowledged_once() {
        let mut opening = Vec::new();
        put_opening(&mut opening, &[(ENABLE_PUSH, 0), (STREAM_WINDOW, 7)]);
        let settings = take(&mut &opening[..]).unwrap().unwrap();
        assert!(settings.settings().eq([(ENABLE_PUSH, 0), (STREAM_WINDOW, 7)]));
        let mut out = Vec::new();
        Duties::default().answer(&settings, &mut out);
        let acknowledged = take(&mut &out[..]).unwrap().unwrap();
        assert_eq!((acknowledged.flags, acknowledged.payload), (ACK, &[][..]));
        let mut nothing = Vec::new();
        Duties::default().answer(&acknowledged, &mut nothing);
        assert!(nothing.is_empty());
    }
}
