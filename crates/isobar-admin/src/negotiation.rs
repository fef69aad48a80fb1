//! In which format does a scraper want its metrics?

/// A text format for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The media type it is sent with.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format for the value of an `Accept` field (RFC 9110 section 12.5.1): OpenMetrics if it is named and not liked
    /// less than the other, which everybody reads.
    pub(crate) fn accepted(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0, 0);
        for range in accept.split(',') {
            let mut parameters = range.split(';').map(str::trim);
            let media_type = parameters.next().unwrap_or_default();
            let weight = parameters
                .find_map(|parameter| parameter.strip_prefix("q="))
                .map_or(1_000, thousandths);
            if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
                open_metrics = weight.max(open_metrics);
            } else if media_type.eq_ignore_ascii_case("text/plain") {
                text = weight.max(text);
            }
        }
        if open_metrics > 0 && open_metrics >= text {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// A weight between 0 and 1 in thousandths; one that cannot be read is 0.
fn thousandths(weight: &str) -> u32 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = format!("{fraction:0<3}");
    match (whole, digits.parse()) {
        ("1", Ok(0)) => 1_000,
        ("0", Ok(thousandths)) if digits.len() == 3 => thousandths,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn formats() {
        let check = |accept: &str, expected: Format| assert_eq!(Format::accepted(accept), expected, "{accept}");
        check("", Format::Prometheus);
        check("*/*", Format::Prometheus);
        check("text/plain", Format::Prometheus);
        check("application/openmetrics-text", Format::OpenMetrics);
        check(
            "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
            Format::OpenMetrics,
        );
        // What Prometheus 2.42 sends.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
        // What Prometheus sends when told to prefer its own text format.
        check(
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5",
            Format::Prometheus,
        );
        check("application/openmetrics-text;q=0", Format::Prometheus);
        check(
            "application/openmetrics-text;q=nonsense, text/plain;q=0.001",
            Format::Prometheus,
        );
        check(
            "application/openmetrics-text;q=0.5, text/plain;q=0.50",
            Format::OpenMetrics,
        );
        check(";;,,;q=,q=1", Format::Prometheus);
    }
}
