//! For how long has nothing moved between a client and a server, and when is that too long?
//!
//! In both directions together, in one of them, and in the one that is left when the other has ended. Whoever has a [`Relay`] sets a
//! timer by it: when it begins, and when a direction has ended, which may bring the end nearer. What moves only puts it off, and
//! that is found out when the timer has expired.

use std::task::{Context, Poll};
use std::time::Instant;

use isobar_net::wheel::{Timer, Wheel};
use isobar_observe::Cause;
use isobar_plan::IdleTimeouts;

use crate::{Moved, Relay};

/// When something moved last, in each direction.
#[derive(Debug, Clone, Copy)]
pub struct Lull {
    up: Instant,
    down: Instant,
}

impl Lull {
    /// Nothing has moved yet.
    #[must_use]
    pub fn begin(now: Instant) -> Self {
        Self { up: now, down: now }
    }

    /// Something moved.
    pub fn moved(&mut self, moved: Moved, now: Instant) {
        if moved.up {
            self.up = now;
        }
        if moved.down {
            self.down = now;
        }
    }

    /// When it is over unless something moves, and why.
    ///
    /// *Cost*: some comparisons.
    #[must_use]
    pub fn due(&self, relay: &Relay, waits: &IdleTimeouts) -> (Instant, Cause) {
        let (up_ended, down_ended) = (relay.up().has_ended(), relay.down().has_ended());
        let (quiet, cause) = match waits.half_closed {
            Some(left) if up_ended || down_ended => (left, Cause::HalfClosedTimeout),
            _ => (waits.both, Cause::IdleTimeout),
        };
        let client = waits.client.filter(|_| !up_ended);
        let server = waits.server.filter(|_| !down_ended);
        let each = [
            client.map(|wait| (self.up + wait, Cause::ClientIdleTimeout)),
            server.map(|wait| (self.down + wait, Cause::ServerIdleTimeout)),
        ];
        let both = (self.up.max(self.down) + quiet, cause);
        let earlier = |one: (Instant, Cause), other: (Instant, Cause)| if other.0 < one.0 { other } else { one };
        each.into_iter().flatten().fold(both, earlier)
    }

    /// Ready when it is over: the timer has expired, and nothing has put off when it is due.
    pub fn poll_over(cx: &mut Context<'_>, (wheel, timer): (&Wheel, &Timer), due: impl Fn() -> Instant) -> Poll<()> {
        while timer.poll_expired(cx).is_ready() {
            let due = due();
            if due <= wheel.now() {
                return Poll::Ready(());
            }
            timer.set(due);
        }
        Poll::Pending
    }

    /// What the cause alone does not say of a connection that is over.
    #[must_use]
    pub fn detail(relay: &Relay, cause: Cause) -> Option<&'static str> {
        match cause {
            Cause::ClientIdleTimeout if relay.up().is_stuck() => Some("the server did not take what the client sent"),
            Cause::ServerIdleTimeout if relay.down().is_stuck() => Some("the client did not take what the server sent"),
            Cause::HalfClosedTimeout if relay.up().has_ended() => Some("the client had ended what it sent"),
            Cause::HalfClosedTimeout => Some("the server had ended what it sent"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_direction_that_is_due_first_ends_it() {
        let seconds = Duration::from_secs;
        let relay = Relay::new(Vec::new(), Vec::new());
        let check = |(both, client, server): (u64, u64, u64), moved: (u64, u64), expected: (u64, Cause)| {
            let waits = IdleTimeouts {
                client: (client > 0).then(|| seconds(client)),
                server: (server > 0).then(|| seconds(server)),
                // Neither direction has ended.
                half_closed: Some(seconds(1)),
                ..IdleTimeouts::both(seconds(both))
            };
            let began = Instant::now();
            let mut lull = Lull::begin(began);
            let (up, down) = (Moved { up: true, down: false }, Moved { up: false, down: true });
            lull.moved(up, began + seconds(moved.0));
            lull.moved(down, began + seconds(moved.1));
            let (at, cause) = lull.due(&relay, &waits);
            assert_eq!(
                ((at - began).as_secs(), cause),
                expected,
                "{both} {client} {server} {moved:?}"
            );
        };
        check((60, 0, 0), (0, 0), (60, Cause::IdleTimeout));
        check((60, 0, 0), (10, 5), (70, Cause::IdleTimeout));
        check((60, 30, 0), (10, 25), (40, Cause::ClientIdleTimeout));
        check((60, 30, 20), (10, 25), (40, Cause::ClientIdleTimeout));
        check((60, 30, 20), (30, 25), (45, Cause::ServerIdleTimeout));
        check((60, 0, 90), (100, 0), (90, Cause::ServerIdleTimeout));
        check((60, 60, 60), (0, 0), (60, Cause::IdleTimeout));
    }
}
