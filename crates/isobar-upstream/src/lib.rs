//! Which servers are there, who may take one more request, and who waits for it?
//!
//! An [`Upstream`] is shared by every worker and outlives reloads: its name is its identity, its settings and
//! servers are exchanged beneath it. A worker looks at it through a [`Local`], which caches what only changes
//! when the configuration, a server's health or its addresses change, so that choosing a server takes no lock.
//!
//! Layer 4 and layer 7 both build on this crate; it knows neither, and no socket.
#![forbid(unsafe_code)]

mod adaptive;
mod ask;
mod asking;
mod bell;
mod checks;
mod connections;
mod gate;
mod local;
mod pace;
mod placement;
mod queue;
mod server;
mod sessions;
mod sharded;
mod slots;
mod upstream;

pub use ask::{Ask, Home, Share, hash, moment};
pub use asking::Asking;
pub use checks::Findings;
pub use connections::{Connections, Permit, Wanted};
pub use local::{Local, LocalServer, Place, Refusal, Retire, View};
pub use queue::{Displaced, Held, QueueFull, Ticket};
pub use server::{ProbeOutcome, Server, Transition};
pub use sessions::Sessions;
pub use sharded::Sharded;
pub use upstream::{LevelStrength, Members, Upstream};
