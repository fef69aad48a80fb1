//! Skeleton.
#![no_std]
extern crate alloc;
/// Balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance { RoundRobin, LeastConnections, Random }
