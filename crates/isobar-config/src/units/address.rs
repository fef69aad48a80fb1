//! How are the addresses of listeners and servers written?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use isobar_plan::ServerAddress;

use super::text_traits;
use crate::setting::shape::WordShape;
use crate::setting::{Misfit, Word};

/// An address to listen on, written `127.0.0.1:8080`, `[::1]:8080`, or `:8080` for every IPv4 address of the machine
/// (`0.0.0.0:8080`). Port 0 asks the kernel for a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddress(pub SocketAddr);

/// The address of a server, written `10.0.0.1:8080`, `[::1]:80`, `backend.internal:8080`, or `:9001` for this machine
/// (`127.0.0.1:9001`). Names are in lower case and without a dot at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target(ServerAddress);

impl Target {
    /// The address in the form the plan has.
    #[must_use]
    pub fn address(&self) -> &ServerAddress {
        &self.0
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self(ServerAddress::Socket(address))
    }
}

impl Word for ListenAddress {
    fn read(text: &str) -> Result<Self, Misfit> {
        let (host, port) = split(text, "8080")?;
        let address = match host {
            Host::None => Ipv4Addr::UNSPECIFIED.into(),
            Host::Address(address) => address,
            Host::Name("*") => {
                return Err(Misfit::OTHER.help(format!("did you mean `0.0.0.0:{port}`, or `[::]:{port}`?")));
            }
            Host::Name(name) => {
                let message = format!(
                    "expected an address of this machine, found the name `{}`",
                    shorten(name)
                );
                let help = match name {
                    "localhost" => format!("did you mean `127.0.0.1:{port}`?"),
                    _ => format!("write `0.0.0.0:{port}` to listen on every IPv4 address"),
                };
                return Err(Misfit::because(message).help(help));
            }
        };
        Ok(Self(SocketAddr::new(address, port)))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }

    fn describe() -> WordShape {
        WordShape {
            name: "listen address",
            expected: "an address such as `0.0.0.0:8080` or `:8080`".to_owned(),
            pattern: Some(r"^(?:[0-9.]+|\[[0-9A-Fa-f:.]+\])?:[0-9]{1,5}$"),
            examples: &["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080", ":8080"],
            range: None,
            number: false,
        }
    }
}

impl Word for Target {
    fn read(text: &str) -> Result<Self, Misfit> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(scheme_written(scheme, rest));
        }
        let (host, port) = split(text, "80")?;
        if port == 0 {
            return Err(Misfit::because("a server cannot have port 0"));
        }
        Ok(Self(match host {
            Host::None => ServerAddress::Socket(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
            Host::Address(address) if address.is_unspecified() => {
                let message = format!("`{address}` stands for every address and cannot be connected to");
                return Err(Misfit::because(message).help(format!("did you mean `127.0.0.1:{port}`?")));
            }
            Host::Address(address) => ServerAddress::Socket(SocketAddr::new(address, port)),
            Host::Name(name) => ServerAddress::Name(host_name(name)?, port),
        }))
    }

    fn write(&self) -> String {
        match &self.0 {
            ServerAddress::Socket(address) => address.to_string(),
            ServerAddress::Name(name, port) => format!("{name}:{port}"),
        }
    }

    fn stand_in() -> Self {
        Self(ServerAddress::Socket(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)))
    }

    fn describe() -> WordShape {
        WordShape {
            name: "server address",
            expected: "an address such as `10.0.0.1:8080` or `backend.internal:8080`".to_owned(),
            pattern: Some(r"^(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])?:[0-9]{1,5}$"),
            examples: &["10.0.0.1:8080", "[2001:db8::1]:80", "backend.internal:8080", ":9001"],
            range: None,
            number: false,
        }
    }
}

text_traits!(ListenAddress, Target);

enum Host<'t> {
    None,
    Address(IpAddr),
    Name(&'t str),
}

/// Parts a text into host and port; `usual` is the port that help proposes where there is none.
fn split<'t>(text: &'t str, usual: &str) -> Result<(Host<'t>, u16), Misfit> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Err(Misfit::because("the port is missing").help(format!("did you mean `[{address}]:{usual}`?")));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(no_port(text, usual));
    };
    let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
        Some(Some(inner)) => Host::Address(inner.parse::<Ipv6Addr>().map_err(|_| not_ipv6(inner))?.into()),
        Some(None) => return Err(Misfit::OTHER),
        None if host.is_empty() => Host::None,
        None => match host.parse::<Ipv6Addr>() {
            Ok(address) => return Err(Misfit::OTHER.help(format!("did you mean `[{address}]:{port}`?"))),
            Err(_) => host.parse().map_or(Host::Name(host), Host::Address),
        },
    };
    Ok((host, read_port(port)?))
}

fn no_port(text: &str, usual: &str) -> Misfit {
    if text.parse::<u16>().is_ok() {
        return Misfit::OTHER.help(format!("did you mean `:{text}`?"));
    }
    if text.parse::<IpAddr>().is_ok() || (text.contains(['.', '[']) && host_name(text).is_ok()) || text == "localhost" {
        return Misfit::because("the port is missing").help(format!("did you mean `{text}:{usual}`?"));
    }
    Misfit::OTHER
}

fn not_ipv6(text: &str) -> Misfit {
    Misfit::because(format!("`{}` is not an IPv6 address", shorten(text)))
}

fn read_port(text: &str) -> Result<u16, Misfit> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits => Ok(port),
        _ if digits => Err(Misfit::because(format!(
            "a port is at most 65535, found `{}`",
            shorten(text)
        ))),
        _ => Err(Misfit::because(format!(
            "expected a port after the `:`, found `{}`",
            shorten(text)
        ))),
    }
}

