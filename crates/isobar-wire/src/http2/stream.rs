//! What is known of one stream? What came on it and was not read yet, and what may still come and go.
//!
//! ```text
//!               client's side                                     server's side
//! open ──▶ send: Head ▶ Body ▶ Ended            accept ──▶ recv: Body ▶ Ended
//!          recv: Head ▶ Body ▶ Ended                       send: Head ▶ Body ▶ Ended
//! ```
//!
//! Either may be cut off: then [`Stream::failed`] says how, and nothing more comes or goes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::settings::Settings;
use super::{ErrorCode, frame};
use crate::write;

/// How far one direction of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The head of its message is next, or an interim one.
    Head,
    /// What is behind the head.
    Body,
    Ended,
}

/// How the body that comes is framed for whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Its length is in the head, or it is none of a message: the data alone.
    Data,
    /// In chunks.
    Chunks,
}

/// How a stream was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StreamError {
    /// The peer gave it up.
    #[error("the stream was reset with {}", .0.name())]
    Reset(ErrorCode),
    /// A server leaves, and has not looked at the request (RFC 9113 section 6.8).
    #[error("the connection takes no more streams")]
    Left,
    /// The peer broke the rules of the protocol on it, and has been told.
    #[error("the stream broke the rules and was reset with {}", .0.name())]
    Malformed(ErrorCode),
    /// Its connection ended.
    #[error("the connection of the stream ended")]
    Lost,
}

/// What of a client's request the one needs who reads the answer.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Whether the answer has no body, whatever its head says.
    pub(super) to_head: bool,
    /// What proves that a server goes on with a WebSocket, where the request asks for one.
    pub(super) accept: Option<Box<str>>,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) recv: Side,
    pub(super) send: Side,
    pub(super) failed: Option<StreamError>,
    pub(super) framing: Framing,
    /// Heads in the form of HTTP/1.
    head: Pending,
    /// Data.
    data: Pending,
    /// What comes behind the data: the end of a body in chunks, with its trailers.
    tail: Pending,
    /// Bytes of the chunk that is being read.
    chunk_left: usize,
    /// Framing of chunks that is being read.
    chunk_text: Vec<u8>,
    /// What the peer may still send.
    pub(super) recv_window: i64,
    /// What has been read and the peer was not told so; negative: what it has beyond its window.
    pub(super) released: i64,
    /// What we may still send.
    pub(super) send_window: i64,
    /// Bytes of its body that the peer has still to send; none: it did not say.
    pub(super) length_left: Option<u64>,
    pub(super) expected: Expected,
    /// Whether a WebSocket is asked for on it.
    pub(super) websocket: bool,
    /// Whether whoever writes on it waits for room.
    pub(super) wants_room: bool,
    /// Whether it is in the queue of those that wait for room.
    pub(super) is_queued: bool,
    /// Whether it is its turn to write, of those that wait.
    pub(super) has_turn: bool,
}

/// Bytes that wait to be read.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    read: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.read >= self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.read)
    }

    /// Where to append.
    fn end(&mut self) -> &mut Vec<u8> {
        if self.read >= self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        } else if self.read >= self.bytes.len() / 2 {
            // One who never reads all of it must not make it grow.
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        &mut self.bytes
    }

    /// Moves what fits.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(room), Some(rest)) = (buf.get_mut(..count), rest.get(..count)) {
            room.copy_from_slice(rest);
        }
        self.read += count;
        if self.read == self.bytes.len() {
            self.bytes = Vec::new();
            self.read = 0;
        }
        count
    }
}

/// What one call read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) bytes: usize,
    /// How many of them were data.
    pub(super) data: usize,
    /// How many of them were heads and trailers.
    pub(super) heads: usize,
}

impl Stream {
    pub(super) fn new(id: u32, [recv, send]: [Side; 2]) -> Self {
        Self {
            id,
            recv,
            send,
            failed: None,
            framing: Framing::Data,
            head: Pending::default(),
            data: Pending::default(),
            tail: Pending::default(),
            chunk_left: 0,
            chunk_text: Vec::new(),
            recv_window: 0,
            released: 0,
            send_window: 0,
            length_left: None,
            expected: Expected::default(),
            websocket: false,
            wants_room: false,
            is_queued: false,
            has_turn: false,
        }
    }

