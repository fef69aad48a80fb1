//! How do bytes cross a secured connection?
//!
//! Between the socket and whoever reads and writes stands a TLS session. What it wants to send is sent whenever the stream is read
//! or written; a connection that waits holds no buffer, unless a record came in part.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{Error, ProtocolVersion};

use super::agreed::{Agreed, cipher_name};
use super::greeting::{HANDSHAKE, HandshakeError, looks_like_http, refuses_certificate};
use super::{Peeked, Stream};
use crate::ring::SMALL_BYTES;
use crate::tls::certificate::has_expired;
use crate::tls::server::take_asked;
use crate::tls::session::Session;
use crate::tls::{ServerName, TlsClient, TlsServer, Version, explain_tls};

/// Bytes taken from the socket at once. What is left of a message that came in part is in front of them: of a handshake that can be
/// 64 KiB.
const READ_BYTES: usize = 64 * 1024;
const PART_BYTES: usize = 80 * 1024;

/// Bytes that are sealed at once: four whole records.
const WRITE_BYTES: usize = 64 * 1024;

thread_local! {
    /// What came from the socket, while it is looked at.
    static CAME: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES + PART_BYTES].into());
    /// What goes to the socket, while it is made.
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What is put together to be sealed as one.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What secures a stream.
pub(super) struct Secured {
    session: Session,
    /// The beginning of a message whose end has not come.
    part: Vec<u8>,
    /// Whether the session has not seen that beginning, and it may be whole.
    is_ahead: bool,
    /// What the peer said, from `plain_taken` on, that nobody has taken.
    plain: Vec<u8>,
    plain_taken: usize,
    /// What the socket has not taken.
    outgoing: Vec<u8>,
    /// How many bytes that were to be written are in there, or were, and have not been counted as written.
    sealed: usize,
    /// Whether that is the end of the handshake alone, which goes out together with what is written first.
    lazy: bool,
    /// Whether the peer has shown that it speaks TLS.
    begun: bool,
    /// How the peer's direction ended.
    end: Option<Ended>,
    asked: Option<Box<str>>,
    /// Why the peer broke the connection off when it was to say its first words.
    refusal: Option<Box<Error>>,
    /// Whether it has said any.
    spoke: bool,
    /// Whether the peer was told that no more will come.
    said_goodbye: bool,
}

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The peer said so.
    Said,
    /// The connection ended without a word: it may have been cut.
    Cut,
    /// It is broken.
    Broken,
}

impl Stream {
    /// Secures a connection that a client made, from its first byte on: [`poll_handshake`](Self::poll_handshake) next.
    ///
    /// *Errors*: the library refuses its settings.
    pub fn secure_client(&mut self, tls: &TlsServer) -> io::Result<()> {
        self.secure_client_after(tls, Vec::new())
    }

    /// Secures a connection that a client made, of which the first bytes were read already.
    ///
    /// *Errors*: the library refuses its settings.
    pub fn secure_client_after(&mut self, tls: &TlsServer, first: Vec<u8>) -> io::Result<()> {
        let session = UnbufferedServerConnection::new(tls.config()).map_err(io::Error::other)?;
        let mut secured = Secured::new(Session::Server(session));
        secured.is_ahead = !first.is_empty();
        secured.part = first;
        self.secured = Some(Box::new(secured));
        Ok(())
    }

    /// Secures a connection to a server, from its first byte on: [`poll_handshake`](Self::poll_handshake) next.
    ///
    /// *Cost*: some system call, lock and allocations, which a handshake outweighs by far.
    ///
    /// *Errors*: the library refuses its settings.
    pub fn secure_server(&mut self, tls: &TlsClient, name: ServerName) -> io::Result<()> {
        let address = self.socket.socket().peer_addr().ok();
        let session = UnbufferedClientConnection::new(tls.config(address), name.0).map_err(io::Error::other)?;
        let mut secured = Secured::new(Session::Client(session));
        // The one who calls speaks first.
        let hello = secured.session.digest(&mut [], &mut |_| {}, &mut secured.outgoing);
        hello.map_err(io::Error::other)?;
        self.secured = Some(Box::new(secured));
        Ok(())
    }

