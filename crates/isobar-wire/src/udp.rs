//! Which datagrams belong together? Follows flows of UDP; knows no socket, no server, and of what datagrams say no more than the
//! connection IDs of QUIC.

mod flow;
mod quic;

pub use flow::{Answer, Datagram, DropReason, Flow, FlowCounts, FlowLimits, Flows, Handled, KeyedBy, QuicIds};
pub use quic::{ConnectionId, QuicHeader};
