//! How do the bytes of two connections reach each other's peers?
//!
//! Bytes go both ways as they come; nobody looks at them. The end of one direction is passed on while the other goes on, and
//! it is over when both have ended. How long nothing may move, its users decide.

use std::io;
use std::task::{Context, Poll, ready};

use isobar_net::scratch::Scratch;
use isobar_net::splice::{Pipe, Pipes, SpliceError};
use isobar_net::stream::{Passed, Stream};

use crate::throttle::Way;

/// A read of this size shows that bulk data is coming, which is worth a pipe.
const BULK_BYTES: usize = 64 * 1024;

/// One of two connections whose bytes are passed on.
pub trait Side {
    /// Reads as [`Stream::poll_read`] does.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as [`Stream::poll_write_soon`] does.
    fn poll_write_soon(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Goes on with what was written and not taken, as [`Stream::poll_untaken`] does.
    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until all that was written is sent, as [`Stream::poll_settled`] does.
    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the peer that no more bytes will come.
    ///
    /// *Errors*: the connection is gone already.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// The connection, where its bytes are what the peer means, so that the kernel can move them.
    fn plain(&mut self) -> Option<&mut Stream>;

    /// The same, where nobody counts the bytes either.
    fn bare(&mut self) -> Option<&mut Stream> {
        None
    }

    /// Ready, with the most that the kernel may move between a client and its [plain](Self::plain) connection, when it may.
    fn poll_turn(&mut self, _: &mut Context<'_>, _: Way) -> Poll<u64> {
        Poll::Ready(u64::MAX)
    }

    /// The kernel has moved so much.
    fn moved(&mut self, _: Way, _: u64) {}
}

impl Side for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buf)
    }

    fn poll_write_soon(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_soon(cx, bytes)
    }

    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_untaken(cx)
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_settled(cx)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown_write()
    }

    fn plain(&mut self) -> Option<&mut Stream> {
        (!self.is_secured()).then_some(self)
    }

    fn bare(&mut self) -> Option<&mut Stream> {
        Some(self)
    }
}

/// What is lent for moving bytes.
#[derive(Debug, Clone, Copy)]
pub struct Tools<'a> {
    /// Where bytes lie that are copied.
    pub scratch: &'a Scratch,
    /// Pipes for those that are not.
    pub pipes: &'a Pipes,
}

/// Both directions between a client and a server.
#[derive(Debug)]
pub struct Relay {
    up: Half,
    down: Half,
}

/// What [`Relay::poll`] came to. What is not over wakes the task when it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// Both directions have ended.
    Over,
    /// Something moved.
    Moved(Moved),
    /// Nothing did.
    Still,
}

/// In which directions something moved, or came nearer to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// From the client to the server.
    pub up: bool,
    /// From the server to the client.
    pub down: bool,
}

impl Moved {
    /// In both.
    pub const BOTH: Self = Self { up: true, down: true };
}

/// Which connection broke, rather than ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The client's, or it is gone with bytes for it on their way.
    Client,
    /// The server's.
    Server,
}

impl Relay {
    /// A relay with bytes that are on their way already.
    #[must_use]
    pub fn new(to_server: Vec<u8>, to_client: Vec<u8>) -> Self {
        Self {
            up: Half::new(to_server),
            down: Half::new(to_client),
        }
    }

    /// A relay with bytes for the server, of which the last so many are the client's own.
    #[must_use]
    pub(crate) fn introduced(to_server: Vec<u8>, of_client: u64) -> Self {
        let mut relay = Self::new(to_server, Vec::new());
        relay.up.bytes = of_client;
        relay
    }

