//! How does the request reach the server?

use std::io;
use std::ops::Range;
use std::task::{Context, Poll};

use isobar_l4::throttle::Way;
use isobar_net::splice::{Pipe, SpliceError};
use isobar_observe::Cause;
use isobar_plan::ClientTimeouts;
use isobar_wire::{BodyDecoder, BodyKind, write};

use crate::exchange::{Exchange, KEPT_BUFFER_BYTES};
use crate::flow::{Flow, Wait};
use crate::{Worker, request};

/// Bodies with at least this much to come are spliced: below it, two copies cost less than two more system calls.
pub(crate) const SPLICE_BYTES: u64 = 32 * 1024;

/// How the request's way to the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uploaded {
    /// All of it was sent.
    Whole,
    /// The server takes no more; it may still answer.
    Refused,
}

impl Flow<'_> {
    /// Sends the head and what is there of the body in one write.
    pub(crate) fn send_request(&mut self, cx: &mut Context<'_>) -> Result<(), Cause> {
        self.exchange.begin_attempt();
        let Self {
            ways,
            client,
            server,
            exchange,
        } = self;
        ways.worker.scratch.with(|_, output| {
            request::compose(output, ways, client, exchange);
            exchange.forward_prefix(output)?;
            exchange.uploaded(0, ways.site.site.listener.limits.max_body_bytes)?;
            let sent = if exchange.upload.is_done() && exchange.request.method.is_idempotent() {
                // Whether the server was still there is told by the answer; a request that may be repeated loses nothing.
                exchange.to_server.write_soon(cx, &mut server.stream, output)
            } else {
                exchange.to_server.write(cx, &mut server.stream, output, &[])
            };
            // An error here means that the server closed the connection before: it has seen nothing.
            exchange.report.uploads_later = !exchange.upload.is_done();
            match sent {
                Ok(0) => {}
                Ok(_) => exchange.report.nothing_sent = false,
                Err(error) => return Err(unsendable(&error).unwrap_or(Cause::ServerClosed)),
            }
            Ok(())
        })
    }

    /// Moves the request's body on; ready when that is over.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<Uploaded, Cause>> {
        if self.exchange.upload_refused {
            return Poll::Ready(Ok(Uploaded::Refused));
        }
        loop {
            let before = self.exchange.to_server.left();
            let flushed = self.exchange.to_server.poll_flush(cx, &mut self.server.stream);
            if self.exchange.to_server.left() < before {
                self.exchange.report.nothing_sent = false;
                self.exchange.upload_wait = Wait::Nobody;
            }
            match flushed {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => match unsendable(&error) {
                    Some(cause) => return Poll::Ready(Err(cause)),
                    None => return self.refused(),
                },
                Poll::Pending => return self.poll_send_deadline(cx),
            }
            let moved = if let Some(pipe) = self.exchange.upload_pipe.take() {
                self.poll_upload_splice(cx, pipe)
            } else if self.exchange.upload.is_done() {
                if self.exchange.report.uploads_later {
                    let wheel = &self.ways.worker.wheel;
                    self.exchange.report.uploaded.get_or_insert_with(|| wheel.now());
                }
                return Poll::Ready(Ok(Uploaded::Whole));
            } else if let Some(pipe) = self.splice_upload() {
                self.poll_upload_splice(cx, pipe)
            } else {
                self.poll_upload_read(cx)
            };
            match moved {
                Poll::Ready(Ok(Uploaded::Whole)) => {}
                Poll::Ready(Ok(Uploaded::Refused)) => return self.refused(),
                Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn refused(&mut self) -> Poll<Result<Uploaded, Cause>> {
        self.exchange.upload_refused = true;
        self.exchange.to_server.clear();
        self.exchange.upload_pipe = None;
        Poll::Ready(Ok(Uploaded::Refused))
    }

    fn poll_send_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<Uploaded, Cause>> {
        let Self {
            ways, client, exchange, ..
        } = self;
        let deadline = || ways.worker.wheel.now() + ways.rules.timeouts.send;
        exchange
            .upload_wait
            .poll_for(cx, Wait::Server, &client.timer, deadline)
            .map(|()| Err(Cause::SendTimeout))
    }

    fn poll_body_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<Uploaded, Cause>> {
        if self.client.stream.is_held(Way::Up) {
            // It may have sent more long ago.
            self.exchange.upload_wait = Wait::Nobody;
            return Poll::Pending;
        }
        if self.exchange.awaits_continue() {
            // The server has to speak first, and has its own deadline for that.
            return Poll::Pending;
        }
        if self.exchange.is_stream() {
            // Both sides have one deadline together, which the other direction keeps.
            return Poll::Pending;
        }
        let Self {
            ways, client, exchange, ..
        } = self;
        let deadline = || ways.worker.wheel.now() + ways.site.site.listener.timeouts.body;
        exchange
            .upload_wait
            .poll_for(cx, Wait::Client, &client.timer, deadline)
            .map(|()| Err(Cause::ClientBodyTimeout))
    }

    /// Reads once from the client and writes it to the server.
    fn poll_upload_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Uploaded, Cause>> {
        let Self {
            ways,
            client,
            server,
            exchange,
        } = self;
        let max = ways.site.site.listener.limits.max_body_bytes;
        let read = ways.worker.scratch.with(|input, output| {
            let count = match client.stream.poll_read(cx, input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(_) => {
                    let fault = client.stream.fault();
                    let cause = fault.map_or(Cause::ClientClosed, |detail| exchange.report.refuses(detail));
                    return Poll::Ready(Err(cause));
                }
            };
            let bytes = input.get(..count).unwrap_or_default();
            let (range, taken) = exchange.forward_more(bytes, output)?;
            exchange.uploaded(taken as u64, max)?;
            let data = bytes.get(range).unwrap_or_default();
            let sent = exchange.to_server.write(cx, &mut server.stream, output, data);
            Poll::Ready(Ok(if sent.is_ok() {
                Uploaded::Whole
            } else {
                Uploaded::Refused
            }))
        });
        if read.is_pending() {
            self.poll_body_deadline(cx)
        } else {
            read
        }
    }

    /// A pipe, where what is left of the body is worth it.
    fn splice_upload(&self) -> Option<Pipe> {
        if self.exchange.is_kept(0) || !self.is_plain() {
            return None;
        }
        splice_pipe(self.ways.worker, &self.exchange.upload)
    }

    fn poll_upload_splice(&mut self, cx: &mut Context<'_>, mut pipe: Pipe) -> Poll<Result<Uploaded, Cause>> {
        let Self {
            client,
            server,
            exchange,
            ..
        } = self;
        let Poll::Ready(turn) = client.stream.poll_turn(cx, Way::Up) else {
            exchange.upload_pipe = Some(pipe);
            return self.poll_body_deadline(cx);
        };
        let limit = exchange.upload.remaining().unwrap_or(0).min(turn);
        let (Some(from_client), Some(server)) = (client.stream.connection(), server.stream.connection()) else {
            return Poll::Ready(Err(Cause::Internal));
        };
        match pipe.poll_splice(cx, from_client, server, limit) {
            Poll::Ready(Ok(spliced)) if spliced.eof => Poll::Ready(Err(Cause::ClientClosed)),
            Poll::Ready(Ok(spliced)) => {
                client.stream.moved(Way::Up, spliced.read);
                exchange.upload.advance(spliced.read);
                exchange.replayable = false;
                if spliced.read > 0 {
                    exchange.uploaded(spliced.read, None)?;
                }
                if spliced.written > 0 && exchange.upload_wait == Wait::Server {
                    exchange.upload_wait = Wait::Nobody;
                }
                if !exchange.upload.is_done() || pipe.buffered() > 0 {
                    exchange.upload_pipe = Some(pipe);
                }
                Poll::Ready(Ok(Uploaded::Whole))
            }
            Poll::Ready(Err(SpliceError::Read(_))) => Poll::Ready(Err(Cause::ClientClosed)),
            Poll::Ready(Err(SpliceError::Write(_))) => Poll::Ready(Ok(Uploaded::Refused)),
            Poll::Pending => {
                let blocked_by_server = pipe.buffered() > 0;
                exchange.upload_pipe = Some(pipe);
                if blocked_by_server {
                    self.poll_send_deadline(cx)
                } else {
                    self.poll_body_deadline(cx)
                }
            }
        }
    }
}

/// What it is of a request that it cannot be sent as it is; none: the server is at fault.
fn unsendable(error: &io::Error) -> Option<Cause> {
    match error.kind() {
        io::ErrorKind::InvalidInput => Some(Cause::ClientMalformed),
        io::ErrorKind::Unsupported => Some(Cause::ClientUnsupported),
        _ => None,
    }
}

/// A pipe for the rest of a body that is long enough and nothing but data; none also where no descriptor is left.
pub(crate) fn splice_pipe(worker: &Worker, body: &BodyDecoder) -> Option<Pipe> {
    let worth_it = body.remaining().is_some_and(|left| left >= SPLICE_BYTES);
    if worth_it { worker.pipes.acquire().ok() } else { None }
}

impl Exchange {
    /// Forgets an earlier attempt; the request begins anew from what is in `inbound`.
    pub(crate) fn begin_attempt(&mut self) {
        self.restart_machine();
        self.upload = BodyDecoder::new(self.request.body);
        self.consumed = self.request.len;
        self.to_server.clear();
        self.partial.clear();
        self.upload_pipe = None;
        self.upload_wait = Wait::Nobody;
        self.download_wait = Wait::Nobody;
        self.upload_progress = 0;
        self.upload_refused = false;
        self.head_sent = true;
        self.client_ahead = false;
        self.server_ahead = false;
        self.report.nothing_sent = true;
        self.report.uploaded = None;
        self.report.bytes_in = 0;
    }

    /// Appends what is in `inbound` of the body, in the framing in which it is sent on.
    fn forward_prefix(&mut self, output: &mut Vec<u8>) -> Result<(), Cause> {
        while !self.upload.is_done() {
            let rest = self.inbound.get(self.consumed..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            let decoded = self
                .upload
                .forward(rest)
                .map_err(|error| self.report.malformed(error))?;
            output.extend_from_slice(rest.get(decoded.data).unwrap_or_default());
            self.consumed += decoded.consumed;
            self.report.bytes_in += decoded.consumed as u64;
        }
        self.close_upload(output);
        Ok(())
    }

    /// Passes newly read bytes through the framing. What can go on as it is comes back as a range of `bytes`, behind
    /// what is appended to `output`; also how many of them are this request's.
    fn forward_more(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(Range<usize>, usize), Cause> {
        let mut offset = 0;
        let mut direct = 0..0;
        while offset < bytes.len() && !self.upload.is_done() {
            let rest = bytes.get(offset..).unwrap_or_default();
            let decoded = self
                .upload
                .forward(rest)
                .map_err(|error| self.report.malformed(error))?;
            let data = offset + decoded.data.start..offset + decoded.data.end;
            offset += decoded.consumed;
            if !data.is_empty() {
                output.extend_from_slice(bytes.get(std::mem::replace(&mut direct, data)).unwrap_or_default());
            }
        }
        self.keep(bytes.get(..offset).unwrap_or_default());
        if self.upload.is_done() {
            // The rest is the next request's. All of `inbound` is this one's by now.
            self.inbound.extend_from_slice(bytes.get(offset..).unwrap_or_default());
            if self.upload.kind() == BodyKind::Chunked {
                output.extend_from_slice(bytes.get(std::mem::take(&mut direct)).unwrap_or_default());
                self.close_upload(output);
            }
        }
        Ok((direct, offset))
    }

    /// Whether the body is kept, so much more of it included, to be sent again.
    fn is_kept(&self, more: usize) -> bool {
        let kept = self.inbound.len().saturating_sub(self.request.len) + more;
        let to_come = self.upload.remaining().unwrap_or(0);
        self.replayable && (kept as u64).saturating_add(to_come) <= self.again.buffer as u64
    }

    /// Keeps a piece of the body behind the request's head, or lets go of it when it is too large.
    fn keep(&mut self, bytes: &[u8]) {
        if self.is_kept(bytes.len()) {
            self.inbound.extend_from_slice(bytes);
            self.consumed = self.inbound.len();
        } else if self.replayable {
            self.replayable = false;
            if self.again.buffer > 0 {
                self.inbound.truncate(self.request.len);
                self.inbound.shrink_to(KEPT_BUFFER_BYTES);
                self.consumed = self.inbound.len();
            }
        }
    }

    fn close_upload(&mut self, output: &mut Vec<u8>) {
        if self.upload.is_done() && self.upload.kind() == BodyKind::Chunked {
            write::last_chunk(output, self.upload.trailers());
        }
    }

    /// Counts body bytes: they are progress, and there may be too many of them.
    fn uploaded(&mut self, count: u64, max: Option<u64>) -> Result<(), Cause> {
        if self.request.expect_continue && self.report.bytes_in + count > 0 {
            self.continued();
        }
        self.report.bytes_in += count;
        self.upload_progress += count;
        if count > 0 && self.download_wait == Wait::Anybody {
            self.download_wait = Wait::Nobody;
        }
        if self.upload_progress >= ClientTimeouts::BODY_PROGRESS_BYTES || self.upload.is_done() {
            self.upload_progress = 0;
            self.upload_wait = Wait::Nobody;
        }
        if max.is_some_and(|max| self.report.bytes_in > max) {
            Err(Cause::ClientBodyTooLarge)
        } else {
            Ok(())
        }
    }
}
