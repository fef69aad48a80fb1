//! What is asked in HTTP/2, and is each answer whole?
//!
//! A closed loop on one connection: as many streams as were asked for, each followed by another when it has ended well.
//! Fields are sent as browsers and gRPC clients send them: in full once, later by their numbers in the table.

use anyhow::{Context, Result, bail, ensure};

use super::client::Reuse;
use super::frames::{self, Duties, Frame, Kind};
use super::grpc;
use super::identity::NAME;

/// The window of each stream, which holds the longest answer.
const STREAM_WINDOW: u32 = 1 << 20;

/// The table that our fields fit in, with what each costs there (RFC 7541 section 4.1).
const TABLE_SIZE: u32 = 512;

/// What is asked for on every stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    /// GET of a path, whose answer has so many bytes.
    Get { path: &'static str, length: usize },
    /// A unary call of gRPC.
    Grpc,
}

/// One connection.
pub(super) struct Session {
    call: Call,
    /// The fields of the first request, and of all others.
    fields: (Vec<u8>, Vec<u8>),
    reuse: Reuse,
    next: u32,
    streams: Vec<Stream>,
    duties: Duties,
    /// What may be sent on the connection.
    window: i64,
    /// What is no whole frame yet.
    rest: Vec<u8>,
}

/// A request that is under way.
struct Stream {
    id: u32,
    /// Its status has come, and it was 200.
    has_status: bool,
    /// Bytes of its body that have come.
    received: usize,
}

impl Session {
    /// Begins a connection with requests on `streams` of its streams, and adds to `out` what has to be sent.
    pub(super) fn open(call: Call, scheme: Scheme, streams: usize, reuse: Reuse, out: &mut Vec<u8>) -> Self {
        let mut session = Self {
            call,
            fields: blocks(call, scheme),
            reuse,
            next: 1,
            streams: Vec::with_capacity(streams),
            duties: Duties::default(),
            window: frames::INITIAL_WINDOW,
            rest: Vec::new(),
        };
        out.extend_from_slice(frames::PREFACE);
        let settings = [(frames::ENABLE_PUSH, 0), (frames::STREAM_WINDOW, STREAM_WINDOW)];
        frames::put_opening(out, &settings);
        for _ in 0..streams {
            session.ask(out);
        }
        session
    }

    /// Takes what was read, and adds to `out` what has to be sent; how many answers are complete.
    pub(super) fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<u64> {
        let mut answers = 0;
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut rest = &all[..];
        while let Some(frame) = frames::take(&mut rest)? {
            self.duties.answer(&frame, out);
            if self.handle(&frame)? {
                answers += 1;
                if self.reuse == Reuse::KeepAlive {
                    self.ask(out);
                }
            }
        }
        ensure!(
            self.window >= 0,
            "the proxy does not widen the window of the connection"
        );
        let taken = all.len() - rest.len();
        all.drain(..taken);
        self.rest = all;
        Ok(answers)
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        let id = self.next;
        self.next += 2;
        self.streams.push(Stream {
            id,
            has_status: false,
            received: 0,
        });
        let ends = matches!(self.call, Call::Get { .. });
        let headers = Frame {
            kind: Kind::Headers,
            flags: frames::END_HEADERS | if ends { frames::END_STREAM } else { 0 },
            stream: id,
            payload: if id == 1 { &self.fields.0 } else { &self.fields.1 },
        };
        frames::put(out, headers);
        if !ends {
            let message = Frame {
                kind: Kind::Data,
                flags: frames::END_STREAM,
                stream: id,
                payload: &grpc::REQUEST,
            };
            frames::put(out, message);
            self.window -= i64::try_from(grpc::REQUEST.len()).unwrap_or(0);
        }
    }

    /// Whether the frame completes an answer.
    fn handle(&mut self, frame: &Frame<'_>) -> Result<bool> {
        match frame.kind {
            Kind::Headers => self.handle_headers(frame),
            Kind::Data => self.handle_data(frame),
            Kind::Settings => {
                let mut sizes = frame.settings().filter(|&(setting, _)| setting == frames::TABLE_SIZE);
                ensure!(
                    sizes.all(|(_, size)| size >= TABLE_SIZE),
                    "the table of fields is too small for this client"
                );
                Ok(false)
            }
            Kind::WindowUpdate => {
                if frame.stream == 0 {
                    self.window += frame.increment();
                }
                Ok(false)
            }
            Kind::Reset | Kind::GoAway | Kind::PushPromise | Kind::Continuation => {
                bail!("{:?} came in place of an answer", frame.kind)
            }
            Kind::Priority | Kind::Ping | Kind::Other => Ok(false),
        }
    }

    fn handle_headers(&mut self, frame: &Frame<'_>) -> Result<bool> {
        ensure!(
            frame.flags & !frames::END_STREAM == frames::END_HEADERS,
            "fields came in a form that this client does not read"
        );
        let stream = self.stream(frame.stream)?;
        if !stream.has_status {
            ensure!(is_200(frame.payload), "the status is not 200");
            stream.has_status = true;
        }
        self.end(frame)
    }

    fn handle_data(&mut self, frame: &Frame<'_>) -> Result<bool> {
        ensure!(frame.flags & !frames::END_STREAM == 0, "a body came with padding");
        let stream = self.stream(frame.stream)?;
        ensure!(stream.has_status, "a body came before its status");
        stream.received += frame.payload.len();
        self.end(frame)
    }

    fn stream(&mut self, id: u32) -> Result<&mut Stream> {
        let stream = self.streams.iter_mut().find(|stream| stream.id == id);
        stream.with_context(|| format!("an answer came on stream {id}, where nothing was asked"))
    }

