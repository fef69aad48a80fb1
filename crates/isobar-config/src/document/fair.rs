//! What may be written about sharing an upstream fairly?

use super::{LimitKeyPart, Named, OneOrMore, OverrideKey, OverridesFile, Whole};
use crate::setting::section::settings;

settings! {
    /// Between whom an upstream is divided while requests wait for it. There is no number to find out: who wants less than
    /// his share gets all of it, and who wants more waits, and is refused, first.
    pub struct FairShare called "fair share" short key {
        /// Whom it tells apart: `client_ip` as trusted proxies tell it, `header:NAME`, `cookie:NAME`, `query:NAME`, `host`, `path`,
        /// `method`, `route`, `tls_name`; several together make one key. Requests that lack a part are one more.
        key: OneOrMore<LimitKeyPart> = OneOrMore(vec![LimitKeyPart::CLIENT_IP]),
        /// How large the shares of some are; those of all others are 1. The values of several parts have `|` between them.
        weights: Named<OverrideKey, Whole<1, 10_000>>,
        /// A file with further ones, a key and a weight on each line, such as `acme 3`; it is read again when it changes.
        weights_file: Option<OverridesFile>,
    }
}
