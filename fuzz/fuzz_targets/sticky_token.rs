//! Looks for inputs that break what `tokens::sticky_token` says of all inputs.
#![no_main]

#[path = "../src/tokens.rs"]
mod tokens;

libfuzzer_sys::fuzz_target!(|input: &[u8]| tokens::sticky_token(input));
