//! What does the client get to read?

use isobar_wire::exchange::ResponseFraming;
use isobar_wire::{Known, ResponseHead, Version, is_hop_by_hop, write};

use crate::connection::Client;
use crate::exchange::Exchange;
use crate::forward::Ways;
use crate::{fields, limits, secure, sticky};

/// Writes the head of an interim answer.
pub(crate) fn compose_interim(output: &mut Vec<u8>, response: &ResponseHead, head: &[u8]) {
    write::status_line(output, Version::Http11, response.status, response.reason.of(head));
    fields::copy(output, head, &response.fields, |field| {
        !is_hop_by_hop(field) && field.known != Known::ContentLength
    });
    write::end(output);
}

/// Writes the head of the final answer.
pub(crate) fn compose(output: &mut Vec<u8>, ways: &Ways<'_>, client: &Client, exchange: &Exchange, head: &[u8]) {
    let response = &exchange.response;
    let ops = &ways.rules.response_headers;
    let reports = ways.reports.as_deref();
    write::status_line(output, Version::Http11, response.status, response.reason.of(head));
    let hsts = secure::hsts(client);
    let has_hsts = !hsts.is_empty() && !fields::is_replaced(ops, b"strict-transport-security");
    let no_length = response.status < 200 || response.status == 204;
    fields::copy(output, head, &response.fields, |field| {
        let dropped = match field.known {
            Known::ContentLength => no_length,
            // `Content_Length` and its like, which some reader downstream could take for the real one.
            Known::Lookalike => true,
            Known::SetCookie => sticky::replaces(&exchange.session, field, head),
            Known::Other if reports.is_some_and(|reports| reports.strips(field.name.of(head))) => true,
            Known::Other if limits::strips(exchange, field.name.of(head)) => true,
            _ => is_hop_by_hop(field),
        };
        let said = has_hsts && field.name.of(head).eq_ignore_ascii_case(b"strict-transport-security");
        !dropped && !said && (ops.is_empty() || !fields::is_replaced(ops, field.name.of(head)))
    });
    if matches!(exchange.framing, ResponseFraming::Chunked | ResponseFraming::IntoChunks) {
        output.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if response.upgrade {
        output.extend_from_slice(b"Connection: upgrade\r\n");
        for protocol in fields::values(head, &response.fields, Known::Upgrade) {
            write::field(output, b"Upgrade", protocol);
        }
    } else if !exchange.machine().announces_keep_alive() {
        output.extend_from_slice(b"Connection: close\r\n");
    } else if exchange.request.version == Version::Http10 {
        output.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    output.extend_from_slice(&exchange.limited.fields);
    if has_hsts {
        output.extend_from_slice(hsts);
    }
    fields::apply(output, ops);
    sticky::write_cookie(output, exchange, head);
    write::end(output);
}
