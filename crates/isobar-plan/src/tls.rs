//! How are the connections of clients, and those to servers, secured?

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

/// How the connections of a listener's clients are secured. Files are named here, and read when the plan is taken into service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// What is shown; the first to clients that ask for no name. Not empty, unless `self_signed` is not.
    pub certificates: Vec<CertificateFiles>,
    /// Names for which a certificate is made up that nobody vouches for, for development; shown last.
    pub self_signed: Vec<Box<str>>,
    /// What clients get that ask for a name of no certificate.
    pub unknown_name: UnknownName,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
    /// What makes later connections of a client cheaper.
    pub tickets: TicketKeys,
    /// Which clients have to show a certificate; none: no client is asked to.
    pub clients: Option<ClientCertificates>,
    /// What browsers are told to do from now on; none: nothing.
    pub hsts: Option<Hsts>,
}

impl ListenerTls {
    /// Every file it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let certificates = self.certificates.iter().flat_map(|files| {
            let CertificateFiles { certificate, key, ocsp } = files;
            [Some(certificate), Some(key), ocsp.as_ref()].into_iter().flatten()
        });
        let tickets = match &self.tickets {
            TicketKeys::Files(files) => &files[..],
            TicketKeys::Own | TicketKeys::Off => &[],
        };
        let clients = self.clients.iter().flat_map(|clients| {
            let authorities = core::iter::once(&clients.authorities);
            authorities.chain(&clients.revoked)
        });
        certificates.chain(tickets).chain(clients).map(|file| &**file)
    }
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The PEM file with the certificate and the chain behind it.
    pub certificate: Box<str>,
    /// The PEM file with the key; it may be the same one.
    pub key: Box<str>,
    /// The file with the authority's word that the certificate is still good (OCSP response, DER); none: nothing is said of that.
    pub ocsp: Option<Box<str>>,
}

/// How connections to the servers of an upstream are secured. Files are named here, and read when the plan is taken into service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Whose certificate servers have to show, and what they are told is wanted of them; none: the name or address of each.
    pub server_name: Option<Box<str>>,
    /// Whose word is taken for their certificates.
    pub trust: ServerTrust,
    /// What is shown to servers that ask for a certificate; none: nothing.
    pub certificate: Option<CertificateFiles>,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
    /// Whether later connections go on where earlier ones were.
    pub sessions: Sessions,
}

impl UpstreamTls {
    /// Every file it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let authorities = match &self.trust {
            ServerTrust::File(file) => Some(file),
            ServerTrust::System | ServerTrust::Anyone => None,
        };
        let own = self.certificate.iter();
        let own = own.flat_map(|files| [&files.certificate, &files.key]);
        authorities.into_iter().chain(own).map(|file| &**file)
    }
}

/// Whose word is taken for the certificates of an upstream's servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerTrust {
    /// The authorities the system trusts.
    System,
    /// The authorities in this PEM file.
    File(Box<str>),
    /// Nobody's: any certificate will do, and whoever sits between can answer in a server's place.
    Anyone,
}

/// Whether later connections to a server go on where earlier ones were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sessions {
    /// They do, where the server lets them.
    Reused,
    /// Each begins anew.
    Fresh,
}

/// What clients get that ask for a name of no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownName {
    /// The first certificate, which they will not trust unless they have reasons of their own.
    Default,
    /// Nothing: their handshake fails.
    Refuse,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// With which keys tickets are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketKeys {
    /// With keys of this process, which change by themselves.
    Own,
    /// With those in these files, which other instances have too: the first makes tickets, all read them.
    Files(Vec<Box<str>>),
    /// There are no tickets.
    Off,
}

/// Which clients have to show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The PEM file with the authorities that may vouch for clients.
    pub authorities: Box<str>,
    /// The PEM file with lists of certificates that are good no more; none: all are good.
    pub revoked: Option<Box<str>>,
    /// What becomes of clients that show none.
    pub without: WithoutCertificate,
    /// Whether servers are sent the certificate, in the field `Client-Cert` (RFC 9440).
    pub forward: bool,
}

/// What becomes of a client without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WithoutCertificate {
    /// Its handshake fails.
    Refused,
    /// It is served.
    Served,
}

/// What browsers are told with `Strict-Transport-Security` (RFC 6797).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    /// For how long they come over TLS only.
    pub max_age: Duration,
    /// Whether to the hosts below this one too.
    pub include_subdomains: bool,
    /// Whether the makers of browsers may build it in.
    pub preload: bool,
}