    /// Agrees with the peer on keys; ready when that is done. Waits without bound.
    ///
    /// *Cost*: some hundred microseconds of computing on the first connection of a peer.
    ///
    /// *Errors*: see [`HandshakeError`]. The peer was told as far as TLS has words for it.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        self.with_secured(|secured, raw| secured.poll_handshake(raw, cx))
            .unwrap_or(Poll::Ready(Ok(())))
    }

    /// Moves bytes as they are from now on, after a handshake that came to nothing.
    pub fn unsecure(&mut self) {
        self.secured = None;
    }

    /// Whether it is secured.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    /// What was agreed on; none: it is not secured, or not yet.
    #[must_use]
    pub fn agreed(&self) -> Option<Agreed<'_>> {
        let secured = self.secured.as_deref()?;
        let state = secured.session.state();
        Some(Agreed {
            version: match state.protocol_version()? {
                ProtocolVersion::TLSv1_2 => Version::Tls12,
                _ => Version::Tls13,
            },
            cipher: state
                .negotiated_cipher_suite()
                .and_then(|suite| cipher_name(suite.suite())),
            protocol: state.alpn_protocol(),
            asked: secured.asked.as_deref(),
            certificate: state
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(AsRef::as_ref),
            resumed: state.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        })
    }

    /// What a server, after a handshake that was complete on this side, had to say against it before it said anything else, such as
    /// that it wants a certificate; in words. None: nothing.
    ///
    /// *Source*: RFC 8446 section 4.4.2.4: with TLS 1.3 a client learns only then that its certificate was refused.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.secured.as_ref()?.refusal.as_deref().map(explain_tls)
    }

    /// Tells the peer of a secured connection that no more will come, as far as the socket takes it now.
    pub fn say_goodbye(&mut self) {
        let _ = self.with_secured(|secured, raw| secured.say_goodbye(raw));
    }

    /// Lends the session, and the stream without it, which then moves bytes as they are.
    pub(super) fn with_secured<R>(&mut self, f: impl FnOnce(&mut Secured, &mut Self) -> R) -> Option<R> {
        let mut secured = self.secured.take()?;
        let result = f(&mut secured, self);
        self.secured = Some(secured);
        Some(result)
    }
}

impl Secured {
    fn new(session: Session) -> Self {
        Self {
            session,
            part: Vec::new(),
            is_ahead: false,
            plain: Vec::new(),
            plain_taken: 0,
            outgoing: Vec::new(),
            sealed: 0,
            lazy: false,
            begun: false,
            end: None,
            asked: None,
            refusal: None,
            spoke: false,
            said_goodbye: false,
        }
    }

    fn poll_handshake(&mut self, raw: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        loop {
            if !self.session.state().is_handshaking() {
                if self.is_outdated() {
                    self.end = Some(Ended::Broken);
                    let error = Error::InvalidCertificate(rustls::CertificateError::Expired);
                    return Poll::Ready(Err(HandshakeError::Tls(error)));
                }
                // Of an older version the peer waits for the end of the handshake before it says anything.
                self.lazy =
                    self.end.is_none() && self.session.state().protocol_version() == Some(ProtocolVersion::TLSv1_3);
                return if self.lazy {
                    Poll::Ready(Ok(()))
                } else {
                    self.poll_flush(raw, cx).map_err(HandshakeError::from)
                };
            }
            ready!(self.poll_flush(raw, cx))?;
            let outcome = ready!(self.poll_take_in(raw, cx, &mut []))?;
            if let Some(name) = take_asked() {
                self.asked = Some(name);
            }
            match outcome {
                TakenIn::Some(_) => {}
                TakenIn::Nothing => return Poll::Ready(Err(io::Error::from(ErrorKind::UnexpectedEof).into())),
                TakenIn::PlainHttp => return Poll::Ready(Err(HandshakeError::PlainHttp)),
                TakenIn::NotTls => return Poll::Ready(Err(HandshakeError::NotTls)),
                TakenIn::Failed(error) => {
                    self.end = Some(Ended::Broken);
                    self.flush_now(raw);
                    return Poll::Ready(Err(HandshakeError::Tls(error)));
                }
            }
        }
    }

