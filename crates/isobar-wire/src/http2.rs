//! What do the bytes of an HTTP/2 connection mean?
//!
//! A [`Connection`] is one side of a connection as a sans-IO machine: bytes in, and bytes to send out. What its streams carry is read and
//! written in the form of HTTP/1: a head is that of a request or a response there, a body has the framing that its head says. So whoever
//! exchanges messages does so in one form, and all that comes passes the same strict reading.
//!
//! *Source*: RFC 9113, RFC 7541, RFC 8441.

mod block;
mod code;
mod connection;
mod frame;
mod head;
pub mod hpack;
pub mod meter;
mod reader;
mod settings;
mod stream;
mod streams;
mod text;

pub use code::ErrorCode;
pub use connection::{Answer, Asked, Connection, Ended, Reading, StreamError};
pub use settings::Settings;
pub use streams::StreamKey;

/// What a client sends first.
///
/// *Source*: RFC 9113 section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
