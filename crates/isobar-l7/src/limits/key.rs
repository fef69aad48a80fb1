//! Whom does a limit count?
//!
//! A hash of what the limit goes by, with keys that nobody else knows: clients can choose the values of headers, and must not be
//! able to choose hashes, or they would count as somebody else. Values may be any bytes of any length; nothing of them is kept.

use std::hash::{BuildHasher as _, Hasher};
use std::net::IpAddr;

use aws_lc_rs::digest::{Context, SHA256};
use isobar_l4::throttle;
use isobar_limit::{Key, KeyName};
use isobar_plan::{Cidr, HashPart, LimitCounting, LimitKey, Listener, Route};

use super::RunningLimit;
use super::trial::Facts;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::key::Source;

/// A request, as far as keys are made of it.
pub(crate) struct Subject<'a> {
    pub(crate) client: &'a Client,
    pub(crate) listener: &'a Listener,
    pub(crate) route: Option<&'a Route>,
    pub(crate) exchange: &'a Exchange,
    /// The client's, as far as trusted proxies tell.
    pub(crate) address: IpAddr,
}

/// Bits of addresses that count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

impl Prefixes {
    /// Those of a limit.
    pub(super) const fn of(counting: &LimitCounting) -> Self {
        Self {
            v4: counting.prefix_v4,
            v6: counting.prefix_v6,
        }
    }
}

impl Facts for Subject<'_> {
    fn address(&self) -> IpAddr {
        self.address
    }

    fn part<R>(&self, part: &HashPart, f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let source = Source {
            peer: self.client.peer.ip(),
            forwarding: &self.listener.forwarding,
            exchange: self.exchange,
        };
        source.with(part, f)
    }

    fn method(&self) -> Option<&[u8]> {
        Some(self.exchange.request.method_name.of(&self.exchange.inbound))
    }

    fn listener(&self) -> &str {
        &self.listener.name
    }

    fn route(&self) -> Option<&str> {
        self.route.map(|route| &*route.name)
    }

    fn tls_name(&self) -> Option<&[u8]> {
        let secured = self.client.stream.secured();
        secured.and_then(|secured| secured.name).map(str::as_bytes)
    }
}

/// A connection has nothing that only requests have.
impl Facts for throttle::Subject<'_> {
    fn address(&self) -> IpAddr {
        self.source
    }

    fn part<R>(&self, _: &HashPart, f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        f(None)
    }

    fn method(&self) -> Option<&[u8]> {
        None
    }

    fn listener(&self) -> &str {
        self.listener
    }

    fn route(&self) -> Option<&str> {
        Some(self.route)
    }

    fn tls_name(&self) -> Option<&[u8]> {
        self.tls_name.map(str::as_bytes)
    }

    fn user(&self) -> Option<&str> {
        self.user
    }
}

/// The key for a limit, and whether all parts of it are there. One that is lacking is told apart from an empty one.
pub(super) fn of(facts: &impl Facts, limit: &RunningLimit) -> (Key, bool) {
    let counting = &limit.settings().counting;
    let mut hasher = limit.hasher().build_hasher();
    let is_whole = hash(facts, (&counting.key, Prefixes::of(counting)), &mut hasher);
    (limit.key(hasher.finish()), is_whole)
}

/// What the key is called by all instances that share the limit: nobody can choose a value whose name is that of another one.
pub(super) fn name(facts: &impl Facts, counting: &LimitCounting) -> KeyName {
    let mut naming = Naming(Context::new(&SHA256));
    hash(facts, (&counting.key, Prefixes::of(counting)), &mut naming);
    naming.name()
}

/// Adds the parts of a key; *returns* whether all of them are there.
pub(super) fn hash(facts: &impl Facts, (key, prefixes): (&[LimitKey], Prefixes), hasher: &mut impl Hasher) -> bool {
    let mut is_whole = true;
    for part in key {
        is_whole &= add(facts, part, prefixes, hasher);
    }
    is_whole
}

/// Adds a part; *returns* whether it is there.
fn add(facts: &impl Facts, part: &LimitKey, prefixes: Prefixes, hasher: &mut impl Hasher) -> bool {
    match part {
        LimitKey::Part(HashPart::ClientIp) => {
            add_address(hasher, facts.address(), prefixes);
            true
        }
        LimitKey::Part(part) => facts.part(part, |bytes| add_bytes(hasher, bytes)),
        LimitKey::Method => add_bytes(hasher, facts.method()),
        LimitKey::Route => {
            let listener = add_bytes(hasher, Some(facts.listener().as_bytes()));
            listener && add_bytes(hasher, facts.route().map(str::as_bytes))
        }
        LimitKey::TlsName => add_bytes(hasher, facts.tls_name()),
        LimitKey::User => match facts.user() {
            Some(user) => add_bytes(hasher, Some(user.as_bytes())),
            // Where nobody has to say who it is, an address is somebody.
            None => {
                hasher.write_u8(2);
                add_address(hasher, facts.address(), prefixes);
                true
            }
        },
    }
}

/// A hash that is the same everywhere.
struct Naming(Context);

impl Naming {
    fn name(self) -> KeyName {
        let digest = self.0.finish();
        // 128 bits of 256 are left.
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl Hasher for Naming {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    // Numbers are of the same bytes on all machines.
    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_be_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_be_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write(&(number as u64).to_be_bytes());
    }
}

/// Adds bytes so that they cannot be taken for others: with their length before them.
fn add_bytes(hasher: &mut impl Hasher, bytes: Option<&[u8]>) -> bool {
    match bytes {
        None => hasher.write_u8(0),
        Some(bytes) => {
            hasher.write_u8(1);
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
    }
    bytes.is_some()
}

fn add_address(hasher: &mut impl Hasher, address: IpAddr, prefixes: Prefixes) {
    match network(address, prefixes) {
        IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
        IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
    }
}

/// The address without the bits that do not count.
pub(super) fn network(address: IpAddr, prefixes: Prefixes) -> IpAddr {
    let address = address.to_canonical();
    let prefix = match address {
        IpAddr::V4(_) => prefixes.v4,
        IpAddr::V6(_) => prefixes.v6,
    };
    Cidr::new(address, prefix).map_or(address, Cidr::network)
}

/// Adds a part of a key as it is written for an override; false: no request has that.
pub(super) fn add_written(part: &LimitKey, value: &str, prefixes: Prefixes, hasher: &mut impl Hasher) -> bool {
    match part {
        LimitKey::Part(HashPart::ClientIp) => match value.parse() {
            Ok(address) => add_address(hasher, address, prefixes),
            Err(_) => return false,
        },
        LimitKey::Part(HashPart::Host) => {
            add_bytes(hasher, Some(value.to_ascii_lowercase().as_bytes()));
        }
        LimitKey::Route => {
            let Some((listener, route)) = value.split_once('/') else {
                return false;
            };
            add_bytes(hasher, Some(listener.as_bytes()));
            add_bytes(hasher, Some(route.as_bytes()));
        }
        LimitKey::Part(_) | LimitKey::Method | LimitKey::TlsName | LimitKey::User => {
            add_bytes(hasher, Some(value.as_bytes()));
        }
    }
    true
}
