//! What may be written about the probing of servers?

mod checks;
mod expectation;
mod text;

pub use checks::HealthChecks;
pub use expectation::Expectation;
pub use text::{CaFile, Text};

use super::{HeaderName, HeaderValue, Label, Named, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::Span;

settings! {
    /// How servers are probed: one check, or a list of checks that all have to pass. An unknown server becomes healthy
    /// when every check has had a good probe.
    pub struct HealthCheck called "a health check" {
        /// What is asked of a server. Without it, what the other keys are for: `grpc` where a service is given, `https`
        /// where a certificate is spoken of, or a path in an upstream with `tls`, `http` where a path, host, method, header or status is, otherwise `tcp`.
        r#type: Option<HealthKind>,
        /// Its name in logs and metrics, unique within the upstream. Without one it is the kind of probe.
        name: Option<Label>,
        /// The port that is asked. Without one, the server's own.
        port: Option<Whole<1, 65_535>>,
        /// The method of the request; `GET` where nothing else is written. For `http` and `https`.
        method: Option<HealthMethod>,
        /// The path that is asked for, query included; `/` where nothing else is written. For `http` and `https`.
        path: Option<HealthPath>,
        /// The host that is asked for; the server's address where nothing else is written. For `http`, `https` and
        /// `grpc`.
        host: Option<HostField>,
        /// Further header fields of the request. For `http` and `https`.
        headers: Named<HeaderName, HeaderValue>,
        /// What counts as good. For `http` and `https` the statuses, such as `200-399` or `[200, 204]`; `200-399` where
        /// nothing else is written. For `tcp` a text the server has to say, such as `+PONG`; for `udp` one that its answer has to
        /// begin with.
        expect: Option<Expectation>,
        /// What the body of the answer has to be like. For `http` and `https`.
        body: Option<BodyExpectation>,
        /// What is sent once the connection is there, such as `PING\r\n`. For `tcp`, and for `udp`, where it is one datagram.
        send: Option<Text>,
        /// What is sent and expected, step by step, in place of `send` and `expect`. For `tcp`.
        steps: Vec<TcpStep>,
        /// The service that is asked after; without it, the server as a whole. For `grpc`.
        service: Option<ServiceName>,
        /// Whether the connection is secured. For `tcp` and `grpc`; `https` always is. Without it, where the upstream has `tls`
        /// and the check no `port` of its own; `false` leaves that aside.
        tls: Option<bool>,
        /// Whose certificate the server has to show. Where the upstream has `tls`, a check without this, `ca` and `verify` is
        /// secured as requests are. Otherwise, without it, that of `host` where there is one, otherwise of the name
        /// or address of the server.
        server_name: Option<HostField>,
        /// A PEM file with the certificates of the authorities that may vouch for the server. Without it, those the system
        /// trusts. It is read at every reload.
        ca: Option<CaFile>,
        /// Whether the server has to prove who it is. `none` is unsafe: whoever sits between can answer in its place.
        verify: Option<Verify>,
        /// From the start of one probe to the start of the next; each is moved by up to a tenth of it at random.
        interval: Span = Span::seconds(10),
        /// How long a probe may take.
        timeout: Span = Span::seconds(5),
        /// Good probes in a row after which an unhealthy server is healthy.
        rise: Whole<1, 1000> = Whole::of(2),
        /// Bad probes in a row after which a healthy server is unhealthy.
        fall: Whole<1, 1000> = Whole::of(3),
    }
}

settings! {
    /// What the body of an answer has to be like.
    pub struct BodyExpectation called "what is expected of a body" short contains {
        /// A text that has to be in the first 64 KiB of the body.
        contains: Text,
    }
}

settings! {
    /// Something that is sent to a server, and what it has to say then. One of them may be left out.
    pub struct TcpStep called "a step" {
        /// What is sent.
        send: Option<Text>,
        /// A text that has to be in what the server says then, within 64 KiB.
        expect: Option<Text>,
    }
}

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthKind {
    /// That it answers an HTTP request.
    Http,
    /// That it answers one over TLS.
    Https,
    /// That it takes a connection, and says what is expected.
    Tcp,
    /// That it says that it serves.
    Grpc,
    /// That it answers a datagram.
    Udp,
}

impl HealthKind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Grpc => "grpc",
            Self::Udp => "udp",
        }
    }
}

impl Choice for HealthKind {
    const EXPECTED: &'static str = "a kind of probe";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Http, "http", "it answers an HTTP request"),
        (
            Self::Https,
            "https",
            "it answers an HTTP request over TLS, with a certificate that is trusted",
        ),
        (
            Self::Tcp,
            "tcp",
            "it takes a connection, and says what is expected of it",
        ),
        (
            Self::Grpc,
            "grpc",
            "it says that it serves, in the health checking protocol of gRPC",
        ),
        (
            Self::Udp,
            "udp",
            "it answers a datagram as expected; without `expect`, nobody says that it is not there",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "ssl" | "tls" => Some("write `type: tcp` and `tls: true`"),
            "redis" => Some("write `{ type: tcp, send: 'PING\\r\\n', expect: +PONG }`"),
            "smtp" => Some("write `{ type: tcp, expect: '220' }`"),
            _ => None,
        }
    }
}

