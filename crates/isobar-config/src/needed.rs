//! What does a configuration need that stands outside of it?
//!
//! Knows which setting names what. Looking whether it is there and of use is the caller's business: this crate opens no
//! file.

use std::collections::HashMap;

use crate::bridge;
use crate::document::{
    AccessLog, CaFile, Certificate, ClientCertificates, Document, FairShare, ForwardProxy, HealthCheck, HealthChecks,
    LimitAlgorithm, LimitKeyPart, ListenerTls, LogPath, SecretFile, Upstream, UpstreamTls, Verify,
};
use crate::problem::{Path, Problem, Problems};

/// Something outside of a configuration without which it cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needed<'d> {
    /// A file with a secret.
    Secret(&'d str),
    /// A PEM file with certificates of authorities.
    Authorities(&'d str),
    /// The authorities that the system trusts.
    SystemAuthorities,
    /// A certificate with its key. The others are served without one that cannot be used.
    Certificate(CertificatePaths<'d>),
    /// A certificate with its key that is shown to servers. Other upstreams are served without one that cannot be used.
    OwnCertificate(CertificatePaths<'d>),
    /// A PEM file with certificates of authorities that vouch for servers of one upstream; none: those that the system trusts. Other
    /// upstreams are served without them.
    ServerAuthorities(Option<&'d str>),
    /// A PEM file with certificates of authorities that vouch for clients.
    ClientAuthorities(&'d str),
    /// A PEM file with lists of certificates that are good no more, and the one with the authorities they are from.
    Revoked {
        /// The lists.
        lists: &'d str,
        /// The authorities.
        authorities: &'d str,
    },
    /// A file with a key for tickets.
    TicketKey(&'d str),
    /// A file with users and their passwords, in the form of `htpasswd`.
    Users(&'d str),
    /// A file with a password.
    Password(&'d str),
    /// A file with rates of a limit by key.
    Overrides {
        /// The file.
        file: &'d str,
        /// The key of the limit.
        key: &'d [LimitKeyPart],
        /// How it counts, and for how many keys.
        algorithm: (LimitAlgorithm, u32),
    },
    /// A file with weights of a fair share by key.
    Weights {
        /// The file.
        file: &'d str,
        /// Between whom is shared.
        key: &'d [LimitKeyPart],
    },
    /// The file to which lines of the access log are appended; it need not be there yet.
    AccessLog(&'d str),
}

/// The files of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificatePaths<'d> {
    /// The PEM file with the certificate.
    pub certificate: &'d str,
    /// The PEM file with its key.
    pub key: &'d str,
    /// The file with the authority's word that it is still good.
    pub ocsp: Option<&'d str>,
}

/// Why something that is needed cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong: a lower-case fragment that names the thing.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Looks whether something can be used. Asked once for each thing.
pub type Look = fn(Needed<'_>) -> Result<(), Unusable>;

/// Takes everything as usable.
pub(crate) fn taken_as_usable(_: Needed<'_>) -> Result<(), Unusable> {
    Ok(())
}

/// Reports each setting that needs what cannot be used.
pub(crate) fn check(document: &Document, look: Look, problems: &mut Problems) {
    let mut looks = Looks {
        look,
        seen: HashMap::new(),
        problems,
    };
    let root = Path::ROOT;
    if let Some(AccessLog {
        path: LogPath::File(file),
        ..
    }) = &document.access_log.0
    {
        looks.at(root.key("access_log").key("path"), Needed::AccessLog(file));
    }
    let listeners = root.key("listeners");
    for (index, listener) in document.listeners.iter().enumerate() {
        if let Some(tls) = &listener.tls {
            self::tls(tls, listeners.index(index).key("tls"), &mut looks);
        }
        if let Some(proxy) = &listener.forward_proxy {
            forward_proxy(proxy, listeners.index(index).key("forward_proxy"), &mut looks);
        }
    }
    let limits = root.key("limits");
    for (name, limit) in document.limits.iter() {
        if let Some(file) = &limit.overrides_file {
            let needed = Needed::Overrides {
                file: file.as_str(),
                key: &limit.key.0,
                algorithm: (limit.algorithm, limit.max_keys.value()),
            };
            looks.at(limits.key(name.as_str()).key("overrides_file"), needed);
        }
    }
    let stores = root.key("stores");
    for (name, store) in document.stores.iter() {
        let at = stores.key(name.as_str());
        if let Some(file) = &store.password_file {
            looks.at(at.key("password_file"), Needed::Password(file.as_str()));
        }
        if let Some(file) = store.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
            looks.at(at.key("tls").key("ca"), Needed::Authorities(file.as_str()));
        }
    }
    let upstreams = root.key("upstreams");
    for (name, upstream) in document.upstreams.iter() {
        let at = upstreams.key(name.as_str());
        if let Some(tls) = &upstream.tls {
            to_servers(tls, at.key("tls"), &mut looks);
        }
        health(upstream, at.key("health"), &mut looks);
        if let Some(FairShare {
            key,
            weights_file: Some(file),
            ..
        }) = &upstream.fair_share.0
        {
            let (file, key) = (file.as_str(), &*key.0);
            looks.at(at.key("fair_share").key("weights_file"), Needed::Weights { file, key });
        }
        if let Some(sticky) = &upstream.sticky.0 {
            let at = at.key("sticky");
            let list = at.key("secret");
            for (index, file) in sticky.secret.0.iter().enumerate() {
                looks.at(list.index(index), Needed::Secret(SecretFile::as_str(file)));
            }
        }
    }
}

fn forward_proxy<'d>(written: &'d ForwardProxy, at: Path<'_>, looks: &mut Looks<'d, '_>) {
    if let Some(file) = &written.users {
        looks.at(at.key("users"), Needed::Users(file.as_str()));
    }
    if let Some(file) = written.parent.as_ref().and_then(|parent| parent.password_file.as_ref()) {
        let at = at.key("parent");
        looks.at(at.key("password_file"), Needed::Password(file.as_str()));
    }
}

fn tls<'d>(written: &'d ListenerTls, at: Path<'_>, looks: &mut Looks<'d, '_>) {
    let list = at.key("certificates");
    for (index, certificate) in written.certificates.0.iter().enumerate() {
        let Certificate { certificate, key, ocsp } = certificate;
        let paths = CertificatePaths {
            certificate: certificate.as_str(),
            key: key.as_ref().unwrap_or(certificate).as_str(),
            ocsp: ocsp.as_ref().map(CaFile::as_str),
        };
        looks.at(list.index(index), Needed::Certificate(paths));
    }
    let list = at.key("ticket_keys");
    for (index, file) in written.ticket_keys.0.iter().enumerate() {
        looks.at(list.index(index), Needed::TicketKey(file.as_str()));
    }
    if let Some(ClientCertificates { ca, crl, .. }) = &written.client_certificates {
        let at = at.key("client_certificates");
        looks.at(at.key("ca"), Needed::ClientAuthorities(ca.as_str()));
        if let Some(crl) = crl {
            let (lists, authorities) = (crl.as_str(), ca.as_str());
            looks.at(at.key("crl"), Needed::Revoked { lists, authorities });
        }
    }
}

fn to_servers<'d>(written: &'d UpstreamTls, at: Path<'_>, looks: &mut Looks<'d, '_>) {
    match (&written.ca, written.verify) {
        (Some(file), _) => looks.at(at.key("ca"), Needed::ServerAuthorities(Some(file.as_str()))),
        (None, Verify::Full) => looks.at(at, Needed::ServerAuthorities(None)),
        (None, Verify::None) => {}
    }
    if let Some(certificate) = &written.certificate {
        let paths = CertificatePaths {
            certificate: certificate.as_str(),
            key: written.key.as_ref().unwrap_or(certificate).as_str(),
            ocsp: None,
        };
        looks.at(at.key("certificate"), Needed::OwnCertificate(paths));
    }
}

fn health<'d>(upstream: &'d Upstream, at: Path<'_>, looks: &mut Looks<'d, '_>) {
    let tls = upstream.tls.as_ref();
    match &upstream.health.0 {
        None => {}
        Some(HealthChecks::One(check)) => authorities(check, tls, at, looks),
        Some(HealthChecks::List(list)) => {
            for (index, check) in list.iter().enumerate() {
                authorities(check, tls, at.index(index), looks);
            }
        }
    }
}

fn authorities<'d>(check: &'d HealthCheck, of: Option<&UpstreamTls>, at: Path<'_>, looks: &mut Looks<'d, '_>) {
    let securing = bridge::securing(check, bridge::health_kind(check, of), of);
    let is_own = securing == bridge::Securing::Own;
    match &check.ca {
        Some(file) => looks.at(at.key("ca"), Needed::Authorities(CaFile::as_str(file))),
        None if is_own && check.verify != Some(Verify::None) => looks.at(at, Needed::SystemAuthorities),
        None => {}
    }
}

/// What was seen so far.
struct Looks<'d, 'p> {
    look: Look,
    seen: HashMap<Needed<'d>, Result<(), Unusable>>,
    problems: &'p mut Problems,
}

impl<'d> Looks<'d, '_> {
    fn at(&mut self, at: Path<'_>, needed: Needed<'d>) {
        let seen = self.seen.entry(needed).or_insert_with(|| (self.look)(needed));
        if let Err(Unusable { message, help }) = seen {
            let problem = match needed {
                Needed::Certificate(_) | Needed::OwnCertificate(_) | Needed::ServerAuthorities(_) => {
                    Problem::warning(at, message.as_str())
                }
                _ => Problem::error(at, message.as_str()),
            };
            let problem = problem.maybe_help(help.clone());
            // What is no file has no value of its own.
            let is_whole_section = matches!(needed, Needed::SystemAuthorities | Needed::ServerAuthorities(None));
            self.problems
                .push(if is_whole_section { problem.on_key() } else { problem });
        }
    }
}
