//! Is this the host of a destination, and which?
//!
//! There is one spelling of each address. Whatever `inet_aton` would take for one as well (`0x7f.1`, `2130706433`, `0177.0.0.1`) is
//! refused: a rule would see a name, and a resolver an address.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a client wants to go, without the port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DestinationHost {
    /// An address; never an IPv4 one mapped into IPv6.
    Address(IpAddr),
    /// A host name in lower case, without a dot at the end.
    Name(Arc<str>),
}

/// It is neither an address nor a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is neither an address in its usual spelling nor a host name")]
pub struct HostError;

/// Bytes of a name at most. RFC 1035 section 2.3.4.
const MAX_NAME_BYTES: usize = 253;

/// Bytes of a label at most.
const MAX_LABEL_BYTES: usize = 63;

impl DestinationHost {
    /// Reads a host: an IPv6 address in brackets, an IPv4 address in four decimal numbers, or a name.
    ///
    /// *Cost*: one allocation for a name.
    ///
    /// *Errors*: it is none of them.
    pub fn parse(host: &[u8]) -> Result<Self, HostError> {
        let text = str::from_utf8(host).map_err(|_| HostError)?;
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError)?;
            return inner.parse::<Ipv6Addr>().map(Self::from).map_err(|_| HostError);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::from(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if !is_name(name) {
            return Err(HostError);
        }
        let name: String = name.chars().map(|c| c.to_ascii_lowercase()).collect();
        Ok(Self::Name(name.into()))
    }
}

impl<A: Into<IpAddr>> From<A> for DestinationHost {
    fn from(address: A) -> Self {
        Self::Address(address.into().to_canonical())
    }
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label) && !ends_in_a_number(name)
}

/// Whether resolvers take it for an address: its last label is a number, in decimal or hexadecimal digits.
///
/// *Source*: the host parser of the WHATWG URL standard, "ends in a number".
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default().as_bytes();
    match last {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

impl fmt::Display for DestinationHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}
