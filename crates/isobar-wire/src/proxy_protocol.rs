//! Whom does a proxy in front speak for? Reads and writes the header that stands before a connection; does not know which
//! peers are believed.
//!
//! Both versions are read strictly: a sender is a program that was configured, and one that errs is better noticed than
//! guessed at. Whether a header is expected at all is for the configuration to say and never for the bytes.
//!
//! *Source*: HAProxy's `doc/proxy-protocol.txt` (00be358), which numbers the sections named here.

mod crc32c;
mod tlv;
mod v1;
mod v2;

use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use alloc::vec::Vec;

pub use tlv::{OtherTlvs, Ssl, Tlvs};

/// The version a header is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text. Section 2.1.
    V1,
    /// Binary, with more to say. Section 2.2.
    V2,
}

/// A header that was read, or is to be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProxyHeader<'a> {
    /// How it is written.
    pub version: ProxyVersion,
    /// Between whom the connection is.
    pub endpoints: Endpoints<'a>,
    /// What else is said of the connection. Nothing in version 1, and nothing without addresses.
    pub tlvs: Tlvs<'a>,
    /// Whether it has a checksum, which was right where it was read. Version 2 only, and with addresses only.
    pub checksum: bool,
}

/// What carries the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, or a stream of a Unix socket.
    Stream,
    /// UDP, or datagrams of a Unix socket.
    Datagram,
}

/// Between whom a connection is, the client first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoints<'a> {
    /// The proxy speaks for itself (`LOCAL`), as in a health check: the addresses of the connection count.
    Local,
    /// The proxy does not say (`UNKNOWN`, `AF_UNSPEC`): the addresses of the connection count. Receivers are free to refuse
    /// it, and HAProxy 2.6 does so in version 2; [`Endpoints::Local`] is understood by all.
    Unknown,
    /// Over IPv4.
    V4 {
        /// TCP or UDP.
        transport: Transport,
        /// The client.
        source: SocketAddrV4,
        /// Where the client connected to.
        destination: SocketAddrV4,
    },
    /// Over IPv6. There is no room for flow labels and scopes: they are zero when read and left out when written.
    V6 {
        /// TCP or UDP.
        transport: Transport,
        /// The client.
        source: SocketAddrV6,
        /// Where the client connected to.
        destination: SocketAddrV6,
    },
    /// Over a Unix socket. The names are as in `sockaddr_un`, filled up with zeros.
    Unix {
        /// Stream or datagrams.
        transport: Transport,
        /// The client.
        source: &'a [u8; 108],
        /// Where the client connected to.
        destination: &'a [u8; 108],
    },
}

impl Endpoints<'_> {
    /// The endpoints of a connection. An address of IPv4 beside one of IPv6 is written as the IPv6 address it is mapped to.
    #[must_use]
    pub fn between(transport: Transport, source: SocketAddr, destination: SocketAddr) -> Self {
        match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Self::V4 {
                transport,
                source,
                destination,
            },
            _ => Self::V6 {
                transport,
                source: v6_of(source),
                destination: v6_of(destination),
            },
        }
    }

    /// The client's address; none where the connection's own counts, or there is no such thing.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        match *self {
            Self::V4 { source, .. } => Some(source.into()),
            Self::V6 { source, .. } => Some(source.into()),
            Self::Local | Self::Unknown | Self::Unix { .. } => None,
        }
    }

    /// The address the client connected to; none where [`source`](Self::source) is none.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        match *self {
            Self::V4 { destination, .. } => Some(destination.into()),
            Self::V6 { destination, .. } => Some(destination.into()),
            Self::Local | Self::Unknown | Self::Unix { .. } => None,
        }
    }
}

fn v6_of(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(address) => SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0),
        SocketAddr::V6(address) => SocketAddrV6::new(*address.ip(), address.port(), 0, 0),
    }
}

