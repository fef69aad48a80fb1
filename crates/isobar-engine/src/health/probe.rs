//! What is one probe?

use std::future::poll_fn;
use std::net::SocketAddr;

use isobar_net::stream::Stream;
use isobar_plan::{HealthProbe, ServerAddress};
use isobar_wire::{HeadLimits, Method, Parsed, RequestKind, ResponseHead, write};

/// What is read of an answer's head at most.
const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16 * 1024,
    max_fields: 128,
};

/// Probes a server once. Waits without bound: the caller has a deadline.
///
/// *Errors*: what was wrong, in words.
pub(crate) async fn run(address: SocketAddr, server: &ServerAddress, probe: &HealthProbe) -> Result<(), String> {
    let mut stream = Stream::connect(address)
        .await
        .map_err(|error| format!("connect to {address}: {error}"))?;
    let HealthProbe::Http { path, host, expect } = probe else {
        return Ok(());
    };
    let own = || authority(server);
    send(
        &mut stream,
        &request(path, &host.as_deref().map_or_else(own, str::to_owned)),
    )
    .await?;
    let status = read_status(&mut stream).await?;
    if expect.contains(status) {
        Ok(())
    } else {
        Err(format!("GET {path} answered {status}"))
    }
}

/// The server's address as a Host field has it: without the port that HTTP has anyway (RFC 9110 section 7.2).
fn authority(server: &ServerAddress) -> String {
    const DEFAULT_PORT: u16 = 80;
    let (host, port) = match server {
        ServerAddress::Name(name, port) => (name.to_string(), *port),
        ServerAddress::Socket(SocketAddr::V4(address)) => (address.ip().to_string(), address.port()),
        ServerAddress::Socket(SocketAddr::V6(address)) => (format!("[{}]", address.ip()), address.port()),
    };
    if port == DEFAULT_PORT {
        host
    } else {
        format!("{host}:{port}")
    }
}

fn request(path: &str, host: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write::request_line(&mut request, b"GET", path.as_bytes());
    write::field(&mut request, b"Host", host.as_bytes());
    write::field(&mut request, b"User-Agent", b"isobar-health-check");
    write::field(&mut request, b"Connection", b"close");
    write::end(&mut request);
    request
}

async fn send(stream: &mut Stream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| stream.poll_write(cx, bytes))
            .await
            .map_err(|error| format!("send: {error}"))?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Reads up to the final head; the body is of no interest.
async fn read_status(stream: &mut Stream) -> Result<u16, String> {
    let mut head = ResponseHead::new();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let kind = RequestKind {
        method: Method::Get,
        upgrade: false,
    };
    loop {
        let count = poll_fn(|cx| stream.poll_read(cx, &mut chunk))
            .await
            .map_err(|error| format!("read: {error}"))?;
        if count == 0 {
            return Err("the connection was closed before an answer".to_owned());
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        loop {
            match head
                .parse(&bytes, kind, LIMITS)
                .map_err(|error| format!("not HTTP: {error}"))?
            {
                Parsed::Partial => break,
                Parsed::Complete if head.is_interim() => drop(bytes.drain(..head.len)),
                Parsed::Complete => return Ok(head.status),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use isobar_plan::ServerAddress;

    use super::authority;

    #[test]
    fn the_host_is_the_address_without_the_usual_port() {
        let check = |server, expected: &str| assert_eq!(authority(&server), expected);
        let socket = |address: &str| ServerAddress::Socket(address.parse().unwrap());
        check(socket("10.0.0.1:8080"), "10.0.0.1:8080");
        check(socket("10.0.0.1:80"), "10.0.0.1");
        check(socket("[fd00::1]:80"), "[fd00::1]");
        check(socket("[fd00::1]:443"), "[fd00::1]:443");
        check(ServerAddress::Name("api.internal".into(), 80), "api.internal");
        check(ServerAddress::Name("api.internal".into(), 8080), "api.internal:8080");
    }
}
