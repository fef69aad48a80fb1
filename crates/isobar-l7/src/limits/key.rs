//! Whom does a limit count?
//!
//! A hash of what the limit goes by, with keys that nobody else knows: clients can choose the values of headers, and must not be
//! able to choose hashes, or they would count as somebody else. Values may be any bytes of any length; nothing of them is kept.

use std::hash::{BuildHasher as _, Hasher};
use std::net::IpAddr;

use aws_lc_rs::digest::{Context, SHA256};
use isobar_l4::throttle;
use isobar_limit::{Key, KeyName};
use isobar_plan::{Cidr, HashPart, LimitCounting, LimitKey};

use super::trial::Facts;
use super::{Asked, RunningLimit};
use crate::exchange::Exchange;
use crate::key::Source;

/// A request, as far as keys are made of it.
pub(super) struct Subject<'a> {
    pub(super) asked: &'a Asked<'a>,
    pub(super) exchange: &'a Exchange,
    /// The client's.
    pub(super) address: IpAddr,
}

impl Facts for Subject<'_> {
    fn address(&self) -> IpAddr {
        self.address
    }

    fn part<R>(&self, part: &HashPart, f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let source = Source {
            peer: self.asked.client.peer.ip(),
            forwarding: &self.asked.site.listener.forwarding,
            exchange: self.exchange,
        };
        source.with(part, f)
    }

    fn method(&self) -> Option<&[u8]> {
        Some(self.exchange.request.method_name.of(&self.exchange.inbound))
    }

    fn listener(&self) -> &str {
        &self.asked.site.listener.name
    }

    fn route(&self) -> Option<&str> {
        let (route, _) = self.asked.site.rules(self.asked.route)?;
        Some(&route.name)
    }

    fn tls_name(&self) -> Option<&[u8]> {
        let secured = self.asked.client.stream.secured();
        secured.and_then(|secured| secured.name).map(str::as_bytes)
    }
}

/// The key of a request for a limit, and whether the request has all parts of it. One that it lacks is told apart from an empty
/// one.
pub(super) fn of(facts: &impl Facts, limit: &RunningLimit) -> (Key, bool) {
    let counting = &limit.settings().counting;
    let mut hasher = limit.hasher().build_hasher();
    let mut is_whole = true;
    for part in &counting.key {
        is_whole &= add(facts, part, counting, &mut hasher);
    }
    (limit.key(hasher.finish()), is_whole)
}

/// What the key is called by all instances that share the limit: nobody can choose a value whose name is that of another one.
pub(super) fn name(facts: &impl Facts, counting: &LimitCounting) -> KeyName {
    let mut naming = Naming(Context::new(&SHA256));
    for part in &counting.key {
        add(facts, part, counting, &mut naming);
    }
    naming.name()
}

/// Adds a part; *returns* whether the request has it.
fn add(facts: &impl Facts, part: &LimitKey, counting: &LimitCounting, hasher: &mut impl Hasher) -> bool {
    match part {
        LimitKey::Part(HashPart::ClientIp) => {
            add_address(hasher, facts.address(), counting);
            true
        }
        LimitKey::Part(part) => facts.part(part, |bytes| add_bytes(hasher, bytes)),
        LimitKey::Method => add_bytes(hasher, facts.method()),
        LimitKey::Route => {
            let listener = add_bytes(hasher, Some(facts.listener().as_bytes()));
            listener && add_bytes(hasher, facts.route().map(str::as_bytes))
        }
        LimitKey::TlsName => add_bytes(hasher, facts.tls_name()),
        // The configuration has it at forward proxies alone.
        LimitKey::User => add_bytes(hasher, None),
    }
}

/// Adds a part of what is known of a connection; false: it has none, as of what only requests have.
pub(super) fn add_subject(
    part: &LimitKey,
    subject: &throttle::Subject<'_>,
    counting: &LimitCounting,
    hasher: &mut impl Hasher,
) -> bool {
    match part {
        LimitKey::Part(HashPart::ClientIp) => {
            add_address(hasher, subject.source, counting);
            true
        }
        LimitKey::TlsName => add_bytes(hasher, subject.tls_name.map(str::as_bytes)),
        LimitKey::Route => {
            add_bytes(hasher, Some(subject.listener.as_bytes())) && add_bytes(hasher, Some(subject.route.as_bytes()))
        }
        LimitKey::User => match subject.user {
            Some(user) => add_bytes(hasher, Some(user.as_bytes())),
            // Where nobody has to say who it is, an address is somebody.
            None => {
                hasher.write_u8(2);
                add_address(hasher, subject.source, counting);
                true
            }
        },
        LimitKey::Part(_) | LimitKey::Method => add_bytes(hasher, None),
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

fn add_address(hasher: &mut impl Hasher, address: IpAddr, counting: &LimitCounting) {
    match network(address, counting) {
        IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
        IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
    }
}

/// The address without the bits that do not count.
pub(super) fn network(address: IpAddr, counting: &LimitCounting) -> IpAddr {
    let address = address.to_canonical();
    let prefix = match address {
        IpAddr::V4(_) => counting.prefix_v4,
        IpAddr::V6(_) => counting.prefix_v6,
    };
    Cidr::new(address, prefix).map_or(address, Cidr::network)
}

/// Adds a part of a key as it is written for an override; false: no request has that.
pub(super) fn add_written(part: &LimitKey, value: &str, counting: &LimitCounting, hasher: &mut impl Hasher) -> bool {
    match part {
        LimitKey::Part(HashPart::ClientIp) => match value.parse() {
            Ok(address) => add_address(hasher, address, counting),
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
