//! What secures the connections of each listener's clients?
//!
//! Certificates are read here, before a plan is taken into service. One that cannot be used is left out, and told of: it
//! must not take the others with it. Where an earlier reading of the same files was good, that stays in use. What decides who
//! is let in, authorities of clients and the keys of tickets, has to be as asked, or the plan is refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::time::SystemTime;

use isobar_l7::SiteTls;
use isobar_net::tls::{
    Certificate, CertificateError, Clients, Tickets, TicketsError, TlsServer, TlsServerError, TlsServerParts,
    UnknownName, Version, Without,
};
use isobar_plan::{
    CertificateFiles, CertificateStatus, ClientCertificates, Event, Listener, ListenerTls, Name, Plan, TicketKeys,
    TlsVersion, WithoutCertificate,
};

use crate::named_file::{self, reason};
use crate::{ApplyError, EventSink};

/// Bytes of a file at most. More is a mistake in the path.
pub(crate) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The protocols spoken to clients (ALPN), the best first.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
const WITHOUT_HTTP2: &[&[u8]] = &[b"http/1.1"];

/// What secures the listeners of the plan in service.
#[derive(Debug, Default)]
pub(crate) struct Securing {
    listeners: HashMap<Name, Secured>,
    made_up: MadeUp,
}

/// Certificates that were made up, by their names: clients that accepted one should not be asked again.
#[derive(Debug, Default)]
struct MadeUp(HashMap<Vec<Box<str>>, Certificate>);

/// What secures one listener.
#[derive(Debug)]
struct Secured {
    plan: ListenerTls,
    protocols: &'static [&'static [u8]],
    /// What all the files said.
    contents: Contents,
    /// Tickets of this process, which stay good for as long as what is asked of clients stays the same.
    own_tickets: Option<Tickets>,
    site: SiteTls,
    certificates: Vec<Known>,
}

/// What is known of one certificate.
#[derive(Debug, Clone)]
struct Known {
    files: CertificateFiles,
    /// The last that could be used.
    good: Option<Certificate>,
    /// Why what is there now cannot be used.
    problem: Option<String>,
}

/// What files say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    certificates: Vec<[Result<Vec<u8>, String>; 3]>,
    authorities: Vec<u8>,
    revoked: Vec<u8>,
    tickets: Vec<Vec<u8>>,
}

/// Why connections cannot be secured as asked.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("failed to read {path}: {reason}")]
    Read {
        /// The file.
        path: Box<str>,
        /// What the kernel says.
        reason: String,
    },
    /// What is in the files is of no use.
    #[error("{0}")]
    Server(#[from] TlsServerError),
    /// The keys of tickets are of no use.
    #[error("{0}")]
    Tickets(#[from] TicketsError),
    /// No certificate could be made up.
    #[error("no certificate for {names} can be made: {source}")]
    MadeUp {
        /// The names.
        names: String,
        /// Why.
        source: CertificateError,
    },
}

/// What will secure the listeners of the next plan.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// In the plan's order; none: nothing does.
    pub(crate) sites: Vec<Option<SiteTls>>,
    listeners: HashMap<Name, Secured>,
    news: Vec<Event>,
}

impl Securing {
    /// Makes ready what secures the listeners of a plan. Files are read anew.
    ///
    /// *Errors*: nothing has changed.
    pub(crate) fn prepare(&mut self, plan: &Plan) -> Result<Prepared, ApplyError> {
        let (mut listeners, mut news) = (HashMap::new(), Vec::new());
        let mut sites = Vec::with_capacity(plan.listeners.len());
        for listener in &plan.listeners {
            let Some(tls) = &listener.tls else {
                sites.push(None);
                continue;
            };
            let before = self.listeners.get(&listener.name);
            let secured = secured(listener, tls, before, &mut self.made_up, &mut news);
            let secured = secured.map_err(|source| ApplyError::Tls {
                listener: listener.name.clone(),
                source,
            })?;
            sites.push(Some(secured.site.clone()));
            listeners.insert(listener.name.clone(), secured);
        }
        Ok(Prepared { sites, listeners, news })
    }

    /// The plan is taken into service. What of its certificates is worth telling is told.
    pub(crate) fn settle(&mut self, prepared: Prepared, events: &EventSink) -> Vec<Option<SiteTls>> {
        self.listeners = prepared.listeners;
        prepared.news.into_iter().for_each(|event| events(event));
        prepared.sites
    }

