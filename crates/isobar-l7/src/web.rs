//! How does a client that speaks gRPC-Web reach servers that speak gRPC?
//!
//! The head of its request is written anew where it was read, and its carrier is wrapped in one that reads and writes what the client
//! sends and gets as if it spoke gRPC in the form of HTTP/1. What becomes of a call in between knows nothing of all that.
//!
//! *Source*: gRPC's `PROTOCOL-WEB.md`.

mod inward;
mod outward;

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use isobar_observe::Cause;
use isobar_plan::HttpVersion;
use isobar_wire::grpc_web::{ContentType, GRPC, Spelling};
use isobar_wire::{BodyKind, HeadLimits, Known, Method, Parsed, RequestHead, Version, write};

use crate::carrier::Carrier;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::record::Detail;
use crate::{fields, request};
use inward::Inward;
use outward::Outward;

/// What is taken of a head that was written here. The client's own was within its limits.
const HEAD: HeadLimits = HeadLimits {
    max_bytes: 65_535,
    max_fields: 1_024,
};

/// The carrier of a client, for one call.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) carrier: Carrier,
    /// How its body is read; none: as it comes.
    inward: Option<Inward>,
    outward: Outward,
}

/// How bytes are written that are the last for now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// At once.
    Now,
    /// When the worker comes to it.
    Soon,
    /// Before the connection ends.
    Last,
}

/// Makes a call of gRPC out of a request of gRPC-Web, where its route wants that and its servers understand it.
///
/// Requests of HTTP/1.0 stay what they are: their answers have no chunks, and end where anything may have ended them.
///
/// *Errors*: what is here of its body is no text. The answer to that is one of gRPC-Web all the same.
pub(crate) fn bridge(client: &mut Client, exchange: &mut Exchange, version: HttpVersion) -> Result<(), Cause> {
    let request = &exchange.request;
    let may_be = version == HttpVersion::Http2
        && request.method == Method::Post
        && request.version != Version::Http10
        && !request.upgrade;
    let Some(Asked {
        spelling,
        answered,
        format,
    }) = may_be.then(|| asked(&exchange.inbound, request)).flatten()
    else {
        return Ok(());
    };
    let has_body = !matches!(request.body, BodyKind::None | BodyKind::Length(0));
    let mut inward = (spelling == Spelling::Text && has_body).then(|| Inward::new(request.body));
    let mut inbound = Vec::with_capacity(exchange.inbound.len() + 64);
    write_head(&mut inbound, &exchange.inbound, request, (&format, inward.is_some()));
    let body = exchange.inbound.get(request.len..).unwrap_or_default();
    let read = match &mut inward {
        Some(inward) => inward.read(body, &mut inbound),
        None => {
            inbound.extend_from_slice(body);
            Ok(())
        }
    };
    let version = request.version;
    let parsed = exchange.request.parse(&inbound, HEAD).map_err(request::cause_of)?;
    if parsed == Parsed::Partial {
        return Err(Cause::Internal);
    }
    exchange.request.version = version;
    exchange.inbound = inbound;
    exchange.consumed = exchange.request.len;
    let outward = Outward::new(answered, format);
    client.stream.wrap(|carrier| Web {
        carrier,
        inward,
        outward,
    });
    read.map_err(|detail| exchange.report.refuses(detail))
}

/// What a request of gRPC-Web asks for.
#[derive(Debug)]
struct Asked {
    spelling: Spelling,
    /// How its answer is to be spelled.
    answered: Spelling,
    format: Box<[u8]>,
}

fn asked(head: &[u8], request: &RequestHead) -> Option<Asked> {
    let read = |field: &isobar_wire::Field| ContentType::read(field.value.of(head));
    let content_type = request.fields.iter().find(|field| field.known == Known::ContentType)?;
    let ContentType { spelling, format } = read(content_type)?;
    let accepted = fields::named(head, &request.fields, b"accept");
    let accepted = accepted.flat_map(|value| value.split(|&byte| byte == b','));
    let accepted = accepted.filter_map(|value| ContentType::read(value.trim_ascii()));
    Some(Asked {
        spelling,
        answered: accepted.map(|accepted| accepted.spelling).next().unwrap_or(spelling),
        format: format.into(),
    })
}

/// Writes the head of the call, whose messages have this format. A body that is text becomes shorter, nobody knows by how much. What the client
/// accepts was meant for us.
fn write_head(out: &mut Vec<u8>, head: &[u8], request: &RequestHead, (format, changes_length): (&[u8], bool)) {
    write::request_line(out, request.method_name.of(head), request.target.of(head));
    fields::copy(out, head, &request.fields, |field| match field.known {
        Known::ContentType | Known::Te => false,
        Known::ContentLength | Known::TransferEncoding => !changes_length,
        _ => !["accept", "x-grpc-web"]
            .iter()
            .any(|name| field.name.of(head).eq_ignore_ascii_case(name.as_bytes())),
    });
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(GRPC);
    out.extend_from_slice(format);
    write::end(out);
    out.extend_from_slice(b"TE: trailers\r\n");
    if changes_length {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    write::end(out);
}

impl Web {
    /// Why no more can be read of the client's body; none: that is the connection's doing.
    pub(crate) fn fault(&self) -> Option<Detail> {
        self.inward.as_ref().and_then(Inward::fault)
    }

    /// Reads the body as a call of gRPC has it. `buf` has to be larger than [`Inward::ADDED_BYTES`], and what is read fits into it whole, so
    /// that nothing is left here that belongs to the next request.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { carrier, inward, .. } = self;
        let Some(inward) = inward else {
            return carrier.poll_read(cx, buf);
        };
        debug_assert!(buf.len() > Inward::ADDED_BYTES, "room for nothing");
        let room = buf.len().saturating_sub(Inward::ADDED_BYTES);
        loop {
            let count = ready!(carrier.poll_read(cx, buf.get_mut(..room).unwrap_or_default()))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            let read = inward.take(buf.get(..count).unwrap_or_default());
            let read = read.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
            if let (false, Some(buf)) = (read.is_empty(), buf.get_mut(..read.len())) {
                buf.copy_from_slice(read);
                return Poll::Ready(Ok(read.len()));
            }
        }
    }

    /// Writes an answer of gRPC as the client reads it.
    ///
    /// The answer is longer than what it was made of, and the client may take a part of it. So not all of `bytes` is said to be taken before
    /// the client has all that they became, and whoever calls again has to begin with those that were not.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8], manner: Manner) -> Poll<io::Result<usize>> {
        let Self { carrier, outward, .. } = self;
        outward.take(bytes.get(outward.owed()..).unwrap_or_default())?;
        let mut sent = 0;
        loop {
            let rest = outward.rest();
            if rest.is_empty() {
                outward.settle();
                return Poll::Ready(Ok(bytes.len()));
            }
            let written = match manner {
                Manner::Now => carrier.poll_write(cx, rest),
                Manner::Soon => carrier.poll_write_soon(cx, rest),
                Manner::Last => carrier.poll_write_last(cx, rest),
            };
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    outward.sent(count);
                    sent += count;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return outward.owe(bytes.len(), sent),
            }
        }
    }
}
