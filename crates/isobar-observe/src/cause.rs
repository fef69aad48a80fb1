//! How did an exchange end, whose fault was it, and what is the client told?
//!
//! One table answers all three, for the data plane, the access log, the metrics and the reference page. It knows
//! nothing of how an answer is written.

use alloc::string::String;
use core::fmt;
use core::fmt::Write as _;

use crate::GrpcStatus;

/// Who made an exchange end otherwise than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody: it went well, or ended as it may.
    Nobody,
    /// The client.
    Client,
    /// A server, or all servers of the upstream together.
    Server,
    /// Isobar, or the machine it runs on.
    Isobar,
}

impl Fault {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Client => "client",
            Self::Server => "server",
            Self::Isobar => "isobar",
        }
    }
}

/// Which requests can be sent once more without doing their work twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetrySafe {
    /// Every request: nothing of this one reached a server.
    Always,
    /// Idempotent ones (RFC 9110 section 9.2.2): a server may have acted on this one.
    Idempotent,
    /// None: the same request would end in the same way, or it is done.
    Never,
}

impl RetrySafe {
    const fn text(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Idempotent => "idempotent requests",
            Self::Never => "no",
        }
    }
}

/// What the client and the access log are told when no answer had begun.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// The client is answered with this status.
    Status(u16),
    /// Nobody is left to answer; the access log shows this status.
    Logged(u16),
    /// An answer has begun, and its status stands; or it was a call of gRPC, which is answered in words of its own.
    Begun,
}

struct Row {
    text: &'static str,
    answer: Answer,
    grpc: GrpcStatus,
    fault: Fault,
    retry: RetrySafe,
    meaning: &'static str,
}

macro_rules! causes {
    ($($variant:ident $text:literal $answer:expr, $grpc:ident, $fault:ident, $retry:ident, $meaning:literal;)*) => {
        /// How an exchange ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Cause {
            $(#[doc = $meaning] $variant,)*
        }

        impl Cause {
            /// Every cause, in the order of the table; a cause's position is [`index`](Self::index).
            pub const ALL: [Self; ROWS.len()] = [$(Self::$variant,)*];
        }

        static ROWS: [Row; [$($text,)*].len()] = [$(
            Row {
                text: $text,
                answer: $answer,
                grpc: GrpcStatus::$grpc,
                fault: Fault::$fault,
                retry: RetrySafe::$retry,
                meaning: $meaning,
            },
        )*];
    };
}

use Answer::{Begun, Logged, Status};

