//! What goes on in one HTTP/2 connection? Takes in what comes, in any pieces, and appends what has to be sent to a buffer of the caller's.
//!
//! It keeps the streams, both directions of flow control, what was told of settings and of the end, and counts what its peer makes it do
//! ([`meter`](super::meter)). It knows no socket and no time but what it is told. What waits to be read is bounded by the windows, and
//! nothing waits here to be sent: whoever has something to send keeps it until there is room.

mod receive;
mod send;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::block::Block;
use super::hpack::{Decoder, Encoder};
use super::meter::{Budgets, Excess, Meter};
use super::reader::Reader;
use super::settings::{MAX_WINDOW, PeerSettings, Settings, USUAL_WINDOW};
use super::stream::Side;
pub use super::stream::StreamError;
use super::streams::{Gone, StreamKey, Streams};
use super::text::Notes;
use super::{ErrorCode, PREFACE, frame};
use crate::{RequestHead, ResponseHead};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The peer broke the protocol; it was told.
    Broken {
        /// What it was told.
        code: ErrorCode,
        /// What it did.
        why: &'static str,
    },
    /// The peer sent too much of something; it was told.
    Flood(Excess),
    /// It was ended here, and the peer was told.
    Closed,
    /// The bytes of the peer ended.
    Lost,
}

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// So many bytes, at least one.
    Bytes(usize),
    /// There is nothing more.
    End,
    /// Nothing is there yet.
    Wait,
    /// The stream was cut off.
    Failed(StreamError),
}

/// The head of a response that is to be sent, in the form of HTTP/1.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// What it says.
    pub head: &'a ResponseHead,
    /// What `head` refers to.
    pub text: &'a [u8],
    /// The status to tell.
    pub status: u16,
    /// Whether the stream ends with it.
    pub ends: bool,
}

/// The head of a request that is to be sent, in the form of HTTP/1.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What it says.
    pub head: &'a RequestHead,
    /// What `head` refers to.
    pub text: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What a server has to answer in HTTP/1 that goes on with a WebSocket; none: the request asks for none.
    pub accept: Option<Box<str>>,
    /// Whether the stream ends with it.
    pub ends: bool,
}

/// How far we are with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// Not at all.
    No,
    /// The peer has been asked to open no more streams.
    Asked,
    /// It knows which stream was the last that is served.
    Told { last: u32 },
}

/// One side of an HTTP/2 connection.
#[derive(Debug)]
pub struct Connection {
    is_server: bool,
    settings: Settings,
    /// Whether the peer uses our settings.
    is_settled: bool,
    peer: PeerSettings,
    /// Whether the peer has sent its settings.
    has_settings: bool,
    reader: Reader,
    /// A head that comes in several frames.
    block: Option<Box<Block>>,
    data: receive::Incoming,
    notes: Notes,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    /// The largest number of a stream so far.
    highest: u32,
    /// Streams that we reset, on which frames may still be on their way.
    reset: Gone,
    /// Streams that ended otherwise.
    ended: Gone,
    accepted: VecDeque<StreamKey>,
    /// Streams of which there is something new.
    news: Vec<StreamKey>,
    /// Streams that wait for room in the connection, in their order.
    queue: VecDeque<StreamKey>,
    send_window: i64,
    recv_window: i64,
    /// What has been read and the peer was not told so.
    released: i64,
    /// Bytes of heads and trailers that were not read yet.
    held_heads: usize,
    meter: Meter,
    leaving: Leaving,
    /// Whether the peer takes no more streams.
    peer_left: bool,
    /// The last of ours that the peer may have looked at.
    served_up_to: u32,
    over: Option<Ended>,
}

/// Streams whose end is remembered: of those that were reset, twice as many as a peer may have open, and no less than this.
const RESETS_KEPT: usize = 512;
const ENDS_KEPT: usize = 16;

impl Connection {
    /// The side of a server; `out` takes what it says first.
    #[must_use]
    pub fn of_server(settings: Settings, budgets: Budgets, out: &mut Vec<u8>) -> Self {
        let connection = Self::new(settings, Meter::of_client(budgets), Reader::of_client());
        Self {
            is_server: true,
            ..connection
        }
        .started(out)
    }

    /// The side of a client; `out` takes what it says first.
    #[must_use]
    pub fn of_client(settings: Settings, budgets: Budgets, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(PREFACE);
        Self::new(settings, Meter::of_server(budgets), Reader::of_server()).started(out)
    }

    fn new(settings: Settings, meter: Meter, reader: Reader) -> Self {
        Self {
            is_server: false,
            settings,
            is_settled: false,
            peer: PeerSettings::default(),
            has_settings: false,
            reader,
            block: None,
            data: receive::Incoming::default(),
            notes: Notes::default(),
            decoder: Decoder::new(TABLE),
            encoder: Encoder::new(),
            streams: Streams::default(),
            highest: 0,
            reset: Gone::new(RESETS_KEPT.max(2 * settings.max_concurrent_streams as usize)),
            ended: Gone::new(ENDS_KEPT),
            accepted: VecDeque::new(),
            news: Vec::new(),
            queue: VecDeque::new(),
            send_window: i64::from(USUAL_WINDOW),
            recv_window: i64::from(USUAL_WINDOW),
            released: 0,
            held_heads: 0,
            meter,
            leaving: Leaving::No,
            peer_left: false,
            served_up_to: u32::MAX,
            over: None,
        }
    }

