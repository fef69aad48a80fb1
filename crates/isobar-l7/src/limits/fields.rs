//! How are clients told of limits?
//!
//! *Source*: draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4, which are as in -10: lists of strings with parameters, as structured fields
//! (RFC 9651) have them.

use std::io::Write as _;

use isobar_limit::{Quota, Standing, Unit, whole_seconds};

/// The most that an integer of a structured field can be (RFC 9651 section 3.3.1).
const MOST: u64 = 999_999_999_999_999;

/// What is told of one limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) name: &'a str,
    pub(super) quota: Quota,
    pub(super) standing: Standing,
}

/// Writes `RateLimit-Policy` and `RateLimit`, unless there is nothing to tell.
pub(super) fn write(output: &mut Vec<u8>, told: &[Told<'_>]) {
    if told.is_empty() {
        return;
    }
    output.extend_from_slice(b"RateLimit-Policy: ");
    list(output, told, |output, told| {
        let Quota { units, window, unit } = told.quota;
        // Writing into a Vec cannot fail.
        let _ = write!(output, ";q={}", units.min(MOST));
        if let Some(window) = window {
            let _ = write!(output, ";w={}", whole_seconds(window));
        }
        output.extend_from_slice(match unit {
            Unit::Requests => b"",
            Unit::ContentBytes => b";qu=\"content-bytes\"",
            Unit::ConcurrentRequests => b";qu=\"concurrent-requests\"",
        });
    });
    output.extend_from_slice(b"RateLimit: ");
    list(output, told, |output, told| {
        let _ = write!(output, ";r={}", told.standing.remaining.min(MOST));
        if let Some(seconds) = told.standing.more_in_seconds() {
            let _ = write!(output, ";t={}", seconds.min(MOST));
        }
    });
}

fn list(output: &mut Vec<u8>, told: &[Told<'_>], parameters: impl Fn(&mut Vec<u8>, &Told<'_>)) {
    for (index, told) in told.iter().enumerate() {
        if index > 0 {
            output.extend_from_slice(b", ");
        }
        string(output, told.name);
        parameters(output, told);
    }
    output.extend_from_slice(b"\r\n");
}

/// A string of a structured field (RFC 9651 section 3.3.3); what cannot stand in one becomes `_`.
fn string(output: &mut Vec<u8>, text: &str) {
    output.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => output.extend([b'\\', byte]),
            b' '..=b'~' => output.push(byte),
            _ => output.push(b'_'),
        }
    }
    output.push(b'"');
}

/// Writes when to come again, never too early; nothing where waiting alone does not help.
pub(crate) fn write_retry_after(output: &mut Vec<u8>, retry_in: Option<std::time::Duration>) {
    if let Some(time) = retry_in {
        let _ = write!(output, "Retry-After: {}\r\n", whole_seconds(time).max(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(name: &str, window_s: Option<u64>, unit: Unit, more_in: Option<Duration>) -> Told<'_> {
        Told {
            name,
            quota: Quota {
                units: 100,
                window: window_s.map(Duration::from_secs),
                unit,
            },
            standing: Standing { remaining: 7, more_in },
        }
    }

    #[test]
    fn fields_are_lists_of_strings_with_parameters() {
        let check = |list: &[Told<'_>], expected: &str| {
            let mut output = Vec::new();
            write(&mut output, list);
            assert_eq!(String::from_utf8(output).unwrap(), expected);
        };
        check(&[], "");
        check(
            &[told(
                "burst",
                Some(60),
                Unit::Requests,
                Some(Duration::from_millis(600)),
            )],
            "RateLimit-Policy: \"burst\";q=100;w=60\r\nRateLimit: \"burst\";r=7;t=1\r\n",
        );
        check(
            &[
                told("a\"b\\", Some(1), Unit::ContentBytes, None),
                told("é", None, Unit::ConcurrentRequests, None),
            ],
            "RateLimit-Policy: \"a\\\"b\\\\\";q=100;w=1;qu=\"content-bytes\", \"__\";q=100;qu=\"concurrent-requests\"\r\n\
             RateLimit: \"a\\\"b\\\\\";r=7, \"__\";r=7\r\n",
        );
    }

    #[test]
    fn nobody_is_told_to_come_at_once() {
        let check = |retry_in, expected: &str| {
            let mut output = Vec::new();
            write_retry_after(&mut output, retry_in);
            assert_eq!(String::from_utf8(output).unwrap(), expected);
        };
        check(None, "");
        check(Some(Duration::ZERO), "Retry-After: 1\r\n");
        check(Some(Duration::from_millis(1_001)), "Retry-After: 2\r\n");
    }
}
