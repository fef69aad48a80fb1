//! How does the answer reach the client?

use std::mem;
use std::ops::Range;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use isobar_l4::throttle::Way;
use isobar_net::splice::{Pipe, SpliceError};
use isobar_observe::{Cause, GrpcStatus};
use isobar_plan::Reports;
use isobar_wire::exchange::{ResponseFraming, ResponseStep};
use isobar_wire::{BodyDecoder, BodyKind, Field, HeadError, HeadLimits, Parsed, ResponseHead, write};

use crate::again::{self, Declines};
use crate::exchange::Exchange;
use crate::flow::{Flow, Wait, poll_watch_patiently};
use crate::forward::Ways;
use crate::grpc::Pushback;
use crate::sticky;
use crate::upload::{Uploaded, splice_pipe};
use crate::{grpc, limits, reports, response};

/// What is taken of an answer's head at most. Ranges over a head are 16 bits wide.
const RESPONSE_HEAD: HeadLimits = HeadLimits {
    max_bytes: 64 * 1024 - 1,
    max_fields: 256,
};

/// Data up to this size is copied behind the head: cheaper than to have the kernel gather two pieces.
const COPIED_BYTES: usize = 4 * 1024;

/// What a read from the server came to.
enum Answer {
    /// The final one.
    Head(Reply),
    /// Only a part of it, or an interim answer.
    More,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Its head is on its way to the client.
    Begun,
    /// It is not passed on: another server is asked.
    Declined,
}

