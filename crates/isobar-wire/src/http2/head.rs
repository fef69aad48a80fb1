//! How is a head in the form of HTTP/1 sent on a stream?
//!
//! A field that shall go into nobody's table (RFC 7541 section 6.2.3) has two spaces behind its colon in that form, which its readers do not
//! tell from one: so it is known wherever its line is copied to.
//!
//! *Source*: RFC 9113 section 8.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::hpack::{Class, Decoded, Encoder};
use crate::{Field, Known, RequestHead, ResponseHead, is_hop_by_hop, write};

/// The field with the key of a WebSocket, and the one that proves that a server understood it.
const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// Appends the block of a response's head with this status.
pub(super) fn response(encoder: &mut Encoder, (head, text): (&ResponseHead, &[u8]), status: u16, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.status(status, out);
    for field in head.fields.iter().filter(|field| !is_of_connection(field)) {
        let name = field.name.of(text);
        // To this client the status says it (RFC 8441 section 5).
        if !(head.upgrade && name.eq_ignore_ascii_case(ACCEPT)) {
            encode(encoder, (field, text), out);
        }
    }
}

/// Appends the block of a request's head; with `websocket` it asks for one.
pub(super) fn request(
    encoder: &mut Encoder,
    (head, text): (&RequestHead, &[u8]),
    (scheme, websocket): (&[u8], bool),
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    if websocket {
        encoder.pseudo(Class::Method, b"CONNECT", out);
        encoder.pseudo(Class::Protocol, b"websocket", out);
    } else {
        encoder.pseudo(Class::Method, head.method_name.of(text), out);
    }
    encoder.pseudo(Class::Scheme, scheme, out);
    encoder.pseudo(Class::Authority, head.authority.of(text), out);
    encoder.pseudo(Class::Path, &spelled(head.path.of(text)), out);
    for field in head.fields.iter().filter(|field| !is_of_connection(field)) {
        let name = field.name.of(text);
        if field.known != Known::Host && !name.eq_ignore_ascii_case(KEY) {
            encode(encoder, (field, text), out);
        }
    }
    if head.te_trailers {
        encoder.field(b"te", b"trailers", out);
    }
}

/// Appends the block of trailers out of field lines.
pub(super) fn trailers(encoder: &mut Encoder, lines: &[u8], out: &mut Vec<u8>) {
    encoder.begin(out);
    for line in lines.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            let (name, value) = line.split_at(colon);
            match value.strip_prefix(MARK) {
                Some(value) => encoder.never_indexed(name, value.trim_ascii(), out),
                None => encoder.field(name, value.get(1..).unwrap_or_default().trim_ascii(), out),
            }
        }
    }
}

/// What stands between name and value of a field that shall go into nobody's table.
const MARK: &[u8] = b":  ";

/// Appends the line of a field.
#[inline]
pub(super) fn line(out: &mut Vec<u8>, field: Decoded<'_>) {
    if field.never_indexed {
        out.extend_from_slice(field.name);
        out.extend_from_slice(MARK);
        out.extend_from_slice(field.value);
        write::end(out);
    } else {
        write::field(out, field.name, field.value);
    }
}

/// Appends a field of a head.
#[inline]
fn encode(encoder: &mut Encoder, (field, text): (&Field, &[u8]), out: &mut Vec<u8>) {
    let between = field.value.start.saturating_sub(field.name.start + field.name.len);
    if usize::from(between) < MARK.len() {
        encoder.field(field.name.of(text), field.value.of(text), out);
    } else {
        encoder.never_indexed(field.name.of(text), field.value.of(text), out);
    }
}

/// Whether there is no such field in HTTP/2 (RFC 9113 section 8.2.2).
fn is_of_connection(field: &Field) -> bool {
    is_hop_by_hop(field) || field.known == Known::Connection
}

/// A path without the bytes that are no part of one, and that some clients of HTTP/1 write all the same.
fn spelled(path: &[u8]) -> Cow<'_, [u8]> {
    let is_fine = |byte: u8| !matches!(byte, b'"' | b'<' | b'>' | b'`' | b'\\' | b'#' | 0x80..);
    if path.iter().all(|&byte| is_fine(byte)) {
        return Cow::Borrowed(path);
    }
    let mut spelled = Vec::with_capacity(path.len() + 16);
    for &byte in path {
        if is_fine(byte) {
            spelled.push(byte);
        } else {
            let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' - 10 + value };
            spelled.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    Cow::Owned(spelled)
}
