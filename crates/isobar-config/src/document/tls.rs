//! What may be written about connections that are secured?

use isobar_plan::{TlsVersion, UnknownName};

use super::health::Verify;
use super::{CaFile, HostField, OneOrMore, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::Span;

settings! {
    /// How the connections of a listener's clients are secured, with TLS 1.3 or 1.2. Files are read at every reload, and whenever they
    /// change.
    pub struct ListenerTls called "the TLS of a listener" {
        /// What is shown to clients: the certificate that is for the name they ask for, the first where they ask for none. Of several for
        /// one name (such as RSA and ECDSA) it is the first that the client can verify.
        certificates: OneOrMore<Certificate>,
        /// Names for which a certificate is made up at the start, for development: nobody vouches for it.
        self_signed: OneOrMore<HostField>,
        /// What clients get that ask for a name of no certificate.
        unknown_name: UnknownName = UnknownName::Default,
        /// The oldest version that is spoken.
        min_version: TlsVersion = TlsVersion::Tls12,
        /// Whether clients are given tickets, which make their next connections cheaper at every worker.
        tickets: bool = true,
        /// Files with the keys of tickets, at least 32 bytes each: the first makes tickets, all read them, so that instances which
        /// share them know each other's clients. Without one, each process makes keys of its own up, and changes them by itself.
        ticket_keys: OneOrMore<CaFile>,
        /// Which clients have to show a certificate; without it, none is asked to.
        client_certificates: Option<ClientCertificates>,
        /// What browsers are told to do from now on (`Strict-Transport-Security`, RFC 6797); without it, nothing.
        hsts: Option<Hsts>,
    }
}

settings! {
    /// A certificate and its key.
    pub struct Certificate called "a certificate" {
        /// The PEM file with the certificate and, behind it, the chain of those that vouch for it.
        certificate: CaFile,
        /// The PEM file with the private key, unencrypted. Without it, the key is in the file of the certificate.
        key: Option<CaFile>,
        /// A file with the authority's word that the certificate is still good (an OCSP response in DER), which is passed on to clients.
        ocsp: Option<CaFile>,
    }
}

settings! {
    /// Which clients have to show a certificate (mutual TLS).
    pub struct ClientCertificates called "the certificates of clients" short ca {
        /// The PEM file with the certificates of the authorities that may vouch for clients.
        ca: CaFile,
        /// A PEM file with lists of certificates that are good no more (CRL): one from every authority between a client's certificate
        /// and `ca`, that included. A certificate whose authority has no list is refused.
        crl: Option<CaFile>,
        /// Whether clients without a certificate are refused. A certificate that is not accepted is refused either way.
        required: bool = true,
        /// Whether servers are sent the certificate, in the field `Client-Cert` (RFC 9440).
        forward: bool = false,
    }
}

settings! {
    /// What browsers are told: to come over TLS only.
    pub struct Hsts called "the settings of HSTS" short max_age {
        /// For how long.
        max_age: Span = Span::seconds(365 * 24 * 3600),
        /// Whether to the hosts below this one too.
        include_subdomains: bool = false,
        /// Whether the makers of browsers may build it in.
        preload: bool = false,
    }
}

settings! {
    /// How connections to servers are secured, with TLS 1.3 or 1.2. `{}` is TLS with all the defaults. Files are read at every reload,
    /// and whenever they change.
    pub struct UpstreamTls called "the TLS of an upstream" {
        /// The name that the certificate of every server has to be for, and that servers are told is wanted (SNI). Without it, each
        /// server's own as written in `servers`: its host name, or its address, of which servers are told nothing.
        server_name: Option<HostField>,
        /// A PEM file with the certificates of the authorities that may vouch for servers. Without it, those the system trusts.
        ca: Option<CaFile>,
        /// Whether servers have to prove who they are. `none` is unsafe: whoever sits between can answer in their place.
        verify: Verify = Verify::Full,
        /// A PEM file with the certificate that is shown to servers that ask for one and, behind it, the chain of those that
        /// vouch for it. Without it, none is shown.
        certificate: Option<CaFile>,
        /// The PEM file with its private key, unencrypted. Without it, the key is in the file of the certificate.
        key: Option<CaFile>,
        /// The oldest version that is spoken.
        min_version: TlsVersion = TlsVersion::Tls12,
        /// Whether new connections go on where earlier ones to the same server were, which makes them cheaper on both sides.
        session_reuse: bool = true,
    }
}

settings! {
    /// Clients are sent to the same address over TLS (308), in place of any route.
    pub struct TlsRedirect called "a redirect to HTTPS" short port {
        /// The port that is told to clients.
        port: Whole<1, 65_535> = Whole::of(443),
    }
}

impl Choice for UnknownName {
    const EXPECTED: &'static str = "`default` or `refuse`";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Default,
            "default",
            "the first certificate, which clients will not trust for that name",
        ),
        (Self::Refuse, "refuse", "nothing: their handshake fails"),
    ];
}

impl Choice for TlsVersion {
    const EXPECTED: &'static str = "`1.2` or `1.3`";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Tls12, "1.2", "TLS 1.2 (RFC 5246)"),
        (Self::Tls13, "1.3", "TLS 1.3 (RFC 8446)"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word.to_ascii_lowercase().as_str() {
            "1.0" | "1.1" | "tlsv1" | "tlsv1.0" | "tlsv1.1" | "sslv3" => {
                Some("versions before 1.2 are not safe (RFC 8996), and are not spoken")
            }
            "tlsv1.2" | "tls1.2" | "tls12" => Some("did you mean `1.2`?"),
            "tlsv1.3" | "tls1.3" | "tls13" => Some("did you mean `1.3`?"),
            _ => None,
        }
    }
}
