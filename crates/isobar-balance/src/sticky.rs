//! Which server does a session belong to?
//!
//! Two ways to know. A [`Token`] says it itself: the client brings it along, signed. A [`SessionTable`] remembers it, for
//! sessions known by something that others made up. Neither knows cookies, headers, or how signatures and hashes are made.

mod table;
mod token;

pub use table::{Keep, Kept, SessionTable, Visit};
pub use token::{Judgement, Seal, Token, Tokens};
