//! What does the ring know of each stream?

use std::task::Waker;

use rustix::io::Errno;

use crate::kernel::{self, BUFFERS, Filled, Uring};
use crate::limits::descriptor_limit;

/// Buffers that may wait for one stream. A stream that fills more at a time is bulky; until the kernel has heard that it is
/// to stop, some 30 more may come.
const BURST: u16 = 4;

/// Streams that a ring takes. Past it they go by readiness, as without a ring.
const MAX_SLOTS: usize = 1 << 20;

/// How much of a task's memory is brought close before it runs: most of those that serve clients are no larger.
const TASK_BYTES: usize = 896;

/// No buffer.
const NONE: u16 = u16::MAX;

/// Every stream's part.
///
/// *Shape*: address space for as many slots as there can be descriptors, of which only those in use become memory. Otherwise all slots
/// would move now and then while everybody waits, and leave as much memory behind as half of the streams need.
pub(super) struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
    /// By the buffer's number: what is in it, and which one comes behind it for the same stream.
    waiting: Box<[Waiting]>,
    /// Whose tasks are woken once all that has come was looked at.
    called: Called,
}

/// Those for whom something came.
#[derive(Default)]
struct Called {
    /// Who waits for a server: what ends comes before what begins.
    leaders: Vec<u32>,
    others: Vec<u32>,
}

#[derive(Default)]
struct Waiting {
    filled: Option<Filled>,
    next: u16,
}

/// One stream's part: what a stream that waits costs.
pub(super) struct Slot {
    /// Whom to wake.
    pub(super) waker: Option<Waker>,
    /// What the socket did not take of a message.
    pub(super) rest: Option<Box<Rest>>,
    /// How the stream ended; taken after what came before.
    pub(super) end: Option<End>,
    /// The oldest buffer that waits to be taken, the newest, and how many there are.
    first: u16,
    last: u16,
    count: u16,
    /// Bytes that were taken of the first.
    taken: u16,
    pub(super) receive: Receive,
    /// Whether a message is with the kernel.
    pub(super) sending: bool,
    /// Whether the task waits until it is not.
    pub(super) awaits_sent: bool,
    /// Whether too much came at a time.
    pub(super) bulky: bool,
    /// Whether its task goes before others whose bytes came at the same time.
    pub(super) leads: bool,
    /// Whether the stream is gone: the slot is free once the kernel has let go of it.
    gone: bool,
}

const _: () = assert!(size_of::<Slot>() <= 48, "every stream has one");

/// What is left of a message.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) bytes: Vec<u8>,
    /// How many of them the socket has taken.
    pub(super) sent: usize,
}

/// Whether the kernel receives for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receive {
    /// No.
    Off,
    /// Yes.
    On,
    /// It was told to stop, and has not said that it did.
    Stopping,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer said so.
    Clean,
    /// By this error.
    Broken(i32),
}

/// What there is to take from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing, and nothing will come by itself.
    Off,
    /// Nothing yet.
    Waiting,
    /// Bytes.
    Bytes,
    /// The end.
    End,
    /// An error.
    Broken,
}

/// What was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing, and nothing will come by itself.
    Off,
    /// Nothing yet.
    Waiting,
    /// So many bytes.
    Bytes(usize),
    /// The end.
    End,
    /// An error, by its number.
    Broken(i32),
}

/// Whether a stream gets more than the ring is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    Right,
    TooMuch,
}

