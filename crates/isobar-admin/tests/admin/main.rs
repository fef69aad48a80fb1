//! The admin listener over real sockets, with an instance that is made up.

mod endpoints;
mod fake;
mod metrics;
