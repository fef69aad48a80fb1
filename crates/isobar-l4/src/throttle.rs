//! How fast may the bytes of a client go?
//!
//! Whoever shares a rate moves a piece, has it counted, and waits until the rate has caught up with all that was counted before it: so
//! all have their turns, and nobody is cut off. Which rate that is, and with whom it is shared, is behind [`Meter`]; nothing here is
//! known of limits.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use isobar_net::stream::Stream;
use isobar_observe::Cause;
use isobar_plan::Name;
use tokio::time::Sleep;

use crate::Side;

/// How long a wait goes on before it is looked whether the rate has changed.
const STEP: Duration = Duration::from_millis(500);

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// A rate that a client shares with others.
pub trait Meter: fmt::Debug {
    /// How many bytes may go this way in one turn; none: any number.
    fn piece(&self, way: Way) -> Option<u64>;

    /// Counts bytes that went, or none: *returns* how long to wait before more go this way.
    fn spend(&mut self, way: Way, bytes: u64, now: Instant) -> Duration;

    /// Whether the rate is another one than it was when it was last asked, so that waiting for that is of no use.
    fn is_changed(&mut self) -> bool;

    /// Takes note of a wait that was for its sake.
    fn waited(&self, time: Duration);
}

/// What a rate may be kept by.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The client's address.
    pub source: IpAddr,
    /// The name that it asked for in its TLS handshake; none: it is not known.
    pub tls_name: Option<&'a str>,
    /// Who it says it is; none: nobody has to.
    pub user: Option<&'a str>,
    /// The listener it came in at.
    pub listener: &'a str,
    /// Its route, or its rule.
    pub route: &'a str,
}

/// A client that has nothing left.
#[derive(Debug, Clone)]
pub struct UsedUp {
    /// Why it is turned away.
    pub cause: Cause,
    /// Which rate it was.
    pub limit: Name,
    /// When there is some again; none: that cannot be said.
    pub retry_in: Option<Duration>,
}

/// Where a connection finds the rates that it shares.
pub trait Metering: fmt::Debug + Send + Sync {
    /// The rate for a client; none: there is none for it.
    ///
    /// *Errors*: it has nothing left, and may not begin.
    fn meter(
        self: Arc<Self>,
        subject: &Subject<'_>,
        worker: usize,
        now: Instant,
    ) -> Result<Option<Box<dyn Meter>>, UsedUp>;
}

/// The throttle of a client that shares all of these rates; none: none of them is for it.
///
/// *Errors*: there is nothing left of one.
pub fn of(
    metering: &[Arc<dyn Metering>],
    subject: &Subject<'_>,
    worker: usize,
) -> Result<Option<Box<Throttle>>, UsedUp> {
    let now = tokio::time::Instant::now().into_std();
    let meters = metering.iter().filter_map(|metering| {
        let meter = Arc::clone(metering).meter(subject, worker, now);
        meter.transpose()
    });
    Ok(Throttle::new(meters.collect::<Result<_, _>>()?))
}

/// All rates that a client shares, and what it waits for. *Cost*: two allocations, and one more for each way once it has to wait.
#[derive(Debug)]
pub struct Throttle {
    meters: Vec<Box<dyn Meter>>,
    up: Lane,
    down: Lane,
    waited: Duration,
}

/// One way.
#[derive(Debug, Default)]
struct Lane {
    /// Whether it has a turn among those that share the rates.
    joined: bool,
    /// When that is, and whose sake it is for; none: now.
    due: Option<(Instant, usize)>,
    /// When the wait for it began.
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// How much of its turns it missed because it was woken late, in 256ths of a turn: so much more it may move in this one. Without
    /// that, the connections of a worker that has a lot to do would lose to those of others.
    missed: u64,
    /// Whether others have their turn first, although there is no need to wait.
    yields: bool,
}

impl Throttle {
    /// A throttle of these rates; none: there are none.
    #[must_use]
    pub fn new(meters: Vec<Box<dyn Meter>>) -> Option<Box<Self>> {
        let throttle = |meters| {
            Box::new(Self {
                meters,
                up: Lane::default(),
                down: Lane::default(),
                waited: Duration::ZERO,
            })
        };
        (!meters.is_empty()).then(|| throttle(meters))
    }