/// Why bytes are no header. The sender's fault: the connection is closed, and there is nothing to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProxyError {
    /// Neither `PROXY ` nor the signature of version 2.
    #[error("the connection does not begin with a PROXY protocol header")]
    NotProxy,
    /// No CRLF within [`MAX_V1_BYTES`](Self::MAX_V1_BYTES), or CR or LF alone. Section 2.1.
    #[error("the PROXY protocol line does not end with CRLF within 107 bytes")]
    BadLineEnd,
    /// Not `TCP4`, `TCP6` or `UNKNOWN`. Section 2.1.
    #[error("the PROXY protocol line has an unknown protocol")]
    BadProtocol,
    /// Not two addresses of the family and two ports, each after one space. Section 2.1.
    #[error("the PROXY protocol line is not two addresses and two ports")]
    BadLine,
    /// A version other than 2 after the signature. Section 2.2.
    #[error("the PROXY protocol header is of an unknown version")]
    BadVersion,
    /// A command other than `LOCAL` and `PROXY`. Section 2.2.
    #[error("the PROXY protocol header has an unknown command")]
    BadCommand,
    /// A family or transport that is not assigned. Section 2.2.
    #[error("the PROXY protocol header has an unknown address family or transport")]
    BadFamily,
    /// Longer than [`MAX_V2_BYTES`](Self::MAX_V2_BYTES).
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// Shorter than the addresses of its family. Section 2.2.
    #[error("the PROXY protocol header is shorter than its addresses")]
    TooShort,
    /// A TLV that is longer than what is left, or of another length than its type has. Section 2.2.
    #[error("the PROXY protocol header has a TLV of a wrong length")]
    BadTlv,
    /// A registered TLV that is there twice. Which of them counts is nowhere written.
    #[error("the PROXY protocol header has a TLV twice")]
    RepeatedTlv,
    /// Text that is not UTF-8, or not US-ASCII where that is asked for. Sections 2.2.2, 2.2.6 and 2.2.7.
    #[error("the PROXY protocol header has text in an unknown encoding")]
    BadText,
    /// A checksum that is not that of the header. Section 2.2.3.
    #[error("the checksum of the PROXY protocol header is wrong")]
    BadChecksum,
}

impl ProxyError {
    /// Bytes of a header of version 1 at most, CRLF included. Section 2.1.
    pub const MAX_V1_BYTES: usize = 107;
    /// Bytes of a header of version 2 at most, 16 for what comes before its length included. Its length could say
    /// 65,551; it "is always smaller than an MSS", and nginx has the same limit.
    pub const MAX_V2_BYTES: usize = 4096;
}

/// Why a header cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ComposeError {
    /// Longer than [`ProxyError::MAX_V2_BYTES`].
    #[error("the PROXY protocol header would be too long")]
    TooLong,
    /// A unique ID of more than [`Tlvs::MAX_UNIQUE_ID_BYTES`]. Section 2.2.5.
    #[error("the unique ID is too long")]
    UniqueIdTooLong,
    /// Text that is not US-ASCII where that is asked for. Sections 2.2.6 and 2.2.7.
    #[error("the text is not US-ASCII")]
    NotAscii,
}

impl<'a> ProxyHeader<'a> {
    /// Reads the header at the front of `bytes`, of whichever version; gives it and its length, or none where it is not
    /// complete yet.
    ///
    /// What is found does not depend on how the bytes arrive: an error stays one, whatever follows.
    ///
    /// *Cost*: O(n), for version 1 again with each call; no allocation.
    ///
    /// *Errors*: the sender's fault; not retryable.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, ProxyError> {
        match bytes.first() {
            None => Ok(None),
            Some(b'P') => v1::parse(bytes),
            Some(_) => v2::parse(bytes),
        }
    }

    /// Writes the header to the end of `out`.
    ///
    /// In version 1 whatever is not TCP over IPv4 or IPv6 is `UNKNOWN`. Without addresses there are no TLVs and no checksum:
    /// receivers pass over what stands there.
    ///
    /// *Errors*: what is said does not fit; `out` is as it was.
    pub fn compose(&self, out: &mut Vec<u8>) -> Result<(), ComposeError> {
        match self.version {
            ProxyVersion::V1 => v1::compose(out, &self.endpoints),
            ProxyVersion::V2 => {
                let before = out.len();
                v2::compose(out, self).inspect_err(|_| out.truncate(before))?;
            }
        }
        Ok(())
    }
}
