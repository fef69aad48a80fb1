//! Does what the fuzzer found, and what it began with, still hold?

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/destinations.rs"]
mod destinations;

#[test]
fn destinations_of_clients() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/destination");
    let mut count = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        destinations::destination(&input);
        // Whatever else a byte is, in any place.
        for at in 0..input.len() {
            for byte in [0, b'.', b'x', b'0', b'9', b'[', b':', b'%', 0xff] {
                let mut other = input.clone();
                other[at] = byte;
                destinations::destination(&other);
                other.truncate(at);
                destinations::destination(&other);
            }
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} inputs were found");
}
