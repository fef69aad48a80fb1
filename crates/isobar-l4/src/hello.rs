//! Which route does a connection fall under?
//!
//! Where routes go by what clients ask for in their TLS handshake, its first message is waited for. It is read and passed on, and
//! nothing is decrypted.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use isobar_observe::Cause;
use isobar_plan::TlsRule;
use isobar_route::HostPattern;
use isobar_wire::client_hello::{ClientHello, ClientHelloError, Seen};

use crate::Worker;
use crate::connection::Client;
use crate::divided::{Others, Unopened};
use crate::world::Site;

/// The alert that answers a name which nobody here has. RFC 6066 section 3.
const UNRECOGNIZED_NAME: u8 = 112;

/// What a connection began with.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    /// The route, as an index into the listener's; none: it is left to others.
    pub(crate) route: Option<usize>,
    /// What was read, and is to be passed on.
    pub(crate) bytes: Vec<u8>,
}

/// Finds the route of a connection, and waits for its hello where that is needed.
pub(crate) async fn begin(worker: &Worker, client: &mut Client) -> Result<Begun, Unopened> {
    let listener = &client.site.site.listener;
    if !listener.reads_hello {
        let route = choose(&client.site.site, None).ok_or(Cause::NoRoute)?;
        return Ok(Begun {
            route: Some(route),
            bytes: Vec::new(),
        });
    }
    client.timer.set(client.report.began + listener.handshake_timeout);
    let mut bytes = Vec::new();
    let begun = poll_fn(|cx| {
        if let Poll::Ready(chosen) = poll_hello(cx, worker, client, &mut bytes) {
            return Poll::Ready(chosen);
        }
        if worker.is_cutting() {
            return Poll::Ready(Err(Refused::silently(Cause::Shutdown)));
        }
        worker.roster.note(client.seat, cx.waker());
        client.timer.poll_expired(cx).map(|()| {
            client.report.explain("the client hello was not complete in time");
            Err(Refused::silently(Cause::ClientHello))
        })
    })
    .await;
    match begun {
        Ok(route) => Ok(Begun { route, bytes }),
        // Nobody knows whose it would have been: it is a handshake that came to nothing, as it would be with nothing to pass on.
        Err(_) if client.others == Others::Left => {
            client.site.site.stats.of(worker.id).tls_abandoned.increment();
            Err(Unopened::Unknown)
        }
        Err(Refused { cause, alert }) => {
            if let Some(alert) = alert {
                tell(client, alert).await;
            }
            Err(cause.into())
        }
    }
}

/// Why a connection has no route.
struct Refused {
    cause: Cause,
    /// What the client is told, where it speaks TLS.
    alert: Option<u8>,
}

impl Refused {
    fn silently(cause: Cause) -> Self {
        Self { cause, alert: None }
    }
}

fn poll_hello(
    cx: &mut Context<'_>,
    worker: &Worker,
    client: &mut Client,
    bytes: &mut Vec<u8>,
) -> Poll<Result<Option<usize>, Refused>> {
    loop {
        let judged = worker.shared.scratch.with_input(|input| {
            let room = input.get_mut(..ClientHelloError::MAX_BYTES).unwrap_or_default();
            let count = match ready!(client.stream.poll_read(cx, room)) {
                Ok(count) if count > 0 => count,
                _ => return Poll::Ready(Err(Refused::silently(Cause::ClientClosed))),
            };
            bytes.extend_from_slice(room.get(..count).unwrap_or_default());
            let Some(joined) = input.first_chunk_mut() else {
                return Poll::Ready(Err(Refused::silently(Cause::Internal)));
            };
            Poll::Ready(judge(client, bytes, joined))
        });
        match ready!(judged)? {
            Judged::Partial => {}
            Judged::Route(route) => return Poll::Ready(Ok(Some(route))),
            Judged::Left => return Poll::Ready(Ok(None)),
        }
    }
}

/// What is known by what is here.
enum Judged {
    Partial,
    Route(usize),
    Left,
}

/// Finds the route, once enough is here. What has none is refused, or left to those who can say better what is wrong.
fn judge(client: &mut Client, bytes: &[u8], joined: &mut [u8; ClientHelloError::MAX_BYTES]) -> Result<Judged, Refused> {
    let is_left = client.others == Others::Left;
    let site = &client.site.site;
    match ClientHello::read(bytes, joined) {
        Ok(Seen::Partial) => Ok(Judged::Partial),
        Ok(Seen::NotTls) | Err(_) if is_left => Ok(Judged::Left),
        Ok(Seen::NotTls) => match choose(site, None) {
            Some(route) => Ok(Judged::Route(route)),
            None => Err(Refused::silently(Cause::NoRoute)),
        },
        Ok(Seen::Hello(hello)) => {
            client.report.server_name = hello.server_name.map(|name| name.to_ascii_lowercase().into());
            match choose(site, Some(&hello)) {
                Some(route) => Ok(Judged::Route(route)),
                None if is_left => Ok(Judged::Left),
                None => Err(Refused {
                    cause: Cause::NoRoute,
                    alert: Some(UNRECOGNIZED_NAME),
                }),
            }
        }
        Err(error) => {
            client.report.explain(error);
            Err(Refused {
                cause: Cause::ClientHello,
                alert: Some(error.alert()),
            })
        }
    }
}

