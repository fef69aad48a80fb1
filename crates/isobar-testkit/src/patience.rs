//! How long is something waited for that must happen?

use std::thread;
use std::time::{Duration, Instant};

/// How long anything in a test may take to become true, to arrive or to end.
///
/// Long enough for a busy machine with two cores, short enough that a hang is a failure and not a coffee break.
pub const PATIENCE: Duration = Duration::from_secs(15);

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Waits until the condition holds.
///
/// *Panics* when it does not within [`PATIENCE`], with `what` in the text.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until the probe has an answer, and returns it.
///
/// *Panics* when it has none within [`PATIENCE`], with `what` in the text.
#[track_caller]
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(BETWEEN_LOOKS);
    }
}
