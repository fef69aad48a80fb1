//! What may be written about finding out that the other end of a connection is gone?

use super::{OrNone, Whole};
use crate::setting::section::settings;
use crate::units::Span;

settings! {
    /// How the kernel finds out that the other end of a TCP connection is gone without a word: it asks (`SO_KEEPALIVE`), and breaks the connection
    /// where nobody answers. Not to be confused with `keep_alive`, which is about connections that wait for their next request.
    pub struct TcpKeepalive called "a TCP keepalive" {
        /// How long a connection carries nothing before the other end is asked; whole seconds, `32767s` at most.
        idle: Span = Span::seconds(60),
        /// Between one question and the next; likewise.
        interval: Span = Span::seconds(10),
        /// Questions in a row without an answer that break the connection.
        probes: Whole<1, 127> = Whole::of(6),
        /// How long what was sent may go without an acknowledgement (`TCP_USER_TIMEOUT`), in place of `probes` too; `none`: as long as
        /// the kernel tries, some 15 minutes.
        user_timeout: OrNone<Span>,
    }
}