/// Tells the client why it gets nothing, as a server would. RFC 8446 section 6.
async fn tell(client: &mut Client, alert: u8) {
    const FATAL: u8 = 2;
    let record = [21, 3, 1, 0, 2, FATAL, alert];
    // One that does not take seven bytes at once is not waited for.
    let _ = poll_fn(|cx| Poll::Ready(client.stream.poll_write_last(cx, &record).is_ready())).await;
    let _ = client.stream.shutdown_write();
}

/// The route for a client that asks for this; none: it does not speak TLS, or nobody looked. The name decides, exact names before
/// longer before shorter wildcards before any; then whether the rule asks for a protocol; then the order.
fn choose(site: &Site, hello: Option<&ClientHello<'_>>) -> Option<usize> {
    let rules = site.listener.routes.iter().map(|route| &route.rule);
    best(rules, hello)
}

fn best<'r>(rules: impl Iterator<Item = &'r TlsRule>, hello: Option<&ClientHello<'_>>) -> Option<usize> {
    let name = hello.and_then(|hello| hello.server_name).unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let takes = |rule: &TlsRule| {
        let protocol = match (&rule.alpn, hello) {
            (None, _) => true,
            (Some(alpn), Some(hello)) => hello.alpn.iter().any(|offered| *offered == **alpn),
            (Some(_), None) => false,
        };
        protocol && rule.server_name.matches(name.as_bytes())
    };
    let rank = |rule: &TlsRule| {
        let name = match &rule.server_name {
            HostPattern::Any => (0, 0),
            HostPattern::Wildcard(suffix) => (1, suffix.len()),
            HostPattern::Exact(name) => (2, name.len()),
        };
        (name, rule.alpn.is_some())
    };
    let taken = rules.enumerate().filter(|(_, rule)| takes(rule));
    // Of those that are equal the last is the greatest, and the first is wanted.
    taken
        .max_by_key(|(index, rule)| (rank(rule), std::cmp::Reverse(*index)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello of TLS 1.2 with nothing but a name and protocols.
    fn hello(name: Option<&str>, protocols: &[&str]) -> Vec<u8> {
        let prefixed = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let extension = |kind: u16, value: &[u8]| [&kind.to_be_bytes()[..], &prefixed(value)].concat();
        let mut extensions = Vec::new();
        if let Some(name) = name {
            let host = [&[0], &prefixed(name.as_bytes())[..]].concat();
            extensions.extend(extension(0, &prefixed(&host)));
        }
        if !protocols.is_empty() {
            let one = |protocol: &&str| [&[u8::try_from(protocol.len()).unwrap()], protocol.as_bytes()].concat();
            let list: Vec<u8> = protocols.iter().flat_map(one).collect();
            extensions.extend(extension(16, &prefixed(&list)));
        }
        let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &prefixed(&extensions)].concat();
        let message = [&[1, 0][..], &prefixed(&body)].concat();
        [&[22, 3, 1][..], &prefixed(&message)].concat()
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let rules = [
            ("*", None),
            ("*.example.com", None),
            ("*.example.com", Some("h2")),
            ("*.api.example.com", None),
            ("www.example.com", None),
            ("www.example.com", None),
            ("other.net", Some("h2")),
        ];
        let rules = rules.map(|(name, alpn)| TlsRule {
            server_name: HostPattern::parse(name).unwrap(),
            alpn: alpn.map(|alpn: &str| alpn.as_bytes().into()),
        });
        let check = |name, protocols: &[&str], expected: usize| {
            let bytes = hello(name, protocols);
            let mut joined = [0; ClientHelloError::MAX_BYTES];
            let Ok(Seen::Hello(hello)) = ClientHello::read(&bytes, &mut joined) else {
                panic!("no hello");
            };
            assert_eq!(
                best(rules.iter(), Some(&hello)),
                Some(expected),
                "{name:?} {protocols:?}"
            );
        };
        check(None, &["h2"], 0);
        check(Some("example.com"), &[], 0);
        check(Some("a.example.com"), &[], 1);
        check(Some("A.Example.COM"), &["http/1.1"], 1);
        check(Some("a.example.com"), &["http/1.1", "h2"], 2);
        check(Some("v1.api.example.com"), &["h2"], 3);
        check(Some("www.example.com"), &["h2"], 4);
        check(Some("other.net"), &["h2"], 6);
        check(Some("other.net"), &["http/1.1"], 0);
        assert_eq!(best(rules.iter(), None), Some(0));
        assert_eq!(best(rules[1..].iter(), None), None);
    }
}
