//! What is the block of a head that comes in several frames?

use alloc::vec::Vec;

use super::frame::{FrameHead, PADDED, PRIORITY};

/// A head of which a part has come.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    /// Whether the stream ends behind it.
    pub(super) ends: bool,
    pub(super) bytes: Vec<u8>,
}

/// The part of a block in the payload of HEADERS, without what stands around it; none: it does not fit.
///
/// *Source*: RFC 9113 section 6.2.
pub(super) fn fragment<'a>(head: &FrameHead, mut payload: &'a [u8]) -> Option<&'a [u8]> {
    let mut padding = 0;
    if head.has(PADDED) {
        let (&first, rest) = payload.split_first()?;
        padding = usize::from(first);
        payload = rest;
    }
    if head.has(PRIORITY) {
        payload = payload.get(5..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}
