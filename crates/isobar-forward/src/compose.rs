//! What do destinations and clients get to read of a request that passes?

use isobar_observe::Cause;
use isobar_plan::ForwardProxy;
use isobar_wire::exchange::{Exchange as Machine, ResponseFraming};
use isobar_wire::{BodyKind, Field, HeadError, Known, RequestHead, ResponseHead, Version, is_hop_by_hop, write};

use crate::parent;

/// Fields that are between a client and its proxy.
const OF_PROXIES: [&[u8]; 4] = [
    b"proxy-authorization",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-features",
];

/// What this proxy is called in `Via`.
const PSEUDONYM: &[u8] = b"1.1 isobar";

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

/// A request, and whose it is.
pub(crate) struct Sent<'a> {
    pub(crate) listener: &'a ForwardProxy,
    pub(crate) request: &'a RequestHead,
    pub(crate) head: &'a [u8],
    pub(crate) client: std::net::IpAddr,
}

/// Writes the head that goes on to the destination, or in absolute-form to a parent that takes it so.
pub(crate) fn request(out: &mut Vec<u8>, sent: &Sent<'_>, is_for_parent: IsForParent) {
    let Sent {
        listener,
        request,
        head,
        client,
    } = sent;
    let authority = request.authority.of(head);
    if is_for_parent == IsForParent::Yes {
        out.extend_from_slice(request.method_name.of(head));
        out.extend_from_slice(b" http://");
        out.extend_from_slice(authority);
        let path = request.path.of(head);
        if !path.starts_with(b"/") {
            out.push(b'/');
        }
        out.extend_from_slice(path);
        out.extend_from_slice(b" HTTP/1.1\r\n");
    } else {
        write::forwarded_request_line(out, request, head);
    }
    write::field(out, b"Host", authority);
    let passes = |field: &&Field| !is_between(field, head) && !hides(listener, field);
    for field in request.fields.iter().filter(passes) {
        write::field(out, field.name.of(head), field.value.of(head));
    }
    if request.body == BodyKind::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if request.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        upgrade(out, &request.fields, head);
    } else if request.te_trailers {
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    if listener.reveals.via {
        list(out, "Via", values(&request.fields, head, Known::Via), PSEUDONYM);
    }
    if listener.reveals.client {
        let before = values(&request.fields, head, Known::XForwardedFor);
        list(
            out,
            "X-Forwarded-For",
            before,
            client.to_canonical().to_string().as_bytes(),
        );
    }
    let login = listener.parent.as_ref().and_then(|parent| parent.login.as_ref());
    if let (IsForParent::Yes, Some(login)) = (is_for_parent, login) {
        write::field(out, b"Proxy-Authorization", parent::authorization(login).as_bytes());
    }
    write::end(out);
}

/// Whether a request goes to a parent that sends it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsForParent {
    Yes,
    No,
}

/// Whether a field is not for the other side.
fn is_between(field: &Field, head: &[u8]) -> bool {
    let of_proxies = |name: &[u8]| OF_PROXIES.iter().any(|other| name.eq_ignore_ascii_case(other));
    is_hop_by_hop(field)
        || matches!(field.known, Known::Host | Known::Lookalike)
        || field.known == Known::Other && of_proxies(field.name.of(head))
}

/// Whether a field says which way the request has come. Where that is told, it is written anew.
fn hides(listener: &ForwardProxy, field: &Field) -> bool {
    match field.known {
        Known::Via | Known::XForwardedFor => true,
        Known::Forwarded | Known::XRealIp | Known::XForwardedHost | Known::XForwardedPort | Known::XForwardedProto => {
            !listener.reveals.client
        }
        _ => false,
    }
}

fn values<'h>(fields: &'h [Field], head: &'h [u8], known: Known) -> impl Iterator<Item = &'h [u8]> {
    let wanted = fields.iter().filter(move |field| field.known == known);
    wanted.map(|field| field.value.of(head))
}

/// A list with one more element behind those there were.
fn list<'v>(out: &mut Vec<u8>, name: &str, before: impl Iterator<Item = &'v [u8]>, last: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    for value in before.filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(last);
    write::end(out);
}

fn upgrade(out: &mut Vec<u8>, fields: &[Field], head: &[u8]) {
    for protocol in values(fields, head, Known::Upgrade) {
        write::field(out, b"Upgrade", protocol);
    }
}

/// Writes the head of an answer that is followed by another one.
pub(crate) fn interim(out: &mut Vec<u8>, response: &ResponseHead, head: &[u8]) {
    write::status_line(out, Version::Http11, response.status, response.reason.of(head));
    let passes = |field: &&Field| !is_between(field, head) && field.known != Known::ContentLength;
    for field in response.fields.iter().filter(passes) {
        write::field(out, field.name.of(head), field.value.of(head));
    }
    write::end(out);
}

/// Writes the head of the answer.
pub(crate) fn response(
    out: &mut Vec<u8>,
    (response, head): (&ResponseHead, &[u8]),
    machine: &Machine,
    client: Version,
) {
    write::status_line(out, Version::Http11, response.status, response.reason.of(head));
    let has_no_length = response.status < 200 || response.status == 204;
    let has_none = |field: &Field| has_no_length && field.known == Known::ContentLength;
    let passes = |field: &&Field| !is_between(field, head) && !has_none(field);
    for field in response.fields.iter().filter(passes) {
        write::field(out, field.name.of(head), field.value.of(head));
    }
    let framing = machine.response_framing(client);
    if matches!(framing, ResponseFraming::Chunked | ResponseFraming::IntoChunks) {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if response.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        upgrade(out, &response.fields, head);
    } else if !machine.announces_keep_alive() {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if client == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    write::end(out);
}
