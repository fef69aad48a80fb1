//! How far is it? Told on the standard error when that is a terminal, and only when it takes long.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::simulate::count;

/// How long nothing is shown, and how long each text stands.
const PATIENCE: Duration = Duration::from_millis(300);

/// The progress of reading logs.
pub(super) struct Progress {
    passes: usize,
    pass: usize,
    began: Instant,
    shown: Instant,
    is_terminal: bool,
    dirty: bool,
}

impl Progress {
    /// Nothing was read yet, of so many times that all is.
    pub(super) fn new(passes: usize) -> Self {
        Self {
            passes,
            pass: 0,
            began: Instant::now(),
            shown: Instant::now(),
            is_terminal: io::stderr().is_terminal(),
            dirty: false,
        }
    }

    /// So many requests were read in this pass, and, where that is known, this part of all.
    pub(super) fn show(&mut self, requests: u64, part: Option<f64>) {
        if !self.is_terminal || self.shown.elapsed() < PATIENCE {
            return;
        }
        self.shown = Instant::now();
        self.dirty = true;
        let whole = part.map(|part| (self.pass as f64 + part) / self.passes as f64);
        let left = whole.filter(|whole| *whole > 0.01).map(|whole| {
            let left = self.began.elapsed().as_secs_f64() * (1.0 - whole) / whole;
            format!(", {left:.0} s left")
        });
        let whole = whole.map(|whole| format!("{:3.0} %  ", whole * 100.0));
        let (whole, left) = (whole.unwrap_or_default(), left.unwrap_or_default());
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{whole}{} requests{left}", count(requests));
    }

    /// The present pass is over.
    pub(super) const fn next(&mut self) {
        self.pass += 1;
    }

    /// Takes away what was shown.
    pub(super) fn clear(&self) {
        if self.dirty {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
