//! What did a server say of its load, in a head or in trailers?
//!
//! Only where an upstream goes by reports; what they mean for the choice of servers is `isobar-balance`'s.

use std::time::Instant;

use isobar_balance::{Report, ReportedLoad};
use isobar_observe::ServerStats;
use isobar_plan::{ORCA_FIELDS, Reports};
use isobar_upstream::{Server, moment};
use isobar_wire::{LoadReport, LoadReportError, write};

use crate::Worker;
use crate::exchange::Exchange;

/// What a message said.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Said {
    /// What it reported; none: nothing.
    pub report: Option<Report>,
    /// Whether it tried to report something that could not be understood.
    pub malformed: bool,
}

/// A value that may come once.
#[derive(Debug, Clone, Copy, Default)]
enum Once<'a> {
    #[default]
    Never,
    Here(&'a [u8]),
    Again,
}

impl<'a> Once<'a> {
    fn put(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Never => Self::Here(value),
            Self::Here(_) | Self::Again => Self::Again,
        };
    }

    /// Reads it; none: it did not come.
    fn read(
        self,
        read: fn(&[u8]) -> Result<LoadReport, LoadReportError>,
    ) -> Option<Result<LoadReport, LoadReportError>> {
        match self {
            Self::Never => None,
            Self::Here(value) => Some(read(value)),
            Self::Again => Some(Err(LoadReportError::Duplicate)),
        }
    }
}

/// Reads the reports among fields.
///
/// As in Envoy, gRPC's binary field comes before the other of ORCA. A number of requests in flight comes from the field
/// for it, where there is one, otherwise from ORCA's.
///
/// *Cost*: no allocation; a comparison of lengths for each field that is no report.
pub fn read<'a>(reports: &Reports, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Said {
    let [orca_name, bin_name] = ORCA_FIELDS;
    let in_flight_name = reports.in_flight_header.as_deref().unwrap_or_default();
    let (mut orca, mut bin, mut in_flight) = (Once::Never, Once::Never, Once::Never);
    for (name, value) in fields {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is(orca_name) {
            orca.put(value);
        } else if is(bin_name) {
            bin.put(value);
        } else if !name.is_empty() && is(in_flight_name) {
            in_flight.put(value);
        }
    }
    let orca = bin
        .read(LoadReport::from_orca_bin)
        .or_else(|| orca.read(LoadReport::from_orca));
    let in_flight = in_flight.read(LoadReport::from_in_flight);
    let malformed = [orca, in_flight].iter().flatten().any(Result::is_err);
    let reported = |told: Option<Result<LoadReport, _>>| told.and_then(Result::ok);
    let report = match (reported(orca), reported(in_flight)) {
        (None, None) => None,
        (Some(orca), Some(LoadReport { in_flight, latency, .. })) => Some(LoadReport {
            in_flight,
            latency: latency.or(orca.latency),
            ..orca
        }),
        (orca, in_flight) => orca.or(in_flight),
    };
    Said {
        report: report.map(for_balancing),
        malformed,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no number is above a billion")]
fn for_balancing(report: LoadReport) -> Report {
    let load = report
        .utilization
        .zip(report.rps)
        .map(|(utilization, rps)| ReportedLoad {
            utilization: utilization as f32,
            rps: rps as f32,
            eps: report.eps.unwrap_or_default() as f32,
        });
    Report {
        in_flight: report.in_flight,
        latency: report.latency,
        load,
    }
}

/// Takes in what the fields of an answer say of the server that the exchange is with.
pub(crate) fn take<'a>(
    reports: &Reports,
    worker: &Worker,
    exchange: &Exchange,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    let said = read(reports, fields);
    if said == Said::default() {
        return;
    }
    if let Some(server) = exchange.report.server() {
        hear(&said, server, server.stats(worker.id), worker.wheel.now());
    }
}

/// Tells balancing, and counts.
pub fn hear(said: &Said, server: &Server, stats: &ServerStats, now: Instant) {
    if let Some(report) = &said.report {
        stats.reports.increment();
        server.state().reported(report, moment(now));
    }
    if said.malformed {
        stats.reports_malformed.increment();
    }
}

/// The names and values of trailers, as lines.
pub fn trailers(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    split_lines(lines).map(named)
}

