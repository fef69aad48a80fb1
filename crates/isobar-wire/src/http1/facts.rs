//! What do the fields of a head say about framing and the connection? One pass over the fields, for requests and
//! responses alike; does not know which of the two it looks at.

use super::bytes::is_word;
use super::connection::Options;
use super::fields::{is_token, trim};
use crate::{BodyKind, Field, HeadError, Known, Span, Version};

/// What the fields say.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    /// The value of `Host`.
    pub(crate) host: Option<Span>,
    /// What `Connection` says.
    pub(crate) connection: Options,
    /// Whether `Upgrade` names a protocol.
    pub(crate) upgrade: bool,
    /// Whether `Upgrade` offers HTTP/2 without TLS.
    pub(crate) h2c: bool,
    /// Whether the trailers are welcome.
    pub(crate) te_trailers: bool,
    /// What `Expect` asks for.
    pub(crate) expect: Expectation,
    content_length: Option<u64>,
    chunked: bool,
}

/// What a client expects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// Nothing.
    #[default]
    None,
    /// A 100 (Continue) before it sends the body.
    Continue,
    /// Something nobody knows.
    Unknown,
}

impl Facts {
    /// Looks at every field once, and marks those that `Connection` nominates.
    #[inline]
    pub(crate) fn gather(&mut self, bytes: &[u8], fields: &mut [Field]) -> Result<(), HeadError> {
        for index in 0..fields.len() {
            let Some(&Field { known, value, .. }) = fields.get(index) else {
                break;
            };
            match known {
                Known::Host => self.host(value)?,
                Known::ContentLength => self.content_length(value.of(bytes))?,
                Known::TransferEncoding => self.transfer_encoding(value.of(bytes))?,
                Known::Connection => self.connection.read(bytes, value.of(bytes), fields)?,
                Known::Upgrade => self.upgrade(value.of(bytes)),
                Known::Te => self.te(value.of(bytes)),
                Known::Expect => self.expect(value.of(bytes)),
                _ => {}
            }
        }
        Ok(())
    }

    /// How the body ends, by the fields alone; none: they do not say.
    ///
    /// *Errors*: the two kinds of framing together, or chunks in HTTP/1.0.
    pub(crate) fn framing(&self, version: Version) -> Result<Option<BodyKind>, HeadError> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(HeadError::ContentLengthWithTransferEncoding),
            (true, None) if version == Version::Http10 => Err(HeadError::TransferEncodingOnHttp10),
            (true, None) => Ok(Some(BodyKind::Chunked)),
            (false, length) => Ok(length.map(BodyKind::Length)),
        }
    }

    fn host(&mut self, value: Span) -> Result<(), HeadError> {
        match self.host.replace(value) {
            None => Ok(()),
            Some(_) => Err(HeadError::RepeatedHost),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        match self
            .content_length
            .replace(decimal(value).ok_or(HeadError::BadContentLength)?)
        {
            None => Ok(()),
            Some(_) => Err(HeadError::RepeatedContentLength),
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if !is_word(value, b"chunked") {
            return Err(unusable_coding(value));
        }
        if core::mem::replace(&mut self.chunked, true) {
            return Err(HeadError::TransferEncodingNotChunked);
        }
        Ok(())
    }

    fn upgrade(&mut self, value: &[u8]) {
        for protocol in elements(value).filter(|protocol| !protocol.is_empty()) {
            self.upgrade = true;
            self.h2c |= protocol.eq_ignore_ascii_case(b"h2c");
        }
    }

    fn te(&mut self, value: &[u8]) {
        self.te_trailers |= elements(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    }

    fn expect(&mut self, value: &[u8]) {
        self.expect = match self.expect {
            Expectation::Unknown => Expectation::Unknown,
            _ if value.eq_ignore_ascii_case(b"100-continue") => Expectation::Continue,
            _ => Expectation::Unknown,
        };
    }
}

/// Why a transfer encoding other than `chunked` is refused: a list of codings that is well-formed, with `chunked`
/// at most once and last, is one we do not implement; anything else is no list of codings.
#[cold]
fn unusable_coding(value: &[u8]) -> HeadError {
    let count = elements(value).count();
    let fine = elements(value).enumerate().all(|(index, coding)| {
        let name = coding.split(|&byte| byte == b';').next().map(trim).unwrap_or_default();
        let chunked = name.eq_ignore_ascii_case(b"chunked");
        is_token(name) && (!chunked || (index + 1 == count && name.len() == coding.len()))
    });
    if fine {
        HeadError::UnknownTransferCoding
    } else {
        HeadError::TransferEncodingNotChunked
    }
}

/// The elements of a list, without the whitespace around them. RFC 9110 section 5.6.1.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// A number of nothing but digits that fits 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let (&first, rest) = digits.split_first()?;
    let value = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    rest.iter().try_fold(value(first)?, |number, &byte| {
        number.checked_mul(10)?.checked_add(value(byte)?)
    })
}
