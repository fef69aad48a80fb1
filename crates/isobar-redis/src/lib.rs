//! What do instances tell each other of their limits, through Redis?
//!
//! One task for each store. It connects, says that this instance is there, and then tells Redis in batches what ledgers want to
//! have told; what Redis answers it gives to them. Nobody waits for it: workers decide by what they have, and by the policy
//! of the limit while the store is lost. It does not know what is limited, nor of whom.
#![forbid(unsafe_code)]

mod link;
mod scripts;
mod task;

pub use task::{Members, serve};
