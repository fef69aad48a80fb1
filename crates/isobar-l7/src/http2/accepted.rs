//! What is one request of a client, on a stream of its connection?

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll};

use isobar_observe::access::Secured;
use isobar_wire::http2::{Answer as Head, ErrorCode, StreamKey};
use isobar_wire::{BodyKind, Method, Parsed, RequestKind, ResponseHead};

use super::outflow::Outflow;
use super::pipe::Pipe;
use super::{OWN_HEAD, websocket};

/// The status of a server that says yes to a WebSocket in a way that this client would take for its own.
const BAD_GATEWAY: u16 = 502;

/// What all streams of a client's connection have in common.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) pipe: Rc<Pipe>,
    secured: Option<LinkSecured>,
    /// Room for the head that is sent next.
    head: RefCell<ResponseHead>,
}

/// How a connection is secured.
#[derive(Debug)]
struct LinkSecured {
    version: &'static str,
    cipher: Option<&'static str>,
    name: Option<Box<str>>,
}

impl LinkSecured {
    fn of(Secured { version, cipher, name }: Secured<'_>) -> Self {
        Self {
            version,
            cipher,
            name: name.map(Box::from),
        }
    }
}

/// What is kept of how a connection is secured, while its socket is the pipe's.
#[derive(Debug)]
pub(super) struct Securing(Option<LinkSecured>);

impl Securing {
    /// As the access log has it; none: it is not.
    pub(super) fn of(secured: Option<Secured<'_>>) -> Self {
        Self(secured.map(LinkSecured::of))
    }
}

impl Link {
    pub(super) fn new(pipe: Rc<Pipe>, Securing(secured): Securing) -> Self {
        Self {
            pipe,
            secured,
            head: RefCell::default(),
        }
    }

    pub(crate) fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    pub(crate) fn secured(&self) -> Option<Secured<'_>> {
        self.secured.as_ref().map(|secured| Secured {
            version: secured.version,
            cipher: secured.cipher,
            name: secured.name.as_deref(),
        })
    }
}

/// A stream that a client opened: its request is read, and its answer written, in the form of HTTP/1.
#[derive(Debug)]
pub(crate) struct Accepted {
    key: StreamKey,
    answer: Answer,
    kind: RequestKind,
    /// What the server has to answer where the client wants a WebSocket.
    accept: Option<Box<str>>,
    /// Whether it is noticed when the client gives it up.
    watched: bool,
    link: Rc<Link>,
}

/// How far the answer has come.
#[derive(Debug)]
enum Answer {
    /// Its head has not been sent.
    Waited,
    /// It has.
    Begun(Outflow),
    /// What was to be sent made no sense.
    Broken,
}

impl Accepted {
    /// A request that has come. `chance` is what a key of a WebSocket is made of.
    pub(super) fn new(key: StreamKey, link: &Rc<Link>, chance: impl FnOnce() -> [u64; 2]) -> Self {
        let (is_head, upgrade) = link
            .pipe
            .ask(|connection| (connection.is_head(key), connection.is_websocket(key)));
        let nonce = upgrade.then(|| websocket::key(chance()));
        if let Some(nonce) = &nonce {
            link.pipe
                .tell(|connection, _| connection.add_field(key, b"sec-websocket-key", nonce.as_bytes()));
        }
        Self {
            key,
            answer: Answer::Waited,
            kind: RequestKind {
                method: if is_head { Method::Head } else { Method::Get },
                upgrade,
            },
            accept: nonce.map(|nonce| websocket::accept(nonce.as_bytes()).into()),
            watched: false,
            link: Rc::clone(link),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Whether the head of the answer is what is written next.
    pub(crate) const fn waits_for_head(&self) -> bool {
        matches!(self.answer, Answer::Waited)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.link.pipe.poll_read(self.key, cx, buf).map_err(io::Error::other)
    }

    /// Takes heads as a whole, and as much of a body as the client has room for.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while let (Answer::Waited, Some(rest)) = (&self.answer, bytes.get(taken..).filter(|rest| !rest.is_empty())) {
            match self.take_head(rest) {
                Ok(count) => taken += count,
                Err(error) => {
                    self.answer = Answer::Broken;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let rest = bytes.get(taken..).unwrap_or_default();
        let written = match &mut self.answer {
            _ if rest.is_empty() => return Poll::Ready(Ok(taken)),
            Answer::Begun(outflow) => outflow.poll_write(&self.link.pipe, cx, rest),
            Answer::Waited | Answer::Broken => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        };
        match written {
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(taken + count)),
            // What failed fails again.
            Poll::Ready(Err(_)) | Poll::Pending if taken > 0 => Poll::Ready(Ok(taken)),
            other => other,
        }
    }

    /// Sends the head in front of `bytes`; how long it is.
    fn take_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut head = self.link.head.borrow_mut();
        match head.parse(bytes, self.kind, OWN_HEAD).map_err(io::Error::other)? {
            // Heads are written as a whole.
            Parsed::Partial => return Err(ErrorKind::UnexpectedEof.into()),
            Parsed::Complete => {}
        }
        let status = match head.status {
            _ if head.upgrade => 200,
            // To this client that would say that the server goes on with a WebSocket (RFC 8441 section 5).
            200..300 if self.accept.is_some() => BAD_GATEWAY,
            status => status,
        };
        let ends = !head.upgrade && matches!(head.body, BodyKind::None | BodyKind::Length(0));
        let answer = Head {
            head: &head,
            text: bytes,
            status,
            ends,
        };
        self.link.pipe.respond(self.key, answer).map_err(io::Error::other)?;
        if status >= 200 {
            self.answer = Answer::Begun(match head.upgrade {
                true => Outflow::tunnel(self.key, ErrorCode::CANCEL),
                false => Outflow::new(self.key, head.body, ErrorCode::INTERNAL_ERROR),
            });
        }
        Ok(head.len)
    }

    /// Whether a server that goes on in another protocol has proved that it understood which.
    pub(crate) fn is_proof(&self, proof: Option<&[u8]>) -> bool {
        let expected = self.accept.as_deref().map(str::as_bytes);
        expected.is_some() && proof == expected
    }

    /// Ends what is sent.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.answer {
            Answer::Begun(outflow) => outflow.finish(&self.link.pipe),
            Answer::Waited | Answer::Broken => Ok(()),
        }
    }

    /// Has it noticed from now on when the client gives it up. Most requests are over before anybody would want to know.
    pub(crate) fn watch(&mut self) {
        self.watched = true;
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Ready when the client gave the request up, or its connection broke; never, unless that is [watched](Self::watch).
    pub(crate) fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.watched {
            true => self.link.pipe.poll_failed(self.key, cx),
            false => Poll::Pending,
        }
    }
}

impl Drop for Accepted {
    /// What ends before its time must not look like an end.
    fn drop(&mut self) {
        let code = match &self.answer {
            Answer::Begun(outflow) => outflow.abandoned(),
            Answer::Waited | Answer::Broken => ErrorCode::INTERNAL_ERROR,
        };
        self.link.pipe.close(self.key, code);
    }
}
