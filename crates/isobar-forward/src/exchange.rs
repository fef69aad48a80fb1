//! How do a request and its answer move, both at once?

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use isobar_l4::Side;
use isobar_net::stream::Stream;
use isobar_observe::Cause;
use isobar_plan::ClientTimeouts;
use isobar_wire::exchange::{Exchange as Machine, ResponseFraming, ResponseStep};
use isobar_wire::{BodyDecoder, BodyKind, HeadLimits, Parsed, RequestHead, ResponseHead, write};

use crate::Worker;
use crate::compose::{self, IsForParent};
use crate::connection::Client;
use crate::outgoing::Outgoing;
use crate::tunnel::Early;

/// What is taken of the head of an answer.
const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 64 * 1024 - 1,
    max_fields: 256,
};

/// Turns that an exchange takes before other tasks have theirs.
const MAX_TURNS: u32 = 16;

/// Two connections, and the request and answer between them.
pub(crate) struct Exchange<'a> {
    client: &'a mut Client,
    server: &'a mut Stream,
    request: &'a RequestHead,
    /// What the client sent behind the head.
    inbound: &'a mut Vec<u8>,
    machine: Machine,
    upload: BodyDecoder,
    to_server: Outgoing,
    /// Whether the server takes no more of the request.
    upload_refused: bool,
    response: ResponseHead,
    /// What the server sent and nobody has read.
    received: Vec<u8>,
    /// The body of the answer; none: its head is not there yet.
    download: Option<BodyDecoder>,
    framing: ResponseFraming,
    to_client: Outgoing,
}

/// How an exchange ended well.
pub(crate) enum Done {
    /// The answer was sent.
    Answered {
        /// Whether the client's connection may carry another request.
        client_keeps: bool,
        /// Whether the server's may.
        server_keeps: bool,
    },
    /// Both sides went over to another protocol.
    Switched(Early),
}

/// How one did not.
pub(crate) struct Failed {
    pub(crate) cause: Cause,
    /// Whether the client cannot tell the end of what it got from the end of the answer.
    pub(crate) is_cut: bool,
}

/// What is waited for.
#[derive(Debug, Default)]
struct Waits {
    /// What it is called when that takes too long; none: nothing yet, so that there is a new deadline.
    late: Option<Cause>,
    /// What the client had sent of its body when the deadline was set.
    uploaded: u64,
}

/// Whether a direction has moved.
#[derive(PartialEq, Eq)]
enum Turn {
    Moved,
    Still,
}

impl<'a> Exchange<'a> {
    /// An exchange, and the head that is sent.
    pub(crate) fn new(
        client: &'a mut Client,
        server: &'a mut Stream,
        (request, inbound): (&'a RequestHead, &'a mut Vec<u8>),
        head: &[u8],
    ) -> Self {
        let mut to_server = Outgoing::default();
        to_server.end().extend_from_slice(head);
        Self {
            client,
            server,
            request,
            inbound,
            machine: Machine::new(request),
            upload: BodyDecoder::new(request.body),
            to_server,
            upload_refused: false,
            response: ResponseHead::new(),
            received: Vec::new(),
            download: None,
            framing: ResponseFraming::None,
            to_client: Outgoing::default(),
        }
    }

