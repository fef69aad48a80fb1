//! In which slot does a server stand?

use std::sync::Arc;

use crate::Server;

/// The slots of a list of servers, by the servers' numbers.
///
/// *Shape*: sorted by number, and for one number by slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slots(Box<[(u32, u32)]>);

impl Slots {
    /// *Cost*: O(n log n), and O(n) where servers stand in the order in which they were made.
    pub(crate) fn of(servers: &[Arc<Server>]) -> Self {
        let mut slots: Box<[_]> = servers.iter().map(|server| server.number()).zip(0..).collect();
        slots.sort_unstable();
        Self(slots)
    }

    /// The slot of the server of a number.
    ///
    /// *Cost*: O(log n).
    pub(crate) fn of_number(&self, number: u32) -> Option<u32> {
        self.all_of(number).next()
    }

    /// The slot of a server among `servers`, of which these are the slots.
    ///
    /// *Cost*: O(log n).
    pub(crate) fn of_server(&self, server: &Arc<Server>, servers: &[Arc<Server>]) -> Option<u32> {
        // Numbers come again after very many servers.
        let is_same = |slot: &u32| {
            servers
                .get(*slot as usize)
                .is_some_and(|other| Arc::ptr_eq(other, server))
        };
        self.all_of(server.number()).find(is_same)
    }

    fn all_of(&self, number: u32) -> impl Iterator<Item = u32> {
        let first = self.0.partition_point(|&(other, _)| other < number);
        let rest = self.0.iter().skip(first);
        rest.take_while(move |&&(other, _)| other == number)
            .map(|&(_, slot)| slot)
    }
}
