//! How are escapes of a log undone?

use alloc::vec::Vec;

/// Appends text as nginx, Apache and Isobar write it in plain formats, without its escapes: `\xHH`, `\"`, `\\` and the letters of C.
/// What is no escape stays as it is.
pub(super) fn text(mut rest: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        rest = match after {
            [b'\\', b'x', high, low, rest @ ..] if let Some(byte) = byte(*high, *low) => {
                out.push(byte);
                rest
            }
            [b'\\', letter, rest @ ..] if let Some(byte) = control(*letter) => {
                out.push(byte);
                rest
            }
            [backslash, rest @ ..] => {
                out.push(*backslash);
                rest
            }
            [] => rest,
        };
    }
    out.extend_from_slice(rest);
}

/// Undoes, from a position on, what Isobar writes in JSON for bytes that are not UTF-8: `\xHH` from `\x80` on.
pub(super) fn bytes_in_json(out: &mut Vec<u8>, from: usize) {
    let mut read = from;
    let mut write = from;
    while let Some(&first) = out.get(read) {
        let escaped = match out.get(read..) {
            Some([b'\\', b'x', high, low, ..]) => byte(*high, *low).filter(|byte| *byte >= 0x80),
            _ => None,
        };
        let (byte, length) = escaped.map_or((first, 1), |byte| (byte, 4));
        if let Some(place) = out.get_mut(write) {
            *place = byte;
        }
        read += length;
        write += 1;
    }
    out.truncate(write);
}

fn byte(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

/// The value of a hexadecimal digit.
pub(super) const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const fn control(letter: u8) -> Option<u8> {
    match letter {
        b'"' | b'\\' => Some(letter),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'b' => Some(8),
        b'v' => Some(11),
        b'f' => Some(12),
        _ => None,
    }
}
