//! What does the server get to read?

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use isobar_observe::Cause;
use isobar_plan::{Forwarding, ListenerLimits, ServerAddress};
use isobar_upstream::Server;
use isobar_wire::{BodyKind, Field, HeadError, Known, RequestHead, TargetForm, is_hop_by_hop, write};

use crate::address::AddressText;
use crate::connection::Client;
use crate::deadline::TIMEOUT_OF_GRPC;
use crate::exchange::Exchange;
use crate::forward::Ways;
use crate::sticky;
use crate::{SiteTls, fields, grpc};

/// What a head that cannot be read means for its sender.
pub(crate) fn cause_of(error: HeadError) -> Cause {
    match error.status() {
        414 => Cause::ClientTargetTooLong,
        417 => Cause::ClientExpectation,
        431 => Cause::ClientHeadTooLarge,
        501 => Cause::ClientUnsupported,
        505 => Cause::ClientVersion,
        _ => Cause::ClientMalformed,
    }
}

/// What becomes of a request at a listener that sends its clients to TLS.
pub(crate) fn redirected(exchange: &Exchange) -> Cause {
    let request = &exchange.request;
    match request.form {
        TargetForm::Origin | TargetForm::Absolute if request.authority.len > 0 => Cause::RedirectedToTls,
        // It does not say where to.
        _ => Cause::NoRoute,
    }
}

/// Puts the canonical form of a target into `target` where it differs from the one received.
pub(crate) fn canonical_target(received: &[u8], target: &mut Vec<u8>) -> Result<(), Cause> {
    match isobar_route::canonical_target(received, target) {
        Ok(isobar_route::Canonical::Rewritten) => Ok(()),
        Ok(isobar_route::Canonical::Same) => {
            target.clear();
            Ok(())
        }
        Err(_) => Err(Cause::ClientMalformed),
    }
}

/// Refuses a body that is known to be too large before any of it is read.
pub(crate) fn check_body(request: &RequestHead, limits: &ListenerLimits) -> Result<(), Cause> {
    match (request.body, limits.max_body_bytes) {
        (BodyKind::Length(length), Some(max)) if length > max => Err(Cause::ClientBodyTooLarge),
        _ => Ok(()),
    }
}

/// The client's address: the last one in `X-Forwarded-For` that no trusted proxy has, where the peer is trusted.
pub(crate) fn client_address(peer: IpAddr, head: &[u8], request: &RequestHead, forwarding: &Forwarding) -> IpAddr {
    last_untrusted(
        peer,
        fields::values(head, &request.fields, Known::XForwardedFor),
        forwarding,
    )
}

