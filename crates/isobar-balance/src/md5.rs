//! The digest of which ketama makes its points and hashes its keys.
//!
//! It is here for the sake of agreement with other programs and not fit for secrets.

/// Bits by which each step rotates, four of each round in turn.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The whole part of 2^32 |sin(step)|, for steps 1 to 64, as RFC 1321 lists them.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// The digest as its four words; each is four bytes of it, the lowest first.
///
/// *Source*: RFC 1321.
pub(crate) fn md5(message: &[u8]) -> [u32; 4] {
    let mut words = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, rest) = message.as_chunks::<64>();
    blocks.iter().for_each(|block| compress(&mut words, block));
    // A one, zeros, and the length in bits; in a second block where the first has no room for the length.
    let mut padded = [0; 128];
    for (to, from) in padded.iter_mut().zip(rest.iter().chain(&[0x80])) {
        *to = *from;
    }
    let bits = (message.len() as u64).wrapping_mul(8).to_le_bytes();
    let used = if rest.len() < 56 { 64 } else { 128 };
    for (to, from) in padded.iter_mut().skip(used - 8).zip(bits) {
        *to = from;
    }
    let (blocks, _) = padded.as_chunks::<64>();
    blocks
        .iter()
        .take(used / 64)
        .for_each(|block| compress(&mut words, block));
    words
}

fn compress(words: &mut [u32; 4], block: &[u8; 64]) {
    let (quads, _) = block.as_chunks::<4>();
    let [mut a, mut b, mut c, mut d] = *words;
    for (step, &sine) in SINES.iter().enumerate() {
        let (mixed, at) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((b & d) | (c & !d), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let word = quads.get(at % 16).map_or(0, |quad| u32::from_le_bytes(*quad));
        let sum = a.wrapping_add(mixed).wrapping_add(sine).wrapping_add(word);
        let turned = b.wrapping_add(sum.rotate_left(ROTATIONS[step / 16 % 4][step % 4]));
        (a, b, c, d) = (d, turned, b, c);
    }
    for (word, after) in words.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(after);
    }
}

#[cfg(test)]
mod tests {
    use super::md5;
    use std::{format, string::String};

    /// The test suite of RFC 1321, A.5; and lengths around a block's end, from GNU `md5sum` 9.1 over that many letters
    /// `a`.
    #[test]
    fn digests() {
        let check = |message: &str, expected: &str| {
            let bytes = md5(message.as_bytes()).map(u32::to_le_bytes);
            let digest: String = bytes.as_flattened().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, expected, "{message:?}");
        };
        check("", "d41d8cd98f00b204e9800998ecf8427e");
        check("a", "0cc175b9c0f1b6a831c399e269772661");
        check("abc", "900150983cd24fb0d6963f7d28e17f72");
        check("message digest", "f96b697d7cb7938d525a2f31aaf161d0");
        check("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b");
        check(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "d174ab98d277d9f5a5611c2c9f419d9f",
        );
        check(&"1234567890".repeat(8), "57edf4a22be3c955ac49da2e2107b67a");
        check(&"a".repeat(55), "ef1772b6dff9a122358552954ad0df65");
        check(&"a".repeat(56), "3b0c8ac703f828b04c6c197006d17218");
        check(&"a".repeat(57), "652b906d60af96844ebd21b674f35e93");
        check(&"a".repeat(63), "b06521f39153d618550606be297466d5");
        check(&"a".repeat(64), "014842d480b571495a4a0363793f7367");
        check(&"a".repeat(65), "c743a45e0d2e6a95cb859adae0248435");
        check(&"a".repeat(119), "8a7bd0732ed6a28ce75f6dabc90e1613");
        check(&"a".repeat(120), "5f61c0ccad4cac44c75ff505e1f1e537");
        check(&"a".repeat(128), "e510683b3f5ffe4093d021808bc6ff70");
    }
}
