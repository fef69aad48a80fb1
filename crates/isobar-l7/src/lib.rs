//! HTTP: a request comes in, an answer goes out.
//!
//! Follow a request: [`serve`] waits for its first bytes, `exchange` reads its head and finds the
//! route, `forward` chooses servers until one answers, `attempt` is one try at one, `again` says whether there is another and `hedge` makes two at
//! once, `flow` with `upload` and `download`
//! moves the bytes of both directions at once, `record` writes down how it ended. What bytes
//! mean is `isobar-wire`'s, which server is `isobar-balance`'s, which rule is `isobar-route`'s; this crate knows
//! neither files nor configuration text, and opens no listener.
//!
//! Everything here belongs to one worker thread. What workers share is in the [`World`] and behind it.
#![forbid(unsafe_code)]

mod address;
mod again;
mod answer;
mod attempt;
mod carrier;
mod connection;
mod deadline;
mod download;
mod exchange;
mod fields;
mod flow;
mod forward;
mod grpc;
mod hedge;
mod http2;
mod key;
mod limits;
mod overload;
mod paced;
mod pool;
mod proxied;
mod record;
pub mod reports;
mod request;
mod response;
mod secure;
mod server;
mod server_tls;
mod sharing;
mod sticky;
mod tunnel;
mod upload;
mod web;
mod worker;
mod world;

pub use connection::{Accepted, serve, serve_left};
pub use isobar_l4::{LineSink, LogHandle, OpenConnections};
pub use limits::{FairKeys, Limits, RunningLimit, Today, trial};
pub use secure::SiteTls;
pub use server_tls::{ServerTls, ServerTlsError, TlsComplaints};
pub use worker::{Worker, WorkerParts};
pub use world::{Published, Site, SiteParts, SiteRoute, World};
