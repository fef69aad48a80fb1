//! Reports as a protobuf message in base64.

use super::LoadReportError;
use super::metrics::{Metrics, measured};

/// Bytes of a message at most: what base64 of the longest report holds.
const MAX_MESSAGE: usize = LoadReportError::MAX_BYTES / 4 * 3;

/// The fields of `OrcaLoadReport` that are wanted.
mod field {
    pub(super) const CPU_UTILIZATION: u64 = 1;
    pub(super) const RPS: u64 = 3;
    pub(super) const RPS_FRACTIONAL: u64 = 6;
    pub(super) const EPS: u64 = 7;
    pub(super) const NAMED_METRICS: u64 = 8;
    pub(super) const APPLICATION_UTILIZATION: u64 = 9;
    /// Of an entry of `named_metrics`.
    pub(super) const KEY: u64 = 1;
    /// Of an entry of `named_metrics`.
    pub(super) const VALUE: u64 = 2;
}

/// Reads a message in base64. A field that comes twice counts as it came last, as everywhere in protobuf.
pub(super) fn read(value: &[u8]) -> Result<Metrics, LoadReportError> {
    let mut buffer = [0; MAX_MESSAGE];
    let mut message = decode(value.trim_ascii(), &mut buffer)?;
    if message.is_empty() {
        return Err(LoadReportError::BadBase64);
    }
    let mut metrics = Metrics::default();
    while !message.is_empty() {
        let (number, value) = take_field(&mut message)?;
        let place = match (number, value) {
            (field::CPU_UTILIZATION, _) => &mut metrics.cpu,
            (field::RPS_FRACTIONAL, _) => &mut metrics.rps,
            (field::RPS, _) => &mut metrics.whole_rps,
            (field::EPS, _) => &mut metrics.eps,
            (field::APPLICATION_UTILIZATION, _) => &mut metrics.application,
            (field::NAMED_METRICS, Value::Bytes(entry)) => {
                take_named(&mut metrics, entry)?;
                continue;
            }
            _ => continue,
        };
        match value {
            Value::Double(told) if number != field::RPS => *place = Some(measured(told)?),
            Value::Whole(told) if number == field::RPS => *place = Some(measured(told as f64)?),
            // A field of another type is another field, of a version that is not known here.
            _ => {}
        }
    }
    Ok(metrics)
}

fn take_named(metrics: &mut Metrics, mut entry: &[u8]) -> Result<(), LoadReportError> {
    let (mut key, mut told) = (&[][..], 0.0);
    while !entry.is_empty() {
        match take_field(&mut entry)? {
            (field::KEY, Value::Bytes(bytes)) => key = bytes,
            (field::VALUE, Value::Double(number)) => told = number,
            _ => {}
        }
    }
    if let Some(place) = metrics.named_place(key) {
        *place = Some(measured(told)?);
    }
    Ok(())
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Whole(u64),
    Double(f64),
    Bytes(&'a [u8]),
    Other,
}

/// Takes a field from the front: its number and its value.
fn take_field<'a>(message: &mut &'a [u8]) -> Result<(u64, Value<'a>), LoadReportError> {
    let tag = take_varint(message)?;
    let value = match tag & 7 {
        0 => Value::Whole(take_varint(message)?),
        1 => Value::Double(f64::from_le_bytes(take(message)?)),
        2 => {
            let len = usize::try_from(take_varint(message)?).unwrap_or(usize::MAX);
            let (bytes, rest) = message.split_at_checked(len).ok_or(LoadReportError::BadProtobuf)?;
            *message = rest;
            Value::Bytes(bytes)
        }
        5 => {
            let _: [u8; 4] = take(message)?;
            Value::Other
        }
        _ => return Err(LoadReportError::BadProtobuf),
    };
    match tag >> 3 {
        0 => Err(LoadReportError::BadProtobuf),
        number => Ok((number, value)),
    }
}

fn take<const N: usize>(message: &mut &[u8]) -> Result<[u8; N], LoadReportError> {
    let (bytes, rest) = message.split_first_chunk().ok_or(LoadReportError::BadProtobuf)?;
    *message = rest;
    Ok(*bytes)
}

fn take_varint(message: &mut &[u8]) -> Result<u64, LoadReportError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(message)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(LoadReportError::BadProtobuf)
}

/// Undoes base64, padded or not: gRPC writes either.
fn decode<'b>(text: &[u8], buffer: &'b mut [u8; MAX_MESSAGE]) -> Result<&'b [u8], LoadReportError> {
    let unpadded = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    if unpadded.len() < text.len() && !text.len().is_multiple_of(4) {
        return Err(LoadReportError::BadBase64);
    }
    let mut len = 0;
    for group in unpadded.chunks(4) {
        let mut bits = 0_u32;
        for &letter in group {
            bits = (bits << 6) | sextet(letter).ok_or(LoadReportError::BadBase64)?;
        }
        let count = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            // Six bits are no byte.
            _ => return Err(LoadReportError::BadBase64),
        };
        bits <<= 8 + 6 * (4 - group.len());
        let bytes = bits.to_be_bytes();
        let place = buffer.get_mut(len..len + count).ok_or(LoadReportError::TooLong)?;
        place.copy_from_slice(bytes.get(..count).unwrap_or_default());
        len += count;
    }
    Ok(buffer.get(..len).unwrap_or_default())
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}