causes! {
    Complete "complete" Begun, Ok, Nobody, Never,
        "The answer was sent to its end; of a TCP connection, both sides ended it; of a flow of UDP, the last expected datagram came.";
    RedirectedToTls "redirected_to_tls" Status(308), FailedPrecondition, Nobody, Never,
        "The listener sends its clients to the same address over TLS.";
    IdleTimeout "idle_timeout" Begun, Unavailable, Nobody, Never,
        "A TCP connection, one that was upgraded, a stream, or a flow of UDP, carried nothing in either direction for its idle timeout.";
    ClientIdleTimeout "client_idle_timeout" Begun, Unavailable, Nobody, Never,
        "A TCP connection, or one that was upgraded, carried nothing from the client to the server for `client_idle`. Whether the server did not take what the client sent is in `{detail}`, unless it was upgraded.";
    ServerIdleTimeout "server_idle_timeout" Begun, Unavailable, Nobody, Never,
        "A TCP connection, or one that was upgraded, carried nothing from the server to the client for `server_idle`. Whether the client did not take what the server sent is in `{detail}`, unless it was upgraded.";
    HalfClosedTimeout "half_closed_timeout" Begun, Unavailable, Nobody, Never,
        "One side of a TCP connection, or of one that was upgraded, had ended what it sent, and nothing came from the other for `half_closed`. Which one had ended is in `{detail}`, unless it was upgraded.";
    Drained "drained" Begun, Unavailable, Nobody, Never,
        "The listener or the server of a TCP connection, or of a flow of UDP, is gone since a reload, and the time to finish was over.";

    ClientMalformed "client_malformed" Status(400), Internal, Client, Never,
        "The request broke the rules of HTTP; the connection is closed.";
    NoRoute "no_route" Status(404), Unimplemented, Client, Never,
        "No route of the listener takes the request.";
    ClientHeadTimeout "client_head_timeout" Status(408), DeadlineExceeded, Client, Always,
        "The request head was not complete in time.";
    ClientBodyTimeout "client_body_timeout" Status(408), DeadlineExceeded, Client, Idempotent,
        "The request body made no progress in time.";
    ClientBodyTooLarge "client_body_too_large" Status(413), ResourceExhausted, Client, Never,
        "The request body is larger than the listener takes.";
    ClientTargetTooLong "client_target_too_long" Status(414), ResourceExhausted, Client, Never,
        "The request target is longer than the listener takes.";
    RateLimited "rate_limited" Status(429), ResourceExhausted, Client, Always,
        "A limit that the request falls under had nothing left for its key; the access log has its name (`limit`).";
    LimitedConcurrency "limited_concurrency" Status(429), ResourceExhausted, Client, Always,
        "As many requests of the same key as a limit allows were under way; the access log has its name (`limit`).";
    LimitDenied "limit_denied" Status(403), PermissionDenied, Client, Never,
        "A limit that the request falls under has its client among those that are always refused (`deny`).";
    FairShare "fair_share" Status(429), ResourceExhausted, Client, Always,
        "Every server is at its limit, the queue is full, and requests of the same key have their share of it or more; or one of another key, which has less, has this one's place.";
    ClientExpectation "client_expectation" Status(417), Internal, Client, Never,
        "The request expects something other than 100-continue.";
    ClientHeadTooLarge "client_head_too_large" Status(431), ResourceExhausted, Client, Never,
        "The request has more fields, or a longer head, than the listener takes.";
    ClientClosed "client_closed" Logged(499), Cancelled, Client, Idempotent,
        "The client closed its connection before it had the whole answer; of a TCP connection, it was reset by the client, or could not be given what the server sent.";
    ClientFlood "client_flood" Logged(400), Cancelled, Client, Never,
        "The client sent more of what costs it nothing than its HTTP/2 connection has a budget for; the connection is closed, with all requests on it. What it was is in `{detail}`.";
    ProxyHeader "proxy_header" Logged(400), Internal, Client, Never,
        "The connection did not begin with the header of the PROXY protocol that it has to begin with, or was not from a proxy that is listed; it is closed. What it was is in `{detail}` for TCP.";
    SourceConnections "source_connections" Logged(429), ResourceExhausted, Client, Always,
        "The source of the connection has as many open at the listener as one may; it is closed.";
    SourceRate "source_rate" Logged(429), ResourceExhausted, Client, Always,
        "The source of the connection makes new ones more often than the listener takes them; it is closed.";
    ClientHello "client_hello" Logged(400), Internal, Client, Never,
        "The first message of the client's TLS handshake was broken, or not complete in time; the connection is closed. What it was is in `{detail}`.";
    ProxyAuthentication "proxy_authentication" Status(407), Unauthenticated, Client, Never,
        "The forward proxy wants to know who the client is, and it did not say so, or not with the right password.";
    ForwardDenied "forward_denied" Status(403), PermissionDenied, Client, Never,
        "The client may not go where it wants to; which rule says so, or why it is so by default, is in `{detail}`.";
    ForwardTarget "forward_target" Status(400), Internal, Client, Never,
        "The forward proxy cannot take the client where it wants to: it is no host, or not asked for as it has to be. What it was is in `{detail}`.";
    ForwardUserLimit "forward_user_limit" Status(429), ResourceExhausted, Client, Always,
        "The user, or the address where nobody has to say who he is, has as many connections or requests as the forward proxy gives to one.";
    SocksMalformed "socks_malformed" Logged(400), Internal, Client, Never,
        "The connection did not go as SOCKS 5 has to, or not in time; it is closed. What it was is in `{detail}`.";
    ClientUnsupported "client_unsupported" Status(501), Unimplemented, Client, Never,
        "The request uses a method or a transfer coding that is not supported.";
    ClientDeadline "client_deadline" Begun, DeadlineExceeded, Client, Never,
        "The time that the client gave its call of gRPC was over.";
    ClientVersion "client_version" Status(505), Internal, Client, Never,
        "The request is of a major version of HTTP that the listener does not speak.";
    ClientWriteTimeout "client_write_timeout" Begun, Cancelled, Client, Idempotent,
        "The client did not take the answer in time.";

    ConnectFailed "connect_failed" Status(502), Unavailable, Server, Always,
        "No connection to the server could be made; of a flow of UDP, it was said that the server is not there (ICMP).";
    LookupFailed "lookup_failed" Status(502), Unavailable, Server, Always,
        "The name of a forward proxy's destination stands for no address; what the name service says is in `{detail}`.";
    LookupTimeout "lookup_timeout" Status(504), Unavailable, Server, Always,
        "The name service did not say in time for which address the name of a forward proxy's destination stands.";
    ParentRefused "parent_refused" Status(502), Unavailable, Server, Always,
        "The proxy that a forward proxy sends everything through did not take the client on; what it says is in `{detail}`.";
    TlsFailed "tls_failed" Status(502), Unavailable, Server, Always,
        "The connection to the server could not be secured; the access log has the reason (`tls_error`).";
    TlsUnusable "tls_unusable" Status(502), Unavailable, Isobar, Always,
        "The files that secure the connections to the upstream's servers have never been of use.";
    ServerClosed "server_closed" Status(502), Unavailable, Server, Idempotent,
        "The server closed or reset its connection before the answer began.";
    ServerMalformed "server_malformed" Status(502), Internal, Server, Idempotent,
        "The answer broke the rules of HTTP.";
    ServerHeadTooLarge "server_head_too_large" Status(502), Internal, Server, Idempotent,
        "The answer has more fields, or a longer head, than is taken from servers.";
    ServerAborted "server_aborted" Begun, Unavailable, Server, Idempotent,
        "The server closed or reset its connection within the answer, or reset a TCP connection; the client's connection is closed too.";
    ServerRefused "server_refused" Status(503), Unavailable, Server, Always,
        "The server refused the request's stream before it did anything about it: it has enough to do.";
    NoServer "no_server" Status(503), Unavailable, Server, Always,
        "No server of the upstream is available.";
    SessionServer "session_server" Status(503), Unavailable, Server, Always,
        "The server of the request's session is not available, and its sessions may go to no other.";
    QueueFull "queue_full" Status(503), Unavailable, Server, Always,
        "Every server is at its limit and no more requests may wait.";
    QueueTimeout "queue_timeout" Status(503), Unavailable, Server, Always,
        "No server became free while the request waited.";
    MaxRequests "max_requests" Status(503), Unavailable, Server, Always,
        "The upstream has as many requests in flight as its limits give to the priority, and no more may wait.";
    MaxConnections "max_connections" Status(503), Unavailable, Server, Always,
        "The upstream has as many connections to its servers as it may, and none became free.";
    Displaced "displaced" Status(503), Unavailable, Server, Always,
        "Every server is at its limit, and another request has this one's place in the full queue; or the listener has as many flows of UDP as it may, and another has this one's place.";
    TooLate "too_late" Status(503), Unavailable, Server, Always,
        "No server could have answered the request before its deadline.";
    ConnectTimeout "connect_timeout" Status(504), Unavailable, Server, Always,
        "The connection to the server was not made in time.";
    SendTimeout "send_timeout" Status(504), DeadlineExceeded, Server, Idempotent,
        "The server did not take the request in time.";
    ReadTimeout "read_timeout" Status(504), DeadlineExceeded, Server, Idempotent,
        "The server did not answer, or not go on with its answer, in time; of a flow of UDP, fewer datagrams came than were expected.";
    TryTimeout "try_timeout" Status(504), DeadlineExceeded, Server, Idempotent,
        "The server did not begin its answer within the time that one try may take.";
    DeadlineExceeded "deadline_exceeded" Status(504), DeadlineExceeded, Server, Idempotent,
        "No server began an answer before the deadline for all tries together.";

    Internal "internal" Status(500), Internal, Isobar, Idempotent,
        "Isobar failed; this is a bug worth reporting.";
    OutOfResources "out_of_resources" Status(503), Unavailable, Isobar, Always,
        "No descriptor or local port was left for a connection to a server.";
    Shutdown "shutdown" Status(503), Unavailable, Isobar, Idempotent,
        "The instance was stopped, and the time to finish was over.";
}