impl Flow<'_> {
    /// Sends the request, and waits until the head of the answer is on its way to the client, or declined.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Cause>> {
        // In the turn in which the request is sent, that time is now.
        let mut now = None;
        if !self.exchange.head_sent {
            self.send_request(cx)?;
            now = self.exchange.report.sent();
        }
        let upload = self.poll_upload(cx)?;
        loop {
            ready!(self.poll_client_takes(cx))?;
            match self.poll_answer_head(cx)? {
                Poll::Ready(Answer::Head(reply)) => return Poll::Ready(Ok(reply)),
                Poll::Ready(Answer::More) => {
                    self.exchange.report.took_longer();
                    self.exchange.download_wait = Wait::Nobody;
                }
                Poll::Pending => break,
            }
        }
        if upload.is_pending() {
            if self.exchange.awaits_continue() {
                return self.poll_head_deadline(cx, now).map(Err);
            }
            return match self.exchange.is_stream() {
                true => self.poll_silence(cx).map(Err),
                false => self.poll_upload_deadline(cx).map(Err),
            };
        }
        if let Poll::Ready(cause) = poll_watch_patiently(cx, self.ways, self.client, self.exchange) {
            return Poll::Ready(Err(cause));
        }
        self.poll_head_deadline(cx, now).map(Err)
    }

    /// Reads once from the server, for the head.
    fn poll_answer_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Cause>> {
        let worker = self.ways.worker;
        worker.scratch.with(|input, output| {
            let count = match self.server.stream.poll_read(cx, input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => count,
                // A part of an answer is one: the request was taken, and is not sent again.
                Poll::Ready(_) if !self.exchange.partial.is_empty() => {
                    return Poll::Ready(Err(Cause::ServerMalformed));
                }
                Poll::Ready(_) => return Poll::Ready(Err(Cause::ServerClosed)),
            };
            let bytes = input.get(..count).unwrap_or_default();
            self.exchange.report.first_byte(worker);
            if self.exchange.partial.is_empty() {
                return Poll::Ready(self.take_heads(cx, bytes, output));
            }
            let mut held = mem::take(&mut self.exchange.partial);
            held.extend_from_slice(bytes);
            let answer = self.take_heads(cx, &held, output);
            if self.exchange.partial.is_empty() {
                held.clear();
                self.exchange.partial = held;
            }
            Poll::Ready(answer)
        })
    }

    /// Takes the heads at the front of `bytes`, with the worker's room for their fields: they are needed in this turn
    /// only, and a thousand exchanges with room of their own would not fit the cache.
    fn take_heads(&mut self, cx: &mut Context<'_>, bytes: &[u8], output: &mut Vec<u8>) -> Result<Answer, Cause> {
        let worker = self.ways.worker;
        mem::swap(
            &mut self.exchange.response.fields,
            &mut worker.response_fields.borrow_mut(),
        );
        let answer = self.take_each_head(cx, bytes, output);
        mem::swap(
            &mut self.exchange.response.fields,
            &mut worker.response_fields.borrow_mut(),
        );
        answer
    }

    /// Takes interim heads, then the final one with the beginning of its body.
    fn take_each_head(
        &mut self,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Answer, Cause> {
        loop {
            let kind = self.exchange.request.kind();
            let parsed = self.exchange.response.parse(bytes, kind, RESPONSE_HEAD);
            match parsed.map_err(malformed)? {
                Parsed::Partial => {
                    self.exchange.partial.extend_from_slice(bytes);
                    return self.write_client(cx, output, &[]).map(|()| Answer::More);
                }
                Parsed::Complete => {}
            }
            let (head, rest) = bytes
                .split_at_checked(self.exchange.response.len)
                .unwrap_or((bytes, &[]));
            let may_stay = self.client.may_stay(self.ways.worker);
            match self.exchange.take_response(may_stay) {
                ResponseStep::Interim => response::compose_interim(output, &self.exchange.response, head),
                ResponseStep::Swallowed => {}
                ResponseStep::Refused => return Err(Cause::ServerMalformed),
                // The rest of the request would be read as the other protocol.
                ResponseStep::Tunnel if !self.exchange.is_upload_sent() => return Err(Cause::ServerMalformed),
                ResponseStep::Tunnel if !self.client.stream.is_proof(proof(head, &self.exchange.response)) => {
                    return Err(Cause::ServerMalformed);
                }
                ResponseStep::Tunnel => {
                    self.begin_answer(head, output);
                    self.exchange.report.bytes_out += rest.len() as u64;
                    self.write_client(cx, output, rest)?;
                    return Ok(Answer::Head(Reply::Begun));
                }
                ResponseStep::Final if self.declines(head, rest) => return Ok(Answer::Head(Reply::Declined)),
                ResponseStep::Final => {
                    self.begin_answer(head, output);
                    self.relay(cx, output, rest)?;
                    return Ok(Answer::Head(Reply::Begun));
                }
            }
            bytes = rest;
        }
    }

    /// Whether an answer is not passed on. What is there of its body is looked at, so that the connection may be kept.
    fn declines(&mut self, head: &[u8], rest: &[u8]) -> bool {
        let Self { ways, exchange, .. } = self;
        let on = &ways.rules.retry.on;
        if on.statuses.0.is_empty() && on.grpc.is_empty() && exchange.again.declines == Declines::ByTheRules {
            return false;
        }
        let said = exchange.report.call.and_then(|_| said(head, &exchange.response));
        let after = match said.map(|_| grpc::pushback(named(head, &exchange.response))) {
            Some(Some(Pushback::Never)) => return false,
            Some(Some(Pushback::After(after))) => Some(after),
            Some(None) => None,
            None => retry_after_s(head, &exchange.response).map(|seconds| Duration::from_secs(seconds.into())),
        };
        let declines = again::declines(ways, exchange, said, after);
        if declines {
            take_report(ways, exchange, head);
            exchange.skim(rest);
        }
        declines
    }

    /// The final head is known: decides how its body goes on, and writes the head for the client.
    fn begin_answer(&mut self, head: &[u8], output: &mut Vec<u8>) {
        let Self {
            ways, client, exchange, ..
        } = self;
        exchange.download = BodyDecoder::new(exchange.response.body);
        exchange.download_wait = Wait::Nobody;
        exchange.report.passes_on(exchange.response.status);
        if exchange.response.status >= 500 {
            exchange.report.retry_after_s = retry_after_s(head, &exchange.response);
        }
        exchange.take_status(head);
        limits::settle_by_head(exchange, head);
        sticky::answered(ways, exchange, head);
        take_report(ways, exchange, head);
        response::compose(output, ways, client, exchange, head);
    }

    /// Passes the body on until the server has sent all of it.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        match self.poll_upload(cx) {
            Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
            Poll::Ready(Ok(Uploaded::Whole | Uploaded::Refused)) | Poll::Pending => {}
        }
        loop {
            if self.exchange.download.is_done() && self.exchange.download_pipe.is_none() {
                return Poll::Ready(Ok(()));
            }
            self.exchange.report.took_longer();
            ready!(self.poll_client_takes(cx))?;
            let moved = match self.exchange.download_pipe.take().or_else(|| self.splice_download()) {
                Some(pipe) => self.poll_download_splice(cx, pipe),
                None => self.poll_download_read(cx),
            };
            match moved {
                Poll::Ready(Ok(())) => self.exchange.download_wait = Wait::Nobody,
                Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                Poll::Pending => return self.poll_stalled(cx),
            }
        }
    }

    /// Sends the client what it has not taken yet; ready when that is all.
    fn poll_client_takes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        let before = self.exchange.to_client.left();
        match self.exchange.to_client.poll_flush(cx, &mut self.client.stream) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_| Cause::ClientClosed)),
            Poll::Pending => {
                if self.exchange.to_client.left() < before {
                    self.exchange.download_wait = Wait::Nobody;
                }
                self.poll_client_deadline(cx).map(Err)
            }
        }
    }

    /// Nothing moves towards the client: somebody's deadline runs.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        if self.client.stream.is_held(Way::Down) {
            return self.poll_held(cx).map(Err);
        }
        if self
            .exchange
            .download_pipe
            .as_ref()
            .is_some_and(|pipe| pipe.buffered() > 0)
        {
            return self.poll_client_deadline(cx).map(Err);
        }
        if self.exchange.upload.is_done()
            && let Poll::Ready(cause) = poll_watch_patiently(cx, self.ways, self.client, self.exchange)
        {
            return Poll::Ready(Err(cause));
        }
        match self.exchange.is_stream() {
            true => self.poll_silence(cx).map(Err),
            false => self.poll_server_deadline(cx).map(Err),
        }
    }

    fn poll_download_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        let worker = self.ways.worker;
        worker
            .scratch
            .with(|input, output| match self.server.stream.poll_read(cx, input) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(0)) => Poll::Ready(self.end_of_server(cx, output)),
                Poll::Ready(Ok(count)) => Poll::Ready(self.relay(cx, output, input.get(..count).unwrap_or_default())),
                Poll::Ready(Err(_)) => Poll::Ready(Err(Cause::ServerAborted)),
            })
    }

    /// The server closed its connection, which ends a body without framing, and cuts any other short.
    fn end_of_server(&mut self, cx: &mut Context<'_>, output: &mut Vec<u8>) -> Result<(), Cause> {
        self.exchange.server_ended();
        self.exchange
            .download
            .finish_at_eof()
            .map_err(|_| Cause::ServerAborted)?;
        if self.exchange.framing == ResponseFraming::IntoChunks {
            write::last_chunk(output, &[]);
        }
        self.write_client(cx, output, &[])
    }

    /// Writes `output`, and behind it `body` in the framing the client is told.
    fn relay(&mut self, cx: &mut Context<'_>, output: &mut Vec<u8>, body: &[u8]) -> Result<(), Cause> {
        let reports = self.ways.reports.as_deref();
        let direct = self.exchange.frame(body, output, reports)?;
        if self.exchange.download.is_done()
            && let Some(call) = &mut self.exchange.report.call
        {
            let trailers = reports::trailers(self.exchange.download.trailers());
            call.said = call.said.or_else(|| grpc::status(trailers));
        }
        if let Some(reports) = reports
            && self.exchange.download.is_done()
        {
            let trailers = reports::trailers(self.exchange.download.trailers());
            reports::take(reports, self.ways.worker, self.exchange, trailers);
        }
        let data = body.get(direct).unwrap_or_default();
        if !output.is_empty() && data.len() <= COPIED_BYTES {
            output.extend_from_slice(data);
            let whole = self.exchange.download.is_done() && self.exchange.upload.is_done();
            let Self { client, exchange, .. } = self;
            let written = if exchange.is_last() {
                exchange.to_client.write_last(cx, &mut client.stream, output)
            } else if whole {
                exchange.to_client.write_soon(cx, &mut client.stream, output).map(drop)
            } else {
                exchange.to_client.write(cx, &mut client.stream, output, &[]).map(drop)
            };
            return written.map_err(|_| Cause::ClientClosed);
        }
        self.write_client(cx, output, data)
    }

    fn write_client(&mut self, cx: &mut Context<'_>, head: &[u8], data: &[u8]) -> Result<(), Cause> {
        let written = self.exchange.to_client.write(cx, &mut self.client.stream, head, data);
        written.map(|_| ()).map_err(|_| Cause::ClientClosed)
    }

    fn splice_download(&self) -> Option<Pipe> {
        let exchange = &self.exchange;
        match exchange.framing {
            _ if !self.is_plain() => None,
            ResponseFraming::Length(_) | ResponseFraming::UntilClose => {
                splice_pipe(self.ways.worker, &exchange.download)
            }
            ResponseFraming::None | ResponseFraming::Chunked | ResponseFraming::IntoChunks => None,
        }
    }

    fn poll_download_splice(&mut self, cx: &mut Context<'_>, mut pipe: Pipe) -> Poll<Result<(), Cause>> {
        let Self {
            client,
            server,
            exchange,
            ..
        } = self;
        let Poll::Ready(turn) = client.stream.poll_turn(cx, Way::Down) else {
            exchange.download_pipe = Some(pipe);
            return Poll::Pending;
        };
        let limit = exchange.download.remaining().unwrap_or(0).min(turn);
        let (Some(to_client), Some(server)) = (client.stream.connection(), server.stream.connection()) else {
            return Poll::Ready(Err(Cause::Internal));
        };
        match pipe.poll_splice(cx, server, to_client, limit) {
            Poll::Ready(Ok(spliced)) => {
                client.stream.moved(Way::Down, spliced.written);
                exchange.download.advance(spliced.read);
                exchange.report.bytes_out += spliced.read;
                let ended = if spliced.eof {
                    exchange.server_ended();
                    exchange.download.finish_at_eof()
                } else {
                    Ok(())
                };
                if !exchange.download.is_done() || pipe.buffered() > 0 {
                    exchange.download_pipe = Some(pipe);
                }
                Poll::Ready(ended.map_err(|_| Cause::ServerAborted))
            }
            Poll::Ready(Err(SpliceError::Read(_))) => Poll::Ready(Err(Cause::ServerAborted)),
            Poll::Ready(Err(SpliceError::Write(_))) => Poll::Ready(Err(Cause::ClientClosed)),
            Poll::Pending => {
                exchange.download_pipe = Some(pipe);
                Poll::Pending
            }
        }
    }
}

