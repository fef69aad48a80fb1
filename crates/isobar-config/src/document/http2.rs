//! What may be written about HTTP/2?

use isobar_plan::HttpVersion;

use super::Whole;
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::units::{ByteSize, Span};

settings! {
    /// How HTTP/2 is spoken with the clients of a listener.
    pub struct Http2 called "the settings of HTTP/2" short enabled {
        /// Whether it is spoken at all.
        enabled: bool = true,
        /// Requests that a client may have under way on one connection; what is beyond is refused, to be sent again.
        max_concurrent_streams: Whole<1, 10_000> = Whole::of(128),
        /// Bytes of one request's body that a client may send ahead of the server that takes them.
        stream_window: ByteSize<16_384, 0x7fff_ffff> = ByteSize::of(256 << 10),
        /// The same for all requests of a connection together: what is held of them at most. Where it is less than `stream_window` for
        /// each stream, uploads that servers do not take can hold up others of their connection.
        connection_window: ByteSize<65_535, 0x7fff_ffff> = ByteSize::of(8 << 20),
        /// Bytes of answers that are held for a client which does not take them; what is beyond waits.
        send_buffer: ByteSize<1_024, 0x7fff_ffff> = ByteSize::of(64 << 10),
        /// Bytes that a connection may hold in all, heads and bodies that servers have not taken and answers that the client has not; past
        /// it the connection ends (`GOAWAY` with `ENHANCE_YOUR_CALM`). Less than `connection_window` ends it where its uploads would wait.
        max_memory: ByteSize<65_536, 0x7fff_ffff> = ByteSize::of(16 << 20),
        /// How much a client may send that costs it nothing. Past a budget the connection ends (`GOAWAY` with `ENHANCE_YOUR_CALM`).
        budgets: Http2Budgets,
    }
}

settings! {
    /// How much may come within a window of time of what costs its sender nothing. The counts begin anew with each window.
    pub struct Http2Budgets called "the budgets of HTTP/2" {
        /// The length of a window.
        window: Span = Span::seconds(10),
        /// Requests that the client gives up (`RST_STREAM`).
        resets: Whole<0, 1_000_000> = Whole::of(200),
        /// Requests that are ended for what the client sent: frames that break the rules, or one request too many.
        resets_sent: Whole<0, 1_000_000> = Whole::of(200),
        /// `PING`, beyond one for each frame with data.
        pings: Whole<0, 1_000_000> = Whole::of(100),
        /// `SETTINGS`.
        settings: Whole<1, 1_000_000> = Whole::of(20),
        /// `DATA` without data that does not end its stream.
        empty_data: Whole<0, 1_000_000> = Whole::of(100),
        /// `PRIORITY`, and frames of unknown types.
        priorities: Whole<0, 1_000_000> = Whole::of(500),
        /// `WINDOW_UPDATE`, beyond two for each frame with data.
        window_updates: Whole<0, 1_000_000> = Whole::of(1_000),
        /// `CONTINUATION` of one head, whatever the time.
        continuations: Whole<0, 1_000> = Whole::of(8),
    }
}

impl Choice for HttpVersion {
    const EXPECTED: &'static str = "`http1`, `http2` or `auto`";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Http1, "http1", "HTTP/1.1"),
        (
            Self::Http2,
            "http2",
            "HTTP/2 from the first byte, which gRPC needs: requests share connections",
        ),
        (
            Self::Auto,
            "auto",
            "HTTP/2 with servers that choose it in their TLS handshake (ALPN), HTTP/1.1 with all others",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word.to_ascii_lowercase().as_str() {
            "1" | "1.1" | "http/1.1" => Some("did you mean `http1`?"),
            "2" | "2.0" | "h2" | "h2c" | "grpc" | "http/2" => Some("did you mean `http2`?"),
            _ => None,
        }
    }
}
