//! What is one probe?

use std::future::poll_fn;
use std::net::SocketAddr;

use isobar_net::stream::Stream;
use isobar_plan::HealthProbe;
use isobar_wire::{HeadLimits, Method, Parsed, RequestKind, ResponseHead, write};

/// What is read of an answer's head at most.
const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16 * 1024,
    max_fields: 128,
};

/// Probes a server once. Waits without bound: the caller has a deadline.
///
/// *Errors*: what was wrong, in words.
pub(crate) async fn run(address: SocketAddr, name: &str, probe: &HealthProbe) -> Result<(), String> {
    let mut stream = Stream::connect(address)
        .await
        .map_err(|error| format!("connect to {address}: {error}"))?;
    let HealthProbe::Http { path, host, expect } = probe else {
        return Ok(());
    };
    send(&mut stream, &request(path, host.as_deref().unwrap_or(name))).await?;
    let status = read_status(&mut stream).await?;
    if expect.contains(status) {
        Ok(())
    } else {
        Err(format!("GET {path} answered {status}"))
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
