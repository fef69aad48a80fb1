//! How is HTTP/2 spoken?

use core::time::Duration;

/// Which version of HTTP is spoken with servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, without asking.
    Http2,
    /// What each server chooses in its TLS handshake (ALPN).
    Auto,
}

/// How HTTP/2 is spoken with the clients of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Requests that a client may have under way on one connection; what is beyond is refused, to be sent again (`REFUSED_STREAM`).
    pub max_concurrent_streams: u32,
    /// Bytes of one request's body that a client may send ahead of the server that takes them.
    pub stream_window: u32,
    /// The same for all requests of a connection together: what such a connection can make us hold at most.
    pub connection_window: u32,
    /// Bytes of answers that are held for a client.
    pub send_buffer: u32,
    /// Bytes that a connection may hold in all before it ends.
    pub max_memory: u32,
    /// What a client may send that costs it nothing.
    pub budgets: Http2Budgets,
}

/// How much of what costs its sender nothing may come within a window of time. Past a budget the connection ends (`GOAWAY` with
/// `ENHANCE_YOUR_CALM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Budgets {
    /// The length of a window, whole milliseconds.
    pub window: Duration,
    /// Requests that the client gives up.
    pub resets: u32,
    /// Requests that we end for what the client sent: frames that break the rules, or one request too many.
    pub resets_sent: u32,
    /// PING, beyond one for each frame with data.
    pub pings: u32,
    /// SETTINGS.
    pub settings: u32,
    /// DATA without data that does not end its stream.
    pub empty_data: u32,
    /// PRIORITY, and frames of unknown types.
    pub priorities: u32,
    /// WINDOW_UPDATE, beyond two for each frame with data.
    pub window_updates: u32,
    /// CONTINUATION of one head, whatever the time.
    pub continuations: u32,
}
