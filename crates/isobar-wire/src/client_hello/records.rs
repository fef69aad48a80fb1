//! Where in its records does the first message stand? Knows the framing of TLS and nothing of what a hello says.
//!
//! *Source*: RFC 8446 sections 4 and 5.1.

use super::ClientHelloError;
use crate::reader::Reader;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// The first byte of every version of TLS and of SSL 3.0.
const MAJOR_VERSION: u8 = 3;
const RECORD_HEAD_BYTES: usize = 5;
const MESSAGE_HEAD_BYTES: usize = 4;
const MAX_FRAGMENT_BYTES: u16 = 1 << 14;

pub(super) enum Message<'a> {
    Partial,
    NotTls,
    /// What follows the type and the length of the message.
    Whole(&'a [u8]),
}

/// Finds the hello, or joins it in `joined` where it stands in several records.
///
/// Records are judged from front to back, and no further than the hello, so that the pieces they come in make no difference.
pub(super) fn message<'a>(
    bytes: &'a [u8],
    joined: &'a mut [u8; ClientHelloError::MAX_BYTES],
) -> Result<Message<'a>, ClientHelloError> {
    if is_something_else(bytes) {
        return Ok(Message::NotTls);
    }
    let mut reader = Reader::new(bytes.get(..ClientHelloError::MAX_BYTES).unwrap_or(bytes));
    let unfinished = if bytes.len() < ClientHelloError::MAX_BYTES {
        Ok(Message::Partial)
    } else {
        Err(ClientHelloError::TooLong)
    };
    let Some(first) = fragment(&mut reader)? else {
        return unfinished;
    };
    if let Some(message) = whole(first)? {
        return Ok(Message::Whole(message));
    }
    if reader.rest().len() < RECORD_HEAD_BYTES {
        return unfinished;
    }
    let mut len = append(joined, 0, first);
    while let Some(next) = fragment(&mut reader)? {
        len = append(joined, len, next);
        if whole(joined.get(..len).unwrap_or_default())?.is_some() {
            break;
        }
    }
    match whole(joined.get(..len).unwrap_or_default())? {
        Some(message) => Ok(Message::Whole(message)),
        None => unfinished,
    }
}

fn is_something_else(bytes: &[u8]) -> bool {
    let differs = |at: usize, expected| bytes.get(at).is_some_and(|&byte| byte != expected);
    differs(0, HANDSHAKE) || differs(1, MAJOR_VERSION)
}

/// What there is of the next record's content; none: its head is not there yet.
fn fragment<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, ClientHelloError> {
    let Some([kind, version, _, length @ ..]) = reader.array::<RECORD_HEAD_BYTES>() else {
        return Ok(None);
    };
    if kind != HANDSHAKE || version != MAJOR_VERSION {
        return Err(ClientHelloError::NotHello);
    }
    let length = u16::from_be_bytes(length);
    if length == 0 || length > MAX_FRAGMENT_BYTES {
        return Err(ClientHelloError::BadRecord);
    }
    let there_is = usize::from(length).min(reader.rest().len());
    Ok(reader.bytes(there_is))
}

/// The body of the hello that begins `content`, once all of it is there.
fn whole(content: &[u8]) -> Result<Option<&[u8]>, ClientHelloError> {
    if content.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
        return Err(ClientHelloError::NotHello);
    }
    let mut reader = Reader::new(content);
    let Some([_, length @ ..]) = reader.array::<MESSAGE_HEAD_BYTES>() else {
        return Ok(None);
    };
    let [high, middle, low] = length;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > ClientHelloError::MAX_BYTES - RECORD_HEAD_BYTES - MESSAGE_HEAD_BYTES {
        return Err(ClientHelloError::TooLong);
    }
    Ok(reader.bytes(length))
}

/// Copies a piece behind the first `len` bytes; gives how many there are then. All records together have room.
fn append(joined: &mut [u8; ClientHelloError::MAX_BYTES], len: usize, piece: &[u8]) -> usize {
    match joined.get_mut(len..len + piece.len()) {
        Some(place) => {
            place.copy_from_slice(piece);
            len + piece.len()
        }
        None => len,
    }
}
