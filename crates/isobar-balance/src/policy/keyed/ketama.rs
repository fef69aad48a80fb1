//! The ring of libmemcached's weighted ketama.
//!
//! For sharing caches with other clients of the same servers: a key goes where they send it. Two things must be theirs
//! for that: the server's label, which is `host` with the port 11211 and `host:port` with every other, and the hash of
//! the key, [`ketama_key`]. Each member has `floor(40 n weight / sum of weights)` digests `MD5("label-i")`, four points
//! each, and a key goes to the first point that is not below the lower 32 bits of its MD5.
//!
//! *Source*: libmemcached 1.1.4, `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` with `MEMCACHED_HASH_MD5`, whose answers are in
//! this module's tests. It is the original libketama (Richard Jones, 2007) with another rounding, and what
//! twemproxy, pylibmc and PHP's memcached do.
//!
//! How many points a member has depends on the others' weights there, in which it differs from the ring of our own: a
//! member that comes with another weight moves keys between others. While one is merely away nothing of this happens.

use alloc::format;

use super::ring::{Hashing, MAX_POINTS, Ring};
use crate::md5::md5;
use crate::policy::Member;

/// Digests of a member of average weight, of four points each.
const DIGESTS: f32 = 40.0;

/// Members past which each has fewer points than it would have there, in proportion: agreement ends, not evenness.
const MAX_MEMBERS: u64 = MAX_POINTS / 160;

/// The key of a request for the ring of ketama, from the bytes that the other clients take for a key.
///
/// Keys of any other hash are spread as well, but not as other programs spread them.
#[must_use]
pub fn ketama_key(key: &[u8]) -> u64 {
    let [first, second, ..] = md5(key);
    u64::from(first) << 32 | u64::from(second)
}

/// The ring of these members, of which at most 13,107 have all their points.
///
/// *Cost*: a digest for every four points, and sorting them.
pub(super) fn ring(members: &[Member]) -> Ring {
    let count = members.len() as u64;
    let weights: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let points = |member: &Member| {
        let digests = digests(member.weight, weights, count) * MAX_MEMBERS / count.max(MAX_MEMBERS);
        let (id, label) = (member.id, member.label.clone());
        (0..digests).flat_map(move |number| {
            md5(match &label {
                Some(label) => format!("{label}-{number}"),
                None => format!("{id:016x}-{number}"),
            }
            .as_bytes())
        })
    };
    Ring::of(members, points, Hashing::Given)
}

/// How many digests libmemcached gives a member, rounded as it rounds: in single precision.
#[expect(clippy::cast_possible_truncation, reason = "what is lost here is lost there")]
fn digests(weight: u32, weights: u64, count: u64) -> u64 {
    let part = weight as f32 / weights as f32;
    (f64::from(part * DIGESTS * count as f32) + 0.000_000_000_1) as f32 as u64
}