    /// Whether the peer came back by a ticket from before its certificate expired. The library looks at certificates only when they
    /// are shown.
    fn is_outdated(&self) -> bool {
        let state = self.session.state();
        state.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
            && matches!(self.session, Session::Server(_))
            && state
                .peer_certificates()
                .and_then(|chain| chain.first())
                .is_some_and(|own| has_expired(own, SystemTime::now()))
    }

    /// Reads as [`Stream::poll_read`] does.
    pub(super) fn poll_read(
        &mut self,
        raw: &mut Stream,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // What a server has to say at the end of a handshake can wait until it answers.
        let flushes = self.owes() || matches!(self.session, Session::Client(_));
        if flushes && let Poll::Ready(Err(error)) = self.poll_flush(raw, cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            let taken = self.take_plain(buf);
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            match self.end {
                None => {}
                Some(Ended::Said) => return Poll::Ready(Ok(0)),
                Some(Ended::Cut) if matches!(self.session, Session::Server(_)) => return Poll::Ready(Ok(0)),
                // What a server has left unsaid may be the half of an answer.
                Some(Ended::Cut) => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                Some(Ended::Broken) => return Poll::Ready(Err(ErrorKind::InvalidData.into())),
            }
            match ready!(self.poll_take_in(raw, cx, buf))? {
                TakenIn::Some(0) => {}
                TakenIn::Some(count) => return Poll::Ready(Ok(count)),
                TakenIn::Nothing => self.end = Some(Ended::Cut),
                TakenIn::Failed(error) if !self.spoke && refuses_certificate(&error) => {
                    self.refusal = Some(Box::new(error));
                    self.end = Some(Ended::Broken);
                }
                TakenIn::Failed(_) | TakenIn::PlainHttp | TakenIn::NotTls => {
                    self.end = Some(Ended::Broken);
                    self.flush_now(raw);
                }
            }
        }
    }

    /// Takes in what the socket has. What the peer said goes to `buf`, and what does not fit is kept.
    fn poll_take_in(&mut self, raw: &mut Stream, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<TakenIn>> {
        CAME.with_borrow_mut(|came| {
            let kept = self.part.len();
            let Some(room) = came.get_mut(kept..kept + READ_BYTES) else {
                // No message is as long as what is kept.
                return Poll::Ready(Ok(TakenIn::NotTls));
            };
            let count = match std::mem::take(&mut self.is_ahead) {
                true => 0,
                false => match ready!(raw.poll_read(cx, room))? {
                    0 => return Poll::Ready(Ok(TakenIn::Nothing)),
                    count => count,
                },
            };
            if let Some(front) = came.get_mut(..kept) {
                front.copy_from_slice(&self.part);
            }
            let came = came.get_mut(..kept + count).unwrap_or_default();
            let called = matches!(self.session, Session::Server(_));
            if called && !self.begun && came.first().is_some_and(|&first| first != HANDSHAKE) {
                return Poll::Ready(Ok(if looks_like_http(came) {
                    TakenIn::PlainHttp
                } else {
                    TakenIn::NotTls
                }));
            }
            Poll::Ready(Ok(self.digest(came, buf)))
        })
    }

    fn digest(&mut self, came: &mut [u8], buf: &mut [u8]) -> TakenIn {
        let mut filled = 0;
        let plain = &mut self.plain;
        let mut take = |bytes: &[u8]| {
            let room = buf.get_mut(filled..).unwrap_or_default();
            let count = bytes.len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
                to.copy_from_slice(from);
            }
            filled += count;
            plain.extend_from_slice(bytes.get(count..).unwrap_or_default());
        };
        let digested = self.session.digest(came, &mut take, &mut self.outgoing);
        match digested {
            Ok(digested) => {
                self.begun = true;
                let rest = came.get(digested.used..).unwrap_or_default();
                self.spoke |= filled > 0 || self.plain_taken < self.plain.len();
                // Memory is let go of rather than kept: most records come whole. Behind the end nothing counts.
                self.part = if digested.ended { Vec::new() } else { rest.to_vec() };
                if digested.ended {
                    self.end = Some(Ended::Said);
                }
                TakenIn::Some(filled)
            }
            Err(error) => {
                // The session has lost its place in what is left.
                self.part = Vec::new();
                self.lazy = false;
                if filled == 0 && !self.has_plain() {
                    return TakenIn::Failed(error);
                }
                self.end = Some(Ended::Broken);
                TakenIn::Some(filled)
            }
        }
    }

