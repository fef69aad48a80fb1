//! How are the connections of probes secured?
//!
//! What can go wrong with the certificates of authorities goes wrong here, before a plan is taken into service.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use isobar_net::tls::{TlsClient, Trust, TrustError};
use isobar_plan::{HealthCheck, HealthProbe, Plan, Trust as Wanted};

use crate::ApplyError;

/// Bytes of a file of certificates at most; all the authorities of a usual system take some 250 KB.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What secures the connections of the health checks of one plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients(Arc<HashMap<Key, Known>>);

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

#[derive(Debug, Clone)]
struct Known {
    /// The bytes of the file it was made from; empty where there is none.
    file: Vec<u8>,
    client: TlsClient,
}

/// Why the authorities of a check cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// It is a directory, a pipe or the like.
    #[error("it is no ordinary file")]
    NoFile,
    /// It is far too large for what it should be.
    #[error("it has more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// What it says is of no use.
    #[error("{0}")]
    Trust(#[from] TrustError),
}

impl Clients {
    /// The clients for the checks of a plan. Files are read anew; a client stays the same object as in `self` where the
    /// file says the same. The system's authorities are read once.
    pub(crate) fn next(&self, plan: &Plan) -> Result<Self, ApplyError> {
        let mut clients = HashMap::new();
        for upstream in &plan.upstreams {
            for check in &upstream.health {
                let Some(key) = Key::of(check) else { continue };
                if clients.contains_key(&key) {
                    continue;
                }
                let known = self.known(&key).map_err(|source| ApplyError::Authorities {
                    upstream: upstream.name.clone(),
                    check: check.name.clone(),
                    file: match &key.trust {
                        Wanted::File(path) => format!(" in {path}"),
                        Wanted::System | Wanted::Anyone => String::new(),
                    },
                    source,
                })?;
                clients.insert(key, known);
            }
        }
        Ok(Self(Arc::new(clients)))
    }

    /// What secures the connections of a check; none: they are not secured.
    pub(super) fn of(&self, check: &HealthCheck) -> Option<&TlsClient> {
        self.0.get(&Key::of(check)?).map(|known| &known.client)
    }

    fn known(&self, key: &Key) -> Result<Known, AuthoritiesError> {
        let file = match &key.trust {
            Wanted::File(path) => read(path)?,
            Wanted::System | Wanted::Anyone => Vec::new(),
        };
        if let Some(known) = self.0.get(key).filter(|known| known.file == file) {
            return Ok(known.clone());
        }
        let trust = match key.trust {
            Wanted::System => Trust::System,
            Wanted::File(_) => Trust::Pem(&file),
            Wanted::Anyone => Trust::Anyone,
        };
        let protocols: &[&[u8]] = match key.protocol {
            Protocol::Unsaid => &[],
            Protocol::Http11 => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2"],
        };
        let client = TlsClient::new(trust, protocols)?;
        Ok(Known { file, client })
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

fn read(path: &str) -> Result<Vec<u8>, AuthoritiesError> {
    // Something else, such as a pipe, could keep a reload waiting for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(AuthoritiesError::NoFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(AuthoritiesError::TooLarge);
    }
    Ok(bytes)
}
