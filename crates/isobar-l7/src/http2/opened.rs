//! What is one request to a server, on a stream of a connection that it shares?

use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use isobar_wire::http2::{Asked, ErrorCode, StreamError, StreamKey};
use isobar_wire::{BodyKind, Known, Method, Parsed, RequestHead};

use super::outflow::Outflow;
use super::shared::Shared;
use super::{OWN_HEAD, websocket};

/// The field with the key of a WebSocket.
const KEY: &[u8] = b"sec-websocket-key";

/// A stream that we open: a request is written, and its answer read, in the form of HTTP/1.
#[derive(Debug)]
pub(crate) struct Opened {
    shared: Rc<Shared>,
    request: Request,
    /// When the request was sent.
    asked: Option<Instant>,
    /// What the server is known to have done about the request: nothing.
    undone: Option<Undone>,
}

/// Why a server did nothing about a request, which may then go to any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undone {
    /// It leaves (RFC 9113 section 6.8).
    Leaves,
    /// It has enough to do (section 8.7).
    Refused,
}

/// How far the request has come.
#[derive(Debug)]
enum Request {
    /// Its head has not been sent.
    Waited,
    /// It has.
    Begun {
        key: StreamKey,
        outflow: Outflow,
        /// Whether the answer's last head has not been read.
        is_unanswered: bool,
    },
    /// What was to be sent made no sense, or could not be.
    Broken,
}

impl Opened {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            request: Request::Waited,
            asked: None,
            undone: None,
        }
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Why the server did nothing about the request; none: nobody knows what it did.
    pub(crate) fn undone(&self) -> Option<Undone> {
        self.undone
    }

    /// Whether nothing has come on its connection since the request was sent.
    pub(crate) fn is_unheard(&self) -> bool {
        self.asked.is_some_and(|asked| self.shared.heard() <= asked)
    }

    /// Takes a head as a whole, and as much of a body as the server has room for.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        if let Request::Waited = self.request {
            match self.take_head(bytes) {
                Ok(count) => taken = count,
                Err(error) => {
                    self.request = Request::Broken;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let rest = bytes.get(taken..).unwrap_or_default();
        let written = match &mut self.request {
            _ if rest.is_empty() => return Poll::Ready(Ok(taken)),
            Request::Begun { outflow, .. } => outflow.poll_write(self.shared.pipe(), cx, rest),
            Request::Waited | Request::Broken => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
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
        let mut head = RequestHead::new();
        match head.parse(bytes, OWN_HEAD) {
            Ok(Parsed::Complete) => {}
            // Heads are written as a whole.
            Ok(Parsed::Partial) | Err(_) => return Err(ErrorKind::InvalidInput.into()),
        }
        if head.authority.of(bytes).contains(&b'%') {
            // Servers of HTTP/2 take no host that is spelled so, and would be blamed for it.
            return Err(ErrorKind::InvalidInput.into());
        }
        // What has a body goes on with none of another protocol.
        let is_bare = head.method == Method::Get && matches!(head.body, BodyKind::None | BodyKind::Length(0));
        let nonce = if head.upgrade && is_bare {
            websocket_key(&head, bytes)
        } else {
            None
        };
        if nonce.is_some() && !self.shared.takes_websockets() {
            return Err(ErrorKind::Unsupported.into());
        }
        let is_tunnel = nonce.is_some();
        let asked = Asked {
            head: &head,
            text: bytes,
            scheme: if self.shared.is_secured() { "https" } else { "http" },
            accept: nonce.map(|nonce| websocket::accept(nonce).into()),
            ends: !is_tunnel && matches!(head.body, BodyKind::None | BodyKind::Length(0)),
        };
        let key = match self.shared.pipe().open(asked) {
            Ok(key) => key,
            Err(error) => return Err(self.failed(error)),
        };
        let now = Instant::now();
        self.asked = Some(now);
        self.shared.asks(now);
        self.request = Request::Begun {
            key,
            outflow: match is_tunnel {
                true => Outflow::tunnel(key, ErrorCode::CANCEL),
                false => Outflow::new(key, head.body, ErrorCode::CANCEL),
            },
            is_unanswered: true,
        };
        Ok(head.len)
    }

    /// What a failure of the stream is to whoever reads or writes.
    fn failed(&mut self, error: StreamError) -> io::Error {
        self.undone = match error {
            StreamError::Left => Some(Undone::Leaves),
            StreamError::Reset(ErrorCode::REFUSED_STREAM) if self.is_unanswered() => Some(Undone::Refused),
            StreamError::Reset(_) | StreamError::Malformed(_) | StreamError::Lost => None,
        };
        io::Error::new(ErrorKind::ConnectionReset, error)
    }

    fn is_unanswered(&self) -> bool {
        !matches!(
            self.request,
            Request::Begun {
                is_unanswered: false,
                ..
            }
        )
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Request::Begun {
            key,
            outflow,
            is_unanswered,
        } = &mut self.request
        else {
            return match self.request {
                Request::Broken => Poll::Ready(Err(ErrorKind::NotConnected.into())),
                _ => Poll::Pending,
            };
        };
        let pipe = self.shared.pipe();
        let read = pipe.poll_read(*key, cx, buf);
        if *is_unanswered
            && let Poll::Ready(Ok(_)) = read
            && pipe.ask(|connection| connection.is_answered(*key))
        {
            *is_unanswered = false;
            if !pipe.ask(|connection| connection.is_websocket(*key)) {
                // A server that does not go on with a WebSocket reads no more of it.
                outflow.end_tunnel(pipe);
            }
        }
        read.map_err(|error| self.failed(error))
    }

    /// Ends what is sent.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.request {
            Request::Begun { outflow, .. } => outflow.finish(self.shared.pipe()),
            Request::Waited | Request::Broken => Ok(()),
        }
    }
}

/// The key of a request for a WebSocket; none: it asks for another protocol, of which HTTP/2 knows none, and which a server need not
/// take up (RFC 9110 section 7.8).
fn websocket_key<'a>(head: &RequestHead, text: &'a [u8]) -> Option<&'a [u8]> {
    let mut protocols = head.fields.iter().filter(|field| field.known == Known::Upgrade);
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else {
        return None;
    };
    if !protocol.value.of(text).eq_ignore_ascii_case(b"websocket") {
        return None;
    }
    let mut fields = head.fields.iter();
    let key = fields.find(|field| field.name.of(text).eq_ignore_ascii_case(KEY))?;
    Some(key.value.of(text))
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Request::Begun { key, outflow, .. } = &self.request {
            let pipe = self.shared.pipe();
            let is_over = pipe.ask(|connection| connection.is_received(*key));
            pipe.close(*key, outflow.abandoned());
            if !is_over {
                self.shared.gave_up();
            }
        }
        self.shared.ended();
    }
}