/// What a call came to, where its answer is nothing but a head.
fn said(head: &[u8], response: &ResponseHead) -> Option<GrpcStatus> {
    if !matches!(response.body, BodyKind::None | BodyKind::Length(0)) {
        return None;
    }
    grpc::status(named(head, response))
}

/// The fields of a head.
fn named<'a>(head: &'a [u8], response: &'a ResponseHead) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let fields = response.fields.iter();
    fields.map(|field| (field.name.of(head), field.value.of(head)))
}

/// What `Retry-After` says in seconds, one day at most; a date is not looked at.
#[cold]
fn retry_after_s(head: &[u8], response: &ResponseHead) -> Option<u16> {
    let field = |name: &&Field| name.name.of(head).eq_ignore_ascii_case(b"retry-after");
    let value = response.fields.iter().find(field)?.value.of(head);
    let seconds = std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok()?;
    Some(u16::try_from(seconds).unwrap_or(u16::MAX))
}

/// Takes in what the head of an answer says of the server's load, where the upstream goes by that.
fn take_report(ways: &Ways<'_>, exchange: &Exchange, head: &[u8]) {
    if let Some(reports) = &ways.reports {
        reports::take(reports, ways.worker, exchange, named(head, &exchange.response));
    }
}

/// How a server proves that it goes on as it was asked to (RFC 6455 section 4.2.2).
fn proof<'h>(head: &'h [u8], response: &ResponseHead) -> Option<&'h [u8]> {
    let is_proof = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(b"sec-websocket-accept");
    response.fields.iter().find(is_proof).map(|field| field.value.of(head))
}

