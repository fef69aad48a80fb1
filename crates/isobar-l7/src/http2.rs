//! How is HTTP/2 spoken?
//!
//! Frames, flow control and the compression of heads are the `h2` crate's. What is here gives each request of an HTTP/2 connection an
//! exchange of its own, and stands between the two: what is on a stream is read and written in the form of HTTP/1 (`text`, `inflow`,
//! `outflow`), so that everything that is done with a request is written once, and what comes out of a stream passes the same strict
//! parser as any other request. What is no message in that form cannot be sent on, whatever a stream can be made to hold.
//!
//! `connection` serves a client's connection; each of its requests is a task. `pipe` is what is below the library: it counts the frames
//! that pass ([`isobar_wire::http2`]), and brings what all streams have to say in one turn to the socket in one write.

mod accepted;
mod connection;
mod inflow;
mod opened;
mod outflow;
mod pipe;
mod shared;
mod text;
mod websocket;

pub(crate) use accepted::Accepted;
pub(crate) use connection::{begins_with_preface, serve};
pub(crate) use opened::{Opened, Undone};
pub(crate) use shared::Shared;
