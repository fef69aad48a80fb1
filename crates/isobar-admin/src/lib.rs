//! What do operators ask a running instance?
//!
//! Health, in four depths, metrics and the servers, over HTTP on a listener of its own. Everything is read through a
//! [`View`]; the one thing that can be changed, which servers are in service, goes through [`Operations`]. This crate
//! knows no engine and no configuration file.
#![forbid(unsafe_code)]

mod endpoints;
mod exposition;
mod health;
mod limits;
mod negotiation;
mod process;
mod server;
mod servers;
mod site;
mod state;
mod stores;
mod view;

pub use server::serve;
pub use view::{ConfigurationReport, Operations, View};
