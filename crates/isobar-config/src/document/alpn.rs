//! Which protocol does a client speak within TLS?

use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};

/// The name of a protocol, as clients of TLS offer it (ALPN).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AlpnProtocol(Box<str>);

impl AlpnProtocol {
    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for AlpnProtocol {
    fn read(text: &str) -> Result<Self, Misfit> {
        if text.is_empty() || text.len() > 255 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Misfit::because(
                "a protocol has a name of 1 to 255 printable characters",
            ));
        }
        Ok(Self(text.into()))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn stand_in() -> Self {
        Self("h2".into())
    }

    fn describe() -> WordShape {
        WordShape {
            name: "protocol",
            expected: "a protocol such as `h2` or `http/1.1`".to_owned(),
            pattern: Some("^[!-~]{1,255}$"),
            examples: &["h2", "http/1.1", "postgresql"],
            range: None,
            number: false,
        }
    }
}

word_setting!(AlpnProtocol);
