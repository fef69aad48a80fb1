//! Has this field been there before? Knows numbers that fields are told apart by, and not the fields.

use super::static_table::short_ends;

/// How many fields are remembered.
const REMEMBERED: usize = 32;

/// The fields that came last and are in no table.
#[derive(Debug)]
pub(super) struct Seen {
    hashes: [u32; REMEMBERED],
    /// Where the next one goes.
    next: usize,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            hashes: [0; REMEMBERED],
            next: 0,
        }
    }

    /// Whether it is remembered; it is from now on.
    ///
    /// *Cost*: one look at all that are remembered, which the compiler makes a few wide comparisons.
    #[inline]
    pub(super) fn is_again(&mut self, hash: u32) -> bool {
        if contains(&self.hashes, hash) {
            return true;
        }
        if let Some(place) = self.hashes.get_mut(self.next) {
            *place = hash;
        }
        self.next = (self.next + 1) % REMEMBERED;
        false
    }
}

#[inline(always)]
fn contains<const N: usize>(hashes: &[u32; N], hash: u32) -> bool {
    hashes.iter().fold(false, |found, &other| found | (other == hash))
}

/// The last place of a number.
#[inline]
pub(super) fn last_place(hashes: &[u32], hash: u32) -> Option<usize> {
    let mut rest = hashes;
    while let Some((front, last)) = rest.split_last_chunk::<8>() {
        if contains(last, hash) {
            break;
        }
        rest = front;
    }
    rest.iter().rposition(|&other| other == hash)
}

/// The number of a field, from the static index of its name or 0. Names that differ in nothing but case have the same; others may, and are
/// to be compared.
///
/// *Cost*: about one instruction for two bytes. It is not keyed: a peer that finds fields with the same number makes its own messages
/// longer.
#[inline]
pub(super) fn hash(index: u8, name: &[u8], value: &[u8]) -> u32 {
    let name = match index {
        // In letters this bit is the case.
        0 => mix(0x9e37_79b9_7f4a_7c15, name, 0x2020_2020_2020_2020),
        index => u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    let both = mix(name, value, 0);
    (both >> 32) as u32
}

/// Mixes bytes, with these bits of them set, into a number.
#[inline(always)]
fn mix(mut state: u64, bytes: &[u8], set: u64) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<16>();
    for block in blocks {
        let (low, high) = ends(block);
        state = multiply(state ^ (low | set), high | set);
    }
    let (low, high) = ends(rest);
    multiply(state ^ (low | set), high | set) ^ bytes.len() as u64
}

/// All of up to sixteen bytes, as two numbers.
#[inline(always)]
fn ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    short_ends(bytes)
}

/// The two halves of a product, as one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "one half is the lower one")]
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    product as u64 ^ (product >> 64) as u64
}
