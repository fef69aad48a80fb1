//! How is it found out that the other end of a connection is gone without a word?

use core::time::Duration;

/// How the kernel asks whether the other end of a TCP connection is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpKeepalive {
    /// How long a connection carries nothing before it asks; whole seconds, from 1 to [`MAX_SECONDS`](Self::MAX_SECONDS).
    pub idle: Duration,
    /// Between one question and the next; likewise.
    pub interval: Duration,
    /// Questions in a row without an answer that break the connection; from 1 to 127.
    pub probes: u32,
    /// How long what was sent may go without an acknowledgement, [`MAX_USER_TIMEOUT`](Self::MAX_USER_TIMEOUT) at most; none: as long as
    /// the kernel tries.
    pub user_timeout: Option<Duration>,
}

impl TcpKeepalive {
    /// The longest of the first two that the kernel takes.
    pub const MAX_SECONDS: u64 = 32_767;

    /// The longest of the last that the kernel takes, in whole days.
    pub const MAX_USER_TIMEOUT: Duration = Duration::from_hours(24 * 24);
}
