//! Which key does a request have, for upstreams that keep requests of one key together?

use std::net::IpAddr;

use isobar_balance::{Balance, ketama_key};
use isobar_plan::{Forwarding, HashPart};
use isobar_wire::RequestHead;

use crate::exchange::Exchange;
use crate::request;

/// The key of the request for an upstream; none: the upstream wants none, or the request has nothing of what makes it up.
///
/// One part is hashed as it is. Several are hashed one after the other, each with the hash of those before as its seed; one
/// that the request does not have counts as empty. Ketama has a hash of its own for a single part, so that the servers are
/// those that other clients of its ring use.
pub(crate) fn of(
    upstream: &isobar_plan::Upstream,
    peer: IpAddr,
    forwarding: &Forwarding,
    exchange: &Exchange,
) -> Option<u64> {
    if upstream.hash.is_empty() {
        return None;
    }
    let source = Source {
        peer,
        forwarding,
        exchange,
    };
    let only = match upstream.hash.as_slice() {
        [only] if upstream.balance == Balance::Ketama => Some(only),
        _ => None,
    };
    if let Some(part) = only {
        return source.with(part, |bytes| bytes.map(ketama_key));
    }
    let mut any = false;
    let mut hash = 0;
    for part in &upstream.hash {
        source.with(part, |bytes| {
            any |= bytes.is_some();
            hash = isobar_upstream::hash(bytes.unwrap_or_default(), hash);
        });
    }
    any.then_some(hash)
}

/// Where the parts come from.
pub(crate) struct Source<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) forwarding: &'a Forwarding,
    pub(crate) exchange: &'a Exchange,
}

impl Source<'_> {
    /// Lends a part of the key; none: the request does not have it.
    pub(crate) fn with<R>(&self, part: &HashPart, f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let Exchange { request, inbound, .. } = self.exchange;
        let head = inbound.get(..request.len).unwrap_or_default();
        match part {
            HashPart::ClientIp => match request::client_address(self.peer, head, request, self.forwarding) {
                IpAddr::V4(address) => f(Some(&address.octets())),
                IpAddr::V6(address) => f(Some(&address.octets())),
            },
            // Parts of TCP connections, which the configuration does not let upstreams of HTTP have.
            HashPart::Sni | HashPart::DestinationPort => f(None),
            HashPart::Host => with_host(request.authority.of(head), f),
            HashPart::Path => f(Some(isobar_route::path_of(self.exchange.canonical_target()))),
            HashPart::Header(name) => f(header(head, request, name.as_bytes()).next()),
            HashPart::Cookie(name) => {
                let mut cookies = header(head, request, b"cookie");
                f(cookies.find_map(|cookies| cookie(cookies, name)))
            }
            HashPart::Query(name) => f(parameter(self.exchange.canonical_target(), name)),
        }
    }
}

/// A cookie among those of a field.
pub fn cookie<'v>(cookies: &'v [u8], name: &str) -> Option<&'v [u8]> {
    pair(cookies, b';', name.as_bytes())
}

/// A parameter of the query of a target in canonical form.
pub fn parameter<'v>(target: &'v [u8], name: &str) -> Option<&'v [u8]> {
    let query = target.iter().position(|&byte| byte == b'?');
    let query = query.and_then(|at| target.get(at + 1..)).unwrap_or_default();
    pair(query, b'&', name.as_bytes())
}

/// Lends the host in small letters and without its port: what is one to those who match it is one key.
pub fn with_host<R>(authority: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> R {
    let is_port = |port: &[u8]| port.iter().all(u8::is_ascii_digit);
    let host = match authority.iter().rposition(|&byte| byte == b':') {
        Some(colon) if authority.get(colon + 1..).is_some_and(is_port) => authority.get(..colon).unwrap_or_default(),
        _ => authority,
    };
    // A name has 255 bytes at most; what is longer is no name, and a key as it is.
    let mut small = [0; 255];
    match small.get_mut(..host.len()) {
        Some(_) if host.is_empty() => f(None),
        Some(small) => {
            small.copy_from_slice(host);
            small.make_ascii_lowercase();
            f(Some(small))
        }
        None => f(Some(host)),
    }
}

/// The values of all fields of this name, in order.
fn header<'h>(head: &'h [u8], request: &'h RequestHead, name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
    let fields = request.fields.iter();
    fields
        .filter(move |field| field.name.of(head).eq_ignore_ascii_case(name))
        .map(move |field| field.value.of(head))
}

/// The value of `name=value` among pairs with this sign between them.
fn pair<'v>(pairs: &'v [u8], between: u8, name: &[u8]) -> Option<&'v [u8]> {
    let mut pairs = pairs.split(|&byte| byte == between).map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::{pair, with_host};

    #[test]
    fn hosts() {
        let check = |authority: &str, expected: Option<&str>| {
            with_host(authority.as_bytes(), |host| {
                assert_eq!(host, expected.map(str::as_bytes), "{authority:?}");
            });
        };
        check("Example.COM:8080", Some("example.com"));
        check("example.com", Some("example.com"));
        check("[2001:DB8::a]", Some("[2001:db8::a]"));
        check("[2001:db8::1]:80", Some("[2001:db8::1]"));
        check("", None);
        check(":80", None);
        check(&"A".repeat(300), Some(&"A".repeat(300)));
    }

    #[test]
    fn pairs() {
        let check = |pairs: &str, between, name: &str, expected: Option<&str>| {
            let found = pair(pairs.as_bytes(), between, name.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{name} in {pairs:?}");
        };
        check("a=1; session=x=y; b=2", b';', "session", Some("x=y"));
        check("a=1;session=", b';', "session", Some(""));
        check("xsession=1; sessionx=2; session", b';', "session", None);
        check("", b';', "session", None);
        check("user=7&user=8", b'&', "user", Some("7"));
        check("q=user=7", b'&', "user", None);
    }
}