    /// Bytes read from the client.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.up.bytes
    }

    /// Bytes read from the server.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.down.bytes
    }

    /// From the client to the server.
    pub(crate) fn up(&self) -> &Half {
        &self.up
    }

    /// From the server to the client.
    pub(crate) fn down(&self) -> &Half {
        &self.down
    }

    /// Whether one direction is over, or both.
    #[must_use]
    pub fn has_ended_in_part(&self) -> bool {
        self.up.has_ended() || self.down.has_ended()
    }

    /// Whose connection broke.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        let server = self.down.source_broke || (self.up.destination_broke && !self.down.source_ended);
        match (server, self.up.source_broke || self.down.destination_broke) {
            (true, _) => Some(Broken::Server),
            (false, true) => Some(Broken::Client),
            (false, false) => None,
        }
    }

    /// Moves bytes both ways for as long as any move.
    ///
    /// *Cost*: no allocation but for bytes that one side sent and the other does not take.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        tools: Tools<'_>,
        client: &mut impl Side,
        server: &mut impl Side,
    ) -> Relayed {
        let mut moved = Moved::default();
        // Of a secured connection, what is read may have to be answered, which is the other direction's to write.
        let is_plain = client.plain().is_some() && server.plain().is_some();
        let (mut up, mut down) = (Turn::Moved, Turn::Moved);
        loop {
            up = self.up.turn(up, cx, tools, (client, server));
            down = self.down.turn(down, cx, tools, (server, client));
            // What broke takes nothing any more.
            self.up.end_with(&self.down);
            self.down.end_with(&self.up);
            if self.up.state == HalfState::Ended && self.down.state == HalfState::Ended {
                return Relayed::Over;
            }
            moved = Moved {
                up: moved.up || up != Turn::Waits,
                down: moved.down || down != Turn::Waits,
            };
            if up != Turn::Moved && down != Turn::Moved {
                return if moved == Moved::default() {
                    Relayed::Still
                } else {
                    Relayed::Moved(moved)
                };
            }
            if !is_plain {
                (up, down) = (Turn::Moved, Turn::Moved);
            }
        }
    }
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Half {
    /// Boxed: there are none for nearly all of a connection's time.
    pending: Option<Box<Pending>>,
    /// Boxed: only bulk data has one.
    pipe: Option<Box<Pipe>>,
    state: HalfState,
    source_ended: bool,
    source_broke: bool,
    destination_broke: bool,
    /// Whether the destination still owed taking what it was written, when it was last asked.
    is_untaken: bool,
    bytes: u64,
}

/// What came of a direction's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It moved, or came nearer to its end, and may go on.
    Moved,
    /// It moved, and waits for more.
    MovedAll,
    /// It waits.
    Waits,
}

/// Bytes that were read, and that the destination has not taken all of.
#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    /// How many of them it has.
    sent: usize,
}

impl Pending {
    fn of(bytes: Vec<u8>) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, sent: 0 }))
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HalfState {
    Open,
    /// The source has ended, or broke; what it sent last is still on its way.
    Ending,
    Ended,
}

impl Half {
    fn new(pending: Vec<u8>) -> Self {
        Self {
            pending: Pending::of(pending),
            pipe: None,
            state: HalfState::Open,
            source_ended: false,
            source_broke: false,
            destination_broke: false,
            is_untaken: false,
            bytes: 0,
        }
    }

