//! What is a field to whoever translates messages? Knows the names that HTTP/2 has rules for, and nothing of what is done with them.

use crate::http1::bytes::Class as Bytes;

/// What a field is, found once for a literal and kept with entries of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// `:status`.
    Status,
    /// `:protocol` (RFC 8441).
    Protocol,
    /// `cookie`.
    Cookie,
    /// `host`.
    Host,
    /// `content-length`.
    ContentLength,
    /// `te: trailers`, in whatever case the value is.
    Te,
    /// `trailer`.
    Trailer,
    /// What belongs to a connection of HTTP/1 and makes a message malformed (RFC 9113 section 8.2.2): `connection`,
    /// `proxy-connection`, `keep-alive`, `transfer-encoding`, `upgrade`, `http2-settings`, and `te` with another value.
    ConnectionSpecific,
    /// What makes a message malformed (RFC 9113 sections 8.2.1 and 8.3): a name that is empty, unknown though it begins with a
    /// colon, or not of token characters in lower case; a value with NUL, CR or LF, or with SP or HTAB at either end.
    Malformed,
    /// Anything else.
    Plain,
}

impl Class {
    /// What a field of this name is, if nothing is wrong with its value; [`Class::Te`] for each `te`.
    ///
    /// *Cost*: a look at length and first byte, which leave one candidate or none; other names cost a look at every byte.
    #[inline]
    pub(super) fn of_name(name: &[u8]) -> Self {
        let Some(&first) = name.first() else {
            return Self::Malformed;
        };
        match (name.len(), first) {
            (5, b':') => pseudo(name, b":path", Self::Path),
            (7, b':') => match pseudo(name, b":method", Self::Method) {
                Self::Malformed => match pseudo(name, b":scheme", Self::Scheme) {
                    Self::Malformed => pseudo(name, b":status", Self::Status),
                    class => class,
                },
                class => class,
            },
            (9, b':') => pseudo(name, b":protocol", Self::Protocol),
            (10, b':') => pseudo(name, b":authority", Self::Authority),
            (2, b't') => named(name, b"te", Self::Te),
            (4, b'h') => named(name, b"host", Self::Host),
            (6, b'c') => named(name, b"cookie", Self::Cookie),
            (7, b't') => named(name, b"trailer", Self::Trailer),
            (7, b'u') => named(name, b"upgrade", Self::ConnectionSpecific),
            (10, b'c') => named(name, b"connection", Self::ConnectionSpecific),
            (10, b'k') => named(name, b"keep-alive", Self::ConnectionSpecific),
            (14, b'c') => named(name, b"content-length", Self::ContentLength),
            (14, b'h') => named(name, b"http2-settings", Self::ConnectionSpecific),
            (16, b'p') => named(name, b"proxy-connection", Self::ConnectionSpecific),
            (17, b't') => named(name, b"transfer-encoding", Self::ConnectionSpecific),
            _ => other(name),
        }
    }

    /// What a field is that has this value and a name of this class.
    ///
    /// *Cost*: five instructions for each eight bytes, unless there are control characters.
    #[inline]
    pub(super) fn with_value(self, value: &[u8]) -> Self {
        if !is_value(value) {
            return Self::Malformed;
        }
        match self {
            Self::Te if !value.eq_ignore_ascii_case(b"trailers") => Self::ConnectionSpecific,
            class => class,
        }
    }
}

/// What a name is that begins with a colon and has as many bytes as this one.
#[inline(always)]
fn pseudo<const N: usize>(name: &[u8], candidate: &[u8; N], class: Class) -> Class {
    if name == candidate { class } else { Class::Malformed }
}

/// What a name is that has as many bytes as a known one, and the same first byte.
#[inline(always)]
fn named<const N: usize>(name: &[u8], candidate: &[u8; N], class: Class) -> Class {
    if name == candidate { class } else { other(name) }
}

/// What a name is that is not known; a colon is no token character.
fn other(name: &[u8]) -> Class {
    let is_lower = |byte: u8| Bytes::TOKEN.has(byte) & !byte.is_ascii_uppercase();
    if name.iter().fold(true, |all, &byte| all & is_lower(byte)) {
        Class::Plain
    } else {
        Class::Malformed
    }
}

/// Whether nothing is wrong with the value.
#[inline]
fn is_value(value: &[u8]) -> bool {
    let (Some(&first), Some(&last)) = (value.first(), value.last()) else {
        return true;
    };
    if is_blank(first) | is_blank(last) {
        return false;
    }
    let (blocks, rest) = value.as_chunks::<8>();
    let blocks = blocks.iter().fold(0, |found, block| found | controls(*block));
    let rest = rest.iter().fold(false, |found, &byte| found | (byte < b' '));
    (blocks == 0 && !rest) || !has_forbidden(value)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Not zero if a byte is less than SP, or, for no harm, behind one that is.
#[inline(always)]
fn controls(block: [u8; 8]) -> u64 {
    let block = u64::from_le_bytes(block);
    block.wrapping_sub(u64::from_le_bytes([b' '; 8])) & !block & u64::from_le_bytes([0x80; 8])
}

/// Whether there is NUL, CR or LF, once there is some control character.
#[cold]
fn has_forbidden(value: &[u8]) -> bool {
    value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let check = |name: &str, value: &str, expected| {
            let class = Class::of_name(name.as_bytes()).with_value(value.as_bytes());
            assert_eq!(class, expected, "{name:?}: {value:?}");
        };
        check(":method", "GET", Class::Method);
        check(":scheme", "https", Class::Scheme);
        check(":authority", "", Class::Authority);
        check(":path", "/", Class::Path);
        check(":status", "200", Class::Status);
        check(":protocol", "websocket", Class::Protocol);
        check(":statuz", "200", Class::Malformed);
        check(":paths", "/", Class::Malformed);
        check(":Path", "/", Class::Malformed);
        check(":", "", Class::Malformed);
        check("", "", Class::Malformed);
        check("cookie", "a=b", Class::Cookie);
        check("host", "a", Class::Host);
        check("hose", "a", Class::Plain);
        check("content-length", "1", Class::ContentLength);
        check("te", "trailers", Class::Te);
        check("te", "Trailers", Class::Te);
        check("te", "gzip", Class::ConnectionSpecific);
        check("te", "", Class::ConnectionSpecific);
        check("te", " trailers", Class::Malformed);
        check("trailer", "a", Class::Trailer);
        for name in [
            "connection",
            "proxy-connection",
            "keep-alive",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
        ] {
            check(name, "a", Class::ConnectionSpecific);
            check(name, "a\r", Class::Malformed);
        }
        check("x-a_b.c", "\u{1}\u{7f} \t~", Class::Plain);
        for name in [
            "a b",
            "a:",
            "A",
            "content-Length",
            "h\u{f6}he",
            "a\0",
            "Host",
            "kEep-alive",
        ] {
            check(name, "", Class::Malformed);
        }
        for value in [" ", "\t", " a", "a ", "\ta", "a\t", "a\0b", "a\rb", "a\nb"] {
            check("a", value, Class::Malformed);
            check(":path", value, Class::Malformed);
        }
    }

    #[test]
    fn a_forbidden_byte_is_found_wherever_it_is() {
        for len in 1..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut value = std::vec![b'\xff'; len];
                    value[at] = byte;
                    let blank = matches!(byte, b' ' | b'\t') && (at == 0 || at == len - 1);
                    let expected = !blank && !matches!(byte, 0 | b'\r' | b'\n');
                    assert_eq!(is_value(&value), expected, "{byte} at {at} of {len}");
                }
            }
        }
    }
}
