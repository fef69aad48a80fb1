//! Which rule does a request fall under?
//!
//! A [`RouteTable`] is made once from the rules of a listener and answers with the position of one of them. It knows
//! hosts and paths; what happens to a request that falls under a rule is the caller's business.
//!
//! # Precedence
//! Among all rules whose host *and* path match the request, one is chosen by, in this order:
//!
//! 1. the host: an exact name, then the longest wildcard (`*.api.example.com` before `*.example.com`), then any;
//! 2. the path: an exact path, then the longest beginning (of `/v1/*` and `/v1*`, which are equally long, the one
//!    that ends at a segment), then any;
//! 3. the order in which the rules are written.
//!
//! The order matters only between rules with the same patterns. A rule for a host is no promise to serve every
//! path of it: a request whose path none of the rules for its host takes goes to the rules for less specific hosts.
//!
//! # Patterns
//! | host | matches |
//! |---|---|
//! | `example.com` | this name, on any port, in any case, with or without a trailing dot |
//! | `*.example.com` | names with one or more labels before `.example.com`; not `example.com` itself |
//! | `[2001:db8::1]` | this address, however it is abbreviated |
//! | `*` | every host, also an empty one |
//!
//! | path | matches |
//! |---|---|
//! | `/v1/users` | this path alone |
//! | `/v1/*` | `/v1` and everything below it: `/v1/`, `/v1/users`; not `/v10` |
//! | `/v1*` | everything that begins with it: `/v1`, `/v10`, `/v1/users` |
//! | `*` | every path |
//!
//! # Destinations
//! Where clients of a forward proxy may go is [`destination`]'s to say: names, addresses and ports instead of hosts and paths.
//!
//! # One canonical path
//! Patterns are compared with the path as [`canonical_target`] writes it, and that same path goes on to access
//! rules and to the server, so that no spelling of a path is seen differently by two of them.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod canonical;
pub mod destination;
mod host;
mod path;
mod rule;
mod table;

pub use canonical::{Canonical, PathError, canonical_target, path_of};
pub use host::{HostPattern, without_port};
pub use path::PathPattern;
pub use rule::{PatternError, Rule};
pub use table::{Considered, RouteTable, Verdict};
