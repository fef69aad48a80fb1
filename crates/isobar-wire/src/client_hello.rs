//! What does a client ask for at the start of TLS? Reads the first message without being a party to it; knows no keys, and not
//! what becomes of the connection.
//!
//! With an encrypted client hello the outer one is what is seen, and its name is the one that counts: whoever has the key
//! behind that name reads the rest.
//!
//! *Source*: RFC 8446 sections 4.1.2, 4.2 and 5.1; RFC 6066 section 3 (server name); RFC 7301 section 3.1 (ALPN); RFC 8701
//! (GREASE); RFC 9849 section 5 (ECH).

mod extensions;
mod records;

use crate::reader::Reader;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The host it wants (SNI), as it was sent: letters, digits, `-`, `_` and `.` in either case. None where it does not say.
    pub server_name: Option<&'a str>,
    /// The protocols it speaks above TLS (ALPN), the preferred first; empty where it does not say.
    pub alpn: Protocols<'a>,
    /// The versions it offers, the preferred first; empty for clients older than TLS 1.3, which have
    /// [`legacy_version`](Self::legacy_version) and whatever is older.
    pub versions: Versions<'a>,
    /// The version before there was a list: 0x0303 for TLS 1.2, which newer clients write as well.
    pub legacy_version: u16,
    /// Whether it has an extension for an encrypted client hello, in earnest or as GREASE: nobody can tell.
    pub has_ech: bool,
}

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// The beginning of a hello, as far as one can tell.
    Partial,
    /// Something other than TLS.
    NotTls,
    /// A whole hello. Bytes after it are not looked at.
    Hello(ClientHello<'a>),
}

/// Why what looks like TLS begins with no hello. The client's fault; the alert is what servers answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientHelloError {
    /// More than [`MAX_BYTES`](Self::MAX_BYTES). Alert 40, handshake failure.
    #[error("the client hello is too long")]
    TooLong,
    /// A record that is empty, or longer than 16,384 bytes. RFC 8446 section 5.1. Alert 22, record overflow.
    #[error("a TLS record of the client hello is empty or too long")]
    BadRecord,
    /// Another kind of record or message. RFC 8446 section 5. Alert 10, unexpected message.
    #[error("the first TLS message is not a client hello")]
    NotHello,
    /// A field that does not end where its length says, or there are too few or too many in it. Alert 50, decode error.
    #[error("the client hello has a field of a wrong length")]
    BadLength,
    /// An extension that is there twice. RFC 8446 section 4.2. Alert 47, illegal parameter.
    #[error("the client hello has an extension twice")]
    RepeatedExtension,
    /// A server name that is no host name, or more than one. RFC 6066 section 3. Alert 47, illegal parameter.
    #[error("the server name of the client hello is not a host name")]
    BadServerName,
}

impl ClientHelloError {
    /// Bytes of a hello at most, those of its records included. A post-quantum key share takes 1,216 of them.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// The description of the alert a client with this error is answered with. RFC 8446 section 6.
    #[must_use]
    pub const fn alert(self) -> u8 {
        match self {
            Self::NotHello => 10,
            Self::BadRecord => 22,
            Self::TooLong => 40,
            Self::RepeatedExtension | Self::BadServerName => 47,
            Self::BadLength => 50,
        }
    }
}

impl<'a> ClientHello<'a> {
    /// Reads the hello at the front of `bytes`, all that have come so far. Where it stands in several records it is joined
    /// in `joined`, and borrowed from there.
    ///
    /// What is found does not depend on how the bytes arrive. No more than [`ClientHelloError::MAX_BYTES`] are looked at.
    ///
    /// *Cost*: O(n) with each call; no allocation; copies only what stands in several records.
    ///
    /// *Errors*: the client's fault; not retryable.
    pub fn read(
        bytes: &'a [u8],
        joined: &'a mut [u8; ClientHelloError::MAX_BYTES],
    ) -> Result<Seen<'a>, ClientHelloError> {
        match records::message(bytes, joined)? {
            records::Message::Partial => Ok(Seen::Partial),
            records::Message::NotTls => Ok(Seen::NotTls),
            records::Message::Whole(message) => message_body(message).map(Seen::Hello),
        }
    }

    /// Whether it offers a version, as 0x0304 for TLS 1.3.
    #[must_use]
    pub fn offers_version(&self, version: u16) -> bool {
        if self.versions.list.is_empty() {
            version <= self.legacy_version
        } else {
            self.versions.iter().any(|offered| offered == version)
        }
    }
}

fn message_body(body: &[u8]) -> Result<ClientHello<'_>, ClientHelloError> {
    const RANDOM_BYTES: usize = 32;
    const MAX_SESSION_ID_BYTES: usize = 32;
    let mut reader = Reader::new(body);
    let mut fixed = || {
        let legacy_version = reader.u16()?;
        reader.bytes(RANDOM_BYTES)?;
        let session_id = reader.prefixed_u8()?;
        let cipher_suites = reader.prefixed_u16()?;
        let compressions = reader.prefixed_u8()?;
        let is_valid = session_id.len() <= MAX_SESSION_ID_BYTES
            && !cipher_suites.is_empty()
            && cipher_suites.len().is_multiple_of(2)
            && !compressions.is_empty();
        is_valid.then_some(legacy_version)
    };
    let mut hello = ClientHello {
        server_name: None,
        alpn: Protocols::default(),
        versions: Versions::default(),
        legacy_version: fixed().ok_or(ClientHelloError::BadLength)?,
        has_ech: false,
    };
    // Extensions came with TLS 1.2, and its clients may leave all of them out.
    if !reader.is_empty() {
        let list = reader.prefixed_u16().ok_or(ClientHelloError::BadLength)?;
        extensions::read(list, &mut hello)?;
    }
    if reader.is_empty() {
        Ok(hello)
    } else {
        Err(ClientHelloError::BadLength)
    }
}

/// Names of protocols, as `h2` and `http/1.1`; meaningless ones (GREASE) among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Protocols<'a> {
    /// Names of at least one byte, each after its length.
    list: &'a [u8],
}

impl<'a> Protocols<'a> {
    /// The names, the preferred first.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.list);
        core::iter::from_fn(move || reader.prefixed_u8())
    }

    /// Whether a protocol is among them.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.iter().any(|offered| offered == name)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Versions of TLS, as 0x0304 for TLS 1.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions<'a> {
    /// Two bytes each.
    list: &'a [u8],
}

impl<'a> Versions<'a> {
    /// The versions, the preferred first, without meaningless ones (GREASE).
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        let mut reader = Reader::new(self.list);
        core::iter::from_fn(move || reader.u16()).filter(|&version| !is_grease(version))
    }
}

/// Whether a value means nothing and is there so that others learn to pass over it. RFC 8701 section 2.
const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0xf == 0xa
}
