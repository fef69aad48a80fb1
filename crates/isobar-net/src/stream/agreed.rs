//! What was agreed on in a handshake?

use rustls::CipherSuite;

use crate::tls::Version;

/// What two sides agreed on.
#[derive(Debug, Clone, Copy)]
pub struct Agreed<'a> {
    /// The version of TLS.
    pub version: Version,
    /// The cipher suite, by its name in the standard.
    pub cipher: Option<&'static str>,
    /// The protocol (ALPN); none: they did not speak of it.
    pub protocol: Option<&'a [u8]>,
    /// The name the client asked for; none where it asked for none, and for connections that we made.
    pub asked: Option<&'a str>,
    /// The peer's certificate (DER); none: it showed none.
    pub certificate: Option<&'a [u8]>,
    /// Whether it goes on where an earlier connection was.
    pub resumed: bool,
}

/// The name of a cipher suite in its standard. The library marks those of TLS 1.3, which no other version has.
pub(super) fn cipher_name(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}
