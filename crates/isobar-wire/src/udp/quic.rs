//! To which connection does a datagram of QUIC belong? Knows what holds for all versions, and nothing that is protected.
//!
//! *Source*: RFC 8999 sections 5.1 to 5.3.

use crate::reader::Reader;

/// The header of a packet, as every version of QUIC has it.
///
/// Nothing tells QUIC from other datagrams: of those it reads meaningless IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuicHeader<'a> {
    /// Of the beginning of a connection.
    Long {
        /// The version; zero in the negotiation of one.
        version: u32,
        /// The ID the receiver knows the connection by, of up to 255 bytes.
        destination: &'a [u8],
        /// The ID the sender wants to know it by, of up to 255 bytes.
        source: &'a [u8],
    },
    /// Of all the rest.
    Short {
        /// The ID the receiver knows the connection by.
        destination: &'a [u8],
    },
}

impl<'a> QuicHeader<'a> {
    /// Reads the header of the first packet of a datagram; none where it is too short for one.
    ///
    /// A short header does not say how long its ID is: `short_id_bytes` is what the receivers have chosen.
    ///
    /// *Cost*: O(1); no allocation.
    #[must_use]
    pub fn parse(datagram: &'a [u8], short_id_bytes: u8) -> Option<Self> {
        const LONG: u8 = 0x80;
        let mut reader = Reader::new(datagram);
        if reader.u8()? & LONG == 0 {
            let destination = reader.bytes(usize::from(short_id_bytes))?;
            return Some(Self::Short { destination });
        }
        Some(Self::Long {
            version: reader.u32()?,
            destination: reader.prefixed_u8()?,
            source: reader.prefixed_u8()?,
        })
    }

    /// The ID the receiver knows the connection by.
    #[must_use]
    pub const fn destination(&self) -> &'a [u8] {
        match *self {
            Self::Long { destination, .. } | Self::Short { destination } => destination,
        }
    }
}

/// A connection ID that can be kept: of 1 to [`MAX_BYTES`](Self::MAX_BYTES) bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    len: u8,
    /// Zeros behind the ID.
    bytes: [u8; Self::MAX_BYTES],
}

impl ConnectionId {
    /// Bytes of an ID at most. RFC 9000 section 17.2; a version to come may have longer ones.
    pub const MAX_BYTES: usize = 20;

    /// Keeps an ID; none where it is empty, and so tells no connection from another, or too long.
    #[must_use]
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_BYTES];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let len = u8::try_from(id.len()).ok().filter(|&len| len > 0)?;
        Some(Self { len, bytes })
    }

    /// The ID.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Initial packets of RFC 9001 appendices A.2 and A.3, the Retry of A.4, and the packet with a short header of A.5, whose
    /// ID is empty.
    #[test]
    fn headers_of_rfc_9001() {
        let check = |datagram: &[u8], expected| assert_eq!(QuicHeader::parse(datagram, 0), Some(expected));
        let long = |destination, source| QuicHeader::Long {
            version: 1,
            destination,
            source,
        };
        let client = b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";
        let server = b"\xf0\x67\xa5\x50\x2a\x42\x62\xb5";
        check(
            b"\xc0\0\0\0\x01\x08\x83\x94\xc8\xf0\x3e\x51\x57\x08\0\0\x44\x9e",
            long(client, b""),
        );
        check(
            b"\xcf\0\0\0\x01\0\x08\xf0\x67\xa5\x50\x2a\x42\x62\xb5\0\x40\x75",
            long(b"", server),
        );
        check(
            b"\xff\0\0\0\x01\0\x08\xf0\x67\xa5\x50\x2a\x42\x62\xb5token",
            long(b"", server),
        );
        check(b"\x4c\xfe\x41\x89", QuicHeader::Short { destination: b"" });
    }

    #[test]
    fn headers_of_any_version_and_those_that_are_cut_off() {
        let longest = [&b"\x80\xff\xff\xff\xff\xff"[..], &[1; 255], b"\xff", &[2; 255]].concat();
        let expected = QuicHeader::Long {
            version: u32::MAX,
            destination: &[1; 255],
            source: &[2; 255],
        };
        assert_eq!(QuicHeader::parse(&longest, 8), Some(expected));
        assert_eq!(expected.destination(), [1; 255]);
        for end in 0..longest.len() {
            assert_eq!(QuicHeader::parse(&longest[..end], 8), None);
        }
        let short = QuicHeader::Short { destination: b"abc" };
        assert_eq!(QuicHeader::parse(b"\x40abcd", 3), Some(short));
        assert_eq!(short.destination(), b"abc");
        assert_eq!(QuicHeader::parse(b"\x40ab", 3), None);
    }

    #[test]
    fn ids_that_can_be_kept() {
        assert_eq!(ConnectionId::new(b""), None);
        assert_eq!(ConnectionId::new(&[1; 21]), None);
        assert_eq!(ConnectionId::new(&[1; 20]).unwrap().as_bytes(), [1; 20]);
        assert_ne!(ConnectionId::new(b"a"), ConnectionId::new(b"a\0"));
    }
}