    /// Carries it to its end.
    pub(crate) async fn run(mut self, worker: &Worker, is_for_parent: IsForParent) -> Result<Done, Failed> {
        if self.client.stream.watch().is_err() {
            return Err(self.failed(Cause::OutOfResources));
        }
        let mut waits = Waits::default();
        let result = poll_fn(|cx| self.poll(cx, worker, (is_for_parent, &mut waits))).await;
        if matches!(result, Err(Cause::ServerAborted)) {
            // What came before is the client's, as far as it takes it at once.
            let (out, stream) = (&mut self.to_client, &mut self.client.stream);
            let _ = poll_fn(|cx| Poll::Ready(out.poll_flush(cx, stream).is_ready())).await;
        }
        result.map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: Cause) -> Failed {
        Failed {
            cause,
            is_cut: self.download.is_some() && self.framing == ResponseFraming::UntilClose,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        (is_for_parent, waits): (IsForParent, &mut Waits),
    ) -> Poll<Result<Done, Cause>> {
        for turn in 0.. {
            let up = self.poll_upload(cx, worker)?;
            let down = self.poll_download(cx, worker, is_for_parent)?;
            if self.response.upgrade && self.download.is_some() {
                return Poll::Ready(Ok(Done::Switched(Early {
                    to_server: self.to_server.take(),
                    to_client: self.to_client.take(),
                })));
            }
            if self.is_over() {
                return Poll::Ready(Ok(Done::Answered {
                    client_keeps: self.machine.client_keeps(),
                    server_keeps: self.machine.server_keeps() && self.received.is_empty(),
                }));
            }
            if up == Turn::Still && down == Turn::Still {
                break;
            }
            self.moves_on(waits);
            if turn == MAX_TURNS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.client.is_held() {
            *waits = Waits::default();
        }
        let (late, patience) = self.waits_for();
        if waits.late != Some(late) {
            *waits = Waits {
                late: Some(late),
                uploaded: self.client.report.bytes_in,
            };
            self.client.timer.set(worker.shared.wheel.now() + patience);
        }
        // A client that said this is its last request may have closed its sending side.
        if self.upload.is_done() && self.request.keep_alive && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Cause::ClientClosed));
        }
        self.client.poll_end(cx, worker, late).map(Err)
    }

    /// Something moved, so that there is time again: for a client's body only where that is more than a byte now and then.
    fn moves_on(&self, waits: &mut Waits) {
        let uploaded = self.client.report.bytes_in.saturating_sub(waits.uploaded);
        let is_progress = uploaded >= ClientTimeouts::BODY_PROGRESS_BYTES || self.upload.is_done();
        if waits.late != Some(Cause::ClientBodyTimeout) || is_progress {
            waits.late = None;
        }
    }

    fn is_over(&self) -> bool {
        self.to_client.is_empty() && self.download.as_ref().is_some_and(BodyDecoder::is_done)
    }

    /// Whom it waits for, as what is the matter when that takes too long.
    fn waits_for(&self) -> (Cause, Duration) {
        let listener = &self.client.site.listener;
        let sends = !self.upload.is_done() && self.to_server.is_empty() && !self.machine.needs_continue();
        if !self.to_client.is_empty() {
            (Cause::ClientWriteTimeout, listener.timeouts.write)
        } else if sends && self.download.is_none() {
            (Cause::ClientBodyTimeout, listener.timeouts.body)
        } else {
            (Cause::ReadTimeout, listener.waits.read)
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Result<Turn, Cause> {
        if self.upload_refused {
            return Ok(Turn::Still);
        }
        match self.to_server.poll_flush(cx, self.server) {
            Poll::Pending => return Ok(Turn::Still),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                // It may have answered all the same.
                self.upload_refused = true;
                self.machine.close_client();
                return Ok(Turn::Moved);
            }
        }
        if self.upload.is_done() {
            self.machine.request_body_done();
            return Ok(Turn::Still);
        }
        if self.inbound.is_empty() {
            match self.client.poll_body(cx, worker, self.inbound) {
                Poll::Pending => return Ok(Turn::Still),
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Err(Cause::ClientClosed),
            }
        }
        self.machine.continued();
        self.take_upload()?;
        Ok(Turn::Moved)
    }

    fn take_upload(&mut self) -> Result<(), Cause> {
        let mut at = 0;
        let out = self.to_server.end();
        while !self.upload.is_done()
            && let Some(rest) = self.inbound.get(at..).filter(|rest| !rest.is_empty())
        {
            let decoded = self.upload.forward(rest).map_err(|_| Cause::ClientMalformed)?;
            let data = rest.get(decoded.data).unwrap_or_default();
            self.client.report.bytes_in += data.len() as u64;
            out.extend_from_slice(data);
            at += decoded.consumed;
        }
        self.inbound.drain(..at);
        if self.upload.is_done() && self.request.body == BodyKind::Chunked {
            write::last_chunk(out, self.upload.trailers());
        }
        Ok(())
    }

    fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        is_for_parent: IsForParent,
    ) -> Result<Turn, Cause> {
        match self.client.poll_flush(cx, &mut self.to_client) {
            Poll::Pending => return Ok(Turn::Still),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Err(Cause::ClientClosed),
        }
        if self.is_over() {
            return Ok(Turn::Still);
        }
        match read(cx, worker, self.server, &mut self.received) {
            Poll::Pending => return Ok(Turn::Still),
            Poll::Ready(true) => {}
            Poll::Ready(false) => {
                self.server_ends()?;
                return Ok(Turn::Moved);
            }
        }
        if self.download.is_none() {
            self.take_head(worker, is_for_parent)?;
        }
        if !self.response.upgrade {
            self.take_download()?;
        }
        Ok(Turn::Moved)
    }

    fn take_head(&mut self, worker: &Worker, is_for_parent: IsForParent) -> Result<(), Cause> {
        while self.download.is_none() {
            let parsed = self.response.parse(&self.received, self.request.kind(), LIMITS);
            match parsed {
                Ok(Parsed::Partial) => return Ok(()),
                Ok(Parsed::Complete) => {}
                Err(error) => return Err(self.client.report.explain(error, Cause::ServerMalformed)),
            }
            if is_for_parent == IsForParent::Yes && self.response.status == 407 {
                let why = "the parent proxy does not take the user name and the password";
                return Err(self.client.report.explain(why, Cause::ParentRefused));
            }
            let (head, out) = (&self.received, self.to_client.end());
            match self.machine.response_head(&self.response) {
                ResponseStep::Interim => compose::interim(out, &self.response, head),
                ResponseStep::Swallowed => {}
                ResponseStep::Refused => return Err(Cause::ServerMalformed),
                ResponseStep::Final | ResponseStep::Tunnel => {
                    // An answer before the end of the request: nobody knows whether that end will come.
                    if !self.upload.is_done() || !self.client.may_stay(worker) {
                        self.machine.close_client();
                    }
                    self.framing = self.machine.response_framing(self.request.version);
                    compose::response(out, (&self.response, head), &self.machine, self.request.version);
                    self.download = Some(BodyDecoder::new(self.response.body));
                    self.client.report.status = self.response.status;
                    self.client.report.first_byte = Some(worker.shared.wheel.now());
                }
            }
            self.received.drain(..self.response.len);
        }
        if self.response.upgrade {
            out_append(&mut self.to_client, &mut self.received);
        }
        Ok(())
    }

    fn take_download(&mut self) -> Result<(), Cause> {
        let Some(body) = &mut self.download else { return Ok(()) };
        let out = self.to_client.end();
        let mut at = 0;
        while !body.is_done()
            && let Some(rest) = self.received.get(at..).filter(|rest| !rest.is_empty())
        {
            let decoded = match self.framing {
                ResponseFraming::Chunked => body.forward(rest),
                _ => body.decode(rest),
            };
            let decoded = decoded.map_err(|_| Cause::ServerAborted)?;
            let data = rest.get(decoded.data).unwrap_or_default();
            self.client.report.bytes_out += data.len() as u64;
            if self.framing == ResponseFraming::IntoChunks && !data.is_empty() {
                write::chunk_head(out, data.len());
                out.extend_from_slice(data);
                write::end(out);
            } else {
                out.extend_from_slice(data);
            }
            at += decoded.consumed;
        }
        self.received.drain(..at);
        if body.is_done() {
            self.ends_answer();
        }
        Ok(())
    }

    fn server_ends(&mut self) -> Result<(), Cause> {
        self.machine.server_eof();
        let Some(body) = &mut self.download else {
            return Err(Cause::ServerClosed);
        };
        body.finish_at_eof().map_err(|_| Cause::ServerAborted)?;
        self.ends_answer();
        Ok(())
    }

    fn ends_answer(&mut self) {
        self.machine.response_body_done();
        let trailers = self.download.as_ref().map_or(&b""[..], BodyDecoder::trailers);
        match self.framing {
            ResponseFraming::Chunked => write::last_chunk(self.to_client.end(), trailers),
            ResponseFraming::IntoChunks => write::last_chunk(self.to_client.end(), b""),
            _ => {}
        }
    }
}

/// What the server sent behind the head of its answer is the other protocol's.
fn out_append(to: &mut Outgoing, from: &mut Vec<u8>) {
    to.end().append(from);
}

/// Reads behind what there is; ready, and false: that was the end.
pub(crate) fn read(cx: &mut Context<'_>, worker: &Worker, from: &mut impl Side, into: &mut Vec<u8>) -> Poll<bool> {
    worker.shared.scratch.with_input(|input| {
        from.poll_read(cx, input).map(|read| match read {
            Ok(count) if count > 0 => {
                into.extend_from_slice(input.get(..count).unwrap_or_default());
                true
            }
            _ => false,
        })
    })
}
