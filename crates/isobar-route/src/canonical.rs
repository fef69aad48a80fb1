//! How is a path written, so that one path has one spelling?
//!
//! Follows RFC 3986 section 6.2.2 and goes no further: two spellings become one only where the RFC says that they
//! mean the same.
//!
//! | as sent | canonical | why |
//! |---|---|---|
//! | `/%7Euser` | `/~user` | an escape of an unreserved character means the character (6.2.2.2) |
//! | `/a%2fb` | `/a%2Fb` | hexadecimal digits have no case (6.2.2.1); an escaped slash is not a separator and stays |
//! | `/a/./b/../c` | `/a/c` | dot segments are followed (6.2.2.3, 5.2.4); above the root there is the root |
//! | `/a/%2e%2E/c` | `/c` | they are dots however they are written |
//! | `/caf<C3><A9>`, `/a\b`, `/a#b` | `/caf%C3%A9`, `/a%5Cb`, `/a%23b` | a byte that may not stand in a path is escaped (2.1) |
//! | `/a//b` | `/a//b` | an empty segment is a segment: some servers tell them apart |
//! | `/..;/a`, `/a%5Cb` | unchanged | names like any other to RFC 3986 |
//! | (empty), `?q` | `/`, `/?q` | an empty path of an HTTP URL means `/` (6.2.3) |
//! | `*` | `*` | the target of `OPTIONS *` is no path (RFC 9112 section 3.2.4) |
//!
//! A backslash is never a separator here, and because it leaves escaped no server can take it for one. Of a server
//! that takes `%2F` or `%5C` for a separator, or `..;` for a dot segment, the rules in front cannot protect it.
//!
//! The query is not touched.

use alloc::vec::Vec;

/// What became of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonical {
    /// It is canonical as it is.
    Same,
    /// The canonical one is another and was written to the scratch buffer, query included.
    Rewritten,
}

/// Why a target has no canonical form. The client's fault; the answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// It begins with something else than a slash.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A percent sign without two hexadecimal digits.
    #[error("`%` is not followed by two hexadecimal digits")]
    Escape,
    /// A NUL, escaped or not, at which some servers end the path.
    #[error("the path holds a NUL")]
    Nul,
}

/// The path of a request target: what comes before the query.
#[must_use]
pub fn path_of(target: &[u8]) -> &[u8] {
    split_query(target).0
}

/// Finds the canonical form of a request target: a path, and a query if there is one.
///
/// *Cost*: one pass over the path and no write when it is canonical. Otherwise a second pass writes to `scratch`,
/// which is cleared before and grows at most to three times the path plus the query.
/// *Errors*: the path is not one; what `scratch` holds then has no meaning.
pub fn canonical_target(target: &[u8], scratch: &mut Vec<u8>) -> Result<Canonical, PathError> {
    let (path, query) = split_query(target);
    if path == b"*" || is_canonical(path) {
        return Ok(Canonical::Same);
    }
    scratch.clear();
    write_path(path, scratch)?;
    scratch.extend_from_slice(query);
    Ok(Canonical::Rewritten)
}

fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    target.split_at_checked(end).unwrap_or((target, b""))
}

/// Whether [`write_path`] would write the path as it is.
fn is_canonical(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else { return false };
    let mut rest = rest;
    let mut segment_begins = true;
    while let [byte, after @ ..] = rest {
        match (byte, after) {
            (b'/', _) => segment_begins = true,
            (b'.', [] | [b'/', ..] | [b'.'] | [b'.', b'/', ..]) if segment_begins => return false,
            (b'%', &[high, low, ..]) if is_canonical_escape(high, low) => segment_begins = false,
            _ if !may_stand(*byte) => return false,
            _ => segment_begins = false,
        }
        rest = after;
    }
    true
}

fn is_canonical_escape(high: u8, low: u8) -> bool {
    let escaped = |byte| !is_unreserved(byte) && byte != 0;
    !high.is_ascii_lowercase() && !low.is_ascii_lowercase() && unescape(high, low).is_some_and(escaped)
}

fn write_path(path: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let segments = match path {
        [] => path,
        [b'/', segments @ ..] => segments,
        _ => return Err(PathError::NotAbsolute),
    };
    let mut segments = segments.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let parent = out.len();
        out.push(b'/');
        write_segment(segment, out)?;
        let is_last = segments.peek().is_none();
        let stays = match out.get(parent..) {
            Some(b"/.") => parent,
            Some(b"/..") => without_last_segment(out, parent),
            _ => continue,
        };
        out.truncate(stays);
        if is_last {
            out.push(b'/');
        }
    }
    Ok(())
}

/// The length of the path without its last segment, when that ends at `end`; 0 above the root.
fn without_last_segment(path: &[u8], end: usize) -> usize {
    path.get(..end)
        .and_then(|path| memchr::memrchr(b'/', path))
        .unwrap_or(0)
}

fn write_segment(segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = segment;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (*byte, after) {
            (b'%', &[high, low, ref behind @ ..]) => {
                match unescape(high, low).ok_or(PathError::Escape)? {
                    0 => return Err(PathError::Nul),
                    meant if is_unreserved(meant) => out.push(meant),
                    meant => push_escape(meant, out),
                }
                rest = behind;
            }
            (b'%', _) => return Err(PathError::Escape),
            (0, _) => return Err(PathError::Nul),
            (plain, _) if may_stand(plain) => out.push(plain),
            (other, _) => push_escape(other, out),
        }
    }
    Ok(())
}

fn unescape(high: u8, low: u8) -> Option<u8> {
    let digit = |byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    let digit = |nibble| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
}

/// Characters whose escape means the same as they do (RFC 3986 section 2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Characters that stand for themselves in a segment (RFC 3986 section 3.3, `pchar`); all others are escaped.
const fn may_stand(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            table[byte as usize] = is_unreserved(byte)
                || matches!(
                    byte,
                    b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
                )
                || matches!(byte, b':' | b'@');
            byte += 1;
        }
        table
    };
    TABLE[byte as usize]
}

#[cfg(test)]
mod tests;