impl Amount {
    pub(super) fn is_too_much(self) -> bool {
        self == Self::TooMuch
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            waker: None,
            rest: None,
            end: None,
            first: NONE,
            last: NONE,
            count: 0,
            taken: 0,
            receive: Receive::Off,
            sending: false,
            awaits_sent: false,
            bulky: false,
            leads: false,
            gone: false,
        }
    }

    pub(super) fn owes(&self) -> bool {
        self.sending || self.rest.is_some()
    }

    /// Whether all that waits to be taken is in one buffer.
    pub(super) const fn has_one(&self) -> bool {
        self.count == 1
    }

    /// Has a task woken: *returns* the waker that was known before.
    pub(super) fn note(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.waker {
            Some(known) if known.will_wake(waker) => None,
            _ => self.waker.replace(waker.clone()),
        }
    }

    pub(super) fn seen(&self) -> Seen {
        match self.end {
            _ if self.count > 0 => Seen::Bytes,
            Some(End::Clean) => Seen::End,
            Some(End::Broken(_)) => Seen::Broken,
            None if self.receive == Receive::Off => Seen::Off,
            None => Seen::Waiting,
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        let most = usize::try_from(descriptor_limit()).map_or(MAX_SLOTS, |most| most.min(MAX_SLOTS));
        Self {
            all: Vec::with_capacity(most),
            free: Vec::new(),
            waiting: std::iter::repeat_with(Waiting::default)
                .take(usize::from(BUFFERS))
                .collect(),
            called: Called::default(),
        }
    }

    /// A slot for a new stream; none: there are too many.
    pub(super) fn enter(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        let index = u32::try_from(self.all.len())
            .ok()
            .filter(|_| self.all.len() < MAX_SLOTS)?;
        self.all.push(Slot::new());
        Some(index)
    }

    /// A stream's slot.
    ///
    /// *Panics* for a number that [`enter`](Self::enter) did not give out.
    pub(super) fn at(&mut self, index: u32) -> &mut Slot {
        &mut self.all[index as usize]
    }

    /// A stream is gone. The waker that it had, to be dropped when nothing is borrowed.
    pub(super) fn leave(&mut self, index: u32, uring: &mut Uring) -> Option<Waker> {
        while let Some(filled) = self.remove_first(index) {
            uring.give_back(filled);
        }
        let slot = self.at(index);
        slot.gone = true;
        slot.rest = None;
        let waker = slot.waker.take();
        self.free_if_let_go(index);
        waker
    }

    fn free_if_let_go(&mut self, index: u32) {
        let slot = self.at(index);
        if slot.gone && slot.receive == Receive::Off && !slot.sending {
            *slot = Slot::new();
            self.free.push(index);
        }
    }

    /// Bytes came for a stream, or its end.
    pub(super) fn received(
        &mut self,
        index: u32,
        outcome: Result<Option<Filled>, i32>,
        more: bool,
        uring: &mut Uring,
    ) -> Amount {
        let slot = self.at(index);
        if !more {
            slot.receive = Receive::Off;
        }
        if slot.gone {
            if let Ok(Some(filled)) = outcome {
                uring.give_back(filled);
            }
            self.free_if_let_go(index);
            return Amount::Right;
        }
        match outcome {
            Ok(Some(filled)) => self.append(index, filled),
            Ok(None) => slot.end = Some(End::Clean),
            // The stream may be read all the same: there was no buffer or no memory, or it was told to stop.
            Err(code) if is_passing(code) => {
                // The ring has nothing to receive into: asked again it would say so again.
                let code = Errno::from_raw_os_error(code);
                slot.bulky |= code == Errno::NOBUFS || code == Errno::NOMEM;
            }
            Err(code) => slot.end = Some(End::Broken(code)),
        }
        self.call(index);
        let slot = self.at(index);
        if slot.count < BURST {
            return Amount::Right;
        }
        slot.bulky = true;
        Amount::TooMuch
    }

    /// Has the stream's task woken by [`wake_called`](Self::wake_called).
    fn call(&mut self, index: u32) {
        let slot = self.at(index);
        let Some(waker) = &slot.waker else { return };
        // What is behind a task's waker is the task.
        kernel::prefetch(waker.data(), TASK_BYTES);
        match slot.leads {
            true => self.called.leaders.push(index),
            false => self.called.others.push(index),
        }
    }

    /// Wakes the tasks of those for whom something came.
    ///
    /// *Shape*: answers before requests. A connection to a server that has answered is at hand for the next request, and tasks that do
    /// the same find their instructions in the processor's cache.
    pub(super) fn wake_called(&mut self) {
        let Self { all, called, .. } = self;
        for index in called.leaders.drain(..).chain(called.others.drain(..)) {
            if let Some(slot) = all.get(index as usize) {
                slot.wake();
            }
        }
    }

    /// A message was sent, or a part of it, or nothing. What is left over is room for another one.
    pub(super) fn sent(&mut self, index: u32, outcome: Result<usize, i32>, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let slot = self.at(index);
        slot.sending = false;
        let sent = match outcome {
            Ok(sent) => sent,
            Err(code) if is_passing(code) => 0,
            // The connection is broken, which whoever uses it next finds out by himself.
            Err(_) => bytes.len(),
        };
        let left = sent < bytes.len() && !slot.gone;
        if left || std::mem::take(&mut slot.awaits_sent) {
            slot.wake();
        }
        if left {
            slot.rest = Some(Box::new(Rest { bytes, sent }));
            return None;
        }
        self.free_if_let_go(index);
        Some(bytes)
    }

    /// Copies what came into `room`, and lets go of the buffers that are empty then.
    pub(super) fn take(&mut self, index: u32, uring: &mut Uring, room: &mut [u8]) -> Taken {
        let mut copied = 0;
        while let Some(rest) = room.get_mut(copied..).filter(|rest| !rest.is_empty())
            && self.at(index).count > 0
        {
            let Ok(count) = self.lend(index, uring, |bytes| {
                let count = bytes.len().min(rest.len());
                if let (Some(to), Some(from)) = (rest.get_mut(..count), bytes.get(..count)) {
                    to.copy_from_slice(from);
                }
                Ok::<_, std::convert::Infallible>(count)
            });
            copied += count;
        }
        if copied > 0 {
            return Taken::Bytes(copied);
        }
        let slot = self.at(index);
        match slot.end {
            Some(End::Clean) => Taken::End,
            Some(End::Broken(code)) => Taken::Broken(code),
            None if slot.receive == Receive::Off => Taken::Off,
            None => Taken::Waiting,
        }
    }

    /// Lends what is in the first buffer, and lets go of it when all of it was used. Nothing is lent as nothing.
    pub(super) fn lend<E>(
        &mut self,
        index: u32,
        uring: &mut Uring,
        f: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let Some(slot) = self.all.get_mut(index as usize) else {
            return f(&[]);
        };
        let filled = self
            .waiting
            .get(usize::from(slot.first))
            .and_then(|it| it.filled.as_ref());
        let Some(filled) = filled else { return f(&[]) };
        let bytes = uring.bytes(filled).get(usize::from(slot.taken)..).unwrap_or_default();
        let used = f(bytes)?;
        if used < bytes.len() {
            // Less than a buffer's size, which is 2 KiB.
            slot.taken = slot.taken.saturating_add(u16::try_from(used).unwrap_or(0));
        } else if let Some(empty) = self.remove_first(index) {
            uring.give_back(empty);
        }
        Ok(used)
    }

    fn append(&mut self, index: u32, filled: Filled) {
        let id = filled.id();
        let slot = &mut self.all[index as usize];
        let before = std::mem::replace(&mut slot.last, id);
        slot.count += 1;
        if slot.first == NONE {
            slot.first = id;
        } else if let Some(before) = self.waiting.get_mut(usize::from(before)) {
            before.next = id;
        }
        if let Some(place) = self.waiting.get_mut(usize::from(id)) {
            *place = Waiting {
                filled: Some(filled),
                next: NONE,
            };
        }
    }

    fn remove_first(&mut self, index: u32) -> Option<Filled> {
        let slot = &mut self.all[index as usize];
        let place = self.waiting.get_mut(usize::from(slot.first))?;
        let filled = place.filled.take()?;
        slot.first = place.next;
        slot.taken = 0;
        slot.count -= 1;
        if slot.first == NONE {
            slot.last = NONE;
        }
        Some(filled)
    }
}

