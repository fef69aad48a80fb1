//! How does gRPC-Web spell what gRPC says in HTTP/2? Knows its content types, its trailers and its text; not what carries them.
//!
//! Messages are framed as in gRPC. What differs is the end of an answer, whose trailers are one more frame of the body, and that a
//! body may be text: groups of base64 (RFC 4648 section 4), padded wherever somebody had nothing more to say for the moment.
//!
//! *Source*: gRPC's `PROTOCOL-WEB.md`.

use alloc::vec::Vec;

use crate::write;

/// What the content types of gRPC begin with.
pub const GRPC: &[u8] = b"application/grpc";

/// What those of gRPC-Web begin with.
const WEB: &[u8] = b"application/grpc-web";

/// What is behind that where the body is text.
const TEXT: &[u8] = b"-text";

/// The first byte of a frame with trailers, uncompressed.
const TRAILERS: u8 = 1 << 7;

/// How a body is spelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Spelling {
    /// Frames as they are.
    #[default]
    Binary,
    /// Frames in base64.
    Text,
}

/// A content type of gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentType<'a> {
    /// How the body is spelled.
    pub spelling: Spelling,
    /// The format of its messages, such as `+proto`; may be empty.
    pub format: &'a [u8],
}

impl<'a> ContentType<'a> {
    /// Reads a field's value; none: it is no content type of gRPC-Web. Parameters are passed over.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let essence = value
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let rest = strip(essence, WEB)?;
        let (spelling, format) = match strip(rest, TEXT) {
            Some(format) => (Spelling::Text, format),
            None => (Spelling::Binary, rest),
        };
        matches!(format.first(), None | Some(b'+')).then_some(Self { spelling, format })
    }

    /// Appends its field as a client of gRPC-Web has to read it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(WEB);
        out.extend_from_slice(if self.spelling == Spelling::Text { TEXT } else { b"" });
        out.extend_from_slice(self.format);
        write::end(out);
    }
}

/// Without a beginning that may be in either case.
fn strip<'a>(value: &'a [u8], beginning: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = value.split_at_checked(beginning.len())?;
    found.eq_ignore_ascii_case(beginning).then_some(rest)
}

/// Why a body is no text of gRPC-Web. The client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TextError {
    /// A byte that is no digit of base64.
    #[error("the body has a byte that is not base64")]
    Digit,
    /// Padding that is not at the end of a group, or is in the place of a digit.
    #[error("the body has base64 with padding in the wrong place")]
    Padding,
    /// Bits in front of padding that belong to no byte.
    #[error("the body has base64 with bits that mean nothing")]
    Bits,
    /// The body ends within a group.
    #[error("the body ends within a group of base64")]
    Truncated,
}

/// Reads text, in whatever pieces it comes.
#[derive(Debug, Clone, Default)]
pub struct TextDecoder {
    /// The digits of the group that is under way.
    bits: u32,
    /// How many characters of it have come.
    count: usize,
    /// How many of them are padding.
    padding: usize,
}

impl TextDecoder {
    /// Appends the bytes of all groups that `text` completes.
    ///
    /// *Errors*: those before the faulty group have been appended. What comes behind it means nothing.
    pub fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
        for &byte in text {
            let digit = match byte {
                b'=' if self.count >= 2 => {
                    self.padding += 1;
                    0
                }
                _ if byte == b'=' || self.padding > 0 => return Err(TextError::Padding),
                _ => value(byte).ok_or(TextError::Digit)?,
            };
            self.bits = (self.bits << 6) | u32::from(digit);
            self.count += 1;
            if self.count == 4 {
                let group = core::mem::take(self);
                let [_, bytes @ ..] = group.bits.to_be_bytes();
                let (bytes, rest) = bytes.split_at_checked(3 - group.padding).unwrap_or_default();
                if rest.iter().any(|&byte| byte != 0) {
                    return Err(TextError::Bits);
                }
                out.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// Takes note that no more comes.
    ///
    /// *Errors*: [`TextError::Truncated`].
    pub fn finish(&self) -> Result<(), TextError> {
        if self.count == 0 {
            Ok(())
        } else {
            Err(TextError::Truncated)
        }
    }
}

/// What a digit stands for.
fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Appends `bytes` as text, padded, so that all of them can be read before anything follows.
pub fn encode_text(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.reserve(text_len(bytes.len()));
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS.get((bits >> shift & 63) as usize).copied();
            out.push(digit.filter(|_| index <= group.len()).unwrap_or(b'='));
        }
    }
}

/// How long the text of so many bytes is.
#[must_use]
pub fn text_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends the frame of these trailers: field lines, each ending with CRLF. Names are put into lower case.
pub fn trailer_frame(out: &mut Vec<u8>, lines: &[u8]) {
    out.push(TRAILERS);
    // Trailers are bounded by 8 KiB, and a head by 64 KiB.
    out.extend_from_slice(&u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes());
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(0);
        let (name, rest) = line.split_at_checked(colon).unwrap_or_default();
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests;
