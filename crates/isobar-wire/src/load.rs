//! What does a server say of its load? Knows the forms in which it is said, not who believes it.
//!
//! Two forms are in use. ORCA's is the field `endpoint-load-metrics` or `endpoint-load-metrics-bin`, in a head or in
//! trailers; the other is a field of any name with the number of requests in flight. What is said twice, is negative,
//! no number or beyond all measure makes the whole value worthless: half of a report is a guess.
//!
//! *Source*: gRPC A51 and A58; Envoy's `orca_parser.cc` (977c287); xds `orca_load_report.proto` v3. It is read more
//! leniently than by Envoy in one thing: metrics of other names are passed over and do not make the report void.

mod binary;
mod json;
mod metrics;
mod text;

use core::time::Duration;

use metrics::Metrics;

/// The field that carries a report after the name of its form: `TEXT`, `JSON` or `BIN`.
pub const ORCA_FIELD: &str = "endpoint-load-metrics";

/// The field that carries a report as gRPC writes it.
pub const ORCA_BIN_FIELD: &str = "endpoint-load-metrics-bin";

/// A name under which ORCA reports requests in flight, among its named metrics: it has no field for them.
pub const IN_FLIGHT_METRIC: &str = "requests_in_flight";

/// The same of what a request takes at that number in flight, in milliseconds.
pub const LATENCY_METRIC: &str = "latency_ms";

/// What a server said of its load; what it did not say is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadReport {
    /// Requests it has in flight.
    pub in_flight: Option<u32>,
    /// What a request takes.
    pub latency: Option<Duration>,
    /// The part of it that is in use: of the application where it is told, otherwise of the processors.
    pub utilization: Option<f64>,
    /// Requests per second.
    pub rps: Option<f64>,
    /// Failures per second.
    pub eps: Option<f64>,
}

/// Why a report says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LoadReportError {
    /// More than [`MAX_BYTES`](Self::MAX_BYTES).
    #[error("the report is too long")]
    TooLong,
    /// It begins with none of `TEXT `, `JSON ` and `BIN `.
    #[error("the report is in no known form")]
    UnknownForm,
    /// A metric that is not a name, `=` or `:`, and a number.
    #[error("a metric has no name or no number")]
    BadMetric,
    /// A number that is negative, not finite, above [`MAX_NUMBER`](Self::MAX_NUMBER), or none.
    #[error("a metric is negative, too large or no number")]
    BadNumber,
    /// A metric that is told twice.
    #[error("a metric is told twice")]
    Duplicate,
    /// What is no JSON object, or nested deeper than any report.
    #[error("the report is not JSON")]
    BadJson,
    /// What is not base64.
    #[error("the report is not base64")]
    BadBase64,
    /// What is not a protobuf message.
    #[error("the report is not protobuf")]
    BadProtobuf,
}

impl LoadReportError {
    /// Bytes of a report at most, as it stands in its field.
    pub const MAX_BYTES: usize = 4096;
    /// A metric at most. No server answers as many requests per second, or has as many in flight.
    pub const MAX_NUMBER: f64 = 1e9;
}

impl LoadReport {
    /// Reads the value of [`ORCA_FIELD`].
    ///
    /// *Cost*: no allocation; O(n), for `TEXT` with a comparison of each name with seven others.
    pub fn from_orca(value: &[u8]) -> Result<Self, LoadReportError> {
        check_length(value)?;
        let (form, rest) = value.split_at_checked(5).unwrap_or((value, &[]));
        let metrics = match form {
            b"TEXT " => text::read(rest)?,
            b"JSON " => json::read(rest)?,
            _ => match value.strip_prefix(b"BIN ") {
                Some(rest) => binary::read(rest)?,
                None => return Err(LoadReportError::UnknownForm),
            },
        };
        metrics.report()
    }

    /// Reads the value of [`ORCA_BIN_FIELD`].
    pub fn from_orca_bin(value: &[u8]) -> Result<Self, LoadReportError> {
        check_length(value)?;
        binary::read(value)?.report()
    }

    /// Reads a number of requests in flight, with or without what a request takes: `7`, `7;latency_ms=12.5`.
    ///
    /// *Source*: an item of RFC 9651 with an integer and parameters; others are passed over.
    pub fn from_in_flight(value: &[u8]) -> Result<Self, LoadReportError> {
        check_length(value)?;
        let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let number = parts.next().unwrap_or_default();
        if !number.iter().all(u8::is_ascii_digit) {
            return Err(LoadReportError::BadNumber);
        }
        let mut metrics = Metrics::default();
        metrics.in_flight = Some(metrics::number(number)?);
        for part in parts {
            let (name, told) = text::pair(part, b'=')?;
            if name == LATENCY_METRIC.as_bytes() {
                metrics.tell_named(name, told)?;
            }
        }
        metrics.report()
    }
}

fn check_length(value: &[u8]) -> Result<(), LoadReportError> {
    if value.len() > LoadReportError::MAX_BYTES {
        return Err(LoadReportError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
