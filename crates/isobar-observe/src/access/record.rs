//! What is known about a finished exchange?

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::{Cause, Picked, WallTime};

/// One finished exchange, borrowed from the connection that had it.
///
/// Byte strings are as received from the client and may hold anything, also nothing where there was nothing.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When its last byte was sent.
    pub time: WallTime,
    /// The client, as far as trusted proxies tell; otherwise the peer.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The number of the client's connection, unique in this process.
    pub connection: u64,
    /// The listener's name.
    pub listener: &'a str,
    /// The route's name; none: no route took the request.
    pub route: Option<&'a str>,
    /// The upstream's name.
    pub upstream: Option<&'a str>,
    /// The name of the last server tried; of a forward proxy, the address it went to.
    pub server: Option<&'a str>,
    /// How it was chosen; none: none was.
    pub picked: Option<Picked>,
    /// Who the client has proved to be.
    pub user: Option<&'a str>,
    /// The method.
    pub method: &'a [u8],
    /// The host that was asked for, with its port if one was given.
    pub host: &'a [u8],
    /// The request target: path and query, in the spelling received.
    pub target: &'a [u8],
    /// The client's version of HTTP, as in `HTTP/1.1`; empty: the request line was not understood.
    pub protocol: &'a str,
    /// How the client's connection is secured; none: it is not.
    pub tls: Option<Secured<'a>>,
    /// The `Referer` field.
    pub referer: &'a [u8],
    /// The `User-Agent` field.
    pub user_agent: &'a [u8],
    /// The `X-Forwarded-For` field as received.
    pub forwarded_for: &'a [u8],
    /// The `X-Request-Id` field, received or made up.
    pub request_id: &'a [u8],
    /// The status of the answer; where none was begun, [`Cause::logged_status`].
    pub status: u16,
    /// What a call of gRPC came to; none: it was none.
    pub grpc_status: Option<&'a str>,
    /// Bytes of the request body that were taken.
    pub bytes_in: u64,
    /// Bytes of the answer body that were given.
    pub bytes_out: u64,
    /// From the first byte of the request to the end of the exchange.
    pub duration: Duration,
    /// From the first byte of the request to the first of the server's answer.
    pub first_byte: Option<Duration>,
    /// How long the request waited for a server; zero: not at all.
    pub queue: Duration,
    /// How long the last connection took to be made; none: a kept one was used, or none was made.
    pub connect: Option<Duration>,
    /// Servers tried, the last included.
    pub attempts: u8,
    /// The servers that did not answer and why, as in `a:connect_failed b:503`; empty: none.
    pub tried: &'a [u8],
    /// Why a connection to a server could not be secured, in words; empty: there was no such failure.
    pub tls_error: &'a [u8],
    /// The name of the limit that refused it; none: none did.
    pub limit: Option<&'a str>,
    /// The name of a limit that would have, were it enforced.
    pub limit_shadow: Option<&'a str>,
    /// How long limits made it wait.
    pub limit_delay: Duration,
    /// How long its bytes waited for the sake of limits, of both ways together.
    pub throttled: Duration,
    /// What the tightest of its limits had left; none: none was asked.
    pub limit_remaining: Option<u64>,
    /// Whether a further try was left out because the budget for retries was used up.
    pub retry_refused: bool,
    /// Whether the connection was upgraded to another protocol.
    pub upgraded: bool,
    /// How it ended.
    pub cause: Cause,
    /// What exactly was wrong with what the client sent; empty: nothing, or the cause says it all.
    pub detail: &'a str,
}

/// How a client's connection is secured.
#[derive(Debug, Clone, Copy)]
pub struct Secured<'a> {
    /// The version of TLS.
    pub version: &'static str,
    /// The cipher suite.
    pub cipher: Option<&'static str>,
    /// The name the client asked for.
    pub name: Option<&'a str>,
}
