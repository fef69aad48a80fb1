//! What do operators ask a running instance?
//!
//! Health, in four depths, and metrics, over HTTP on a listener of its own. Everything is read through a [`View`];
//! this crate knows no engine, no configuration file and nothing that could change what the instance does.
#![forbid(unsafe_code)]

mod endpoints;
mod exposition;
mod health;
mod negotiation;
mod process;
mod server;
mod state;
mod view;

pub use server::serve;
pub use view::{ConfigurationReport, View};
