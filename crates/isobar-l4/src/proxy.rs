//! Whom does a proxy in front of us speak for?
//!
//! Reads the header of the PROXY protocol that stands before a connection, and not a byte of what follows, so that whoever goes on
//! with the connection need not know of it. What the bytes mean is `isobar-wire`'s.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use isobar_net::scratch::Scratch;
use isobar_net::stream::Stream;
use isobar_plan::{ProxyOthers, ProxySources};
use isobar_wire::proxy_protocol::{ProxyError, ProxyHeader};

/// The shortest line of version 1, `PROXY UNKNOWN` and CRLF; version 2 is longer.
const LEAST_BYTES: usize = 15;

/// What stands before the addresses in version 2.
const V2_FIXED_BYTES: usize = 16;

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFault {
    /// It is not from a proxy that is listed, and others are refused.
    #[error("the connection is not from a proxy that is listed")]
    Unlisted,
    /// It does not begin with a header.
    #[error(transparent)]
    Malformed(#[from] ProxyError),
    /// It ended within the header.
    #[error("the connection ended within the PROXY protocol header")]
    Ended,
    /// The header was not complete in time.
    #[error("the PROXY protocol header was not complete in time")]
    Late,
}

/// Reads one header.
#[derive(Debug, Default)]
pub struct HeaderReader {
    bytes: Vec<u8>,
}

/// A header that was read.
#[derive(Debug)]
pub struct Told {
    /// The client; none: the other end of the connection is.
    pub source: Option<SocketAddr>,
    /// Where the client connected to; none: this end of the connection.
    pub destination: Option<SocketAddr>,
    /// The whole header.
    pub header: Vec<u8>,
}

/// Whether a connection begins with a header.
///
/// *Errors*: it is not to be served.
pub fn is_expected(sources: &ProxySources, peer: SocketAddr) -> Result<bool, ProxyFault> {
    let is_listed = sources.from.iter().any(|network| network.contains(peer.ip()));
    match (is_listed, sources.others) {
        (true, _) => Ok(true),
        (false, ProxyOthers::Accept) => Ok(false),
        (false, ProxyOthers::Refuse) => Err(ProxyFault::Unlisted),
    }
}

impl HeaderReader {
    /// Reads on until the header is whole.
    ///
    /// *Cost*: three system calls for version 2; for version 1, whose length nobody tells, one a byte after the first few.
    ///
    /// *Errors*: the sender's fault; the connection is to be closed.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        stream: &mut Stream,
    ) -> Poll<Result<Told, ProxyFault>> {
        loop {
            if let Some((header, _)) = ProxyHeader::parse(&self.bytes)? {
                let (source, destination) = (header.endpoints.source(), header.endpoints.destination());
                return Poll::Ready(Ok(Told {
                    source,
                    destination,
                    header: std::mem::take(&mut self.bytes),
                }));
            }
            let wanted = self.wanted();
            let read = scratch.with_input(|input| {
                let room = input.get_mut(..wanted).unwrap_or_default();
                stream.poll_read(cx, room).map_ok(|count| {
                    self.bytes.extend_from_slice(room.get(..count).unwrap_or_default());
                    count
                })
            });
            if !matches!(ready!(read), Ok(1..)) {
                return Poll::Ready(Err(ProxyFault::Ended));
            }
        }
    }

    /// Bytes that certainly belong to the header; at least one.
    fn wanted(&self) -> usize {
        let here = self.bytes.len();
        let whole = match self.bytes.as_slice() {
            bytes if bytes.len() < LEAST_BYTES => LEAST_BYTES,
            [b'P', ..] => here + 1,
            bytes => match bytes.get(V2_FIXED_BYTES - 2..V2_FIXED_BYTES) {
                Some(&[high, low]) => V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low])),
                _ => V2_FIXED_BYTES,
            },
        };
        whole.saturating_sub(here).max(1)
    }
}

/// What [`Told`] is made of where a client speaks for itself.
pub(crate) fn destination(told: Option<&Told>, stream: &Stream) -> io::Result<SocketAddr> {
    match told.and_then(|told| told.destination) {
        Some(destination) => Ok(destination),
        None => stream.local_addr(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However much of a header is here, no more is asked for than belongs to it.
    #[test]
    fn nothing_behind_the_header_is_read() {
        let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x02\0\x50\0\x51".to_vec();
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
        let v1 = b"PROXY TCP4 127.0.0.1 127.0.0.2 80 81\r\n".to_vec();
        let unknown = b"PROXY UNKNOWN\r\n".to_vec();
        for header in [&v2, &local, &v1, &unknown] {
            let mut reader = HeaderReader::default();
            while ProxyHeader::parse(&reader.bytes).unwrap().is_none() {
                let here = reader.bytes.len();
                let wanted = reader.wanted();
                assert!(wanted >= 1 && here + wanted <= header.len(), "{here} + {wanted}");
                reader.bytes.extend_from_slice(&header[here..here + wanted]);
            }
            assert_eq!(&reader.bytes, header);
        }
        v2.truncate(20);
        assert_eq!(HeaderReader { bytes: v2 }.wanted(), 8);
    }
}
