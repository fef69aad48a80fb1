//! What does the client read when no server's answer can be passed on?

use std::future::poll_fn;
use std::io::Write as _;
use std::sync::Arc;

use isobar_observe::{Cause, Fault, GrpcStatus};
use isobar_wire::exchange::ResponseFraming;
use isobar_wire::{Method, Version, write};

use crate::Worker;
use crate::connection::Client;
use crate::exchange::{Exchange, Next};
use crate::flow::Wait;
use crate::grpc;
use crate::limits;
use crate::record::Detail;

/// Ends an exchange that failed: with an answer where none has begun, by cutting the connection otherwise. A call of gRPC is told
/// why in its own words, also where its answer has begun.
pub(crate) async fn refuse(worker: &Worker, client: &mut Client, exchange: &mut Exchange, cause: Cause) -> Next {
    // Nothing is under way any more: a client that comes again when it has read this finds its place free.
    exchange.limited.end();
    let call = cause.grpc_answer().filter(|_| grpc::is_named_call(exchange));
    if let Some(status) = call
        && (!exchange.report.answer_begun || grpc::may_end(exchange))
    {
        return end_call(worker, client, exchange, (status, cause)).await;
    }
    let Some(status) = cause.status().filter(|_| !exchange.report.answer_begun) else {
        if exchange.report.answer_begun && exchange.framing == ResponseFraming::UntilClose {
            // Only a reset tells this client that the end is not the end.
            client.stream.reset_on_close();
        }
        exchange.report.end(cause);
        return Next::Close;
    };
    let stay = stay(worker, client, exchange, cause);
    let limit = exchange
        .limited
        .refusal
        .as_ref()
        .map(|refusal| Arc::clone(&refusal.limit));
    let own = limit
        .as_ref()
        .filter(|_| cause.is_limit())
        .map(|limit| &limit.settings().answer);
    let status = own
        .filter(|_| cause != Cause::LimitDenied)
        .map_or(status, |own| own.status);
    let text = match own.and_then(|own| own.body.as_deref()) {
        Some(body) => body.to_owned(),
        None => explanation(status, cause, exchange.report.detail),
    };
    exchange.report.answers(status);
    exchange.report.bytes_out = if exchange.request.method == Method::Head {
        0
    } else {
        text.len() as u64
    };
    worker.scratch.with(|_, output| {
        let kind = own.filter(|own| own.body.is_some());
        let kind = kind.map_or("text/plain; charset=utf-8", |own| &own.content_type);
        compose(output, exchange, status, (kind, text.len()), stay);
        output.extend_from_slice(crate::secure::hsts(client));
        if let (Cause::RedirectedToTls, Some(port)) = (cause, client.site.site.listener.redirect_to_tls) {
            write_location(output, exchange, port);
        }
        write::end(output);
        if exchange.request.method != Method::Head {
            output.extend_from_slice(text.as_bytes());
        }
        exchange.to_client.push(output);
    });
    flush(worker, client, exchange, (cause, stay)).await
}

/// Ends a call with its status: in the head of an answer that is nothing else, or behind what has been sent of one.
async fn end_call(
    worker: &Worker,
    client: &mut Client,
    exchange: &mut Exchange,
    (status, cause): (GrpcStatus, Cause),
) -> Next {
    let stay = match exchange.report.answer_begun {
        true => Stay::Close,
        false => stay(worker, client, exchange, cause),
    };
    worker.scratch.with(|_, output| {
        if exchange.report.answer_begun {
            output.extend_from_slice(b"0\r\n");
        } else {
            write::status_line(output, Version::Http11, 200, b"OK");
            output.extend_from_slice(b"Content-Type: application/grpc\r\nContent-Length: 0\r\n");
            write_stay(output, exchange, stay);
            output.extend_from_slice(crate::secure::hsts(client));
            output.extend_from_slice(&exchange.limited.fields);
            let retry_in = exchange.limited.refusal.as_ref().and_then(|refusal| refusal.retry_in);
            grpc::write_pushback(output, retry_in);
        }
        grpc::write_status(output, status, cause, exchange.report.detail);
        write::end(output);
        exchange.to_client.push(output);
    });
    exchange.report.tells(status);
    flush(worker, client, exchange, (cause, stay)).await
}

