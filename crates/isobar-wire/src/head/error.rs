//! What is wrong with a head, whose fault is it, and what is answered? Does not know how the answer is sent.

/// Why a head is refused. The bytes after it have no known meaning, so its connection cannot be used any further.
///
/// In a request it is the client's fault, and [`status`](Self::status) is the answer; in a response it is the
/// server's, and the client is answered 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadError {
    /// Not `method SP target SP version`. RFC 9112 section 3.
    #[error("the request line is not a method, a target and a version")]
    BadRequestLine,
    /// The method has more than [`MAX_METHOD_BYTES`](Self::MAX_METHOD_BYTES). RFC 9112 section 3.
    #[error("the method is too long")]
    MethodTooLong,
    /// Not `HTTP/digit.digit`, or older than HTTP/1.0. RFC 9112 section 2.3.
    #[error("the version is not one of HTTP")]
    BadVersion,
    /// A version later than HTTP/1 on a connection that speaks HTTP/1. RFC 9110 section 15.6.6.
    #[error("the version is not HTTP/1")]
    UnsupportedVersion,
    /// The request line alone is longer than a head may be. RFC 9112 section 3.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head is longer than it may be. RFC 6585 section 5.
    #[error("the head is too large")]
    HeadTooLarge,
    /// There are more fields than there may be. RFC 6585 section 5.
    #[error("there are too many fields")]
    TooManyFields,
    /// A field line without a colon, or whose name is empty or not a token. RFC 9110 section 5.1.
    #[error("a field name is not a token")]
    BadFieldName,
    /// A field value with NUL or another control character. RFC 9110 section 5.5.
    #[error("a field value has a control character")]
    BadFieldValue,
    /// A line that ends with LF alone. RFC 9112 section 2.2 allows to accept it; request smuggling lives on it.
    #[error("a line ends with LF without CR")]
    BareLf,
    /// A CR that is not followed by LF. RFC 9112 section 2.2.
    #[error("there is a CR without LF")]
    BareCr,
    /// A field line that begins with whitespace. RFC 9112 section 5.2.
    #[error("a field is folded over several lines")]
    ObsFold,
    /// Whitespace between a field name and its colon. RFC 9112 section 5.1.
    #[error("there is whitespace between a field name and its colon")]
    WhitespaceBeforeColon,
    /// An HTTP/1.1 request without `Host`. RFC 9112 section 3.2.
    #[error("the host field is missing")]
    MissingHost,
    /// More than one `Host`. RFC 9112 section 3.2.
    #[error("there is more than one host field")]
    RepeatedHost,
    /// A `Host` that is not `host[:port]`. RFC 9110 section 7.2.
    #[error("the host field is not a host and port")]
    BadHost,
    /// A `Content-Length` that is not a decimal number of 64 bits. RFC 9112 section 6.3.
    #[error("the content length is not a number")]
    BadContentLength,
    /// More than one `Content-Length`, equal or not. RFC 9112 section 6.3.
    #[error("there is more than one content length")]
    RepeatedContentLength,
    /// Both `Content-Length` and `Transfer-Encoding`. RFC 9112 section 6.1.
    #[error("there is a content length beside a transfer encoding")]
    ContentLengthWithTransferEncoding,
    /// `Transfer-Encoding` in a message of HTTP/1.0. RFC 9112 section 6.1.
    #[error("there is a transfer encoding in a message of HTTP/1.0")]
    TransferEncodingOnHttp10,
    /// `Transfer-Encoding` in a response that has no body (1xx, 204). RFC 9112 section 6.1.
    #[error("there is a transfer encoding in a response that has no body")]
    TransferEncodingWithoutBody,
    /// `Transfer-Encoding` that is not exactly `chunked`. RFC 9112 section 6.1.
    #[error("the transfer encoding is not just chunked")]
    TransferEncodingNotChunked,
    /// A transfer coding other than `chunked`. RFC 9112 section 6.1.
    #[error("the transfer coding is not known")]
    UnknownTransferCoding,
    /// A request target of none of the four forms, not visible ASCII, or with a fragment. RFC 9112 section 3.2.
    #[error("the request target is not valid")]
    BadTarget,
    /// An expectation other than `100-continue`. RFC 9110 section 10.1.1.
    #[error("the expectation is not known")]
    UnknownExpectation,
    /// More than [`MAX_CONNECTION_OPTIONS`](Self::MAX_CONNECTION_OPTIONS), or one that is not a token.
    /// RFC 9110 section 7.6.1.
    #[error("the connection options are not a short list of tokens")]
    BadConnectionOptions,
    /// Not `version SP status [SP reason]`, or the status is not within 100 to 599. RFC 9112 section 4.
    #[error("the status line is not a version, a status and a reason")]
    BadStatusLine,
    /// 101 that nobody asked for, or that does not say what is switched to. RFC 9110 section 15.2.2.
    #[error("the server switches protocols without being asked to, or does not say to which")]
    UnexpectedUpgrade,
}

impl HeadError {
    /// Bytes of a method at most; the longest registered one has 17 (`UPDATEREDIRECTREF`).
    pub const MAX_METHOD_BYTES: usize = 32;
    /// Options of all `Connection` fields of a head at most; empty list elements count too.
    pub const MAX_CONNECTION_OPTIONS: usize = 32;

    /// The status a client is answered with when its request has this error.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::UnknownExpectation => 417,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::MethodTooLong | Self::UnknownTransferCoding => 501,
            Self::UnsupportedVersion => 505,
            Self::BadStatusLine | Self::UnexpectedUpgrade | Self::TransferEncodingWithoutBody => 502,
            Self::BadRequestLine
            | Self::BadVersion
            | Self::BadFieldName
            | Self::BadFieldValue
            | Self::BareLf
            | Self::BareCr
            | Self::ObsFold
            | Self::WhitespaceBeforeColon
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::BadHost
            | Self::BadContentLength
            | Self::RepeatedContentLength
            | Self::ContentLengthWithTransferEncoding
            | Self::TransferEncodingOnHttp10
            | Self::TransferEncodingNotChunked
            | Self::BadTarget
            | Self::BadConnectionOptions => 400,
        }
    }
}
