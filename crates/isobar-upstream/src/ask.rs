//! What is a server asked for?

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use isobar_balance::{Moment, Otherwise};
use isobar_plan::Priority;

use crate::Server;

/// A request that looks for a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The servers it has tried. Servers and not slots, because a retry may meet another state than the attempt that
    /// failed, in which the same slot is another server.
    pub avoid: &'a [Arc<Server>],
    /// Its [key](hash), where the algorithm goes by keys and it has one.
    pub key: Option<u64>,
    /// The server it belongs to, where it is one of a session.
    pub home: Option<Home<'a>>,
    /// When it asks.
    pub now: Moment,
    /// How much it matters.
    pub priority: Priority,
    /// When it must be answered, where the upstream's queue goes by that.
    pub deadline: Option<Moment>,
    /// With whom it shares what there is, where that is divided fairly; looked at only when it has to wait.
    pub share: Option<Share>,
}

/// With whom a request shares what there is when not everybody can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Requests of one key share one part. A hash that nobody outside can predict.
    pub key: u64,
    /// How large that is in proportion to others: from 1 to 10,000.
    pub weight: u32,
}

/// The server that a request belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// What happens where it cannot be sent anything, or was tried. Where it left, another is chosen.
    pub otherwise: Otherwise,
}

impl<'a> Ask<'a> {
    /// A request without a key that has tried these servers, at the beginning of time.
    #[must_use]
    pub fn avoiding(avoid: &'a [Arc<Server>]) -> Self {
        Self {
            avoid,
            ..Self::default()
        }
    }
}

/// A point in time, as balancing counts it: the same for all workers.
///
/// *Cost*: a load and a subtraction.
#[must_use]
pub fn moment(at: Instant) -> Moment {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = at.saturating_duration_since(*ORIGIN.get_or_init(|| at));
    Moment::new(since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos()))
}

/// The hash of bytes that keys and servers are known by; `seed` is 0, or the hash of what comes before.
///
/// *Source*: XXH3, 64 bits, with that seed. It is the same on every machine and in every version: another one would move
/// every key.
#[must_use]
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// By `xxh3_64_intdigest` of the Python package xxhash 4.1.0, which binds the authors' own library.
    #[test]
    fn hashes_are_those_of_the_reference() {
        let long: Vec<u8> = (0..=255).collect();
        let check = |bytes: &[u8], seedless, seeded| assert_eq!((hash(bytes, 0), hash(bytes, 7)), (seedless, seeded));
        check(b"", 0x2d06_8005_38d3_94c2, 0x913a_e087_3e9b_7eb8);
        check(b"a", 0xe6c6_32b6_1e96_4e1f, 0x9ed5_888b_c5a2_a094);
        check(b"isobar", 0x5bad_f422_631d_7b4b, 0x7973_902b_d18a_5896);
        check(&long, 0x9408_a443_3b95_2d71, 0xbdc8_5720_69c5_da9d);
    }

    #[test]
    fn time_goes_on_and_does_not_run_back() {
        let at = Instant::now();
        let first = moment(at);
        assert_eq!(moment(at + Duration::from_millis(1500)).since(first), 1_500_000_000);
        assert!(moment(at) <= moment(at + Duration::from_nanos(1)));
    }
}
