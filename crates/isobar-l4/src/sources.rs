//! How many connections may one source have at a listener, and how often may it come?
//!
//! A source is an address, of IPv6 a network of 64 bits, as a proxy that is listed tells it. All workers count in one table, which
//! stays when the limits of its listener change.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_limit::{Claim, Concurrency, Enforcement, Gcra, Grant, Key, Limit, Table, TableSettings, Transaction};
use isobar_observe::Cause;
use isobar_plan::{Cidr, SourceLimits};
use isobar_upstream::moment;

use crate::OpenConnections;

/// Sources that are sure to find room, each for both limits: 12 MB, taken when the first connection is counted.
const MAX_SOURCES: u32 = 100_000;

/// Bits of an IPv6 address that tell sources apart.
const PREFIX_V6: u8 = 64;

/// For how long is remembered what a source took that found no room in the table.
const MEMORY: Duration = Duration::from_secs(60);

/// What the sources of one listener have taken.
#[derive(Debug)]
pub(crate) struct Books {
    table: Table,
    hasher: RandomState,
}

/// A connection that is counted for its source; uncounted when this is dropped.
#[derive(Debug)]
pub struct Entered {
    open: Arc<OpenConnections>,
    limit: Limit,
    grant: Grant,
}

impl Books {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(&TableSettings {
                max_keys: MAX_SOURCES * 2,
                memory: MEMORY,
                relax: std::thread::yield_now,
                advise: isobar_net::limits::prefer_large_pages,
            }),
            hasher: RandomState::new(),
        }
    }

    /// The keys of a source for the limit on how many it has, and for that on how often it comes.
    fn keys(&self, source: IpAddr) -> [Key; 2] {
        let source = match source.to_canonical() {
            address @ IpAddr::V4(_) => address,
            address @ IpAddr::V6(_) => Cidr::new(address, PREFIX_V6).map_or(address, Cidr::network),
        };
        [0, 1].map(|limit| {
            let mut hasher = self.hasher.build_hasher();
            hasher.write_u8(limit);
            match source {
                IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
                IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
            }
            Key::new(hasher.finish())
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let now = moment(Instant::now());
        self.open.books().table.settle(&self.limit, &self.grant, 0, now);
    }
}

/// Counts a connection for its source; none: the listener limits no sources.
///
/// *Errors*: the source has as many, or came as often, as it may; the connection is to be closed.
///
/// *Cost*: two decisions, and one allocation where there is a limit on how many there are.
pub fn enter(
    open: &Arc<OpenConnections>,
    limits: &SourceLimits,
    source: IpAddr,
    now: Instant,
) -> Result<Option<Box<Entered>>, Cause> {
    let at_once = limits
        .max_connections
        .map(|most| Limit::Concurrency(Concurrency::new(most.into())));
    let rate = limits.rate.map(|rate| Limit::Gcra(Gcra::new(rate, rate.units())));
    if at_once.is_none() && rate.is_none() {
        return Ok(None);
    }
    let books = open.books();
    let [key, rate_key] = books.keys(source);
    let claim = |(limit, key)| Claim {
        table: &books.table,
        limit,
        key,
        cost: 1,
        enforcement: &Enforcement::FULL,
        shared: None,
    };
    let rate = rate.as_ref().map(|limit| claim((limit, rate_key)));
    let now = moment(now);
    // What the one took is given back where the other refuses.
    let mut transaction = Transaction::default();
    match (&at_once, rate) {
        (Some(limit), Some(rate)) => {
            let asked = transaction.ask(&[claim((limit, key)), rate], now);
            let refused = |index| {
                if index == 0 {
                    Cause::SourceConnections
                } else {
                    Cause::SourceRate
                }
            };
            asked.map_err(|denial| refused(denial.claim))?;
        }
        (Some(limit), None) => {
            let asked = transaction.ask(&[claim((limit, key))], now);
            asked.map_err(|_| Cause::SourceConnections)?;
        }
        (None, Some(rate)) => {
            transaction.ask(&[rate], now).map_err(|_| Cause::SourceRate)?;
        }
        (None, None) => return Ok(None),
    }
    let held = at_once.zip(transaction.grant(0).copied());
    Ok(held.map(|(limit, grant)| {
        let open = Arc::clone(open);
        Box::new(Entered { open, limit, grant })
    }))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use isobar_plan::Rate;

    use super::*;

    fn limits(max_connections: Option<u32>, rate: Option<u64>) -> SourceLimits {
        let rate = rate.map(|units| Rate::new(units, Duration::from_secs(3_600)));
        SourceLimits { max_connections, rate }
    }

    #[test]
    fn each_source_has_its_own_and_gives_it_back() {
        let (open, now) = (Arc::new(OpenConnections::new(1)), Instant::now());
        let limits = limits(Some(2), None);
        let enter = |last: u8| enter(&open, &limits, Ipv4Addr::new(10, 0, 0, last).into(), now);
        let (first, _second) = (enter(1).unwrap(), enter(1).unwrap());
        assert_eq!(enter(1).unwrap_err(), Cause::SourceConnections);
        assert!(enter(2).unwrap().is_some());
        drop(first);
        assert!(enter(1).unwrap().is_some());
    }

    #[test]
    fn whoever_is_refused_for_coming_too_often_has_no_connection_counted() {
        let (open, now) = (Arc::new(OpenConnections::new(1)), Instant::now());
        let source = Ipv4Addr::LOCALHOST.into();
        let often = limits(Some(5), Some(2));
        let held: Vec<_> = (0..2).map(|_| enter(&open, &often, source, now).unwrap()).collect();
        for _ in 0..10 {
            assert_eq!(enter(&open, &often, source, now).unwrap_err(), Cause::SourceRate);
        }
        drop(held);
        let rest: Vec<_> = (0..6)
            .map(|_| enter(&open, &limits(Some(5), None), source, now))
            .collect();
        assert_eq!(rest.iter().filter(|entered| entered.is_ok()).count(), 5);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (open, now) = (Arc::new(OpenConnections::new(1)), Instant::now());
        let limits = limits(None, Some(1));
        let enter = |network: u16, host: u16| {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host);
            enter(&open, &limits, address.into(), now).is_ok()
        };
        assert_eq!([enter(1, 1), enter(1, 2), enter(2, 1)], [true, false, true]);
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let open = Arc::new(OpenConnections::new(1));
        let entered = enter(&open, &limits(None, None), Ipv4Addr::LOCALHOST.into(), Instant::now());
        assert!(entered.unwrap().is_none());
    }
}
