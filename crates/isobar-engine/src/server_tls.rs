//! What secures the connections to each upstream's servers?
//!
//! Files are read here, when a plan is taken into service. What cannot be used takes nothing else with it: where an earlier
//! reading for the same settings was good, that stays in use, and where there is none, requests to that upstream fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use isobar_l7::{ServerTls, TlsComplaints};
use isobar_net::tls::{Certificate, Reuse, TlsClient, TlsClientParts, Trust, Version};
use isobar_plan::{
    CertificateStatus, Event, HttpVersion, Name, Plan, ServerTrust, Sessions, TlsVersion, Upstream, UpstreamTls,
    UpstreamTlsStatus,
};
use isobar_upstream::Server;

use crate::EventSink;
use crate::certificates::MAX_FILE_BYTES;
use crate::named_file::{read, reason};

/// The protocols offered to servers (ALPN), the best first.
fn protocols(version: HttpVersion) -> &'static [&'static [u8]] {
    match version {
        HttpVersion::Http1 => &[b"http/1.1"],
        HttpVersion::Http2 => &[b"h2"],
        HttpVersion::Auto => &[b"h2", b"http/1.1"],
    }
}

/// What secures the connections to servers of the plan in service.
#[derive(Debug, Default)]
pub(crate) struct SecuringServers {
    upstreams: HashMap<Name, Secured>,
}

/// What secures the connections to the servers of one upstream.
#[derive(Debug)]
struct Secured {
    plan: UpstreamTls,
    version: HttpVersion,
    contents: Contents,
    /// Why what the files say now cannot be used.
    problem: Option<String>,
    certificate: Option<Certificate>,
    tls: ServerTls,
}

/// What files say, or why they cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    authorities: Said,
    certificate: Said,
    key: Said,
}

type Said = Result<Vec<u8>, String>;

impl SecuringServers {
    /// What secures the connections of a plan's upstreams, in its order; none: nothing does. Files are read anew, and what they
    /// say that is news is told. It stays the same object where they and the settings are the same.
    pub(crate) fn next(&mut self, plan: &Plan, events: &EventSink) -> Vec<Option<ServerTls>> {
        let mut upstreams = HashMap::new();
        let mut next = Vec::with_capacity(plan.upstreams.len());
        for upstream in &plan.upstreams {
            let Some(tls) = &upstream.tls else {
                next.push(None);
                continue;
            };
            let before = self.upstreams.remove(&upstream.name);
            let secured = Secured::next(upstream, tls, before, events);
            next.push(Some(secured.tls.clone()));
            upstreams.insert(upstream.name.clone(), secured);
        }
        self.upstreams = upstreams;
        next
    }

    /// What secures the connections to an upstream's servers, as it is; none: nothing does.
    pub(crate) fn status(&self, upstream: &str) -> Option<UpstreamTlsStatus> {
        let secured = self.upstreams.get(upstream)?;
        Some(UpstreamTlsStatus {
            problem: secured.problem.clone(),
            in_use: secured.tls.client().is_ok(),
            certificate: secured.plan.certificate.as_ref().map(|files| {
                let good = secured.certificate.as_ref();
                let until = good.map(Certificate::valid_until);
                CertificateStatus {
                    file: files.certificate.clone(),
                    names: good.map(|good| good.names().to_vec()).unwrap_or_default(),
                    valid_until: until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok()),
                    problem: secured.problem.clone(),
                }
            }),
        })
    }
}

impl Secured {
    /// Whether it is what is asked for.
    fn asks(&self, plan: &UpstreamTls, version: HttpVersion) -> bool {
        self.plan == *plan && self.version == version
    }

    fn next(upstream: &Upstream, plan: &UpstreamTls, before: Option<Self>, events: &EventSink) -> Self {
        let (name, version) = (&upstream.name, upstream.http_version);
        let contents = Contents::read(plan);
        // What is wrong with the authorities of the system shows in no file.
        let before = match before {
            Some(same) if same.problem.is_none() && same.asks(plan, version) && same.contents == contents => {
                return same;
            }
            other => other,
        };
        let made = contents.client(plan, version);
        let problem = made.as_ref().err().cloned();
        let is_news = match &before {
            None => problem.is_some(),
            Some(before) => before.contents != contents || before.problem != problem,
        };
        let next = match (made, before) {
            // What was asked for before may be less than what is asked for now.
            (Err(_), Some(before)) if before.asks(plan, version) && before.tls.client().is_ok() => Self {
                contents,
                problem,
                ..before
            },
            (made, _) => {
                let (client, certificate) = made
                    .map(|(client, own)| (Ok(client), own))
                    .unwrap_or_else(|problem| (Err(problem), None));
                Self {
                    plan: plan.clone(),
                    version,
                    contents,
                    problem,
                    certificate,
                    tls: ServerTls::new(client, plan.server_name.as_deref(), complaints(name, events)),
                }
            }
        };
        if is_news {
            events(Event::UpstreamTls {
                upstream: name.clone(),
                problem: next.problem.clone(),
                in_use: next.tls.client().is_ok(),
            });
        }
        next
    }
}

fn complaints(upstream: &Name, events: &EventSink) -> Arc<TlsComplaints> {
    let (upstream, events) = (upstream.clone(), Arc::clone(events));
    Arc::new(move |server: &Server, reason: &str| {
        events(Event::ServerTls {
            upstream: upstream.clone(),
            server: server.name().clone(),
            reason: reason.to_owned(),
        });
    })
}

impl Contents {
    fn read(plan: &UpstreamTls) -> Self {
        let said = |file: &str| read(file, MAX_FILE_BYTES).map_err(|error| format!("{file}: {}", reason(&error)));
        let own = plan.certificate.as_ref();
        Self {
            authorities: match &plan.trust {
                ServerTrust::File(file) => said(file),
                ServerTrust::System | ServerTrust::Anyone => Ok(Vec::new()),
            },
            certificate: own.map_or(Ok(Vec::new()), |files| said(&files.certificate)),
            key: own.map_or(Ok(Vec::new()), |files| said(&files.key)),
        }
    }

    /// What speaks TLS as these files and the settings say, and the certificate it shows.
    ///
    /// *Errors*: a file is of no use; in words that name it.
    fn client(&self, plan: &UpstreamTls, version: HttpVersion) -> Result<(TlsClient, Option<Certificate>), String> {
        let certificate = match &plan.certificate {
            None => None,
            Some(files) => {
                let (chain, key) = (
                    self.certificate.as_ref().map_err(Clone::clone)?,
                    self.key.as_ref().map_err(Clone::clone)?,
                );
                let own = Certificate::from_pem(chain, key);
                Some(own.map_err(|error| format!("{}: {error}", files.certificate))?)
            }
        };
        let client = TlsClient::with(TlsClientParts {
            trust: match &plan.trust {
                ServerTrust::System => Trust::System,
                ServerTrust::File(_) => Trust::Pem(self.authorities.as_ref().map_err(Clone::clone)?),
                ServerTrust::Anyone => Trust::Anyone,
            },
            protocols: protocols(version),
            certificate: certificate.clone(),
            oldest: match plan.oldest {
                TlsVersion::Tls12 => Version::Tls12,
                TlsVersion::Tls13 => Version::Tls13,
            },
            reuse: match plan.sessions {
                Sessions::Reused => Reuse::Sessions,
                Sessions::Fresh => Reuse::Nothing,
            },
        });
        let client = client.map_err(|error| match &plan.trust {
            ServerTrust::File(file) => format!("{file}: {error}"),
            ServerTrust::System | ServerTrust::Anyone => error.to_string(),
        })?;
        Ok((client, certificate))
    }
}
