//! What may be written about a route?

use isobar_plan::Priority;
use isobar_route::{HostPattern, PathPattern, PatternError};

use super::{AlpnProtocol, HeaderChanges, Hedge, Label, OrNone, RouteRetry};
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::Span;

settings! {
    /// A rule and what is done with the requests it takes.
    pub struct Route called "a route" {
        /// Its name in logs and metrics, unique within the listener. Without one it is made from the rule, such as
        /// `api.example.com/v1/*`; `default` for the rule that takes everything.
        name: Option<Label>,
        /// Which requests it takes; all that is written must hold.
        r#match: Match,
        /// The upstream its requests go to.
        upstream: Label,
        /// How long servers may take to answer its requests, in place of the upstream's timeouts.
        timeouts: RouteTimeouts,
        /// When its requests are sent again, in place of what the upstream says.
        retry: RouteRetry,
        /// When its requests are given to another server as well, in place of what the upstream says; `none`: never.
        hedge: Option<OrNone<Hedge>>,
        /// How much its requests matter when not all can be served, in place of the listener's priority.
        priority: Option<Priority>,
        /// Limits that its requests fall under, by name. All of them have to let a request pass.
        limits: Vec<Label>,
        /// Whether clients that speak gRPC-Web are understood: what they ask becomes a call of gRPC, for servers of an upstream
        /// with `http_version: http2`.
        grpc_web: bool = false,
        /// Changes to the header fields of requests, after the forwarding fields are set.
        request_headers: HeaderChanges,
        /// Changes to the header fields of responses.
        response_headers: HeaderChanges,
    }
}

settings! {
    /// Which requests a route takes.
    pub struct Match called "a match" {
        /// The host, without port: a name, `*.example.com` for every name below it, or `*` for every host.
        host: HostPattern = HostPattern::Any,
        /// The path: `/login`, `/v1/*` for `/v1` and all below it, `/img-*` for all that begins with it, or `*` for
        /// every path.
        path: PathPattern = PathPattern::Any,
        /// For TCP and `passthrough`: the name that the client asks for in its TLS handshake (SNI), as `host` has it. Nothing is decrypted.
        sni: HostPattern = HostPattern::Any,
        /// For TCP and `passthrough`: a protocol that has to be among those the client offers in its TLS handshake (ALPN).
        alpn: Option<AlpnProtocol>,
    }
}

settings! {
    /// How long servers may take to answer the requests of a route. What is left out is as in the upstream.
    pub struct RouteTimeouts called "the timeouts of a route" {
        /// For a connection to be made (the next server is tried, then 504).
        connect: Option<Span>,
        /// For the server to take some bytes of the request (504).
        send: Option<Span>,
        /// For the first or the next bytes of the answer (504, or the connection is closed once the answer began).
        read: Option<Span>,
        /// For any byte in either direction of a TCP connection, of an upgraded one such as a WebSocket, or of a stream (it is closed).
        idle: Option<Span>,
        /// For any byte from the client to the server, in a TCP or upgraded connection.
        client_idle: Option<OrNone<Span>>,
        /// For any byte from the server to the client, in a TCP or upgraded connection.
        server_idle: Option<OrNone<Span>>,
        /// For any byte of a TCP or upgraded connection of which one side has ended, in place of `idle`.
        half_closed: Option<OrNone<Span>>,
    }
}

impl Word for HostPattern {
    fn read(text: &str) -> Result<Self, Misfit> {
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':']).next().unwrap_or_default();
            let help = crate::suggest::did_you_mean(host);
            return Err(Misfit::because("a host is a name, not a URL").help(help));
        }
        Self::parse(text).map_err(|error| Misfit::from_sentence(&error.to_string()))
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn stand_in() -> Self {
        Self::Any
    }

    fn describe() -> WordShape {
        WordShape {
            name: "host pattern",
            expected: "a host such as `example.com` or `*.example.com`".to_owned(),
            pattern: Some(r"^(?:\*|(?:\*\.)?[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]+\])$"),
            examples: &["example.com", "*.example.com", "*"],
            range: None,
            number: false,
        }
    }
}

impl Word for PathPattern {
    fn read(text: &str) -> Result<Self, Misfit> {
        Self::parse(text).map_err(|error| {
            let misfit = Misfit::from_sentence(&error.to_string());
            let without_slash = error == PatternError::PathStart && Self::parse(&format!("/{text}")).is_ok();
            if without_slash && !text.is_empty() {
                misfit.help(crate::suggest::did_you_mean(&format!("/{text}")))
            } else {
                misfit
            }
        })
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn stand_in() -> Self {
        Self::Any
    }

    fn describe() -> WordShape {
        WordShape {
            name: "path pattern",
            expected: "a path such as `/login` or `/v1/*`".to_owned(),
            pattern: Some(r"^(?:\*|/[^?#*]*\*?)$"),
            examples: &["/login", "/v1/*", "/img-*"],
            range: None,
            number: false,
        }
    }
}

word_setting!(HostPattern, PathPattern);
