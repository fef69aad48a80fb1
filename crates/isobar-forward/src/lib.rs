//! The forward proxy: clients say where they want to go.
//!
//! Follow a connection: [`serve`] tells HTTP and SOCKS 5 apart by its first byte. `http` reads one request after another, `socks` the
//! one there is; `users` knows who the client is and how much it may have, `reach` asks the rules, the [`Names`] and the addresses
//! until a connection stands, through `parent` where there is one. From then on it is a `tunnel`, or for a request of HTTP an
//! `exchange`; `record` writes down who went where, and how much.
//!
//! Which destination is allowed is `isobar-route`'s to say, what bytes mean `isobar-wire`'s. Names and passwords take time that a
//! worker does not have: who looks into them is behind [`Background`]. This crate knows no file and no configuration text, and opens
//! no listener.
#![forbid(unsafe_code)]

mod answer;
mod background;
mod compose;
mod connection;
mod exchange;
mod http;
mod names;
mod outgoing;
mod pac;
mod parent;
mod race;
mod reach;
mod record;
mod socks;
mod standing;
mod tunnel;
mod users;
mod worker;
mod world;

pub use background::{Attempt, Background, Found, LookupError, Nobody};
pub use connection::{Accepted, serve};
pub use names::{Names, Question};
pub use standing::Standing;
pub use worker::{Worker, WorkerParts};
pub use world::{Published, Site, World};
