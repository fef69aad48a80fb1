//! How are bytes for a server, and files beside the configuration, written?

use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};

/// Bytes that are sent or expected: a text in which a backslash begins an escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Box<[u8]>);

impl Text {
    /// The bytes it stands for.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Word for Text {
    fn read(text: &str) -> Result<Self, Misfit> {
        const MAX_BYTES: usize = 4096;
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            if character == '\\' {
                bytes.push(escaped(&mut rest)?);
            } else {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        match bytes.len() {
            0 => Err(Misfit::because("the text cannot be empty")),
            1..=MAX_BYTES => Ok(Self(bytes.into())),
            _ => Err(Misfit::because(format!("the text has {MAX_BYTES} bytes at most"))),
        }
    }

    fn write(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '\r' => text.push_str("\\r"),
                    '\n' => text.push_str("\\n"),
                    '\t' => text.push_str("\\t"),
                    c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                    c => text.push(c),
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        text
    }

    fn stand_in() -> Self {
        Self((*b"?").into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "text",
            expected: r"a text, with `\r`, `\n`, `\t`, `\\` and `\x00` for bytes that cannot be typed".to_owned(),
            pattern: None,
            examples: &["+PONG", r"PING\r\n"],
            range: Some("1 to 4096 bytes".to_owned()),
            number: true,
        }
    }
}

/// The byte after a backslash.
fn escaped(rest: &mut std::str::Chars<'_>) -> Result<u8, Misfit> {
    match rest.next() {
        Some('r') => Ok(b'\r'),
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits = rest
                .as_str()
                .get(..2)
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let byte =
                byte.ok_or_else(|| Misfit::because("`\\x` is followed by two hexadecimal digits, as in `\\x00`"))?;
            let _ = (rest.next(), rest.next());
            Ok(byte)
        }
        other => {
            let found = other.map(|c| c.escape_debug().to_string()).unwrap_or_default();
            let message = format!("`\\{found}` is not known");
            Err(Misfit::because(message).help(r"known are `\r`, `\n`, `\t`, `\0`, `\x00` and `\\` for a backslash"))
        }
    }
}

/// The path of a file with certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFile(Box<str>);

impl CaFile {
    /// The path as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for CaFile {
    fn read(text: &str) -> Result<Self, Misfit> {
        if text.is_empty() {
            return Err(Misfit::because("the path of a file cannot be empty"));
        }
        if text.contains('\0') {
            return Err(Misfit::because("the path of a file has no zero byte"));
        }
        if text.starts_with("-----BEGIN") {
            return Err(Misfit::because("expected the path of a file, found a certificate")
                .help("put it into a file, and write the path of that"));
        }
        Ok(Self(text.into()))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self("?".into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "file",
            expected: "the path of a file".to_owned(),
            pattern: None,
            examples: &["/etc/isobar/ca.pem"],
            range: None,
            number: false,
        }
    }
}

word_setting!(Text, CaFile);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_alike() {
        let check = |text: &str, expected: &[u8], written: &str| {
            let read = Text::read(text).unwrap();
            assert_eq!(read.bytes(), expected, "{text}");
            assert_eq!(read.write(), written, "{text}");
            assert_eq!(Text::read(written), Ok(read), "{text}");
        };
        check("+PONG", b"+PONG", "+PONG");
        check(r"PING\r\n", b"PING\r\n", r"PING\r\n");
        check("PING\r\n", b"PING\r\n", r"PING\r\n");
        check(r"a\x00\0\tb\\c", b"a\0\0\tb\\c", r"a\x00\x00\tb\\c");
        check(r"\xff\xFEz", b"\xff\xfez", r"\xff\xfez");
        check(r"\xc3\xa4", "ä".as_bytes(), "ä");
        check("grüße", "grüße".as_bytes(), "grüße");
        for bad in ["", r"\q", r"\x1", r"\x1g", r"\x+1", "\\", r"\xü", &"x".repeat(4097)] {
            assert!(Text::read(bad).is_err(), "{bad:?}");
        }
    }
}
