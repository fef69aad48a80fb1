//! May the connections of one exchange carry another, and how is the response framed for this client? Told what
//! happened, it answers; does not know the bytes.

use crate::{BodyKind, RequestHead, ResponseHead, Version};

/// Interim responses to one request at most.
pub const MAX_INTERIM_RESPONSES: u8 = 16;

/// What a response head means for the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseStep {
    /// A 1xx to send on; the head of another response follows.
    Interim,
    /// A 1xx to leave out, because the client's version has none; the head of another response follows.
    Swallowed,
    /// The response; its body follows.
    Final,
    /// Both connections carry another protocol once this head is sent on: bytes go both ways as they are.
    Tunnel,
    /// The server broke the order of responses, or sent more than [`MAX_INTERIM_RESPONSES`]. Its connection is of no
    /// further use.
    Refused,
}

/// How the body of a response is sent to a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is no body. The fields go as they are, except that `Content-Length` has no place in a 1xx or a 204
    /// (RFC 9110 section 8.6).
    #[default]
    None,
    /// As it is, with the server's `Content-Length`.
    Length(u64),
    /// As it is, chunk by chunk, with `Transfer-Encoding: chunked`: [`BodyDecoder::forward`](crate::BodyDecoder::forward).
    Chunked,
    /// In chunks made here, with `Transfer-Encoding: chunked`, because the server's end of connection is its end.
    IntoChunks,
    /// The data alone, ended by closing the connection: the client's version has no chunks. What the server sent may
    /// be chunked or not: [`BodyDecoder::decode`](crate::BodyDecoder::decode).
    UntilClose,
}

/// One request and its responses, on one connection to a client and one to a server.
///
/// ```text
///  request    Sending ──request_body_done─────▶ Done
///                ├──────request_body_drained──▶ Drained
///                └──────client_eof────────────▶ Cut
///
///  response   Waiting ──interim head──▶ Waiting
///                ├──────final head────▶ Body ──response_body_done──▶ Done
///                │                       ├─────server_eof, body until close──▶ Done
///                │                       └─────server_eof, any other body────▶ Cut
///                ├──────101, or 2xx to CONNECT──▶ Tunnel
///                ├──────answered_here────────────▶ Done
///                └──────server_eof──▶ Lost ──retried──▶ Waiting, or ──answered_here──▶ Done
/// ```
///
/// A message without a body goes straight to `Done`. The two run on their own: a server may answer before it has
/// read the request, and one may be cut while the other goes on. The client's connection may carry another exchange
/// when the response is `Done` and the request `Done` or `Drained`, the server's when both are `Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    client: Version,
    client_keeps: bool,
    server_keeps: bool,
    waits: Continue,
    request: RequestState,
    response: ResponseState,
    body: BodyKind,
    interims: u8,
}

