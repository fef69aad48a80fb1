//! How are the bytes of a message's body sent as the frames of one stream?

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};
use isobar_wire::{BodyDecoder, BodyKind};

use super::text;

/// So many first bytes the library takes in any case: most bodies are not longer, and asking costs as much as sending.
const UNASKED: usize = 16 * 1024;

/// Less room than this is not worth a frame where more is wanted.
const LITTLE: usize = 4 * 1024;

/// What goes out on a stream, behind a head.
#[derive(Debug)]
pub(super) struct Outflow {
    send: SendStream<Bytes>,
    body: Body,
    /// What the peer is told when it ends before its time.
    abandoned: Reason,
    /// Bytes that go to the library without asking whether the peer has room.
    unasked: usize,
}

#[derive(Debug)]
enum Body {
    /// A body, in the framing that its head says.
    Framed(BodyDecoder),
    /// Bytes as they come, until the one who sends them has no more.
    Tunnel,
    Ended,
}

impl Outflow {
    /// A body of this kind; its head has been sent, with the end of the stream where there is none.
    pub(super) fn new(send: SendStream<Bytes>, kind: BodyKind, abandoned: Reason) -> Self {
        let body = BodyDecoder::new(kind);
        Self {
            send,
            body: if body.is_done() {
                Body::Ended
            } else {
                Body::Framed(body)
            },
            abandoned,
            unasked: UNASKED,
        }
    }

    /// Bytes of another protocol.
    pub(super) fn tunnel(send: SendStream<Bytes>, abandoned: Reason) -> Self {
        Self {
            send,
            body: Body::Tunnel,
            abandoned,
            unasked: UNASKED,
        }
    }

    /// Takes as much as the peer has room for, at least a byte, or waits for room.
    ///
    /// *Errors*: the peer gave the stream up, or the bytes are not what the head says.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = bytes.get(taken..).unwrap_or_default();
            match self.poll_piece(cx, rest) {
                Poll::Ready(Ok(count)) => taken += count,
                // What failed fails again with the next piece.
                Poll::Ready(Err(_)) | Poll::Pending if taken > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Takes framing, or data and the framing behind it.
    fn poll_piece(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.body {
            Body::Ended => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Body::Tunnel => {
                return self.poll_room(cx, bytes.len()).map(|room| {
                    let piece = bytes.get(..room?.min(bytes.len())).unwrap_or_default();
                    self.send(piece, End::No)?;
                    Ok(piece.len())
                });
            }
            Body::Framed(body) => {
                let framing = pass_framing(body, bytes)?;
                if framing == bytes.len() || body.is_done() {
                    return Poll::Ready(self.end_if_done(framing));
                }
                if framing > 0 {
                    return Poll::Ready(Ok(framing));
                }
            }
        }
        let room = match self.poll_room(cx, bytes.len()) {
            Poll::Ready(room) => room?,
            Poll::Pending => return Poll::Pending,
        };
        let Body::Framed(body) = &mut self.body else {
            return Poll::Ready(Ok(0));
        };
        let within = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        let decoded = body.decode(within).map_err(io::Error::other)?;
        let piece = within.get(decoded.data).unwrap_or_default();
        let rest = bytes.get(decoded.consumed..).unwrap_or_default();
        let taken = decoded.consumed + pass_framing(body, rest)?;
        // The end goes along with the last of the data, unless trailers follow.
        let end = if body.is_done() && body.trailers().is_empty() {
            End::Yes
        } else {
            End::No
        };
        self.send(piece, end)?;
        Poll::Ready(self.end_if_done(taken))
    }

    /// Ends the stream where its body has ended.
    fn end_if_done(&mut self, taken: usize) -> io::Result<usize> {
        if let Body::Framed(body) = &self.body
            && body.is_done()
        {
            let trailers = body.trailers();
            if trailers.is_empty() {
                self.send(&[], End::Yes)?;
            } else {
                let trailers = text::trailers(trailers)?;
                self.body = Body::Ended;
                self.send.send_trailers(trailers).map_err(io::Error::other)?;
            }
        }
        Ok(taken)
    }

    fn send(&mut self, piece: &[u8], end: End) -> io::Result<()> {
        if piece.is_empty() && end == End::No {
            return Ok(());
        }
        if end == End::Yes {
            self.body = Body::Ended;
        }
        self.unasked = self.unasked.saturating_sub(piece.len());
        let data = Bytes::copy_from_slice(piece);
        self.send.send_data(data, end == End::Yes).map_err(io::Error::other)
    }

    /// How much the peer has room for.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.unasked > 0 {
            return Poll::Ready(Ok(self.unasked));
        }
        if self.send.capacity() < wanted.min(LITTLE) {
            self.send.reserve_capacity(wanted);
        }
        let room = self.send.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        loop {
            match self.send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => return Poll::Ready(Ok(room)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(None) => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ends a tunnel.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.body {
            Body::Ended => Ok(()),
            Body::Tunnel | Body::Framed(_) => self.send(&[], End::Yes),
        }
    }

    /// Ends a tunnel that did not come about.
    pub(super) fn end_tunnel(&mut self) {
        if let Body::Tunnel = self.body {
            // A stream that is gone needs no end.
            let _ = self.send(&[], End::Yes);
        }
    }

    /// Ready when the peer gave the stream up, or the connection broke.
    pub(super) fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(drop)
    }
}

impl Drop for Outflow {
    /// What ends before its time must not look like an end.
    fn drop(&mut self) {
        match self.body {
            Body::Ended => {}
            Body::Framed(_) | Body::Tunnel => self.send.send_reset(self.abandoned),
        }
    }
}

/// Whether a piece is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Yes,
    No,
}

/// Passes over framing, up to where data begins. How many bytes that is.
fn pass_framing(body: &mut BodyDecoder, bytes: &[u8]) -> io::Result<usize> {
    let mut passed = 0;
    // Byte by byte, so that no data is taken along; there are few.
    while !body.is_at_data() && !body.is_done() {
        let Some(byte) = bytes.get(passed..=passed) else { break };
        let decoded = body.decode(byte).map_err(io::Error::other)?;
        passed += decoded.consumed;
    }
    Ok(passed)
}
