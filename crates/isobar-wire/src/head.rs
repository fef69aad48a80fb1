//! What does a message head say? Ranges over bytes that live elsewhere, and the facts the proxy acts on; the same
//! for every HTTP version. Does not know how a version spells it: that is [`crate::http1`].

pub(crate) mod error;

use alloc::vec::Vec;

use crate::{HeadError, Known, Method, Span, http1};

/// A version of HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, and any later minor version of HTTP/1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

/// What a head may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a head, its last CRLF included; no more than 65,535 whatever is asked for.
    pub max_bytes: usize,
    /// Fields of a head; no more than 256 whatever is asked for.
    pub max_fields: usize,
}

/// Whether a head is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// All of it.
    Complete,
    /// More bytes are needed. The head holds nothing of use.
    Partial,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// There is no body.
    #[default]
    None,
    /// It has this many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends with the connection; responses only.
    UntilClose,
}

/// Which form a request target has.
///
/// *Source*: RFC 9112 section 3.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    #[default]
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, of CONNECT only.
    Authority,
    /// `*`, of OPTIONS only.
    Asterisk,
}

/// One field line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Field {
    /// Which field it is, where the proxy acts on it.
    pub known: Known,
    /// Whether a `Connection` field names it, and may: see [`is_hop_by_hop`](crate::is_hop_by_hop).
    pub nominated: bool,
    /// Its name as received.
    pub name: Span,
    /// Its value without the whitespace around it.
    pub value: Span,
}

/// The head of a request.
///
/// It is made to be used again: parsing clears it and keeps what it has allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as received.
    pub method_name: Span,
    /// The target as received.
    pub target: Span,
    /// `host[:port]` of the target where it has one, else of the `Host` field; empty where neither has.
    pub authority: Span,
    /// The path and query of the target; `*` in asterisk-form, empty in authority-form. In absolute-form it may be
    /// empty or begin with `?`, and stands for itself with a `/` before it.
    pub path: Span,
    /// The form of the target.
    pub form: TargetForm,
    /// The version.
    pub version: Version,
    /// The fields in the order received.
    pub fields: Vec<Field>,
    /// Bytes of the head from the start of the buffer, an empty line before it and its last CRLF included.
    pub len: usize,
    /// How the end of the body is found.
    pub body: BodyKind,
    /// Whether the client would send another request on the connection.
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub expect_continue: bool,
    /// Whether the client asks for another protocol, which a 101 would switch to. Not for HTTP/2 (`h2c`), which
    /// RFC 9113 section 3.1 retired: a proxy that lets it pass no longer sees the requests inside.
    pub upgrade: bool,
    /// Whether the client takes trailers.
    pub te_trailers: bool,
}

impl RequestHead {
    /// A head that holds nothing and has allocated nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the head at the front of `bytes`.
    ///
    /// *Cost*: allocates only where `fields` has to grow. Every call reads from the start, also when it finds the head
    /// incomplete: then it reads the first 2 KiB and searches the rest for its end, so that a client that sends 64 KiB
    /// byte by byte makes us search 2 GiB, about as much work as its 65,536 packets. The limits bound it.
    ///
    /// *Errors*: the client's fault. The same bytes give the same error however they were split.
    pub fn parse(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Parsed, HeadError> {
        http1::request::parse(self, bytes, limits)
    }

    /// What a response must know of this request.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        RequestKind {
            method: self.method,
            upgrade: self.upgrade,
        }
    }

    /// The first field of this kind.
    #[must_use]
    pub fn field(&self, known: Known) -> Option<&Field> {
        self.fields.iter().find(|field| field.known == known)
    }

    /// Forgets everything but what is allocated.
    pub fn clear(&mut self) {
        let mut fields = core::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }
}

/// What a response must know of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKind {
    /// Its method: responses to HEAD have no body, those to CONNECT may begin a tunnel.
    pub method: Method,
    /// Whether it asked for another protocol.
    pub upgrade: bool,
}

/// The head of a response.
///
/// It is made to be used again: parsing clears it and keeps what it has allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 100 to 599.
    pub status: u16,
    /// The reason phrase as received; empty where there is none.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// The fields in the order received.
    pub fields: Vec<Field>,
    /// Bytes of the head, its last CRLF included.
    pub len: usize,
    /// How the end of the body is found.
    pub body: BodyKind,
    /// Whether the server would take another request on the connection.
    pub keep_alive: bool,
    /// Whether the connection carries another protocol from here on, both ways: a 101, or a 2xx to CONNECT.
    pub upgrade: bool,
}

impl ResponseHead {
    /// A head that holds nothing and has allocated nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the head at the front of `bytes`, an answer to `request`.
    ///
    /// *Cost*: as [`RequestHead::parse`].
    ///
    /// *Errors*: the server's fault. The same bytes give the same error however they were split.
    pub fn parse(&mut self, bytes: &[u8], request: RequestKind, limits: HeadLimits) -> Result<Parsed, HeadError> {
        http1::response::parse(self, bytes, request, limits)
    }

    /// Whether another response to the same request follows: 1xx, but not 101.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The first field of this kind.
    #[must_use]
    pub fn field(&self, known: Known) -> Option<&Field> {
        self.fields.iter().find(|field| field.known == known)
    }

    /// Forgets everything but what is allocated.
    pub fn clear(&mut self) {
        let mut fields = core::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }
}
