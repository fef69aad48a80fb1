//! What of HTTP/2 can be told without knowing its streams?
//!
//! Streams and flow control are a library's business. What is here looks at the heads of the frames that pass, because that library
//! does not count what a peer makes it do for nothing; and [`hpack`] is header compression for whoever does without it.

pub mod frames;
pub mod hpack;
pub mod meter;

/// What a client sends first.
///
/// *Source*: RFC 9113 section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
