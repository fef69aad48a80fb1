//! Which connections of a listener are passed on as they are, and what becomes of the others?
//!
//! A listener of HTTP over TLS can pass on what asks for some names. Everything is read here that stands before the decision; who goes on with
//! the others, and how, is not known here.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use isobar_net::stream::Stream;
use isobar_observe::Cause;

#[cfg(doc)]
use crate::OpenConnections;
use crate::Worker;
use crate::connection::{Accepted, Session};
use crate::sources::Entered;

/// What becomes of connections without a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// They are refused.
    Refused,
    /// They are somebody else's.
    Left,
}

/// Why a connection was not opened.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It is over.
    Over(Cause),
    /// It is over before it was known whose it is, which is counted already.
    Unknown,
    /// It is somebody else's, and began with this.
    Left(Vec<u8>),
}

impl From<Cause> for Unopened {
    fn from(cause: Cause) -> Self {
        Self::Over(cause)
    }
}

/// A connection that is not passed on. It is still counted in its listener's [`OpenConnections`].
#[derive(Debug)]
pub struct Left {
    /// The connection.
    pub stream: Stream,
    /// Whose it is, as a proxy in front says.
    pub peer: SocketAddr,
    /// What was read from it.
    pub first: Vec<u8>,
    /// Its part of what its source may have; none: there is no limit.
    pub entered: Option<Box<Entered>>,
    /// When it was accepted.
    pub began: Instant,
}

/// Serves one connection as [`serve`](crate::serve) does until it ends, unless it is left to others.
///
/// *Cost*: one allocation, of the future; another one for a connection that is left.
pub fn divide(worker: Rc<Worker>, accepted: Accepted) -> impl Future<Output = Option<Box<Left>>> {
    let mut session = Session::new(worker, accepted, Others::Left);
    async move {
        let first = session.run().await?;
        Some(Box::new(session.leave(first)))
    }
}
