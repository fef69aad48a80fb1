//! What may come of the first bytes of a connection that is to be secured?

use std::io;

use rustls::{AlertDescription, Error};

use crate::tls::{TlsFailure, explain, explain_tls};

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke or ended.
    #[error("{}", explain(.0))]
    Broken(#[from] io::Error),
    /// What came is no TLS, but a request in plain HTTP.
    #[error("the client speaks plain HTTP")]
    PlainHttp,
    /// What came is no TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The two sides do not agree, or the peer is not who it should be.
    #[error("{}", explain_tls(.0))]
    Tls(Error),
}

impl HandshakeError {
    /// Why a server's connection could not be secured.
    #[must_use]
    pub fn failure(&self) -> TlsFailure {
        match self {
            Self::Broken(_) => TlsFailure::Closed,
            Self::PlainHttp | Self::NotTls => TlsFailure::NotTls,
            Self::Tls(error) => TlsFailure::of(error),
        }
    }
}

/// What every connection in TLS begins with (RFC 8446 section 5.1).
pub(super) const HANDSHAKE: u8 = 22;

/// Whether this is the beginning of a request in plain HTTP.
pub(super) fn looks_like_http(came: &[u8]) -> bool {
    let method = came.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (1..=16).contains(&method) && matches!(came.get(method), None | Some(b' '))
}

/// Whether the peer does not take the certificate it was shown, or wants one.
pub(super) fn refuses_certificate(error: &Error) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    let Error::AlertReceived(alert) = error else {
        return false;
    };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | HandshakeFailure
            | UnknownCA
            | UnsupportedCertificate
    )
}
