//! What does the plan ask of the kernel about connections whose other end may be gone?

use std::os::fd::AsFd;

use isobar_net::keepalive::{self, Keepalive};
use isobar_plan::TcpKeepalive;

/// Has the kernel ask whether the other end of a connection is still there, where the plan wants that.
///
/// *Cost*: some system calls; none where it is not wanted.
pub fn ask(socket: impl AsFd, plan: Option<&TcpKeepalive>) {
    if let Some(plan) = plan {
        // The socket is open, and the values of a plan are in range: there is nothing that could fail.
        let _ = keepalive::set(socket, Some(&told(plan)));
    }
}

/// What the kernel is told.
#[must_use]
pub fn told(plan: &TcpKeepalive) -> Keepalive {
    let TcpKeepalive {
        idle,
        interval,
        probes,
        user_timeout,
    } = *plan;
    Keepalive {
        idle,
        interval,
        probes,
        user_timeout,
    }
}
