//! What does a frame of the peer's change?

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::ops::ControlFlow;

use super::{Connection, Ended, LEAVING, Leaving, Side, StreamError, StreamKey};
use crate::http2::block::{Block, fragment};
use crate::http2::frame::{self, ACK, END_HEADERS, END_STREAM, FrameHead, Kind, PADDED};
use crate::http2::meter::{Counted, Excess, LARGE};
use crate::http2::reader::{Found, Reader};
use crate::http2::settings::MAX_WINDOW;
use crate::http2::stream::{Framing, Stream};
use crate::http2::text::Text;
use crate::http2::{ErrorCode, hpack};

/// Room for the head of a request.
const HEAD_BYTES: usize = 512;

/// Why nothing more is taken from a peer.
#[derive(Debug)]
enum Fault {
    Broken(ErrorCode, &'static str),
    Flood(Excess),
}

impl From<(ErrorCode, &'static str)> for Fault {
    fn from((code, why): (ErrorCode, &'static str)) -> Self {
        Self::Broken(code, why)
    }
}

/// A fault against the protocol that has no better name.
fn broken(why: &'static str) -> Fault {
    Fault::Broken(ErrorCode::PROTOCOL_ERROR, why)
}

fn after_the_end() -> Fault {
    Fault::Broken(ErrorCode::STREAM_CLOSED, "a head on a stream that has ended")
}

/// A DATA frame that is coming.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Whose it is; none: nobody wants it.
    key: Option<StreamKey>,
    /// Whether its padding is told next.
    is_padding_next: bool,
    /// How much padding is behind the data.
    padding: usize,
    /// Bytes of it that nobody will read.
    dropped: usize,
}

impl Connection {
    /// Takes in what came. `now_ms` counts from any fixed time.
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64, out: &mut Vec<u8>) {
        if self.over.is_some() {
            return;
        }
        self.meter.turn(now_ms);
        let mut reader = mem::replace(&mut self.reader, Reader::of_server());
        reader.read(bytes, |found| {
            match self.take(found, out) {
                Ok(()) => {}
                Err(Fault::Broken(code, why)) => self.finish(Ended::Broken { code, why }, Some(code), out),
                Err(Fault::Flood(excess)) => self.flood(excess, out),
            }
            // A stream that was reset may have been one too many.
            match self.over {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        });
        self.reader = reader;
        if self.over.is_none() && self.held() + out.len() > self.settings.max_held {
            self.flood(Excess::HeldBytes, out);
        }
    }

    fn take(&mut self, found: Found<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        match found {
            Found::NoPreface => Err(broken("it does not begin as HTTP/2 does")),
            Found::Head(head) => self.begin(head, out),
            Found::Data { head, bytes, left } => self.take_data(&head, (bytes, left), out),
            Found::Payload(head, payload) => match head.kind {
                Kind::Headers => self.take_headers(&head, payload, out),
                Kind::Continuation => self.take_continuation(&head, payload, out),
                Kind::ResetStream => self.take_reset(&head, number(payload)),
                Kind::Settings => self.take_settings(&head, payload, out),
                Kind::Ping => {
                    self.take_ping(&head, payload, out);
                    Ok(())
                }
                Kind::GoAway => {
                    self.take_go_away(number(payload) & MAX_WINDOW);
                    Ok(())
                }
                Kind::WindowUpdate => self.take_window_update(&head, number(payload) & MAX_WINDOW, out),
                Kind::Priority if number(payload) & MAX_WINDOW == head.stream => {
                    Err(broken("a stream depends on itself"))
                }
                Kind::Priority | Kind::PushPromise | Kind::Data | Kind::Unknown => Ok(()),
            },
        }
    }

    fn begin(&mut self, head: FrameHead, out: &mut Vec<u8>) -> Result<(), Fault> {
        if !self.has_settings && (head.kind != Kind::Settings || head.has(ACK)) {
            return Err(broken("its first frame is not SETTINGS"));
        }
        let continues = self.block.as_ref().map(|block| block.stream);
        if continues != (head.kind == Kind::Continuation).then_some(head.stream) {
            return Err(broken("a head is interrupted, or goes on where none began"));
        }
        if let Some(fault) = head.fault() {
            return Err(fault.into());
        }
        let counted = match head.kind {
            // How much of it is padding, is not known yet.
            Kind::Data if head.len > 0 && head.has(PADDED) => Counted::Free,
            Kind::Data if head.len >= LARGE => Counted::LargeData,
            Kind::Data if head.len > 0 => Counted::Data,
            Kind::Data if head.has(END_STREAM) && self.streams.find(head.stream).is_some() => Counted::Free,
            Kind::Data => Counted::EmptyData,
            Kind::Headers => Counted::Headers,
            Kind::Continuation => Counted::Continuation,
            Kind::ResetStream => Counted::Reset,
            Kind::Settings | Kind::Ping if head.has(ACK) => Counted::Free,
            Kind::Settings => Counted::Settings,
            Kind::Ping => Counted::Ping,
            Kind::WindowUpdate => Counted::WindowUpdate,
            Kind::Priority | Kind::Unknown | Kind::GoAway => Counted::Priority,
            // Clients promise nothing (RFC 9113 section 8.4), and servers were told not to.
            Kind::PushPromise => return Err(broken("it promises what nobody wants")),
        };
        if let Some(excess) = self.meter.received(counted) {
            return Err(Fault::Flood(excess));
        }
        match head.kind {
            Kind::Data => self.begin_data(&head, out),
            _ => Ok(()),
        }
    }

    /// Whether a stream has not begun.
    fn is_idle(&self, id: u32) -> bool {
        // Those that servers open were forbidden.
        id > self.highest || id.is_multiple_of(2)
    }

    fn begin_data(&mut self, head: &FrameHead, out: &mut Vec<u8>) -> Result<(), Fault> {
        let len = i64::try_from(head.len).unwrap_or(i64::MAX);
        self.data = Incoming {
            key: None,
            is_padding_next: head.has(PADDED),
            padding: 0,
            dropped: 0,
        };
        if head.has(PADDED) && head.len == 0 {
            return Err(broken("padding is longer than its frame"));
        }
        self.recv_window -= len;
        if self.recv_window < 0 {
            let why = "more data than the connection has room for";
            return Err(Fault::Broken(ErrorCode::FLOW_CONTROL_ERROR, why));
        }
        let Some(key) = self.streams.find(head.stream) else {
            if self.is_idle(head.stream) {
                return Err(broken("data on a stream that has not begun"));
            }
            if !self.reset.has(head.stream) {
                self.send_reset(head.stream, ErrorCode::STREAM_CLOSED, out);
            }
            return Ok(());
        };
        let Some(stream) = self.streams.at(key) else {
            return Ok(());
        };
        let fault = match (stream.failed, stream.recv) {
            (Some(StreamError::Reset(_)), _) => {
                self.send_reset(head.stream, ErrorCode::STREAM_CLOSED, out);
                return Ok(());
            }
            (Some(_), _) => return Ok(()),
            (None, Side::Ended) => Some(ErrorCode::STREAM_CLOSED),
            (None, Side::Head) => Some(ErrorCode::PROTOCOL_ERROR),
            (None, Side::Body) => {
                stream.recv_window -= len;
                // A window that has shrunk may be below zero, and an end without data takes nothing of it.
                (len > 0 && stream.recv_window < 0).then_some(ErrorCode::FLOW_CONTROL_ERROR)
            }
        };
        match fault {
            Some(code) => self.cut(key, code, out),
            None => {
                self.data.key = Some(key);
                if !head.has(PADDED) {
                    self.check_length(head, head.len, out);
                }
            }
        }
        Ok(())
    }

    /// Whether the frame that is coming, with so many bytes of data, keeps to what the head of its message says. Nothing of one that does
    /// not is taken.
    fn check_length(&mut self, head: &FrameHead, data: usize, out: &mut Vec<u8>) {
        let Some(key) = self.data.key else { return };
        let Some(stream) = self.streams.at(key) else { return };
        let Some(length) = stream.length_left else { return };
        match length.checked_sub(data as u64) {
            Some(left) if left == 0 || !head.has(END_STREAM) => stream.length_left = Some(left),
            _ => {
                self.data.key = None;
                self.cut(key, ErrorCode::PROTOCOL_ERROR, out);
            }
        }
    }

    /// Takes in a part of the frame, behind which `left` bytes are left of it.
    fn take_data(
        &mut self,
        head: &FrameHead,
        (mut bytes, left): (&[u8], usize),
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let whole = bytes.len();
        if self.data.is_padding_next
            && let Some((&padding, rest)) = bytes.split_first()
        {
            bytes = rest;
            self.data.is_padding_next = false;
            self.data.padding = usize::from(padding);
            if self.data.padding >= head.len {
                return Err(broken("padding is longer than its frame"));
            }
            self.check_length(head, head.len - 1 - self.data.padding, out);
        }
        let padding = self.data.padding.saturating_sub(left).min(bytes.len());
        let data = bytes.get(..bytes.len() - padding).unwrap_or_default();
        let ends = left == 0 && head.has(END_STREAM);
        self.data.dropped += match self.data.key {
            Some(key) => whole - self.add_data((key, ends), (data, whole - data.len()), out),
            None => whole,
        };
        if left == 0 && self.data.dropped > 0 {
            self.release(self.data.dropped, out);
        }
        Ok(())
    }

    /// Takes in data of a stream that stood in its frame with so many bytes `around` it; how much of it waits to be read.
    fn add_data(&mut self, (key, ends): (StreamKey, bool), (data, around): (&[u8], usize), out: &mut Vec<u8>) -> usize {
        // Whoever held it may be gone by now.
        let Some(stream) = self.streams.at(key).filter(|stream| stream.failed.is_none()) else {
            return 0;
        };
        stream.add_data(data);
        if ends {
            let before = stream.unread_heads();
            stream.end_body(&[]);
            self.held_heads += stream.unread_heads() - before;
        }
        stream.release(around, &self.settings, out);
        if !data.is_empty() || ends {
            self.news.push(key);
        }
        data.len()
    }

    fn take_headers(&mut self, head: &FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(fragment) = fragment(head, payload) else {
            return Err(broken("padding is longer than its frame"));
        };
        let ends = head.has(END_STREAM);
        if head.has(END_HEADERS) {
            return self.take_head((head.stream, ends), fragment, out);
        }
        self.block = Some(Box::new(Block {
            stream: head.stream,
            ends,
            bytes: fragment.to_vec(),
        }));
        Ok(())
    }

    fn take_continuation(&mut self, head: &FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(mut block) = self.block.take() else {
            return Err(broken("a head goes on where none began"));
        };
        // Compressed it is seldom longer than what may be in it, and never by much.
        let max = self.settings.head.max_bytes.saturating_mul(2) + frame::MAX_PAYLOAD;
        if block.bytes.len() + payload.len() > max {
            let why = "a head is far longer than it may be";
            return Err(Fault::Broken(ErrorCode::ENHANCE_YOUR_CALM, why));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(END_HEADERS) {
            return self.take_head((block.stream, block.ends), &block.bytes, out);
        }
        self.block = Some(block);
        Ok(())
    }

    /// Takes in the block of a head, whatever it is the head of.
    fn take_head(&mut self, (id, ends): (u32, bool), block: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(key) = self.streams.find(id) else {
            return self.take_head_of_none((id, ends), block, out);
        };
        let (failed, recv) = match self.streams.at(key) {
            Some(stream) => (stream.failed, stream.recv),
            None => (Some(StreamError::Lost), Side::Ended),
        };
        match (failed, recv) {
            (Some(StreamError::Reset(_)), _) => Err(after_the_end()),
            (Some(_), _) => self.pass_over(block),
            (None, Side::Ended) => {
                self.pass_over(block)?;
                self.cut(key, ErrorCode::STREAM_CLOSED, out);
                Ok(())
            }
            (None, Side::Head) => self.take_response((key, ends), block, out),
            (None, Side::Body) => self.take_trailers((key, ends), block, out),
        }
    }

    /// Takes in the block of a head on a stream that is not there.
    fn take_head_of_none(&mut self, (id, ends): (u32, bool), block: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.is_server && !id.is_multiple_of(2) && id > self.highest {
            return self.take_request((id, ends), block, out);
        }
        if self.is_idle(id) {
            return Err(broken("a head on a stream that has not begun"));
        }
        if self.ended.has(id) {
            return Err(after_the_end());
        }
        if self.is_server && !self.reset.has(id) {
            return Err(broken("streams begin out of order"));
        }
        self.pass_over(block)
    }

    /// Reads a block for nothing but what it says about the blocks behind it.
    fn pass_over(&mut self, block: &[u8]) -> Result<(), Fault> {
        self.decoder.decode(block, |_| {}).map_err(uncompressed)
    }

    fn take_request(&mut self, (id, ends): (u32, bool), block: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.highest = id;
        if let Leaving::Told { .. } = self.leaving {
            // It was told that this one will not be looked at, and what is behind its head may be on its way.
            self.reset.push(id);
            return self.pass_over(block);
        }
        if !self.has_room() {
            self.pass_over(block)?;
            self.send_reset(id, ErrorCode::REFUSED_STREAM, out);
            return Ok(());
        }
        let mut stream = Stream::new(id, [Side::Body, Side::Head]);
        let head = stream.heads();
        head.reserve(HEAD_BYTES);
        let mut text = Text::of_request(head, &mut self.notes, self.settings.head);
        self.decoder
            .decode(block, |field| text.field(field))
            .map_err(uncompressed)?;
        let read = text.end_request(ends);
        self.notes.clear();
        let Ok(behind) = read else {
            self.send_reset(id, ErrorCode::PROTOCOL_ERROR, out);
            return Ok(());
        };
        stream.expected.to_head = head.starts_with(b"HEAD ");
        stream.websocket = behind.websocket;
        stream.framing = behind.framing;
        stream.length_left = behind.length;
        self.set_windows(&mut stream);
        if ends {
            stream.end_body(&[]);
        }
        self.held_heads += stream.unread_heads();
        let key = self.streams.insert(stream);
        self.accepted.push_back(key);
        Ok(())
    }

    /// Whether a client may open one more stream. Those that it gave up count until whoever serves them knows, up to as many again.
    fn has_room(&mut self) -> bool {
        let max = self.settings.max_concurrent_streams as usize;
        if self.streams.len() < max {
            return true;
        }
        let mut live = 0;
        self.streams
            .all(|_, stream| live += usize::from(stream.failed.is_none()));
        live < max && self.streams.len() < max.saturating_mul(2)
    }

    fn take_response(&mut self, (key, ends): (StreamKey, bool), block: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(stream) = self.streams.at(key) else {
            return self.pass_over(block);
        };
        let expected = mem::take(&mut stream.expected);
        let before = stream.unread_heads();
        let accept = expected.accept.as_deref();
        let mut text = Text::of_response(stream.heads(), &mut self.notes, self.settings.head, accept);
        self.decoder
            .decode(block, |field| text.field(field))
            .map_err(uncompressed)?;
        let read = text.end_response(ends, (expected.to_head, accept));
        stream.expected = expected;
        self.notes.clear();
        let ends_here = ends && read.as_ref().is_ok_and(|(status, _)| *status >= 200);
        if let Ok((_, behind)) = &read
            && ends_here
        {
            stream.framing = behind.framing;
            stream.end_body(&[]);
        }
        self.held_heads += stream.unread_heads() - before;
        // Heads have no window.
        if stream.unread_heads() > 2 * self.settings.head.max_bytes {
            self.cut(key, ErrorCode::ENHANCE_YOUR_CALM, out);
            return Ok(());
        }
        match read {
            Ok((100..200, behind)) if !behind.websocket => self.news.push(key),
            Ok((_, behind)) => {
                stream.recv = if ends { Side::Ended } else { Side::Body };
                stream.framing = behind.framing;
                stream.length_left = behind.length;
                stream.websocket = behind.websocket;
                self.news.push(key);
            }
            Err(_) => self.cut(key, ErrorCode::PROTOCOL_ERROR, out),
        }
        Ok(())
    }

    fn take_trailers(&mut self, (key, ends): (StreamKey, bool), block: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut lines = Vec::new();
        let mut text = Text::of_trailers(&mut lines, &mut self.notes, self.settings.head);
        self.decoder
            .decode(block, |field| text.field(field))
            .map_err(uncompressed)?;
        let read = text.end_trailers();
        self.notes.clear();
        let Some(stream) = self.streams.at(key) else {
            return Ok(());
        };
        let is_short = stream.length_left.is_some_and(|length| length > 0);
        if read.is_err() || !ends || is_short {
            self.cut(key, ErrorCode::PROTOCOL_ERROR, out);
            return Ok(());
        }
        if stream.framing == Framing::Data {
            // Nothing can be told behind a body whose length was told before it.
            lines.clear();
        }
        let before = stream.unread_heads();
        stream.end_body(&lines);
        self.held_heads += stream.unread_heads() - before;
        self.news.push(key);
        Ok(())
    }

    fn take_reset(&mut self, head: &FrameHead, code: u32) -> Result<(), Fault> {
        match self.streams.find(head.stream) {
            Some(key) => {
                if let Some(stream) = self.streams.at(key) {
                    stream.fail(StreamError::Reset(ErrorCode(code)));
                    self.news.push(key);
                }
            }
            None if self.is_idle(head.stream) => return Err(broken("the end of a stream that has not begun")),
            None => {}
        }
        Ok(())
    }

    fn take_settings(&mut self, head: &FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if head.has(ACK) {
            if !mem::replace(&mut self.is_settled, true) {
                // What the peer had beyond our window it has taken back by now, also on the streams that there were.
                let beyond = self.usual_beyond_own();
                self.streams.all(|_, stream| {
                    stream.recv_window -= beyond;
                    stream.released += beyond;
                });
            }
            return Ok(());
        }
        self.has_settings = true;
        let before = i64::from(self.peer.stream_window);
        self.peer.read(payload, !self.is_server)?;
        for table in self.peer.tables.take().into_iter().flatten() {
            self.encoder.limit_table(table);
        }
        let change = i64::from(self.peer.stream_window) - before;
        if change != 0 {
            let mut is_over = false;
            let news = &mut self.news;
            self.streams.all(|key, stream| {
                stream.send_window += change;
                is_over |= stream.send_window > i64::from(MAX_WINDOW);
                if change > 0 && mem::take(&mut stream.wants_room) {
                    news.push(key);
                }
            });
            if is_over {
                let why = "a window is larger than there are";
                return Err(Fault::Broken(ErrorCode::FLOW_CONTROL_ERROR, why));
            }
        }
        frame::head(out, Kind::Settings, ACK, (0, 0));
        Ok(())
    }

    fn take_ping(&mut self, head: &FrameHead, payload: &[u8], out: &mut Vec<u8>) {
        let Some(&payload) = payload.first_chunk() else { return };
        if !head.has(ACK) {
            frame::ping(out, ACK, payload);
        } else if payload == LEAVING {
            self.insist(out);
        }
    }

    fn take_go_away(&mut self, last: u32) {
        self.peer_left = true;
        if self.is_server || last >= self.served_up_to {
            return;
        }
        self.served_up_to = last;
        let news = &mut self.news;
        self.streams.all(|key, stream| {
            if stream.id > last && stream.failed.is_none() {
                stream.fail(StreamError::Left);
                news.push(key);
            }
        });
    }

    fn take_window_update(&mut self, head: &FrameHead, increment: u32, out: &mut Vec<u8>) -> Result<(), Fault> {
        let more = i64::from(increment);
        if head.stream == 0 {
            if increment == 0 {
                return Err(broken("a window grows by nothing"));
            }
            self.send_window += more;
            if self.send_window > i64::from(MAX_WINDOW) {
                let why = "a window is larger than there are";
                return Err(Fault::Broken(ErrorCode::FLOW_CONTROL_ERROR, why));
            }
            return Ok(());
        }
        let Some(key) = self.streams.find(head.stream) else {
            return match self.is_idle(head.stream) {
                true => Err(broken("room on a stream that has not begun")),
                false => Ok(()),
            };
        };
        let Some(stream) = self.streams.at(key) else {
            return Ok(());
        };
        stream.send_window += more;
        if increment == 0 {
            self.cut(key, ErrorCode::PROTOCOL_ERROR, out);
        } else if stream.send_window > i64::from(MAX_WINDOW) {
            self.cut(key, ErrorCode::FLOW_CONTROL_ERROR, out);
        } else if mem::take(&mut stream.wants_room) {
            self.news.push(key);
        }
        Ok(())
    }
}

fn uncompressed(_: hpack::HpackError) -> Fault {
    Fault::Broken(ErrorCode::COMPRESSION_ERROR, "a head cannot be decompressed")
}

/// The first number in a payload whose length was looked at.
fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |&bytes| u32::from_be_bytes(bytes))
}