/// The method of a probe's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthMethod {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// POST, with an empty body.
    Post,
}

impl HealthMethod {
    /// The method as it is sent.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
        }
    }
}

impl Choice for HealthMethod {
    const EXPECTED: &'static str = "a method";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Get, "GET", "asks for the answer with its body"),
        (Self::Head, "HEAD", "asks for the head of the answer alone"),
        (Self::Options, "OPTIONS", "asks what may be asked"),
        (Self::Post, "POST", "sends an empty body"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "get" | "Get" => Some("did you mean `GET`?"),
            "head" | "Head" => Some("did you mean `HEAD`?"),
            "options" | "Options" => Some("did you mean `OPTIONS`?"),
            "post" | "Post" => Some("did you mean `POST`?"),
            _ => None,
        }
    }
}

/// Whether a server has to prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// It does.
    Full,
    /// It does not.
    None,
}

impl Choice for Verify {
    const EXPECTED: &'static str = "`full` or `none`";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Full,
            "full",
            "its certificate is valid now, is for the name wanted, and an authority vouches for it",
        ),
        (Self::None, "none", "unsafe: any certificate will do"),
    ];

    fn about(word: &str) -> Option<&'static str> {
        match word {
            "true" | "yes" | "on" | "required" => Some("did you mean `full`?"),
            "false" | "no" | "off" => Some("did you mean `none`? It is unsafe; `ca` names authorities of your own"),
            _ => None,
        }
    }
}

/// The path of a probe, query included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPath(Box<str>);

impl HealthPath {
    /// The path as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for HealthPath {
    fn default() -> Self {
        Self("/".into())
    }
}

impl Word for HealthPath {
    fn read(text: &str) -> Result<Self, Misfit> {
        const MAX_BYTES: usize = 2048;
        if !text.starts_with('/') {
            let path = text
                .split_once("://")
                .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
            let meant = path.map_or_else(|| format!("/{text}"), str::to_owned);
            let misfit = Misfit::because("the path of a probe begins with `/`");
            return Err(if Self::read(&meant).is_ok() {
                misfit.help(crate::suggest::did_you_mean(&meant))
            } else {
                misfit
            });
        }
        if text.len() > MAX_BYTES {
            return Err(Misfit::because(format!(
                "the path of a probe has {MAX_BYTES} bytes at most"
            )));
        }
        match text.chars().find(|&c| !c.is_ascii_graphic() || c == '#') {
            None => Ok(Self(text.into())),
            Some(wrong) => {
                let message = format!("`{}` cannot stand in the path of a probe", wrong.escape_debug());
                Err(Misfit::because(message).help("write it percent-encoded, as in `%20` for a space"))
            }
        }
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self::default()
    }

    fn describe() -> WordShape {
        WordShape {
            name: "path",
            expected: "a path such as `/health`".to_owned(),
            pattern: Some("^/[!-\"$-~]*$"),
            examples: &["/health", "/ready?full=1"],
            range: None,
            number: false,
        }
    }
}

/// The value of a `Host` field: a name or an address, with or without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostField(Box<str>);

impl HostField {
    /// The value as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for HostField {
    /// Reads a host with an optional port (RFC 9110 section 7.2), without the characters no real host has.
    fn read(text: &str) -> Result<Self, Misfit> {
        const MAX_BYTES: usize = 300;
        let known = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        match text.chars().find(|&c| !known(c)) {
            Some(wrong) => Err(Misfit::because(format!(
                "`{}` cannot stand in a host",
                wrong.escape_debug()
            ))),
            None if text.is_empty() || text.len() > MAX_BYTES => Err(Misfit::OTHER),
            None => Ok(Self(text.into())),
        }
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self("".into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "host",
            expected: "a host such as `example.com`".to_owned(),
            pattern: Some(r"^[0-9A-Za-z.:\[\]_-]+$"),
            examples: &["example.com", "example.com:8080"],
            range: None,
            number: false,
        }
    }
}

/// The name of a gRPC service, with its package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName(Box<str>);

impl ServiceName {
    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for ServiceName {
    fn read(text: &str) -> Result<Self, Misfit> {
        const MAX_BYTES: usize = 300;
        if text.len() > MAX_BYTES {
            let message = format!("the name of a service has {MAX_BYTES} bytes at most");
            return Err(Misfit::because(message));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(wrong) => Err(Misfit::because(format!(
                "`{}` cannot stand in the name of a service",
                wrong.escape_debug()
            ))),
            None => Ok(Self(text.into())),
        }
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self("".into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "service",
            expected: "the name of a gRPC service such as `shop.v1.Orders`".to_owned(),
            pattern: None,
            examples: &["shop.v1.Orders"],
            range: None,
            number: false,
        }
    }
}

word_setting!(HealthPath, HostField, ServiceName);
