//! How is a connection secured?
//!
//! It knows certificates and who vouches for them. Which peer is meant, whose word is to be taken and what is said over
//! the connection is its users' business.

mod anyone;
pub(crate) mod certificate;
pub(crate) mod server;
pub(crate) mod session;
mod tickets;

pub use certificate::{Certificate, CertificateError, UnknownName};
pub use server::{Clients, TlsServer, TlsServerError, TlsServerParts, Version, Without, check_clients};
pub use tickets::{MIN_SECRET_BYTES, Tickets, TicketsError};

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError as Rejected, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

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
#[derive(Debug, Clone)]
pub struct TlsClient(Arc<ClientConfig>);

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
    /// Secures connections with TLS 1.2 or 1.3, offering these protocols (ALPN); empty: it says nothing of protocols.
    ///
    /// *Cost*: reads the system's authorities where they are asked for, some hundred kilobytes.
    pub fn new(trust: Trust<'_>, protocols: &[&[u8]]) -> Result<Self, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anyone = anyone::Anyone::new(Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TrustError::Library(error.to_string()))?;
        let builder = match trust {
            Trust::System => builder.with_root_certificates(system()?),
            Trust::Pem(text) => builder.with_root_certificates(authorities(text)?),
            Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(anyone)),
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // Every connection shows anew that the server is who it says it is.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// Whether it is the same one, and not only one like it.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// Agrees with the server on keys, and sees to it that it is the one that is wanted. Waits without bound.
    ///
    /// *Errors*: what was wrong, in words.
    pub async fn connect<S>(&self, name: ServerName, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name.0, stream).await.map_err(|error| explain(&error))
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

/// Why a handshake failed or a secured connection broke, in an operator's words where there are better ones than the
/// library's.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(error) => explain_tls(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the connection was closed in the middle".to_owned(),
        None => error.to_string(),
    }
}

pub(crate) fn explain_tls(error: &rustls::Error) -> String {
    use Rejected::{Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer};
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Expired | ExpiredContext { .. } => "the certificate has expired".to_owned(),
            NotValidYet | NotValidYetContext { .. } => "the certificate is not valid yet".to_owned(),
            UnknownIssuer => "the certificate is not signed by an authority that is trusted".to_owned(),
            other => format!("the certificate is not accepted: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the peer refused: {alert:?}"),
        other => other.to_string(),
    }
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