    /// Whether nothing more will come this way.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == HalfState::Ended
    }

    /// Whether something is on its way that the destination has not taken.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_untaken || self.pending.is_some() || self.pipe.as_ref().is_some_and(|pipe| pipe.buffered() > 0)
    }

    /// Moves this direction on by one step, unless it waited when it was last asked; what it waits for wakes the task.
    fn turn(
        &mut self,
        last: Turn,
        cx: &mut Context<'_>,
        tools: Tools<'_>,
        (from, to): (&mut impl Side, &mut impl Side),
    ) -> Turn {
        if last != Turn::Moved {
            return Turn::Waits;
        }
        let nothing_under_way = self.pending.is_none() && self.pipe.is_none() && self.state == HalfState::Open;
        if nothing_under_way && let (Some(source), Some(destination)) = (from.bare(), to.bare()) {
            let passed = source.pass_on(cx, destination);
            self.is_untaken &= passed == Passed::NotSo;
            match passed {
                Passed::Bytes { count, is_all } => {
                    self.bytes += count as u64;
                    return if is_all { Turn::MovedAll } else { Turn::Moved };
                }
                Passed::Nothing => return Turn::Waits,
                Passed::NotSo => {}
            }
        }
        match self.poll_turn(cx, tools, from, to) {
            Poll::Ready(()) => Turn::Moved,
            Poll::Pending => Turn::Waits,
        }
    }

    /// Moves this direction on by one step; ready: it moved, or came nearer to its end. A source that breaks has ended; where
    /// a destination breaks, the other direction goes on, for it may still hold the last words of the one that left.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        tools: Tools<'_>,
        from: &mut impl Side,
        to: &mut impl Side,
    ) -> Poll<()> {
        if self.state == HalfState::Ended {
            return Poll::Pending;
        }
        // Nobody else would: the direction in which this side is read may be over.
        let untaken = to.poll_untaken(cx);
        self.is_untaken = untaken.is_pending();
        match untaken {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return self.destination_breaks(),
            Poll::Pending => return Poll::Pending,
        }
        if self.pending.is_some() {
            return self.poll_pending(cx, to);
        }
        if self.pipe.is_some() {
            return self.poll_splice(cx, from, to);
        }
        if self.state == HalfState::Ending {
            // The other side may be gone altogether, which its own direction finds out.
            if to.poll_settled(cx).is_pending() {
                return Poll::Pending;
            }
            let _ = to.shutdown_write();
            self.state = HalfState::Ended;
            return Poll::Ready(());
        }
        self.poll_copy(cx, tools, from, to)
    }

    /// Goes on with what the destination did not take.
    fn poll_pending(&mut self, cx: &mut Context<'_>, to: &mut impl Side) -> Poll<()> {
        let Some(pending) = &mut self.pending else {
            return Poll::Ready(());
        };
        let before = pending.sent;
        while !pending.rest().is_empty() {
            match to.poll_write_soon(cx, pending.rest()) {
                Poll::Ready(Ok(count)) => pending.sent += count,
                Poll::Ready(Err(_)) => return self.destination_breaks(),
                Poll::Pending if pending.sent > before => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.pending = None;
        Poll::Ready(())
    }

    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        tools: Tools<'_>,
        from: &mut impl Side,
        to: &mut impl Side,
    ) -> Poll<()> {
        tools.scratch.with_input(|input| {
            let count = match from.poll_read(cx, input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(Ok(_)) => return self.source_ends(),
                Poll::Ready(Err(_)) => return self.source_breaks(),
            };
            self.bytes += count as u64;
            if count >= BULK_BYTES && from.plain().is_some() && to.plain().is_some() {
                self.pipe = tools.pipes.acquire().ok().map(Box::new);
            }
            let bytes = input.get(..count).unwrap_or_default();
            let taken = match to.poll_write_soon(cx, bytes) {
                Poll::Ready(Ok(taken)) => taken,
                Poll::Ready(Err(_)) => return self.destination_breaks(),
                Poll::Pending => 0,
            };
            self.pending = Pending::of(bytes.get(taken..).unwrap_or_default().to_vec());
            Poll::Ready(())
        })
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &mut impl Side, to: &mut impl Side) -> Poll<()> {
        // A source that has ended is not read again; what it sent last may still be in the pipe.
        let limit = match self.state {
            HalfState::Open => {
                let source = ready!(from.poll_turn(cx, Way::Up));
                source.min(ready!(to.poll_turn(cx, Way::Down)))
            }
            HalfState::Ending | HalfState::Ended => 0,
        };
        let (Some(pipe), Some(source), Some(destination)) = (&mut self.pipe, from.plain(), to.plain()) else {
            self.pipe = None;
            return self.source_breaks();
        };
        match pipe.poll_splice(cx, source, destination, limit) {
            Poll::Ready(Ok(spliced)) => {
                self.bytes += spliced.read;
                from.moved(Way::Up, spliced.read);
                to.moved(Way::Down, spliced.written);
                if self.state == HalfState::Ending && pipe.buffered() == 0 {
                    self.pipe = None;
                }
                if spliced.eof {
                    return self.source_ends();
                }
                Poll::Ready(())
            }
            Poll::Ready(Err(SpliceError::Write(_))) => self.destination_breaks(),
            Poll::Ready(Err(SpliceError::Read(_))) => self.source_breaks(),
            Poll::Pending => {
                if pipe.buffered() == 0 {
                    // A lull: the pipe is of more use to somebody else.
                    self.pipe = None;
                }
                Poll::Pending
            }
        }
    }

    fn source_ends(&mut self) -> Poll<()> {
        self.source_ended = true;
        self.state = HalfState::Ending;
        Poll::Ready(())
    }

    fn source_breaks(&mut self) -> Poll<()> {
        self.source_broke = true;
        self.state = HalfState::Ending;
        Poll::Ready(())
    }

    fn destination_breaks(&mut self) -> Poll<()> {
        self.destination_broke = true;
        self.end();
        Poll::Ready(())
    }

    /// Ends where the other direction has ended because what would take these bytes broke.
    fn end_with(&mut self, other: &Self) {
        if other.source_broke && other.state == HalfState::Ended && self.state != HalfState::Ended {
            self.end();
        }
    }

    fn end(&mut self) {
        self.state = HalfState::Ended;
        self.pending = None;
        self.pipe = None;
    }
}
