//! What may be written about the probing of servers?

use super::Whole;
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::{Span, Statuses};

settings! {
    /// How servers are probed. An unknown server becomes healthy with its first good probe.
    pub struct HealthCheck called "a health check" {
        /// What is asked of a server. Without it, `http` where a path, host or status is given, otherwise `tcp`.
        r#type: Option<HealthKind>,
        /// The path that is asked for, query included; `/` where nothing else is written. For `http`.
        path: Option<HealthPath>,
        /// The `Host` field that is sent; the server's address where nothing else is written. For `http`.
        host: Option<HostField>,
        /// The statuses that count as good, such as `200-399` or `[200, 204]`; `200-399` where nothing else is
        /// written. For `http`.
        expect: Option<Statuses>,
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

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthKind {
    /// That it answers a GET.
    Http,
    /// That it takes a connection.
    Tcp,
}

impl Choice for HealthKind {
    const EXPECTED: &'static str = "a kind of probe";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Http, "http", "it answers a GET"),
        (Self::Tcp, "tcp", "it takes a connection"),
    ];
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

word_setting!(HealthPath, HostField);
