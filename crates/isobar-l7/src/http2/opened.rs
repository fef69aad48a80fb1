//! What is one request to a server, on a stream of a connection that it shares?

use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use h2::Reason;
use h2::client::ResponseFuture;
use http::StatusCode;
use isobar_wire::{BodyKind, Method, RequestHead};

use super::inflow::{Framing, Inflow};
use super::outflow::Outflow;
use super::shared::Shared;
use super::{text, websocket};

/// A stream that we opened: a request is written, and its answer read, in the form of HTTP/1.
#[derive(Debug)]
pub(crate) struct Opened {
    shared: Rc<Shared>,
    request: Request,
    answer: Answer,
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
    Begun(Outflow),
    /// What was to be sent made no sense, or could not be.
    Broken,
}

/// How far the answer has come.
#[derive(Debug)]
enum Answer {
    /// There was no request.
    Unasked,
    /// No head has come that is the last.
    Waited {
        response: ResponseFuture,
        /// What has come, of which `read` bytes were read.
        interim: Vec<u8>,
        read: usize,
        /// Whether it has no body, whatever its head says.
        to_head: bool,
        /// What the client wants to read of a server that goes on with a WebSocket.
        accept: Option<Box<str>>,
    },
    /// The last head has come.
    Begun(Inflow),
}

impl Opened {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            request: Request::Waited,
            answer: Answer::Unasked,
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
            Request::Begun(outflow) => outflow.poll_write(cx, rest),
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
        let scheme = if self.shared.is_secured() { "https" } else { "http" };
        // Heads are written as a whole.
        let asked = text::request(bytes, scheme, &mut head).map_err(|_| ErrorKind::InvalidInput)?;
        let asked = asked.ok_or(ErrorKind::InvalidInput)?;
        if asked.key.is_some() && !self.shared.takes_websockets() {
            return Err(ErrorKind::Unsupported.into());
        }
        let ends = asked.key.is_none() && matches!(head.body, BodyKind::None | BodyKind::Length(0));
        let sent = self.shared.sender().send_request(asked.request, ends);
        let (response, send) = sent.map_err(|error| self.failed(&error))?;
        let now = Instant::now();
        self.asked = Some(now);
        self.shared.asks(now);
        self.request = Request::Begun(match asked.key {
            Some(_) => Outflow::tunnel(send, Reason::CANCEL),
            None => Outflow::new(send, head.body, Reason::CANCEL),
        });
        self.answer = Answer::Waited {
            response,
            interim: Vec::new(),
            read: 0,
            to_head: head.method == Method::Head,
            accept: asked.key.map(|key| websocket::accept(&key).into()),
        };
        Ok(head.len)
    }

    /// What a failure of the stream is to whoever reads or writes.
    fn failed(&mut self, error: &h2::Error) -> io::Error {
        if matches!(self.answer, Answer::Unasked | Answer::Waited { .. }) && error.is_remote() {
            self.undone = match error.reason() {
                // Requests that it still answers end in another way.
                Some(Reason::NO_ERROR) if error.is_go_away() => Some(Undone::Leaves),
                Some(Reason::REFUSED_STREAM) => Some(Undone::Refused),
                _ => None,
            };
        }
        io::Error::new(ErrorKind::ConnectionReset, error.to_string())
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.answer {
                Answer::Unasked if matches!(self.request, Request::Broken) => {
                    return Poll::Ready(Err(ErrorKind::NotConnected.into()));
                }
                Answer::Unasked => return Poll::Pending,
                Answer::Begun(inflow) => return inflow.poll_read(cx, buf),
                Answer::Waited { interim, read, .. } if *read < interim.len() => {
                    let rest = interim.get(*read..).unwrap_or_default();
                    let count = rest.len().min(buf.len());
                    if let (Some(room), Some(bytes)) = (buf.get_mut(..count), rest.get(..count)) {
                        room.copy_from_slice(bytes);
                    }
                    *read += count;
                    return Poll::Ready(Ok(count));
                }
                Answer::Waited { .. } => ready!(self.poll_heads(cx))?,
            }
        }
    }

    /// Takes the next head of an answer.
    fn poll_heads(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Answer::Waited {
            response,
            interim,
            read,
            to_head,
            accept,
        } = &mut self.answer
        else {
            return Poll::Ready(Ok(()));
        };
        if let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
            if head.status() == StatusCode::SWITCHING_PROTOCOLS {
                // There is no such answer in HTTP/2 (RFC 9113 section 8.6).
                return Poll::Ready(Err(ErrorKind::InvalidData.into()));
            }
            interim.clear();
            *read = 0;
            text::write_response(interim, &head, text::Ending::Interim, None);
            return Poll::Ready(Ok(()));
        }
        let response = match ready!(std::pin::Pin::new(response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(self.failed(&error))),
        };
        let (parts, recv) = response.into_parts();
        let response = http::Response::from_parts(parts, ());
        let accept = accept.take().filter(|_| response.status().is_success());
        let (ending, framing) = match () {
            () if accept.is_some() => (text::Ending::Switched, Framing::Data),
            () if *to_head => (text::Ending::AsSaid, Framing::Data),
            () if recv.is_end_stream() => (text::Ending::Here, Framing::Data),
            () if text::has_length(response.headers()) => (text::Ending::AsSaid, Framing::Data),
            () => (text::Ending::Unknown, Framing::Chunks),
        };
        let mut head = Vec::with_capacity(512);
        text::write_response(&mut head, &response, ending, accept.as_deref());
        if accept.is_none()
            && let Request::Begun(outflow) = &mut self.request
        {
            // A server that does not go on with a WebSocket reads no more of it.
            outflow.end_tunnel();
        }
        self.answer = Answer::Begun(Inflow::new(head, Some(recv), framing));
        Poll::Ready(Ok(()))
    }

    /// Ends what is sent.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.request {
            Request::Begun(outflow) => outflow.finish(),
            Request::Waited | Request::Broken => Ok(()),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let is_over = match &self.answer {
            Answer::Unasked => true,
            Answer::Waited { .. } => false,
            Answer::Begun(inflow) => inflow.is_over(),
        };
        if !is_over {
            self.shared.gave_up();
        }
        self.shared.ended();
    }
}
