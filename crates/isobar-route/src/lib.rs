//! Skeleton.
#![no_std]
extern crate alloc;
/// Rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule { pub host: HostPattern, pub path: PathPattern }
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern { Any, Exact(alloc::boxed::Box<str>), Wildcard(alloc::boxed::Box<str>) }
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern { Any, Exact(alloc::boxed::Box<str>), Segments(alloc::boxed::Box<str>), Prefix(alloc::boxed::Box<str>) }
