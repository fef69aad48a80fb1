//! What is one request of a client, on a stream of its connection?

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use isobar_observe::access::Secured;
use isobar_wire::{BodyKind, Method, RequestKind, ResponseHead};

use super::inflow::{Framing, Inflow};
use super::outflow::Outflow;
use super::{text, websocket};

/// What all streams of a connection have in common.
#[derive(Debug)]
pub(crate) struct Link {
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

impl Link {
    /// Of a connection that is secured as the access log has it; none: it is not.
    pub(super) fn new(secured: Option<Secured<'_>>) -> Self {
        Self {
            secured: secured.map(|Secured { version, cipher, name }| LinkSecured {
                version,
                cipher,
                name: name.map(Box::from),
            }),
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
    inflow: Inflow,
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
    Waited(SendResponse<Bytes>),
    /// It has.
    Begun(Outflow),
    /// What was to be sent made no sense.
    Broken,
}

impl Accepted {
    /// A request that has come. `chance` is what a key of a WebSocket is made of.
    pub(super) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        link: &Rc<Link>,
        chance: impl FnOnce() -> [u64; 2],
    ) -> Self {
        let (parts, recv) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let key = text::wants_websocket(&request).then(|| websocket::key(chance()));
        let body = match recv.is_end_stream() {
            true => text::Body::None,
            // What comes is no body: it belongs to the other protocol.
            false if key.is_some() => text::Body::Length,
            false if text::has_length(request.headers()) => text::Body::Length,
            false => text::Body::Unknown,
        };
        let mut head = Vec::with_capacity(512);
        text::write_request(&mut head, &request, body, key.as_deref());
        let framing = match body {
            text::Body::Unknown => Framing::Chunks,
            text::Body::None | text::Body::Length => Framing::Data,
        };
        Self {
            inflow: Inflow::new(head, (body != text::Body::None).then_some(recv), framing),
            answer: Answer::Waited(respond),
            kind: RequestKind {
                method: match *request.method() {
                    http::Method::HEAD => Method::Head,
                    _ => Method::Get,
                },
                upgrade: key.is_some(),
            },
            accept: key.map(|key| websocket::accept(key.as_bytes()).into()),
            watched: false,
            link: Rc::clone(link),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.inflow.poll_read(cx, buf)
    }

    /// Takes heads as a whole, and as much of a body as the client has room for.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while let (Answer::Waited(_), Some(rest)) = (&self.answer, bytes.get(taken..).filter(|rest| !rest.is_empty())) {
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
            Answer::Begun(outflow) => outflow.poll_write(cx, rest),
            Answer::Waited(_) | Answer::Broken => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
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
        let Answer::Waited(respond) = &mut self.answer else {
            return Ok(0);
        };
        let mut head = self.link.head.borrow_mut();
        let response = text::response(bytes, self.kind, &mut head)?;
        // Heads are written as a whole.
        let response = response.ok_or(ErrorKind::UnexpectedEof)?;
        if head.is_interim() {
            respond.send_informational(response).map_err(io::Error::other)?;
            return Ok(head.len);
        }
        let outflow = if head.upgrade {
            let send = respond.send_response(switched(response), false);
            Outflow::tunnel(send.map_err(io::Error::other)?, Reason::CANCEL)
        } else {
            let mut response = response;
            if self.accept.is_some() && response.status().is_success() {
                // To this client that would say that the server goes on with a WebSocket (RFC 8441 section 5).
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            let ends = matches!(head.body, BodyKind::None | BodyKind::Length(0));
            let send = respond.send_response(response, ends).map_err(io::Error::other)?;
            Outflow::new(send, head.body, Reason::INTERNAL_ERROR)
        };
        self.answer = Answer::Begun(outflow);
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
            Answer::Begun(outflow) => outflow.finish(),
            Answer::Waited(_) | Answer::Broken => Ok(()),
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
        match &mut self.answer {
            _ if !self.watched => Poll::Pending,
            Answer::Waited(respond) => respond.poll_reset(cx).map(drop),
            Answer::Begun(outflow) => outflow.poll_given_up(cx),
            Answer::Broken => Poll::Ready(()),
        }
    }
}

/// What a client is told of a server that goes on in another protocol.
///
/// *Source*: RFC 8441 section 5.
fn switched(mut response: Response<()>) -> Response<()> {
    response.headers_mut().remove("sec-websocket-accept");
    *response.status_mut() = StatusCode::OK;
    response
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if let Answer::Waited(respond) = &mut self.answer {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}
