//! By when does a client want its answer?
//!
//! A client may say in how much time it gives up: `grpc-timeout` as gRPC has it, or `x-request-timeout` in seconds or with a unit.
//! Where the queue goes by deadlines, it is believed where that is less than the queue's own timeout, which is the deadline of
//! whoever says nothing. For calls of gRPC theirs holds wherever they are.

use std::time::{Duration, Instant};

use isobar_plan::{Queue, QueueOrder};
use isobar_wire::{Field, RequestHead};

use crate::exchange::Exchange;

/// The field with the time that a call of gRPC has.
pub(crate) const TIMEOUT_OF_GRPC: &[u8] = b"grpc-timeout";

/// What is more than this is no deadline that anybody would wait for.
const MAX_OF_GRPC: Duration = Duration::from_secs(30 * 24 * 3600);

/// When the answer has to be there; none: the queue does not go by deadlines.
pub(crate) fn of(queue: &Queue, exchange: &Exchange) -> Option<Instant> {
    if queue.order != QueueOrder::Deadline {
        return None;
    }
    let arrival = exchange.report.arrived()?;
    let said = said(&exchange.request, &exchange.inbound);
    Some(arrival + said.map_or(queue.timeout, |said| said.min(queue.timeout)))
}

/// How much time a call has, and when that is over; none: its client said nothing that could be understood, or very much.
pub(crate) fn of_call(exchange: &Exchange) -> Option<(Duration, Instant)> {
    let head = &exchange.inbound;
    let mut fields = exchange.request.fields.iter();
    let field = fields.find(|field| field.name.of(head).eq_ignore_ascii_case(TIMEOUT_OF_GRPC))?;
    let given = grpc_timeout(field.value.of(head)).filter(|given| *given <= MAX_OF_GRPC)?;
    Some((given, exchange.report.arrived()?.checked_add(given)?))
}

fn said(request: &RequestHead, head: &[u8]) -> Option<Duration> {
    let read = |field: &Field| {
        let (name, value) = (field.name.of(head), field.value.of(head));
        if name.eq_ignore_ascii_case(TIMEOUT_OF_GRPC) {
            grpc_timeout(value)
        } else if name.eq_ignore_ascii_case(b"x-request-timeout") {
            timeout(value)
        } else {
            None
        }
    };
    request.fields.iter().filter_map(read).min()
}

/// At most eight digits and a unit.
///
/// *Source*: "gRPC over HTTP2", section Requests: `Timeout → "grpc-timeout" TimeoutValue TimeoutUnit`.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 {
        return None;
    }
    let count = number(digits)?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// A whole number of seconds, or of the unit behind it: `ms`, `s` or `m`.
fn timeout(value: &[u8]) -> Option<Duration> {
    let end = value
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(value.len());
    let (digits, unit) = value.split_at_checked(end)?;
    let count = number(digits)?;
    Some(match unit {
        b"ms" => Duration::from_millis(count),
        b"s" | b"" => Duration::from_secs(count),
        b"m" => Duration::from_secs(count.saturating_mul(60)),
        _ => return None,
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{grpc_timeout, timeout};

    #[test]
    fn timeouts_of_grpc() {
        let check = |value: &str, nanoseconds: Option<u64>| {
            assert_eq!(
                grpc_timeout(value.as_bytes()),
                nanoseconds.map(Duration::from_nanos),
                "{value}"
            );
        };
        check("1H", Some(3_600_000_000_000));
        check("2M", Some(120_000_000_000));
        check("3S", Some(3_000_000_000));
        check("100m", Some(100_000_000));
        check("7u", Some(7_000));
        check("99999999n", Some(99_999_999));
        check("0S", Some(0));
        for wrong in ["", "S", "5", "5s", "-1S", "1.5S", "999999999n", "1 S", "+1S"] {
            check(wrong, None);
        }
    }

    #[test]
    fn timeouts_with_a_unit_or_without() {
        let check = |value: &str, ms: Option<u64>| {
            assert_eq!(timeout(value.as_bytes()), ms.map(Duration::from_millis), "{value}");
        };
        check("250ms", Some(250));
        check("2", Some(2000));
        check("2s", Some(2000));
        check("1m", Some(60_000));
        check("0", Some(0));
        check("999999999999999ms", Some(999_999_999_999_999));
        for wrong in ["", "s", "-1", "1.5", "1h", "1 s", "9999999999999999", "٣"] {
            check(wrong, None);
        }
    }
}
