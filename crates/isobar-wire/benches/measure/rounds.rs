//! How long does a call take?
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Instant;

/// Prints the fastest and the median of 31 rounds: the first is the code, the second the machine as well.
pub(crate) fn measure(name: &str, bytes: usize, mut call: impl FnMut()) {
    const CALLS: u32 = 20_000;
    let mut rounds: Vec<f64> = (0..31)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!(
        "{name:32} {bytes:6} bytes {:8.1} ns, median {:8.1}",
        rounds[0],
        rounds[rounds.len() / 2]
    );
}