    /// The certificates of a listener, as they are.
    pub(crate) fn status(&self, listener: &str) -> Vec<CertificateStatus> {
        let secured = self.listeners.get(listener);
        let known = secured.into_iter().flat_map(|secured| &secured.certificates);
        known.map(Known::status).collect()
    }
}

fn secured(
    listener: &Listener,
    tls: &ListenerTls,
    before: Option<&Secured>,
    made_up: &mut MadeUp,
    news: &mut Vec<Event>,
) -> Result<Secured, TlsError> {
    let contents = Contents::read(tls)?;
    let protocols = match listener.http2 {
        Some(_) => PROTOCOLS,
        None => WITHOUT_HTTP2,
    };
    if let Some(before) = before
        && before.plan == *tls
        && before.protocols == protocols
        && before.contents == contents
    {
        return Ok(before.again());
    }
    let known = |files: &CertificateFiles| before?.certificates.iter().find(|known| known.files == *files);
    let said = |files: &CertificateFiles| {
        let at = before?.plan.certificates.iter().position(|other| other == files)?;
        before?.contents.certificates.get(at)
    };
    let certificates: Vec<_> = tls
        .certificates
        .iter()
        .zip(&contents.certificates)
        .map(|(files, contents)| Known::read(files, contents, known(files)))
        .collect();
    for (certificate, contents) in certificates.iter().zip(&contents.certificates) {
        let changed = said(&certificate.files).is_some_and(|before| before != contents);
        if changed || (known(&certificate.files).is_none() && certificate.problem.is_some()) {
            news.push(certificate.event(&listener.name));
        }
    }
    let own_tickets = own_tickets(tls, &contents, before)?;
    let mut shown: Vec<_> = certificates.iter().filter_map(|known| known.good.clone()).collect();
    if !tls.self_signed.is_empty() {
        shown.push(made_up.certificate(&tls.self_signed)?);
    }
    let server = TlsServer::new(TlsServerParts {
        certificates: shown,
        unknown_name: match tls.unknown_name {
            isobar_plan::UnknownName::Default => UnknownName::Default,
            isobar_plan::UnknownName::Refuse => UnknownName::Refuse,
        },
        protocols,
        oldest: match tls.oldest {
            TlsVersion::Tls12 => Version::Tls12,
            TlsVersion::Tls13 => Version::Tls13,
        },
        tickets: match &own_tickets {
            Some(own) => Some(own.clone()),
            None => contents.shared_tickets(listener, tls)?,
        },
        clients: tls
            .clients
            .as_ref()
            .map_or(Clients::Anyone, |clients| contents.clients(clients)),
    })?;
    Ok(Secured {
        site: SiteTls::new(server, tls),
        plan: tls.clone(),
        protocols,
        contents,
        own_tickets,
        certificates,
    })
}

/// Tickets of this process: those there were, as long as nobody is let in by them who would not be now.
fn own_tickets(
    tls: &ListenerTls,
    contents: &Contents,
    before: Option<&Secured>,
) -> Result<Option<Tickets>, TicketsError> {
    if tls.tickets != TicketKeys::Own {
        return Ok(None);
    }
    let known = before.filter(|before| before.asks_as_much(tls, contents));
    match known.and_then(|before| before.own_tickets.clone()) {
        Some(known) => Ok(Some(known)),
        None => Tickets::of_this_process().map(Some),
    }
}

impl MadeUp {
    fn certificate(&mut self, names: &[Box<str>]) -> Result<Certificate, TlsError> {
        match self.0.entry(names.to_vec()) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let made = Certificate::self_signed(names).map_err(|source| TlsError::MadeUp {
                    names: names.join(", "),
                    source,
                })?;
                Ok(place.insert(made).clone())
            }
        }
    }
}

impl Secured {
    fn again(&self) -> Self {
        Self {
            plan: self.plan.clone(),
            protocols: self.protocols,
            contents: self.contents.clone(),
            own_tickets: self.own_tickets.clone(),
            site: self.site.clone(),
            certificates: self.certificates.clone(),
        }
    }

