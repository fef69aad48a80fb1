//! Which requests are calls of gRPC, and what do servers say of them?
//!
//! A call is carried as any other request is. What is special to it: its status comes behind its answer, and a failure
//! of Isobar's own is told in the same way.
//!
//! *Source*: "gRPC over HTTP2".

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use isobar_observe::{Cause, GrpcStatus};
use isobar_plan::HttpVersion;
use isobar_wire::exchange::ResponseFraming;
use isobar_wire::write;

use crate::deadline;
use crate::exchange::Exchange;
use crate::record::Detail;

/// What the content types of calls begin with.
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// A request that is a call to a server that can take one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call {
    /// How long its client wants to wait, and until when that is.
    pub(crate) time: Option<(Duration, Instant)>,
    /// What the server said it came to.
    pub(crate) said: Option<GrpcStatus>,
}

/// The call that a request is. Servers that do not speak HTTP/2 cannot be called: what is sent to them is a request like any other,
/// whatever its client calls it.
pub(crate) fn call(exchange: &Exchange, version: HttpVersion) -> Option<Call> {
    let is_call = version == HttpVersion::Http2 && is_named_call(exchange);
    is_call.then(|| Call {
        time: deadline::of_call(exchange),
        said: None,
    })
}

impl Call {
    /// When it is over, whatever has come of it.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.time.map(|(_, until)| until)
    }

    /// What a server that is asked at this time is told of the time that is left; none: what the client said.
    ///
    /// Less than that only where time has passed here, in the queue or with another server. What a client is sent too late is work for
    /// nobody, and a server that knows does not begin it.
    pub(crate) fn left(&self, sent: Option<Instant>) -> Option<Duration> {
        let ((given, until), sent) = self.time.zip(sent)?;
        Some(until.saturating_duration_since(sent)).filter(|left| *left < given)
    }
}

/// Writes how much time a call has, rounded down.
pub(crate) fn write_timeout(output: &mut Vec<u8>, left: Duration) {
    const DIGITS: u128 = 100_000_000;
    let [micros, millis] = [left.as_micros(), left.as_millis()];
    let (count, unit) = match () {
        () if micros < DIGITS => (micros, 'u'),
        () if millis < DIGITS => (millis, 'm'),
        () => (u128::from(left.as_secs()).min(DIGITS - 1), 'S'),
    };
    // Writing into a Vec cannot fail.
    let _ = write!(output, "grpc-timeout: {count}{unit}\r\n");
}

/// Whether a request says that it is a call.
pub(crate) fn is_named_call(exchange: &Exchange) -> bool {
    if !exchange.head_read {
        return false;
    }
    let head = &exchange.inbound;
    let mut fields = exchange.request.fields.iter();
    let field = fields.find(|field| field.name.of(head).eq_ignore_ascii_case(b"content-type"));
    field.is_some_and(|field| is_content_type(field.value.of(head)))
}

/// `application/grpc`, alone or with a format or parameters behind it; not that of gRPC-Web.
fn is_content_type(value: &[u8]) -> bool {
    value.split_at_checked(CONTENT_TYPE.len()).is_some_and(|(begin, rest)| {
        begin.eq_ignore_ascii_case(CONTENT_TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

/// The status among the fields of a head without a body, or among trailers.
pub(crate) fn status<'a>(mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<GrpcStatus> {
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case(b"grpc-status"))?;
    Some(GrpcStatus::read(value))
}

/// What a server wants of whoever would send a call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// That nobody does.
    Never,
    /// That it takes so long.
    After(Duration),
}

/// What a server says of further tries; none: nothing. What is no number of milliseconds forbids them.
///
/// *Source*: gRPC's proposal A6, section "Pushback".
pub(crate) fn pushback<'a>(mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Pushback> {
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case(b"grpc-retry-pushback-ms"))?;
    let ms = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    Some(ms.map_or(Pushback::Never, |ms| Pushback::After(Duration::from_millis(ms.into()))))
}

/// Whether an answer that has begun can be ended with trailers.
pub(crate) fn may_end(exchange: &Exchange) -> bool {
    match exchange.framing {
        ResponseFraming::Chunked => exchange.download.is_between_chunks(),
        ResponseFraming::IntoChunks => !exchange.download.is_done(),
        ResponseFraming::None | ResponseFraming::Length(_) | ResponseFraming::UntilClose => false,
    }
}

