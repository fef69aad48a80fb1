//! What is sent on the streams?

use alloc::vec::Vec;

use super::{Answer, Asked, Connection, Side, StreamError, StreamKey};
use crate::Method;
use crate::http2::frame::{self, END_HEADERS, END_STREAM, Kind};
use crate::http2::stream::{Expected, Stream};
use crate::http2::{ErrorCode, head};

/// Bytes of data in one frame, so that no stream holds up the others for long.
const MAX_DATA: usize = frame::MAX_PAYLOAD;

impl Connection {
    /// Sends the head of a response. After an interim one another follows.
    ///
    /// *Errors*: the stream was cut off.
    pub fn respond(&mut self, key: StreamKey, answer: Answer<'_>, out: &mut Vec<u8>) -> Result<(), StreamError> {
        let stream = self.streams.at(key).ok_or(StreamError::Lost)?;
        if let Some(error) = stream.failed {
            return Err(error);
        }
        debug_assert_eq!(stream.send, Side::Head, "a response has one head");
        let is_interim = answer.status < 200;
        let ends = answer.ends && !is_interim;
        stream.send = match () {
            () if is_interim => Side::Head,
            () if ends => Side::Ended,
            () => Side::Body,
        };
        let block = Headers {
            stream: stream.id,
            ends,
            max_frame: self.peer.max_frame,
        };
        block.write(out, |out| {
            head::response(&mut self.encoder, (answer.head, answer.text), answer.status, out);
        });
        self.meter.sent_head();
        Ok(())
    }

    /// Opens a stream with the head of a request.
    ///
    /// *Errors*: the connection takes no more of them.
    pub fn open(&mut self, asked: Asked<'_>, out: &mut Vec<u8>) -> Result<StreamKey, StreamError> {
        if !self.is_open() {
            return Err(StreamError::Left);
        }
        let id = if self.highest == 0 { 1 } else { self.highest + 2 };
        self.highest = id;
        let websocket = asked.accept.is_some();
        let send = if asked.ends { Side::Ended } else { Side::Body };
        let mut stream = Stream::new(id, [Side::Head, send]);
        self.set_windows(&mut stream);
        stream.websocket = websocket;
        stream.expected = Expected {
            to_head: asked.head.method == Method::Head,
            accept: asked.accept,
        };
        let block = Headers {
            stream: id,
            ends: asked.ends,
            max_frame: self.peer.max_frame,
        };
        block.write(out, |out| {
            let how = (asked.scheme.as_bytes(), websocket);
            head::request(&mut self.encoder, (asked.head, asked.text), how, out);
        });
        self.meter.sent_head();
        Ok(self.streams.insert(stream))
    }

