//! Is this `host[:port]`? Does not know whether the host exists.
//!
//! *Source*: RFC 3986 section 3.2, without userinfo, which RFC 9110 section 4.2.4 tells to treat as an error.

use core::net::Ipv6Addr;

use super::bytes::Class;

/// The parts of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as written: a name, an IPv4 address, or an IPv6 address with its brackets. Never empty.
    pub host: &'a [u8],
    /// The port where there is one.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Takes `host[:port]` apart; none: that is not what it is. A port may be empty, which is none.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (host, rest) = match bytes.first()? {
            b'[' => {
                let (host, rest) = bytes.split_at_checked(memchr::memchr(b']', bytes)? + 1)?;
                is_ipv6(host).then_some((host, rest))?
            }
            _ => bytes.split_at_checked(name_len(bytes))?,
        };
        if host.is_empty() {
            return None;
        }
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return None,
        };
        Some(Self { host, port })
    }
}

/// Whether this is an IPv6 address in brackets. Zones (RFC 6874) have no meaning on another machine and are refused.
fn is_ipv6(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    inner
        .and_then(|inner| str::from_utf8(inner).ok())
        .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// How many bytes at the front are a `reg-name`, which IPv4 addresses are too.
fn name_len(bytes: &[u8]) -> usize {
    let mut len = Class::HOST_NAME.prefix(bytes);
    while let Some([b'%', high, low, rest @ ..]) = bytes.get(len..)
        && high.is_ascii_hexdigit()
        && low.is_ascii_hexdigit()
    {
        len += 3 + Class::HOST_NAME.prefix(rest);
    }
    len
}

fn port(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |port, &byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::Authority;

    #[test]
    fn authorities() {
        let check = |written: &str, expected: Option<(&str, Option<u16>)>| {
            let expected = expected.map(|(host, port)| Authority {
                host: host.as_bytes(),
                port,
            });
            assert_eq!(Authority::parse(written.as_bytes()), expected, "{written}");
        };
        check("example.com", Some(("example.com", None)));
        check("example.com:", Some(("example.com", None)));
        check("example.com:80", Some(("example.com", Some(80))));
        check("127.0.0.1:65535", Some(("127.0.0.1", Some(65_535))));
        check("a%2Db", Some(("a%2Db", None)));
        check("a_b", Some(("a_b", None)));
        check("[::1]", Some(("[::1]", None)));
        check("[2001:db8::1]:8080", Some(("[2001:db8::1]", Some(8_080))));
        check("", None);
        check(":80", None);
        check("a:65536", None);
        check("a:+1", None);
        check("a:8x", None);
        check("a:1:2", None);
        check("user@a", None);
        check("user:pass@a", None);
        check("a b", None);
        check("a/b", None);
        check("a%2", None);
        check("a%zz", None);
        check("[::1", None);
        check("[::1]x", None);
        check("[]", None);
        check("[fe80::1%25eth0]", None);
        check("[v1.a]", None);
        check("::1", None);
        check("ä", None);
    }
}
