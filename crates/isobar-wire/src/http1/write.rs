//! How is a message spelled? Appends to a buffer of the caller's; does not know whether a message makes sense.
//!
//! Every function appends and nothing else, so a head is composed in one buffer and sent in one write. None
//! allocates while the buffer's capacity suffices, and none looks for CR or LF in what it is given: names, values
//! and targets come from a parsed head or from a valid configuration.

use alloc::vec::Vec;

use crate::{RequestHead, TargetForm, Version};

/// Appends a request line of HTTP/1.1.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Appends the request line with which a request is sent on to a server: the target in origin-form where the client
/// used absolute-form, and `*` for an OPTIONS of a whole server.
///
/// *Source*: RFC 9112 sections 3.2.1 and 3.2.4.
pub fn forwarded_request_line(out: &mut Vec<u8>, head: &RequestHead, bytes: &[u8]) {
    let target = match head.form {
        TargetForm::Authority => head.target.of(bytes),
        TargetForm::Origin | TargetForm::Absolute | TargetForm::Asterisk => head.path.of(bytes),
    };
    out.extend_from_slice(head.method_name.of(bytes));
    out.push(b' ');
    match (target.first(), head.form, head.method) {
        (None, TargetForm::Absolute, crate::Method::Options) => out.push(b'*'),
        (None | Some(b'?'), TargetForm::Absolute, _) => out.push(b'/'),
        _ => {}
    }
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Appends a status line, of HTTP/1.0 where that is the version and of HTTP/1.1 otherwise.
pub fn status_line(out: &mut Vec<u8>, version: Version, status: u16, reason: &[u8]) {
    out.extend_from_slice(if version == Version::Http10 {
        b"HTTP/1.0 "
    } else {
        b"HTTP/1.1 "
    });
    match status {
        100..1_000 => {
            let digits = [status / 100, status / 10 % 10, status % 10];
            let [hundreds, tens, ones] = digits.map(|value| b'0' + digit(u64::from(value)));
            out.extend_from_slice(&[hundreds, tens, ones, b' ']);
        }
        _ => {
            decimal(out, u64::from(status));
            out.push(b' ');
        }
    }
    out.extend_from_slice(reason);
    end(out);
}

/// Appends a field line.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    end(out);
}

/// Appends a number in decimal digits.
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    // As many digits as the largest number has, filled in from the last.
    let mut digits = [0; u64::MAX.ilog10() as usize + 1];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + digit(number % 10);
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends the line before a chunk of `len` bytes. The chunk itself, and [`end`] after it, are the caller's. A `len`
/// of 0 would end the body, so nothing is appended: that is [`last_chunk`].
pub fn chunk_head(out: &mut Vec<u8>, len: usize) {
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for position in (0..digits).rev() {
        let nibble = digit((len >> (position * 4)) as u64 & 0xf);
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    }
    end(out);
}

/// Appends the end of a chunked body. `trailers` are field lines, each ending with CRLF; empty where there are none.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    end(out);
}

/// Appends CRLF: the end of a line, of a chunk, of a head.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of a status; empty where it has none.
///
/// *Source*: RFC 9110 section 15, RFC 6585, RFC 8297, RFC 5842, RFC 7725, RFC 8470, RFC 4918.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        ..400 => reason_of_no_error(status),
        400..500 => reason_of_client_error(status),
        500.. => reason_of_server_error(status),
    }
}

fn reason_of_no_error(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => "",
    }
}

fn reason_of_client_error(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        _ => "",
    }
}

fn reason_of_server_error(status: u16) -> &'static str {
    match status {
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// A digit as a byte; the caller passes less than 16.
fn digit(value: u64) -> u8 {
    u8::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> std::string::String {
        let mut out = Vec::new();
        write(&mut out);
        std::string::String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines() {
        let check = |write: fn(&mut Vec<u8>), expected: &str| assert_eq!(written(write), expected);
        check(|out| request_line(out, b"GET", b"/a?b"), "GET /a?b HTTP/1.1\r\n");
        check(
            |out| status_line(out, Version::Http11, 204, b"No Content"),
            "HTTP/1.1 204 No Content\r\n",
        );
        check(
            |out| status_line(out, Version::Http10, 200, b"OK"),
            "HTTP/1.0 200 OK\r\n",
        );
        check(|out| status_line(out, Version::Http2, 599, b""), "HTTP/1.1 599 \r\n");
        check(|out| field(out, b"Host", b"a"), "Host: a\r\n");
        check(|out| last_chunk(out, b""), "0\r\n\r\n");
        check(|out| last_chunk(out, b"a: b\r\n"), "0\r\na: b\r\n\r\n");
    }

    #[test]
    fn numbers() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(written(|out| decimal(out, number)), std::format!("{number}"));
        }
        for len in [1, 9, 10, 15, 16, 255, 256, 65_536, usize::MAX] {
            assert_eq!(written(|out| chunk_head(out, len)), std::format!("{len:x}\r\n"));
        }
        assert_eq!(
            written(|out| chunk_head(out, 0)),
            "",
            "a chunk of no bytes would end the body"
        );
    }

    #[test]
    fn reasons() {
        let check = |status, expected| assert_eq!(reason_phrase(status), expected, "{status}");
        check(200, "OK");
        check(101, "Switching Protocols");
        check(431, "Request Header Fields Too Large");
        check(599, "");
        check(0, "");
        check(504, "Gateway Timeout");
    }
}