    /// Sends data, as much as there is room for and no more than `limit`; with `ends`, and all of it sent, the stream ends here. How much.
    ///
    /// 0 of some says that there is no room: [`wait_for_room`](Self::wait_for_room).
    ///
    /// *Errors*: the stream was cut off.
    pub fn send_data(
        &mut self,
        key: StreamKey,
        (bytes, ends): (&[u8], bool),
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, StreamError> {
        let stream = self.streams.at(key).ok_or(StreamError::Lost)?;
        if let Some(error) = stream.failed {
            return Err(error);
        }
        debug_assert_eq!(stream.send, Side::Body, "data is between a head and the end");
        let is_others_turn = !self.queue.is_empty() && !stream.has_turn;
        if is_others_turn && !bytes.is_empty() {
            return Ok(0);
        }
        // Where others wait, each sends a frame in its turn.
        let limit = if stream.has_turn { limit.min(MAX_DATA) } else { limit };
        stream.has_turn = false;
        let window = usize::try_from(stream.send_window.min(self.send_window)).unwrap_or(0);
        let count = bytes.len().min(window).min(limit);
        let ends = ends && count == bytes.len();
        let mut rest = bytes.get(..count).unwrap_or_default();
        while !rest.is_empty() || ends {
            let (piece, more) = rest.split_at(rest.len().min(MAX_DATA));
            let is_last = more.is_empty();
            let flags = if ends && is_last { END_STREAM } else { 0 };
            frame::head(out, Kind::Data, flags, (stream.id, piece.len()));
            out.extend_from_slice(piece);
            self.meter.sent_data(piece.len());
            rest = more;
            if is_last {
                break;
            }
        }
        let sent = i64::try_from(count).unwrap_or(0);
        stream.send_window -= sent;
        self.send_window -= sent;
        if ends {
            stream.send = Side::Ended;
        }
        Ok(count)
    }

    /// Ends a stream with trailers: field lines.
    ///
    /// *Errors*: the stream was cut off.
    pub fn send_trailers(&mut self, key: StreamKey, lines: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        let stream = self.streams.at(key).ok_or(StreamError::Lost)?;
        if let Some(error) = stream.failed {
            return Err(error);
        }
        stream.send = Side::Ended;
        let block = Headers {
            stream: stream.id,
            ends: true,
            max_frame: self.peer.max_frame,
        };
        block.write(out, |out| head::trailers(&mut self.encoder, lines, out));
        Ok(())
    }

    /// Has the holder of a stream told when there may be room for what it has to send.
    pub fn wait_for_room(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.at(key) else { return };
        stream.wants_room = true;
        // What has no window of its own has no use for a turn.
        if stream.send_window > 0 && !stream.is_queued {
            stream.is_queued = true;
            self.queue.push_back(key);
        }
    }

    /// Gives the next stream that waits its turn to write, as there is room for that; false: there is none, or no window.
    pub fn give_turn(&mut self) -> bool {
        if self.send_window <= 0 {
            return false;
        }
        while let Some(key) = self.queue.pop_front() {
            if let Some(stream) = self.streams.at(key) {
                stream.is_queued = false;
                stream.wants_room = false;
                stream.has_turn = true;
                self.news.push(key);
                return true;
            }
        }
        false
    }

    /// Whether streams wait for their turn.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Cuts a stream off that its peer broke the rules on.
    pub(super) fn cut(&mut self, key: StreamKey, code: ErrorCode, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.at(key) else { return };
        if stream.failed.is_some() {
            return;
        }
        stream.fail(StreamError::Malformed(code));
        let id = stream.id;
        self.news.push(key);
        self.send_reset(id, code, out);
    }

    /// What may be sent on a new stream, either way.
    pub(super) fn set_windows(&self, stream: &mut Stream) {
        stream.send_window = i64::from(self.peer.stream_window);
        // A peer that has not heard of our windows has the usual ones, and uses up what is beyond ours before it is told of more.
        let beyond = if self.is_settled { 0 } else { self.usual_beyond_own() };
        stream.recv_window = i64::from(self.settings.stream_window) + beyond;
        stream.released = -beyond;
    }

    /// How much larger than ours the window is that streams have as long as nothing else was said.
    pub(super) fn usual_beyond_own(&self) -> i64 {
        (i64::from(super::USUAL_WINDOW) - i64::from(self.settings.stream_window)).max(0)
    }
}

/// The frames of one head.
struct Headers {
    stream: u32,
    ends: bool,
    max_frame: usize,
}

impl Headers {
    /// Writes them; `block` appends what is in them.
    fn write(&self, out: &mut Vec<u8>, block: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        let ends = if self.ends { END_STREAM } else { 0 };
        frame::head(out, Kind::Headers, ends | END_HEADERS, (self.stream, 0));
        block(out);
        if out.len() - start - frame::HEAD <= self.max_frame {
            return frame::patch_len(out, start);
        }
        let block = out.split_off(start + frame::HEAD);
        out.truncate(start);
        let mut kind = Kind::Headers;
        let mut flags = ends;
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(self.max_frame));
            if more.is_empty() {
                flags |= END_HEADERS;
            }
            frame::head(out, kind, flags, (self.stream, piece.len()));
            out.extend_from_slice(piece);
            (kind, flags, rest) = (Kind::Continuation, 0, more);
        }
    }
}
