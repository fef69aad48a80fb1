//! What is said in the health checking protocol of gRPC? Knows its two messages and their framing; not how they travel.
//!
//! *Source*: the gRPC health checking protocol (`grpc.health.v1`), the length-prefixed messages of gRPC over HTTP/2, and
//! the wire format of protocol buffers.

use alloc::vec::Vec;

/// The path of the method that is called.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// Bytes of an answer at most: its one known field takes two.
pub const MAX_ANSWER_BYTES: usize = 1024;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What a server says of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingStatus {
    /// It does not know.
    Unknown,
    /// It serves.
    Serving,
    /// It does not serve.
    NotServing,
    /// It has no such service.
    ServiceUnknown,
    /// A value of a later version of the protocol.
    Other(u64),
}

/// Why an answer cannot be read. The server's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is shorter than it says, or longer.
    #[error("the answer is not one whole message")]
    Framing,
    /// It is compressed, although nobody asked for that.
    #[error("the answer is compressed")]
    Compressed,
    /// It is no protocol buffer.
    #[error("the answer is not a valid protocol buffer")]
    Message,
}

/// The question after a service, with its prefix; the empty name stands for the server as a whole.
#[must_use]
pub fn question(service: &str) -> Vec<u8> {
    const SERVICE: u8 = (1 << 3) | 2;
    let mut message = Vec::with_capacity(service.len() + 16);
    if !service.is_empty() {
        message.push(SERVICE);
        write_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = Vec::with_capacity(message.len() + PREFIX_BYTES);
    framed.push(0);
    // A name is a setting of a few hundred bytes.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.append(&mut message);
    framed
}

/// Reads an answer, its prefix included.
pub fn answer(bytes: &[u8]) -> Result<ServingStatus, AnswerError> {
    let (prefix, message) = bytes.split_first_chunk::<PREFIX_BYTES>().ok_or(AnswerError::Framing)?;
    let [compressed, length @ ..] = *prefix;
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(AnswerError::Framing);
    }
    if compressed != 0 {
        return Err(AnswerError::Compressed);
    }
    status(message).ok_or(AnswerError::Message)
}

/// The status in a message: field 1. The last one counts, and unknown fields are passed over, as the wire format wants it.
fn status(mut rest: &[u8]) -> Option<ServingStatus> {
    const VARINT: u64 = 0;
    const FIXED_64: u64 = 1;
    const BYTES: u64 = 2;
    const FIXED_32: u64 = 5;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (0, _) => return None,
            (1, VARINT) => status = read_varint(&mut rest)?,
            (1, _) => return None,
            (_, VARINT) => drop(read_varint(&mut rest)?),
            (_, FIXED_64) => rest = rest.get(8..)?,
            (_, BYTES) => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, FIXED_32) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(match status {
        0 => ServingStatus::Unknown,
        1 => ServingStatus::Serving,
        2 => ServingStatus::NotServing,
        3 => ServingStatus::ServiceUnknown,
        other => ServingStatus::Other(other),
    })
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    const MAX_BYTES: u32 = 10;
    let mut number = 0_u64;
    for place in 0..MAX_BYTES {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        // What lies past the 64th bit is cut off, as other readers do.
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_as_protobuf_writes_them() {
        assert_eq!(question(""), b"\0\0\0\0\0");
        assert_eq!(question("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(300);
        assert_eq!(question(&long)[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn answers_are_read_or_refused() {
        let check = |bytes: &[u8], expected| assert_eq!(answer(bytes), expected, "{}", bytes.escape_ascii());
        use ServingStatus::{NotServing, Other, ServiceUnknown, Serving, Unknown};
        check(b"\0\0\0\0\0", Ok(Unknown));
        check(b"\0\0\0\0\x02\x08\x01", Ok(Serving));
        check(b"\0\0\0\0\x02\x08\x02", Ok(NotServing));
        check(b"\0\0\0\0\x02\x08\x03", Ok(ServiceUnknown));
        check(b"\0\0\0\0\x03\x08\x81\x01", Ok(Other(129)));
        // The last one counts; unknown fields of each wire type are passed over.
        check(b"\0\0\0\0\x04\x08\x02\x08\x01", Ok(Serving));
        check(b"\0\0\0\0\x06\x12\x02xx\x08\x01", Ok(Serving));
        check(b"\0\0\0\0\x0b\x1112345678\x08\x01", Ok(Serving));
        check(b"\0\0\0\0\x07\x1d1234\x08\x01", Ok(Serving));
        check(b"\0\0\0\0\x04\x10\x07\x08\x01", Ok(Serving));
        check(b"", Err(AnswerError::Framing));
        check(b"\0\0\0\0", Err(AnswerError::Framing));
        check(b"\0\0\0\0\x03\x08\x01", Err(AnswerError::Framing));
        check(b"\0\0\0\0\x02\x08\x01\0", Err(AnswerError::Framing));
        check(b"\x01\0\0\0\x02\x08\x01", Err(AnswerError::Compressed));
        check(b"\0\0\0\0\x01\x08", Err(AnswerError::Message));
        check(b"\0\0\0\0\x01\x00", Err(AnswerError::Message));
        check(b"\0\0\0\0\x03\x0a\x01x", Err(AnswerError::Message));
        check(b"\0\0\0\0\x02\x12\x05", Err(AnswerError::Message));
        check(b"\0\0\0\0\x02\x13\x01", Err(AnswerError::Message));
        check(
            b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            Err(AnswerError::Message),
        );
    }
}
