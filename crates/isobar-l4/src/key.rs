//! Which key does a connection have, for upstreams that keep those of one key together?

use std::net::{IpAddr, SocketAddr};

use isobar_balance::{Balance, ketama_key};
use isobar_plan::HashPart;

/// What a connection is told apart by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The client.
    pub(crate) client: SocketAddr,
    /// Where the client connected to; none: that is not known.
    pub(crate) destination: Option<SocketAddr>,
    /// The name that it asked for in its TLS handshake, in small letters; none: it did not, or nobody looked.
    pub(crate) server_name: Option<&'a str>,
}

/// The key of a connection for an upstream; none: the upstream wants none, or the connection has nothing of what makes it up.
///
/// It is made as that of a request is: one part is hashed as it is, several one after the other, each with the hash of those
/// before as its seed.
pub(crate) fn of(upstream: &isobar_plan::Upstream, source: Source<'_>) -> Option<u64> {
    let only = match upstream.hash.as_slice() {
        [only] if upstream.balance == Balance::Ketama => Some(only),
        _ => None,
    };
    if let Some(part) = only {
        return source.with(part, |bytes| bytes.map(ketama_key));
    }
    of_parts(&upstream.hash, source)
}

fn of_parts(parts: &[HashPart], source: Source<'_>) -> Option<u64> {
    let mut any = false;
    let mut hash = 0;
    for part in parts {
        source.with(part, |bytes| {
            any |= bytes.is_some();
            hash = isobar_upstream::hash(bytes.unwrap_or_default(), hash);
        });
    }
    any.then_some(hash)
}

impl Source<'_> {
    /// Lends a part of the key; none: the connection does not have it.
    fn with<R>(&self, part: &HashPart, f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        match part {
            HashPart::ClientIp => match self.client.ip().to_canonical() {
                IpAddr::V4(address) => f(Some(&address.octets())),
                IpAddr::V6(address) => f(Some(&address.octets())),
            },
            HashPart::Sni => f(self.server_name.map(str::as_bytes)),
            HashPart::DestinationPort => match self.destination {
                Some(destination) => f(Some(&destination.port().to_be_bytes())),
                None => f(None),
            },
            // Parts of requests, which the configuration does not let upstreams of TCP have.
            HashPart::Host | HashPart::Path | HashPart::Header(_) | HashPart::Cookie(_) | HashPart::Query(_) => f(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use isobar_plan::HashPart::{ClientIp, DestinationPort, Sni};

    use super::*;

    fn key(parts: &[HashPart], (client, port, server_name): (&str, u16, Option<&str>)) -> Option<u64> {
        let source = Source {
            client: SocketAddr::new(client.parse().unwrap(), 5),
            destination: Some(SocketAddr::from(([127, 0, 0, 1], port))),
            server_name,
        };
        of_parts(parts, source)
    }

    #[test]
    fn what_is_the_same_has_the_same_key() {
        let (a, b) = (("10.0.0.1", 80, Some("a")), ("::ffff:10.0.0.1", 443, Some("b")));
        let address = isobar_upstream::hash(&[10, 0, 0, 1], 0);
        assert_eq!([a, b].map(|of| key(&[ClientIp], of)), [Some(address); 2]);
        let both = isobar_upstream::hash(b"a", address);
        assert_eq!(key(&[ClientIp, Sni], a), Some(both));
        assert_ne!(key(&[ClientIp, Sni], a), key(&[ClientIp, Sni], b));
        assert_ne!(key(&[DestinationPort], a), key(&[DestinationPort], b));
        assert_eq!(key(&[Sni], ("10.0.0.1", 80, None)), None);
        assert!(key(&[Sni, ClientIp], ("10.0.0.1", 80, None)).is_some());
    }
}
