//! How does HTTP/1 spell a message? Does not know what the proxy does with it.
//!
//! *Source*: RFC 9112, read strictly.

pub(crate) mod authority;
pub(crate) mod body;
pub(crate) mod bytes;
mod chunked;
pub(crate) mod connection;
mod facts;
mod fields;
mod growing;
mod limits;
mod refusal;
pub(crate) mod request;
pub(crate) mod response;
mod scan;
mod start_line;
mod target;
mod trailers;
pub mod write;
