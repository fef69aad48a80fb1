//! How does a client's connection become a secured one, and what are servers and browsers told of it?

use std::future::poll_fn;
use std::io::Write as _;
use std::rc::Rc;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isobar_net::stream::{Agreed, HandshakeError};
use isobar_net::tls::{TlsServer, Version};
use isobar_observe::access::Secured;
use isobar_plan::{Hsts, ListenerTls};

use crate::Worker;
use crate::connection::Client;

/// What secures the connections of one listener, and what is said about that.
#[derive(Debug, Clone)]
pub struct SiteTls {
    server: TlsServer,
    /// The field that browsers are sent; empty: none is.
    hsts: Box<[u8]>,
    forwards_certificates: bool,
}

impl SiteTls {
    /// What the plan asks for, by way of `server`.
    #[must_use]
    pub fn new(server: TlsServer, plan: &ListenerTls) -> Self {
        Self {
            server,
            hsts: plan.hsts.map(hsts_field).unwrap_or_default().into(),
            forwards_certificates: plan.clients.as_ref().is_some_and(|clients| clients.forward),
        }
    }

    /// Whether servers are told of certificates that clients show.
    pub(crate) fn forwards_certificates(&self) -> bool {
        self.forwards_certificates
    }
}

/// *Source*: RFC 6797 section 6.1.
fn hsts_field(hsts: Hsts) -> Vec<u8> {
    let mut field = Vec::new();
    // Writing into a Vec cannot fail.
    let _ = write!(field, "Strict-Transport-Security: max-age={}", hsts.max_age.as_secs());
    if hsts.include_subdomains {
        field.extend_from_slice(b"; includeSubDomains");
    }
    if hsts.preload {
        field.extend_from_slice(b"; preload");
    }
    field.extend_from_slice(b"\r\n");
    field
}

/// What is known of a connection that is secured, and of all requests on it.
#[derive(Debug)]
pub(crate) struct SecuredClient {
    /// The value of `Client-Cert`; empty: the client showed no certificate.
    pub(crate) certificate: Box<[u8]>,
    /// Whether it speaks HTTP/2.
    pub(crate) http2: bool,
}

/// What a request in plain HTTP is answered with where TLS is spoken.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 77\r\n\
    Connection: close\r\n\r\n\
    400 Bad Request: This is a port for HTTPS; the request was sent without TLS.\n";

/// Agrees with the client on keys, if its listener wants that; `first` is what was read from it already. False: the connection is over.
pub(crate) async fn handshake(client: &mut Client, worker: &Worker, first: Vec<u8>) -> bool {
    let site = Rc::clone(&client.site);
    let Some(tls) = &site.site.tls else {
        return true;
    };
    let stats = site.site.stats.of(worker.id);
    let secured = client
        .stream
        .connection()
        .map(|stream| stream.secure_client_after(&tls.server, first));
    if !matches!(secured, Some(Ok(()))) {
        stats.tls_failures.increment();
        return false;
    }
    client
        .timer
        .set(client.idle_since + site.site.listener.timeouts.handshake);
    let agreed = poll_fn(|cx| match client.stream.poll_handshake(cx) {
        Poll::Ready(agreed) => Poll::Ready(Some(agreed)),
        Poll::Pending if worker.is_cutting() => Poll::Ready(None),
        Poll::Pending => {
            worker.roster.note(client.seat(), cx.waker());
            client.timer.poll_expired(cx).map(|()| None)
        }
    });
    match agreed.await {
        Some(Ok(())) => {
            stats.tls_handshakes.increment();
            let agreed = client.stream.agreed();
            if agreed.is_some_and(|agreed| agreed.resumed) {
                stats.tls_resumptions.increment();
            }
            let certificate = agreed.and_then(|agreed| agreed.certificate);
            let http2 = agreed.and_then(|agreed| agreed.protocol) == Some(b"h2");
            client.secured = Some(Rc::new(SecuredClient {
                certificate: certificate.map(client_cert).unwrap_or_default().into(),
                http2,
            }));
            client.idle_since = worker.wheel.now();
            return true;
        }
        Some(Err(HandshakeError::PlainHttp)) => {
            stats.tls_not_spoken.increment();
            client.stream.unsecure();
            let told = poll_fn(|cx| client.stream.poll_write(cx, PLAIN_HTTP)).await;
            if told.is_ok() {
                client.linger(worker).await;
            }
        }
        Some(Err(HandshakeError::NotTls)) => stats.tls_not_spoken.increment(),
        Some(Err(HandshakeError::Tls(_))) => {
            stats.tls_failures.increment();
            // It has been told why, and should hear it.
            client.linger(worker).await;
        }
        Some(Err(HandshakeError::Broken(_))) | None => stats.tls_abandoned.increment(),
    }
    false
}

/// The field that a browser is sent, line end included; empty: none is. Over a connection that is not secured it would be worth
/// nothing (RFC 6797 section 7.2), and such a connection may be older than the settings.
pub(crate) fn hsts(client: &Client) -> &[u8] {
    match &client.site.site.tls {
        Some(tls) if client.stream.is_secured() => &tls.hsts,
        _ => &[],
    }
}

/// A certificate as servers are told of it: a byte sequence of structured fields (RFC 9440 section 2.1).
fn client_cert(certificate: &[u8]) -> Vec<u8> {
    format!(":{}:", STANDARD.encode(certificate)).into_bytes()
}

/// How a connection is secured, for the access log.
pub(crate) fn logged(agreed: Agreed<'_>) -> Secured<'_> {
    Secured {
        version: match agreed.version {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        },
        cipher: agreed.cipher,
        name: agreed.asked,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_it_says() {
        let text = std::str::from_utf8(PLAIN_HTTP).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{}",
            body.len()
        );
    }

    #[test]
    fn what_browsers_are_told() {
        let check = |include_subdomains, preload, expected: &str| {
            let hsts = Hsts {
                max_age: Duration::from_hours(24),
                include_subdomains,
                preload,
            };
            let field = String::from_utf8(hsts_field(hsts)).unwrap();
            assert_eq!(field, format!("Strict-Transport-Security: max-age=86400{expected}\r\n"));
        };
        check(false, false, "");
        check(true, false, "; includeSubDomains");
        check(true, true, "; includeSubDomains; preload");
    }

    #[test]
    fn servers_are_told_of_certificates_in_base64() {
        assert_eq!(client_cert(b"\x30\x82\xff"), b":MIL/:");
    }
}