    fn started(mut self, out: &mut Vec<u8>) -> Self {
        self.settings.stream_window = self.settings.stream_window.min(MAX_WINDOW);
        self.settings.connection_window = self.settings.connection_window.min(MAX_WINDOW);
        self.settings.write(out, self.is_server);
        // Until the peer has been told otherwise it has the usual window. One that is smaller comes about as it is used up.
        let more = i64::from(self.settings.connection_window) - i64::from(USUAL_WINDOW);
        self.released = more.min(0);
        if let Some(more) = u32::try_from(more).ok().filter(|&more| more > 0) {
            frame::window_update(out, 0, more);
            self.recv_window += i64::from(more);
        }
        self
    }

    /// How the connection ended; none: it has not.
    #[must_use]
    pub fn over(&self) -> Option<Ended> {
        self.over
    }

    /// Whether it has come to its end as it should: no stream is left, and no more will come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        (matches!(self.leaving, Leaving::Told { .. }) || self.peer_left) && self.streams.len() == 0
    }

    /// Whether the peer has sent its settings, which it does before anything else.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.has_settings
    }

    /// How many heads of messages have begun to come.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.meter.heads()
    }

    /// Whether the head of a message has begun to come, and its end has not.
    #[must_use]
    pub fn is_within_head(&self) -> bool {
        let within = self.reader.within();
        // Of a frame whose own head is not all here nobody knows what it will be.
        self.block.is_some()
            || self.reader.is_within_frame_head()
            || matches!(within, Some(frame::Kind::Headers | frame::Kind::Continuation))
    }

    /// Whether somebody holds a stream.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.streams.len() > 0
    }

    /// Whether it takes more requests; of a client's side.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.over.is_none() && !self.peer_left && self.leaving == Leaving::No && self.highest < MAX_WINDOW - 2
    }

    /// How many streams the peer lets us have at once.
    #[must_use]
    pub fn max_streams(&self) -> u32 {
        self.peer.max_streams
    }

    /// Whether the peer takes up WebSockets on streams (RFC 8441).
    #[must_use]
    pub fn takes_websockets(&self) -> bool {
        self.peer.extended_connect
    }

    /// The next stream that a client opened.
    pub fn accept(&mut self) -> Option<StreamKey> {
        self.accepted.pop_front()
    }

    /// A stream of which there is something new: more to read, room to write, or its end.
    pub fn next_news(&mut self) -> Option<StreamKey> {
        let news = self.news.pop();
        if self.news.is_empty() && self.news.capacity() > NEWS_KEPT {
            self.news = Vec::new();
        }
        news
    }

    /// Whether a WebSocket is asked for on it, and its server has not said no.
    #[must_use]
    pub fn is_websocket(&self, key: StreamKey) -> bool {
        self.streams.look_at(key).is_some_and(|stream| stream.websocket)
    }

    /// Whether the request on it has the method HEAD.
    #[must_use]
    pub fn is_head(&self, key: StreamKey) -> bool {
        self.streams.look_at(key).is_some_and(|stream| stream.expected.to_head)
    }

    /// Adds a field to the head that came last and was not read yet.
    pub fn add_field(&mut self, key: StreamKey, name: &[u8], value: &[u8]) {
        if let Some(stream) = self.streams.at(key) {
            let before = stream.unread_heads();
            stream.add_line(name, value);
            self.held_heads += stream.unread_heads() - before;
        }
    }

    /// Whether a response may be sent on it.
    #[must_use]
    pub fn is_answerable(&self, key: StreamKey) -> bool {
        let stream = self.streams.look_at(key);
        self.is_server && stream.is_some_and(|stream| stream.send == Side::Head && stream.failed.is_none())
    }

    /// Whether the last head of the peer's message has come.
    #[must_use]
    pub fn is_answered(&self, key: StreamKey) -> bool {
        self.streams
            .look_at(key)
            .is_some_and(|stream| stream.recv != Side::Head)
    }

    /// Whether all of the peer's message has come.
    #[must_use]
    pub fn is_received(&self, key: StreamKey) -> bool {
        self.streams
            .look_at(key)
            .is_some_and(|stream| stream.recv == Side::Ended)
    }

    /// How it was cut off; none: it was not.
    #[must_use]
    pub fn failed(&self, key: StreamKey) -> Option<StreamError> {
        match self.streams.look_at(key) {
            Some(stream) => stream.failed,
            None => Some(StreamError::Lost),
        }
    }

    /// Reads what has come, in the form of HTTP/1, into a buffer that is not empty.
    pub fn read(&mut self, key: StreamKey, buf: &mut [u8], out: &mut Vec<u8>) -> Reading {
        let Some(stream) = self.streams.at(key) else {
            return Reading::Failed(StreamError::Lost);
        };
        let taken = stream.take(buf);
        let reading = match stream.failed {
            _ if taken.bytes > 0 => Reading::Bytes(taken.bytes),
            _ if stream.recv == Side::Ended && stream.is_read() => Reading::End,
            Some(error) => Reading::Failed(error),
            None => Reading::Wait,
        };
        self.held_heads = self.held_heads.saturating_sub(taken.heads);
        if taken.data > 0 {
            stream.release(taken.data, &self.settings, out);
            self.release(taken.data, out);
        }
        reading
    }

    /// Lets go of a stream. One that has not come to its end is reset with this code, or another where nothing is missing but what nobody
    /// wants.
    pub fn close(&mut self, key: StreamKey, code: ErrorCode, out: &mut Vec<u8>) {
        let Some(mut stream) = self.streams.remove(key) else {
            return;
        };
        self.held_heads = self.held_heads.saturating_sub(stream.unread_heads());
        self.release(stream.forget(), out);
        let code = match (stream.recv, stream.send) {
            (Side::Ended, Side::Ended) => None,
            (_, Side::Ended) if self.is_server => Some(ErrorCode::NO_ERROR),
            (_, Side::Ended) => Some(ErrorCode::CANCEL),
            _ => Some(code),
        };
        match (stream.failed, code) {
            // That is known already.
            (Some(StreamError::Malformed(_)), _) => {}
            (None, Some(code)) if self.over.is_none() => self.send_reset(stream.id, code, out),
            _ => self.ended.push(stream.id),
        }
    }

    /// Asks the peer to open no more streams. Those that it opened before it hears that are served.
    ///
    /// *Source*: RFC 9113 section 6.8.
    pub fn leave(&mut self, out: &mut Vec<u8>) {
        if self.leaving != Leaving::No || self.over.is_some() {
            return;
        }
        self.leaving = Leaving::Asked;
        frame::go_away(out, MAX_WINDOW, ErrorCode::NO_ERROR);
        frame::ping(out, 0, LEAVING);
    }

    /// Serves no more streams than there are, whether the peer has heard that it is to leave or not.
    pub fn insist(&mut self, out: &mut Vec<u8>) {
        if self.leaving == Leaving::Asked && self.over.is_none() {
            let last = if self.is_server { self.highest } else { 0 };
            self.leaving = Leaving::Told { last };
            frame::go_away(out, last, ErrorCode::NO_ERROR);
        }
    }

    /// Ends it with all streams on it.
    pub fn end(&mut self, code: ErrorCode, out: &mut Vec<u8>) {
        self.finish(Ended::Closed, Some(code), out);
    }

    /// The bytes of the peer have ended.
    pub fn lost(&mut self) {
        self.finish(Ended::Lost, None, &mut Vec::new());
    }

    fn finish(&mut self, how: Ended, code: Option<ErrorCode>, out: &mut Vec<u8>) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(how);
        if let Some(code) = code {
            let last = match self.leaving {
                Leaving::Told { last } => last,
                Leaving::No | Leaving::Asked if self.is_server => self.highest,
                // Of a server's streams we know none.
                Leaving::No | Leaving::Asked => 0,
            };
            frame::go_away(out, last, code);
        }
        self.block = None;
        self.queue = VecDeque::new();
        let news = &mut self.news;
        self.streams.all(|key, stream| {
            stream.fail(StreamError::Lost);
            news.push(key);
        });
    }

    /// How many bytes are held, beside those that wait to be sent.
    fn held(&self) -> usize {
        // What of the window is neither there nor given back has not been read.
        let unread = i64::from(self.settings.connection_window) - self.recv_window - self.released;
        let block = self.block.as_ref().map_or(0, |block| block.bytes.len());
        usize::try_from(unread).unwrap_or(0) + self.held_heads + block + self.reader.held()
    }

    /// Lets the peer send so much more.
    fn release(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.released += i64::try_from(bytes).unwrap_or(0);
        if self.released >= i64::from(self.settings.connection_window / 2).max(1) && self.over.is_none() {
            let released = u32::try_from(self.released).unwrap_or(0);
            self.recv_window += self.released;
            self.released = 0;
            frame::window_update(out, 0, released);
        }
    }

    /// Resets a stream that nobody holds any more.
    fn send_reset(&mut self, id: u32, code: ErrorCode, out: &mut Vec<u8>) {
        frame::reset(out, id, code);
        self.reset.push(id);
        if let Some(excess) = self.meter.sent_reset(code) {
            self.flood(excess, out);
        }
    }

    fn flood(&mut self, excess: Excess, out: &mut Vec<u8>) {
        self.finish(Ended::Flood(excess), Some(ErrorCode::ENHANCE_YOUR_CALM), out);
    }
}

/// Bytes of the table of fields that the peer may use.
const TABLE: u32 = 4_096;

/// What comes back when the peer has heard that we leave.
const LEAVING: [u8; 8] = *b"leaving!";

/// Room for news that is kept.
const NEWS_KEPT: usize = 64;
