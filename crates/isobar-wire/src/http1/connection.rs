//! Which fields are about this connection only, and does the sender want to keep it? Does not know about bodies.
//!
//! *Source*: RFC 9110 sections 7.6.1 and 7.8, RFC 9112 section 9.3.

use super::bytes::is_word;
use super::fields::{is_token, trim};
use crate::{Field, HeadError, Known, Version};

/// End-to-end fields that the proxy does not act on and that a `Connection` field still may not take away: without
/// them a message means something else to its receiver.
const PROTECTED: [&[u8]; 8] = [
    b"cache-control",
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"content-security-policy",
    b"range",
    b"strict-transport-security",
    b"www-authenticate",
];

/// Whether a field is about one connection and so is not forwarded: the ones RFC 9110 names, `HTTP2-Settings`, and
/// those that a `Connection` field nominates.
///
/// A nomination counts only for a field the proxy has no use for ([`Known::Other`]) and that is not one of a few
/// without which a message means something else (`Cache-Control`, `Range`…). Otherwise a client could have the
/// proxy remove `X-Forwarded-For`, `Authorization` or `Cookie` on its way, and the server would see a request that
/// nobody sent. RFC 9110 forbids such nominations; what a receiver does about them it leaves open.
///
/// `Trailer` is not hop-by-hop (RFC 9110 section 6.6.2): it goes where the trailers go.
///
/// *Source*: RFC 9110 section 7.6.1.
#[must_use]
pub fn is_hop_by_hop(field: &Field) -> bool {
    field.nominated
        || matches!(
            field.known,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Te
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::Http2Settings
        )
}

/// What the `Connection` fields of a head say of the connection itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    close: bool,
    keep_alive: bool,
    /// Whether there is an option `upgrade`.
    pub(crate) upgrade: bool,
    /// Options seen, empty list elements included.
    seen: usize,
}

impl Options {
    /// Whether the sender wants to keep the connection. `close` wins over `keep-alive`.
    pub(crate) fn keep_alive(self, version: Version) -> bool {
        !self.close && (self.keep_alive || version != Version::Http10)
    }

    /// Reads one `Connection` field and marks the fields it nominates.
    ///
    /// *Cost*: options times fields, both limited.
    pub(crate) fn read(&mut self, bytes: &[u8], value: &[u8], fields: &mut [Field]) -> Result<(), HeadError> {
        if self.note(value) {
            return self.count();
        }
        for option in value.split(|&byte| byte == b',').map(trim) {
            self.count()?;
            if self.note(option) {
                continue;
            } else if is_token(option) {
                nominate(bytes, option, fields);
            } else if !option.is_empty() {
                return Err(HeadError::BadConnectionOptions);
            }
        }
        Ok(())
    }

    /// Notes an option that is about the connection itself, and says whether it is one.
    #[inline]
    fn note(&mut self, option: &[u8]) -> bool {
        let known = if is_word(option, b"keep-alive") {
            &mut self.keep_alive
        } else if is_word(option, b"close") {
            &mut self.close
        } else if is_word(option, b"upgrade") {
            &mut self.upgrade
        } else {
            return false;
        };
        *known = true;
        true
    }

    fn count(&mut self) -> Result<(), HeadError> {
        self.seen += 1;
        if self.seen > HeadError::MAX_CONNECTION_OPTIONS {
            return Err(HeadError::BadConnectionOptions);
        }
        Ok(())
    }
}

fn nominate(bytes: &[u8], option: &[u8], fields: &mut [Field]) {
    if PROTECTED.iter().any(|name| option.eq_ignore_ascii_case(name)) {
        return;
    }
    let named = |field: &&mut Field| field.known == Known::Other && field.name.of(bytes).eq_ignore_ascii_case(option);
    for field in fields.iter_mut().filter(named) {
        field.nominated = true;
    }
}
