//! What carries the messages of an exchange on one of its two sides?
//!
//! A connection of its own, or one stream of an HTTP/2 connection. An exchange reads and writes messages in the form of HTTP/1 either
//! way: what is on a stream is put into that form, and out of it, by [`crate::http2`].

use std::io::{self, IoSlice};
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use isobar_l4::throttle::{Throttle, Way};
use isobar_net::stream::{Agreed, HandshakeError, Peeked, Stream};
use isobar_observe::access::Secured;
use isobar_wire::Version;

use crate::http2::{Accepted, Opened};
use crate::paced::Paced;
use crate::record::Detail;
use crate::secure;
use crate::web::{Manner, Web};

/// What carries messages. All kinds behave as a [`Stream`] does.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A connection.
    Connection(Stream),
    /// A stream that a client opened.
    Accepted(Box<Accepted>),
    /// A stream that we opened, to a server.
    Opened(Box<Opened>),
    /// A connection whose streams carry the messages, and which carries none itself.
    Shared,
    /// What carries a client's messages, where the client speaks gRPC-Web.
    Web(Box<Web>),
    /// What carries a client's messages, where a limit counts its bytes.
    Paced(Box<Paced>),
}

impl Carrier {
    /// Puts something around it.
    pub(crate) fn wrap(&mut self, around: impl FnOnce(Self) -> Web) {
        let carrier = mem::replace(self, Self::Shared);
        *self = Self::Web(Box::new(around(carrier)));
    }

    /// Has its bytes held to the rates that the client shares, for one exchange.
    pub(crate) fn pace(&mut self, throttle: Box<Throttle>) {
        if let Self::Web(web) = self {
            return web.carrier.pace(throttle);
        }
        let carrier = mem::replace(self, Self::Shared);
        *self = Self::Paced(Box::new(Paced::new(carrier, throttle)));
    }

    /// No longer holds its bytes to a rate: *returns* how long they have waited.
    pub(crate) fn unpace(&mut self) -> Duration {
        match self {
            Self::Paced(paced) => {
                let waited = paced.waited();
                *self = mem::replace(&mut paced.carrier, Self::Shared);
                waited
            }
            Self::Web(web) => web.carrier.unpace(),
            Self::Connection(_) | Self::Accepted(_) | Self::Opened(_) | Self::Shared => Duration::ZERO,
        }
    }

    /// Whether bytes wait this way for a limit's sake, so that nobody is late.
    pub(crate) fn is_held(&self, way: Way) -> bool {
        match self {
            Self::Paced(paced) => paced.is_waiting(way),
            Self::Web(web) => web.carrier.is_held(way),
            Self::Connection(_) | Self::Accepted(_) | Self::Opened(_) | Self::Shared => false,
        }
    }

    /// Whether what is written next has to be written as a whole.
    pub(crate) fn takes_a_head(&self) -> bool {
        matches!(self, Self::Accepted(stream) if stream.waits_for_head())
    }

