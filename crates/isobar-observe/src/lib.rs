//! What happened, counted and written down?
//!
//! Workers count into shards of their own ([`RouteStats`] and its like); a [`Snapshot`] sums the shards of all
//! workers; the [`catalogue`] says what each number is called and means. A finished exchange becomes a line of the
//! access log through a [`Template`](access::Template), which [`recorded`] reads again, and [`Cause`] says how it ended and whose fault that was.
//! This crate knows no socket, file, clock or configuration: times, names and numbers come in as arguments.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
mod again;
mod by;
pub mod catalogue;
mod cause;
mod cell;
mod counter;
mod datagrams;
mod grpc;
mod histogram;
mod limit;
mod picked;
pub mod recorded;
mod snapshot;
mod stats;
mod time;
mod tls;

pub use again::{ByReason, ReasonTotals, RetryReason};
pub use by::{
    ByCause, ByClass, CauseTotals, ClassTotals, EarlyCauses, EveryCause, Failures, OverloadCauses, Overloads, Refusals,
    Scope, ServerCauses, StatusClass,
};
pub use cause::{Cause, Fault, RetrySafe, errors_markdown};
pub use counter::{Counter, Level};
pub use datagrams::{ByDropReason, DropReason, DropTotals};
pub use grpc::{ByGrpcStatus, GrpcStatus, GrpcTotals};
pub use histogram::{Histogram, HistogramTotals};
pub use limit::{ByLimitOutcome, LimitOutcome, LimitOutcomeTotals};
pub use picked::Picked;
pub use snapshot::{
    LimitSnapshot, ListenerSnapshot, PrioritySnapshot, RouteSnapshot, Series, ServerSnapshot, Snapshot,
    UpstreamSnapshot, WorkerSnapshot,
};
pub use stats::{
    LimitStats, LimitTotals, ListenerStats, ListenerTotals, PriorityStats, PriorityTotals, RouteStats, RouteTotals,
    ServerStats, ServerTotals, UpstreamStats, UpstreamTotals, WorkerStats, WorkerTotals,
};
pub use time::WallTime;
pub use tls::{ByTlsReason, TlsReason, TlsReasonTotals};
