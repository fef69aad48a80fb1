//! How far is it? Told on the standard error when that is a terminal, and only when it takes long.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use isobar_balance::Balance;

/// How long nothing is shown, and how long each text stands.
const PATIENCE: Duration = Duration::from_millis(300);

/// The progress of several runs.
pub(super) struct Progress {
    runs: usize,
    run: usize,
    shown: Instant,
    is_terminal: bool,
    dirty: bool,
}

impl Progress {
    /// Nothing was run yet.
    pub(super) fn new(runs: usize) -> Self {
        Self {
            runs,
            run: 0,
            shown: Instant::now(),
            is_terminal: io::stderr().is_terminal(),
            dirty: false,
        }
    }

    /// A part of the present run, 0 to 1, is done.
    pub(super) fn show(&mut self, balance: Balance, part: f64) {
        if self.is_terminal && self.shown.elapsed() > PATIENCE {
            self.shown = Instant::now();
            self.dirty = true;
            let whole = (self.run as f64 + part) / self.runs as f64;
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{:3.0} %  {balance}", whole * 100.0);
        }
    }

    /// The present run is over.
    pub(super) const fn next(&mut self) {
        self.run += 1;
    }

    /// Takes away what was shown.
    pub(super) fn clear(&self) {
        if self.dirty {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