    /// Whether a stream has ended with this frame; one that ends with too little or too much has failed.
    fn end(&mut self, frame: &Frame<'_>) -> Result<bool> {
        if !frame.has(frames::END_STREAM) {
            return Ok(false);
        }
        let index = self.streams.iter().position(|stream| stream.id == frame.stream);
        let index = index.context("a stream ended twice")?;
        let stream = self.streams.swap_remove(index);
        let expected = match self.call {
            Call::Get { length, .. } => length,
            Call::Grpc => {
                ensure!(frame.kind == Kind::Headers, "the answer has no trailers");
                grpc::ANSWER_LENGTH
            }
        };
        ensure!(
            stream.received == expected,
            "the body has {} bytes, not {expected}",
            stream.received
        );
        Ok(true)
    }
}

/// What stands before `://`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// The name of a field: by its number in the static table (RFC 7541 appendix A), or in full.
enum Name {
    Static(u8),
    Full(&'static str),
}

/// The block of fields of the first request, which puts them into the table, and that of all others.
fn blocks(call: Call, scheme: Scheme) -> (Vec<u8>, Vec<u8>) {
    let (method, path) = match call {
        Call::Get { path, .. } => (2, path),
        Call::Grpc => (3, "/bench.Echo/Unary"),
    };
    let mut fields = vec![
        (Name::Static(4), path),
        (Name::Static(1), NAME),
        (Name::Static(58), "isobar-bench/1"),
    ];
    fields.extend(match call {
        Call::Get { .. } => [(Name::Static(19), "*/*"), (Name::Static(16), "gzip, br")],
        Call::Grpc => [(Name::Static(31), "application/grpc"), (Name::Full("te"), "trailers")],
    });
    let mut first = Vec::new();
    frames::put_indexed(&mut first, method);
    frames::put_indexed(&mut first, if scheme == Scheme::Https { 7 } else { 6 });
    let mut later = first.clone();
    for (newer, (name, value)) in (0..fields.len()).rev().zip(&fields) {
        match name {
            Name::Static(index) => first.push(0x40 | index),
            Name::Full(name) => {
                first.push(0x40);
                frames::put_text(&mut first, name);
            }
        }
        frames::put_text(&mut first, value);
        // The last that was put in has number 62.
        frames::put_indexed(&mut later, 62 + u8::try_from(newer).unwrap_or(0));
    }
    (first, later)
}

/// Whether a block of fields begins with `:status: 200`, which every server writes by its number.
fn is_200(block: &[u8]) -> bool {
    // New sizes of the table may stand before it (RFC 7541 section 6.3).
    let mut bytes = block.iter();
    let mut next = bytes.next();
    while next.is_some_and(|byte| byte & 0xe0 == 0x20) {
        if next.is_some_and(|byte| byte & 0x1f == 0x1f) {
            while bytes.next().is_some_and(|byte| byte & 0x80 != 0) {}
        }
        next = bytes.next();
    }
    next == Some(&0x88)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Call = Call::Get { path: "/1k", length: 3 };

    fn frame(kind: Kind, flags: u8, payload: &[u8]) -> Frame<'_> {
        Frame {
            kind,
            flags,
            stream: 1,
            payload,
        }
    }

    #[track_caller]
    fn check(answer: &[Frame<'_>], expected: Option<u64>) {
        let mut session = Session::open(GET, Scheme::Http, 1, Reuse::Once, &mut Vec::new());
        let mut bytes = Vec::new();
        for &frame in answer {
            frames::put(&mut bytes, frame);
        }
        // It does not matter where the bytes are cut.
        let mut answers: Result<u64> = Ok(0);
        for byte in bytes.chunks(1) {
            answers = answers.and_then(|sum| Ok(sum + session.take(byte, &mut Vec::new())?));
        }
        assert_eq!(answers.as_ref().ok(), expected.as_ref(), "{answers:?}");
    }

    #[test]
    fn counts_whole_answers_and_refuses_others() {
        let head = frame(Kind::Headers, frames::END_HEADERS, &[0x88]);
        let ends = |payload| frame(Kind::Data, frames::END_STREAM, payload);
        check(&[head, ends(b"abc")], Some(1));
        check(&[head, frame(Kind::Data, 0, b"abc"), ends(b"")], Some(1));
        check(&[head, frame(Kind::Data, 0, b"abc")], Some(0));
        check(&[head, ends(b"ab")], None);
        check(&[head, ends(b"abcd")], None);
        check(&[ends(b"abc")], None);
        check(
            &[frame(Kind::Headers, frames::END_HEADERS, &[0x8d]), ends(b"abc")],
            None,
        );
        check(&[head, ends(b"abc"), ends(b"abc")], None);
        check(&[frame(Kind::Reset, 0, &[0; 4])], None);
        check(&[frame(Kind::GoAway, 0, &[0; 8])], None);
    }

    #[test]
    fn finds_the_status_behind_sizes_of_the_table() {
        for (block, expected) in [
            (&[0x88][..], true),
            (&[0x20, 0x88], true),
            (&[0x3f, 0xe1, 0x1f, 0x88], true),
            (&[0x3f, 0xe1, 0x1f, 0x8d], false),
            (&[0x3f, 0xe1], false),
            (&[], false),
        ] {
            assert_eq!(is_200(block), expected, "{block:?}");
        }
    }

    #[test]
    fn later_requests_name_the_fields_of_the_first() {
        let (first, later) = blocks(GET, Scheme::Https);
        assert!(first.starts_with(b"\x82\x87\x44\x03/1k\x41\x0abench.test"), "{first:?}");
        assert_eq!(later, [0x82, 0x87, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]);
    }
}
