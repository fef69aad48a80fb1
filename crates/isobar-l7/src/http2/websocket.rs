//! How is a WebSocket asked for, in a request and in a stream of its own?
//!
//! In HTTP/1 a client asks to go on in another protocol, and the server proves with a digest of its key that it understood (RFC 6455
//! section 4.2.2). A stream of HTTP/2 needs no proof (RFC 8441 section 5): whoever translates has to make, or look at, that of the other side.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is hashed along with the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key, as clients make them up.
pub(super) fn key(chance: [u64; 2]) -> String {
    let [first, second] = chance.map(u64::to_be_bytes);
    STANDARD.encode([first, second].concat())
}

/// What the server has to answer to a key.
pub(super) fn accept(key: &[u8]) -> String {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(GUID);
    STANDARD.encode(digest.finish())
}

#[cfg(test)]
mod tests {
    use super::{accept, key};

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn servers_prove_that_they_understood() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_have_sixteen_bytes() {
        assert_eq!(key([0, 0]), "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(key([1, u64::MAX]).len(), 24);
    }
}