    /// Whether whoever was let in before would be let in now: a ticket must not let in anybody else.
    fn asks_as_much(&self, tls: &ListenerTls, contents: &Contents) -> bool {
        self.plan.clients == tls.clients
            && self.contents.authorities == contents.authorities
            && self.contents.revoked == contents.revoked
    }
}

impl Known {
    fn read(files: &CertificateFiles, contents: &[Result<Vec<u8>, String>; 3], before: Option<&Self>) -> Self {
        let read = || -> Result<Certificate, String> {
            let [certificate, key, ocsp] = contents;
            let (certificate, key, ocsp) = (certificate.clone()?, key.clone()?, ocsp.clone()?);
            let read = Certificate::from_pem(&certificate, &key).map_err(|error| error.to_string())?;
            Ok(if ocsp.is_empty() { read } else { read.with_staple(ocsp) })
        };
        let (good, problem) = match read() {
            Ok(read) => (Some(read), None),
            Err(problem) => (before.and_then(|before| before.good.clone()), Some(problem)),
        };
        Self {
            files: files.clone(),
            good,
            problem,
        }
    }

    fn event(&self, listener: &Name) -> Event {
        Event::Certificate {
            listener: listener.clone(),
            file: self.files.certificate.clone(),
            problem: self.problem.clone(),
            in_use: self.good.is_some(),
        }
    }

    fn status(&self) -> CertificateStatus {
        let until = self.good.as_ref().map(Certificate::valid_until);
        CertificateStatus {
            file: self.files.certificate.clone(),
            names: self.good.as_ref().map(|good| good.names().to_vec()).unwrap_or_default(),
            valid_until: until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok()),
            problem: self.problem.clone(),
        }
    }
}

impl Contents {
    fn read(tls: &ListenerTls) -> Result<Self, TlsError> {
        let of_certificate = |files: &CertificateFiles| {
            let said = |path: &str| {
                read(path).map_err(|error| match reason(&error) {
                    why if path == &*files.certificate => why,
                    why => format!("{path}: {why}"),
                })
            };
            let ocsp = files.ocsp.as_deref().map_or(Ok(Vec::new()), said);
            [said(&files.certificate), said(&files.key), ocsp]
        };
        let needed = |path: &str| {
            read(path).map_err(|error| TlsError::Read {
                path: path.into(),
                reason: reason(&error),
            })
        };
        let maybe = |path: Option<&str>| path.map_or(Ok(Vec::new()), needed);
        let clients = tls.clients.as_ref();
        Ok(Self {
            certificates: tls.certificates.iter().map(of_certificate).collect(),
            authorities: maybe(clients.map(|clients| &*clients.authorities))?,
            revoked: maybe(clients.and_then(|clients| clients.revoked.as_deref()))?,
            tickets: match &tls.tickets {
                TicketKeys::Files(files) => files.iter().map(|file| needed(file)).collect::<Result<_, _>>()?,
                TicketKeys::Own | TicketKeys::Off => Vec::new(),
            },
        })
    }

    fn clients<'a>(&'a self, clients: &ClientCertificates) -> Clients<'a> {
        Clients::Known {
            authorities: &self.authorities,
            revoked: &self.revoked,
            without: match clients.without {
                WithoutCertificate::Refused => Without::Refused,
                WithoutCertificate::Served => Without::Served,
            },
        }
    }

    /// Tickets of all instances, good at listeners of this name that ask as much of clients.
    fn shared_tickets(&self, listener: &Listener, tls: &ListenerTls) -> Result<Option<Tickets>, TlsError> {
        let TicketKeys::Files(_) = tls.tickets else {
            return Ok(None);
        };
        let secrets: Vec<_> = self.tickets.iter().map(|secret| secret.trim_ascii_end()).collect();
        let mut purpose = listener.name.as_bytes().to_vec();
        let without = tls.clients.as_ref().map(|clients| clients.without);
        purpose.push(without.map_or(0, |without| 1 + u8::from(without == WithoutCertificate::Served)));
        for asked in [&self.authorities, &self.revoked] {
            purpose.extend_from_slice(&(asked.len() as u64).to_be_bytes());
            purpose.extend_from_slice(asked);
        }
        Ok(Some(Tickets::shared(&secrets, &purpose)?))
    }
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    named_file::read(path, MAX_FILE_BYTES)
}
