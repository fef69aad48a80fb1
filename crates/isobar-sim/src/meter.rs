//! How busy does a server find itself?
//!
//! What it would write into its answers: measured over windows of its own, so that it lags behind as the real thing
//! does.

use isobar_balance::ReportedLoad;

use crate::station::{Job, Station};

/// How long a window is at least, in nanoseconds.
const WINDOW: u64 = 200_000_000;

/// A server's measurements of itself.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    since: u64,
    busy: u128,
    answers: u32,
    failures: u32,
    latest: Option<ReportedLoad>,
}

impl Meter {
    /// An answer to this was sent, or an error.
    pub(crate) fn count(&mut self, job: &Job) {
        self.answers += 1;
        self.failures += u32::from(job.fails);
    }

    /// How busy it was in the last window; none: there was none yet.
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are more than a report has")]
    pub(crate) fn load(&mut self, now: u64, station: &Station) -> Option<ReportedLoad> {
        let passed = now - self.since;
        if passed >= WINDOW {
            let seconds = passed as f64 / 1e9;
            let busy = (station.busy() - self.busy) as f64;
            self.latest = Some(ReportedLoad {
                utilization: (busy / passed as f64 / station.slots() as f64) as f32,
                rps: (f64::from(self.answers) / seconds) as f32,
                eps: (f64::from(self.failures) / seconds) as f32,
            });
            (self.since, self.busy) = (now, station.busy());
            (self.answers, self.failures) = (0, 0);
        }
        self.latest
    }
}