    /// Ready, with the most that may go this way, when the kernel may move the client's bytes.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>, way: Way) -> Poll<u64> {
        match self {
            Self::Paced(paced) => paced.poll_turn(cx, way),
            Self::Web(web) => web.carrier.poll_turn(cx, way),
            Self::Connection(_) | Self::Accepted(_) | Self::Opened(_) | Self::Shared => Poll::Ready(u64::MAX),
        }
    }

    /// So many bytes went this way otherwise than by this.
    pub(crate) fn moved(&mut self, way: Way, bytes: u64) {
        match self {
            Self::Paced(paced) => paced.moved(way, bytes),
            Self::Web(web) => web.carrier.moved(way, bytes),
            Self::Connection(_) | Self::Accepted(_) | Self::Opened(_) | Self::Shared => {}
        }
    }

    /// Takes off what was put around it for one exchange.
    pub(crate) fn unwrap_web(&mut self) {
        if let Self::Web(web) = self {
            *self = mem::replace(&mut web.carrier, Self::Shared);
        }
    }

    /// Why a peer's messages cannot be read any further; none: the connection is at fault.
    pub(crate) fn fault(&self) -> Option<Detail> {
        match self {
            Self::Web(web) => web.fault(),
            Self::Paced(paced) => paced.carrier.fault(),
            Self::Connection(_) | Self::Accepted(_) | Self::Opened(_) | Self::Shared => None,
        }
    }

    /// The version that the peer speaks; none: what it says in its messages.
    pub(crate) fn version(&self) -> Option<Version> {
        match self {
            Self::Connection(_) => None,
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => Some(Version::Http2),
            Self::Web(web) => web.carrier.version(),
            Self::Paced(paced) => paced.carrier.version(),
        }
    }

    /// The connection, where it carries nothing else.
    pub(crate) fn connection(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Connection(stream) => Some(stream),
            Self::Paced(paced) => paced.carrier.connection(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared | Self::Web(_) => None,
        }
    }

    /// The stream of a connection to a server that carries others as well.
    pub(crate) fn opened(&self) -> Option<&Opened> {
        match self {
            Self::Opened(stream) => Some(stream),
            Self::Connection(_) | Self::Accepted(_) | Self::Shared | Self::Web(_) | Self::Paced(_) => None,
        }
    }

    /// Whether it is a connection whose bytes are the messages as they are.
    pub(crate) fn is_plain(&self) -> bool {
        match self {
            Self::Connection(stream) => !stream.is_secured(),
            Self::Paced(paced) => paced.carrier.is_plain(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared | Self::Web(_) => false,
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(stream) => stream.poll_read(cx, buf),
            Self::Accepted(stream) => stream.poll_read(cx, buf),
            Self::Opened(stream) => stream.poll_read(cx, buf),
            Self::Shared => nothing(),
            Self::Web(web) => web.poll_read(cx, buf),
            Self::Paced(paced) => paced.poll_read(cx, buf),
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(stream) => stream.poll_write(cx, bytes),
            Self::Accepted(stream) => stream.poll_write(cx, bytes),
            Self::Opened(stream) => stream.poll_write(cx, bytes),
            Self::Shared => nothing(),
            Self::Web(web) => web.poll_write(cx, bytes, Manner::Now),
            Self::Paced(paced) => paced.poll_write(cx, bytes, Self::poll_write),
        }
    }

    /// Writes the last bytes before it ends.
    pub(crate) fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(stream) => stream.poll_write_last(cx, bytes),
            Self::Accepted(stream) => stream.poll_write(cx, bytes),
            Self::Opened(stream) => stream.poll_write(cx, bytes),
            Self::Shared => nothing(),
            Self::Web(web) => web.poll_write(cx, bytes, Manner::Last),
            Self::Paced(paced) => paced.poll_write(cx, bytes, Self::poll_write_last),
        }
    }

    /// Writes a small message, which need not be on its way at once.
    pub(crate) fn poll_write_soon(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(stream) => stream.poll_write_soon(cx, bytes),
            Self::Accepted(stream) => stream.poll_write(cx, bytes),
            Self::Opened(stream) => stream.poll_write(cx, bytes),
            Self::Shared => nothing(),
            Self::Web(web) => web.poll_write(cx, bytes, Manner::Soon),
            Self::Paced(paced) => paced.poll_write(cx, bytes, Self::poll_write_soon),
        }
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        [head, data]: [&[u8]; 2],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Connection(stream) => stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(data)]),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared | Self::Web(_) | Self::Paced(_) => {
                match self.poll_write(cx, head) {
                    Poll::Ready(Ok(taken)) if taken == head.len() => match self.poll_write(cx, data) {
                        Poll::Ready(Ok(more)) => Poll::Ready(Ok(taken + more)),
                        // What failed fails again.
                        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(Ok(taken)),
                    },
                    other => other,
                }
            }
        }
    }

    /// Ready when there may be something to see of a peer that owes nothing: [`peek`](Self::peek).
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Connection(stream) => stream.poll_event(cx),
            Self::Accepted(stream) => stream.poll_given_up(cx),
            Self::Opened(_) | Self::Shared => Poll::Pending,
            Self::Web(web) => web.carrier.poll_event(cx),
            Self::Paced(paced) => paced.carrier.poll_event(cx),
        }
    }

    pub(crate) fn peek(&mut self, cx: &mut Context<'_>) -> Peeked {
        match self {
            Self::Connection(stream) => stream.peek(cx),
            // Of a stream nothing but its end is an event.
            Self::Accepted(_) => Peeked::Broken,
            Self::Opened(_) | Self::Shared => Peeked::Nothing,
            Self::Web(web) => web.carrier.peek(cx),
            Self::Paced(paced) => paced.carrier.peek(cx),
        }
    }

    pub(crate) fn watch(&mut self) -> io::Result<()> {
        match self {
            Self::Connection(stream) => stream.watch(),
            Self::Accepted(stream) => {
                stream.watch();
                Ok(())
            }
            Self::Opened(_) | Self::Shared => Ok(()),
            Self::Web(web) => web.carrier.watch(),
            Self::Paced(paced) => paced.carrier.watch(),
        }
    }

    /// Has nobody woken for what comes, until somebody waits for it again.
    pub(crate) fn forget(&self) {
        match self {
            Self::Connection(stream) => stream.forget(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => {}
            Self::Web(web) => web.carrier.forget(),
            Self::Paced(paced) => paced.carrier.forget(),
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        match self {
            Self::Connection(stream) => stream.is_watched(),
            Self::Accepted(stream) => stream.is_watched(),
            Self::Opened(_) | Self::Shared => true,
            Self::Web(web) => web.carrier.is_watched(),
            Self::Paced(paced) => paced.carrier.is_watched(),
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Connection(stream) => stream.is_quiet(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => false,
            Self::Web(web) => web.carrier.is_quiet(),
            Self::Paced(paced) => paced.carrier.is_quiet(),
        }
    }

    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::Connection(stream) => stream.is_silent(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => false,
            Self::Web(web) => web.carrier.is_silent(),
            Self::Paced(paced) => paced.carrier.is_silent(),
        }
    }

    /// Whether something is written that the peer has not been sent.
    pub(crate) fn owes(&self) -> bool {
        match self {
            Self::Connection(stream) => stream.owes(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => false,
            Self::Web(web) => web.carrier.owes(),
            Self::Paced(paced) => paced.carrier.owes(),
        }
    }

    /// Goes on with what was written and not taken.
    pub(crate) fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(stream) => stream.poll_untaken(cx),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => Poll::Ready(Ok(())),
            Self::Web(web) => web.carrier.poll_untaken(cx),
            Self::Paced(paced) => paced.carrier.poll_untaken(cx),
        }
    }

    pub(crate) fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(stream) => stream.poll_settled(cx),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => Poll::Ready(Ok(())),
            Self::Web(web) => web.carrier.poll_settled(cx),
            Self::Paced(paced) => paced.carrier.poll_settled(cx),
        }
    }

    /// Whether a client may be told that its server goes on in another protocol, which that one proves with what it says in
    /// `Sec-WebSocket-Accept`. Where the client asked in HTTP/1, it looks for itself.
    pub(crate) fn is_proof(&self, proof: Option<&[u8]>) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Accepted(stream) => stream.is_proof(proof),
            Self::Opened(_) | Self::Shared => false,
            Self::Web(web) => web.carrier.is_proof(proof),
            Self::Paced(paced) => paced.carrier.is_proof(proof),
        }
    }

    /// Tells the peer that no more will come.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Connection(stream) => stream.shutdown_write(),
            Self::Accepted(stream) => stream.shutdown_write(),
            Self::Opened(stream) => stream.shutdown_write(),
            Self::Shared => Ok(()),
            Self::Web(web) => web.carrier.shutdown_write(),
            Self::Paced(paced) => paced.carrier.shutdown_write(),
        }
    }

    /// Makes its end known as one before its time.
    pub(crate) fn reset_on_close(&mut self) {
        match self {
            // Nothing that a caller could act on.
            Self::Connection(stream) => drop(stream.reset_on_close()),
            // One that has not come to its end is reset anyway.
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => {}
            Self::Web(web) => web.carrier.reset_on_close(),
            Self::Paced(paced) => paced.carrier.reset_on_close(),
        }
    }

    /// Moves bytes as they are from now on.
    pub(crate) fn unsecure(&mut self) {
        match self {
            Self::Connection(stream) => stream.unsecure(),
            Self::Web(web) => web.carrier.unsecure(),
            Self::Paced(paced) => paced.carrier.unsecure(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => {}
        }
    }

    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        match self {
            Self::Connection(stream) => stream.poll_handshake(cx),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => Poll::Ready(Ok(())),
            Self::Web(web) => web.carrier.poll_handshake(cx),
            Self::Paced(paced) => paced.carrier.poll_handshake(cx),
        }
    }

    /// What a server said against a handshake that was complete on this side.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            Self::Connection(stream) => stream.refusal(),
            Self::Opened(stream) => stream.shared().refusal(),
            Self::Accepted(_) | Self::Shared => None,
            Self::Web(web) => web.carrier.refusal(),
            Self::Paced(paced) => paced.carrier.refusal(),
        }
    }

    /// What was agreed on in its handshake.
    pub(crate) fn agreed(&self) -> Option<Agreed<'_>> {
        match self {
            Self::Connection(stream) => stream.agreed(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => None,
            Self::Web(web) => web.carrier.agreed(),
            Self::Paced(paced) => paced.carrier.agreed(),
        }
    }

    pub(crate) fn say_goodbye(&mut self) {
        match self {
            Self::Connection(stream) => stream.say_goodbye(),
            Self::Accepted(_) | Self::Opened(_) | Self::Shared => {}
            Self::Web(web) => web.carrier.say_goodbye(),
            Self::Paced(paced) => paced.carrier.say_goodbye(),
        }
    }

    pub(crate) fn is_secured(&self) -> bool {
        match self {
            Self::Connection(stream) => stream.is_secured(),
            Self::Accepted(stream) => stream.link().is_secured(),
            Self::Opened(stream) => stream.shared().is_secured(),
            Self::Shared => false,
            Self::Web(web) => web.carrier.is_secured(),
            Self::Paced(paced) => paced.carrier.is_secured(),
        }
    }

    /// How it is secured, for the access log.
    pub(crate) fn secured(&self) -> Option<Secured<'_>> {
        match self {
            Self::Connection(stream) => stream.agreed().map(secure::logged),
            Self::Accepted(stream) => stream.link().secured(),
            Self::Opened(_) | Self::Shared => None,
            Self::Web(web) => web.carrier.secured(),
            Self::Paced(paced) => paced.carrier.secured(),
        }
    }
}

/// What there is to read and write where there is nothing.
fn nothing() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}
