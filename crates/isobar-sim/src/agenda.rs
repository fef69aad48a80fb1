//! What happens next?
//!
//! A heap of events by time; what happens at the same time happens in the order in which it was put down, so that a
//! run follows from its seed alone.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

/// Something that will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The next request comes.
    Arrival,
    /// A server is done with the request nearest its end, unless the plan of that time was changed since.
    Done { server: u32, plan: u32 },
    /// A request's client has waited long enough, unless the request ended and its place holds another.
    ClientLeaves(Ticket),
    /// A request has waited long enough for a place on a server.
    QueueEnds(Ticket),
    /// A server has answered a probe of a front.
    Probed { server: u32, front: u32 },
    /// The detector of a front looks at how servers answered; somebody may be back then, or that is not to be waited for.
    Judge { front: u32, returns: bool },
    /// A change of the scenario, by position.
    Change(u32),
    /// The antagonist of a server comes or goes.
    Antagonist(u32),
    /// A server is a bit older.
    Wear(u32),
    /// A sample of everything is taken.
    Sample,
}

/// A request that may be over by the time it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    /// Its place among the requests under way.
    pub(crate) place: u32,
    /// The how-manieth request in that place it is.
    pub(crate) stamp: u32,
}

/// What is put down to happen.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    put_down: u64,
    /// Events on the heap that do not come for ever.
    ending: usize,
}

impl Event {
    /// Whether it puts itself down again, so that a run is over when only such are left.
    const fn recurs(self) -> bool {
        matches!(
            self,
            Self::Antagonist(_) | Self::Wear(_) | Self::Sample | Self::Judge { returns: false, .. }
        )
    }
}

impl Agenda {
    /// Puts down an event. *Cost*: logarithmic in the number put down.
    pub(crate) fn put(&mut self, at: u64, event: Event) {
        self.heap.push(Reverse((at, self.put_down, event)));
        self.put_down += 1;
        self.ending += usize::from(!event.recurs());
    }

    /// The next event and its time; none: nothing more happens.
    pub(crate) fn take(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, _, event)) = self.heap.pop()?;
        self.ending -= usize::from(!event.recurs());
        Some((at, event))
    }

    /// Whether anything is put down but what recurs.
    pub(crate) const fn is_open(&self) -> bool {
        self.ending > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Agenda, Event};

    #[test]
    fn by_time_and_then_in_order() {
        let mut agenda = Agenda::default();
        agenda.put(5, Event::Wear(1));
        agenda.put(3, Event::Wear(2));
        agenda.put(5, Event::Arrival);
        agenda.put(3, Event::Change(9));
        assert!(agenda.is_open());
        let taken: [_; 5] = core::array::from_fn(|_| agenda.take());
        let expected = [
            Some((3, Event::Wear(2))),
            Some((3, Event::Change(9))),
            Some((5, Event::Wear(1))),
            Some((5, Event::Arrival)),
            None,
        ];
        assert_eq!(taken, expected);
        agenda.put(6, Event::Sample);
        assert!(!agenda.is_open());
    }
}
