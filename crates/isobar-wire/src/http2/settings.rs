//! What do the two sides of a connection allow each other?
//!
//! *Source*: RFC 9113 section 6.5.2, RFC 8441 section 3.

use alloc::vec::Vec;

use super::ErrorCode;
use super::frame::{self, Kind};
use crate::HeadLimits;

/// The window that streams and connections have as long as nothing else was said.
pub(super) const USUAL_WINDOW: u32 = 65_535;

/// The greatest window there is.
pub(super) const MAX_WINDOW: u32 = 0x7fff_ffff;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// What we allow a peer.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Streams that it may have open at once; of clients only.
    pub max_concurrent_streams: u32,
    /// Bytes that it may send on a stream ahead of the one who reads them.
    pub stream_window: u32,
    /// The same of all streams together.
    pub connection_window: u32,
    /// Bytes that the connection may hold: heads and bodies that were not read yet, and what waits to be sent.
    pub max_held: usize,
    /// What a head may take. More than that is handed on as far as needed for its reader to see it.
    pub head: HeadLimits,
}

impl Settings {
    /// Appends them, as a server tells them, or a client.
    pub(super) fn write(&self, out: &mut Vec<u8>, of_server: bool) {
        let head_bytes = u32::try_from(self.head.max_bytes).unwrap_or(u32::MAX);
        let common = [
            (INITIAL_WINDOW_SIZE, self.stream_window),
            (MAX_HEADER_LIST_SIZE, head_bytes),
        ];
        let own = if of_server {
            [
                (MAX_CONCURRENT_STREAMS, Some(self.max_concurrent_streams)),
                (ENABLE_CONNECT_PROTOCOL, Some(1)),
            ]
        } else {
            [(ENABLE_PUSH, Some(0)), (MAX_CONCURRENT_STREAMS, None)]
        };
        let own = own.into_iter().filter_map(|(id, value)| Some((id, value?)));
        let start = out.len();
        frame::head(out, Kind::Settings, 0, (0, 0));
        for (id, value) in common.into_iter().chain(own) {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        frame::patch_len(out, start);
    }
}

/// What a peer allows us.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerSettings {
    /// Bytes of its table of fields, the least that it said and the last; none: it did not say.
    pub(super) tables: Option<[u32; 2]>,
    pub(super) max_streams: u32,
    pub(super) stream_window: u32,
    pub(super) max_frame: usize,
    /// Whether it takes up other protocols on streams.
    pub(super) extended_connect: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            tables: None,
            max_streams: u32::MAX,
            stream_window: USUAL_WINDOW,
            max_frame: frame::MAX_PAYLOAD,
            extended_connect: false,
        }
    }
}

impl PeerSettings {
    /// Takes in what a peer says, a client or a server.
    pub(super) fn read(&mut self, payload: &[u8], from_server: bool) -> Result<(), (ErrorCode, &'static str)> {
        let (settings, _) = payload.as_chunks::<6>();
        for &[a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => {
                    let least = self.tables.map_or(value, |[least, _]| least.min(value));
                    self.tables = Some([least, value]);
                }
                ENABLE_PUSH if value > u32::from(!from_server) => {
                    return Err((ErrorCode::PROTOCOL_ERROR, "ENABLE_PUSH has a value that it cannot have"));
                }
                MAX_CONCURRENT_STREAMS => self.max_streams = value,
                INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                    return Err((ErrorCode::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large"));
                }
                INITIAL_WINDOW_SIZE => self.stream_window = value,
                MAX_FRAME_SIZE => match value {
                    16_384..=0xff_ffff => self.max_frame = value as usize,
                    _ => {
                        return Err((
                            ErrorCode::PROTOCOL_ERROR,
                            "MAX_FRAME_SIZE has a value that it cannot have",
                        ));
                    }
                },
                ENABLE_CONNECT_PROTOCOL if value > 1 || (self.extended_connect && value == 0) => {
                    return Err((
                        ErrorCode::PROTOCOL_ERROR,
                        "ENABLE_CONNECT_PROTOCOL has a value that it cannot have",
                    ));
                }
                ENABLE_CONNECT_PROTOCOL => self.extended_connect = value == 1,
                // What a list of fields may take is advice, and others are passed over.
                _ => {}
            }
        }
        Ok(())
    }
}
