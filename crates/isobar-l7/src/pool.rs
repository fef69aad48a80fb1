//! Which open connections to a server wait for the next request?
//!
//! One pool per worker and server, so that none is locked. The connection used last is taken first: the others age
//! and are closed. All pools of a worker together keep no more than its [`Allowance`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use isobar_plan::KeepAlive;
use isobar_upstream::Retire;

use crate::http2::Shared;
use crate::server::ServerConnection;
use crate::sharing::{Caution, Sharing};
use crate::{ServerTls, Worker};

/// The idle connections of one worker to one server.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Those that carry several requests at once.
    sharing: Sharing,
    /// Whether the server left, so that nobody would take or sweep what is kept.
    retired: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<ServerConnection>,
    since: Instant,
    _kept: Kept,
}

/// How many connections all pools of a worker may keep together: descriptors are for those who come as well.
#[derive(Debug, Clone)]
pub(crate) struct Allowance(Rc<Counts>);

#[derive(Debug)]
struct Counts {
    kept: Cell<usize>,
    most: usize,
}

/// One that is kept, until it is dropped.
#[derive(Debug)]
struct Kept(Allowance);

impl Allowance {
    pub(crate) fn new(most: usize) -> Self {
        let kept = Cell::new(0);
        Self(Rc::new(Counts { kept, most }))
    }

    fn take(&self) -> Option<Kept> {
        let Counts { kept, most } = &*self.0;
        (kept.get() < *most).then(|| {
            kept.set(kept.get() + 1);
            Kept(self.clone())
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Counts { kept, .. } = &*self.0.0;
        kept.set(kept.get() - 1);
    }
}

impl Pool {
    /// The connection used last among those that are secured as `tls` has it and that the server, as far as is known, has not
    /// closed. Others before it are closed.
    ///
    /// *Cost*: no system call while the reactor has seen nothing on it.
    pub(crate) fn take(&self, tls: Option<&ServerTls>) -> Option<Box<ServerConnection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.is_quiet() && connection.is_secured_by(tls) {
                return Some(connection);
            }
            connection.close();
        }
        None
    }

    /// Keeps a connection that finished an exchange cleanly, or closes it where there is no use for it.
    pub(crate) fn keep(
        &self,
        connection: Box<ServerConnection>,
        (limits, allowance): (&KeepAlive, &Allowance),
        since: Instant,
    ) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < limits.max_idle as usize
            && !self.retired.get()
            && let Some(kept) = allowance.take()
        {
            idle.push(Idle {
                connection,
                since,
                _kept: kept,
            });
        } else {
            // What is dropped tells others that there is room, who must find the pool free.
            drop(idle);
            connection.close();
        }
    }

    /// A stream of a connection that carries several requests, where one has room.
    pub(crate) fn stream(
        &self,
        worker: &Worker,
        tls: Option<&ServerTls>,
        caution: Caution,
    ) -> Option<Box<ServerConnection>> {
        let opened = self.sharing.stream(tls, caution)?;
        Some(Box::new(ServerConnection::of_stream(worker, opened, true)))
    }

    /// Keeps a connection that carries several requests, for all who come.
    pub(crate) fn share(&self, connection: Rc<Shared>) {
        if !self.retired.get() {
            self.sharing.keep(connection);
        }
    }

    /// The connections that carry several requests.
    pub(crate) fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// Closes what was idle too long and what the server closed.
    pub(crate) fn sweep(&self, limits: &KeepAlive, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let is_over = |idle: &mut Idle| {
            now.saturating_duration_since(idle.since) >= limits.idle_timeout || !idle.connection.is_quiet()
        };
        let over: Vec<Idle> = idle.extract_if(.., is_over).collect();
        drop(idle);
        over.into_iter().for_each(|idle| idle.connection.close());
    }

    /// Closes the connections that have been idle longest, as many as are wanted; how many that were.
    pub(crate) fn close_oldest(&self, wanted: usize) -> usize {
        let mut idle = self.idle.borrow_mut();
        let count = wanted.min(idle.len());
        let closed: Vec<Idle> = idle.drain(..count).collect();
        // What is dropped tells others that there is room, who must find the pool free.
        drop(idle);
        let count = closed.len();
        closed.into_iter().for_each(|idle| idle.connection.close());
        count + self.sharing.close_idle(wanted - count)
    }
}

impl Retire for Pool {
    fn retire(&self) {
        self.retired.set(true);
        self.idle.take().into_iter().for_each(|idle| idle.connection.close());
        self.sharing.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_given_back_when_what_was_kept_is_dropped() {
        let allowance = Allowance::new(2);
        let (one, two) = (allowance.take(), allowance.take());
        assert!(one.is_some() && two.is_some() && allowance.take().is_none());
        drop(one);
        assert!(allowance.take().is_some());
        assert!(Allowance::new(0).take().is_none());
    }
}
