//! How is a connection secured?
//!
//! It knows certificates and who vouches for them. Which peer is meant, whose word is to be taken and what is said over
//! the connection is its users' business.

mod anyone;
pub(crate) mod certificate;
mod failure;
pub(crate) mod server;
pub(crate) mod session;
mod sessions;
mod tickets;

pub use certificate::{Certificate, CertificateError, UnknownName};
pub(crate) use failure::explain_tls;
pub use failure::{TlsFailure, explain};
pub use server::{Clients, TlsServer, TlsServerError, TlsServerParts, Version, Without, check_clients};
pub use tickets::{MIN_SECRET_BYTES, Tickets, TicketsError};

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use self::sessions::Sessions;

/// Certificates of authorities taken from one PEM file at most.
pub const MAX_AUTHORITIES: usize = 10_000;

/// Whose word is taken for a server's certificate.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The authorities the system trusts.
    System,
    /// The authorities in this PEM text.
    Pem(&'a [u8]),
    /// Nobody's: any certificate will do.
    Anyone,
}

/// Secures connections to servers; cheap to clone, and shared between threads.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    /// What was agreed on with servers before; none: every connection shows anew that the server is who it says it is.
    sessions: Option<Arc<Sessions>>,
}

/// What secures connections to servers.
#[derive(Debug)]
pub struct TlsClientParts<'a> {
    /// Whose word is taken for the certificates of servers.
    pub trust: Trust<'a>,
    /// The protocols spoken over it (ALPN), the best first; empty: nothing is said of protocols.
    pub protocols: &'a [&'a [u8]],
    /// What is shown to a server that asks for a certificate; none: nothing.
    pub certificate: Option<Certificate>,
    /// The oldest version that is spoken.
    pub oldest: Version,
    /// Whether later connections go on where earlier ones were.
    pub reuse: Reuse,
}

/// Whether later connections to a server go on where earlier ones were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reuse {
    /// They do, where the server lets them, at every thread; an hour after a whole handshake the next one is whole.
    Sessions,
    /// Every connection shows anew that the server is who it says it is.
    Nothing,
}

/// A secured connection to a server.
pub type TlsStream<S> = tokio_rustls::client::TlsStream<S>;

/// Whose certificate is wanted: a name or an address.
#[derive(Debug, Clone)]
pub struct ServerName(pub(crate) rustls::pki_types::ServerName<'static>);

/// Why connections cannot be secured as asked. The fault of the file or the system.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system's store has nothing.
    #[error("the system has no certificate authorities{0} (in Debian they come with the package ca-certificates)")]
    NoSystem(String),
    /// It is not PEM.
    #[error("it is not a PEM file: {0}")]
    NotPem(String),
    /// No certificate is in it.
    #[error("it has no certificate")]
    Empty,
    /// A certificate in it is of no use.
    #[error("its certificate number {0} cannot be read: {1}")]
    Certificate(usize, String),
    /// There are too many.
    #[error("it has more than {MAX_AUTHORITIES} certificates")]
    TooMany,
    /// The cryptographic library refuses its own defaults.
    #[error("the TLS library cannot be set up: {0}")]
    Library(String),
}

impl ServerName {
    /// The name or address; none: it is neither.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        rustls::pki_types::ServerName::try_from(text.to_owned()).ok().map(Self)
    }
}

impl TlsClient {
    /// Secures connections with TLS 1.2 or 1.3, offering these protocols (ALPN); empty: it says nothing of protocols. No
    /// certificate is shown and no session reused.
    ///
    /// *Cost*: reads the system's authorities where they are asked for, some hundred kilobytes.
    pub fn new(trust: Trust<'_>, protocols: &[&[u8]]) -> Result<Self, TrustError> {
        Self::with(TlsClientParts {
            trust,
            protocols,
            certificate: None,
            oldest: Version::Tls12,
            reuse: Reuse::Nothing,
        })
    }