    fn take_plain(&mut self, buf: &mut [u8]) -> usize {
        let rest = self.plain.get(self.plain_taken..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.plain_taken += count;
        if self.plain_taken == self.plain.len() && self.plain_taken > 0 {
            self.plain = Vec::new();
            self.plain_taken = 0;
        }
        count
    }

    fn has_plain(&self) -> bool {
        self.plain_taken < self.plain.len()
    }

    /// Whether something is there that a read would find without the socket.
    pub(super) fn has_event(&self) -> bool {
        self.has_plain() || self.end.is_some()
    }

    /// Whether the socket has not taken all that was written.
    pub(super) fn owes(&self) -> bool {
        !self.outgoing.is_empty() && !self.lazy
    }

    /// Looks as [`Stream::peek`] does.
    pub(super) fn peek(&mut self, raw: &mut Stream, cx: &mut Context<'_>) -> Peeked {
        if !self.has_event() {
            match raw.peek(cx) {
                Peeked::Data => {}
                Peeked::End => self.end = Some(Ended::Cut),
                other => return other,
            }
            if self.end.is_none() {
                match self.poll_take_in(raw, cx, &mut []) {
                    // The task has had its share; it will find out when it reads.
                    Poll::Pending => return Peeked::Data,
                    Poll::Ready(Ok(TakenIn::Some(_))) => {}
                    Poll::Ready(Ok(TakenIn::Nothing)) => self.end = Some(Ended::Cut),
                    Poll::Ready(_) => self.end = Some(Ended::Broken),
                }
                // Reading may have taken it out of the reactor, where whoever looks waits for more.
                if self.end.is_none() && raw.watch().is_err() {
                    return Peeked::Data;
                }
            }
        }
        match self.end {
            _ if self.has_plain() => Peeked::Data,
            None => Peeked::Nothing,
            Some(Ended::Said | Ended::Cut) => Peeked::End,
            Some(Ended::Broken) => Peeked::Broken,
        }
    }

    /// Writes one message, or as much of it as is sealed at once. What the socket does not take is kept, and does not count as
    /// written until it does: whoever has to wait gives the same bytes again, as to any stream.
    pub(super) fn poll_write(
        &mut self,
        raw: &mut Stream,
        cx: &mut Context<'_>,
        message: &[u8],
        urgency: Urgency,
    ) -> Poll<io::Result<usize>> {
        if self.sealed > 0 {
            let before = self.outgoing.len();
            if let Poll::Ready(Err(error)) = self.poll_flush(raw, cx) {
                return Poll::Ready(Err(error));
            }
            return match self.written(before) {
                0 => Poll::Pending,
                count => Poll::Ready(Ok(count.min(message.len()))),
            };
        }
        if self.owes() {
            ready!(self.poll_flush(raw, cx))?;
        }
        if self.end == Some(Ended::Broken) {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let now = message.get(..WRITE_BYTES).unwrap_or(message);
        let total = SEALED.with_borrow_mut(|sealed| {
            sealed.clear();
            if std::mem::take(&mut self.lazy) {
                sealed.append(&mut self.outgoing);
            }
            self.session.seal(&mut self.part, now, sealed).map_err(broken)?;
            let last = urgency == Urgency::Last && now.len() == message.len();
            if last {
                self.said_goodbye = true;
                self.session.seal_end(&mut self.part, sealed).map_err(broken)?;
            }
            let written = if last {
                raw.poll_write_last(cx, sealed)
            } else if urgency == Urgency::Soon && sealed.len() <= SMALL_BYTES {
                raw.poll_write_soon(cx, sealed)
            } else {
                raw.poll_write(cx, sealed)
            };
            let written = match written {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.outgoing
                .extend_from_slice(sealed.get(written..).unwrap_or_default());
            io::Result::Ok(sealed.len())
        })?;
        self.sealed = now.len();
        if !self.outgoing.is_empty()
            && let Poll::Ready(Err(error)) = self.poll_flush(raw, cx)
        {
            // The task waits for room from here on.
            return Poll::Ready(Err(error));
        }
        match self.written(total) {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    /// How much of what was sealed counts as written, when of `before` bytes to send only those in `outgoing` are left: all when
    /// none is, otherwise about as large a part as was sent, so that it shows that the peer takes something.
    fn written(&mut self, before: usize) -> usize {
        let count = if self.outgoing.is_empty() {
            self.sealed
        } else {
            let sent = before.saturating_sub(self.outgoing.len());
            let part = self.sealed * sent / before.max(1);
            part.min(self.sealed - 1)
        };
        self.sealed -= count;
        count
    }

    /// Writes as [`Stream::poll_write_vectored`] does.
    pub(super) fn poll_write_vectored(
        &mut self,
        raw: &mut Stream,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            for buf in bufs {
                let room = WRITE_BYTES - gathered.len();
                gathered.extend_from_slice(buf.get(..room).unwrap_or(buf));
                if buf.len() >= room {
                    break;
                }
            }
            self.poll_write(raw, cx, gathered, Urgency::Now)
        })
    }

    /// Sends what the socket has not taken; ready when there is no such thing.
    pub(super) fn poll_flush(&mut self, raw: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lazy = false;
        while !self.outgoing.is_empty() {
            let sent = ready!(raw.poll_write(cx, &self.outgoing))?;
            self.sent(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// The socket has taken so many bytes.
    fn sent(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Says nothing more: the end of the connection is not that of what was said.
    pub(super) fn fall_silent(&mut self) {
        self.said_goodbye = true;
        self.outgoing = Vec::new();
    }

    /// Tells the peer that no more will come.
    pub(super) fn say_goodbye(&mut self, raw: &mut Stream) {
        let may = self.end != Some(Ended::Broken) && !self.session.state().is_handshaking();
        if may && !self.said_goodbye {
            self.said_goodbye = true;
            let _ = self.session.seal_end(&mut self.part, &mut self.outgoing);
        }
        self.flush_now(raw);
    }

    /// Sends what the socket takes now, before the connection ends.
    fn flush_now(&mut self, raw: &mut Stream) {
        raw.send_rest_now();
        if !raw.owes()
            && let Ok(sent) = raw.write_now(&self.outgoing)
        {
            self.sent(sent);
        }
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// How soon a message has to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// At once.
    Now,
    /// Together with those of the other tasks that run now.
    Soon,
    /// At once, and the end of the stream with it.
    Last,
}

/// What became of what the socket had.
enum TakenIn {
    /// So many bytes of the peer were read; there may be none.
    Some(usize),
    /// The connection has ended.
    Nothing,
    /// Plain HTTP instead of TLS.
    PlainHttp,
    /// Something else instead of TLS.
    NotTls,
    /// The session is over.
    Failed(Error),
}

fn broken(error: Error) -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, error)
}