/// Whether the connection of a failed exchange may stay open.
fn stay(worker: &Worker, client: &Client, exchange: &mut Exchange, cause: Cause) -> Stay {
    // Bytes of a request whose end is not known cannot be told from the next request.
    // A client that does not speak as it should may mean something else by what it sends next.
    let understood = cause.fault() != Fault::Client
        || matches!(cause, Cause::NoRoute | Cause::ClientBodyTooLarge)
        || cause.is_limit()
        || cause.is_overload();
    if understood && exchange.is_request_over() && client.may_stay(worker) && exchange.request.keep_alive {
        Stay::Open
    } else {
        Stay::Close
    }
}

/// Waits until the client has taken the last of its answer.
async fn flush(worker: &Worker, client: &mut Client, exchange: &mut Exchange, (cause, stay): (Cause, Stay)) -> Next {
    exchange.download_wait = Wait::Nobody;
    client
        .timer
        .set(worker.wheel.now() + client.site.site.listener.timeouts.write);
    let flushed = poll_fn(|cx| {
        let flushed = exchange
            .to_client
            .poll_flush(cx, &mut client.stream)
            .map(|result| result.is_ok());
        if flushed.is_pending() {
            client.timer.poll_expired(cx).map(|()| false)
        } else {
            flushed
        }
    })
    .await;
    exchange.report.end(cause);
    match (flushed, stay) {
        (true, Stay::Open) => Next::KeepAlive,
        (true, Stay::Close) => Next::Linger,
        (false, _) => Next::Close,
    }
}

/// Whether the connection stays open behind the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    Open,
    Close,
}

/// The body of the answer: the status, the cause in a sentence, and what exactly was wrong with the request.
fn explanation(status: u16, cause: Cause, detail: Option<Detail>) -> String {
    let (reason, meaning) = (write::reason_phrase(status), cause.meaning());
    match detail {
        Some(detail) => format!("{status} {reason}: {detail}. {meaning}\n"),
        None => format!("{status} {reason}: {meaning}\n"),
    }
}

/// Writes what every head has.
fn compose(output: &mut Vec<u8>, exchange: &Exchange, status: u16, (kind, length): (&str, usize), stay: Stay) {
    write::status_line(output, Version::Http11, status, write::reason_phrase(status).as_bytes());
    // Writing into a Vec cannot fail.
    let _ = write!(output, "Content-Type: {kind}\r\nContent-Length: {length}\r\n");
    output.extend_from_slice(&exchange.limited.fields);
    if let Some(refusal) = &exchange.limited.refusal {
        limits::write_retry_after(output, refusal.retry_in);
    } else if matches!(status, 429 | 503) {
        output.extend_from_slice(b"Retry-After: 1\r\n");
    }
    write_stay(output, exchange, stay);
}

fn write_stay(output: &mut Vec<u8>, exchange: &Exchange, stay: Stay) {
    match stay {
        Stay::Close => output.extend_from_slice(b"Connection: close\r\n"),
        Stay::Open if exchange.request.version == Version::Http10 => {
            output.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        Stay::Open => {}
    }
}

/// Sends the client to the same place over TLS.
fn write_location(output: &mut Vec<u8>, exchange: &Exchange, port: u16) {
    let request = &exchange.request;
    let host = request.authority.of(&exchange.inbound);
    output.extend_from_slice(b"Location: https://");
    output.extend_from_slice(isobar_route::without_port(host));
    if port != 443 {
        // Writing into a Vec cannot fail.
        let _ = write!(output, ":{port}");
    }
    output.extend_from_slice(request.path.of(&exchange.inbound));
    write::end(output);
}
