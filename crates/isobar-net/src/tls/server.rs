//! How is a connection of a client secured?

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::certificate::{ByName, Certificate, UnknownName};
use super::tickets::Tickets;
use super::{TrustError, authorities, pem_reason};

thread_local! {
    /// The name the client hello that is looked at on this thread asked for.
    static ASKED: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// Secures connections of clients; cheap to clone, and shared between threads.
#[derive(Clone)]
pub struct TlsServer(Arc<ServerConfig>);

/// What secures the connections of one listener.
#[derive(Debug)]
pub struct TlsServerParts<'a> {
    /// What is shown; the first to whoever asks for no name.
    pub certificates: Vec<Certificate>,
    /// What is shown to whoever asks for a name of none of them.
    pub unknown_name: UnknownName,
    /// The protocols spoken over it (ALPN), the best first.
    pub protocols: &'a [&'a [u8]],
    /// The oldest version that is spoken.
    pub oldest: Version,
    /// What later connections of the same client are made cheaper with; none: every connection begins anew.
    pub tickets: Option<Tickets>,
    /// Which clients have to show a certificate.
    pub clients: Clients<'a>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// The versions that are spoken where this is the oldest.
    pub(super) fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Self::Tls12 => &ALL,
            Self::Tls13 => &ALL[..1],
        }
    }
}

/// Which clients have to show a certificate.
#[derive(Debug, Clone, Copy)]
pub enum Clients<'a> {
    /// None is asked to.
    Anyone,
    /// Those who show one that one of these authorities vouches for, and that none of these lists revokes; PEM texts.
    Known {
        /// The authorities.
        authorities: &'a [u8],
        /// Lists of certificates that are good no more.
        revoked: &'a [u8],
        /// What becomes of those who show none.
        without: Without,
    },
}

/// What becomes of a client without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Without {
    /// It is served.
    Served,
    /// Its handshake fails.
    Refused,
}

/// Why connections cannot be secured as asked. The fault of the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsServerError {
    /// The authorities of clients are of no use.
    #[error("the authorities of clients: {0}")]
    Authorities(String),
    /// A list of revoked certificates is of no use.
    #[error("the list of revoked certificates: {0}")]
    Revoked(String),
    /// The cryptographic library refuses its own defaults.
    #[error("the TLS library cannot be set up: {0}")]
    Library(String),
}

impl TlsServer {
    /// Secures connections as described. Without any certificate every handshake fails.
    ///
    /// *Errors*: the authorities or lists of revoked certificates are of no use.
    pub fn new(parts: TlsServerParts<'_>) -> Result<Self, TlsServerError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(parts.oldest.and_newer())
            .map_err(|error| TlsServerError::Library(error.to_string()))?;
        let builder = match parts.clients {
            Clients::Anyone => builder.with_no_client_auth(),
            Clients::Known {
                authorities,
                revoked,
                without,
            } => {
                let roots = Arc::new(roots(authorities)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).with_crls(lists(revoked)?);
                let verifier = match without {
                    Without::Served => verifier.allow_unauthenticated(),
                    Without::Refused => verifier,
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| TlsServerError::Revoked(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver {
            by_name: ByName::new(parts.certificates, parts.unknown_name),
        }));
        config.alpn_protocols = parts.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A memory of sessions would be one for all threads, and of no use after a restart or to another instance.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match parts.tickets {
            Some(tickets) => config.ticketer = tickets.producer(),
            None => config.send_tls13_tickets = 0,
        }
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

fn roots(text: &[u8]) -> Result<RootCertStore, TlsServerError> {
    authorities(text).map_err(|error: TrustError| TlsServerError::Authorities(error.to_string()))
}

/// Whether clients' certificates can be looked at with these authorities and lists of revoked ones; PEM texts.
///
/// *Errors*: as those of [`TlsServer::new`].
pub fn check_clients(authorities: &[u8], revoked: &[u8]) -> Result<(), TlsServerError> {
    let parts = TlsServerParts {
        certificates: Vec::new(),
        unknown_name: UnknownName::Refuse,
        protocols: &[],
        oldest: Version::Tls12,
        tickets: None,
        clients: Clients::Known {
            authorities,
            revoked,
            without: Without::Refused,
        },
    };
    TlsServer::new(parts).map(drop)
}

fn lists(text: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsServerError> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    let lists =
        lists.map_err(|error| TlsServerError::Revoked(format!("it is not a PEM file: {}", pem_reason(&error))))?;
    if lists.is_empty() && !text.is_empty() {
        return Err(TlsServerError::Revoked("there is none in the file".to_owned()));
    }
    Ok(lists)
}

struct Resolver {
    by_name: ByName,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        ASKED.set(name.map(Box::from));
        self.by_name.choose(name, hello.signature_schemes())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_name.fmt(f)
    }
}

/// The name that was asked for in the client hello this thread has looked at since it was last asked.
pub(crate) fn take_asked() -> Option<Box<str>> {
    ASKED.take()
}
