//! Does what the fuzzer found, and what it began with, still hold?

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/lines.rs"]
mod lines;

#[test]
fn lines_of_logs() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/log_line");
    let mut count = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        lines::log_line(&input);
        // Whatever else a byte is, in any place.
        for at in 0..input.len() {
            for byte in [0, b'"', b'\\', b' ', b'{', b':', b'[', b'-', b'9', 0xff] {
                let mut other = input.clone();
                other[at] = byte;
                lines::log_line(&other);
                other.truncate(at);
                lines::log_line(&other);
            }
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} inputs were found");
}
