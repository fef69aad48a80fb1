//! Looks for lines of logs that break what `lines::log_line` says of all lines.
#![no_main]

#[path = "../src/lines.rs"]
mod lines;

libfuzzer_sys::fuzz_target!(|input: &[u8]| lines::log_line(input));
