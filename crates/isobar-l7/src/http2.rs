//! How is HTTP/2 spoken?
//!
//! What its bytes mean is [`isobar_wire::http2`]'s to say: streams are read and written in the form of HTTP/1 there. What is here gives
//! each request of a connection an exchange of its own, so that everything that is done with a request is written once, and what comes
//! out of a stream passes the same strict parser as any other request. What is no message in that form cannot be sent on, whatever a
//! stream can be made to hold.
//!
//! `connection` serves a client's connection; each of its requests is a task. `shared` is a connection to a server. `pipe` is what all
//! streams of a connection have in common: it brings what they have to say in one turn to the socket in one write.

mod accepted;
mod connection;
mod opened;
mod outbox;
mod outflow;
mod pipe;
mod shared;
mod websocket;

pub(crate) use accepted::Accepted;
pub(crate) use connection::{begins_with_preface, serve};
pub(crate) use opened::{Opened, Undone};
pub(crate) use shared::Shared;

use isobar_wire::HeadLimits;

/// What is taken of a head that was written here: as much as there may be, with what is added on the way.
const OWN_HEAD: HeadLimits = HeadLimits {
    max_bytes: 65_535,
    max_fields: 1_024,
};
