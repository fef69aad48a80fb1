//! How are the connections of probes secured?
//!
//! What can go wrong with the certificates of authorities goes wrong here, before a plan is taken into service.

use std::collections::HashMap;
use std::sync::Arc;

use isobar_net::tls::{TlsClient, Trust, TrustError};
use isobar_plan::{HealthCheck, HealthProbe, Plan, Trust as Wanted};

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

    /// What secures the connections of a check; none: they are not secured.
    pub(super) fn of(&self, check: &HealthCheck) -> Option<&TlsClient> {
        self.0.get(&Key::of(check)?)
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
        let protocols: &[&[u8]] = match key.protocol {
            Protocol::Unsaid => &[],
            Protocol::Http11 => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2"],
        };
        TlsClient::new(trust, protocols)
    }
}

impl Key {
    fn of(check: &HealthCheck) -> Option<Self> {
        let tls = check.tls.as_ref()?;
        Some(Self {
            trust: tls.trust.clone(),
            protocol: match check.probe {
                HealthProbe::Tcp(_) => Protocol::Unsaid,
                HealthProbe::Http(_) => Protocol::Http11,
                HealthProbe::Grpc { .. } => Protocol::Http2,
            },
        })
    }
}
