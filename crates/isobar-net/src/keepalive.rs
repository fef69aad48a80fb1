//! How is it noticed that the other end of a connection is gone without a word?
//!
//! The kernel asks, and breaks the connection where nobody answers. Whose connections are asked, and how patiently, its users decide.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// How the kernel finds out (tcp(7): `SO_KEEPALIVE`, `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, `TCP_USER_TIMEOUT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keepalive {
    /// How long a connection carries nothing before the other end is asked; whole seconds, 32,767 at most.
    pub idle: Duration,
    /// Between one question and the next; likewise.
    pub interval: Duration,
    /// Questions in a row without an answer that break the connection; 127 at most.
    pub probes: u32,
    /// How long what was sent may go without an acknowledgement; none: as long as the kernel tries.
    pub user_timeout: Option<Duration>,
}

/// Has the kernel ask at the other end of a connection, or no longer; sockets that are accepted from a listening one have it from there.
///
/// *Cost*: two to five system calls.
///
/// *Errors*: a value is out of its range.
pub fn set(socket: impl AsFd, keepalive: Option<&Keepalive>) -> io::Result<()> {
    let user_timeout = keepalive.and_then(|keepalive| keepalive.user_timeout);
    let millis = user_timeout.map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    sockopt::set_tcp_user_timeout(&socket, millis)?;
    if let Some(keepalive) = keepalive {
        sockopt::set_tcp_keepidle(&socket, keepalive.idle)?;
        sockopt::set_tcp_keepintvl(&socket, keepalive.interval)?;
        sockopt::set_tcp_keepcnt(&socket, keepalive.probes)?;
    }
    sockopt::set_socket_keepalive(&socket, keepalive.is_some())?;
    Ok(())
}
