//! Why does a stream or a connection end?

/// Why a stream or a connection ended, as one side tells the other.
///
/// *Source*: RFC 9113 section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// For no fault.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer does what the protocol does not allow.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// The sender is at fault.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// The peer sent more than there was room for.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// A frame came for a stream on which none may.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame has a length that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// A request was not looked at.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Self = Self(0x8);
    /// Heads can no longer be decompressed.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The peer makes more work than it should.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);

    /// Its name; `unknown` where it has none.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => "unknown",
        }
    }
}