/// Whether an error says nothing of the connection.
fn is_passing(code: i32) -> bool {
    let passing = [Errno::NOBUFS, Errno::CANCELED, Errno::AGAIN, Errno::INTR, Errno::NOMEM];
    passing.contains(&Errno::from_raw_os_error(code))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use super::*;

    struct Named {
        name: &'static str,
        woken: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Wake for Named {
        fn wake(self: Arc<Self>) {
            self.woken.lock().unwrap().push(self.name);
        }
    }

    #[test]
    fn answers_go_before_requests_and_nobody_is_woken_twice_for_the_same() {
        let mut slots = Slots::new();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let names = ["request", "answer", "later request", "later answer"];
        let indices = names.map(|name| {
            let index = slots.enter().unwrap();
            let named = Named {
                name,
                woken: Arc::clone(&woken),
            };
            let slot = slots.at(index);
            slot.note(&Arc::new(named).into());
            slot.leads = name.ends_with("answer");
            index
        });
        let nobody = slots.enter().unwrap();
        indices.into_iter().chain([nobody]).for_each(|index| slots.call(index));
        assert!(woken.lock().unwrap().is_empty(), "first all of it is looked at");
        slots.wake_called();
        slots.wake_called();
        let expected = ["answer", "later answer", "request", "later request"];
        assert_eq!(*woken.lock().unwrap(), expected);
    }
}
