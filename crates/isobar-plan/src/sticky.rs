//! How does a session stay with its server?

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

pub use isobar_balance::Otherwise;

/// How requests of a session stay with one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// How a session is known.
    pub by: StickyBy,
    /// What happens to a request whose server cannot be sent anything.
    pub on_down: Otherwise,
}

/// How a session is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StickyBy {
    /// By a cookie that names its server.
    Cookie(StickyCookie),
    /// By something that is remembered with its server.
    Learned(Learned),
}

/// A cookie that the load balancer gives to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name.
    pub name: Box<str>,
    /// What stands behind its value, from the first semicolon on.
    pub attributes: Box<str>,
    /// The files with the secrets; none: one that is made up by each process.
    pub secret_files: Vec<Box<str>>,
    /// What stands in them; the first makes new values, all are believed. Read by whoever may read files, before the plan
    /// is served.
    pub secrets: Vec<Secret>,
}

/// Something that makes and proves signatures. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Box<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What is remembered with its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// Where it is found.
    pub from: LearnedFrom,
    /// How long it is remembered when nobody asks for it.
    pub ttl: Duration,
    /// How much is remembered at most.
    pub max_entries: u32,
}

/// Where something that is remembered is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnedFrom {
    /// A cookie that servers give to clients.
    Cookie(Box<str>),
    /// A request header; the first choice for it is remembered.
    Header(Box<str>),
}