/// The same, with the values of `X-Forwarded-For` at hand.
pub fn last_untrusted<'v>(
    peer: IpAddr,
    values: impl DoubleEndedIterator<Item = &'v [u8]>,
    forwarding: &Forwarding,
) -> IpAddr {
    let is_trusted = |address: IpAddr| forwarding.trusted_proxies.iter().any(|range| range.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    for entry in values.rev().flat_map(|value| value.rsplit(|&byte| byte == b',')) {
        let Some(address) = address_of(entry) else {
            // Whatever stands before something that is no address was written by nobody we trust.
            return client;
        };
        client = address.to_canonical();
        if !is_trusted(client) {
            return client;
        }
    }
    client
}

/// The address in an element of `X-Forwarded-For`, which some proxies write with a port.
fn address_of(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Writes the head of the forwarded request.
pub(crate) fn compose(output: &mut Vec<u8>, ways: &Ways<'_>, client: &Client, exchange: &Exchange) {
    let head = exchange.inbound.get(..exchange.request.len).unwrap_or_default();
    let request = &exchange.request;
    let forwarding = &ways.site.site.listener.forwarding;
    let ops = &ways.rules.request_headers;
    let peer = client.peer.ip().to_canonical();
    let trusted = forwarding.trusted_proxies.iter().any(|range| range.contains(peer));

    let shows_certificates = ways.site.site.tls.as_ref().is_some_and(SiteTls::forwards_certificates);
    let left = exchange.report.call.and_then(|call| call.left(exchange.report.sent()));
    let is_told_anew = |field: &Field| left.is_some() && field.name.of(head).eq_ignore_ascii_case(TIMEOUT_OF_GRPC);
    let is_said_here =
        |field: &Field| shows_certificates && matches!(field.known, Known::ClientCert | Known::ClientCertChain);

    write::request_line(output, request.method_name.of(head), exchange.canonical_target());
    if !fields::is_replaced(ops, b"host") {
        match request.authority.of(head) {
            b"" => write_server_host(output, exchange.report.server()),
            authority => write::field(output, b"Host", authority),
        }
    }
    fields::copy(output, head, &request.fields, |field| {
        !is_hop_by_hop(field)
            && !is_said_here(field)
            && !is_told_anew(field)
            && !is_rewritten(field, trusted, forwarding.forwarded)
            && !sticky::hides(&exchange.session, field, head)
            && (ops.is_empty() || !fields::is_replaced(ops, field.name.of(head)))
    });
    if ops.is_empty() || !fields::is_replaced(ops, b"cookie") {
        sticky::write_others(output, &exchange.session, head, request);
    }
    if request.body == BodyKind::Chunked {
        output.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if request.upgrade {
        output.extend_from_slice(b"Connection: upgrade\r\n");
        for protocol in fields::values(head, &request.fields, Known::Upgrade) {
            write::field(output, b"Upgrade", protocol);
        }
    } else if request.te_trailers {
        output.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    if let Some(left) = left
        && !fields::is_replaced(ops, TIMEOUT_OF_GRPC)
    {
        grpc::write_timeout(output, left);
    }
    let facts = Forwarded {
        head,
        request,
        peer,
        peer_text: &client.peer_text,
        trusted,
        forwarding,
        proto: if client.stream.is_secured() { b"https" } else { b"http" },
    };
    if let Some(secured) = &client.secured
        && shows_certificates
        && !secured.certificate.is_empty()
        && !fields::is_replaced(ops, b"client-cert")
    {
        write::field(output, b"Client-Cert", &secured.certificate);
    }
    write_forwarding(output, &facts, |name| !ops.is_empty() && fields::is_replaced(ops, name));
    fields::apply(output, ops);
    write::end(output);
}

/// Names the server itself, for a client that named nobody (HTTP/1.0).
fn write_server_host(output: &mut Vec<u8>, server: Option<&Server>) {
    // Writing into a Vec cannot fail.
    let _ = match server.map(Server::address) {
        Some(ServerAddress::Socket(address)) => write!(output, "Host: {address}\r\n"),
        Some(ServerAddress::Name(name, port)) => write!(output, "Host: {name}:{port}\r\n"),
        None => write!(output, "Host:\r\n"),
    };
}

/// Whether a field is written anew, or is a statement about the client that this peer is not trusted to make.
fn is_rewritten(field: &Field, trusted: bool, forwarded: bool) -> bool {
    match field.known {
        Known::Host | Known::Lookalike | Known::XForwardedFor | Known::XRealIp => true,
        Known::Forwarded => !trusted || forwarded,
        Known::XForwardedProto
        | Known::XForwardedHost
        | Known::XForwardedPort
        | Known::ClientCert
        | Known::ClientCertChain => !trusted,
        _ => false,
    }
}

/// What is known about where a request came from.
struct Forwarded<'a> {
    head: &'a [u8],
    request: &'a RequestHead,
    peer: IpAddr,
    peer_text: &'a AddressText,
    trusted: bool,
    forwarding: &'a Forwarding,
    proto: &'static [u8],
}

impl Forwarded<'_> {
    fn values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        // Only a trusted peer's word is passed on.
        fields::values(self.head, &self.request.fields, known).filter(|_| self.trusted)
    }
}

/// Writes what servers are told about the client. Route settings come after it, and win.
fn write_forwarding(output: &mut Vec<u8>, facts: &Forwarded<'_>, is_replaced: impl Fn(&[u8]) -> bool) {
    if !is_replaced(b"x-forwarded-for") {
        list(output, b"X-Forwarded-For: ", facts.values(Known::XForwardedFor));
        facts.peer_text.push(output);
        write::end(output);
    }
    if !is_replaced(b"x-real-ip") {
        let client = client_address(facts.peer, facts.head, facts.request, facts.forwarding);
        output.extend_from_slice(b"X-Real-IP: ");
        if client == facts.peer {
            facts.peer_text.push(output);
        } else {
            AddressText::of(client).push(output);
        }
        write::end(output);
    }
    if facts.values(Known::XForwardedProto).next().is_none() && !is_replaced(b"x-forwarded-proto") {
        write::field(output, b"X-Forwarded-Proto", facts.proto);
    }
    let host = facts.request.authority.of(facts.head);
    let has_host = facts.values(Known::XForwardedHost).next().is_some();
    if !has_host && !host.is_empty() && !is_replaced(b"x-forwarded-host") {
        write::field(output, b"X-Forwarded-Host", host);
    }
    if facts.forwarding.forwarded && !is_replaced(b"forwarded") {
        list(output, b"Forwarded: ", facts.values(Known::Forwarded));
        write_forwarded(output, facts, host);
    }
}

/// Begins a field with the elements of a list that came before ours.
fn list<'v>(output: &mut Vec<u8>, name: &[u8], values: impl Iterator<Item = &'v [u8]>) {
    output.extend_from_slice(name);
    for value in values.filter(|value| !value.is_empty()) {
        output.extend_from_slice(value);
        output.extend_from_slice(b", ");
    }
}

/// Ends the `Forwarded` field with our element (RFC 7239 section 4).
fn write_forwarded(output: &mut Vec<u8>, facts: &Forwarded<'_>, host: &[u8]) {
    let (open, close): (&[u8], &[u8]) = if facts.peer.is_ipv6() {
        (b"\"[", b"]\"")
    } else {
        (b"", b"")
    };
    output.extend_from_slice(b"for=");
    output.extend_from_slice(open);
    facts.peer_text.push(output);
    output.extend_from_slice(close);
    output.extend_from_slice(b";proto=");
    output.extend_from_slice(facts.proto);
    if !host.is_empty() {
        // An authority holds neither a quote nor a backslash: the parser saw to that.
        output.extend_from_slice(b";host=\"");
        output.extend_from_slice(host);
        output.push(b'"');
    }
    write::end(output);
}