fn malformed(error: HeadError) -> Cause {
    match error {
        HeadError::HeadTooLarge | HeadError::TooManyFields => Cause::ServerHeadTooLarge,
        _ => Cause::ServerMalformed,
    }
}

impl Exchange {
    /// Takes the status of a call from the head of an answer that consists of nothing else.
    fn take_status(&mut self, head: &[u8]) {
        if let Some(call) = &mut self.report.call {
            call.said = said(head, &self.response);
        }
    }

    /// Passes over the body of an answer that nobody reads.
    fn skim(&mut self, bytes: &[u8]) {
        self.download = BodyDecoder::new(self.response.body);
        let mut offset = 0;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            match self.download.decode(rest) {
                Ok(decoded) if decoded.consumed > 0 => offset += decoded.consumed,
                _ => break,
            }
        }
        self.server_ahead |= offset < bytes.len();
    }

    /// Passes bytes of the server through the body's framing. What can go on as it is comes back as a range of
    /// `bytes`, behind what is appended to `output`.
    fn frame(&mut self, bytes: &[u8], output: &mut Vec<u8>, reports: Option<&Reports>) -> Result<Range<usize>, Cause> {
        let mut offset = 0;
        let mut direct = 0..0;
        while offset < bytes.len() && !self.download.is_done() {
            let rest = bytes.get(offset..).unwrap_or_default();
            let verbatim = self.framing == ResponseFraming::Chunked;
            let decoded = if verbatim {
                self.download.forward(rest)
            } else {
                self.download.decode(rest)
            };
            let decoded = decoded.map_err(|_| Cause::ServerAborted)?;
            let data = offset + decoded.data.start..offset + decoded.data.end;
            offset += decoded.consumed;
            self.report.bytes_out += data.len() as u64;
            if data.is_empty() {
                continue;
            }
            if self.framing == ResponseFraming::IntoChunks {
                write::chunk_head(output, data.len());
                output.extend_from_slice(bytes.get(data).unwrap_or_default());
                write::end(output);
            } else {
                output.extend_from_slice(bytes.get(mem::replace(&mut direct, data)).unwrap_or_default());
            }
        }
        // What a server sends behind the end of its answer belongs to nobody.
        self.server_ahead |= offset < bytes.len();
        if self.download.is_done() && self.framing == ResponseFraming::Chunked {
            output.extend_from_slice(bytes.get(mem::take(&mut direct)).unwrap_or_default());
            reports::write_last_chunk(output, self.download.trailers(), reports);
        }
        Ok(direct)
    }
}