/// Checks a name as the DNS would take it (RFC 1035 section 2.3.4), underscores allowed.
fn host_name(text: &str) -> Result<Box<str>, Misfit> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let wrong = |why: &str| {
        Err(Misfit::because(format!(
            "`{}` is not a host name: {why}",
            shorten(text)
        )))
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(known) {
        return wrong("it may hold letters, digits, `-`, `_` and `.`");
    }
    if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
        return wrong("it is too long");
    }
    if name.split('.').any(str::is_empty) {
        return wrong("a part between dots is empty");
    }
    if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return wrong("an IPv4 address has four numbers from 0 to 255");
    }
    Ok(name.to_ascii_lowercase().into())
}

fn scheme_written(scheme: &str, rest: &str) -> Misfit {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let message = "a server is an address, not a URL";
    match (scheme, authority.is_empty()) {
        ("http", false) if authority.contains(':') => {
            Misfit::because(message).help(format!("did you mean `{authority}`?"))
        }
        ("http", false) => Misfit::because(message).help(format!("did you mean `{authority}:80`?")),
        ("https", false) => {
            let port = if authority.contains(':') { "" } else { ":443" };
            let help = format!("did you mean `{authority}{port}`, and `tls: {{}}` beside `servers` of its upstream?");
            Misfit::because(message).help(help)
        }
        _ => Misfit::because(message),
    }
}

fn shorten(text: &str) -> String {
    crate::tree::shorten(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ListenAddress, Target};

    #[test]
    fn listen_addresses() {
        let check = |text: &str, expected: &str| {
            let found = text
                .parse::<ListenAddress>()
                .map_or_else(|error| error.to_string(), |address| address.to_string());
            assert_eq!(found, expected, "{text}");
        };
        let expected = "expected an address such as `0.0.0.0:8080` or `:8080`";
        check("0.0.0.0:8080", "0.0.0.0:8080");
        check(":8080", "0.0.0.0:8080");
        check("127.0.0.1:0", "127.0.0.1:0");
        check("[::]:80", "[::]:80");
        check("[0:0::1]:80", "[::1]:80");
        check("8080", &format!("{expected}, found `8080`; did you mean `:8080`?"));
        check(
            "*:8080",
            &format!("{expected}, found `*:8080`; did you mean `0.0.0.0:8080`, or `[::]:8080`?"),
        );
        check("::1", "the port is missing; did you mean `[::1]:8080`?");
        check("127.0.0.1", "the port is missing; did you mean `127.0.0.1:8080`?");
        check(
            "localhost:80",
            "expected an address of this machine, found the name `localhost`; did you mean `127.0.0.1:80`?",
        );
        check(
            "example.com:80",
            "expected an address of this machine, found the name `example.com`; write `0.0.0.0:80` to listen on every IPv4 address",
        );
        check("127.0.0.1:65536", "a port is at most 65535, found `65536`");
        check("127.0.0.1:http", "expected a port after the `:`, found `http`");
        check("127.0.0.1:+80", "expected a port after the `:`, found `+80`");
        check("127.0.0.1:", "expected a port after the `:`, found ``");
        check("[::1:80", &format!("{expected}, found `[::1:80`"));
        check("[1.2.3.4]:80", "`1.2.3.4` is not an IPv6 address");
        check("", &format!("{expected}, found ``"));
    }

    #[test]
    fn server_addresses() {
        let check = |text: &str, expected: &str| {
            let found = text
                .parse::<Target>()
                .map_or_else(|error| error.to_string(), |address| address.to_string());
            assert_eq!(found, expected, "{text}");
        };
        check("10.0.0.1:8080", "10.0.0.1:8080");
        check("[::1]:80", "[::1]:80");
        check(":9001", "127.0.0.1:9001");
        check("Backend.Internal.:8080", "backend.internal:8080");
        check("my_service:80", "my_service:80");
        check("localhost", "the port is missing; did you mean `localhost:80`?");
        check("2001:db8::1", "the port is missing; did you mean `[2001:db8::1]:80`?");
        check(
            "http://10.0.0.1:8080/",
            "a server is an address, not a URL; did you mean `10.0.0.1:8080`?",
        );
        check(
            "http://backend",
            "a server is an address, not a URL; did you mean `backend:80`?",
        );
        check(
            "https://backend/",
            "a server is an address, not a URL; did you mean `backend:443`, and `tls: {}` beside `servers` of its upstream?",
        );
        check(
            "https://10.0.0.1:8443",
            "a server is an address, not a URL; did you mean `10.0.0.1:8443`, and `tls: {}` beside `servers` of its upstream?",
        );
        check(
            "0.0.0.0:80",
            "`0.0.0.0` stands for every address and cannot be connected to; did you mean `127.0.0.1:80`?",
        );
        check(
            "10.0.0.256:80",
            "`10.0.0.256` is not a host name: an IPv4 address has four numbers from 0 to 255",
        );
        check("a..b:80", "`a..b` is not a host name: a part between dots is empty");
        check(
            "a b:80",
            "`a b` is not a host name: it may hold letters, digits, `-`, `_` and `.`",
        );
        check("10.0.0.1:0", "a server cannot have port 0");
        let long = "a".repeat(64);
        check(
            &format!("{long}:80"),
            &format!("`{}…` is not a host name: it is too long", &long[..60]),
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}|[0-9a-f:.\\[\\]]{0,24}") {
            if let Ok(address) = text.parse::<ListenAddress>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
            if let Ok(address) = text.parse::<Target>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
