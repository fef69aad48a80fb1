//! How are the connections of probes secured?
//!
//! What can go wrong with the certificates of authorities goes wrong here, before a plan is taken into service.

use std::collections::HashMap;
use std::sync::Arc;

use isobar_l7::ServerTls;
use isobar_net::tls::{ServerName, TlsClient, Trust, TrustError};
use isobar_plan::{CheckTls, HealthCheck, HealthProbe, HealthTls, Plan, ServerAddress, Trust as Wanted};

use crate::ApplyError;

/// What secures the connections of the health checks of one plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients(Arc<HashMap<Key, TlsClient>>);

/// What a client depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    trust: Wanted,
    protocol: Protocol,
}

/// What is spoken over the connection, as far as TLS is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Protocol {
    Unsaid,
    Http11,
    Http2,
}

impl Clients {
    /// The clients for the checks of a plan. A client stays the same object as in `self` where the same authorities vouch
    /// for the servers. The system's authorities are read once.
    pub(crate) fn next(&self, plan: &Plan) -> Result<Self, ApplyError> {
        let mut clients = HashMap::new();
        for upstream in &plan.upstreams {
            for check in &upstream.health {
                let Some(key) = Key::of(check) else { continue };
                if clients.contains_key(&key) {
                    continue;
                }
                let client = self.client(&key).map_err(|source| ApplyError::Authorities {
                    upstream: upstream.name.clone(),
                    check: check.name.clone(),
                    file: match &key.trust {
                        Wanted::File(authorities) => format!(" in {}", authorities.file),
                        Wanted::System | Wanted::Anyone => String::new(),
                    },
                    source,
                })?;
                clients.insert(key, client);
            }
        }
        Ok(Self(Arc::new(clients)))
    }

    /// What secures the connections of a check; none: they are not secured. `upstream` is what secures those of requests.
    pub(super) fn of(&self, check: &HealthCheck, upstream: Option<&ServerTls>) -> Option<Secures> {
        match check.tls.as_ref()? {
            CheckTls::OfUpstream => upstream.cloned().map(Secures::OfUpstream),
            CheckTls::Own(_) => self.0.get(&Key::of(check)?).cloned().map(Secures::Own),
        }
    }

    fn client(&self, key: &Key) -> Result<TlsClient, TrustError> {
        if let Some(known) = self.0.get(key) {
            return Ok(known.clone());
        }
        let trust = match &key.trust {
            Wanted::System => Trust::System,
            Wanted::File(authorities) => Trust::Pem(&authorities.pem),
            Wanted::Anyone => Trust::Anyone,
        };
        TlsClient::new(trust, key.protocol.offered())
    }
}

impl Key {
    fn of(check: &HealthCheck) -> Option<Self> {
        let Some(CheckTls::Own(tls)) = &check.tls else {
            return None;
        };
        Some(Self {
            trust: tls.trust.clone(),
            protocol: Protocol::of(&check.probe),
        })
    }
}

impl Protocol {
    fn of(probe: &HealthProbe) -> Self {
        match probe {
            HealthProbe::Tcp(_) | HealthProbe::Udp(_) => Self::Unsaid,
            HealthProbe::Http(_) => Self::Http11,
            HealthProbe::Grpc { .. } => Self::Http2,
        }
    }

    fn offered(self) -> &'static [&'static [u8]] {
        match self {
            Self::Unsaid => &[],
            Self::Http11 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
        }
    }
}

/// What secures the connections of a check.
#[derive(Debug, Clone)]
pub(super) enum Secures {
    /// What secures those of requests to the upstream.
    OfUpstream(ServerTls),
    /// Its own.
    Own(TlsClient),
}

impl Secures {
    /// Whether it is the same one, and not only one like it.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OfUpstream(one), Self::OfUpstream(other)) => one.is(other),
            (Self::Own(one), Self::Own(other)) => one.is(other),
            _ => false,
        }
    }

    /// What speaks TLS for one probe, and whose certificate is wanted. Every probe sees the certificate anew.
    ///
    /// *Errors*: there is nothing to speak it with, or no certificate could be for the name; in words.
    pub(super) fn speaker(
        &self,
        check: &HealthCheck,
        server: &ServerAddress,
    ) -> Result<(TlsClient, ServerName), String> {
        match (self, &check.tls) {
            (Self::OfUpstream(upstream), _) => {
                let client = upstream.client()?.speaking(Protocol::of(&check.probe).offered());
                Ok((client.from_scratch(), upstream.name(server)?))
            }
            (Self::Own(client), Some(CheckTls::Own(settings))) => {
                Ok((client.clone(), certified(settings, &check.probe, server)?))
            }
            (Self::Own(_), _) => Err("nothing secures it".to_owned()),
        }
    }
}

/// Whose certificate is wanted: what is written, or else the host that is asked for, or else the server itself.
fn certified(tls: &HealthTls, probe: &HealthProbe, server: &ServerAddress) -> Result<ServerName, String> {
    let host = match probe {
        HealthProbe::Tcp(_) | HealthProbe::Udp(_) => None,
        HealthProbe::Http(probe) => probe.host.as_deref(),
        HealthProbe::Grpc { host, .. } => host.as_deref(),
    };
    let host = host.and_then(|host| isobar_wire::Authority::parse(host.as_bytes()));
    let host = host.map(|authority| String::from_utf8_lossy(authority.host).into_owned());
    let name = match (&tls.server_name, host, server) {
        (Some(name), _, _) => name.to_string(),
        (None, Some(host), _) => host,
        (None, None, ServerAddress::Name(name, _)) => name.to_string(),
        (None, None, ServerAddress::Socket(address)) => address.ip().to_string(),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::new(bare).ok_or_else(|| format!("`{name}` is no name that a certificate could be for"))
}
