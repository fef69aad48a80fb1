//! How is a parent asked to take a client on?
//!
//! *Source*: RFC 9110 section 9.3.6, RFC 7617; RFC 1928 and RFC 1929.

use std::future::poll_fn;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isobar_net::stream::Stream;
use isobar_plan::{ParentLogin, ParentProtocol, ParentProxy};
use isobar_route::destination::DestinationHost;
use isobar_wire::{HeadLimits, Method, Parsed, RequestKind, ResponseHead, write};

use crate::outgoing::Outgoing;
use crate::reach::{Purpose, Wish};

/// Bytes of a parent's answer at most.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Whether the parent is told where to go before anything else.
pub(crate) fn is_told(parent: &ParentProxy, purpose: Purpose) -> bool {
    !(parent.protocol == ParentProtocol::Http && purpose == Purpose::Requests)
}

/// The value of `Proxy-Authorization` for a parent.
pub(crate) fn authorization(login: &ParentLogin) -> String {
    let mut claim = login.user.as_bytes().to_vec();
    claim.push(b':');
    claim.extend_from_slice(&login.password.0);
    format!("Basic {}", STANDARD.encode(claim))
}

/// Has the parent connect to where the client wants to go; gives what came from there already.
///
/// *Errors*: the parent did not; in words.
pub(crate) async fn introduce(stream: &mut Stream, parent: &ParentProxy, wish: &Wish) -> Result<Vec<u8>, String> {
    match parent.protocol {
        ParentProtocol::Http => connect(stream, parent, wish).await,
        ParentProtocol::Socks5 => socks(stream, parent, wish).await,
    }
}

async fn connect(stream: &mut Stream, parent: &ParentProxy, wish: &Wish) -> Result<Vec<u8>, String> {
    let authority = wish.authority();
    let mut request = Vec::new();
    write::request_line(&mut request, b"CONNECT", authority.as_bytes());
    write::field(&mut request, b"Host", authority.as_bytes());
    if let Some(login) = &parent.login {
        write::field(&mut request, b"Proxy-Authorization", authorization(login).as_bytes());
    }
    write::end(&mut request);
    send(stream, &request).await?;
    let kind = RequestKind {
        method: Method::Connect,
        upgrade: false,
    };
    let limits = HeadLimits {
        max_bytes: MAX_ANSWER_BYTES,
        max_fields: 100,
    };
    let mut head = ResponseHead::new();
    let mut bytes = Vec::new();
    loop {
        receive(stream, &mut bytes).await?;
        match head.parse(&bytes, kind, limits) {
            Ok(Parsed::Partial) => {}
            Ok(Parsed::Complete) if head.is_interim() => drop(bytes.drain(..head.len)),
            Ok(Parsed::Complete) if (200..300).contains(&head.status) => return Ok(bytes.split_off(head.len)),
            Ok(Parsed::Complete) => {
                let reason = write::reason_phrase(head.status);
                return Err(format!("the parent proxy answers {} {reason}", head.status));
            }
            Err(error) => return Err(format!("the parent proxy's answer cannot be read: {error}")),
        }
    }
}

async fn socks(stream: &mut Stream, parent: &ParentProxy, wish: &Wish) -> Result<Vec<u8>, String> {
    const PASSWORD: u8 = 2;
    let mut bytes = Vec::new();
    let method = if parent.login.is_some() { PASSWORD } else { 0 };
    send(stream, &[5, 1, method]).await?;
    match exactly(stream, &mut bytes, 2).await?[..] {
        [5, chosen] if chosen == method => {}
        [5, _] => return Err("the parent proxy does not take this way to say who one is".to_owned()),
        _ => return Err("the parent proxy does not speak SOCKS 5".to_owned()),
    }
    if let Some(login) = &parent.login {
        let mut claim = vec![1];
        for part in [login.user.as_bytes(), &login.password.0] {
            // The configuration keeps both within a byte.
            claim.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            claim.extend_from_slice(part);
        }
        send(stream, &claim).await?;
        if exactly(stream, &mut bytes, 2).await?.get(1) != Some(&0) {
            return Err("the parent proxy does not take the user name and the password".to_owned());
        }
    }
    send(stream, &request(wish)).await?;
    let head = exactly(stream, &mut bytes, 5).await?;
    let (code, kind, first) = match head[..] {
        [5, code, 0, kind, first] => (code, kind, first),
        _ => return Err("the parent proxy's answer cannot be read".to_owned()),
    };
    if code != 0 {
        return Err(format!("the parent proxy answers {}", meaning(code)));
    }
    let rest = match kind {
        1 => 3 + 2,
        3 => usize::from(first) + 2,
        4 => 15 + 2,
        _ => return Err("the parent proxy's answer cannot be read".to_owned()),
    };
    exactly(stream, &mut bytes, rest).await?;
    Ok(bytes)
}

fn request(wish: &Wish) -> Vec<u8> {
    let mut request = vec![5, 1, 0];
    match &wish.host {
        DestinationHost::Address(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        DestinationHost::Address(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        DestinationHost::Name(name) => {
            // A name has 253 bytes at most.
            request.extend_from_slice(&[3, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&wish.port.to_be_bytes());
    request
}

fn meaning(code: u8) -> &'static str {
    match code {
        1 => "that it failed",
        2 => "that its rules do not allow it",
        3 => "that the network cannot be reached",
        4 => "that the host cannot be reached",
        5 => "that the host refused",
        6 => "that it took too long",
        7 | 8 => "that it does not support that",
        _ => "something that has no meaning",
    }
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), String> {
    let mut outgoing = Outgoing::default();
    outgoing.end().extend_from_slice(bytes);
    let sent = poll_fn(|cx| outgoing.poll_flush(cx, stream)).await;
    sent.map_err(|_| "the parent proxy closed the connection".to_owned())
}

/// Reads something behind what there is.
async fn receive(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut buffer = vec![0; 4096];
    let read = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await;
    match read {
        Ok(count) if count > 0 => {
            bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
            Ok(())
        }
        _ => Err("the parent proxy closed the connection".to_owned()),
    }
}

/// Takes so many bytes off the front, and waits for them.
async fn exactly(stream: &mut Stream, bytes: &mut Vec<u8>, count: usize) -> Result<Vec<u8>, String> {
    while bytes.len() < count {
        receive(stream, bytes).await?;
    }
    let rest = bytes.split_off(count);
    Ok(std::mem::replace(bytes, rest))
}