    /// How long bytes have waited so far, of both ways together.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let now = tokio::time::Instant::now().into_std();
        let waits = [self.up.since, self.down.since].into_iter().flatten();
        waits.fold(self.waited, |waited, since| {
            waited + now.saturating_duration_since(since)
        })
    }

    /// Whether bytes wait either way, and are not late for anybody's fault.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.is_waiting(Way::Up) || self.is_waiting(Way::Down)
    }

    /// Whether bytes wait this way, and are not late for anybody's fault.
    #[must_use]
    pub fn is_waiting(&self, way: Way) -> bool {
        let lane = match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        };
        lane.since.is_some()
    }

    /// Ready, with the number of bytes that may go now, when it is their turn. What goes then has to be [told](Self::moved).
    pub fn poll_turn(&mut self, cx: &mut Context<'_>, way: Way) -> Poll<u64> {
        let lane = self.lane(way);
        if std::mem::take(&mut lane.yields) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !std::mem::replace(&mut lane.joined, true) {
            let due = self.spend(way, 0);
            self.lane(way).due = due;
        }
        while let Some((due, whose)) = self.lane(way).due {
            let now = tokio::time::Instant::now().into_std();
            let lane = self.lane(way);
            if now < due {
                lane.since.get_or_insert(now);
                if self.meters.iter_mut().any(|meter| meter.is_changed()) {
                    let due = self.spend(way, 0);
                    self.lane(way).due = Some(due.unwrap_or((now, whose)));
                    continue;
                }
                ready!(self.lane(way).poll_until(cx, due.min(now + STEP)));
                continue;
            }
            lane.due = None;
            if let Some(since) = lane.since.take() {
                lane.missed = missed(due.saturating_duration_since(since), now - due);
                let waited = now.saturating_duration_since(since);
                self.waited += waited;
                if let Some(meter) = self.meters.get(whose) {
                    meter.waited(waited);
                }
            }
        }
        let (piece, missed) = (self.piece(way), self.lane(way).missed);
        Poll::Ready(piece.saturating_add(piece.saturating_mul(missed) >> 8))
    }

    /// Writes to the client as `write` does, and as much as may go now.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        write: impl FnOnce(&mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(self.poll_turn(cx, Way::Down));
        let len = bytes.len().min(usize::try_from(turn).unwrap_or(usize::MAX));
        let count = ready!(write(cx, bytes.get(..len).unwrap_or_default()))?;
        self.moved(Way::Down, count as u64);
        Poll::Ready(Ok(count))
    }

    /// Bytes went this way.
    pub fn moved(&mut self, way: Way, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let due = self.spend(way, bytes);
        let is_piece = bytes >= self.piece(way);
        let lane = self.lane(way);
        lane.joined = true;
        lane.missed = 0;
        lane.yields = due.is_none() && is_piece;
        lane.due = due;
    }

    fn piece(&self, way: Way) -> u64 {
        let pieces = self.meters.iter().filter_map(|meter| meter.piece(way));
        pieces.min().unwrap_or(u64::MAX)
    }

    /// Counts bytes: until when to wait, and for whose sake.
    fn spend(&mut self, way: Way, bytes: u64) -> Option<(Instant, usize)> {
        let now = tokio::time::Instant::now().into_std();
        let mut longest = (Duration::ZERO, 0);
        for (index, meter) in self.meters.iter_mut().enumerate() {
            let wait = meter.spend(way, bytes, now);
            if wait > longest.0 {
                longest = (wait, index);
            }
        }
        let (wait, whose) = longest;
        // A time that no clock will show is as good as a year.
        let due = || now.checked_add(wait).unwrap_or(now + Duration::from_secs(365 * 86_400));
        (!wait.is_zero()).then(|| (due(), whose))
    }

    const fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// The part of a turn that was missed by being so late after such a wait, in 256ths; three turns at most.
fn missed(wait: Duration, late: Duration) -> u64 {
    const MOST: u128 = 3 << 8;
    let missed = (late.as_nanos() << 8) / wait.as_nanos().max(1);
    u64::try_from(missed.min(MOST)).unwrap_or(0)
}

impl Lane {
    /// By the runtime's own timers: the wheel is too coarse for turns of some milliseconds.
    fn poll_until(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let until = tokio::time::Instant::from_std(until);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() > until || sleep.is_elapsed() {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }
}

/// A client's side of a relay whose bytes are throttled.
#[derive(Debug)]
pub struct Throttled<'a, S> {
    /// The side.
    pub side: &'a mut S,
    /// What it shares.
    pub throttle: &'a mut Throttle,
}

impl<S: Side> Side for Throttled<'_, S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let turn = ready!(self.throttle.poll_turn(cx, Way::Up));
        let len = buf.len();
        let part = buf.get_mut(..len.min(usize::try_from(turn).unwrap_or(usize::MAX)));
        let count = ready!(self.side.poll_read(cx, part.unwrap_or_default()))?;
        self.throttle.moved(Way::Up, count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_write_soon(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let side = &mut *self.side;
        self.throttle
            .poll_write(cx, bytes, |cx, part| side.poll_write_soon(cx, part))
    }

    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.side.poll_untaken(cx)
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.side.poll_settled(cx)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.side.shutdown_write()
    }

    fn plain(&mut self) -> Option<&mut Stream> {
        self.side.plain()
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, way: Way) -> Poll<u64> {
        self.throttle.poll_turn(cx, way)
    }

    fn moved(&mut self, way: Way, bytes: u64) {
        self.throttle.moved(way, bytes);
    }
}

#[cfg(test)]
mod tests;
