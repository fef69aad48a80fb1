//! What is one probe?
//!
//! It knows how to reach an address and to secure the connection; what is said over it has a file for each kind.

mod bounded;
mod grpc;
mod heard;
mod http;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use isobar_net::stream::Stream;
use isobar_plan::{HealthCheck, HealthProbe, ProxyVersion, ServerAddress};
use isobar_wire::proxy_protocol::{self, Endpoints, ProxyHeader, Tlvs};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use self::bounded::Bounded;
use super::progress::Progress;
use super::tls::Secures;

/// What is asked of one server, and how it is reached.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) check: Arc<HealthCheck>,
    /// The server's address as written.
    pub(super) server: ServerAddress,
    /// What secures the connection; none: nothing does.
    pub(super) tls: Option<Secures>,
}

/// Bytes of a reason at most: a certificate alone can be for hundreds of names.
const MAX_REASON: usize = 500;

/// Asks one of a server's addresses. Waits without bound: the caller has a deadline.
///
/// *Errors*: what was wrong, in words.
pub(super) async fn run(question: Question, address: SocketAddr, progress: Progress) -> Result<(), String> {
    ask(question, address, progress).await.map_err(|mut reason| {
        if reason.len() > MAX_REASON {
            reason.truncate(reason.floor_char_boundary(MAX_REASON));
            reason.push('…');
        }
        reason
    })
}

async fn ask(question: Question, mut address: SocketAddr, progress: Progress) -> Result<(), String> {
    let Question { check, server, tls } = question;
    let server = on_port(server, check.port);
    if let Some(port) = check.port {
        address.set_port(port);
    }
    let header = check.proxy_protocol.map(speaks_for_itself).unwrap_or_default();
    if let HealthProbe::Udp(probe) = &check.probe {
        return udp::ask(address, (&header, probe), (check.timeout / 2, &progress)).await;
    }
    progress.now(format!("connecting to {address}"));
    let stream = Stream::connect(address)
        .await
        .map_err(|error| format!("connect to {address}: {error}"))?;
    let mut stream = Bounded::new(stream);
    if !header.is_empty() {
        send(&mut stream, &header).await?;
    }
    let mut stream: Box<dyn Duplex> = match tls {
        Some(tls) => {
            progress.now("in the TLS handshake");
            let (client, name) = tls.speaker(&check, &server)?;
            let secured = client.connect(name, stream).await;
            Box::new(secured.map_err(|error| format!("TLS with {address}: {error}"))?)
        }
        None => Box::new(stream),
    };
    let (scheme, usual_port) = if check.tls.is_some() {
        ("https", 443)
    } else {
        ("http", 80)
    };
    match &check.probe {
        HealthProbe::Tcp(steps) => tcp::ask(&mut *stream, steps, &progress).await,
        // It has no connection.
        HealthProbe::Udp(_) => Ok(()),
        HealthProbe::Http(probe) => {
            let own = || authority(&server, usual_port);
            let host = probe.host.as_deref().map_or_else(own, str::to_owned);
            http::ask(&mut *stream, probe, &host, &progress).await
        }
        HealthProbe::Grpc { service, host } => {
            let own = || authority(&server, usual_port);
            let host = host.as_deref().map_or_else(own, str::to_owned);
            grpc::ask(stream, &format!("{scheme}://{host}"), service, &progress).await
        }
    }
}

/// The header of the PROXY protocol that says that nobody else is spoken for.
fn speaks_for_itself(version: ProxyVersion) -> Vec<u8> {
    let mut header = Vec::new();
    let local = ProxyHeader {
        version: match version {
            ProxyVersion::V1 => proxy_protocol::ProxyVersion::V1,
            ProxyVersion::V2 => proxy_protocol::ProxyVersion::V2,
        },
        endpoints: Endpoints::Local,
        tlvs: Tlvs::default(),
        checksum: false,
    };
    // It has nothing in it that could be too long.
    let _ = local.compose(&mut header);
    header
}

/// A connection, secured or not.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

async fn send(stream: &mut dyn Duplex, bytes: &[u8]) -> Result<(), String> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await
        .map_err(|error| format!("send: {}", isobar_net::tls::explain(&error)))
}

/// Reads what is there; 0: the connection was closed.
async fn receive(stream: &mut dyn Duplex, chunk: &mut [u8]) -> Result<usize, String> {
    let read = stream.read(chunk).await;
    read.map_err(|error| format!("read: {}", isobar_net::tls::explain(&error)))
}

fn on_port(server: ServerAddress, port: Option<u16>) -> ServerAddress {
    match (server, port) {
        (ServerAddress::Name(name, _), Some(port)) => ServerAddress::Name(name, port),
        (ServerAddress::Socket(mut address), Some(port)) => {
            address.set_port(port);
            ServerAddress::Socket(address)
        }
        (server, None) => server,
    }
}

/// The server's address as a Host field has it: without the port that the scheme has anyway (RFC 9110 section 7.2).
pub(crate) fn authority(server: &ServerAddress, usual_port: u16) -> String {
    let (host, port) = match server {
        ServerAddress::Name(name, port) => (name.to_string(), *port),
        ServerAddress::Socket(SocketAddr::V4(address)) => (address.ip().to_string(), address.port()),
        ServerAddress::Socket(SocketAddr::V6(address)) => (format!("[{}]", address.ip()), address.port()),
    };
    if port == usual_port {
        host
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use isobar_plan::ServerAddress;

    use super::{authority, on_port};

    #[test]
    fn the_host_is_the_address_without_the_usual_port() {
        let check = |server, expected: &str| assert_eq!(authority(&server, 80), expected);
        let socket = |address: &str| ServerAddress::Socket(address.parse().unwrap());
        check(socket("10.0.0.1:8080"), "10.0.0.1:8080");
        check(socket("10.0.0.1:80"), "10.0.0.1");
        check(socket("[fd00::1]:80"), "[fd00::1]");
        check(socket("[fd00::1]:443"), "[fd00::1]:443");
        check(ServerAddress::Name("api.internal".into(), 80), "api.internal");
        check(ServerAddress::Name("api.internal".into(), 8080), "api.internal:8080");
        assert_eq!(authority(&socket("10.0.0.1:443"), 443), "10.0.0.1");
        check(on_port(socket("10.0.0.1:8080"), Some(81)), "10.0.0.1:81");
        check(on_port(ServerAddress::Name("a".into(), 1), Some(80)), "a");
    }
}
