//! Which bytes are sent, and which have come?

use std::io::Read;

/// What comes until the end of a connection; what came until it broke, if it does.
pub fn rest(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// The hello of a real client of TLS, from the captures of `isobar-wire`.
///
/// *Panics* when there is none of this name.
#[must_use]
#[track_caller]
pub fn client_hello(name: &str) -> Vec<u8> {
    let captures = concat!(env!("CARGO_MANIFEST_DIR"), "/../isobar-wire/tests/client_hello");
    std::fs::read(format!("{captures}/{name}.bin")).expect("a capture of this name")
}

/// Bytes that fill a body, so that a lost, doubled or moved piece shows: without a visible period, the same for the same length and seed.
///
/// *Source*: SplitMix64 (Steele, Lea, Flood 2014), eight bytes a step.
#[must_use]
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::noise;

    #[test]
    fn noise_has_its_length_and_its_seed() {
        for length in [0, 1, 7, 8, 9, 1000] {
            assert_eq!(noise(length, 1).len(), length);
        }
        assert_eq!(noise(100, 7), noise(100, 7));
        assert_ne!(noise(100, 7), noise(100, 8));
        assert_ne!(noise(64, 7)[..32], noise(64, 7)[32..]);
    }
}
