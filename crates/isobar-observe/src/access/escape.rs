//! How do bytes from clients get into a line without breaking it?
//!
//! Two spellings: that of nginx's logs for plain text, and JSON strings. Both leave no control character, so a line
//! stays a line and a terminal that shows it is not steered by it.

use alloc::vec::Vec;

/// How many bytes of one value are written; the rest is left out and `...` says so. It is also the longest request
/// line that nginx takes by default.
pub const MAX_VALUE_BYTES: usize = 8_192;

const CUT: &[u8] = b"...";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends bytes for plain text: quotes, backslashes, and whatever is not printable ASCII as `\xHH`.
///
/// *Source*: `ngx_http_log_escape` of nginx 1.22.
pub(super) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    let (bytes, cut) = limited(bytes);
    runs(bytes, |byte| matches!(byte, b'"' | b'\\' | ..b' ' | 0x7f..), out, hex);
    out.extend_from_slice(cut);
}

/// Appends bytes for the inside of a JSON string (RFC 8259 section 7).
///
/// Bytes that are not UTF-8 appear in the string as `\xHH`, as they do in plain text; control characters and the
/// separators U+2028 and U+2029, which some readers take for the end of a line, are escaped.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    let (bytes, cut) = limited(bytes);
    for chunk in bytes.utf8_chunks() {
        json_text(chunk.valid(), out);
        for &byte in chunk.invalid() {
            out.push(b'\\');
            hex(byte, out);
        }
    }
    out.extend_from_slice(cut);
}

fn limited(bytes: &[u8]) -> (&[u8], &'static [u8]) {
    match bytes.split_at_checked(MAX_VALUE_BYTES) {
        Some((head, tail)) if !tail.is_empty() => (head, CUT),
        _ => (bytes, b""),
    }
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        return runs(
            text.as_bytes(),
            |byte| matches!(byte, b'"' | b'\\' | ..b' ' | 0x7f..),
            out,
            json_escape,
        );
    }
    for character in text.chars() {
        match (character, u8::try_from(u32::from(character))) {
            ('\u{2028}', _) => out.extend_from_slice(b"\\u2028"),
            ('\u{2029}', _) => out.extend_from_slice(b"\\u2029"),
            ('"' | '\\', Ok(byte)) => json_escape(byte, out),
            (_, Ok(byte)) if character.is_control() => json_escape(byte, out),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Copies stretches of ordinary bytes at once and hands each special byte to `escape`.
fn runs(bytes: &[u8], special: impl Fn(u8) -> bool, out: &mut Vec<u8>, escape: impl Fn(u8, &mut Vec<u8>)) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| special(byte)) {
        let (ordinary, tail) = rest.split_at(at);
        out.extend_from_slice(ordinary);
        let Some((&byte, tail)) = tail.split_first() else { break };
        escape(byte, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    hex_digits(byte, out);
}

fn json_escape(byte: u8, out: &mut Vec<u8>) {
    if matches!(byte, b'"' | b'\\') {
        out.extend_from_slice(&[b'\\', byte]);
    } else {
        out.extend_from_slice(b"\\u00");
        hex_digits(byte, out);
    }
}

fn hex_digits(byte: u8, out: &mut Vec<u8>) {
    for nibble in [byte >> 4, byte & 15] {
        out.extend(HEX.get(usize::from(nibble)));
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{MAX_VALUE_BYTES, json, text};

    fn text_of(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        text(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn json_of(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        json(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn spellings() {
        let check = |bytes: &[u8], in_text: &str, in_json: &str| {
            assert_eq!(text_of(bytes), in_text);
            assert_eq!(json_of(bytes), in_json);
        };
        check(b"", "", "");
        check(b"plain text", "plain text", "plain text");
        check(br#"a"b\c"#, r"a\x22b\x5Cc", r#"a\"b\\c"#);
        check(b"a\nb\r\t\0", r"a\x0Ab\x0D\x09\x00", r"a\u000Ab\u000D\u0009\u0000");
        check(b"\x1b[31m\x7f", r"\x1B[31m\x7F", r"\u001B[31m\u007F");
        check("é".as_bytes(), r"\xC3\xA9", "é");
        check(
            "\u{9b}é\"\n".as_bytes(),
            r"\xC2\x9B\xC3\xA9\x22\x0A",
            "\\u009Bé\\\"\\u000A",
        );
        check("a\u{2028}b".as_bytes(), r"a\xE2\x80\xA8b", r"a\u2028b");
        check(b"a\xffb\xe2\x28", r"a\xFFb\xE2(", r"a\\xFFb\\xE2(");
    }

    #[test]
    fn long_values_are_cut() {
        let long = "x".repeat(MAX_VALUE_BYTES);
        assert_eq!(text_of(long.as_bytes()), long);
        assert_eq!(json_of(long.as_bytes()), long);
        let longer = long.clone() + "y";
        assert_eq!(text_of(longer.as_bytes()), long.clone() + "...");
        assert_eq!(json_of(longer.as_bytes()), long + "...");
    }

    /// Undoes [`text`].
    fn unescaped(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("\\x") {
            bytes.extend_from_slice(before.as_bytes());
            bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
            rest = &after[2..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn text_is_printable_and_loses_nothing(bytes: Vec<u8>) {
            let text = text_of(&bytes);
            prop_assert!(text.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b'"'));
            prop_assert_eq!(unescaped(&text), bytes);
        }

        #[test]
        fn json_is_a_string_of_one_line(bytes: Vec<u8>) {
            let json = json_of(&bytes);
            prop_assert!(!json.chars().any(char::is_control));
            let parsed: Result<String, _> = serde_json::from_str(&std::format!("\"{json}\""));
            prop_assert!(parsed.is_ok(), "{}", json);
        }

        #[test]
        fn json_of_utf8_is_read_back(string: String) {
            let json = json_of(string.as_bytes());
            prop_assert_eq!(serde_json::from_str::<String>(&std::format!("\"{json}\"")).unwrap(), string);
        }
    }
}
