//! What is the checksum of a header? CRC32c and nothing else.
//!
//! *Source*: RFC 9260 appendix A (RFC 4960 appendix B), the polynomial of Castagnoli.

/// Carries the checksum of some bytes on over more of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc32c(u32);

/// The Castagnoli polynomial, its lowest bit for the highest power.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

impl Crc32c {
    pub(super) const fn new() -> Self {
        Self(u32::MAX)
    }

    /// *Cost*: a look-up per byte.
    pub(super) fn add(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, &byte| {
            let [low, ..] = crc.to_le_bytes();
            let entry = TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default();
            entry ^ (crc >> 8)
        }))
    }

    pub(super) const fn value(self) -> u32 {
        !self.0
    }
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::Crc32c;

    /// The vectors of RFC 3720 appendix B.4, and the usual one.
    #[test]
    fn published_vectors() {
        let check = |bytes: &[u8], expected| assert_eq!(Crc32c::new().add(bytes).value(), expected);
        check(b"", 0);
        check(b"123456789", 0xe306_9283);
        check(&[0; 32], 0x8a91_36aa);
        check(&[0xff; 32], 0x62a8_ab43);
        let rising: [u8; 32] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        check(&rising, 0x46dd_794e);
        assert_eq!(Crc32c::new().add(b"1234").add(b"56789").value(), 0xe306_9283);
    }
}