/// Writes the fields that tell what became of a call: in a head of an answer without a body, or as trailers.
pub(crate) fn write_status(output: &mut Vec<u8>, status: GrpcStatus, cause: Cause, detail: Option<Detail>) {
    write::field(output, b"grpc-status", status.code().to_string().as_bytes());
    let mut message = format!("{cause}: {}", cause.meaning());
    if let Some(detail) = detail {
        // Writing into a String cannot fail.
        let _ = write!(message, " ({detail})");
    }
    output.extend_from_slice(b"grpc-message: ");
    write_encoded(output, message.as_bytes());
    write::end(output);
}

/// Writes when whoever called may call again, so that clients with a rule for retries keep to it.
///
/// *Source*: gRPC's proposal A6, section "Pushback".
pub(crate) fn write_pushback(output: &mut Vec<u8>, retry_in: Option<Duration>) {
    if let Some(retry_in) = retry_in {
        let ms = retry_in.as_millis().saturating_add(1).min(i32::MAX as u128);
        // Writing into a Vec cannot fail.
        let _ = write!(output, "grpc-retry-pushback-ms: {ms}\r\n");
    }
}

/// Percent-encodes what is not printable ASCII, and the percent sign.
fn write_encoded(output: &mut Vec<u8>, message: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in message {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            output.push(byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            output.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Call, Pushback, is_content_type, pushback, status, write_encoded, write_timeout};
    use isobar_observe::GrpcStatus;

    #[test]
    fn content_types_of_calls() {
        let check = |value: &str, expected: bool| assert_eq!(is_content_type(value.as_bytes()), expected, "{value}");
        for call in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;charset=utf-8",
            "application/grpc ; a=b",
        ] {
            check(call, true);
        }
        for other in [
            "",
            "application/grp",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "text/application/grpc",
        ] {
            check(other, false);
        }
    }

    #[test]
    fn servers_are_told_of_the_time_that_is_left() {
        let began = Instant::now();
        let given = Duration::from_secs(10);
        let call = Call {
            time: Some((given, began + given)),
            said: None,
        };
        let check = |after_ms: u64, expected: Option<u64>| {
            let left = call.left(Some(began + Duration::from_millis(after_ms)));
            assert_eq!(left, expected.map(Duration::from_millis), "{after_ms} ms");
        };
        check(0, None);
        check(1, Some(9_999));
        check(20_000, Some(0));
        assert_eq!(Call::default().left(Some(began)), None);
        assert_eq!(call.left(None), None);
    }

    #[test]
    fn times_have_eight_digits_at_most() {
        let check = |left: Duration, expected: &str| {
            let mut output = Vec::new();
            write_timeout(&mut output, left);
            assert_eq!(
                String::from_utf8(output).unwrap(),
                format!("grpc-timeout: {expected}\r\n")
            );
        };
        check(Duration::ZERO, "0u");
        check(Duration::from_nanos(1_999), "1u");
        check(Duration::from_micros(99_999_999), "99999999u");
        check(Duration::from_secs(100), "100000m");
        check(Duration::from_secs(100_000), "100000S");
        check(Duration::MAX, "99999999S");
    }

    #[test]
    fn statuses_among_fields() {
        let check = |fields: &[(&str, &str)], expected| {
            let found = status(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            assert_eq!(found, expected, "{fields:?}");
        };
        check(&[], None);
        check(&[("grpc-message", "0")], None);
        check(&[("a", "b"), ("Grpc-Status", "14")], Some(GrpcStatus::Unavailable));
        check(&[("grpc-status", "x")], Some(GrpcStatus::Unknown));
    }

    #[test]
    fn servers_push_back() {
        let check = |value: &str, expected| {
            let field: (&[u8], &[u8]) = (b"Grpc-Retry-Pushback-Ms", value.as_bytes());
            assert_eq!(pushback([field].into_iter()), Some(expected), "{value}");
        };
        check("0", Pushback::After(Duration::ZERO));
        check("1500", Pushback::After(Duration::from_millis(1500)));
        for never in ["-1", "", "soon", "1.5", "99999999999"] {
            check(never, Pushback::Never);
        }
        assert_eq!(pushback(std::iter::empty()), None);
    }

    /// The example of "gRPC over HTTP2", section Responses, has no vector; these follow its grammar.
    #[test]
    fn messages_are_encoded() {
        let check = |message: &str, expected: &str| {
            let mut output = Vec::new();
            write_encoded(&mut output, message.as_bytes());
            assert_eq!(String::from_utf8(output).unwrap(), expected);
        };
        check("plain ~ words.", "plain ~ words.");
        check("100 %", "100 %25");
        check("a\nb\u{fc}", "a%0Ab%C3%BC");
    }
}
