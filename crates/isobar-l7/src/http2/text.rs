//! How is the head of a message on a stream put into the form of HTTP/1, and out of it?
//!
//! What a head holds beyond what that form can hold is written down as it is, and refused by whoever reads it: two fields that name the host,
//! a path with a space in it.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write as _};

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use isobar_wire::{HeadLimits, Known, Parsed, RequestHead, RequestKind, ResponseHead, Version, is_hop_by_hop, write};

/// What is taken of a head that was written here: as much as there may be, with what is added on the way.
const HEAD: HeadLimits = HeadLimits {
    max_bytes: 65_535,
    max_fields: 1_024,
};

/// The field with the key of a WebSocket.
const KEY: &[u8] = b"sec-websocket-key";

/// What comes behind the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// So much as the head says.
    Length,
    /// Nobody knows how much.
    Unknown,
}

/// The protocol that a request wants to go on in (RFC 8441), where that is WebSocket.
pub(super) fn wants_websocket(request: &Request<()>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Writes the head of a request; `key` is for one that wants a WebSocket.
pub(super) fn write_request(output: &mut Vec<u8>, request: &Request<()>, body: Body, key: Option<&str>) {
    let uri = request.uri();
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let path = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    match key {
        Some(key) => {
            write::request_line(output, b"GET", path.as_bytes());
            output.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
            write::field(output, b"sec-websocket-key", key.as_bytes());
        }
        // Also for other protocols than WebSocket, of which none is spoken.
        None if request.method() == Method::CONNECT => {
            write::request_line(output, b"CONNECT", authority.as_bytes());
        }
        None => write::request_line(output, request.method().as_str().as_bytes(), path.as_bytes()),
    }
    write_host(output, authority.as_bytes(), request.headers());
    for (name, value) in request.headers() {
        let is_replaced = match key {
            // A key is made here, and what comes behind the head is no content.
            Some(_) => name.as_str().as_bytes() == KEY || name == CONTENT_LENGTH,
            None => body == Body::Unknown && name == CONTENT_LENGTH,
        };
        if name != HOST && name != COOKIE && !is_replaced {
            write::field(output, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    write_cookies(output, request.headers());
    match body {
        Body::Unknown => output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Whose meaning is about content, and who has none, should say so (RFC 9110 section 8.6).
        Body::None if is_about_content(request) => output.extend_from_slice(b"content-length: 0\r\n"),
        Body::None | Body::Length => {}
    }
    write::end(output);
}

/// Whoever names two hosts is not believed to mean one of them: both are written (RFC 9113 section 8.3.1).
fn write_host(output: &mut Vec<u8>, authority: &[u8], fields: &HeaderMap) {
    if !authority.is_empty() {
        write::field(output, b"host", authority);
    }
    let mut hosts = fields.get_all(HOST).iter();
    let first = hosts.next().map(HeaderValue::as_bytes);
    let repeats = first.is_some_and(|host| !authority.is_empty() && host.eq_ignore_ascii_case(authority));
    for host in first
        .filter(|_| !repeats)
        .into_iter()
        .chain(hosts.map(HeaderValue::as_bytes))
    {
        write::field(output, b"host", host);
    }
}

/// Whether the fields say how long the body is. Of a body with trailers the length is left out, for in the form of HTTP/1 only chunks can
/// have trailers behind them.
pub(super) fn has_length(fields: &HeaderMap) -> bool {
    fields.contains_key(CONTENT_LENGTH) && !fields.contains_key(TRAILER)
}

fn is_about_content(request: &Request<()>) -> bool {
    matches!(request.method().as_str(), "POST" | "PUT" | "PATCH") && !request.headers().contains_key(CONTENT_LENGTH)
}

/// Cookies may come in crumbs, and have to go on as one (RFC 9113 section 8.2.3).
fn write_cookies(output: &mut Vec<u8>, fields: &HeaderMap) {
    for (index, crumb) in fields.get_all(COOKIE).iter().enumerate() {
        output.extend_from_slice(if index == 0 { b"cookie: " } else { b"; " });
        output.extend_from_slice(crumb.as_bytes());
    }
    if fields.contains_key(COOKIE) {
        write::end(output);
    }
}

/// Writes field lines.
pub(super) fn write_fields(output: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        write::field(output, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// The head of a response that is in front of `bytes`, and what it says in the form of HTTP/1; none: it is not all there.
pub(super) fn response(
    bytes: &[u8],
    request: RequestKind,
    head: &mut ResponseHead,
) -> io::Result<Option<Response<()>>> {
    match head.parse(bytes, request, HEAD).map_err(io::Error::other)? {
        Parsed::Partial => return Ok(None),
        Parsed::Complete => {}
    }
    let text = Bytes::copy_from_slice(bytes.get(..head.len).unwrap_or_default());
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(io::Error::other)?;
    let fields = response.headers_mut();
    fields.reserve(head.fields.len());
    for field in &head.fields {
        if !is_hop_by_hop(field) && field.known != Known::Connection {
            let name = HeaderName::from_bytes(field.name.of(&text)).map_err(io::Error::other)?;
            let value = text.slice_ref(field.value.of(&text));
            fields.append(name, HeaderValue::from_maybe_shared(value).map_err(io::Error::other)?);
        }
    }
    Ok(Some(response))
}

/// Trailers out of field lines.
pub(super) fn trailers(lines: &[u8]) -> io::Result<HeaderMap> {
    let mut trailers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name).map_err(|_| ErrorKind::InvalidData)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| ErrorKind::InvalidData)?;
        trailers.append(name, value);
    }
    Ok(trailers)
}

/// How the end of a response's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Another head follows.
    Interim,
    /// As its fields say.
    AsSaid,
    /// There is nothing behind its head.
    Here,
    /// Nobody knows how much follows.
    Unknown,
    /// Another protocol follows.
    Switched,
}

/// Writes the head of a response; `accept` is for one that goes on with a WebSocket.
pub(super) fn write_response(output: &mut Vec<u8>, response: &Response<()>, ending: Ending, accept: Option<&str>) {
    let status = match ending {
        Ending::Switched => 101,
        _ => response.status().as_u16(),
    };
    write::status_line(output, Version::Http11, status, write::reason_phrase(status).as_bytes());
    for (name, value) in response.headers() {
        if !matches!(ending, Ending::Switched | Ending::Unknown) || name != CONTENT_LENGTH {
            write::field(output, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    match ending {
        Ending::Switched => {
            output.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
            write::field(output, b"sec-websocket-accept", accept.unwrap_or_default().as_bytes());
        }
        Ending::Unknown => output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // Without it the end of the connection would be the end of the body.
        Ending::Here if !response.headers().contains_key(CONTENT_LENGTH) && !matches!(status, 204 | 304) => {
            output.extend_from_slice(b"content-length: 0\r\n");
        }
        Ending::Here | Ending::Interim | Ending::AsSaid => {}
    }
    write::end(output);
}

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request<()>,
    /// The key of a WebSocket; none: it asks for none.
    pub(super) key: Option<Vec<u8>>,
}

/// The head of a request that is in front of `bytes`, and what it says in the form of HTTP/1; none: it is not all there.
pub(super) fn request(bytes: &[u8], scheme: &str, head: &mut RequestHead) -> io::Result<Option<Asked>> {
    match head.parse(bytes, HEAD).map_err(io::Error::other)? {
        Parsed::Partial => return Ok(None),
        Parsed::Complete => {}
    }
    let text = Bytes::copy_from_slice(bytes.get(..head.len).unwrap_or_default());
    let key = if head.upgrade { websocket_key(head, &text) } else { None };
    let mut request = Request::new(());
    *request.method_mut() = match key {
        Some(_) => Method::CONNECT,
        None => Method::from_bytes(head.method_name.of(&text)).map_err(io::Error::other)?,
    };
    if key.is_some() {
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    *request.uri_mut() = Uri::builder()
        .scheme(scheme)
        .authority(head.authority.of(&text))
        .path_and_query(&*spelled(head.path.of(&text)))
        .build()
        .map_err(io::Error::other)?;
    let fields = request.headers_mut();
    fields.reserve(head.fields.len());
    for field in &head.fields {
        let name = field.name.of(&text);
        let is_of_http1 = is_hop_by_hop(field) || field.known == Known::Host || name.eq_ignore_ascii_case(KEY);
        if !is_of_http1 {
            let value = text.slice_ref(field.value.of(&text));
            let name = HeaderName::from_bytes(name).map_err(io::Error::other)?;
            fields.append(name, HeaderValue::from_maybe_shared(value).map_err(io::Error::other)?);
        }
    }
    if head.te_trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(Some(Asked { request, key }))
}

/// The key of a request for a WebSocket; none: it asks for another protocol, of which HTTP/2 knows none, and which a server need not
/// take up (RFC 9110 section 7.8).
fn websocket_key(head: &RequestHead, text: &[u8]) -> Option<Vec<u8>> {
    let values = |name: &'static [u8]| {
        let fields = head.fields.iter();
        let fields = fields.filter(move |field| field.name.of(text).eq_ignore_ascii_case(name));
        fields.map(|field| field.value.of(text))
    };
    let mut protocols = values(b"upgrade");
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else {
        return None;
    };
    let key = values(KEY).next()?;
    protocol.eq_ignore_ascii_case(b"websocket").then(|| key.to_vec())
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
            // Writing into a Vec cannot fail.
            let _ = write!(spelled, "%{byte:02X}");
        }
    }
    Cow::Owned(spelled)
}