    /// Secures connections as described.
    ///
    /// *Cost*: reads the system's authorities where they are asked for, some hundred kilobytes.
    pub fn with(parts: TlsClientParts<'_>) -> Result<Self, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anyone = anyone::Anyone::new(Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(parts.oldest.and_newer())
            .map_err(|error| TrustError::Library(error.to_string()))?;
        let builder = match parts.trust {
            Trust::System => builder.with_root_certificates(system()?),
            Trust::Pem(text) => builder.with_root_certificates(authorities(text)?),
            Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(anyone)),
        };
        let mut config = match parts.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => builder.with_client_cert_resolver(certificate.for_servers()),
        };
        // Where it is reused, each connection is told what it may go on from.
        config.resumption = Resumption::disabled();
        let sessions = match parts.reuse {
            Reuse::Sessions => Some(Arc::default()),
            Reuse::Nothing => None,
        };
        let client = Self {
            config: Arc::new(config),
            sessions,
        };
        Ok(client.speaking(parts.protocols))
    }

    /// One that offers other protocols, and has the sessions in common with this one.
    #[must_use]
    pub fn speaking(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self {
            config: Arc::new(config),
            sessions: self.sessions.clone(),
        }
    }

    /// One that reuses no session, so that every server shows who it is.
    #[must_use]
    pub fn from_scratch(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            sessions: None,
        }
    }

    /// Whether it is the same one, and not only one like it.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// The settings of one connection to a server at `address`; none: it is not known where.
    pub(crate) fn config(&self, address: Option<SocketAddr>) -> Arc<ClientConfig> {
        let (Some(sessions), Some(address)) = (&self.sessions, address) else {
            return Arc::clone(&self.config);
        };
        // The library tells sessions apart by name, and several servers may have one.
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(sessions.at(address));
        Arc::new(config)
    }

    /// Agrees with the server on keys, and sees to it that it is the one that is wanted. Waits without bound.
    ///
    /// *Errors*: what was wrong, in words.
    pub async fn connect<S>(&self, name: ServerName, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name.0, stream).await.map_err(|error| explain(&error))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

/// The authorities the system trusts; those it has that nobody can read are left out, as other programs do.
fn system() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}"));
        return Err(TrustError::NoSystem(why.unwrap_or_default()));
    }
    Ok(roots)
}

/// What is wrong with a PEM text, in words that show nothing of it: it may be a key.
fn pem_reason(error: &rustls::pki_types::pem::Error) -> &'static str {
    use rustls::pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "a section has no end",
        Error::IllegalSectionStart { .. } => "a section does not begin as it should",
        Error::Base64Decode(_) => "a section is not base64",
        Error::Io(_) => "it cannot be read",
        Error::NoItemsFound => "nothing of the kind is in it",
        _ => "it cannot be understood",
    }
}

/// The authorities in a PEM text; other sections, such as keys, are left out.
fn authorities(text: &[u8]) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(text)) {
        if number > MAX_AUTHORITIES {
            return Err(TrustError::TooMany);
        }
        let certificate = certificate.map_err(|error| TrustError::NotPem(pem_reason(&error).to_owned()))?;
        let added = roots.add(certificate);
        added.map_err(|error| TrustError::Certificate(number, error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_or_the_reason_is_told() {
        let check = |text: &str, expected: &str| {
            let found = TlsClient::new(Trust::Pem(text.as_bytes()), &[]).map_err(|error| error.to_string());
            assert_eq!(found.map(drop), Err(expected.to_owned()), "{text}");
        };
        check("", "it has no certificate");
        check("just some text\n", "it has no certificate");
        check(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "it has no certificate",
        );
        let broken = TlsClient::new(Trust::Pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), &[]);
        assert!(matches!(broken, Err(TrustError::NotPem(_))), "{broken:?}");
        let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let nonsense = TlsClient::new(Trust::Pem(nonsense), &[]);
        assert!(matches!(nonsense, Err(TrustError::Certificate(1, _))), "{nonsense:?}");
        assert!(TlsClient::new(Trust::Anyone, &[b"h2"]).is_ok());
    }

    #[test]
    fn servers_are_called_by_name_or_address() {
        for good in ["example.com", "localhost", "10.0.0.1", "::1"] {
            assert!(ServerName::new(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "example.com:443", "[::1]"] {
            assert!(ServerName::new(bad).is_none(), "{bad}");
        }
    }
}
