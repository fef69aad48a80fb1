//! Which limits ended or were disarmed, and who is told?
//!
//! Workers only refuse less from then on. A task looks at all limits now and then, and tells what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_l7::RunningLimit;
use isobar_plan::{Event, Name, RateLimitState};

use crate::EventSink;

/// How often limits are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How limits stood when they were last looked at, by name.
#[derive(Default)]
pub(crate) struct Seen(HashMap<Name, RateLimitState>);

impl Seen {
    /// Looks at limits, and tells what became of them. Those that are not among them are forgotten.
    pub(crate) fn look(&mut self, limits: &[Arc<RunningLimit>], events: &EventSink) {
        let last = std::mem::take(&mut self.0);
        for limit in limits {
            let settings = limit.settings();
            let to = limit.state(Instant::now());
            let from = last.get(limit.name()).copied().unwrap_or(RateLimitState::Enforced);
            if from != to && (is_worth_telling(from) || is_worth_telling(to)) {
                events(Event::Limit {
                    name: limit.name().clone(),
                    from,
                    to,
                    of: settings.note.clone(),
                });
            }
            self.0.insert(limit.name().clone(), to);
        }
    }

    /// Waits for the next look; for ever where there is nothing to look at.
    pub(crate) async fn pause(&self) {
        match self.0.is_empty() {
            true => std::future::pending().await,
            false => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Whether nobody wrote down that it is so: all else is as configured.
fn is_worth_telling(state: RateLimitState) -> bool {
    matches!(state, RateLimitState::Disarmed | RateLimitState::Expired)
}
