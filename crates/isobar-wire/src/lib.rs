//! What do these bytes mean?
//!
//! The HTTP/1 codec as a sans-IO machine: bytes in, facts out. A head is parsed into ranges over the caller's
//! buffer, a body is followed through its framing, and an [`exchange::Exchange`] says what the two connections of
//! one exchange may still be used for. [`load`] reads what servers say of themselves in it.
//!
//! What stands before a connection's own bytes is read by [`proxy_protocol`], [`client_hello`] and [`socks5`]; [`udp`]
//! tells which datagrams are one flow.
//!
//! The crate knows no socket, no clock, no route and no configuration; it never panics on bytes, and in steady state it
//! allocates nothing.
//!
//! The reading of RFC 9110 and RFC 9112 is the strict one: where two parties could disagree about where a message
//! ends, the message is refused.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client_hello;
pub mod exchange;
pub mod grpc_health;
pub mod grpc_web;
mod head;
mod http1;
pub mod http2;
mod known;
pub mod load;
mod method;
pub mod proxy_protocol;
mod reader;
pub mod socks5;
mod span;
pub mod udp;

pub use head::error::HeadError;
pub use head::{BodyKind, Field, HeadLimits, Parsed, RequestHead, RequestKind, ResponseHead, TargetForm, Version};
pub use http1::authority::Authority;
pub use http1::body::{BodyDecoder, BodyError, Decoded};
pub use http1::connection::is_hop_by_hop;
pub use http1::write;
pub use known::Known;
pub use load::{LoadReport, LoadReportError};
pub use method::Method;
pub use span::Span;
