//! What is read of what servers say of themselves?

use alloc::boxed::Box;
use core::time::Duration;

/// The fields of ORCA's reports, in lower case: as text, JSON or base64 after the name of the form, and as gRPC writes it.
pub const ORCA_FIELDS: [&str; 2] = ["endpoint-load-metrics", "endpoint-load-metrics-bin"];

/// How reports of servers are read and asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reports {
    /// The field with the number of requests in flight, in lower case; none: there is no such.
    pub in_flight_header: Option<Box<str>>,
    /// Whether fields with reports are kept from clients.
    pub strip: bool,
    /// How servers are asked; none: they are not.
    pub probe: Option<LoadProbe>,
}

/// How a server is asked for its load: by a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProbe {
    /// The path, query included.
    pub path: Box<str>,
    /// The Host field; none: the server's address as written.
    pub host: Option<Box<str>>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Probes a second at most, over all servers of the upstream; at least 1.
    pub max_per_second: u32,
}

impl Reports {
    /// Whether a field of this name, in any case, carries a report.
    ///
    /// *Cost*: a comparison of lengths for all but such fields.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        let is = |report: &str| name.eq_ignore_ascii_case(report.as_bytes());
        ORCA_FIELDS.into_iter().any(is) || self.in_flight_header.as_deref().is_some_and(is)
    }

    /// Whether a field of this name is kept from clients.
    #[must_use]
    pub fn strips(&self, name: &[u8]) -> bool {
        self.strip && self.has(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Reports;

    #[test]
    fn fields_are_known_in_any_case() {
        let check = |in_flight_header: Option<&str>, name: &[u8], expected| {
            let reports = Reports {
                in_flight_header: in_flight_header.map(Into::into),
                strip: true,
                probe: None,
            };
            assert_eq!(reports.has(name), expected, "{}", name.escape_ascii());
            assert_eq!(reports.strips(name), expected);
            assert!(
                !Reports {
                    strip: false,
                    ..reports
                }
                .strips(name)
            );
        };
        check(None, b"Endpoint-Load-Metrics", true);
        check(None, b"endpoint-load-metrics-BIN", true);
        check(Some("x-load"), b"X-Load", true);
        check(None, b"x-load", false);
        check(Some("x-load"), b"x-load-", false);
        check(Some("x-load"), b"endpoint_load_metrics", false);
        check(Some("x-load"), b"", false);
    }
}
