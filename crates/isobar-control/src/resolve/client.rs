//! What does the name service say of a name?
//!
//! One question, one answer with its time to live. When to ask again is for the schedule to decide; nothing is
//! cached here, so that a TTL is counted once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use super::schedule::Answer;
use crate::stamp::Stamp;

/// How long one question may take, retries and search domains included.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long an entry of the hosts file is believed: it has no TTL, and looking again costs a `stat`.
const HOSTS_TTL: Duration = Duration::from_secs(5);

const HOSTS_FILE: &str = "/etc/hosts";
const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// Asks the name service.
#[derive(Debug)]
pub struct DnsClient {
    origin: Origin,
    // Rebuilt when the system's files change; held only to look, never across a question.
    current: Mutex<Option<Built>>,
}

/// Why it is not known what a name stands for; in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The name does not exist, or has no address: asking again soon is of no use.
    #[error("{0}")]
    NoAddress(String),
    /// The name service could not say.
    #[error("{0}")]
    Failed(String),
}

#[derive(Debug)]
enum Origin {
    System,
    Servers(Vec<SocketAddr>),
}

#[derive(Debug, Clone)]
struct Built {
    stamps: [Option<Stamp>; 2],
    hosts: Arc<Hosts>,
    resolver: Arc<TokioResolver>,
}

impl DnsClient {
    /// Asks as the system says: `/etc/hosts` first, then the servers of `/etc/resolv.conf`. Both are read again when
    /// they change.
    #[must_use]
    pub fn system() -> Self {
        Self {
            origin: Origin::System,
            current: Mutex::default(),
        }
    }

    /// Asks these servers and nobody else, over UDP, and over TCP when an answer is too large.
    #[must_use]
    pub fn servers(servers: Vec<SocketAddr>) -> Self {
        Self {
            origin: Origin::Servers(servers),
            current: Mutex::default(),
        }
    }

    /// What a name stands for now.
    ///
    /// *Errors*: the name does not exist, has no address, or nobody answers in time; in words for an operator.
    pub(super) async fn lookup(&self, name: &str) -> Result<Answer, String> {
        self.ask(name, name).await.map_err(|unknown| unknown.to_string())
    }

    /// The addresses that a name stands for now, and how long that holds. Names with a dot are looked up as they are, without the
    /// system's search domains.
    ///
    /// *Errors*: the name does not exist, has no address, or nobody answers in time.
    pub async fn addresses(&self, name: &str) -> Result<(Vec<IpAddr>, Duration), Unknown> {
        let whole = if name.contains('.') {
            format!("{name}.")
        } else {
            name.to_owned()
        };
        let Answer { addresses, ttl } = self.ask(name, &whole).await?;
        Ok((addresses, ttl))
    }

    /// Looks into the hosts file for a name as it is written there, and asks for it as it is asked for.
    async fn ask(&self, written: &str, asked: &str) -> Result<Answer, Unknown> {
        let built = self.current().map_err(Unknown::Failed)?;
        if let Some(addresses) = in_hosts(&built.hosts, written) {
            return Ok(Answer {
                addresses,
                ttl: HOSTS_TTL,
            });
        }
        match tokio::time::timeout(DEADLINE, built.resolver.lookup_ip(asked)).await {
            Ok(Ok(found)) => Ok(answer(&found)),
            Ok(Err(error)) => Err(unknown(&error)),
            Err(_) => Err(Unknown::Failed("the name servers do not answer".to_owned())),
        }
    }

    fn current(&self) -> Result<Built, String> {
        let stamps = match self.origin {
            Origin::System => [HOSTS_FILE, RESOLVER_FILE].map(|path| Stamp::of(Path::new(path))),
            Origin::Servers(_) => [None; 2],
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = current.as_ref().filter(|built| built.stamps == stamps) {
            return Ok(built.clone());
        }
        let built = self.build(stamps)?;
        *current = Some(built.clone());
        Ok(built)
    }

    fn build(&self, stamps: [Option<Stamp>; 2]) -> Result<Built, String> {
        let failed = |error: NetError| format!("failed to read {RESOLVER_FILE}: {error}");
        let (mut builder, hosts) = match &self.origin {
            Origin::System => (
                TokioResolver::builder_tokio().map_err(failed)?,
                Hosts::from_system().unwrap_or_default(),
            ),
            Origin::Servers(servers) => {
                let config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
                (
                    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()),
                    Hosts::default(),
                )
            }
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        // The hosts file is consulted before this, for the name as written, as the C library does.
        options.use_hosts_file = ResolveHosts::Never;
        // An alias may live shorter than the address behind it.
        options.preserve_intermediates = true;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Built {
            stamps,
            hosts: Arc::new(hosts),
            resolver: Arc::new(resolver),
        })
    }
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(server.ip(), true, connections)
}

fn in_hosts(hosts: &Hosts, name: &str) -> Option<Vec<IpAddr>> {
    let name = Name::from_utf8(name).ok()?;
    let of_type = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(of_type)
        .flat_map(|lookup| LookupIp::from(lookup).iter().collect::<Vec<_>>())
        .collect();
    (!found.is_empty()).then_some(found)
}

fn answer(found: &LookupIp) -> Answer {
    let relevant = |data: &RData| matches!(data, RData::A(_) | RData::AAAA(_) | RData::CNAME(_));
    let ttl = found
        .as_lookup()
        .answers()
        .iter()
        .filter(|r| relevant(&r.data))
        .map(|r| r.ttl)
        .min();
    Answer {
        addresses: found.iter().collect(),
        ttl: Duration::from_secs(u64::from(ttl.unwrap_or(0))),
    }
}

fn unknown(error: &NetError) -> Unknown {
    let is_said = |code| matches!(code, ResponseCode::NXDomain | ResponseCode::NoError);
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if is_said(none.response_code) => {
            Unknown::NoAddress(reason(error))
        }
        _ => Unknown::Failed(reason(error)),
    }
}

/// The failure in an operator's words, without the query's details: the log line names the name already.
fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            "no such name".to_owned()
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError => {
            "the name has no addresses".to_owned()
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) => format!("the name server says {}", none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server says {code}"),
        NetError::Timeout => "the name servers do not answer".to_owned(),
        NetError::NoConnections => "no name server can be reached".to_owned(),
        NetError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "the name server refuses connections".to_owned()
        }
        other => other.to_string(),
    }
}