    /// Where heads are written.
    pub(super) fn heads(&mut self) -> &mut Vec<u8> {
        self.head.end()
    }

    /// Takes a line into the head that was written last.
    pub(super) fn add_line(&mut self, name: &[u8], value: &[u8]) {
        let text = self.head.end();
        // Behind the last field, before the empty line.
        if text.ends_with(b"\r\n\r\n") {
            text.truncate(text.len() - 2);
            write::field(text, name, value);
            write::end(text);
        }
    }

    /// Takes in what came of the body.
    pub(super) fn add_data(&mut self, bytes: &[u8]) {
        self.data.end().extend_from_slice(bytes);
    }

    /// The body has ended, with these trailers.
    pub(super) fn end_body(&mut self, trailers: &[u8]) {
        self.recv = Side::Ended;
        if self.framing == Framing::Chunks {
            write::last_chunk(self.tail.end(), trailers);
        }
    }

    /// How many bytes of heads and trailers were not read yet.
    pub(super) fn unread_heads(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Lets the peer send so much more, once that is worth telling.
    pub(super) fn release(&mut self, bytes: usize, settings: &Settings, out: &mut Vec<u8>) {
        self.released += i64::try_from(bytes).unwrap_or(0);
        let is_open = self.recv == Side::Body && self.failed.is_none();
        if is_open && self.released >= i64::from(settings.stream_window / 2).max(1) {
            let released = u32::try_from(self.released).unwrap_or(0);
            self.recv_window += self.released;
            self.released = 0;
            frame::window_update(out, self.id, released);
        }
    }

    /// Whether all that came has been read.
    pub(super) fn is_read(&self) -> bool {
        self.head.is_empty() && self.data.is_empty() && self.tail.is_empty() && self.chunk_text.is_empty()
    }

    /// Moves what has come, as far as it fits, into a buffer with room for at least the framing of a chunk.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> Taken {
        let heads = self.head.take(buf);
        let mut taken = Taken {
            bytes: heads,
            data: 0,
            heads,
        };
        if !self.head.is_empty() {
            return taken;
        }
        match self.framing {
            Framing::Data => {
                taken.data = self.data.take(buf.get_mut(taken.bytes..).unwrap_or_default());
                taken.bytes += taken.data;
            }
            Framing::Chunks => self.take_chunks(buf, &mut taken),
        }
        if self.data.is_empty() && self.chunk_text.is_empty() {
            let tail = self.tail.take(buf.get_mut(taken.bytes..).unwrap_or_default());
            taken.bytes += tail;
            taken.heads += tail;
        }
        taken
    }

    /// Puts all data that is there into one chunk, however many frames it came in.
    fn take_chunks(&mut self, buf: &mut [u8], taken: &mut Taken) {
        loop {
            if !self.chunk_text.is_empty() {
                let room = buf.get_mut(taken.bytes..).unwrap_or_default();
                let count = room.len().min(self.chunk_text.len());
                if let (Some(room), Some(text)) = (room.get_mut(..count), self.chunk_text.get(..count)) {
                    room.copy_from_slice(text);
                }
                self.chunk_text.drain(..count);
                taken.bytes += count;
                if !self.chunk_text.is_empty() {
                    return;
                }
            }
            if self.chunk_left == 0 {
                if self.data.is_empty() {
                    return;
                }
                self.chunk_left = self.data.len();
                write::chunk_head(&mut self.chunk_text, self.chunk_left);
                continue;
            }
            let room = buf.get_mut(taken.bytes..).unwrap_or_default();
            let within = room.len().min(self.chunk_left);
            let count = self.data.take(room.get_mut(..within).unwrap_or_default());
            taken.bytes += count;
            taken.data += count;
            self.chunk_left -= count;
            if count == 0 {
                return;
            }
            if self.chunk_left == 0 {
                write::end(&mut self.chunk_text);
            }
        }
    }

    /// Forgets what was not read; how much of it was data.
    pub(super) fn forget(&mut self) -> usize {
        let unread = self.data.len();
        self.head = Pending::default();
        self.data = Pending::default();
        self.tail = Pending::default();
        self.chunk_text = Vec::new();
        self.chunk_left = 0;
        unread
    }

    /// Cuts it off. What came before may be read first where that is an answer that is whole.
    pub(super) fn fail(&mut self, error: StreamError) {
        self.failed.get_or_insert(error);
    }
}
