//! What of HTTP/2 can be told from its frames alone, without their contents?
//!
//! Streams, flow control and header compression are a library's business. What is here looks at the heads of the frames that
//! pass, because that library does not count what a peer makes it do for nothing.

pub mod frames;
pub mod meter;

/// What a client sends first.
///
/// *Source*: RFC 9113 section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
