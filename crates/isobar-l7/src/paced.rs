//! How are the bytes of one exchange held to the rates that its client shares?
//!
//! What carries the client's messages is wrapped for the exchange, and lets through what [`Throttle`] says: heads and framing as well as
//! bodies, in the form of HTTP/1 and before they are encrypted. Where no limit counts bytes, nothing is wrapped.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use isobar_l4::throttle::{Throttle, Way};

use crate::carrier::Carrier;

/// A client whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Paced {
    pub(crate) carrier: Carrier,
    throttle: Box<Throttle>,
}

impl Paced {
    pub(crate) const fn new(carrier: Carrier, throttle: Box<Throttle>) -> Self {
        Self { carrier, throttle }
    }

    /// Whether bytes wait this way for a limit's sake.
    pub(crate) fn is_waiting(&self, way: Way) -> bool {
        self.throttle.is_waiting(way)
    }

    pub(crate) fn waited(&self) -> Duration {
        self.throttle.waited()
    }

    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>, way: Way) -> Poll<u64> {
        self.throttle.poll_turn(cx, way)
    }

    pub(crate) fn moved(&mut self, way: Way, bytes: u64) {
        self.throttle.moved(way, bytes);
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let turn = ready!(self.throttle.poll_turn(cx, Way::Up));
        let len = within(buf.len(), turn);
        let count = ready!(self.carrier.poll_read(cx, buf.get_mut(..len).unwrap_or_default()))?;
        self.throttle.moved(Way::Up, count as u64);
        Poll::Ready(Ok(count))
    }

    /// Writes as `write` does.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        write: impl FnOnce(&mut Carrier, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(self.throttle.poll_turn(cx, Way::Down));
        let len = match self.carrier.takes_a_head() {
            true => bytes.len(),
            false => within(bytes.len(), turn),
        };
        let part = bytes.get(..len).unwrap_or_default();
        let count = ready!(write(&mut self.carrier, cx, part))?;
        self.throttle.moved(Way::Down, count as u64);
        Poll::Ready(Ok(count))
    }
}

fn within(len: usize, turn: u64) -> usize {
    usize::try_from(turn).map_or(len, |turn| len.min(turn))
}