impl Cause {
    /// How many causes there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its position in [`ALL`](Self::ALL).
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    const fn row(self) -> &'static Row {
        // A discriminant is always below the length of the table it was generated from.
        &ROWS[self as usize]
    }

    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.row().text
    }

    /// The status the client is answered with if no answer has begun; none: nobody is left to answer, or an answer
    /// always has begun.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        match self.row().answer {
            Status(status) => Some(status),
            Logged(_) | Begun => None,
        }
    }

    /// The status the access log shows if no answer has begun: the client's, or 499 for a client that left; 0 where
    /// an answer always has begun.
    #[must_use]
    pub const fn logged_status(self) -> u16 {
        match self.row().answer {
            Status(status) | Logged(status) => status,
            Begun => 0,
        }
    }

    /// What a call of gRPC is answered with, or what its answer ends with; none: it has ended already, or nobody is left to tell.
    #[must_use]
    pub const fn grpc_answer(self) -> Option<GrpcStatus> {
        match self.row().answer {
            _ if matches!(self, Self::Complete | Self::ClientWriteTimeout) => None,
            Logged(_) => None,
            Status(_) | Begun => Some(self.row().grpc),
        }
    }

    /// How a call that ended so is counted where its server said nothing.
    #[must_use]
    pub const fn grpc_status(self) -> Option<GrpcStatus> {
        match self {
            Self::Complete => None,
            _ => Some(self.row().grpc),
        }
    }

    /// Whose fault it was.
    #[must_use]
    pub const fn fault(self) -> Fault {
        self.row().fault
    }

    /// Which requests may be sent once more after it: by Isobar to another server, or by the client.
    #[must_use]
    pub const fn retry_safe(self) -> RetrySafe {
        self.row().retry
    }

    /// What it means, as one sentence for the reference page.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// Whether one particular server is to blame, rather than the lack of any.
    #[must_use]
    pub const fn blames_one_server(self) -> bool {
        matches!(self.fault(), Fault::Server)
            && !matches!(self, Self::NoServer | Self::DeadlineExceeded)
            && !matches!(self, Self::LookupFailed | Self::LookupTimeout | Self::ParentRefused)
            && !self.is_overload()
    }

    /// Whether a limit refused the request.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        matches!(self, Self::RateLimited | Self::LimitedConcurrency | Self::LimitDenied)
    }

    /// Whether the request was refused because there was too much to do.
    #[must_use]
    pub const fn is_overload(self) -> bool {
        matches!(
            self,
            Self::QueueFull
                | Self::QueueTimeout
                | Self::MaxRequests
                | Self::MaxConnections
                | Self::Displaced
                | Self::FairShare
                | Self::TooLate
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The table of causes as a page of the reference, in Markdown.
#[must_use]
pub fn errors_markdown() -> String {
    let mut page = String::from(
        "# Errors\n\n\
        How an exchange can end. The cause is in the access log (`{cause}`, `{fault}`) and in the metrics; the client sees\n\
        the status, unless an answer had already begun: then its status stands and the connection is closed.\n\
        Calls of [gRPC](../grpc.md) are told their own status, also behind the beginning of an answer.\n\
        \u{201c}Safe to retry\u{201d} says which requests can be sent once more without doing their work twice.\n\n\
        | cause | status | in gRPC | fault | safe to retry | meaning |\n|---|---|---|---|---|---|\n",
    );
    for cause in Cause::ALL {
        let _ = write!(page, "| `{cause}` | ");
        let _ = match cause.row().answer {
            Status(status) => write!(page, "{status}"),
            Logged(status) => write!(page, "{status}, in logs only"),
            Begun => write!(page, "\u{2013}"),
        };
        let _ = match cause.grpc_status() {
            Some(status) => write!(page, " | {} {}", status.code(), status.text()),
            None => write!(page, " | \u{2013}"),
        };
        let _ = writeln!(
            page,
            " | {} | {} | {} |",
            cause.fault().text(),
            cause.retry_safe().text(),
            cause.meaning()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Cause, Fault, RetrySafe, errors_markdown};
    use crate::GrpcStatus;

    #[test]
    fn the_table_answers_as_documented() {
        let check = |cause: Cause, status: Option<u16>, logged: u16, fault: Fault| {
            assert_eq!(
                (cause.status(), cause.logged_status(), cause.fault()),
                (status, logged, fault),
                "{cause}"
            );
        };
        check(Cause::Complete, None, 0, Fault::Nobody);
        check(Cause::ClientClosed, None, 499, Fault::Client);
        check(Cause::ClientMalformed, Some(400), 400, Fault::Client);
        check(Cause::NoRoute, Some(404), 404, Fault::Client);
        check(Cause::ServerAborted, None, 0, Fault::Server);
        check(Cause::QueueFull, Some(503), 503, Fault::Server);
        check(Cause::ReadTimeout, Some(504), 504, Fault::Server);
        check(Cause::OutOfResources, Some(503), 503, Fault::Isobar);
    }

    #[test]
    fn calls_of_grpc_are_told_what_their_clients_understand() {
        let check = |cause: Cause, told: Option<GrpcStatus>| assert_eq!(cause.grpc_answer(), told, "{cause}");
        check(Cause::Complete, None);
        check(Cause::ClientClosed, None);
        check(Cause::ClientWriteTimeout, None);
        check(Cause::NoRoute, Some(GrpcStatus::Unimplemented));
        check(Cause::ServerAborted, Some(GrpcStatus::Unavailable));
        check(Cause::ClientDeadline, Some(GrpcStatus::DeadlineExceeded));
        check(Cause::ClientBodyTooLarge, Some(GrpcStatus::ResourceExhausted));
        for cause in Cause::ALL {
            // Whoever is told that the server is not available may try again: so may it, after what is always safe.
            if cause.retry_safe() == RetrySafe::Always && cause.fault() != Fault::Client {
                check(cause, Some(GrpcStatus::Unavailable));
            }
            assert_eq!(cause.grpc_status().is_none(), cause == Cause::Complete, "{cause}");
        }
    }

    #[test]
    fn indices_are_positions_and_texts_are_unique() {
        for (i, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause.index(), i, "{cause}");
        }
        let texts: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.text()).collect();
        assert_eq!(texts.len(), Cause::COUNT);
        assert!(
            texts
                .iter()
                .all(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }

    #[test]
    fn a_status_says_whose_fault_it_was() {
        for cause in Cause::ALL {
            match cause.status() {
                Some(502) if cause == Cause::TlsUnusable => assert_eq!(cause.fault(), Fault::Isobar),
                Some(502 | 504) => assert_eq!(cause.fault(), Fault::Server, "{cause}"),
                Some(400..=499 | 501 | 505) => assert_eq!(cause.fault(), Fault::Client, "{cause}"),
                Some(308) => assert_eq!(cause.fault(), Fault::Nobody, "{cause}"),
                Some(500) => assert_eq!(cause.fault(), Fault::Isobar, "{cause}"),
                Some(503) | None => {}
                Some(other) => panic!("{cause} answers {other}, which nobody expects"),
            }
        }
    }

    #[test]
    fn only_what_never_reached_a_server_is_always_safe_to_retry() {
        let always: BTreeSet<_> = Cause::ALL
            .iter()
            .filter(|c| c.retry_safe() == RetrySafe::Always)
            .map(|c| c.text())
            .collect();
        let expected = [
            "client_head_timeout",
            "connect_failed",
            "connect_timeout",
            "displaced",
            "fair_share",
            "forward_user_limit",
            "lookup_failed",
            "lookup_timeout",
            "max_connections",
            "max_requests",
            "no_server",
            "out_of_resources",
            "parent_refused",
            "queue_full",
            "queue_timeout",
            "limited_concurrency",
            "rate_limited",
            "server_refused",
            "session_server",
            "source_connections",
            "source_rate",
            "tls_failed",
            "tls_unusable",
            "too_late",
        ];
        assert_eq!(always, expected.into());
    }

    #[test]
    fn the_page_has_a_row_for_every_cause() {
        let page = errors_markdown();
        for cause in Cause::ALL {
            assert_eq!(page.matches(&std::format!("| `{cause}` |")).count(), 1, "{cause}");
        }
    }
}
