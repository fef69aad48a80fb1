//! How are the bytes of a message's body sent as the frames of one stream?

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use isobar_wire::http2::{ErrorCode, StreamKey};
use isobar_wire::{BodyDecoder, BodyKind};

use super::pipe::Pipe;

/// What goes out on a stream, behind a head.
#[derive(Debug)]
pub(super) struct Outflow {
    key: StreamKey,
    body: Body,
    /// What the peer is told when it ends before its time.
    abandoned: ErrorCode,
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
    pub(super) fn new(key: StreamKey, kind: BodyKind, abandoned: ErrorCode) -> Self {
        let body = BodyDecoder::new(kind);
        Self {
            key,
            body: if body.is_done() {
                Body::Ended
            } else {
                Body::Framed(body)
            },
            abandoned,
        }
    }

    /// Bytes of another protocol.
    pub(super) fn tunnel(key: StreamKey, abandoned: ErrorCode) -> Self {
        Self {
            key,
            body: Body::Tunnel,
            abandoned,
        }
    }

    /// What the peer is told when it ends before its time.
    pub(super) fn abandoned(&self) -> ErrorCode {
        self.abandoned
    }

    /// Takes as much as the peer has room for, at least a byte, or waits for room.
    ///
    /// *Errors*: the peer gave the stream up, or the bytes are not what the head says.
    pub(super) fn poll_write(&mut self, pipe: &Pipe, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = bytes.get(taken..).unwrap_or_default();
            match self.poll_piece(pipe, cx, rest) {
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
    fn poll_piece(&mut self, pipe: &Pipe, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let body = match &mut self.body {
            Body::Ended => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Body::Tunnel => return pipe.poll_data(self.key, cx, (bytes, false)),
            Body::Framed(body) => body,
        };
        let framing = pass_framing(body, bytes)?;
        if framing == bytes.len() || body.is_done() {
            return Poll::Ready(self.end_if_done(pipe, framing));
        }
        if framing > 0 {
            return Poll::Ready(Ok(framing));
        }
        // What it would come to, if there is room for all of it.
        let mut ahead = body.clone();
        let decoded = ahead.decode(bytes).map_err(io::Error::other)?;
        let piece = bytes.get(decoded.data).unwrap_or_default();
        let behind = pass_framing(&mut ahead, bytes.get(decoded.consumed..).unwrap_or_default())?;
        // The end goes along with the last of the data, unless trailers follow.
        let ends = ahead.is_done() && ahead.trailers().is_empty();
        let sent = match pipe.poll_data(self.key, cx, (piece, ends)) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => return Poll::Pending,
        };
        if sent < piece.len() {
            // So much of it is data.
            body.decode(bytes.get(..sent).unwrap_or_default())
                .map_err(io::Error::other)?;
            return Poll::Ready(Ok(sent));
        }
        if ends {
            self.body = Body::Ended;
        } else {
            *body = ahead;
        }
        Poll::Ready(self.end_if_done(pipe, decoded.consumed + behind))
    }

    /// Ends the stream where its body has ended.
    fn end_if_done(&mut self, pipe: &Pipe, taken: usize) -> io::Result<usize> {
        if let Body::Framed(body) = &self.body
            && body.is_done()
        {
            let trailers = body.trailers();
            if trailers.is_empty() {
                self.end(pipe)?;
            } else {
                let sent = pipe.tell(|connection, out| connection.send_trailers(self.key, trailers, out));
                self.body = Body::Ended;
                sent.map_err(io::Error::other)?;
            }
        }
        Ok(taken)
    }

    fn end(&mut self, pipe: &Pipe) -> io::Result<()> {
        self.body = Body::Ended;
        let sent = pipe.tell(|connection, out| connection.send_data(self.key, (&[], true), 0, out));
        sent.map_err(io::Error::other).map(drop)
    }

    /// Ends a tunnel.
    pub(super) fn finish(&mut self, pipe: &Pipe) -> io::Result<()> {
        match self.body {
            Body::Ended => Ok(()),
            Body::Tunnel => self.end(pipe),
            // Half a body must not look like a whole one.
            Body::Framed(_) => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Ends a tunnel that did not come about.
    pub(super) fn end_tunnel(&mut self, pipe: &Pipe) {
        if let Body::Tunnel = self.body {
            // A stream that is gone needs no end.
            let _ = self.end(pipe);
        }
    }
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