/// Whether the client waits for 100 (Continue).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continue {
    NotAsked,
    Awaited,
    Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestState {
    Sending,
    Done,
    Drained,
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseState {
    Waiting,
    Lost,
    Body,
    Done,
    Tunnel,
    Cut,
}

impl Exchange {
    /// An exchange whose request head has been read.
    #[must_use]
    pub fn new(request: &RequestHead) -> Self {
        Self {
            client: request.version,
            client_keeps: request.keep_alive,
            server_keeps: true,
            waits: if request.expect_continue {
                Continue::Awaited
            } else {
                Continue::NotAsked
            },
            request: if is_empty(request.body) {
                RequestState::Done
            } else {
                RequestState::Sending
            },
            response: ResponseState::Waiting,
            body: BodyKind::None,
            interims: 0,
        }
    }

    /// Takes note of a response head, and says what it means.
    pub fn response_head(&mut self, head: &ResponseHead) -> ResponseStep {
        if self.response != ResponseState::Waiting {
            return self.refuse();
        }
        if head.is_interim() {
            return self.interim(head);
        }
        self.server_keeps &= head.keep_alive;
        if head.upgrade {
            self.response = ResponseState::Tunnel;
            return ResponseStep::Tunnel;
        }
        self.body = head.body;
        self.response = if is_empty(head.body) {
            ResponseState::Done
        } else {
            ResponseState::Body
        };
        ResponseStep::Final
    }

    /// Takes note that the last byte of the request body has been read and sent to the server.
    pub fn request_body_done(&mut self) {
        self.request_ends(RequestState::Done);
    }

    /// Takes note that the last byte of the request body has been read, but not all of it was sent to the server.
    pub fn request_body_drained(&mut self) {
        self.request_ends(RequestState::Drained);
    }

    /// Takes note that the last byte of the response body has been read and sent to the client.
    pub fn response_body_done(&mut self) {
        if self.response == ResponseState::Body {
            self.response = ResponseState::Done;
        }
    }

    /// Takes note that the server has closed its connection, or that reading from it failed.
    pub fn server_eof(&mut self) {
        self.server_keeps = false;
        self.response = match self.response {
            ResponseState::Body if self.body == BodyKind::UntilClose => ResponseState::Done,
            ResponseState::Body => ResponseState::Cut,
            ResponseState::Waiting => ResponseState::Lost,
            ended => ended,
        };
    }

    /// Takes note that the request goes to a server again, over another connection, after the first was lost.
    pub fn retried(&mut self) {
        if self.response == ResponseState::Lost {
            self.response = ResponseState::Waiting;
            self.server_keeps = true;
        }
    }

    /// Takes note that a response made here was sent in place of the server's. A server that was asked before may
    /// still answer, so its connection is of no further use.
    pub fn answered_here(&mut self) {
        if matches!(self.response, ResponseState::Waiting | ResponseState::Lost) {
            self.response = ResponseState::Done;
            self.server_keeps = false;
        }
    }

    /// Takes note that the client has closed its connection, or its half of it.
    pub fn client_eof(&mut self) {
        self.client_keeps = false;
        self.request_ends(RequestState::Cut);
    }

    /// Takes note that the client's connection is to be closed after this exchange, whatever the client wants.
    pub fn close_client(&mut self) {
        self.client_keeps = false;
    }

    /// Takes note that the client was told to go on with the request body, or does so without being told.
    pub fn continued(&mut self) {
        if self.waits == Continue::Awaited {
            self.waits = Continue::Told;
        }
    }

    /// Whether the client still waits for 100 (Continue) before it sends the request body.
    ///
    /// *Source*: RFC 9110 section 10.1.1.
    #[must_use]
    pub fn needs_continue(&self) -> bool {
        self.waits == Continue::Awaited
            && self.request == RequestState::Sending
            && self.response == ResponseState::Waiting
    }

    /// Whether the client's connection may carry another request, now.
    ///
    /// *Source*: RFC 9112 section 9.3.
    #[must_use]
    pub fn client_keeps(&self) -> bool {
        self.response == ResponseState::Done
            && matches!(self.request, RequestState::Done | RequestState::Drained)
            && self.announces_keep_alive()
    }

    /// Whether to tell the client, in the head of the response, that its connection may carry another request: it
    /// may, unless something goes wrong from here on.
    #[must_use]
    pub fn announces_keep_alive(&self) -> bool {
        self.client_keeps
            && !matches!(self.response, ResponseState::Tunnel | ResponseState::Cut)
            && self.response_framing(self.client) != ResponseFraming::UntilClose
    }

    /// Whether the server's connection may carry another request, now.
    #[must_use]
    pub fn server_keeps(&self) -> bool {
        self.server_keeps && self.response == ResponseState::Done && self.request == RequestState::Done
    }

    /// How the body of the response is sent to a client of this version, which has HTTP/1.
    ///
    /// *Source*: RFC 9112 sections 6.1 and 6.3.
    #[must_use]
    pub fn response_framing(&self, client: Version) -> ResponseFraming {
        match (self.body, client) {
            (BodyKind::None, _) => ResponseFraming::None,
            (BodyKind::Length(len), _) => ResponseFraming::Length(len),
            (BodyKind::Chunked | BodyKind::UntilClose, Version::Http10) => ResponseFraming::UntilClose,
            (BodyKind::Chunked, _) => ResponseFraming::Chunked,
            (BodyKind::UntilClose, _) => ResponseFraming::IntoChunks,
        }
    }

    fn interim(&mut self, head: &ResponseHead) -> ResponseStep {
        self.interims = self.interims.saturating_add(1);
        if self.interims > MAX_INTERIM_RESPONSES {
            return self.refuse();
        }
        let told = head.status == 100 && self.waits == Continue::Told;
        if head.status == 100 {
            self.continued();
        }
        if told || self.client == Version::Http10 {
            ResponseStep::Swallowed
        } else {
            ResponseStep::Interim
        }
    }

    fn refuse(&mut self) -> ResponseStep {
        self.server_keeps = false;
        if self.response == ResponseState::Waiting {
            self.response = ResponseState::Lost;
        }
        ResponseStep::Refused
    }

    fn request_ends(&mut self, how: RequestState) {
        if self.request == RequestState::Sending {
            self.request = how;
        }
    }
}

fn is_empty(body: BodyKind) -> bool {
    matches!(body, BodyKind::None | BodyKind::Length(0))
}
