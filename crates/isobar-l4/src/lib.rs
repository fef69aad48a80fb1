//! TCP: a connection comes in, its bytes go to a server and back. UDP: so do datagrams.
//!
//! Follow a connection: [`serve`] is its life, [`proxy`] reads whom a proxy in front speaks
//! for, `hello` finds its route, `opening` chooses servers until one takes it, `waiting` is the
//! queue where none has room, `connecting` is one try at one server, [`Relay`] moves the bytes of both directions, `record` writes
//! down how it ended. [`udp`] does all of it for the flows of datagrams. Which server is `isobar-balance`'s to say; this crate knows neither HTTP nor files nor configuration
//! text, and opens no listener.
//!
//! What layer 7 stands on as well is public: the relay, the count of open connections, the lines of the access log.
//!
//! All but the [`World`] and what is behind it belongs to one worker thread.
#![forbid(unsafe_code)]

mod connecting;
mod connection;
mod divided;
mod hello;
pub mod keepalive;
mod key;
mod log;
mod lull;
mod open;
mod opening;
pub mod proxy;
pub mod published;
mod record;
mod relay;
mod roster;
mod shared;
pub mod sources;
pub mod throttle;
pub mod udp;
mod waiting;
mod worker;
mod world;

pub use connection::{Accepted, serve};
pub use divided::{Left, divide};
pub use log::{LineSink, Lines, LogHandle};
pub use lull::Lull;
pub use open::OpenConnections;
pub use relay::{Broken, Moved, Relay, Relayed, Side, Tools};
pub use roster::Roster;
pub use shared::Shared;
pub use worker::{Worker, WorkerParts};
pub use world::{Published, Site, SiteRoute, UdpSite, World};
