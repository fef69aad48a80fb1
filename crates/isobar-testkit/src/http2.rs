//! How is HTTP/2 spoken with a proxy, well or badly?
//!
//! [`FramePeer`] says every frame by hand and so also what no library would. [`Http2Origin`] is a server, and [`fetch`] a client,
//! that keep the rules.

mod client;
mod frames;
mod origin;
mod programs;

pub use client::{Asked, Got, fetch};
pub use frames::{End, Frame, FramePeer, field, flags, headers, kind, preface};
pub use origin::{Http2Origin, Http2Seen, Http2Settings};
pub use programs::{H2loadReport, Haproxy, Httpwg, Nghttpd, h2load, httpwg, nghttp};