/// Ends a chunked body, with those of its trailers that clients are shown.
pub(crate) fn write_last_chunk(output: &mut Vec<u8>, lines: &[u8], reports: Option<&Reports>) {
    let Some(reports) = reports else {
        return write::last_chunk(output, lines);
    };
    output.extend_from_slice(b"0\r\n");
    for line in split_lines(lines).filter(|line| !reports.strips(named(line).0)) {
        output.extend_from_slice(line);
    }
    write::end(output);
}

/// Lines with their ends.
fn split_lines(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split_inclusive(|&byte| byte == b'\n')
}

fn named(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at_checked(colon).unwrap_or_default();
    (name, value.get(1..).unwrap_or_default().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::{Said, read, trailers, write_last_chunk};
    use isobar_balance::{Report, ReportedLoad};
    use isobar_plan::Reports;
    use std::time::Duration;

    fn reports() -> Reports {
        Reports {
            in_flight_header: Some("x-load".into()),
            strip: true,
            probe: None,
        }
    }

    fn said(lines: &str) -> Said {
        read(&reports(), trailers(lines.as_bytes()))
    }

    const LOAD: Option<ReportedLoad> = Some(ReportedLoad {
        utilization: 0.5,
        rps: 10.0,
        eps: 0.0,
    });

    #[test]
    fn reports_are_found_among_fields() {
        let check = |lines: &str, in_flight, latency_ms: Option<u64>, load| {
            let report = Report {
                in_flight,
                latency: latency_ms.map(Duration::from_millis),
                load,
            };
            let expected = Said {
                report: Some(report),
                malformed: false,
            };
            assert_eq!(said(lines), expected, "{lines}");
        };
        check("A: b\r\nX-Load: 7\r\n", Some(7), None, None);
        check("x-load:7;latency_ms=5\r\n", Some(7), Some(5), None);
        let text = "Endpoint-Load-Metrics: TEXT cpu_utilization=0.5,rps_fractional=10\r\n";
        check(text, None, None, LOAD);
        check(&format!("{text}x-load: 3\r\n"), Some(3), None, LOAD);
        let named = "endpoint-load-metrics: TEXT named_metrics.requests_in_flight=9,named_metrics.latency_ms=2\r\n";
        check(named, Some(9), Some(2), None);
        check(&format!("{named}x-load: 3\r\n"), Some(3), Some(2), None);
        // gRPC's field counts, and the other is not looked at.
        check(
            "endpoint-load-metrics: TEXT eps=x\r\nendpoint-load-metrics-bin: CQAAAAAAAOA/MQAAAAAAACRA\r\n",
            None,
            None,
            LOAD,
        );
        // Half of a load is none.
        check("endpoint-load-metrics: TEXT cpu_utilization=0.5\r\n", None, None, None);
    }

    #[test]
    fn what_is_not_understood_is_told_apart_from_nothing() {
        let check = |lines: &str, has_report, malformed| {
            let said = said(lines);
            assert_eq!(
                (said.report.is_some(), said.malformed),
                (has_report, malformed),
                "{lines}"
            );
        };
        check("", false, false);
        check("A: b\r\n: c\r\n", false, false);
        check("x-load: many\r\n", false, true);
        check("x-load: 1\r\nx-load: 1\r\n", false, true);
        check("endpoint-load-metrics: TEXT eps=NaN\r\nx-load: 1\r\n", true, true);
        check(
            "endpoint-load-metrics-bin: *\r\nendpoint-load-metrics: TEXT eps=1\r\n",
            false,
            true,
        );
    }

    #[test]
    fn clients_are_shown_the_other_trailers() {
        let check = |lines: &str, reports: Option<&Reports>, expected: &str| {
            let mut output = Vec::new();
            write_last_chunk(&mut output, lines.as_bytes(), reports);
            assert_eq!(String::from_utf8(output).unwrap(), expected, "{lines}");
        };
        let lines = "A: b\r\nX-Load: 1\r\nendpoint-load-metrics-bin: x\r\nC: d\r\n";
        check(lines, Some(&reports()), "0\r\nA: b\r\nC: d\r\n\r\n");
        check(lines, None, &format!("0\r\n{lines}\r\n"));
        let shown = Reports {
            strip: false,
            ..reports()
        };
        check(lines, Some(&shown), &format!("0\r\n{lines}\r\n"));
        check("X-Load: 1\r\n", Some(&reports()), "0\r\n\r\n");
        check("", Some(&reports()), "0\r\n\r\n");
    }
}
